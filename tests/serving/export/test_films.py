"""The page's tables, written and read again, score as the models that they were made of."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import (
    EASE,
    Blend,
    ContentKernel,
    ItemKNN,
    SASRec,
    TwoTower,
    towers,
    unit_rows,
)
from recsys_tutorial.ranking import standardize
from recsys_tutorial.serving.export import (
    PageModels,
    distilled,
    films_files,
    read_bundle,
    write_bundle,
)
from recsys_tutorial.serving.export.films import BLEND, MODELS

N = 25
rng = np.random.default_rng(0)
DENSE = rng.random((50, N)) < 0.25
DENSE[:, 4] = False  # what nobody liked
TRAIN = sparse.csr_matrix(DENSE.astype(float))
TIMES = TRAIN.copy()
TIMES.data = rng.permutation(TRAIN.nnz).astype(float)
ITEMS = pd.DataFrame(
    {
        "title": [f"Film {i}, The ({1950 + i})" for i in range(N)],
        "genres": ["(no genres listed)", *["Comedy|War"] * (N - 1)],
    }
)
CONTENT = rng.normal(size=(N, 6))
FEATURES = rng.normal(size=(N, 5))


def two_tower(**options):
    torch.manual_seed(0)
    users = towers.HistoryTower(towers.FeatureTower(FEATURES, 8), options.pop("pooling", "sqrt"))
    options = {"popularity_prior": True, "dtype": torch.float64} | options
    return TwoTower(users, towers.FeatureTower(FEATURES, 8), **options)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    sasrec = SASRec(towers.IdTower(N, 8), popularity_prior=True, max_length=10, dtype=torch.float64)
    return {
        "knn": ItemKNN(10).fit(TRAIN),
        "ease": EASE(5.0).fit(TRAIN),
        "tower": two_tower().fit(TRAIN, epochs=2),
        "sasrec": sasrec.fit(TRAIN, TIMES, epochs=2),
    }


@pytest.fixture(scope="module")
def words():
    texts = [f"w{i % 9} w{i % 7}" for i in range(N)]
    return distilled(texts, CONTENT, [f"w{i}" for i in range(9)])


def files(models, words, **options):
    given = {"items": ITEMS, "likes": np.asarray(TRAIN.sum(axis=0)).ravel()}
    given |= {"liked": np.unique(TRAIN.indices), "content": CONTENT, "words": words, **models}
    return films_files(**given | options)


@pytest.fixture(scope="module")
def exported(models, words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, files(models, words, n_knn=N, n_ease=N), {})
    return PageModels(read_bundle(folder)[0])


def test_every_model_scores_as_what_it_was_made_of(exported, models):
    kernel = ContentKernel(CONTENT, 1.0, center=False)
    parts = {"EASE": models["ease"], "content": kernel, "text tower": models["tower"]}
    whole = {
        "item-kNN": models["knn"].score(TRAIN),
        "EASE": models["ease"].score(TRAIN),
        "text tower": models["tower"].score(TRAIN),
        "SASRec": models["sasrec"].score(TRAIN, TIMES),
        "blend": Blend([parts[name] for name in BLEND], list(BLEND.values())).score(TRAIN),
    }
    assert {*whole, "popularity"} == set(MODELS)
    for name, scores in whole.items():
        wanted, found = standardize(scores), exported.score(name, TRAIN, TIMES)
        off, other = (np.abs(found - w).mean() for w in (wanted, np.roll(wanted, 1, axis=0)))
        # In standard deviations: int8 moves scores by some thousandths, another user's are far off.
        assert off < 0.02 and off < 0.2 * other, (name, off, other)
    popular = exported.score("popularity", TRAIN)
    expected = standardize(np.log1p(DENSE.sum(axis=0))[None])
    np.testing.assert_allclose(popular, np.tile(expected, (50, 1)), atol=1e-6)  # float32


def test_titles_and_what_is_cut(exported, models, words):
    assert exported.titles[:2] == ["The Film 0 (1950)", "The Film 1 (1951)"]
    few = PageModels(files(models, words, n_knn=2, n_ease=3))
    assert few._models["EASE"].neighbours.counts.max() == 3
    assert few._models["item-kNN"].neighbours.counts.max() == 2
    assert few._models["EASE"].neighbours.counts[4] == 0  # nobody liked it


def test_wishes_are_cosines_with_what_films_are_about(exported, words):
    found = exported.wish(["w3 w3", "unknown"])
    expected = words.encode(["w3 w3"])[0] @ unit_rows(CONTENT).T
    np.testing.assert_allclose(found[0], expected, atol=0.02)  # int8
    assert (found[1] == 0).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"content": CONTENT[:, :4]}, r"content must be \(25, 6\): \(25, 4\)"),
        ({"tower": two_tower(popularity_prior=False)}, "pooled by 'sqrt' and have a prior"),
        ({"tower": two_tower(pooling="mean")}, "pooled by 'sqrt' and have a prior"),
        ({"tower": two_tower(similarity="cosine")}, "similarity must be 'dot', got 'cosine'"),
    ],
)
def test_models_of_another_form_are_refused(models, words, change, message):
    with pytest.raises(ValueError, match=message):
        files(models, words, **change)


def test_another_name_is_refused(exported):
    with pytest.raises(ValueError, match="name must be 'popularity', "):
        exported.score("ALS", TRAIN)
