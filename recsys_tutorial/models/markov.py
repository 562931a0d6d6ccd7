"""A first-order Markov chain: the next item given the last ones, counted and smoothed."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_positive, check_within
from recsys_tutorial._likes import check_train
from recsys_tutorial.models._events import in_order, last_events, likes_in_time


class MarkovChain:
    """score(u, j) = sum over the last events i_1, i_2, ... of decay^(k-1) p(j | i_k).

        p(j | i) = (n_ij + smoothing p_j) / (n_i + smoothing)

    n_ij counts how often j came after i, at once or, with ``reach`` above 1, within so many steps,
    each counting 1 / steps; p_j is the share of j among all events. What was never followed by
    anything says what is popular. (Rendle, Freudenthaler & Schmidt-Thieme 2010,
    doi:10.1145/1772690.1772773, factorise the table that is counted here; the weights 1 / steps are
    those of the sequential rules of Kamehkhosh, Jannach & Ludewig 2017.)

    Parameters
    ----------
    smoothing : float > 0, in events
    reach : int >= 1, steps
    decay : float, 0 for the last event alone, up to 1
    n_last : int >= 1, how many last events are asked

    Attributes
    ----------
    transitions_ : csr_matrix (n_items, n_items), n_ij
    popularity_ : ndarray (n_items,), p

    Raises
    ------
    ValueError
        For a number out of range.
    """

    reads_times = True

    def __init__(
        self, smoothing: float = 10.0, *, reach: int = 1, decay: float = 0.0, n_last: int = 5
    ):
        check_positive(smoothing=smoothing)
        check_at_least(1, reach=reach, n_last=n_last)
        check_within(0, 1, decay=decay)
        self.smoothing, self.reach, self.decay, self.n_last = smoothing, reach, decay, n_last

    def fit(self, train: sparse.csr_matrix, times: np.ndarray | sparse.csr_matrix) -> MarkovChain:
        """Count; return self.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        times : ndarray (train.nnz,) in the order of ``train.indices``, or csr_matrix: when, in
            seconds, as `Split.like_times`

        Raises
        ------
        ValueError
            For `train` without a like, or times that do not fit.
        """
        likes, times = likes_in_time(train, "train", times)
        check_train(likes)
        users, items, _ = in_order(likes, times)
        n = likes.shape[1]
        counts = sparse.csr_matrix((n, n))
        for step in range(1, self.reach + 1):
            same = users[:-step] == users[step:]
            here, then = items[:-step][same], items[step:][same]
            weights = np.full(len(here), 1 / step)
            counts = counts + sparse.csr_matrix((weights, (here, then)), shape=(n, n))
        self.transitions_ = counts.tocsr()
        self.popularity_ = np.bincount(items, minlength=n) / len(items)
        return self

    def score(
        self, history: sparse.csr_matrix, times: sparse.csr_matrix | np.ndarray
    ) -> np.ndarray:
        """Scores of all items.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        times : csr_matrix or ndarray, when, as `Holdout.history_times`

        Returns
        -------
        ndarray (n_users, n_items), float64; the popularity for who liked nothing

        Raises
        ------
        ValueError
            For a history of another width, or times that do not fit.
        """
        history, times = likes_in_time(history, "history", times, len(self.popularity_))
        n_last = self.n_last if self.decay else 1
        events = last_events(history, times, n_last)
        ago = events.lengths[:, None] - 1 - np.arange(events.items.shape[1])  # 0: the last one
        user, place = np.nonzero(events.there)
        asked = events.items[user, place]
        weight = self.decay ** ago[user, place] if self.decay else np.ones(len(user))
        total = self.smoothing + np.asarray(self.transitions_.sum(1)).ravel()[asked]
        shape = history.shape
        of_items = sparse.csr_matrix((weight / total, (user, asked)), shape=shape)
        prior = np.bincount(user, weight * self.smoothing / total, minlength=shape[0])
        prior[events.lengths == 0] = 1.0
        scores = (of_items @ self.transitions_).toarray() + prior[:, None] * self.popularity_
        return scores.round(12)  # thirds and fifths, added in another order, are level still
