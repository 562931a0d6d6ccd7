"""A check is proved by wrong answers: each must fail with a message about that very mistake.

``tests/wrong_answers/NN.yml`` has, by task, typical mistakes and the words that the check of
``notebooks/solutions/NN_*.ipynb`` must say of them. An answer stands in for the solution's
cells, or with ``with_solution`` after them, where a task has two parts and one is right.
"""

import copy
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import nbformat
import numpy as np
import pytest
import yaml

from recsys_tutorial.datasets import load_movielens

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "tests" / "wrong_answers").glob("*.yml"))
NEEDS = {("02", 4): 3, ("05", 4): 3}  # tasks whose check uses what an earlier check made
matplotlib.use("Agg")


class WordsEncoder:
    """Stands in for BERT: a text is the sum of its words' random vectors, plus what all share."""

    n_layers, dim = 6, 384

    def encode(self, texts):
        vectors, words = np.full((len(texts), self.dim), 2.0), {}
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                if word not in words:
                    words[word] = np.random.default_rng(zlib.crc32(word.encode())).normal(size=384)
                row += words[word]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def few_films(name):
    """The course's films, a tenth of them: the best known, and as many that hardly anyone rated."""
    ml = load_movielens(name)
    counts = ml.ratings["item_id"].value_counts()
    kept = [*counts.index[:400], *counts.index[-400:]]
    items = ml.items[ml.items["item_id"].isin(kept)].reset_index(drop=True)
    return SimpleNamespace(ratings=ml.ratings[ml.ratings["item_id"].isin(kept)], items=items)


def notebook_of(path):
    """The solution notebook of a file of wrong answers, or a skip where solutions are hidden."""
    found = sorted((ROOT / "notebooks" / "solutions").glob(f"{path.stem}_*.ipynb"))
    if not found:
        pytest.skip("the solutions are hidden")
    return nbformat.read(found[0], as_version=4)


def parts_of(notebook, shorter):
    """The set-up, and {task: (stub, solution, check)}, as code."""
    setup, tasks, number = [], {}, 0
    for cell in notebook.cells:
        heading = re.match(r"## (\d+)\.", cell.source)
        number = int(heading[1]) if heading else number
        if cell.cell_type != "code":
            continue
        source = re.sub(r"^ *%pip.*", "    pass", cell.source, flags=re.M)
        for long, short in shorter.items():
            source = source.replace(long, short)
        tags = cell.metadata.get("tags", [])
        if not number:
            setup.append(source)
            continue
        place = 1 if "solution" in tags else 2 if "check" in tags else 0
        tasks.setdefault(number, ["", "", ""])[place] += source + "\n"
    return "\n".join(setup), tasks


def say(text, names, name):
    """Run code as a cell would be."""
    exec(compile(text, name, "exec"), names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wrong_answers_are_refused_for_what_is_wrong_with_them(path):
    wrong = yaml.safe_load(path.read_text("utf-8"))
    setup, tasks = parts_of(notebook_of(path), wrong.pop("shorter", {}))
    setup = wrong.pop("setup", setup)
    with_checks = [number for number, (_, _, check) in tasks.items() if check]
    assert sorted(wrong) == with_checks, "wrong answers to each task that has a check"
    base = {"__name__": "__main__", "WordsEncoder": WordsEncoder, "few_films": few_films}
    misses = []
    say(setup, base, "set-up")
    for number, answers in wrong.items():
        assert len(answers) >= 2
        stub, solution, check = tasks[number]
        for answer in answers:
            # An answer may change what it was given.
            names = base | {k: copy.deepcopy(base[k]) for k in ("split", "x") if k in base}
            say(stub, names, "stub")
            if answer.get("with_solution"):
                say(solution, names, "solution")
            say(answer["code"], names, f"task {number}: {answer['says']}")
            try:
                say(check, names, f"check {number}")
            except AssertionError as error:
                if not re.search(answer["says"], str(error)):
                    misses.append(f"task {number}, {answer['says']!r}: says {error}")
            except Exception as error:
                misses.append(f"task {number}, {answer['says']!r}: {error!r}")
            else:
                misses.append(f"task {number}, {answer['says']!r}: accepted")
        if number + 1 in wrong and NEEDS.get((path.stem, number + 1)) == number:
            say(stub, base, "stub")
            say(solution, base, "solution")
            say(check, base, "check")
    assert not misses, "\n".join(misses)
