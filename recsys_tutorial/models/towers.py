"""Parts to build towers from: each turns what it reads into vectors (n, dim) with gradients.

    IdTower              row number                  -> a learned vector of its own
    FeatureTower         row number                  -> fixed features -> head
    EncoderTower         row number                  -> its text or picture -> BERT or ViT -> head
    SumTower             row number                  -> the sum of other towers' vectors
    HistoryTower         what a user liked (sparse)  -> the liked items' vectors, pooled
    TextHistoryTower     what a user liked (sparse)  -> their titles as one text -> BERT -> head

A tower over rows has `n_rows`, and `embed`, which does the same for things that have no row yet: a
new film's text, a query. A tower over histories has `reads_history = True`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._likes import as_likes
from recsys_tutorial._precision import at_least_float32, in_full_precision, leave_out
from recsys_tutorial.encoding import Encoder


class ProjectionHead(nn.Sequential):
    """Dropout, then one linear layer, or two with a GELU between: (n, in_dim) -> (n, dim)."""

    def __init__(self, in_dim: int, dim: int, *, hidden: int | None = None, dropout: float = 0.0):
        layers = [nn.Linear(in_dim, dim)]
        if hidden is not None:
            layers = [nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, dim)]
        super().__init__(nn.Dropout(dropout), *layers)

    def forward(self, features: Tensor) -> Tensor:
        """Project; features of any dtype are brought to that of the weights."""
        return super().forward(features.to(self[-1].weight))


class IdTower(nn.Module):
    """One learned vector per row: it knows a row by its number alone.

    Parameters
    ----------
    n_rows, dim : int
    dropout : float
        Share of the rows whose whole vector is put to 0 at each training step, the others scaled
        up: where other parts are added, they must do without it now and then.
    known : bool ndarray (n_rows,), optional
        False where nothing was seen in training: the vector is 0 there, always. (A softmax over
        all items would push the vectors of unseen ones away from everybody.)
    std : float, of the random start
    """

    def __init__(
        self,
        n_rows: int,
        dim: int,
        *,
        dropout: float = 0.0,
        known: np.ndarray | None = None,
        std: float = 0.05,
    ):
        super().__init__()
        self.n_rows, self.dim = n_rows, dim
        self.table = nn.Embedding(n_rows, dim)
        nn.init.normal_(self.table.weight, std=std)
        self.dropout = nn.Dropout(dropout)
        known = np.ones(n_rows, dtype=bool) if known is None else np.asarray(known)
        if known.shape != (n_rows,) or known.dtype != bool:
            raise ValueError(f"known must be a bool array of {n_rows} rows, got {known.shape}")
        self.register_buffer("known", torch.from_numpy(known), persistent=False)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        rows = slice(None) if rows is None else rows
        vectors = self.table.weight[rows] * self.known[rows, None]  # (n, dim)
        return vectors * self.dropout(torch.ones_like(vectors[:, :1]))

    def embed(self, things: Sequence) -> Tensor:
        """Zeros: what has no row has no vector."""
        return self.table.weight.new_zeros(len(things), self.dim)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"rows": self.n_rows, "dim": self.dim, "known": int(self.known.sum())}


class FeatureTower(nn.Module):
    """Fixed features per row, such as a frozen encoder's vectors, through a head that learns.

    Parameters
    ----------
    features : ndarray (n_rows, n_features)
    dim, hidden, dropout : see `ProjectionHead`
    """

    def __init__(
        self, features: np.ndarray, dim: int, *, hidden: int | None = None, dropout: float = 0.0
    ):
        super().__init__()
        features = np.asarray(features)
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError(f"features must be (n_rows, n_features), finite; got {features.shape}")
        self.n_rows, self.dim = len(features), dim
        self.fingerprint = hashlib.sha256(np.ascontiguousarray(features)).hexdigest()[:16]
        # Not persistent: a saved model holds what was learned, not the catalogue.
        self.register_buffer("features", torch.tensor(features), persistent=False)
        self.head = ProjectionHead(features.shape[1], dim, hidden=hidden, dropout=dropout)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        return self.head(self.features if rows is None else self.features[rows])

    def embed(self, features: np.ndarray) -> Tensor:
        """Of an ndarray (n, n_features), made as the features of the rows were."""
        return self.head(torch.as_tensor(np.asarray(features), device=self.features.device))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"features": self.fingerprint, "shape": list(self.features.shape)}


class EncoderTower(nn.Module):
    """A pretrained encoder (BERT for texts, ViT for pictures) with a head.

    As long as the encoder is frozen, each item is encoded once and only the head is run. After
    `encoder.unfreeze(...)` or `encoder.add_lora(...)` every training step runs the encoder.

    Parameters
    ----------
    encoder : TextEncoder or ImageEncoder
    items : sequence of what it reads: texts, or pictures and their paths, one per row
    dim, hidden, dropout : see `ProjectionHead`
    augment : function item -> item, optional; applied in training, which then runs the encoder
    """

    def __init__(
        self,
        encoder: Encoder,
        items: Sequence,
        dim: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        augment: Callable | None = None,
    ):
        super().__init__()
        self.encoder, self.items, self.augment = encoder, list(items), augment
        self.n_rows, self.dim = len(self.items), dim
        self.head = ProjectionHead(encoder.dim, dim, hidden=hidden, dropout=dropout)
        self._frozen: tuple[int, Tensor] | None = None

    def train(self, mode: bool = True) -> EncoderTower:
        """Training mode; a frozen encoder stays in evaluation mode, without dropout."""
        return train_with_encoder(self, super().train, mode)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        rows = range(self.n_rows) if rows is None else rows.tolist()
        if torch.is_grad_enabled() and (self.encoder.n_trainable or self.augment):
            items = [self.items[row] for row in rows]
            if self.augment is not None and self.training:
                items = [self.augment(item) for item in items]
            return self.head(self.encoder(self.encoder.prepare(items)))
        if self.encoder.n_trainable:
            return self.embed([self.items[row] for row in rows])
        version = sum(p._version for p in self.encoder.parameters())  # were they trained since?
        if self._frozen is None or self._frozen[0] != version:
            self._frozen = (version, self._tensor(self.encoder.encode(self.items)))
        return self.head(self._frozen[1][list(rows)])

    def embed(self, items: Sequence) -> Tensor:
        """Vectors of any texts or pictures; gradients reach the head only."""
        return self.head(self._tensor(self.encoder.encode(items)))

    def _tensor(self, vectors: np.ndarray) -> Tensor:
        return torch.from_numpy(vectors).to(self.head[-1].weight.device)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(item.encode() if isinstance(item, str) else b"picture")
        return {"items": digest.hexdigest()[:16], "rows": self.n_rows, **self.encoder.settings}


class SumTower(nn.Module):
    """The sum of several towers' vectors, for example of an `IdTower` and an `EncoderTower`."""

    def __init__(self, *towers: nn.Module):
        super().__init__()
        if len({(tower.n_rows, tower.dim) for tower in towers}) != 1:
            sizes = [(type(tower).__name__, tower.n_rows, tower.dim) for tower in towers]
            raise ValueError(f"the towers must have the same n_rows and dim, got {sizes}")
        self.towers = nn.ModuleList(towers)
        self.n_rows, self.dim = towers[0].n_rows, towers[0].dim

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        return sum(tower(rows) for tower in self.towers)

    def embed(self, things: Sequence) -> Tensor:
        """The sum of the parts' `embed`."""
        return sum(tower.embed(things) for tower in self.towers)


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
    item_weights : ndarray (n_items,) > 0, optional: multiplied into the history, for example to
        let rare items count for more
    """

    reads_history = True

    def __init__(
        self, items: nn.Module, pooling: str = "sqrt", *, item_weights: np.ndarray | None = None
    ):
        super().__init__()
        if pooling not in ("mean", "sqrt", "attentive"):
            raise ValueError(f'pooling must be "mean", "sqrt" or "attentive", got {pooling!r}')
        self.items, self.pooling = items, pooling
        self.n_items, self.dim = items.n_rows, items.dim
        weights = np.ones(self.n_items) if item_weights is None else np.asarray(item_weights)
        if weights.shape != (self.n_items,) or not (weights > 0).all():
            raise ValueError(f"item_weights must be {self.n_items} positive numbers")
        self.item_weights = weights.astype(np.float64)
        if pooling == "attentive":
            self.attention = nn.Linear(self.dim, self.dim)  # W
            self.query = nn.Linear(self.dim, 1, bias=False)  # q
            nn.init.zeros_(self.query.weight)  # start from the mean

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items) of weights > 0."""
        if history.shape[1] != self.n_items:
            raise ValueError(f"history has {history.shape[1]} items, the tower {self.n_items}")
        history = as_likes(history, "history")
        columns, place = np.unique(history.indices, return_inverse=True)
        device = next(self.parameters()).device
        vectors = self.items(torch.from_numpy(columns.astype(np.int64)).to(device))
        vectors = at_least_float32(vectors)  # and with them the weights
        weights = np.zeros((history.shape[0], len(columns)))
        users = np.repeat(np.arange(len(weights)), np.diff(history.indptr))
        weights[users, place] = history.data * self.item_weights[history.indices]
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
        weights = hashlib.sha256(self.item_weights).hexdigest()[:16]
        return {"pooling": self.pooling, "item_weights": weights}


class TextHistoryTower(nn.Module):
    """A user is one text: the titles they liked, read together by BERT, then a head.

    Of a long history `max_titles` are taken, evenly spaced over the catalogue's order.

    Parameters
    ----------
    encoder : TextEncoder
    titles : sequence of str, one per item
    dim, hidden, dropout : see `ProjectionHead`
    max_titles : int; beyond the encoder's `max_tokens` nothing is read
    """

    reads_history = True

    def __init__(
        self,
        encoder: Encoder,
        titles: Sequence[str],
        dim: int,
        *,
        max_titles: int = 15,
        hidden: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder, self.titles, self.max_titles = encoder, list(titles), max_titles
        self.n_items, self.dim = len(self.titles), dim
        self.head = ProjectionHead(encoder.dim, dim, hidden=hidden, dropout=dropout)

    def train(self, mode: bool = True) -> TextHistoryTower:
        """Training mode; a frozen encoder stays in evaluation mode, without dropout."""
        return train_with_encoder(self, super().train, mode)

    def texts(self, history: sparse.csr_matrix) -> list[str]:
        """What BERT reads of each user."""
        history = as_likes(history, "history", self.n_items)
        rows = np.split(history.indices, history.indptr[1:-1])
        n = [min(len(row), self.max_titles) for row in rows]
        chosen = [
            row[np.linspace(0, len(row) - 1, k).round().astype(int)] if k else []
            for row, k in zip(rows, n, strict=True)
        ]
        return ["; ".join(self.titles[column] for column in columns) for columns in chosen]

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items)."""
        return self.embed(self.texts(history))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Users as texts, for example a query."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder.n_trainable > 0):
            vectors = [
                self.encoder(self.encoder.prepare(texts[start : start + 64]))
                for start in range(0, len(texts), 64)
            ]
        return self.head(torch.cat(vectors))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        digest = hashlib.sha256("\n".join(self.titles).encode()).hexdigest()[:16]
        return {"titles": digest, "max_titles": self.max_titles, **self.encoder.settings}


def train_with_encoder(tower: nn.Module, train: Callable, mode: bool) -> nn.Module:
    """Set `tower`, by its base class's `train`, and leave frozen encoders without dropout."""
    train(mode)
    tower.encoder.train(mode and tower.encoder.n_trainable > 0)
    return tower
