"""The capstone's template runs on a user's file, faults included, and names what it cannot use."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from recsys_tutorial import datasets
from scripts.machine_speed import kernel_limits
from tests import capstone_files

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "notebooks" / "capstone" / "bring_your_own_ratings.ipynb"
RATINGS = {"user_id": "who", "item_id": "what", "rating": "stars", "timestamp": "when"}
ITEMS = {"item_id": "code", "title": "name", "genres": None}


def template(folder, **values):
    """The template with settings as a user would write them, and little training."""
    notebook = nbformat.read(TEMPLATE, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    for name, value in {"FOLDER": str(folder), **values}.items():
        cell.source, n = re.subn(rf"^{name} = .*", f"{name} = {value!r}", cell.source, flags=re.M)
        assert n == 1, name
    cell.source = re.sub(r'"epochs": \d+, "seeds": \[0, 1, 2\]', '"epochs": 2, "seeds": [0]',
                         cell.source)  # fmt: skip
    return notebook


def run(notebook, folder):
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        **kernel_limits(300),
    )
    client.execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    text = "\n".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)
    return text, [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A sample of the films as another service would have exported it, with its faults."""
    folder = tmp_path_factory.mktemp("export")
    ratings, items = datasets.load_movielens("small")
    often = ratings["item_id"].value_counts().index[:500]
    sample = ratings[ratings["item_id"].isin(often)].sample(30_000, random_state=0)
    table = sample.astype({"timestamp": object, "rating": object}).reset_index(drop=True)
    table.loc[:99, "timestamp"] = table.loc[:99, "timestamp"] * 1000
    table.loc[100:109, "rating"] = "n/a"
    table.loc[110:119, "timestamp"] = "yesterday"
    table["user_id"] = "u" + table["user_id"].astype(str)
    repeated = table.iloc[200:230]
    table = pd.concat([table, repeated])
    table.rename(columns=RATINGS).to_csv(folder / "ratings.csv", index=False)
    named = items[items["item_id"].isin(often)].iloc[5:].rename(columns=ITEMS)
    named[["code", "name"]].to_csv(folder / "items.csv", index=False)
    return folder


@pytest.mark.slow
def test_the_template_runs_on_a_users_file(export):
    notebook = template(export, RATINGS=RATINGS, ITEMS=ITEMS)
    text, errors = run(notebook, export)
    assert errors == []
    assert "30,030 rows in the file, 29,980 ratings after cleaning" in text
    for fault in (
        "rating is not a number",
        "time in milliseconds since 1970",
        "time cannot be read",
        "rated again",
        "without a title",
    ):
        assert fault in text
    assert text.count("two-tower, reranked minus") == 3
    assert re.search(r"^best of all that need no words, on the test users: ", text, re.M)
    assert re.search(r"\d+% of the likes are among 100 candidates", text)
    assert "recommended: " in text
    assert len(re.findall(r"left out of the (?:validation|test) .*: \d+ of \d+", text)) == 2
    rows = re.findall(r"^((?:popularity|item-kNN|EASE)\S*(?: \S+)*?) +(0\.\d+) ", text, re.M)
    means = dict(reversed(rows))  # of a name in several tables the first: the validation users'
    assert f"best baseline on validation users: {max(means, key=means.get)}" in text
    (table,) = re.findall(r"^popularity .*\n(?:.*\n)*?two-tower, reranked .*$", text, re.M)[-1:]
    values = np.array(re.findall(r"0\.\d+", table), dtype=float)
    assert ((values >= 0) & (values <= 1)).all()


BAD = {
    "no folder": (None, "there is no such file; nor any CSV file beside it"),
    "other columns": ("user,item\n1,2\n", r"has no column 'userId', only 'user', 'item'"),
    "no likes": (
        "userId,movieId,rating,timestamp\n1,1,2,964982703\n",
        "no rating reaches MIN_RATING = 4; the highest is 2",
    ),
}


def test_a_file_that_cannot_be_used_stops_at_once_and_says_why(tmp_path):
    cells = []  # one kernel for all: the set-up, then the next three cells for each file
    for name, (content, _) in BAD.items():
        folder = tmp_path / name
        if content is not None:
            folder.mkdir()
            (folder / "ratings.csv").write_text(content)
        code = [c.source for c in template(folder).cells if c.cell_type == "code"]
        cells += map(nbformat.v4.new_code_cell, code[1:4] if cells else code[:4])
    _, errors = run(nbformat.v4.new_notebook(cells=cells), tmp_path)
    for _, message in BAD.values():
        assert any(re.search(message, error) for error in errors), errors
    assert sum(not error.startswith("NameError") for error in errors) == len(BAD)


WIDE = "pd.set_option('display.width', 1000, 'display.max_colwidth', None)"
WIDE += "\npd.set_option('display.max_columns', 20)"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """What the template says and where it fails, for each of the made-up files, in one kernel."""
    folder = tmp_path_factory.mktemp("files")
    cells, phrases = [], {}
    for name, make in {**capstone_files.FILES, "thirty_rows": capstone_files.thirty_rows}.items():
        (folder / name).mkdir()
        made = make(folder / name)
        settings, phrases[name] = made or ({}, [])
        code = [c.source for c in template(folder / name, **settings).cells
                if c.cell_type == "code"]  # fmt: skip
        cells += code[1:] if cells else [code[0], WIDE, *code[1:]]
        cells.append("print('=== next')\ndel ratings, split, results\nresults = {}")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    found, said, errors = {}, [], []
    run(notebook, folder)
    names = iter(phrases)
    for cell in notebook.cells:
        for output in cell.outputs:
            said.append(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
            if output.output_type == "error":
                errors.append(f"{output.ename}: {output.evalue}")
        if cell.source.startswith("print('=== next')"):
            found[next(names)] = ("\n".join(said), errors)
            said, errors = [], []
    return found, phrases


@pytest.mark.slow
@pytest.mark.parametrize("name", capstone_files.FILES)
def test_the_template_runs_on_files_as_others_write_them(made_up, name):
    text, errors = made_up[0][name]
    assert errors == []
    for phrase in made_up[1][name]:
        assert phrase in text, phrase
    assert text.count("two-tower, reranked minus") >= 2
    for part in ("validation", "test"):
        (left, total) = re.search(rf"left out of the {part} .*: (\d+) of (\d+)", text).groups()
        assert int(left) < 0.2 * int(total)
    untimed = capstone_files.FILES[name] in (
        capstone_files.goodreads, capstone_files.book_crossing, capstone_files.lastfm_counts,
        capstone_files.anime,
    )  # fmt: skip
    assert ("random users are held out, not the last to arrive" in text) == untimed
    assert ("fading" in text) == (not untimed)
    # Whatever was best on the validation users, a tower is measured against the plain list, too.
    assert "two-tower minus popularity: " in text
    assert re.search(r"^two-tower: (better than each|not shown|below)", text, re.M)


@pytest.mark.slow
def test_thirty_rows_are_refused_with_what_to_change(made_up):
    _, errors = made_up[0]["thirty_rows"]
    assert re.match(r"ValueError: .*(too few|only \d+)", errors[0]), errors[0]


def test_where_popularity_is_best_it_is_the_one_to_beat(tmp_path):
    """Users keep to one group of items until the last ones come, who turn to all the others."""
    rng = np.random.default_rng(0)
    groups = np.arange(100).reshape(5, 20)
    liked = []
    for user in range(300):
        own = rng.integers(5)
        first = rng.permutation(groups[own])
        others = rng.permutation(np.delete(groups, own, 0).ravel())
        liked.append(first[:12] if user < 150 else np.concatenate([first[:6], others[:6]]))
    rows = {
        "userId": np.repeat(np.arange(300), 12),
        "movieId": np.concatenate(liked),
        "rating": 5,
        "timestamp": 964_982_703 + 60 * np.arange(3600),
    }
    pd.DataFrame(rows).to_csv(tmp_path / "ratings.csv", index=False)
    notebook = template(tmp_path)
    (last,) = [i for i, cell in enumerate(notebook.cells) if "best_name = " in cell.source]
    notebook.cells = notebook.cells[: last + 1]
    text, errors = run(notebook, tmp_path)
    assert errors == []
    assert "best baseline on validation users: popularity" in text


def test_the_template_is_empty_and_asks_for_words():
    notebook = nbformat.read(TEMPLATE, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert all(c.outputs == [] and c.execution_count is None for c in code)
    assert [c.metadata.get("tags", []) for c in code[:2]] == [["setup"], ["parameters"]]
    assert '"google.colab" in sys.modules' in code[0].source
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert prose.count("**Write.**") >= 6


def test_each_number_of_the_example_report_was_printed():
    folder = TEMPLATE.parent
    report = (folder / "example_report.md").read_text("utf-8").partition("## Graded")[0]
    printed = (folder / "example_output.txt").read_text("utf-8")
    numbers = re.findall(r"[+-]?\d+\.\d+|\d+%|\d+,\d{3}", report)
    assert len(numbers) > 25
    assert [number for number in numbers if number not in printed] == []
