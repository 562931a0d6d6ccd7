"""What a service loads: a version of a model as a folder, written whole and checked when read.

    manifest.json       what it is, and the size and the SHA-256 of each file beside it
    items.json          the catalogue, in the order of the model's columns
    model.safetensors   what the model learned
    text.safetensors    a vector of each item's text, where there is an encoder for them

Nothing in the folder is code: JSON and safetensors are data.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recsys_tutorial._checks import finite_vectors
from recsys_tutorial._files import whole_folder
from recsys_tutorial.models import EASE, ImplicitALS, Popularity
from recsys_tutorial.protocols import Recommender
from recsys_tutorial.serving.service._artefact_files import (
    FORMAT,
    MANIFEST,
    NAME,
    ArtefactError,
    checked,
    file_sum,
    read_manifest,
)

MODELS = {"ease": EASE, "als": ImplicitALS, "popularity": Popularity}
_ITEMS, _MODEL, _TEXT = (
    "items.json", "model.safetensors", "text.safetensors",
)  # fmt: skip
_COLUMNS = ["item_id", "title", "genres"]


@dataclass(frozen=True, eq=False)
class Artefact:
    """One version of a model, with all that is needed to serve it.

    Attributes
    ----------
    name : str, of the version; lower-case letters, digits, ".", "_" and "-"
    model : EASE, ImplicitALS or Popularity, fitted
    items : DataFrame with item_id, title and genres, a row for each of the model's columns
    popularity : float64 ndarray (n_items,), what is shown to who has liked nothing yet
    settings : dict, what the model's class was given
    text_vectors : float32 ndarray (n_items, dim), rows of length 1, or None
    encoder : str or None, the `TextEncoder` of `text_vectors`
    about : dict that JSON can hold: what it was trained on, how good it was
    """

    name: str
    model: Recommender
    items: pd.DataFrame
    popularity: np.ndarray
    settings: dict = field(default_factory=dict)
    text_vectors: np.ndarray | None = None
    encoder: str | None = None
    about: dict = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which of the models it is: "ease", "als" or "popularity"."""
        return next(kind for kind, model in MODELS.items() if type(self.model) is model)


def save_artefact(root: str | os.PathLike, artefact: Artefact) -> Path:
    """Write a version as the folder `root` / name, whole or not at all.

    Parameters
    ----------
    root : folder of all versions
    artefact : Artefact

    Returns
    -------
    Path, the version's folder

    Raises
    ------
    ValueError
        For a name that is no plain folder name, and for another model than those served.
    """
    if not NAME.fullmatch(artefact.name):
        raise ValueError(f"a version's name must match {NAME.pattern}, got {artefact.name!r}")
    if type(artefact.model) not in MODELS.values():
        served = ", ".join(model.__name__ for model in MODELS.values())
        raise ValueError(f"{type(artefact.model).__name__} cannot be served: only {served}")
    arrays = {**artefact.model.arrays(), "popularity": artefact.popularity}
    files = {
        _ITEMS: artefact.items[_COLUMNS].to_json(orient="split", index=False).encode(),
        _MODEL: save({name: values.copy(order="C") for name, values in arrays.items()}),
    }
    if artefact.text_vectors is not None:
        files[_TEXT] = save({"vectors": np.ascontiguousarray(artefact.text_vectors, np.float32)})
    manifest = {
        "format": FORMAT,
        "name": artefact.name,
        "kind": artefact.kind,
        "settings": artefact.settings,
        "encoder": artefact.encoder,
        "about": artefact.about,
        "files": {name: file_sum(data) for name, data in files.items()},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    folder = Path(root) / artefact.name
    with whole_folder(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
    return folder


def load_artefact(folder: str | os.PathLike) -> Artefact:
    """Read a version that `save_artefact` wrote, after checking every byte of it.

    Parameters
    ----------
    folder : of the version

    Returns
    -------
    Artefact

    Raises
    ------
    ArtefactError
        When a file is missing, cut off, changed, or does not fit the others.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, MODELS)
    wanted = [_ITEMS, _MODEL, *([_TEXT] if _TEXT in manifest["files"] else [])]
    data = {name: checked(folder / name, manifest["files"].get(name)) for name in wanted}
    try:
        table = json.loads(data[_ITEMS])
        items = pd.DataFrame(table["data"], columns=table["columns"])[_COLUMNS]
        arrays = load(data[_MODEL])
        popularity = arrays.pop("popularity")
        _check_finite(arrays)
        model = MODELS[manifest["kind"]].from_arrays(arrays, **manifest["settings"])
        text = (
            finite_vectors("text vectors", load(data[_TEXT])["vectors"]) if _TEXT in data else None
        )
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: its files are those of the manifest and yet make no version of a model "
            f"({type(error).__name__}: {error}); train it anew"
        ) from error
    _fit_together(folder, model, items, popularity, text)
    return Artefact(
        manifest["name"], model, items, popularity, manifest["settings"], text,
        manifest["encoder"], manifest["about"],
    )  # fmt: skip


def _check_finite(arrays: dict[str, np.ndarray]) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds a value that is not finite")


def _fit_together(folder, model, items, popularity, text) -> None:
    n_items = len(items)
    sizes = {"popularity": len(popularity), "text vectors": n_items if text is None else len(text)}
    sizes["model"] = len(model.item_counts_) if isinstance(model, Popularity) else (
        model.n_items_ if isinstance(model, EASE) else len(model.item_factors_)
    )  # fmt: skip
    for name, size in sizes.items():
        if size != n_items:
            raise ArtefactError(f"{folder}: {size} items in its {name}, {n_items} in {_ITEMS}")
    if not items["item_id"].is_unique:
        raise ArtefactError(f"{folder / _ITEMS} holds an item_id twice")
