"""What models of histories are trained to do: three softmaxes that find the hidden part of likes.

Each is a loss for `training.train` once its keyword arguments are given, and takes the model, the
numbers of a batch's examples and a generator. In all of them a user's likes are divided: what is
shown makes the user's vector, and items that are shown are no negatives.
"""

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial.losses import info_nce, multinomial_loss
from recsys_tutorial.models._histories import choose_likes, divide_likes


def catalogue_softmax(model, rows, rng, *, train, users, items, share) -> Tensor:
    """-log softmax(s_u)_i of a hidden like i, over all `items` but those shown.

    Parameters
    ----------
    model : TwoTower; s_u is the row that its `forward` gives for the user
    rows : int ndarray (batch,), numbers of `users`
    rng : numpy Generator
    train : csr_matrix (n_users, n_items)
    users : int ndarray, rows of `train`, an example each
    items : int ndarray, columns of `train` that the softmax is over
    share : (low, high), see `divide_likes`

    Returns
    -------
    scalar Tensor, the mean over hidden likes, see `losses.multinomial_loss`
    """
    users = users[rows]
    shown, targets, mask = users, train[users], None
    if model.reads_history:
        shown, targets = divide_likes(targets, share, rng)
        mask = torch.from_numpy(shown[:, items].toarray() > 0).to(model.device)
    scores = model(shown, items)  # (batch, len(items))
    targets = torch.from_numpy(targets[:, items].toarray()).to(scores)
    return multinomial_loss(scores, targets, mask)


def in_batch_softmax(model, rows, rng, *, train, users, items, share, log_share) -> Tensor:
    """-log(exp(s_ui - log q_i) / sum over the batch's items j of exp(s_uj - log q_j)).

    The sum leaves out what the user likes, but for i itself.

    Parameters
    ----------
    model, rng, train, share : see `catalogue_softmax`
    rows : int ndarray (batch,), numbers of `users` and `items`
    users, items : int ndarray, rows and columns of `train`: a like (u, i) each
    log_share : ndarray (n_items,), log q; None leaves it out

    Returns
    -------
    scalar Tensor, the mean over likes, see `losses.info_nce`
    """
    users, items = users[rows], items[rows]
    likes = train[users]
    known = torch.from_numpy(likes[:, items].toarray() > 0).to(model.device)  # no negatives
    shown = divide_likes(likes, share, rng, items)[0] if model.reads_history else users
    vectors = model.user_vectors(shown), model.item_vectors(items)  # (batch, dim) both
    log_q = None if log_share is None else torch.from_numpy(log_share[items])
    return info_nce(*vectors, temperature=1.0, log_q=log_q, mask=known)


def sampled_softmax(
    model, rows, rng, *, train, users, q, n_positives: int, n_negatives: int, share
) -> Tensor:
    """-log(exp(s_ui) / (Z + sum over n negatives j of w_j exp(s_uj))) of a hidden like i.

    Z sums exp(s_uk) over the positives k. The negatives are drawn from q and w_j = 1 / (n q_j), so
    that the denominator estimates the softmax over the catalogue, as in
    `losses.sampled_softmax_loss`. Drawn items that the user likes are left out.

    Parameters
    ----------
    model : InteractionRanker; its `forward` gives s_ui for some items of each user
    rows, rng, train, users, share : see `catalogue_softmax`
    q : ndarray (n_items,) > 0, sum 1
    n_positives : int, the most hidden likes of a user that are to be found, chosen at random
    n_negatives : int, n

    Returns
    -------
    scalar Tensor, the mean over hidden likes, see `losses.multinomial_loss`
    """
    likes = train[users[rows]]
    shown, hidden = divide_likes(likes, share, rng)
    positives, there = choose_likes(hidden, n_positives, rng)  # (batch, n_positives) both
    negatives = rng.choice(len(q), (len(rows), n_negatives), p=q)
    liked = likes.toarray()[np.arange(len(rows))[:, None], negatives] > 0
    columns = np.hstack([positives, negatives])  # (batch, n_positives + n_negatives)
    scores = model(shown, columns, rng)
    weight = torch.from_numpy(-np.log(n_negatives * q[negatives])).to(scores)
    scores = torch.cat([scores[:, :n_positives], scores[:, n_positives:] + weight], 1)
    labels = torch.zeros_like(scores)
    labels[:, :n_positives] = torch.from_numpy(there).to(scores)
    left_out = torch.from_numpy(np.hstack([~there, liked])).to(scores.device)
    return multinomial_loss(scores, labels, left_out)
