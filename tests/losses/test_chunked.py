"""InfoNCE in chunks is InfoNCE, with less in memory."""

import pytest
import torch

from recsys_tutorial.losses import info_nce, info_nce_in_chunks
from tests.losses.test_contrastive import vectors


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
@pytest.mark.parametrize("with_q", [False, True])
@pytest.mark.parametrize("ids", [None, [0, 1, 0, 2, 3, 3, 4], [0] * 6 + [1], [5] * 7])
def test_in_chunks_is_info_nce_with_its_gradients(chunk_size, with_q, ids):
    a, p = (vectors(7, 5, seed=s).requires_grad_() for s in (1, 2))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    options = {"temperature": tau}
    options["log_q"] = torch.linspace(0.05, 0.3, 7).log() if with_q else None
    options["positive_ids"] = None if ids is None else torch.tensor(ids)
    whole, chunked = info_nce(a, p, **options), info_nce_in_chunks(
        a, p, chunk_size=chunk_size, **options
    )  # fmt: skip
    assert torch.allclose(whole, chunked, rtol=1e-12, atol=1e-12)
    for x, y in zip(
        torch.autograd.grad(whole, (a, p, tau)), torch.autograd.grad(chunked, (a, p, tau)),
        strict=True,
    ):  # fmt: skip
        assert torch.allclose(x, y, rtol=1e-12, atol=1e-12)


def test_in_chunks_keeps_no_scores_for_the_backward_pass():
    """Nothing larger than the vectors is kept; `info_nce` keeps batch x batch."""
    kept = []

    def note(t):
        kept.append(t.numel())
        return t

    n, dim = 64, 4
    a, p = (vectors(n, dim, seed=s).requires_grad_() for s in (1, 2))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        info_nce_in_chunks(a, p, temperature=0.5, chunk_size=8)
        assert max(kept) <= n * dim
        info_nce(a, p, temperature=0.5)
    assert max(kept) == n * n


@pytest.mark.parametrize(
    "options, message",
    [
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": 2, "temperature": 0.0}, "temperature"),
        ({"chunk_size": 2, "positive_ids": torch.zeros(2)}, "positive_ids"),
        ({"chunk_size": 2, "log_q": torch.zeros(2)}, "log_q"),
    ],
)
def test_in_chunks_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        info_nce_in_chunks(vectors(3, 2), vectors(3, 2), **{"temperature": 1.0, **options})
    with pytest.raises(ValueError, match="both sides must be"):
        info_nce_in_chunks(vectors(3, 2), vectors(4, 2), temperature=1.0, chunk_size=1)
    with pytest.raises(ValueError, match="no row has a negative"):
        info_nce_in_chunks(vectors(1, 2), vectors(1, 2), temperature=1.0, chunk_size=1)


@pytest.mark.parametrize("side", ["anchors", "positives"])
def test_in_chunks_names_the_row_that_spoils_the_loss(side):
    tensors = {"anchors": vectors(3, 2), "positives": vectors(3, 2, seed=1)}
    tensors[side][2] = torch.nan
    with pytest.raises(ValueError, match=f"row 2 of {side} holds nan"):
        info_nce_in_chunks(**tensors, temperature=1.0, chunk_size=2)
