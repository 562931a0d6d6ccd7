"""What contributors are told stays true: files are valid, commands exist, the example runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from recsys_tutorial import leaderboard
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))


def schema(name, *paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}"]
    return subprocess.run([*command, *paths], capture_output=True, text=True, timeout=limit(120))


def test_citation_file_is_valid_and_in_step_with_the_package():
    path = ROOT / "CITATION.cff"
    result = schema("citation-file-format", path)
    assert result.returncode == 0, result.stdout
    citation = yaml.safe_load(path.read_text("utf-8"))
    project = PYPROJECT["project"]
    assert citation["version"] == project["version"]
    assert citation["repository-code"] == project["urls"]["Repository"]
    assert " AND ".join(citation["license"]) == project["license"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in project["authors"]
    ]


def test_the_schema_sees_a_broken_citation_file(tmp_path):
    broken = tmp_path / "CITATION.cff"
    broken.write_text((ROOT / "CITATION.cff").read_text("utf-8").replace("title:", "heading:"))
    assert schema("citation-file-format", broken).returncode != 0


def test_issue_forms_are_valid():
    assert len(FORMS) == 3
    result = schema("github-issue-forms", *FORMS)
    assert result.returncode == 0, result.stdout
    result = schema("github-issue-config", ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")
    assert result.returncode == 0, result.stdout


def test_commit_hooks_run_what_exists():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]  # nothing to download
    assert len(hooks[0]["hooks"]) > 0
    for hook in hooks[0]["hooks"]:
        program, target, *_ = hook["entry"].split()
        if program == "make":
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.M)
        else:
            assert program == "python3"
            assert (ROOT / target).is_file()


def test_changelog_has_the_current_version():
    assert f"## {PYPROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_commands_and_files_named_for_contributors_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text += (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)
    assert {"test", "lint", "notebooks"} <= set(targets)
    for target in targets:
        assert re.search(rf"^[a-z ]*\b{target}\b[a-z ]*:", makefile, re.M), target
    names = re.findall(r"`((?:\w+/)*[\w-]+(?:/|\.(?:py|md|yml|bib|csv|ipynb)))`", text)
    assert len(names) > 5
    # A name in backticks is a file of the repository, or of the package by its name alone.
    homes = (ROOT, ROOT / "recsys_tutorial")
    names = [name for name in names if "NN_" not in name]
    missing = [n for n in names if not any((home / n).exists() for home in homes)]
    assert missing == []
    links = re.findall(r"\]\(([^):]+)\)", text)
    assert "CODE_OF_CONDUCT.md" in links
    for target in links:
        assert (ROOT / target).exists(), target


def test_the_model_of_the_contributing_page_runs(capsys, monkeypatch):
    monkeypatch.delenv("RECSYS_TUTORIAL_RECORD", raising=False)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    names = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "co-occurrence: ndcg@10 0." in printed
    assert "not on the leaderboard" in printed
    assert "co-occurrence" not in set(leaderboard.load()["model"])
    # It is personal: two users with different histories get different orders.
    split = names["rolling"].test[-1]
    scores = names["fit"](split).score(split.test.history[:2])
    assert (scores[0] != scores[1]).any()
