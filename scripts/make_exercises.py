"""Make each exercise notebook from its solution, by removing what answers the questions.

    python3 scripts/make_exercises.py           # write notebooks/exercises/
    python3 scripts/make_exercises.py --check   # change nothing, exit 1 when out of step
    python3 scripts/make_exercises.py --hide ../private       # move the solutions away
    python3 scripts/make_exercises.py --solutions ../private  # make the exercises from there

``notebooks/solutions/NN_topic.ipynb`` is written by hand and run like a chapter. Here its cells
tagged ``solution`` go, code and prose, and so do all outputs; what stays is the text of the tasks,
the stubs to fill in, the hints and the cells tagged ``check``, which fail until the stub is filled.

With ``--hide`` a fork publishes no solutions: neither its files nor its site's page of exercises
has them, `make test` leaves them out, and ``scripts/autograde.py --solutions`` finds them.
What a repository once held stays in its history, and the solutions of this course are public: a
class whose marks hang on them needs variants (``scripts/hand_out.py``) or tasks of its own.

Standard library only, so that a commit hook needs no environment.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recsys_tutorial._files import whole
from scripts.set_repository import (
    ROOT,
    current,
    first_markdown,
    notebooks,
    source_of,
    with_links_line,
)


def exercise_of(solution: dict, links_line: str) -> dict:
    """Return the exercise notebook of a solution notebook, both as parsed JSON.

    Raises
    ------
    ValueError
        When no cell is tagged ``solution`` or none is tagged ``check``.
    """
    tagged = [tag for cell in solution["cells"] for tag in cell["metadata"].get("tags", [])]
    for tag in ("solution", "check"):
        if tag not in tagged:
            raise ValueError(f"no cell is tagged {tag!r}")
    cells = []
    for cell in solution["cells"]:
        if "solution" in cell["metadata"].get("tags", []):
            continue
        kept = dict(cell)
        if kept["cell_type"] == "code":
            kept |= {"outputs": [], "execution_count": None}
        cells.append(kept)
    exercise = solution | {"cells": cells}
    title = first_markdown(exercise)
    if title is None:
        raise ValueError("the first cell must be its title")
    cells[0] = title | {
        "source": with_links_line(source_of(title), links_line).splitlines(keepends=True)
    }
    return exercise


def exercises(root: Path = ROOT, solutions: Path | None = None) -> dict[Path, str]:
    """Return {path of an exercise: the text it must have}, of the solutions in a folder."""
    repository = current(root)
    made = {}
    found = notebooks(root, "solutions") if solutions is None else sorted(solutions.glob("*.ipynb"))
    for path in found:
        target = root / "notebooks" / "exercises" / path.name
        solution = json.loads(path.read_text(encoding="utf-8"))
        line = repository.links_line(target.relative_to(root).as_posix())
        try:
            exercise = exercise_of(solution, line)
        except ValueError as error:
            raise ValueError(f"{path.parent.name}/{path.name}: {error}") from None
        made[target] = json.dumps(exercise, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return made


def hide(folder: Path, root: Path = ROOT) -> list[Path]:
    """Move all solutions into a folder outside the repository, and return where they are now.

    Raises
    ------
    ValueError
        When there are none, the folder is inside the repository, or it holds one of their names.
    """
    found = notebooks(root, "solutions")
    folder = folder.expanduser().resolve()
    if not found:
        raise ValueError("there are no solutions here: are they hidden already?")
    if folder.is_relative_to(root.resolve()):
        raise ValueError(f"{folder} is inside the repository, so it would be published too")
    taken = [path.name for path in found if (folder / path.name).exists()]
    if taken:
        raise ValueError(f"{folder} already holds {', '.join(taken)}")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.move(path, folder / path.name)) for path in found]


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the exercises, or with --check say which are out of step; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if needed")
    parser.add_argument("--hide", type=Path, metavar="FOLDER", help="move the solutions there")
    parser.add_argument("--solutions", type=Path, metavar="FOLDER", help="where they are")
    options = parser.parse_args(argv)
    if options.hide:
        try:
            moved = hide(options.hide, root)
        except ValueError as error:
            raise SystemExit(f"make_exercises: {error}") from None
        print(f"{len(moved)} solutions moved to {options.hide}")
        return 0
    made = exercises(root, options.solutions)
    if not made:
        if options.solutions:
            raise SystemExit(f"make_exercises: no solutions in {options.solutions}")
        print("the solutions are hidden: the exercises stay as they are")
        return 0
    orphans = sorted(set(notebooks(root, "exercises")) - set(made))
    wrong = [path for path, text in made.items()
             if not path.is_file() or path.read_text(encoding="utf-8") != text]  # fmt: skip
    for path in orphans:
        print(f"no solution of this name: {path.relative_to(root)}")
    for path in wrong:
        print(f"{'out of step' if options.check else 'written'}: {path.relative_to(root)}")
        if not options.check:
            with whole(path) as temporary:
                temporary.write_text(made[path], encoding="utf-8")
    return 1 if orphans or (options.check and wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
