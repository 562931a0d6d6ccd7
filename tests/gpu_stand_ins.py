"""What stands in for a GPU, the model hub and MovieLens 1M when the "gpu" settings are tried out.

`make` writes narrow networks and small catalogues into a folder, `run` runs a notebook's cells with
them. The networks have the architecture of those on the hub, but other widths than the laptop's, so
that a number of the laptop's that is wired into a cell shows. BERT and DINOv2 are cut out of the
course's own weights (the first rows and columns of each matrix); the others are random.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import numpy as np

from scripts.machine_speed import kernel_limits
from scripts.set_repository import notebooks

ROOT = Path(__file__).resolve().parents[1]
WIDTH, DEPTH, HEADS = 96, 6, 4
# What a notebook may ask for, by its name on the hub or in `pretrained.KNOWN`. A name that is not
# here does not exist as far as these tests can tell: each of them was looked up.
ENCODERS = {
    "all-MiniLM-L6-v2": "bert",
    "vit_small_patch14_dinov2": "dinov2",
    "BAAI/bge-base-en-v1.5": "bert",
    "sentence-transformers/all-mpnet-base-v2": "mpnet",
    "timm/vit_base_patch14_dinov2.lvd142m": "dinov2",
    "timm/vit_base_patch16_clip_224.openai": "clip",
    "openai/clip-vit-large-patch14": "joint",
}
RERANKERS = {"cross-encoder/ms-marco-MiniLM-L6-v2": "reranker"}  # asked for through transformers
PICTURES = 64  # encoded for each size; the others get these vectors again
STEPS = 2
RATED_FILMS = ["movieId", "title", "genres"], ["userId", "movieId", "rating", "timestamp"]
SECONDS_PER_CELL = 120


def make(folder: Path) -> Path:
    """Write the networks and the two catalogues; return the folder."""
    _texts(folder)
    _pictures(folder)
    joint_encoder(folder / "joint")
    _reranker(folder / "reranker", folder / "bert")
    _films(folder)
    return folder


def cut(tensors: dict, model) -> dict:
    """The first rows and columns of pretrained tensors, as many as a narrower model has."""
    return {
        name: tensors[name][tuple(map(slice, value.shape))].clone()
        for name, value in model.state_dict().items()
    }


def _texts(folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModel, MPNetConfig

    from recsys_tutorial.pretrained import text_encoder

    source = text_encoder()
    narrow = {
        "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
    }  # fmt: skip
    bert = AutoModel.from_config(AutoConfig.from_pretrained(source, **narrow))
    bert.load_state_dict(cut(AutoModel.from_pretrained(source).state_dict(), bert))
    torch.manual_seed(0)
    mpnet = AutoModel.from_config(MPNetConfig(vocab_size=bert.config.vocab_size, **narrow))
    for name, model in (("bert", bert), ("mpnet", mpnet)):
        model.save_pretrained(folder / name)
        for path in (*source.glob("*token*"), source / "vocab.txt"):
            shutil.copy(path, folder / name)


def _pictures(folder: Path) -> None:
    import timm
    import torch
    from safetensors.torch import load_file, save_file

    from recsys_tutorial.pretrained import image_encoder

    source = image_encoder()
    config = json.loads((source / "config.json").read_text())
    narrow = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    torch.manual_seed(0)
    for name, architecture in (
        ("dinov2", "vit_base_patch14_dinov2"),
        ("clip", "vit_base_patch16_clip_224"),
    ):
        model = timm.create_model(architecture, num_classes=0, **narrow)
        state, about = model.state_dict(), {"architecture": architecture, "model_args": narrow}
        if name == "dinov2":
            state = cut(load_file(source / "model.safetensors"), model)
            about = {**config, **about, "num_features": WIDTH}
        (folder / name).mkdir()
        save_file(state, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(about))


def _reranker(folder: Path, texts: Path) -> None:
    """The narrow BERT with a random head: one score for a pair of texts."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(texts, num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(texts).save_pretrained(folder)


def joint_encoder(folder: Path) -> Path:
    """A random CLIP of two blocks with its tokenizer, which knows single letters; the folder."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    narrow = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64,
    }  # fmt: skip
    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    text = {"vocab_size": len(words), "bos_token_id": len(words) - 2}
    text |= {"eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    config = CLIPConfig(
        text_config=narrow | text,
        vision_config=narrow | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: n for n, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def _films(folder: Path) -> None:
    """A share of the films; for "1m" in that release's format, whole stars, and none after 2000."""
    from recsys_tutorial.datasets import load_movielens

    ratings, items = load_movielens()
    counts = ratings["item_id"].value_counts().reindex(items["item_id"], fill_value=0).to_numpy()
    order = np.argsort(-counts, kind="stable")
    kept = np.zeros(len(items), bool)
    kept[order[:300]] = kept[order[300::20]] = True
    code = "".join(path.read_text("utf-8") for path in notebooks(ROOT, ""))
    kept |= np.array([title in code for title in items["title"]])  # films that a cell names
    million = items["year"].fillna(2000).to_numpy() <= 2000
    whole = ratings.assign(rating=np.ceil(ratings["rating"]).astype(int))
    for name, films, likes in (
        ("small", items[kept], ratings),
        ("1m", items[kept & million], whole),
    ):
        (folder / name).mkdir()
        likes = likes[likes["item_id"].isin(films["item_id"])]
        likes = likes[["user_id", "item_id", "rating", "timestamp"]]
        films = films[["item_id", "title", "genres"]]
        if name == "small":
            films.columns, likes.columns = RATED_FILMS
            films.to_csv(folder / name / "movies.csv", index=False)
            likes.to_csv(folder / name / "ratings.csv", index=False)
        else:
            _write_dat(folder / name / "movies.dat", films)
            _write_dat(folder / name / "ratings.dat", likes)


def _write_dat(path: Path, frame) -> None:
    lines = ("::".join(map(str, row)) + "\n" for row in frame.itertuples(index=False))
    path.write_bytes("".join(lines).encode("latin-1", "replace"))


def install(folder: str | os.PathLike) -> None:
    """Before a notebook's first cell: from here on, this process has only what stands in."""
    import subprocess

    import transformers

    from recsys_tutorial import datasets, training
    from recsys_tutorial.pretrained import finding

    folder = Path(folder)

    def find(name: str, hub: str) -> Path:
        if name not in ENCODERS:
            raise finding.WeightsNotFound(f"{name!r} is not one of {', '.join(ENCODERS)}")
        return folder / ENCODERS[name]

    load = datasets.load_movielens

    def load_films(source="small", **options):
        return load(folder / source if source in ("small", "1m") else source, **options)

    train = training.train

    @functools.wraps(train)
    def two_steps(model, loss, n_examples, *, epochs=10, batch_size=64, batches=None, **options):
        def first(rng):
            if batches is not None:
                return list(batches(rng))[:STEPS]
            parts = math.ceil(n_examples / batch_size)
            return np.array_split(rng.permutation(n_examples), parts)[:STEPS]

        return train(model, loss, n_examples, epochs=1, batches=first, **options)

    look_up = socket.getaddrinfo

    def this_machine_alone(host, *args, **kwargs):
        if host != "127.0.0.1":  # where chapter 17's service listens
            raise OSError(f"the network is out of bounds here: {(host, *args[:1])}")
        return look_up(host, *args, **kwargs)

    finding.find, datasets.load_movielens, training.train = find, load_films, two_steps
    socket.getaddrinfo = this_machine_alone
    for maker in (transformers.AutoTokenizer, transformers.AutoModelForSequenceClassification):
        maker.from_pretrained = functools.partial(_of_hub, maker.from_pretrained, folder)
    here = f"from tests.gpu_stand_ins import install\ninstall({os.fspath(folder)!r})\n"
    run_process = subprocess.run

    def run_with_stand_ins(command, *args, **options):
        """Code that a cell hands to another Python has only what stands in, too."""
        command = list(command)
        if command[0] == sys.executable and "-c" in command:
            command[command.index("-c") + 1] = here + command[command.index("-c") + 1]
        return run_process(command, *args, **options)

    subprocess.run = run_with_stand_ins

    import safetensors.torch

    load_file, own_width = safetensors.torch.load_file, 384  # MiniLM's, whose updates are stored

    def load_narrow(path):
        def first(tensor):
            return tensor[tuple(slice(WIDTH if n == own_width else n) for n in tensor.shape)]

        tensors = load_file(path)
        if folder in Path(path).parents:  # a stand-in's own weights are as wide as they should be
            return tensors
        return {name: first(tensor) for name, tensor in tensors.items()}

    safetensors.torch.load_file = load_narrow

    # Only now: what they import from `training` must be ours.
    from recsys_tutorial.encoders import ImageEncoder
    from recsys_tutorial.models import BPR

    fit = BPR.fit

    def fit_two_rounds(self, train, **options):
        self.iterations = min(self.iterations, STEPS)
        return fit(self, train, **options)

    BPR.fit = fit_two_rounds

    encode = ImageEncoder._encode_unique

    def encode_few(self, contents, keys):
        vectors, bad = encode(self, contents[:PICTURES], keys[:PICTURES])
        return vectors[np.arange(len(keys)) % len(vectors)], bad

    ImageEncoder._encode_unique = encode_few


def _of_hub(from_pretrained, folder: Path, name, *args, **options):
    """A reranker by its name on the hub; a folder as it is."""
    if isinstance(name, str) and not Path(name).exists():
        if name not in RERANKERS:
            raise OSError(f"{name!r} is not one of {', '.join(RERANKERS)}")
        name = folder / RERANKERS[name]
    return from_pretrained(name, *args, **options)


def on_gpu_settings(notebook, replace: dict[str, str] | None = None):
    """A copy whose parameters cell says "gpu"; `replace` changes its text further."""
    notebook = copy.deepcopy(notebook)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    source, n = re.subn(r'^SCALE = "laptop"', 'SCALE = "gpu"', cells[0].source, flags=re.M)
    assert (len(cells), n) == (1, 1), 'one parameters cell, with one line SCALE = "laptop"'
    for old, new in (replace or {}).items():
        assert old in source, f"{old!r} is not in the parameters cell"
        source = source.replace(old, new)
    cells[0].source = source
    return notebook


def run(notebook, stand_ins: Path, cache: Path) -> None:
    """Run all cells in a process of their own; raises nbclient's CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    notebook.cells.insert(0, nbformat.v4.new_code_cell(
        f"from tests.gpu_stand_ins import install\ninstall({os.fspath(stand_ins)!r})"
    ))  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k != "RECSYS_TUTORIAL_RECORD"}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])]),
        "RECSYS_TUTORIAL_CACHE": str(cache), "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }  # fmt: skip
    client = NotebookClient(
        notebook,
        **kernel_limits(SECONDS_PER_CELL),
        kernel_name="python3",
        resources={"metadata": {"path": str(cache)}},
    )
    client.execute(env=env)
