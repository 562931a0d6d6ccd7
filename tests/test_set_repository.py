"""One command carries the repository's URL everywhere: after it no old URL stands anywhere."""

import json
import shutil
import subprocess

import nbformat
import pytest

from scripts.set_repository import (
    ROOT,
    Repository,
    changes,
    current,
    files,
    main,
    notebooks,
    replace_repository,
    source_of,
)

OLD = Repository("old-owner", "old.name")
NEW = Repository("new-owner", "new_name")
# Names that no file contains, this one included, so that any trace is a file that was missed.
TRACE = "zz" + "first"
FIRST = f"https://github.com/{TRACE}owner/{TRACE}name"
SECOND = FIRST.replace("first", "second")


@pytest.mark.parametrize(
    "old, new",
    [
        ("https://github.com/old-owner/old.name", "https://github.com/new-owner/new_name"),
        ("https://github.com/old-owner/old.name.git", "https://github.com/new-owner/new_name.git"),
        (
            "see https://github.com/old-owner/old.name.",
            "see https://github.com/new-owner/new_name.",
        ),
        ("git@github.com:old-owner/old.name.git", "git@github.com:new-owner/new_name.git"),
        ("github.com/old-owner/old.name/issues", "github.com/new-owner/new_name/issues"),
        (
            "https://colab.research.google.com/github/old-owner/old.name/blob/main/a.ipynb",
            "https://colab.research.google.com/github/new-owner/new_name/blob/main/a.ipynb",
        ),
        (
            OLD.kaggle("a.ipynb"),
            "https://kaggle.com/kernels/welcome?src="
            "https://github.com/new-owner/new_name/blob/main/a.ipynb",
        ),
        (
            "mybinder.org/v2/gh/old-owner/old.name/HEAD",
            "mybinder.org/v2/gh/new-owner/new_name/HEAD",
        ),
        (
            "img.shields.io/github/actions/workflow/status/old-owner/old.name/tests.yml",
            "img.shields.io/github/actions/workflow/status/new-owner/new_name/tests.yml",
        ),
        ("https://old-owner.github.io/old.name/", "https://new-owner.github.io/new_name/"),
        (
            '"git+https://github.com/old-owner/old.name"',
            '"git+https://github.com/new-owner/new_name"',
        ),
    ],
)
def test_every_form_of_the_address_is_replaced(old, new):
    assert replace_repository(old, OLD, NEW) == new


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/old-owner/old.name-fork",
        "https://github.com/old-owner/old.name2",
        "https://github.com/old-owner/old.name.wiki",
        "https://github.com/old-owner/oldXname",
        "https://github.com/someone/old.name",
        "https://example.org/old-owner/old.name",
        "very-old-owner.github.io/old.name",
        "a path: old-owner/old.name",
    ],
)
def test_what_only_looks_like_the_address_is_left(text):
    assert replace_repository(text, OLD, NEW) == text


@pytest.mark.parametrize(
    "url",
    ["", "owner/name", "http://github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a",
     "https://github.com/a/b/c", "https://github.com/-a/b", "https://github.com/a/..",
     "https://github.com/a/b c", "git@github.com:a/b.git"],
)  # fmt: skip
def test_what_is_no_repository_is_refused(url):
    with pytest.raises(ValueError, match=r"must read https://github.com/OWNER/NAME"):
        Repository.parse(url)


@pytest.mark.parametrize("end", ["", "/", ".git", ".git/"])
def test_the_ways_to_write_a_url(end):
    assert Repository.parse("https://github.com/a/b.c" + end) == Repository("a", "b.c")


def test_a_bad_url_changes_nothing(copy, capsys):
    assert main(["https://gitlab.com/a/b"], root=copy) == 2
    assert "must read https://github.com" in capsys.readouterr().err
    assert current(copy) == current(ROOT)


@pytest.fixture
def copy(tmp_path):
    """The project's own text files, and a notebook of each kind besides."""
    root = tmp_path / "course"
    for path in files(ROOT):
        if "data" in path.relative_to(ROOT).parts and path.suffix == ".csv":
            continue  # large, and ratings hold no address
        target = root / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    url = current(ROOT).url
    for name in ("notebooks/98_planted.ipynb", "notebooks/exercises/98_planted.ipynb"):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [
            nbformat.v4.new_markdown_cell("# 98. Planted\n\nText"),
            nbformat.v4.new_code_cell(f'%pip install -q "recsys-tutorial @ git+{url}"'),
        ]
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, root / name)
    (root / "CITATION.cff").write_text(f"repository-code: {url}\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def read(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_after_it_no_old_address_stands_anywhere(copy):
    old = current(copy)
    assert main([FIRST], root=copy) == 0
    assert current(copy).url == FIRST
    texts = {path: read(path) for path in files(copy)}
    assert [p for p, text in texts.items() if f"{old.owner}/{old.name}" in text] == []
    assert [p for p, text in texts.items() if f"{old.owner}.github.io" in text] == []
    # From an address that is in no way special to another: not one trace of the first is left.
    assert main([SECOND], root=copy) == 0
    texts = {path: read(path) for path in files(copy)}
    assert [p for p, text in texts.items() if TRACE in text] == []
    for name in ("pyproject.toml", "_config.yml", "README.md", "book/setup.md", "CITATION.cff"):
        assert SECOND in texts[copy / name], name


def test_setting_and_setting_back_restores_every_byte(copy):
    main([], root=copy)  # the planted notebooks get their line
    before = {path: path.read_bytes() for path in files(copy)}
    url = current(copy).url
    main([FIRST], root=copy)
    main([url], root=copy)
    assert {path: path.read_bytes() for path in files(copy)} == before


def test_a_notebook_gets_its_line_under_the_title_and_stays_valid(copy):
    main([FIRST], root=copy)
    for name in ("notebooks/98_planted.ipynb", "notebooks/exercises/98_planted.ipynb"):
        notebook = nbformat.read(copy / name, as_version=4)
        nbformat.validate(notebook)
        title, blank, line, blank2, text = notebook.cells[0].source.split("\n")
        assert (title, blank, blank2, text) == ("# 98. Planted", "", "", "Text")
        assert f"/github/{TRACE}owner/{TRACE}name/blob/main/{name})" in line
        assert notebook.cells[1].source == (f'%pip install -q "recsys-tutorial @ git+{FIRST}"')
        written = (copy / name).read_text()
        assert written == nbformat.writes(notebook) + "\n"  # the form nbformat writes


def test_a_badge_picture_gives_way_to_words(copy):
    path = copy / "notebooks" / "98_planted.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[
        0
    ].source = "# 98. Planted\n\n[![Open in Colab](https://colab.research.google.com/assets/b.svg)](x)\n\nT"
    nbformat.write(notebook, path)
    main([], root=copy)
    source = nbformat.read(path, as_version=4).cells[0].source
    assert source.count("Open in Colab") == 1
    assert "svg" not in source


def test_a_second_time_changes_nothing(copy, capsys):
    main([FIRST], root=copy)
    assert changes(copy, current(copy)) == {}
    assert main(["--check"], root=copy) == 0
    assert "everything names" in capsys.readouterr().out


def test_the_check_says_what_is_out_of_step_and_changes_nothing(copy, capsys):
    before = (copy / "notebooks/98_planted.ipynb").read_bytes()
    assert main(["--check"], root=copy) == 1
    assert "out of step: notebooks/98_planted.ipynb" in capsys.readouterr().out
    assert (copy / "notebooks/98_planted.ipynb").read_bytes() == before


def test_the_readme_lists_the_chapters_that_exist(copy):
    main([FIRST], root=copy)
    readme = (copy / "README.md").read_text()
    row = "| [98. Planted](notebooks/98_planted.ipynb) | [open in Colab]("
    assert row in readme
    (copy / "notebooks/98_planted.ipynb").unlink()
    main([], root=copy)
    assert "Planted" not in (copy / "README.md").read_text()


# The repository as it is.


def test_everything_here_is_in_step():
    out_of_step = changes(ROOT, current(ROOT))
    assert [str(p.relative_to(ROOT)) for p in out_of_step] == [], "run: make set-repository"


def test_every_notebook_has_its_line_and_its_install_cell():
    repository, paths = current(ROOT), notebooks(ROOT)
    assert {"01_data_and_evaluation.ipynb"} < {path.name for path in paths}
    for path in paths:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        name = path.relative_to(ROOT).as_posix()
        assert repository.links_line(name) in source_of(cells[0]).split("\n"), name
        code = [source_of(cell) for cell in cells if cell["cell_type"] == "code"]
        assert repository.install_line() in code[0], name
