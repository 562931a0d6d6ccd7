"""The stages of the test run, the linters, the site's offline check, the pinned versions."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import freeze, machine_speed, run_tests
from scripts.build_book import remote_references
from scripts.lint import spell_notebooks, write_sources
from scripts.run_tests import Result, run_stage, stages, summary

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = freeze.read_constraints((ROOT / "constraints.txt").read_text(encoding="utf-8"))

# --- stages ---------------------------------------------------------------------------------------


def python(code):
    return [sys.executable, "-c", code]


def test_a_stage_stops_at_its_first_failure_and_says_which(capfd):
    result = run_stage("demo", [python("print(1)"), python("exit(3)"), python("print(2)")], {})
    assert len(result.failed) == 1
    assert "exit code 3" in result.failed[0]
    assert capfd.readouterr().out.split("\n").count("2") == 0
    assert run_stage("demo", [python("pass")], {}).failed == ()


def test_a_stage_cannot_ask_a_question():
    assert run_stage("demo", [python("input()")], {}).failed


def test_a_failing_stage_does_not_hide_the_next_and_fails_the_run(monkeypatch, capfd):
    plan = {"one": [python("exit(1)")], "two": [python("print('two ran')")]}
    monkeypatch.setattr(run_tests, "stages", lambda *_: plan)
    monkeypatch.setenv(machine_speed.VARIABLE, "1")
    assert run_tests.main([]) == 1
    out = capfd.readouterr().out
    assert "two ran" in out
    assert re.search(r"^one +\d+ +FAILED$", out, re.M)
    assert re.search(r"^two +\d+$", out, re.M)
    assert re.search(r"^all +\d+$", out, re.M)
    assert run_tests.main(["two"]) == 0
    with pytest.raises(SystemExit):
        run_tests.main(["three"])


def test_the_summary_adds_up():
    text = summary([Result("lint", 1.2, ()), Result("tests", 61.0, ("python -m pytest",))])
    assert re.search(r"^all +62$", text, re.M)
    assert "failed: python -m pytest" in text


def test_every_test_runs_in_exactly_one_stage():
    plan = stages(2)
    ignored = {a.removeprefix("--ignore=") for a in plan["tests"][0] if a.startswith("--ignore=")}
    in_site = {argument for argument in plan["site"][-1] if argument.startswith("tests/")}
    assert ignored == in_site == set(run_tests.SITE_TESTS)
    assert "notebooks" in plan["notebooks"][0]
    assert list(plan) == ["lint", "tests", "notebooks", "site"]


def test_workers_share_the_cores_and_one_cache_and_record_nothing(monkeypatch, tmp_path):
    for name in ("OMP_NUM_THREADS", "RECSYS_TUTORIAL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECSYS_TUTORIAL_RECORD", "1")
    monkeypatch.setattr(run_tests.os, "cpu_count", lambda: 8)
    env = run_tests.environment(workers=2)
    assert env["OMP_NUM_THREADS"] == "4"
    assert Path(env["RECSYS_TUTORIAL_CACHE"]).is_absolute()
    assert "RECSYS_TUTORIAL_RECORD" not in env
    monkeypatch.setattr(run_tests.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(tmp_path))
    env = run_tests.environment(workers=2)
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["RECSYS_TUTORIAL_CACHE"] == str(tmp_path)


# --- linters --------------------------------------------------------------------------------------


def notebook(path, source, output=""):
    cell = {"cell_type": "markdown", "source": source, "outputs": [{"text": output}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [cell]}))
    return path


def test_a_misspelling_in_a_cell_is_found_and_one_in_an_output_is_not(tmp_path, capfd):
    wrong = "rec" + "ieve"  # in two parts, since this file is checked too
    good = notebook(tmp_path / "notebooks" / "01.ipynb", ["receive\n", "it"], output=wrong)
    assert spell_notebooks([good]) == 0
    bad = notebook(tmp_path / "notebooks" / "02.ipynb", ["first\n", wrong])
    assert spell_notebooks([good, bad]) != 0
    out = capfd.readouterr().out
    assert "notebooks/02/cell 0.txt:2" in out
    assert "notebooks/01/" not in out


def test_notebooks_of_one_name_in_two_folders_do_not_collide(tmp_path):
    for folder in ("solutions", "exercises"):
        path = notebook(tmp_path / folder / "01.ipynb", "text")
        write_sources(path, tmp_path / "out" / folder)
    assert len(list((tmp_path / "out").rglob("*.txt"))) == 2


# --- the site offline -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<script src='//cdn.example/x.js'></script>",
        '<link rel="stylesheet" href="https://fonts.example/x.css">',
        '<link href="HTTPS://x.example/x.css" rel="preload stylesheet">',
        '<img src="https://colab.example/badge.svg">',
        '<img srcset="a.png 1x, https://x.example/b.png 2x">',
        '<iframe src="https://video.example/1"></iframe>',
        "<style>@import 'https://x.example/x.css';</style>",
        "<style>p { background: url( 'https://x.example/x.png') }</style>",
        '<p style="background: url(//x.example/x.png)">',
    ],
)
def test_what_a_page_would_fetch_is_found(tmp_path, html):
    (tmp_path / "page.html").write_text(html)
    (found,) = remote_references(tmp_path)
    assert found.startswith("page.html: ")


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.org">a link is not fetched</a>',
        '<link rel="canonical" href="https://example.org/page.html">',
        '<script src="_static/x.js"></script>',
        '<img src="data:image/png;base64,AAAA//https://x">',
        "<p>url(https://example.org) in prose</p>",
        '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    ],
)
def test_what_a_page_does_not_fetch_is_left(tmp_path, html):
    (tmp_path / "page.html").write_text(html)
    assert remote_references(tmp_path) == []


def test_style_sheets_are_read_too(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.example/f.woff2) }")
    assert remote_references(tmp_path) == ["a.css: https://fonts.example/f.woff2"]


# --- versions -------------------------------------------------------------------------------------

# What Colab preinstalled in August 2026 (Python 3.13): the package must not replace any of it.
COLAB = {
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "transformers": "5.15.0",
    "timm": "1.0.28",
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "scikit-learn": "1.6.1",
    "peft": "0.20.0",
    "accelerate": "1.14.0",
    "matplotlib": "3.10.0",
}
RUNTIME = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
ALL = RUNTIME + [
    Requirement(text)
    for extra in PYPROJECT["project"]["optional-dependencies"].values()
    for text in extra
]


@pytest.mark.parametrize("requirement", ALL, ids=str)
def test_every_requirement_is_pinned_within_its_bounds(requirement):
    assert Version(PINS[canonicalize_name(requirement.name)]) in requirement.specifier


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_the_package_sets_floors_and_never_pins(requirement):
    assert [specifier.operator for specifier in requirement.specifier] == [">="]
    installed_on_colab = COLAB.get(requirement.name)
    assert installed_on_colab is None or Version(installed_on_colab) in requirement.specifier


def test_colab_s_table_is_about_requirements_that_exist():
    assert set(COLAB) <= {requirement.name for requirement in RUNTIME}


def test_constraints_are_exact_sorted_and_free_of_local_builds():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0])
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert len(lines) == len(PINS)
    assert not freeze.LEFT_OUT & set(PINS)


def test_the_environment_file_agrees_with_the_constraints():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == freeze.environment_text(PYPROJECT, PINS), "run: python scripts/freeze.py"
    pins = dict(re.findall(r"^      - ([\w-]+)==(\S+)$", text, re.M))
    assert pins
    assert pins.items() <= PINS.items()
    names = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    assert names <= set(pins)


def test_the_environment_file_is_what_conda_reads():
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert "--constraint=constraints.txt" in pip["pip"]
    assert pip["pip"][-1] == "--editable=."


def test_a_requirement_that_is_not_pinned_is_named():
    with pytest.raises(KeyError, match="numpy"):
        freeze.environment_text(PYPROJECT, {k: v for k, v in PINS.items() if k != "numpy"})


# --- how continuous integration starts everything -------------------------------------------------


def test_ci_runs_the_readme_s_command():
    ci = ROOT / ".ci" / "run"
    text = ci.read_text(encoding="utf-8")
    assert ci.stat().st_mode & 0o111
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert re.search(r"^make test$", text, re.M)
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", ci], check=True)
