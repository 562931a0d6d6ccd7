"""Make an exercise notebook for each student of a class, each with data of their own.

    python3 scripts/hand_out.py 02 students.txt --out handed_out --key "autumn 2026"

``students.txt`` has a name a line, which becomes a file's name; in a CSV file the first column
counts. ``handed_out/NAME.ipynb`` is the exercise with another number in its line ``VARIANT = 0``,
and ``handed_out/variants.csv`` says who has which: give that file to ``scripts/autograde.py
--variants``, which runs each submission with the number of its author, whatever stands in it. What
a solved notebook prints, and a written answer quotes, then differs between students; a number that
was copied fails the check. Chapters whose exercises have no such line are refused.

The number follows from the name and the key alone, so that a class can be made again.

Standard library only.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recsys_tutorial._files import whole
from scripts.set_repository import ROOT, notebooks, source_of

LINE = re.compile(r"^VARIANT[ \t]*=.*$", re.M)
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f]|^\.')


def variant_of(student: str, key: str = "") -> int:
    """Return a student's number, 1 to 999,999: the same on every machine and in every year.

    >>> variant_of("ada", "autumn") == variant_of("ada", "autumn") != variant_of("ada", "spring")
    True
    """
    digest = hashlib.sha256(f"{key}\n{student}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 999_999 + 1


def with_variant(notebook: dict, variant: int) -> dict:
    """Return a notebook whose line ``VARIANT = ...`` has this number.

    Raises
    ------
    ValueError
        When no code cell has such a line.
    """
    cells, found = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            text, n = LINE.subn(f"VARIANT = {variant}", source_of(cell))
            found += n
            as_lines = not isinstance(cell["source"], str)
            cell = cell | {"source": text.splitlines(keepends=True) if as_lines else text}
        cells.append(cell)
    if not found:
        raise ValueError("no code cell has a line that begins VARIANT =")
    return notebook | {"cells": cells}


def read_students(path: Path) -> list[str]:
    """Return the names of a list, in its order.

    Raises
    ------
    ValueError
        When a name cannot be a file's name, or comes twice (on some machines "Ada" and "ada" are
        one file); the text names the line.
    """
    lines: dict[str, int] = {}
    students = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            name = row[0].strip() if row else ""
            if not name:
                continue
            if FORBIDDEN.search(name):
                raise ValueError(f"{path}, line {number}: {name!r} cannot be a file's name")
            first = lines.setdefault(name.casefold(), number)
            if first != number:
                raise ValueError(f"{path}, line {number}: {name!r} is also in line {first}")
            students.append(name)
    if not students:
        raise ValueError(f"{path} names nobody")
    return students


def read_variants(path: Path) -> dict[str, int]:
    """Return {student: number} of a file that `hand_out` wrote; ValueError names a bad line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"student", "variant"} <= set(reader.fieldnames or []):
            raise ValueError(f"{path} needs the columns student, variant")
        variants = {}
        for number, row in enumerate(reader, start=2):
            if not (row["variant"] or "").strip().isdecimal():
                raise ValueError(f"{path}, line {number}: {row['variant']!r} is no number")
            variants[row["student"]] = int(row["variant"])
    return variants


def hand_out(exercise: Path, students: list[str], out: Path, key: str = "") -> dict[str, int]:
    """Write a notebook per student and ``variants.csv``; return {student: number}."""
    notebook = json.loads(exercise.read_text("utf-8"))
    variants = {student: variant_of(student, key) for student in students}
    made = {student: with_variant(notebook, number) for student, number in variants.items()}
    for student, of_one in made.items():
        with whole(out / f"{student}.ipynb") as temporary:
            text = json.dumps(of_one, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    with (
        whole(out / "variants.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerows([("student", "variant"), *variants.items()])
    return variants


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Hand out one exercise, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", help="the start of an exercise's name, such as 02")
    parser.add_argument("students", type=Path, help="a file with a name a line")
    parser.add_argument("--out", type=Path, default=Path("handed_out"))
    parser.add_argument("--key", default="", help="another key is another number for everybody")
    options = parser.parse_args(argv)
    found = [p for p in notebooks(root, "exercises") if p.name.startswith(options.chapter)]
    if len(found) != 1:
        names = ", ".join(p.stem for p in found) or "none"
        raise SystemExit(f"hand_out: {options.chapter!r} should begin one name, found {names}")
    try:
        students = read_students(options.students)
        hand_out(found[0], students, options.out, options.key)
    except (OSError, ValueError) as error:
        raise SystemExit(f"hand_out: {found[0].stem}: {error}") from None
    print(f"hand_out: {len(students)} notebooks and variants.csv in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
