"""Make each exercise notebook from its solution, by removing what answers the questions.

    python3 scripts/make_exercises.py           # write notebooks/exercises/
    python3 scripts/make_exercises.py --check   # change nothing, exit 1 when out of step

``notebooks/solutions/NN_topic.ipynb`` is written by hand and run like a chapter. Here its cells
tagged ``solution`` go, code and prose, and so do all outputs; what stays is the text of the tasks,
the stubs to fill in, the hints and the cells tagged ``check``, which fail until the stub is filled.

Standard library only, so that a commit hook needs no environment.
"""

from __future__ import annotations

import argparse
import json
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


def exercises(root: Path = ROOT) -> dict[Path, str]:
    """Return {path of an exercise: the text it must have}."""
    repository = current(root)
    made = {}
    for path in notebooks(root, "solutions"):
        target = root / "notebooks" / "exercises" / path.name
        solution = json.loads(path.read_text(encoding="utf-8"))
        line = repository.links_line(target.relative_to(root).as_posix())
        try:
            exercise = exercise_of(solution, line)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(root)}: {error}") from None
        made[target] = json.dumps(exercise, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return made


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the exercises, or with --check say which are out of step; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if needed")
    check = parser.parse_args(argv).check
    made = exercises(root)
    orphans = sorted(set(notebooks(root, "exercises")) - set(made))
    wrong = [path for path, text in made.items()
             if not path.is_file() or path.read_text(encoding="utf-8") != text]  # fmt: skip
    for path in orphans:
        print(f"no solution of this name: {path.relative_to(root)}")
    for path in wrong:
        print(f"{'out of step' if check else 'written'}: {path.relative_to(root)}")
        if not check:
            with whole(path) as temporary:
                temporary.write_text(made[path], encoding="utf-8")
    return 1 if orphans or (check and wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
