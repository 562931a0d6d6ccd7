"""What is chosen from scores must not hang on their last bit; the draws are in test_sampling.py."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.hard_negatives import HardNegatives, on_grid
from recsys_tutorial.retrieval import top_k


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), dim=st.integers(1, 300), power=st.integers(-30, 30))
def test_dot_products_of_rounded_vectors_are_exact_in_any_order(seed, dim, power):
    rng = np.random.default_rng(seed)
    u, v = on_grid(rng.normal(size=(20, dim)) * 2.0**power), on_grid(rng.normal(size=(20, dim)))
    order = rng.permutation(dim)
    dots = [(u @ v.T), (u[:, order] @ v[:, order].T), np.einsum("ad,bd->ab", u, v)]
    # Equality is meant: whole multiples of one step below 2^53 have no rounding error.
    assert (dots[0] == dots[1]).all() and (dots[0] == dots[2]).all()


def test_rounding_moves_a_number_by_half_a_millionth_of_the_largest():
    values = np.random.default_rng(0).normal(size=(50, 8)) * 37
    assert 0 < np.abs(on_grid(values) - values).max() <= 2.0**-20 * np.abs(values).max()
    np.testing.assert_array_equal(on_grid(on_grid(values)), on_grid(values))
    assert on_grid(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_another_last_bit_draws_the_same_negatives():
    """Forty films of which each has nine twins: the search meets near ties at every border."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(60, 16)), np.repeat(rng.normal(size=(40, 16)), 10, axis=0)
    train = sparse.csr_matrix((60, 400))

    def disturbed(values):
        return values + rng.integers(-1, 2, size=values.shape) * np.spacing(values)

    found, without_rounding = [], []
    for _ in range(5):
        pair = disturbed(users), disturbed(items)
        hard = HardNegatives(train, depth=15, margin=0.5).refresh(*pair)
        drawn = hard.draw(np.arange(60), np.random.default_rng(1), 4, positives=np.arange(60))
        found.append((hard.items_.tolist(), drawn.tolist()))
        without_rounding.append(top_k(*pair, 15)[0].tolist())
    assert all(each == found[0] for each in found)
    assert any(each != without_rounding[0] for each in without_rounding)  # else it shows nothing
