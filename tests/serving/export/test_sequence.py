"""The forward pass in NumPy is torch's, and other models are refused."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import HSTUBlock, SASRec
from recsys_tutorial.models.towers import FeatureTower, IdTower, SumTower
from recsys_tutorial.serving.export import SequenceScores, sequence_tables

N_ITEMS = 30
rng = np.random.default_rng(0)
DENSE = rng.random((12, N_ITEMS)) < 0.3
DENSE[0], DENSE[1] = False, True  # who liked nothing, and who liked more than is read
LIKES = sparse.csr_matrix(DENSE.astype(float))
TIMES = LIKES.copy()
TIMES.data = rng.permutation(LIKES.nnz).astype(float)


def model(**options):
    torch.manual_seed(0)
    tower = SumTower(IdTower(N_ITEMS, 8), FeatureTower(rng.normal(size=(N_ITEMS, 5)), 8))
    options = {"popularity_prior": True, "max_length": 10, "dtype": torch.float64} | options
    return SASRec(tower, **options)


@pytest.fixture(scope="module")
def fitted():
    return model().fit(LIKES, TIMES, epochs=3, batch_size=4)


def exact(fitted):
    """The tables with the items' vectors as they are, for what int8 leaves out of the question."""
    tables = sequence_tables(fitted)
    vectors = fitted.encode_items()[:, :-1]
    return tables | {"numbers": vectors, "scales": np.ones(N_ITEMS)}


def test_scores_are_torchs(fitted):
    wanted = fitted.score(LIKES, TIMES)
    found = SequenceScores(exact(fitted)).score(LIKES, TIMES)
    # weights are float32: 6e-8 of numbers of about 1, through two blocks
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert np.ptp(wanted, axis=1).min() > 1e-2  # what 1e-5 is to be held against
    assert SequenceScores(exact(fitted)).n_blocks == 2


def test_short_vectors_move_scores_little(fitted):
    wanted = fitted.score(LIKES, TIMES)
    found = SequenceScores(sequence_tables(fitted)).score(LIKES, TIMES)
    off = np.abs(found - wanted).max(axis=1) / np.ptp(wanted, axis=1)
    assert 0 < off.max() < 0.05
    shuffled = sequence_tables(fitted)
    shuffled["positions"] = shuffled["positions"][::-1]
    off = np.abs(SequenceScores(shuffled).score(LIKES, TIMES) - wanted).max(axis=1)
    assert (off / np.ptp(wanted, axis=1)).max() > 0.05


def test_order_matters_and_who_liked_nothing_has_the_prior(fitted):
    scores = SequenceScores(sequence_tables(fitted))
    other = TIMES.copy()
    other.data = other.data[::-1].copy()
    assert np.abs(scores.score(LIKES, TIMES) - scores.score(LIKES, other)).max() > 1e-3
    np.testing.assert_allclose(scores.score(LIKES, TIMES)[0], scores.tables["prior"])


@pytest.mark.parametrize(
    "options",
    [
        {"n_heads": 2},
        {"positions": False},
        {"popularity_prior": False},
        {"clock": True},
        {"block": HSTUBlock},
    ],
)
def test_models_of_another_form_are_refused(options):
    with pytest.raises(ValueError, match="only a SASRec of AttentionBlocks with one head"):
        sequence_tables(model(**options))
