"""Make the snapshot of what Debian's source packages need, from the index of the distribution.

    python data/packages/make.py                    # the index that apt has fetched on this machine
    python data/packages/make.py Packages.xz        # or a file: plain, .gz or .xz

The index is a text file of a paragraph for each binary package. It is checked against the sha256
that Debian's signed InRelease file gives for it; `--any` takes another release's.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial._files import whole

HERE = Path(__file__).resolve().parent
# main/binary-amd64/Packages of Debian 12.15 "bookworm", as its InRelease of 2026-07-11 says.
SHA256 = "515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f"
APT_LISTS = Path("/var/lib/apt/lists")  # named after the mirror that apt was told to ask
APT_LIST = "*_dists_bookworm_main_binary-amd64_Packages*"
FIELDS = ("Pre-Depends", "Depends", "Recommends")
ADDITIONS = {"doc", "debug", "libdevel"}  # sections of packages that come with another
NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)")  # what follows is a version or a second choice


def read_index(path: Path | None) -> bytes:
    """Return the index, unpacked; by default as apt keeps it on this machine."""
    if path is None:
        found = sorted(APT_LISTS.glob(APT_LIST))
        if not found:
            raise FileNotFoundError(f"there is no {APT_LIST} in {APT_LISTS}: run apt-get update")
        command = ["/usr/lib/apt/apt-helper", "cat-file", str(found[0])]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    data = path.read_bytes()
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
    return unpack(data)


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield {field: first line of its value} of each binary package."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line[:1] not in ("", " ", "\t")]
        if lines:
            yield dict(line.split(": ", 1) if ": " in line else (line, "") for line in lines)


def needs_of(binaries: list[dict[str, str]]) -> set[str]:
    """Return the packages that a source's binary packages need, its own left out.

    Of alternatives ("default-mta | mail-transport-agent") the first, which is what is installed.
    """
    parts = [part for b in binaries for field in FIELDS for part in b.get(field, "").split(",")]
    found = {match[1] for match in map(NAME.match, parts) if match}
    return found - {binary["Package"] for binary in binaries}


def speaks_for(source: str, binaries: list[dict[str, str]]) -> dict[str, str]:
    """Return the binary package whose words describe the source.

    The one of the source's name; else the first, by its name, that is a thing of its own and no
    documentation, debugging symbols or header files; else the first.
    """

    def rank(binary: dict[str, str]) -> tuple[bool, bool, str]:
        section = binary["Section"].rpartition("/")[2]
        return binary["Package"] != source, section in ADDITIONS, binary["Package"]

    return min(binaries, key=rank)


def about(binary: dict[str, str]) -> tuple[str, str]:
    """Return the section and the synopsis of a binary package, without the address in one."""
    words = re.sub(r"\S+@\S+\.\w+", "(an address)", binary["Description"].strip())
    return binary["Section"].rpartition("/")[2], words


def tables(text: str) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the frames of sources and packages, and the needs as indptr and indices."""
    binaries = {binary["Package"]: binary for binary in paragraphs(text)}
    by_source = defaultdict(list)
    for binary in binaries.values():
        by_source[binary.get("Source", binary["Package"]).split(" ")[0]].append(binary)
    # Only what is a package itself: interfaces of compilers ("perlapi-5.36.0",
    # "libghc-base-dev-4.15.1.0-6a406") are names that several packages provide.
    needs = {source: needs_of(own) & binaries.keys() for source, own in sorted(by_source.items())}
    needs = {source: wanted for source, wanted in needs.items() if wanted}
    names = sorted(set().union(*needs.values()))
    column = {name: number for number, name in enumerate(names)}
    groups: dict[str, int] = {}  # of maintainers: a number each, in the order of their first source
    rows = []
    for source in needs:
        binary = speaks_for(source, by_source[source])
        maintainer = re.sub(r".*<|>.*", "", binary["Maintainer"]).lower()
        rows.append((source, groups.setdefault(maintainer, len(groups)), *about(binary)))
    sources = pd.DataFrame(rows, columns=["source", "group", "section", "description"])
    packages = pd.DataFrame(
        [(name, *about(binaries[name])) for name in names],
        columns=["package", "section", "description"],
    )
    indices = [sorted(column[name] for name in wanted) for wanted in needs.values()]
    indptr = np.cumsum([0, *map(len, indices)]).astype(np.int32)
    return sources, packages, indptr, np.concatenate(indices).astype(np.uint16)


def write(folder: Path, text: str, digest: str) -> dict:
    """Write the snapshot; return what is said about it."""
    sources, packages, indptr, indices = tables(text)
    for name, frame in (("sources", sources), ("packages", packages)):
        data = frame.to_csv(index=False, lineterminator="\n").encode()
        with whole(folder / f"{name}.csv.gz") as temporary:
            temporary.write_bytes(gzip.compress(data, 9, mtime=0))
    with whole(folder / "needs.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, indptr=indptr, indices=indices)
    files = [folder / name for name in ("sources.csv.gz", "packages.csv.gz", "needs.npz")]
    said = {
        "index_sha256": digest,
        "sources": len(sources),
        "packages": len(packages),
        "needs": len(indices),
        "maintainers": int(sources["group"].nunique()),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    with whole(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return said


def main(argv: list[str] | None = None) -> int:
    """Read the index, check it, write the snapshot and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", nargs="?", type=Path, help="default: apt's own")
    parser.add_argument("--any", action="store_true", help="another release's index than ours")
    parser.add_argument("--folder", type=Path, default=HERE, help="where to write")
    options = parser.parse_args(argv)
    data = read_index(options.index)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256 and not options.any:
        print(f"the index has sha256 {digest}, not {SHA256}: it is of another release. --any takes "
              "it, and then every number of the course moves", file=sys.stderr)  # fmt: skip
        return 1
    print(json.dumps(write(options.folder, data.decode("utf-8"), digest), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
