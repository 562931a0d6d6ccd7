"""Import paths that the first edition's chapters used lead to the same things as the new ones."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_tutorial._imports import moved

ROOT = Path(__file__).parents[2]
# Every `from recsys_tutorial... import ...` of the first edition's notebooks.
FIRST_EDITION = {
    "recsys_tutorial": "cleaning evaluation geometry leaderboard metrics off_policy plotting "
    "splits",
    "recsys_tutorial.bandits": "LinUCB LinearTastes random_lists with_chance",
    "recsys_tutorial.datasets": "data_dir load_clipart load_movielens",
    "recsys_tutorial.encoders": "ImageEncoder TextEncoder",
    "recsys_tutorial.encoding": "best_device",
    "recsys_tutorial.evaluation": "bootstrap_means compare evaluate rank",
    "recsys_tutorial.genre_queries": "genre_queries learned_films",
    "recsys_tutorial.geometry": "alignment effective_rank spectrum uniformity",
    "recsys_tutorial.grad_cache": "gather_rows in_chunks",
    "recsys_tutorial.hard_negatives": "HardNegatives MixedNegatives",
    "recsys_tutorial.leaderboard": "cost",
    "recsys_tutorial.losses": "bce_loss bpr_loss info_nce multi_positive_nce multinomial_loss "
    "sampled_softmax_loss",
    "recsys_tutorial.metrics": "rmse",
    "recsys_tutorial.models": "BPR BiasedMF Blend ContentKernel EASE ImplicitALS ItemKNN "
    "Popularity "
    "TwoTower",
    "recsys_tutorial.models.content": "attention_scores standardize unit_rows",
    "recsys_tutorial.models.cross_encoder": "CrossEncoder hash_of_users",
    "recsys_tutorial.models.fusion": "FusionTower RawTower gradient_norms modality_losses",
    "recsys_tutorial.models.interaction": "ConvNCF FactorizationMachine FeatureCrosses GMF MLP "
    "NeuMF "
    "PairAttention TargetAttention late_interaction",
    "recsys_tutorial.models.interaction_ranker": "InteractionRanker",
    "recsys_tutorial.models.last_blocks": "LastBlocksTower",
    "recsys_tutorial.models.pair_layout": "PairLayout item_texts liked_together short_titles "
    "user_texts",
    "recsys_tutorial.models.reranking": "Candidates",
    "recsys_tutorial.models.towers": "EncoderTower FeatureTower HistoryTower IdTower "
    "ProjectionHead "
    "SumTower TextHistoryTower",
    "recsys_tutorial.models.two_tower": "FeatureTower HistoryTower IdTower ProjectionHead TwoTower",
    "recsys_tutorial.pictures": "open_picture",
    "recsys_tutorial.ranking_losses": "distillation_loss listwise_loss margin_mse pairwise_loss "
    "pointwise_loss",
    "recsys_tutorial.retrieval": "FaissIndex top_k",
    "recsys_tutorial.sampling": "PopularityNegatives UniformNegatives",
    "recsys_tutorial.shop_logs": "choice click_law",
    "recsys_tutorial.shop_runs": "load_runs make_policies run_seed",
    "recsys_tutorial.simulation": "Shop load_pictures",
    "recsys_tutorial.splits": "Holdout Split new_user_split",
    "recsys_tutorial.training": "train",
}


@pytest.mark.filterwarnings("ignore:recsys_tutorial:DeprecationWarning")
@pytest.mark.parametrize("module", FIRST_EDITION)
def test_old_paths_work(module):
    for name in FIRST_EDITION[module].split():
        there = {}
        exec(f"from {module} import {name}", there)
        assert there[name] is not None


@pytest.mark.parametrize("old", moved.MOVED)
def test_an_old_name_is_the_same_module_and_says_where_it_went(old):
    sys.modules.pop(f"recsys_tutorial.{old}", None)  # another test may have used it
    with pytest.warns(DeprecationWarning, match=rf"{old} is recsys_tutorial\..* now"):
        module = importlib.import_module(f"recsys_tutorial.{old}")
    assert module is importlib.import_module(f"recsys_tutorial.{moved.MOVED[old]}")
    assert module.__name__ == f"recsys_tutorial.{moved.MOVED[old]}"


def test_no_module_stands_under_an_old_name():
    folder = ROOT / "recsys_tutorial"
    for old, new in moved.MOVED.items():
        assert not (folder / f"{old.replace('.', '/')}.py").exists(), old
        assert (folder / f"{new.replace('.', '/')}.py").is_file(), new


def test_an_unknown_name_is_refused():
    with pytest.raises(ModuleNotFoundError, match=r"recsys_tutorial\.ranking_loses"):
        importlib.import_module("recsys_tutorial.ranking_loses")
    with pytest.raises(ModuleNotFoundError, match=r"json\.pictures"):
        importlib.import_module("json.pictures")  # an old name, but another's package
    with pytest.raises(AttributeError, match="no attribute 'TwoTowers'"):
        _ = importlib.import_module("recsys_tutorial.models").TwoTowers


ROOMS = ["datasets", "encoders", "feedback", "losses", "models", "models.towers", "pretrained",
         "training", "trust"]  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_the_names_on_its_door(room):
    module = importlib.import_module(f"recsys_tutorial.{room}")
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def private_imports(source):
    """Names from the package in a cell's imports that begin with an underscore, with their path."""
    found = []
    for line in re.findall(
        r"^\s*(?:from|import) recsys_tutorial[^(\n]*(?:\([^)]*\))?", source, re.M
    ):
        found += [name for name in re.findall(r"[\w.]+", line) if re.search(r"(^|\.)_", name)]
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda p: p.name
)
def test_a_notebook_imports_public_names(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [name for source in sources for name in private_imports(source)] == []


def test_a_private_import_would_be_found():
    assert private_imports("from recsys_tutorial.models import (\n    EASE,\n    _ties,\n)") == [
        "_ties"
    ]
    assert private_imports("import numpy\nfrom recsys_tutorial._likes import as_likes") == [
        "recsys_tutorial._likes"
    ]
    assert private_imports("from recsys_tutorial.models import EASE\nx_ = _hidden") == []


LIGHT = ["metrics", "splits", "evaluation", "datasets", "models", "training", "feedback",
         "leaderboard", "sampling", "ranking"]  # fmt: skip


def test_what_needs_no_torch_does_not_import_it():
    code = (
        "import importlib, json, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module('recsys_tutorial.' + name)\n"
        "from recsys_tutorial.models import EASE, ImplicitALS, ItemKNN, Popularity\n"
        "print(json.dumps([m for m in ('torch', 'transformers', 'timm') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_old_names_are_found_by_one_finder_however_often_they_are_installed():
    moved.install()
    moved.install()
    finders = [finder for finder in sys.meta_path if type(finder).__name__ == "_OldNames"]
    assert len(finders) == 1
