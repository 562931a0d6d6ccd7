"""Codes by a network that learns to be read through them: the residual-quantised autoencoder.

Two lines in five say what the one class does and takes, which makes the module a little long.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, check_shape, finite_vectors
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.semantic_ids.residual import nearest_codewords, residual_kmeans
from recsys_tutorial.training import train as run_training

__all__ = ["RQVAE"]


class RQVAE(nn.Module):
    """An autoencoder whose middle is a sum of codewords, one of each level.

        z = f(x),  r_0 = z,  c_l = argmin_c |r_l - e_lc|,  r_{l+1} = r_l - e_{l,c_l}
        q = sum_l e_{l,c_l},   x' = g(z + sg(q - z))
        loss = |x - x'|^2 + sum_l |sg(r_l) - e_{l,c_l}|^2 + commitment |r_l - sg(e_{l,c_l})|^2

    sg stops the gradient: the decoder sees q, and the encoder learns as if it had seen z (the
    straight-through estimator: Bengio et al. 2013, arXiv:1308.3432). The second term moves the
    codewords to what they stand for, the third keeps the encoder near them (van den Oord et al.
    2017, arXiv:1711.00937, equation 3; in levels: Zeghidour et al. 2021, arXiv:2107.03312; for
    items: Rajput et al. 2023, arXiv:2305.05065).

    A codeword that nothing is near gets no gradient and stays where it is: the codebook collapses.
    Against that the codewords start at the centres of `residual_kmeans` of the first z, and one
    that no vector of a pass had is put on a vector's residual.

    Start values come from torch's global generator: call ``torch.manual_seed`` before.

    Parameters
    ----------
    dim : int, of the vectors
    sizes : int for each level, how many codewords
    code_dim : int, of the codewords
    hidden : int, width of the one hidden layer of f and of g
    commitment : float >= 0
    kmeans_start, revive : bool, the two remedies; without the first, codewords start at random
    dtype : of what is trained

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`
    """

    def __init__(
        self,
        dim: int,
        sizes: tuple[int, ...] = (64, 64, 64),
        *,
        code_dim: int = 32,
        hidden: int = 256,
        commitment: float = 0.25,
        kmeans_start: bool = True,
        revive: bool = True,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        check_at_least(1, dim=dim, code_dim=code_dim, hidden=hidden, n_levels=len(sizes))
        for size in sizes:
            check_at_least(1, size=size)
        check_at_least(0, commitment=commitment)
        self.sizes, self.commitment = tuple(sizes), commitment
        self.kmeans_start, self.revive = kmeans_start, revive
        self.encoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, code_dim))
        self.decoder = nn.Sequential(nn.Linear(code_dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.codebooks = nn.ParameterList(nn.Parameter(torch.randn(s, code_dim)) for s in sizes)
        self.to(dtype)

    def fit(
        self,
        vectors: np.ndarray,
        *,
        epochs: int = 100,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        seed: int = 0,
        **options,
    ) -> RQVAE:
        """Learn to rebuild the vectors; return self.

        Parameters
        ----------
        vectors : ndarray (n, dim)
        epochs, batch_size, learning_rate, seed, **options : see `training.train`

        Raises
        ------
        ValueError
            For vectors of another length, not finite, or fewer than codewords of a level.
        """
        x = self._checked(vectors)
        if len(x) < max(self.sizes):
            raise ValueError(f"{len(x)} vectors cannot fill {max(self.sizes)} codewords")
        if self.kmeans_start:
            with evaluating(self):
                starts = residual_kmeans(self.encoder(x).cpu().numpy(), self.sizes, seed=seed)[1]
                for codebook, start in zip(self.codebooks, starts, strict=True):
                    codebook.copy_(torch.from_numpy(start))
        every = -(-len(x) // batch_size)  # steps of a pass
        used, step = [np.zeros(size, bool) for size in self.sizes], 0

        def loss(model, rows, rng):
            nonlocal step
            batch = x[torch.from_numpy(rows)].to(self.codebooks[0].device)
            value, codes, residuals = self.loss(batch)
            for level, words in enumerate(codes.T):
                used[level][words] = True
            step += 1
            if self.revive and step % every == 0:
                self._revive(used, residuals, rng)
                for words in used:
                    words[:] = False
            return value

        options |= {"epochs": epochs, "batch_size": batch_size, "seed": seed}
        self.history_ = run_training(self, loss, len(x), learning_rate=learning_rate, **options)
        return self

    def loss(self, x: Tensor) -> tuple[Tensor, np.ndarray, list[Tensor]]:
        """The loss above, the codes, and each level's residuals before it.

        Parameters
        ----------
        x : Tensor (n, dim)

        Returns
        -------
        scalar Tensor, the mean over vectors; int64 ndarray (n, n_levels); Tensors (n, code_dim)
        """
        z = self.encoder(x)  # (n, code_dim)
        left, total, words, residuals = z, torch.zeros_like(z), [], []
        penalty = z.new_zeros(())
        for codebook in self.codebooks:
            words.append(_nearest(left, codebook))
            chosen = codebook[torch.from_numpy(words[-1]).to(codebook.device)]  # (n, code_dim)
            penalty = penalty + ((left.detach() - chosen) ** 2).sum(1).mean()
            penalty = penalty + self.commitment * ((left - chosen.detach()) ** 2).sum(1).mean()
            residuals.append(left.detach())
            left, total = left - chosen.detach(), total + chosen.detach()
        rebuilt = self.decoder(z + (total - z).detach())  # (n, dim)
        error = ((x - rebuilt) ** 2).sum(1).mean()
        return error + penalty, np.column_stack(words), residuals

    def codes(self, vectors: np.ndarray) -> np.ndarray:
        """The code of each vector.

        Parameters
        ----------
        vectors : ndarray (n, dim)

        Returns
        -------
        int64 ndarray (n, n_levels)

        Raises
        ------
        ValueError
            For vectors of another length or not finite.
        """
        x = self._checked(vectors).to(self.codebooks[0].device)
        with evaluating(self):
            return self.loss(x)[1]

    def rebuild(self, vectors: np.ndarray) -> np.ndarray:
        """x', what the decoder makes of the codes.

        Parameters
        ----------
        vectors : ndarray (n, dim)

        Returns
        -------
        ndarray (n, dim)

        Raises
        ------
        ValueError
            For vectors of another length or not finite.
        """
        words = torch.from_numpy(self.codes(vectors))
        with evaluating(self):
            total = sum(book[word] for book, word in zip(self.codebooks, words.T, strict=True))
            return self.decoder(total).cpu().numpy()

    def _checked(self, vectors: np.ndarray) -> Tensor:
        vectors = finite_vectors("vectors", vectors, 1)
        check_shape("vectors", vectors, (len(vectors), self.encoder[0].in_features))
        return torch.from_numpy(vectors).to(self.codebooks[0].dtype)

    @torch.no_grad()
    def _revive(self, used: list[np.ndarray], residuals: list[Tensor], rng) -> None:
        """Put each word that no vector had on the residual of one of the last batch, at random."""
        for codebook, words, left in zip(self.codebooks, used, residuals, strict=True):
            dead = np.flatnonzero(~words)
            places = rng.integers(len(left), size=len(dead))
            codebook[torch.from_numpy(dead)] = left[torch.from_numpy(places).to(left.device)]


def _nearest(left: Tensor, codebook: Tensor) -> np.ndarray:
    return nearest_codewords(left.detach().cpu().numpy(), codebook.detach().cpu().numpy())
