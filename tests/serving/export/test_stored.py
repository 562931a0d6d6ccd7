"""The committed tables of "Try it" are what the models of the last window make, and small."""

import json

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.course import MODELS as COURSE
from recsys_tutorial.datasets import data_dir, load_movielens, load_wishes, relevant_films
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.metrics import ndcg_at_k
from recsys_tutorial.ranking import rank, standardize
from recsys_tutorial.serving.export import PageModels, read_bundle
from recsys_tutorial.serving.export.films import MODELS
from recsys_tutorial.splits import rolling_split

FOLDER = data_dir() / "try_it"


@pytest.fixture(scope="module")
def bundle():
    return read_bundle(FOLDER)


@pytest.fixture(scope="module")
def window():
    return rolling_split(*load_movielens()).test[-1]


@pytest.fixture(scope="module")
def stored(bundle):
    return PageModels(bundle[0])


def test_the_tables_are_small_and_nothing_else_lies_there():
    manifest = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    assert sizes == {path.name: path.stat().st_size for path in FOLDER.glob("*.bin.gz")}
    assert sum(sizes.values()) < 3.1e6
    assert sizes["films.bin.gz"] < 200_000  # the only one that the first view loads


def test_the_manifest_says_what_was_known(bundle, window):
    _, info = bundle
    assert info["n_items"] == len(window.item_ids)
    assert info["n_likes"] == window.train.nnz
    assert info["n_users"] == np.count_nonzero(np.diff(window.train.indptr))


@pytest.mark.parametrize(
    "name, row, same",
    [("EASE", "fading EASE", 0.65), ("item-kNN", "fading item-kNN", 0.35),
     ("popularity", "fading popularity", 0.999)],
)  # fmt: skip
def test_lists_from_the_tables_are_mostly_those_of_the_model(stored, window, name, row, same):
    """What is cut moves some films; another model's lists share far fewer."""
    test = window.test
    model = COURSE[row].fit()(window)
    wanted = rank(standardize(model.score(test.history)).round(9), test.seen, 10)
    found = rank(stored.score(name, test.history).round(9), test.seen, 10)
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, wanted, strict=True)])
    assert shared >= same
    rolled = np.roll(found, 1, axis=0)
    others = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rolled, wanted, strict=True)])
    assert others < shared - 0.1 or name == "popularity"


def test_quality_of_the_last_window_is_as_the_log_of_all_windows_says(stored, window):
    """A tower or SASRec of another training would fall to chance; 30 users give a wide margin."""
    table = pd.read_csv(FOLDER / "compression.csv").set_index("model")
    assert set(table.index) == set(MODELS)
    test = window.test
    for name in MODELS:
        found = evaluate(stored.score(name, test.history, test.history_times).round(9), test)
        assert found["ndcg@10"] > 0.4 * table.loc[name, "tables"], name
        chance = evaluate(
            np.random.default_rng(0).random((len(test), len(window.item_ids))), test
        )["ndcg@10"]  # fmt: skip
        assert found["ndcg@10"] > 5 * chance, name


def test_wishes_find_films_that_satisfy_them(stored, window):
    """Far above the same films in another order, and above words that say nothing."""
    from scipy import sparse

    texts = load_wishes().texts
    texts = texts[texts["split"] == "test"]
    relevant = sparse.csr_matrix(
        relevant_films(texts, window.items, load_movielens().ratings) * 1.0
    )
    scores = stored.wish(list(texts["text"])).round(9)
    found = ndcg_at_k(rank(scores, None, 10), relevant, 10).mean()
    shuffled = ndcg_at_k(rank(np.roll(scores, 40, axis=0), None, 10), relevant, 10).mean()
    assert found > 2 * shuffled and found > 0.04
