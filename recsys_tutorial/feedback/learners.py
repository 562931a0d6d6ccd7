"""What policies learn with: tastes of shoppers, and what the crowd has shown of each picture."""

import numpy as np

from recsys_tutorial._checks import check_positive, check_within


class LinearTastes:
    """Each shopper's taste as a weight vector on item features, learned click by click.

    A click at slot j has probability e_j r, so y_uj is regressed on e_j x_i. With the features
    f_j = e_j x_i of what shopper u saw, and old evidence fading by `memory` a day,

        A_u = sum_days memory^age sum_j f_j f_j',   b_u = sum_days memory^age sum_j f_j y_uj
        w_u = (A_u + reg I)^-1 (b_u + reg w_0),     w_0: the crowd's weights, from sum_u A_u and b_u

    the ridge regression towards w_0. Adding to A and b is all there is to an online update, and
    what comes out is exactly the fit to all data so far. (reg I + A)^-1 times the noise's variance
    is the posterior covariance of w_u (Li et al. 2010, section 3; Agrawal & Goyal 2013).

    Parameters
    ----------
    features : ndarray (n_items, dim), x; its first column usually 1
    n_shoppers : int
    examination : ndarray (n_slots,), e; ones: as if every slot were looked at
    reg : float > 0, how strongly a shopper's weights are drawn to the crowd's
    memory : float in (0, 1], what a day's evidence counts a day later

    Raises
    ------
    ValueError
        For `reg` or `memory` outside its range.
    """

    def __init__(
        self,
        features: np.ndarray,
        n_shoppers: int,
        examination: np.ndarray,
        *,
        reg: float = 10.0,
        memory: float = 1.0,
    ):
        check_positive(reg=reg, memory=memory)
        check_within(0, 1, memory=memory)
        dim = features.shape[1]
        self.features, self.examination, self.reg, self.memory = features, examination, reg, memory
        self.gram = np.zeros((n_shoppers, dim, dim))  # A
        self.moment = np.zeros((n_shoppers, dim))  # b
        self.crowd = np.zeros(dim)  # w_0

    def update(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns
        clicks : ndarray of the same shape: 0 or 1, or what other estimates leave of them

        Raises
        ------
        ValueError
            For other shapes.
        """
        if shown.shape != clicks.shape or shown.shape[1] != len(self.examination):
            expected = f"(n_shoppers, {len(self.examination)})"
            raise ValueError(f"shown {shown.shape} and clicks {clicks.shape} must be {expected}")
        f = self.features[shown] * self.examination[:, None]  # (n_shoppers, n_slots, dim)
        self.gram *= self.memory
        self.gram += f.transpose(0, 2, 1) @ f  # (n_shoppers, dim, dim)
        self.moment *= self.memory
        self.moment += (f.transpose(0, 2, 1) @ clicks[:, :, None].astype(float))[:, :, 0]
        self.crowd = ridge(self.gram.sum(axis=0), self.moment.sum(axis=0), self.reg)

    def precision(self) -> np.ndarray:
        """A + reg I of all shoppers, ndarray (n_shoppers, dim, dim)."""
        return self.gram + self.reg * np.eye(len(self.crowd))

    def weights(self) -> np.ndarray:
        """The w_u of all shoppers, ndarray (n_shoppers, dim)."""
        return ridge(self.gram, self.moment, self.reg, self.crowd)


def ridge(
    gram: np.ndarray, moment: np.ndarray, reg: float, towards: np.ndarray | float = 0.0
) -> np.ndarray:
    """Ridge regressions by their sums: (gram + reg I)^-1 (moment + reg towards).

    Parameters
    ----------
    gram : ndarray (..., dim, dim)
    moment : ndarray (..., dim)
    reg : float > 0
    towards : float or ndarray (..., dim), the weights without any evidence

    Returns
    -------
    ndarray (..., dim)
    """
    right = (moment + reg * towards)[..., None]
    return np.linalg.solve(gram + reg * np.eye(moment.shape[-1]), right)[..., 0]


class ClickCounts:
    """How much each picture was looked at, and clicked: the sums of its least-squares click rate.

        looks_i = sum e_j^2,   hits_i = sum e_j y,   rate_i = hits_i / looks_i

    Parameters
    ----------
    n_items : int
    examination : ndarray (n_slots,), e
    prior : float > 0, how many looks a rate counts for that was there before

    Raises
    ------
    ValueError
        For a prior that is not positive.
    """

    def __init__(self, n_items: int, examination: np.ndarray, prior: float):
        check_positive(prior=prior)
        self.examination, self.prior = examination, prior
        self.looks, self.hits = np.zeros(n_items), np.zeros(n_items)

    def count(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns
        clicks : bool ndarray of the same shape
        """
        e, n = np.broadcast_to(self.examination, shown.shape), len(self.looks)
        self.looks += np.bincount(shown.ravel(), (e**2).ravel(), n)
        self.hits += np.bincount(shown.ravel(), (e * clicks).ravel(), n)

    def shrunk(self, before: np.ndarray | float) -> np.ndarray:
        """The rates, shrunk.

        Parameters
        ----------
        before : float or ndarray (n_items,), the rates to shrink towards

        Returns
        -------
        ndarray (n_items,)
        """
        return (self.hits + self.prior * before) / (self.looks + self.prior)


class ItemRates(ClickCounts):
    """How often each picture is clicked by whoever looks at it: content first, then its own record.

        c_i = x_i . w,  w: ridge regression of all clicks on content
        rate_i = (sum e_j y + prior c_i) / (sum e_j^2 + prior)

    the least-squares rate, shrunk towards what the content promises. A new picture has rate c_i and
    the largest doubt; doubt_i^2 times the variance of a click is its posterior variance:

        doubt_i = (sum e_j^2 + prior)^-1/2

    Parameters
    ----------
    features : ndarray (n_items, dim), x, the first column 1
    examination : ndarray (n_slots,), e
    prior : float > 0, how many looks the content counts for
    """

    def __init__(self, features: np.ndarray, examination: np.ndarray, *, prior: float = 5.0):
        super().__init__(len(features), examination, prior)
        self.features = features
        self.rates = np.zeros(len(features))

    @property
    def doubt(self) -> np.ndarray:
        """(n_items,): how unsure each rate is, in standard deviations of a click."""
        return 1.0 / np.sqrt(self.looks + self.prior)

    def update(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit, and estimate all rates anew.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns
        clicks : bool ndarray of the same shape
        """
        self.count(shown, clicks)
        x = self.features
        gram = (x * self.looks[:, None]).T @ x + np.eye(x.shape[1])
        content = np.clip(x @ np.linalg.solve(gram, x.T @ self.hits), 0.0, 1.0)  # (n_items,)
        self.rates = self.shrunk(content)
