"""What every stored notebook must be, before nbval compares a single output."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from scripts.set_repository import notebooks
from tests.nbval_tolerance import LAST_DIGIT, tolerance_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
CHAPTERS = notebooks(ROOT, "")
# Exercises are generated, and meant to be filled.
STORED = notebooks(ROOT, "", "solutions")

KNOWN_TAGS = {
    "setup", "parameters", "solution", "check", "raises-exception", "nbval-ignore-output",
    LAST_DIGIT, "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output",
    "remove-cell", "shared", "arms",  # the last two: what data/fusion/make_pictures.py runs, too
}  # fmt: skip
# A tolerance is for float32 results that a cell cannot avoid; more of them, or wider ones, and the
# comparison would no longer guard the chapter.
MOST_TOLERANT_CELLS = 2
WIDEST_RTOL = 1e-2
MOST_IGNORED_CELLS = 2
MOST_BYTES = 500_000


def name_of(path):
    return path.relative_to(FOLDER).as_posix()


def tags(cell):
    return cell.metadata.get("tags", [])


def problems(notebook):
    """Yield what is wrong with a stored notebook, cell by cell."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        yield f"not stored by one run from the top: execution counts {counts}"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not python3"
    if sum("nbval-ignore-output" in tags(cell) for cell in code) > MOST_IGNORED_CELLS:
        yield f"more than {MOST_IGNORED_CELLS} cells are tagged nbval-ignore-output"
    tolerant = [c for c in code if any(t.startswith("rtol") or t == LAST_DIGIT for t in tags(c))]
    if len(tolerant) > MOST_TOLERANT_CELLS:
        yield f"more than {MOST_TOLERANT_CELLS} cells carry a tolerance"
    for number, cell in enumerate(notebook.cells):
        for problem in cell_problems(cell):
            yield f"cell {number}: {problem}"


def cell_problems(cell):
    """Yield what is wrong with one cell."""
    unknown = {t for t in tags(cell) if t not in KNOWN_TAGS and not t.startswith("rtol=")}
    if unknown:
        yield f"unknown tags {sorted(unknown)}"
    if cell.cell_type == "markdown":
        # Colab shows these as raw text.
        found = re.search(r"^\s*(:::|```)\{|\{[a-z:]+\}`|^\(\S+\)=$", cell.source, re.M)
        if found:
            yield f"MyST syntax: {found[0].strip()!r}"
        if re.search(r"!\[[^\]]*\]\(https?:", cell.source):
            yield "a picture from another host"
        return
    if cell.cell_type != "code":
        return
    if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
        yield "an nbval marker in a comment: use a tag, which the caps count"
    if re.search(r";\s*$", cell.source, re.M):
        yield "a line ends with a semicolon"
    if re.search(r"clear_output|update_display|tqdm\.notebook|^%%time", cell.source, re.M):
        yield "output that cannot be compared"
    if any(t.startswith("rtol") or t == LAST_DIGIT for t in tags(cell)):
        rtol, _ = tolerance_of(tags(cell))
        if rtol > WIDEST_RTOL:
            yield f"rtol {rtol:g} is wider than {WIDEST_RTOL:g}"
        if not re.search(r"#.*(rtol|last digit)", cell.source):
            yield "carries a tolerance without a comment (# rtol: why, or # last digit: why)"
    for output in cell.outputs:
        text = json.dumps(output, ensure_ascii=False)
        if output.output_type == "error" and "raises-exception" not in tags(cell):
            yield "a stored error"
        if output.output_type == "stream" and output.name == "stderr":
            yield "stored stderr"
        if re.search(r"\bat 0x[0-9a-fA-F]{6,}", text):
            yield "a memory address in an output"
        if re.search(r"\d+%\|[█▏▎▍▌▋▊▉ #]|widget-view\+json", text):
            yield "a progress bar or a widget in an output"


@pytest.mark.parametrize("path", STORED, ids=name_of)
def test_a_stored_notebook_is_complete_and_comparable(path):
    assert list(problems(nbformat.read(path, as_version=4))) == []
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("path", CHAPTERS, ids=name_of)
def test_a_chapter_opens_and_closes_as_all_do(path):
    notebook = nbformat.read(path, as_version=4)
    title, code = notebook.cells[0], [c for c in notebook.cells if c.cell_type == "code"]
    assert re.match(rf"# {int(path.name[:2])}\. \S", title.source)
    assert "What you will be able to do" in title.source
    assert [tags(cell) for cell in code[:2]] == [["setup"], ["parameters"]]
    assert sum("setup" in tags(cell) or "parameters" in tags(cell) for cell in code) == 2
    assert '"google.colab" in sys.modules' in code[0].source
    assert re.search(r'^SCALE = "laptop"', code[1].source, re.M)
    assert '"gpu"' in code[1].source
    headings = re.findall(r"^## (.+)$", "\n".join(c.source for c in notebook.cells), re.M)
    last = [heading.strip().lower() for heading in headings[-4:]]
    # What has no checks is to think about; "exercises" are the notebook of that name.
    assert last.pop(2) in ("to think about", "exercises")
    assert last == ["summary", "common mistakes", "further reading"]
    kinds = [set(o.get("data", {})) for cell in code for o in cell.outputs]
    figures = [kind for kind in kinds if kind & {"image/svg+xml", "image/png"}]
    assert len(figures) >= 2


@pytest.mark.parametrize("path", CHAPTERS, ids=name_of)
def test_colab_opens_a_chapter_with_a_card_where_that_helps(path):
    """Where the larger settings name a model of the hub; the others need none, Colab lends few."""
    notebook = nbformat.read(path, as_version=4)
    (settings,) = [c.source for c in notebook.cells if "parameters" in tags(c)]
    helps = re.search(r'"[\w.-]+/[\w.-]+"', settings) is not None
    assert (notebook.metadata.get("accelerator") == "GPU") == helps


def good():
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# 1. Title\n\n$x$ and [a link](https://example.org)"),
        nbformat.v4.new_code_cell("print(1)", execution_count=1),
        nbformat.v4.new_code_cell(""),
        nbformat.v4.new_code_cell("# rtol: float32\nx", execution_count=2),
    ]
    notebook.cells[3].metadata["tags"] = ["rtol=1e-3"]
    return notebook


def changed(number, **values):
    def change(notebook):
        notebook.cells[number].update(values)

    return change


def output(**values):
    return lambda nb: nb.cells[1].outputs.append(nbformat.v4.new_output(**values))


def many(tag):
    def change(notebook):
        for count in range(3, 6):
            cell = nbformat.v4.new_code_cell("# rtol: why", execution_count=count)
            cell.metadata["tags"] = [tag]
            notebook.cells.append(cell)

    return change


BAD = {
    "unrun": (changed(1, execution_count=None), "not stored by one run"),
    "out of order": (changed(1, execution_count=3), "not stored by one run"),
    "kernel": (lambda nb: nb.metadata.kernelspec.update(name="other"), "kernel is not python3"),
    "tag": (lambda nb: nb.cells[1].metadata.update(tags=["skip-this"]), "unknown tags"),
    "nbval skip": (lambda nb: nb.cells[1].metadata.update(tags=["nbval-skip"]), "unknown tags"),
    "tolerances": (many("rtol=1e-3"), "cells carry a tolerance"),
    "ignored": (many("nbval-ignore-output"), "cells are tagged nbval-ignore-output"),
    "wide": (lambda nb: nb.cells[3].metadata.update(tags=["rtol=0.5"]), "wider than"),
    "no reason": (changed(3, source="x"), "without a comment"),
    "directive": (changed(0, source="```{note}\nx\n```"), "MyST syntax"),
    "role": (changed(0, source="see {ref}`x`"), "MyST syntax"),
    "badge": (changed(0, source="![b](https://example.org/b.svg)"), "another host"),
    "marker": (changed(1, source="# NBVAL_IGNORE_OUTPUT\nprint(1)"), "nbval marker"),
    "semicolon": (changed(1, source="plt.plot(x);"), "semicolon"),
    "magic": (changed(1, source="%%time\nprint(1)"), "cannot be compared"),
    "error": (output(output_type="error", ename="E", evalue="", traceback=[]), "stored error"),
    "stderr": (output(output_type="stream", name="stderr", text="w"), "stored stderr"),
    "address": (output(output_type="stream", text="<A at 0x7f3a12>"), "memory address"),
    "bar": (output(output_type="stream", text=" 50%|█████     | 1/2"), "progress bar"),
}


def test_a_good_notebook_has_no_problem():
    assert list(problems(good())) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_notebook_has_its_problem_alone(name):
    change, message = BAD[name]
    notebook = good()
    change(notebook)
    (problem,) = problems(notebook)
    assert message in problem
