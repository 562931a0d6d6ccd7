"""A user as what they liked: a tower that reads histories."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._checks import check_one_of
from recsys_tutorial._likes import as_likes
from recsys_tutorial._torch.precision import at_least_float32, in_full_precision, leave_out
from recsys_tutorial.models.towers.rows import FeatureTower


class HistoryTower(nn.Module):
    """A user is what they liked: the liked items' vectors, pooled.

    With the weights h_i of the history and the vectors v_i that `items` gives them:

        "mean"       sum h_i v_i / sum h_i
        "sqrt"       sum h_i v_i / sqrt(sum h_i): a longer history speaks louder
        "attentive"  sum a_i v_i, a = softmax over the history of (log h_i + q . tanh(W v_i)):
                     which items say most about a user is learned (Yang et al. 2016,
                     doi:10.18653/v1/N16-1174, equations 5 to 7)

    A user who liked nothing gets 0.

    Parameters
    ----------
    items : a tower over rows, the items
    pooling : "mean", "sqrt" or "attentive"

    Raises
    ------
    ValueError for another pooling.
    """

    reads_history = True

    def __init__(self, items: nn.Module, pooling: str = "sqrt"):
        super().__init__()
        check_one_of(("mean", "sqrt", "attentive"), pooling=pooling)
        self.items, self.pooling = items, pooling
        self.n_items, self.dim = items.n_rows, items.dim
        if pooling == "attentive":
            self.attention = nn.Linear(self.dim, self.dim)  # W
            self.query = nn.Linear(self.dim, 1, bias=False)  # q
            nn.init.zeros_(self.query.weight)  # start from the mean

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items) of weights > 0."""
        history = as_likes(history, "history", self.n_items)
        columns, place = np.unique(history.indices, return_inverse=True)
        device = next(self.parameters()).device
        vectors = self.items(torch.from_numpy(columns.astype(np.int64)).to(device))
        vectors = at_least_float32(vectors)  # and with them the weights
        weights = np.zeros((history.shape[0], len(columns)))
        users = np.repeat(np.arange(len(weights)), np.diff(history.indptr))
        weights[users, place] = history.data
        return self._pool(torch.from_numpy(weights).to(vectors), vectors)

    def embed(self, things: Sequence) -> Tensor:
        """Users who liked one thing each, which need not have a row: a text is such a user."""
        vectors = self.items.embed(things)
        return self._pool(torch.eye(len(vectors)).to(vectors), vectors)

    @in_full_precision  # sums of weights may be too large for float16
    def _pool(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """From weights (n_users, n_columns) and vectors (n_columns, dim): (n_users, dim)."""
        total = weights.sum(1, keepdim=True)  # (n_users, 1)
        if self.pooling == "attentive":
            says = self.query(torch.tanh(self.attention(vectors)))[:, 0]  # (n_columns,)
            liked = weights > 0
            logits = says + torch.where(liked, weights, 1.0).log()  # (n_users, n_columns)
            weights = leave_out(logits, ~liked).softmax(1) * liked
            return weights @ vectors  # (n_users, dim)
        pooled = weights @ vectors  # (n_users, dim)
        if self.pooling == "sqrt":
            total = total.sqrt()
        return pooled / torch.where(total > 0, total, 1.0)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"pooling": self.pooling}


class PooledTower(FeatureTower):
    """A user is the features of what they liked, pooled *before* the head.

    With a linear head without a bias the same as `HistoryTower` over a `FeatureTower`: a linear
    map of a sum is the sum of the maps. But a user costs one row through the head, however much
    they liked, and the sums can be taken once for all steps: `embed` takes pooled features. A
    hidden layer then sees the whole history at once.

    Parameters
    ----------
    features : ndarray (n_items, n_features), of the items
    dim : int, length of the vectors
    pooling : "sum", "mean" or "sqrt" (the sum over the root of the number), see `HistoryTower`
    **head : hidden and dropout, see `ProjectionHead`

    Raises
    ------
    ValueError for features of another form, or not finite, and for another pooling.

    Examples
    --------
    >>> from scipy import sparse
    >>> tower = PooledTower(np.eye(4), 2)
    >>> tower(sparse.csr_matrix([[1.0, 0, 1, 0], [0, 0, 0, 1]])).shape
    torch.Size([2, 2])
    """

    reads_history = True

    def __init__(self, features: np.ndarray, dim: int, pooling: str = "sum", **head):
        super().__init__(features, dim, **head)
        check_one_of(("sum", "mean", "sqrt"), pooling=pooling)
        self.pooling, self.n_items = pooling, self.n_rows

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items) of weights > 0; nobody's likes are a row of zeros."""
        history = as_likes(history, "history", self.n_items)
        total = np.asarray(history.sum(axis=1))  # (n_users, 1)
        total = {"sum": total**0, "mean": total, "sqrt": np.sqrt(total)}[self.pooling]
        pooled = history @ self.features.cpu().numpy()  # (n_users, n_features)
        return self.embed(pooled / np.where(total > 0, total, 1.0))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return super().describe() | {"pooling": self.pooling}
