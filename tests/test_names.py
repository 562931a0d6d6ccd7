"""Every file and every `make` target that a text of the repository names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("scripts", "tests", "data", "book", "notebooks", "benchmarks", "recsys_tutorial",
           ".github", ".ci")  # fmt: skip
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".ipynb", ".cff", ".txt", ""}
# A path that begins in one of the repository's folders, and a lone module in backticks.
NAMED = re.compile(rf"(?<![\w/.:-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\.[a-z]\w*)")
MODULE = re.compile(r"`(\w+\.py)`")
TARGET = re.compile(r"(?:`|^ *|&& |run: )make (?:[A-Z]+=\S+ )*([a-z][a-z-]+)", re.M)
# Named on purpose, though not there: what the reader or a tool is about to make.
TO_COME = {
    "notebooks/solutions/NN_topic.ipynb",
    "notebooks/exercises/NN_topic.ipynb",
    "notebooks/12_sequences.ipynb",
}


def texts():
    """The repository's own texts; tests are left out, which plant names that do not exist."""
    for path in [*ROOT.iterdir(), *(p for f in FOLDERS for p in (ROOT / f).rglob("*"))]:
        left_out = {"__pycache__", ".ipynb_checkpoints", "vendor", "tests"}
        left_out &= set(path.relative_to(ROOT).parts)
        if path.is_file() and path.suffix in SUFFIXES and not left_out:
            yield path


def missing_files(text, root=ROOT):
    """The files that a text names and that are not there; pages of the built site are no files."""
    named = {name for name in NAMED.findall(text) if not name.endswith(".html")}
    missing = {name for name in named - TO_COME if not (root / name).exists()}
    modules = {path.name for folder in FOLDERS for path in (root / folder).rglob("*.py")}
    return missing | (set(MODULE.findall(text)) - modules)


def missing_targets(text, makefile):
    """The targets that a text tells to make and that the Makefile lacks."""
    return set(TARGET.findall(text)) - set(re.findall(r"^([a-z-]+):", makefile, re.M))


@pytest.fixture(scope="module")
def contents():
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in texts()
    }
    for name in ("pyproject.toml", "Makefile", "README.md", ".github/workflows/tests.yml"):
        assert name in found
    assert sum(len(NAMED.findall(text)) for text in found.values()) > 100
    return found


def test_every_file_named_is_there(contents):
    missing = {name: missing_files(text) for name, text in contents.items()}
    assert {name: sorted(names) for name, names in missing.items() if names} == {}


def test_every_target_named_is_there(contents):
    missing = {name: missing_targets(text, contents["Makefile"]) for name, text in contents.items()}
    assert {name: names for name, names in missing.items() if names} == {}


def test_what_is_named_on_purpose_is_still_named(contents):
    named = {name for text in contents.values() for name in NAMED.findall(text)}
    assert named >= TO_COME


def test_a_dangling_name_would_be_found():
    text = (
        "# checked by scripts/lint_notebooks.py, not scripts/lint.py; see `no_such.py`, `lint.py`"
    )
    assert missing_files(text) == {"scripts/lint_notebooks.py", "no_such.py"}
    assert missing_files("https://host.example/scripts/none.py, _build/book/none.md") == set()
    text = "run `make tset`, `make test`\n    make VENV=x nonsense\nhabits make people\n"
    assert missing_targets(text, "test: python\n") == {"tset", "nonsense"}
