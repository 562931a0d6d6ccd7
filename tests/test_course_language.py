"""What chapter 14 measures with, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys_tutorial import course


def lists(seed=0, n_users=6, n=30):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(rng.permutation(100)[:n_users], n),
            "place": np.tile(np.arange(n), n_users),
            "liked": (rng.random(n_users * n) < 0.2).astype(int),
        }
    )
    frame["n_targets"] = frame.groupby("user_id")["liked"].transform("sum")
    return frame, rng.normal(size=len(frame))


def test_ndcg_of_lists_is_scikit_learns():
    frame, scores = lists()
    found = course.list_ndcg(frame, scores)
    expected = [
        ndcg_score([part["liked"]], [scores[part.index]], k=10)
        for _, part in frame.groupby("user_id", sort=False)
    ]
    np.testing.assert_allclose(found, expected)
    assert found.index.tolist() == frame["user_id"].unique().tolist()


def test_targets_that_are_no_candidates_count_and_the_order_of_rows_does_not():
    frame, scores = lists()
    more = course.list_ndcg(frame.assign(n_targets=frame["n_targets"] + 3), scores)
    assert (more < course.list_ndcg(frame, scores)).all()
    dealt = np.random.default_rng(1).permutation(len(frame))
    again = course.list_ndcg(frame.iloc[dealt].reset_index(drop=True), scores[dealt])
    pd.testing.assert_series_equal(again.sort_index(), course.list_ndcg(frame, scores).sort_index())


def test_equal_scores_stay_in_the_first_stages_order():
    frame, _ = lists()
    tied = course.list_ndcg(frame, np.zeros(len(frame)))
    pd.testing.assert_series_equal(tied, course.list_ndcg(frame, -frame["place"].to_numpy()))


def test_pairs_in_the_right_order_are_scikit_learns_auc():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"wish_id": np.repeat([4, 2, 9], 20), "right": rng.integers(0, 2, 60)})
    frame.loc[frame["wish_id"] == 9, "right"] = 1  # nothing to compare with
    scores = rng.integers(0, 5, 60).astype(float)  # ties
    found = course.right_order(frame, scores, "wish_id")
    assert found.index.tolist() == [2, 4]
    for name, value in found.items():
        own = frame["wish_id"] == name
        assert value == pytest.approx(roc_auc_score(frame["right"][own], scores[own]))


def test_rank_agreement_is_within_groups():
    table = pd.DataFrame({"u": [1, 1, 1, 2, 2, 2, 3, 3], "a": [1, 2, 3, 9, 8, 7, 5, 5]})
    table["b"] = [10, 20, 30, 1, 2, 3, 1, 2]
    assert course.rank_agreement(table, "u", "a", "b").to_dict() == {1: 1.0, 2: -1.0}


def test_means_hold_what_they_are_means_of():
    found = course.means({"a": np.arange(50.0), "b": [1.0, 1.0]})
    assert found.loc["a", "low"] < 24.5 < found.loc["a", "high"] and found["n"].tolist() == [50, 2]
    assert found.loc["b", ["mean", "low", "high"]].tolist() == [1, 1, 1]


def test_a_head_learns_a_planted_map_and_nothing_from_shuffled_answers():
    rng = np.random.default_rng(0)
    films = rng.normal(size=(80, 12))
    turned = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    texts = rng.normal(size=(120, 12))
    films, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (films, texts))
    truth = texts @ turned @ films.T
    relevant = truth >= -np.sort(-truth, axis=1)[:, [4]]
    learn, test = slice(80), slice(80, None)

    def quality(head):
        scores = texts[test] @ head @ films.T
        return np.mean([roc_auc_score(r, s) for r, s in zip(relevant[test], scores, strict=True)])

    learned = quality(course.text_head(texts[learn], films, relevant[learn], 1e-4, 300))
    untaught = quality(np.eye(12))
    dealt = relevant[learn][rng.permutation(80)]
    fooled = quality(course.text_head(texts[learn], films, dealt, 1e-4, 300))
    assert learned > 0.9 and untaught < 0.65 and fooled < 0.65
    stiff = course.text_head(texts[learn], films, relevant[learn], 1e6)
    np.testing.assert_allclose(stiff, np.eye(12), atol=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, s: course.list_ndcg(f, s[:-1]), "expected 180 scores"),
        (lambda f, s: course.list_ndcg(f, s * np.nan), "without nan"),
        (lambda f, s: course.list_ndcg(f, s, k=0), "k"),
        (lambda f, s: course.right_order(f, s[:3], "user_id", "liked"), "expected 180 scores"),
        (lambda f, s: course.text_head(np.ones((2, 3)), np.ones((4, 3)), np.ones((2, 3), bool), 1),
         "do not fit"),
        (lambda f, s: course.text_head(np.ones((2, 3)), np.ones((4, 3)), np.eye(2, 4) > 1, 1),
         "text 0 has no relevant film"),
        (lambda f, s: course.text_head(np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 1)) > 0, -1),
         "reg"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(*lists())
