"""What models of histories are trained to do: softmaxes that find the hidden part of likes.

Each is a loss for `training.train` once its keyword arguments are given, and takes the model, the
numbers of a batch's examples and a generator. In all of them a user's likes are divided: what is
shown makes the user's vector, and items that are shown are no negatives.
"""

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial._torch.precision import leave_out
from recsys_tutorial.losses import info_nce, multinomial_loss
from recsys_tutorial.models._histories import divide_likes


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


def candidate_softmax(model, rows, rng, *, lists, n_positives: int, n_negatives: int) -> Tensor:
    """-log(exp(s_ui) / (exp(s_ui) + sum over n drawn j of exp(s_uj))) of a liked candidate i.

    The j are drawn evenly from the candidates of the same list that were not liked. Other liked
    candidates are no negatives. With evenly drawn negatives no correction is needed: it would be
    the same for all of them.

    Parameters
    ----------
    model : InteractionRanker
    rows : int ndarray (batch,), numbers of lists
    rng : numpy Generator
    lists : CandidateLists
    n_positives, n_negatives : int, the most that are drawn from a list

    Returns
    -------
    scalar Tensor, the mean over the liked candidates that were drawn
    """
    liked = lists.liked[rows]  # (batch, k)
    key = rng.random(liked.shape)
    positives = np.argsort(key - liked, axis=1)[:, :n_positives]
    negatives = np.argsort(key + liked, axis=1)[:, :n_negatives]
    place = np.hstack([positives, negatives])  # (batch, n_positives + n_negatives)
    columns, retriever, popularity = (
        np.take_along_axis(values[rows], place, axis=1)
        for values in (lists.columns, lists.retriever, lists.log_popularity)
    )
    scores = model(lists.history[rows], columns, rng) + model.base(retriever, popularity)
    found = torch.from_numpy(np.take_along_axis(liked, place, axis=1)).to(scores.device)
    good, other = scores[:, :n_positives], scores[:, n_positives:]
    other = leave_out(other, found[:, n_positives:])  # a list may have fewer than were asked for
    losses = torch.logaddexp(good, other.logsumexp(1, keepdim=True)) - good
    return losses[found[:, :n_positives]].mean()
