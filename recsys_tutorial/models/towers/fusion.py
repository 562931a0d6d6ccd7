"""One item vector out of several modalities: title, keywords, picture, year, number.

Where they are brought together is a matter of what the towers do before `FusionTower` sees them:

    early           `RawTower`s: features are laid side by side, one head reads them all
    intermediate    each modality has a tower of its own, and their vectors are fused
    late            no fusion here: a model for each modality, and their scores are added
                    (`content.Blend`, or the sum of the scores of several two-towers)

(Baltrusaitis, Ahuja & Morency 2019, doi:10.1109/TPAMI.2018.2798607, section 6.) The module is long
because the ways to fuse stand side by side in one class, to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_one_of
from recsys_tutorial._torch.precision import leave_out
from recsys_tutorial.models.towers.modalities import gradient_norms, modality_losses
from recsys_tutorial.models.towers.rows import ProjectionHead, RawTower

__all__ = ["FusionTower", "RawTower", "gradient_norms", "modality_losses"]


class FusionTower(nn.Module):
    """Several towers over the same rows, one vector: (n, dim).

    With h_m the vector of modality m, and sums over the modalities that an item has:

        "mean"       v = sum h_m / number of them
        "concat"     v = head([h_1; h_2; ...; there_1; there_2; ...]), 0 for what is missing, and
                     the flags there_m say so
        "gate"       v = sum a_m h_m,  a = softmax of W [h_1; h_2; ...] + b: which modality speaks
                     is decided item by item (after the gated unit of Arevalo et al. 2017,
                     arXiv:1702.01992)
        "attention"  h'_m = h_m + O sum_l b_ml V h_l,  b_m = softmax over l of (Q h_m . K h_l) /
                     sqrt(dim): each modality reads the others before the mean is taken

    An item that has none of them gets 0.

    Parameters
    ----------
    towers : mapping name -> tower over rows. Equally long vectors, except for "concat".
    dim : int, length of the fused vector; by default the towers'
    how : "mean", "concat", "gate" or "attention"
    present : mapping name -> bool ndarray (n_rows,), optional: False where an item lacks this
        modality. Names left out are there everywhere.
    modality_dropout : float
        Share of the (item, modality) pairs that a training step leaves out, so that the towers
        learn to do without each other (Neverova et al. 2016, doi:10.1109/TPAMI.2015.2461544). An
        item never loses all it has.
    **head : hidden and dropout of the head of "concat", see `ProjectionHead`

    Attributes
    ----------
    in_use : bool Tensor (n_modalities,), see `without`

    Raises
    ------
    ValueError
        For another `how`, a number out of range, towers that do not fit together, and `present` of
        another form or for a name without a tower.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_tutorial.models.towers import FeatureTower
    >>> words, pixels = np.eye(3), np.ones((3, 2))
    >>> towers = {"words": FeatureTower(words, 4), "picture": FeatureTower(pixels, 4)}
    >>> tower = FusionTower(towers, how="gate", present={"picture": np.array([True, True, False])})
    >>> tower(torch.tensor([0, 2])).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        dim: int | None = None,
        *,
        how: str = "mean",
        present: Mapping[str, np.ndarray] | None = None,
        modality_dropout: float = 0.0,
        **head,
    ):
        super().__init__()
        check_one_of(("mean", "concat", "gate", "attention"), how=how)
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"modality_dropout must be below 1, got {modality_dropout}")
        sizes = {name: (tower.n_rows, tower.dim) for name, tower in towers.items()}
        if not sizes:
            raise ValueError("give at least one tower")
        if len({n for n, _ in sizes.values()}) != 1:
            raise ValueError(f"the towers must have the same rows, got (rows, dim) {sizes}")
        lengths = [d for _, d in sizes.values()]
        dim = lengths[0] if dim is None else dim
        if how != "concat" and set(lengths) != {dim}:
            raise ValueError(f"{how!r} needs vectors of length {dim}, got (rows, dim) {sizes}")
        self.towers, self.how = nn.ModuleDict(towers), how
        self.names, self.n_rows, self.dim = list(towers), next(iter(sizes.values()))[0], dim
        self.modality_dropout = modality_dropout
        there = self._checked_presence({} if present is None else present)
        self.register_buffer("present", torch.from_numpy(there), persistent=False)
        # A buffer, so that `TwoTower` notices the change and computes its catalogue anew.
        self.register_buffer("in_use", torch.ones(len(towers), dtype=torch.bool), persistent=False)
        if how == "concat":
            self.head = ProjectionHead(sum(lengths) + len(lengths), dim, **head)
        elif how == "gate":
            self.gate = nn.Linear(len(towers) * dim, len(towers))  # W, b
            nn.init.zeros_(self.gate.weight)  # start from the mean
            nn.init.zeros_(self.gate.bias)
        elif how == "attention":
            self.query_key_value = nn.Linear(dim, 3 * dim)  # Q, K, V
            self.out = nn.Linear(dim, dim)  # O

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None: (n, dim)."""
        return self.fuse(*self.parts(rows))

    def parts(self, rows: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """What is fused; in training some modalities are dropped.

        Parameters
        ----------
        rows : int64 Tensor (n,), or None for all

        Returns
        -------
        vectors : list of M Tensors (n, dim_m)
        there : bool Tensor (n, M)
        """
        there = self.present if rows is None else self.present[rows]  # (n, M)
        return [tower(rows) for tower in self.towers.values()], self._without_dropped(
            there & self.in_use
        )

    def embed(self, things: Mapping[str, Sequence]) -> Tensor:
        """Of things that have no row: name -> what its tower's `embed` takes, all equally many.

        A modality that is not named is missing.

        Raises
        ------
        ValueError for a name without a tower, and for none or unequally many things.
        """
        self._check_names("embed", things)
        if len({len(values) for values in things.values()}) != 1:
            counts = {name: len(values) for name, values in things.items()}
            raise ValueError(f"name at least one modality, and equally many things: {counts}")
        n = len(next(iter(things.values())))
        named = torch.tensor([name in things for name in self.names], device=self.in_use.device)
        known = {name: self.towers[name].embed(values) for name, values in things.items()}
        like = next(iter(known.values()))
        parts = [known.get(m, like.new_zeros(n, self.towers[m].dim)) for m in self.names]
        return self.fuse(parts, (named & self.in_use).expand(n, -1))

    def fuse(self, parts: Sequence[Tensor], there: Tensor) -> Tensor:
        """Fuse the modalities' vectors by the equation of `how`.

        Parameters
        ----------
        parts : sequence of M Tensors (n, dim_m)
        there : bool Tensor (n, M)

        Returns
        -------
        Tensor (n, dim)
        """
        parts = [part * seen[:, None] for part, seen in zip(parts, there.T, strict=True)]
        if self.how == "concat":
            fused = self.head(torch.cat([*parts, there.to(parts[0])], dim=1))
            return fused * there.any(1, keepdim=True)
        h = torch.stack(parts, dim=1)  # (n, M, dim)
        if self.how == "gate":
            # (n, M); where an item has nothing, its h is 0
            a = leave_out(self.gate(h.flatten(1)), ~there).softmax(1)
            return (a[:, None, :] @ h)[:, 0]  # (n, dim)
        if self.how == "attention":
            q, k, v = self.query_key_value(h).chunk(3, dim=2)  # (n, M, dim) each
            logits = q @ k.transpose(1, 2) / self.dim**0.5  # (n, M, M)
            b = leave_out(logits, ~there[:, None, :]).softmax(2)
            h = (h + self.out(b @ v)) * there[:, :, None]  # (n, M, dim)
        return h.sum(1) / there.sum(1, keepdim=True).clamp(min=1)

    @contextmanager
    def without(self, *names: str) -> Iterator[FusionTower]:
        """Within the block these modalities are missing from every item.

        Parameters
        ----------
        *names : str

        Yields
        ------
        the tower

        Raises
        ------
        ValueError for a name without a tower.
        """
        self._check_names("without", names)
        before = self.in_use.clone()
        self.in_use &= torch.tensor([m not in names for m in self.names]).to(before)
        try:
            yield self
        finally:
            self.in_use.copy_(before)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"how": self.how, "modalities": self.names, "present": self.present.sum(0).tolist()}

    def _without_dropped(self, there: Tensor) -> Tensor:
        if not (self.training and self.modality_dropout):
            return there
        kept = there & (torch.rand(there.shape, device=there.device) >= self.modality_dropout)
        return torch.where(kept.any(1, keepdim=True), kept, there)

    def _check_names(self, what: str, names: Iterable[str]) -> None:
        if unknown := set(names) - set(self.names):
            raise ValueError(f"{what}: no tower for {sorted(unknown)}, there are {self.names}")

    def _checked_presence(self, present: Mapping[str, np.ndarray]) -> np.ndarray:
        self._check_names("present", present)
        there = np.ones((self.n_rows, len(self.names)), dtype=bool)
        for name, column in present.items():
            column = np.asarray(column)
            if column.shape != (self.n_rows,) or column.dtype != bool:
                expected = f"present[{name!r}] must be a bool array of {self.n_rows} rows"
                raise ValueError(f"{expected}, got {column.dtype} {column.shape}")
            there[:, self.names.index(name)] = column
        return there
