"""The "gpu" column of the chapters' parameters runs the same cells, two training steps long.

There is no GPU here, no hub and no MovieLens 1M: tests/gpu_stand_ins.py says what stands in. What
the prose concludes is not asserted, since `claim` holds for the laptop's settings alone.
"""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests import gpu_stand_ins
from tests.gpu_stand_ins import ROOT, on_gpu_settings, run

DINOV2 = "timm/vit_base_patch14_dinov2.lvd142m"
CLIP = "timm/vit_base_patch16_clip_224.openai"
COVERED = {
    "01_data_and_evaluation": {},
    "02_matrix_factorization": {},
    "03_content_and_similarity": {},
    "04_two_tower_text": {},
    "05_two_tower_image": {},
    "05_two_tower_image, CLIP": {DINOV2: CLIP},
    "06_interaction_models": {'"candidates": 500': '"candidates": 50'},
    "08_contrastive_infonce": {},
    "09_contrastive_at_scale": {'"pairs": 64': '"pairs": 8', '"rows": 12288': '"rows": 2048'},
    "10_multimodal_fusion": {},
    "12_sequences": {},
    "13_generative_retrieval": {},
    "16_trust": {'"shadows": 32': '"shadows": 9'},
    "17_serving": {
        '"nights": 20': '"nights": 2',
        '"shuffles": 25': '"shuffles": 3',
        '"trials": 20_000': '"trials": 200',
        '"largest": 7': '"largest": 5',
    },
}


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    return gpu_stand_ins.make(tmp_path_factory.mktemp("stand_ins"))


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_a_chapter_runs_on_its_gpu_settings(name, stand_ins, tmp_path):
    path = ROOT / "notebooks" / f"{name.partition(',')[0]}.ipynb"
    notebook = on_gpu_settings(nbformat.read(path, as_version=4), COVERED[name])
    run(notebook, stand_ins, tmp_path)
    # nbclient stops at an error, except in a cell that is tagged to raise one: none may be.
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert {"stream", "display_data"} <= set(kinds) and "error" not in kinds


PARAMETERS = """
from functools import partial

from recsys_tutorial import evaluation

SCALE = "laptop"
SETTINGS = {"laptop": {"vit": "vit_small_patch14_dinov2", "size": 56, "epochs": 9},
            "gpu": {"vit": "timm/vit_base_patch14_dinov2.lvd142m", "size": 112,
                    "epochs": 90}}[SCALE]
claim = partial(evaluation.claim, applies=SCALE == "laptop")
"""
CELL = """
import numpy as np
from recsys_tutorial.datasets import load_clipart
from recsys_tutorial.encoders import ImageEncoder
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models.towers import FeatureTower
from recsys_tutorial.models.two_tower import TwoTower
from recsys_tutorial.training import train

encoder = ImageEncoder(SETTINGS["vit"], SETTINGS["size"])
x = encoder.encode(load_clipart().paths()[:300]).astype(np.float64)
model = TwoTower(FeatureTower(x, 8), FeatureTower(x, 8))
steps = []


def loss(model, rows, rng):
    steps.append(rows)
    return info_nce(model.user_vectors(x[rows]), model.item_vectors(x[rows]), temperature=0.1)


train(model, loss, len(x), epochs=SETTINGS["epochs"], batch_size=32)
assert x.shape == (300, encoder.dim)
claim(len(steps) > 2)  # two steps: an effect that the laptop's settings have
"""
BROKEN = {
    "misspelt name": (PARAMETERS.replace("vit_base_patch14", "vit_bse_patch14"), CELL, "bse"),
    "setting left out": (PARAMETERS.replace('"epochs": 90', ""), CELL, "KeyError"),
    "size no multiple of a patch": (
        PARAMETERS.replace("112", "100"),
        CELL,
        "multiple of the patch",
    ),
    "laptop's width": (PARAMETERS, CELL + "assert x.shape[1] == 384", "AssertionError"),
    "effect asserted": (PARAMETERS, CELL + "assert len(steps) > 2", "AssertionError"),
    "download": (
        PARAMETERS,
        "import urllib.request\nurllib.request.urlopen('https://example.org')",
        "out of bounds",
    ),
}


RERANKER = """
from transformers import AutoModelForSequenceClassification

SCALE = "laptop"
SETTINGS = {"laptop": {"hub": None}, "gpu": {"hub": "cross-encoder/ms-marco-MiniLM-L6-v2"}}[SCALE]
"""
READ = "net = AutoModelForSequenceClassification.from_pretrained(SETTINGS['hub'])"


def small_notebook(parameters, cell):
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, cell)]
    cells[0].metadata["tags"] = ["parameters"]
    return nbformat.v4.new_notebook(cells=cells)


def test_sound_settings_pass(stand_ins, tmp_path):
    run(on_gpu_settings(small_notebook(PARAMETERS, CELL)), stand_ins, tmp_path)


def test_a_reranker_comes_by_its_name_and_another_does_not(stand_ins, tmp_path):
    right = small_notebook(RERANKER, f"{READ}\nassert net.config.num_labels == 1")
    run(on_gpu_settings(right), stand_ins, tmp_path)
    wrong = on_gpu_settings(small_notebook(RERANKER.replace("L6", "L7"), READ))
    with pytest.raises(CellExecutionError, match="L7-v2' is not one of"):
        run(wrong, stand_ins, tmp_path)


def test_code_in_another_process_has_the_stand_ins_too(stand_ins, tmp_path):
    cell = """
import subprocess, sys
code = "from recsys_tutorial.encoders import TextEncoder; print(TextEncoder('{}').dim)"
done = [subprocess.run([sys.executable, "-W", "ignore", "-c", code.format(name)],
                       capture_output=True, text=True)
        for name in ("sentence-transformers/all-mpnet-base-v2", "no-such-model")]
assert done[0].stdout.split() == ["96"], done[0].stderr
assert done[1].returncode and "is not one of" in done[1].stderr
"""
    run(on_gpu_settings(small_notebook(PARAMETERS, cell)), stand_ins, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_broken_settings_fail(what, stand_ins, tmp_path):
    parameters, cell, message = BROKEN[what]
    assert (parameters, cell) != (PARAMETERS, CELL)
    with pytest.raises(CellExecutionError, match=message):
        run(on_gpu_settings(small_notebook(parameters, cell)), stand_ins, tmp_path)


def test_the_parameters_cell_must_have_what_is_changed():
    with pytest.raises(AssertionError, match="SCALE"):
        on_gpu_settings(small_notebook('SCALE = "gpu"', ""))
    with pytest.raises(AssertionError, match="CLIP"):
        on_gpu_settings(small_notebook(PARAMETERS, ""), {"CLIP": "other"})
