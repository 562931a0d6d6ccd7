"""The prose pages: their numbers come from the chapters, their examples run, their figures draw."""

import doctest
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.text import Text

from recsys_tutorial import leaderboard

ROOT = Path(__file__).resolve().parents[1]
EXTENSIONS = ROOT / "book" / "_ext"
sys.path.insert(0, str(EXTENSIONS))

import api_pages  # noqa: E402
import course_data  # noqa: E402
import course_figures  # noqa: E402
import dark_figures  # noqa: E402
import house  # noqa: E402
import teaching  # noqa: E402

PAGES = sorted((ROOT / "book").glob("*.md"))
FIGURES = sorted(
    {
        name
        for page in PAGES
        for name in re.findall(r"\{course-figure\} (\w+)", page.read_text("utf-8"))
    }
)


def test_worked_examples_of_the_toolbox_run():
    text = (ROOT / "book" / "math_toolbox.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(>>>.*?)```", text, re.S))
    example = doctest.DocTestParser().get_doctest(code, {}, "math_toolbox.md", None, 0)
    assert len(example.examples) > 15
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("name", course_data.STORED)
def test_every_measured_number_is_in_its_chapter(name):
    value = course_data.stored_value(ROOT, name)
    assert float(value.replace(",", "")) > 0


def test_a_number_that_is_gone_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(LookupError, match="no notebook 01_"):
        course_data.stored_value(tmp_path, "cold targets")
    (tmp_path / "notebooks" / "01_x.ipynb").write_text('{"cells": [{"outputs": []}]}')
    with pytest.raises(LookupError, match="no output that matches"):
        course_data.stored_value(tmp_path, "cold targets")
    with pytest.raises(LookupError, match="no 'nobody"):
        course_data.leaderboard_value(leaderboard.load(), "nobody ndcg@10")


def table_cells(lines):
    """The cells of a Markdown table's rows, below its head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_a_table_shows_every_row_of_its_file_best_first():
    lines = course_data.leaderboard_markdown()
    rows, cells = leaderboard.load().set_index("model"), table_cells(lines)
    assert {len(row) for row in cells} == {len(lines[0].strip("|").split(" | "))}
    models = [row[1] for row in cells]
    assert sorted(models) == sorted(rows.index)
    quality = [float(row[3]) for row in cells]
    assert quality == sorted(quality, reverse=True)
    assert quality == pytest.approx([round(rows["ndcg@10"][m], 3) for m in models], abs=1e-9)
    for row in cells:  # what a model costs stands in the last columns
        assert row[-2] == course_data.write(rows["ms_per_user"][row[1]], "ms_per_user")


def test_the_table_has_places_and_differences_with_intervals():
    lines = course_data.leaderboard_markdown()
    header = [cell.strip() for cell in lines[0].strip("|").split(" | ")]
    rows = leaderboard.load().set_index("model")
    places = dict(zip(rows.index, leaderboard.places(rows.index, leaderboard.load_users()),
                      strict=True))  # fmt: skip
    for cells in table_cells(lines):
        row = dict(zip(header, cells, strict=True))
        assert row["place"] == str(places[row["model"]])
        for reference in leaderboard.REFERENCES:
            written = row[f"minus {reference}"]
            if row["model"] == reference:
                assert written == "–"
                continue
            difference, low, high = map(float, re.findall(r"[+-]?0\.\d{3}", written))
            column = f"minus_{reference.replace(' ', '_')}"
            assert difference == pytest.approx(rows[column][row["model"]], abs=6e-4)
            assert low <= difference <= high


def test_how_often_the_test_users_were_looked_at_is_counted_over_chapters(tmp_path):
    models, others = course_data.looks(ROOT)
    assert models == len(leaderboard.load()) and others >= 10
    (tmp_path / "notebooks").mkdir()
    for number, looks in (("01", 7), ("02", 5)):
        line = f"on the test users: 6 models and {looks} other settings looked at\n"
        notebook = {"cells": [{"outputs": [{"text": [line]}]}]}
        (tmp_path / "notebooks" / f"{number}_x.ipynb").write_text(json.dumps(notebook))
    assert course_data.looks(tmp_path)[1] == 12


def test_the_frontier_is_what_no_other_model_beats():
    cost, quality = pd.Series([1.0, 1.0, 5.0, 9.0]), pd.Series([0.1, 0.2, 0.15, 0.3])
    assert course_figures.pareto(cost.to_numpy(), quality.to_numpy()).tolist() == [
        False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw(name, tmp_path):
    course_figures.draw(name, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text("utf-8")
    assert 1000 < len(svg) < 300_000 and dark_figures.dark(svg) != svg
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]


def label_boxes(ax):
    """The places of a plot's texts in pixels."""
    return [Text.get_window_extent(text) for text in ax.texts]


def test_labels_in_a_crowd_cover_neither_each_other_nor_a_point():
    fig, ax = plt.subplots(figsize=(7, 4))
    x, y = np.repeat([1.0, 1.01, 1.5, 2.0], 3), np.tile([0.1, 0.101, 0.11], 4)
    ax.plot(x, y, "o")
    course_figures.place_labels(ax, x, y, ["a long name"] * 4 + [str(i) for i in range(8)])
    boxes = label_boxes(ax)
    assert len(boxes) == 12
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        for point in ax.transData.transform(np.column_stack([x, y])):
            assert not box.contains(*point)
    plt.close(fig)


@pytest.mark.parametrize("cost", course_figures.COSTS)
def test_labels_of_the_quality_cost_plot_do_not_overlap(cost):
    fig = course_figures.quality_cost(cost)
    boxes = label_boxes(fig.axes[0])
    assert len(boxes) == leaderboard.load()[cost].notna().sum() > 5
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
    plt.close(fig)


def test_cards_name_goal_and_time_of_every_chapter():
    chapters = list(course_data.chapters(ROOT))
    assert len(chapters) >= 3
    for chapter in chapters:
        assert chapter["goal"], chapter["file"]
        assert re.fullmatch(r"\d*½? minutes?", chapter["minutes"]), chapter["file"]


def test_no_page_types_a_number_of_the_leaderboard():
    """A quality typed by hand would stay behind when the chapter is run again."""
    quality = leaderboard.load()["ndcg@10"]
    values = {f"{value:.4f}"[:-1] for value in quality} | {f"{value:.3f}" for value in quality}
    assert len(values) > 10 and len(PAGES) > 10
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
        assert not {v for v in values if v in text}, page.name


QUIZZES = sorted((ROOT / "book" / "_quizzes").glob("*.yml"))


@pytest.mark.parametrize("path", QUIZZES, ids=lambda path: path.stem)
def test_a_quiz_explains_every_answer_right_and_wrong(path):
    assert list((ROOT / "notebooks").glob(f"{path.stem}_*.ipynb"))
    assert f"{{quiz}} {path.stem}" in (ROOT / "book" / "quizzes.md").read_text("utf-8")
    questions = yaml.safe_load(path.read_text("utf-8"))
    assert 8 <= len(questions) <= 10
    for question in questions:
        verdicts = [option[0] for option in question["options"]]
        assert sorted(verdicts) == ["right"] + ["wrong"] * (len(verdicts) - 1)
        assert len(verdicts) >= 3
        for _, text, reason in question["options"]:
            assert text and len(reason) > 10, question["question"]
            # A name that a screen reader can say: more than a formula.
            assert text.strip() and not re.fullmatch(r"\$[^$]*\$\.?", text), text
    # The right answer is not always at the same place.
    places = {[o[0] for o in question["options"]].index("right") for question in questions}
    assert len(places) > 1


def test_exercises_whose_solutions_are_hidden_have_none(tmp_path):
    (tmp_path / "notebooks" / "exercises").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "notebooks" / "exercises" / "01_x.ipynb").write_text("{}")
    shown = course_data.practice_links(tmp_path, "exercises", "01_x.ipynb")
    assert shown.startswith("{download}`notebook </notebooks/exercises/01_x.ipynb>`")
    assert course_data.practice_links(tmp_path, "solutions", "01_x.ipynb") == "–"


# --- The reference: docstrings as reStructuredText ------------------------------------------------


@pytest.mark.parametrize(
    "docstring, shown",
    [
        ("Sum of w_ over\nall `x`.", "Sum of w\\_ over all ``x``."),
        ("As:\n\n    a_ * |b|", ".. code-block:: none\n\n   a_ * |b|"),
        ("Two:\n- one_\n  more\n- two", "Two:\n\n- one\\_ more\n\n- two"),
        (">>> f(*a)\n3", ">>> f(*a)\n3"),
        (
            "Parameters\n----------\na, b : int, of\n    the same size",
            "**a, b**\n      int, of the same",
        ),
        (
            "Parameters\n----------\n*rest : one of\n    - 1\n    - 2",
            "**\\*rest**\n      one of\n      \n      - 1",
        ),
        ("Returns\n-------\nint, or\nnone", ":Returns:\n   int, or none"),
        (
            "Raises\n------\nOSError where\nit is full\nKeyError\n    If not.",
            "``OSError`` where it is full\n   \n   ``KeyError``: If not.",
        ),
        ("See `models.EASE`.", ":py:obj:`models.EASE <recsys_tutorial.models.EASE>`"),
        ("Column\n    odd\nindentation", ".. code-block:: none\n\n   Column\n       odd"),
    ],
)
def test_a_docstring_keeps_its_meaning(docstring, shown):
    rst = "\n".join(api_pages.to_rst(docstring.split("\n"), api_pages.places().get))
    assert shown in rst


# --- The glossary ---------------------------------------------------------------------------------

# Names of programs, people, data sets and units, which no glossary explains.
NO_TERMS = {
    "NumPy", "PyTorch", "SciPy", "GB", "MB", "AI", "YouTube", "GroupLens", "MacAvaney", "McAuley",
    "McMahan", "MS-COCO", "MiniLM-L6", "userId", "movieId", "DistributedDataParallel", "RecTools",
    "CoLLM", "LLaRA",
}  # fmt: skip


def abbreviations(text):
    """The words with two capitals in Markdown, without code, formulas, links and the reading list.

    >>> sorted(abbreviations("An MLP, `CODE`, $X_{AB}$ [at](HTTP) and iALS"))
    ['MLP', 'iALS']
    """
    text = text.split("## Further reading")[0]
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$", r"\]\([^)]*\)"):
        text = re.sub(pattern, " ", text, flags=re.S)
    return set(re.findall(r"\b\w*[A-Z]\w*[A-Z]\w*(?:-\w+)?", text))


def glossary_words():
    """The words of the glossary's terms, in lower case."""
    text = (ROOT / "book" / "glossary.md").read_text("utf-8")
    blocks = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.S | re.M)
    terms = [line for block in blocks for line in block.split("\n") if line[:1].strip()]
    return {word.lower() for term in terms for word in [term, *re.split(r"[\s@-]", term)]}


@pytest.mark.parametrize("name", course_data.chapter_files(ROOT))
def test_every_abbreviation_of_a_chapter_is_in_the_glossary(name):
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
    cells = [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    found = abbreviations("\n\n".join("".join(c["source"]) for c in cells))
    terms = glossary_words()
    missing = {
        word
        for word in found - NO_TERMS
        if not {word.lower(), word.lower().rstrip("s"), word.lower().partition("-")[0]} & terms
    }
    assert not missing, f"book/glossary.md lacks abbreviations of {name}: {sorted(missing)}"


# What a page writes out itself where it first stands, and a few more names.
WRITTEN_OUT = {"CC", "BY", "BSD", "IMS", "MIND"}
NAMES = {"JavaScript", "ModelScope", "macOS", "LensKit", "README", "QUIZZES", "VARIANT", "CO₂",
         "ModuleNotFoundError", "SQLite", "OpenAPI"}  # fmt: skip


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name != "glossary.md"], ids=lambda path: path.stem
)
def test_every_abbreviation_of_a_page_is_explained(path):
    text = re.sub(r"\{[a-z:-]+\}`[^`]*`|https?://\S+", " ", path.read_text("utf-8"))
    terms = glossary_words()
    missing = {
        word
        for word in abbreviations(text) - NO_TERMS - NAMES
        if word.isascii()  # a Chinese title has no blanks
        and not {word.lower(), word.lower().rstrip("s"), word.lower().partition("-")[0]} & terms
    }
    assert {word for word in missing if word not in WRITTEN_OUT} == set()
    for word in missing - {"BY"}:  # in brackets after it, or in them
        assert re.search(rf"\b{word}\b[^()]{{0,20}}\s\(\w|\([^)]*\b{word}\b", text), word


def test_an_abbreviation_is_seen_in_prose_alone():
    text = "An MLP, `CODE`, $X_{AB}$ [at](HTTP) and iALS\n## Further reading\nBPR"
    assert abbreviations(text) == {"MLP", "iALS"}
    assert {"mlp", "ials", "ndcg"} <= glossary_words()


# --- For who carries on ---------------------------------------------------------------------------


def test_the_list_of_rooms_is_that_of_the_contract():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert re.search(r"^    models( |$)", text, re.M)
    assert house.written(text) == text, "python3 book/_ext/house.py writes it"


def test_the_picture_of_the_house_has_every_room_and_cuts_none_off():
    svg = ElementTree.fromstring(house.svg([*house.layers(), ["a_room_with_a_name"] * 5]))
    boxes = svg.findall("rect[@class='room']")
    rooms = [room for layer in house.layers() for room in layer]
    assert [text.text for text in svg.findall("text")][: len(rooms)] == rooms
    assert all(room in svg.get("aria-label") for room in rooms)
    _, _, width, height = map(float, svg.get("viewBox").split())
    for box in boxes:
        x, y, w, h = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        assert x > house.LEFT and x + w < width and y + h < height
    places = {(box.get("x"), box.get("y")) for box in boxes}
    assert len(places) == len(boxes) == len(rooms) + 5


def test_the_way_from_ratings_to_the_leaderboard_runs(capsys, monkeypatch):
    monkeypatch.delenv("RECSYS_TUTORIAL_RECORD", raising=False)
    text = (ROOT / "book" / "carrying_on.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {}
    exec(compile(code, "book/carrying_on.md", "exec"), names)
    assert names["scores"].shape == names["split"].test.history.shape
    assert "EASE, once more: ndcg@10 0." in capsys.readouterr().out


def test_places_named_for_who_carries_on_exist():
    text = (ROOT / "book" / "carrying_on.md").read_text("utf-8")
    names = re.findall(r"`((?:\w+/)+|(?:[\w.]+/)*\w+\.(?:py|md|toml|csv))`", text)
    homes = (ROOT, ROOT / "recsys_tutorial")
    homes += (ROOT / "recsys_tutorial" / "losses",)
    assert len(set(names)) > 15
    assert {n for n in names if not any((home / n).exists() for home in homes)} == set()


# --- For instructors ------------------------------------------------------------------------------


def test_goals_and_needs_of_every_chapter_are_read():
    names = list(course_data.chapter_files(ROOT))
    assert len(names) >= 3
    for name in names:
        notebook = teaching.read_chapter(ROOT, name)
        goals, needs = teaching.opening("".join(notebook["cells"][0]["source"]))
        assert 3 <= len(goals) <= 5, name
        assert len(needs) > 40, name
        # A class of three hours is chapter 16 as a whole; instructors assign parts of it.
        assert 20 <= teaching.class_minutes(notebook) <= 180, name


def test_a_chapter_without_goals_or_needs_is_named():
    for text in ("# 1. T\n\n**What it needs**: x", "# 1. T\n\n- do this."):
        with pytest.raises(ValueError, match="no goals, or no line"):
            teaching.opening(text)


def test_the_guide_has_for_each_chapter_what_an_instructor_looks_for():
    text = (ROOT / "book" / "instructors.md").read_text("utf-8")
    sections = re.split(r"^### Chapter (\d+): ", text, flags=re.M)[1:]
    numbers = [int(number) for number in sections[::2]]
    assert numbers == sorted(int(name[:2]) for name in course_data.chapter_files(ROOT))
    for number, section in zip(numbers, sections[1::2], strict=True):
        assert f"{{chapter-facts}} {number}" in section
        for part in ("**Misconceptions to watch.**", "**To discuss.**", "**Full marks**"):
            assert section.count(part) == 1, f"chapter {number}: {part}"
        assert len(re.findall(r"^- \*", section, re.M)) >= 3
