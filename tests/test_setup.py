"""The set-up: what it says when something is missing, and that it does nothing twice."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import setup
from scripts.machine_speed import limit
from scripts.setup import (
    SetupError,
    check_disk,
    check_python,
    different_versions,
    explain,
    key,
    main,
    make_venv,
    pip_arguments,
)

ROOT = Path(__file__).resolve().parents[1]


def test_an_old_python_is_told_what_to_do():
    with pytest.raises(
        SetupError, match=r"Python 3\.11 or newer is needed, /usr/bin/p is 3\.10\.9"
    ):
        check_python((3, 10, 9), "/usr/bin/p")
    check_python((3, 11, 0))
    check_python((3, 13, 1))


def test_an_old_python_can_read_the_file_to_say_so():
    ast.parse((ROOT / "scripts" / "setup.py").read_text(), feature_version=(3, 7))


def test_a_full_disk_is_told_with_both_numbers(tmp_path):
    with pytest.raises(SetupError, match=r"has 7\.9 GB free, the environment needs about 8 GB"):
        check_disk(tmp_path, 8.0, free_bytes=7.9e9)
    check_disk(tmp_path, 8.0, free_bytes=8.1e9)
    with pytest.raises(SetupError, match="no disk space"):
        check_disk(tmp_path, 1e9)  # more than any disk has: asks the real one


@pytest.mark.parametrize(
    "log, message",
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        (
            "Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for numpy==2.1.3",
            "no network",
        ),
        (
            "Temporary failure in name resolution\nNo matching distribution found for x",
            "no network",
        ),
        (
            "ERROR: No matching distribution found for torch==2.14.1",
            "has no torch==2.14.1 for this",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement x>=1 (from versions: "
            "none)\nERROR: No matching distribution found for x>=1",
            "pip finds no version of x>=1 at all: either there is no network",
        ),
        ("ERROR: ResolutionImpossible: for help visit", "contradict each other"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "no permission"),
        ("something\nnever seen before\n\n", "pip failed: never seen before"),
        ("", "pip failed: no message"),
    ],
)
def test_pip_s_failure_becomes_one_line(log, message):
    assert message in explain(log)
    assert "\n" not in explain(log)


@pytest.fixture
def project(tmp_path):
    """A folder with the two files that the key is made of."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_key_follows_what_is_installed_and_nothing_else(project):
    def append(name, text):
        with open(project / name, "a") as file:
            file.write(text)

    arguments = pip_arguments(["book", "dev"])
    first = key(arguments, project)
    assert key(pip_arguments(["dev"]), project) != first
    assert key(pip_arguments(["book", "dev"], newest=True), project) != first
    append("pyproject.toml", '\n[tool.some-linter]\nstrict = "yes"\n')
    assert key(arguments, project) == first
    append("constraints.txt", "one-more==1.0\n")
    second = key(arguments, project)
    assert second != first
    text = (project / "pyproject.toml").read_text().replace('"numpy>=2.0"', '"numpy>=2.1"')
    (project / "pyproject.toml").write_text(text)
    assert key(arguments, project) not in (first, second)


def test_what_pip_is_asked_for():
    assert pip_arguments(["book", "dev"]) == ["-c", "constraints.txt", "-e", ".[book,dev]"]
    assert pip_arguments(["dev"], only=["ruff"]) == ["-c", "constraints.txt", "ruff"]
    newest = pip_arguments(["dev"], newest=True)
    assert "constraints.txt" not in newest
    assert newest == ["--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]"]


def test_versions_that_are_not_the_pinned_ones_are_named():
    pinned = "# a comment\nnumpy==2.1.3\nscikit-learn==1.6.1\ntorch==2.14.1\nabsent==1.0\n"
    there = ["numpy 2.4.0", "Scikit_Learn 1.6.1", "torch 2.14.1+cpu", "new 3", "pip 9"]
    installed = [dict(zip(["name", "version"], text.split(), strict=True)) for text in there]
    lines = [line.split() for line in different_versions(pinned, installed)]
    assert lines == [["new", "(none)", "->", "3"], ["numpy", "2.1.3", "->", "2.4.0"]]


@pytest.fixture
def steps(project, monkeypatch):
    """The steps that were taken, none of which installs anything."""
    taken = []

    def make(venv):
        taken.append("venv")
        setup.python_of(venv).parent.mkdir(parents=True, exist_ok=True)
        setup.python_of(venv).touch()

    def install(venv, arguments, root):
        taken.append("pip " + " ".join(arguments))

    monkeypatch.setattr(setup, "make_venv", make)
    monkeypatch.setattr(setup, "pip_install", install)
    monkeypatch.setattr(setup, "fetch_weights", lambda venv, root: taken.append("weights"))
    for name in ("NEEDED_GB", "NEEDED_AGAIN_GB", "NEEDED_ONLY_GB"):
        monkeypatch.setattr(setup, name, 0)
    return taken


PINNED = "pip -c constraints.txt -e .[book,dev]"


def test_nothing_is_done_twice(project, steps):
    assert main([], root=project) == 0
    assert steps == ["venv", PINNED]
    assert main([], root=project) == 0
    assert steps == ["venv", PINNED]
    (project / "constraints.txt").write_text("")
    assert main([], root=project) == 0
    assert steps == ["venv", PINNED] * 2


def test_other_extras_do_not_undo_the_first(project, steps):
    main([], root=project)
    main(["--extras", "dev,book,bench"], root=project)
    main([], root=project)
    assert steps == ["venv", PINNED, "venv", PINNED.replace("[", "[bench,")]


def test_the_order_of_extras_does_not_matter(project, steps):
    main(["--extras", "dev,book"], root=project)
    main(["--extras", "book,dev"], root=project)
    assert steps == ["venv", PINNED]


def test_the_linters_alone_need_neither_the_project_nor_its_disk(project, steps, monkeypatch):
    monkeypatch.setattr(setup, "NEEDED_GB", 1e9)
    monkeypatch.setattr(setup, "NEEDED_AGAIN_GB", 1e9)
    for _ in range(2):
        assert main(["--venv", ".venv-lint", "--only", "ruff,codespell"], root=project) == 0
    assert steps == ["venv", "pip -c constraints.txt codespell ruff"]


def test_the_newest_are_asked_for_each_time_and_compared(project, steps, monkeypatch, capsys):
    monkeypatch.setattr(setup, "make_venv", lambda venv: venv.mkdir(exist_ok=True))
    monkeypatch.setattr(setup, "python_of", lambda venv: Path(sys.executable))
    (project / "constraints.txt").write_text("pytest==0.0.1\n")
    for _ in range(2):
        assert main(["--newest"], root=project) == 0
    assert steps == ["pip --upgrade --upgrade-strategy eager -e .[book,dev]"] * 2
    out = capsys.readouterr().out
    assert re.search(rf"^  pytest +0\.0\.1 -> {re.escape(pytest.__version__)}$", out, re.M)


def test_a_removed_environment_is_made_again(project, steps):
    main([], root=project)
    setup.python_of(project / ".venv").unlink()
    main([], root=project)
    assert len(steps) == 4


def test_after_a_failure_the_next_call_goes_on(project, steps, monkeypatch, capsys):
    def fail(venv, arguments, root):
        raise SetupError("no network: none")

    monkeypatch.setattr(setup, "pip_install", fail)
    assert main([], root=project) == 1
    assert capsys.readouterr().err == "set-up failed: no network: none\n"
    monkeypatch.setattr(setup, "pip_install", lambda venv, arguments, root: steps.append("pip"))
    assert main([], root=project) == 0
    assert steps == ["venv", "venv", "pip"]


def test_weights_may_fail_where_they_are_optional(project, steps, monkeypatch, capsys):
    def fail(venv, root):
        raise SetupError("not fetched")

    monkeypatch.setattr(setup, "fetch_weights", fail)
    assert main(["--weights", "optional"], root=project) == 0
    assert "going on without them" in capsys.readouterr().out
    assert main(["--weights", "required"], root=project) == 1
    assert "set-up failed: not fetched" in capsys.readouterr().err


def test_weights_are_fetched_once(tmp_path, monkeypatch):
    """The real function, with a package whose fetch leaves a mark."""
    room = tmp_path / "recsys_tutorial" / "pretrained"
    room.mkdir(parents=True)
    (room / "__init__.py").touch()
    (room.parent / "__init__.py").touch()
    code = "import sys\nprint(*sys.argv[1:], file=open('calls.txt', 'a'))\n"
    (room / "__main__.py").write_text(code)
    venv = tmp_path / "venv"
    venv.mkdir()
    monkeypatch.setattr(setup, "python_of", lambda venv: sys.executable)
    for _ in range(2):
        setup.fetch_weights(venv, tmp_path)
    assert (tmp_path / "calls.txt").read_text() == "fetch\n"
    (room / "__main__.py").write_text(code + "# other weights\n")
    setup.fetch_weights(venv, tmp_path)
    assert (tmp_path / "calls.txt").read_text() == "fetch\n" * 2
    (room / "__main__.py").write_text("raise SystemExit(3)")
    with pytest.raises(SetupError, match="could not be fetched"):
        setup.fetch_weights(venv, tmp_path)


def test_the_language_model_is_fetched_only_when_asked_for(project, steps, monkeypatch):
    fetched = []
    monkeypatch.setattr(setup, "fetch_weights", lambda *arguments: fetched.append(arguments[2:]))
    assert main(["--weights", "required"], root=project) == 0
    assert fetched == [()]
    assert steps == ["venv", PINNED]
    assert main(["--weights", "required", "--language-model"], root=project) == 0
    assert fetched == [(), (), ("SmolLM2-135M-Instruct",)]
    assert steps == ["venv", PINNED]
    assert main(["--language-model"], root=project) == 0
    assert len(fetched) == 3  # no weights are asked for at all


def test_a_model_that_is_named_has_a_stamp_of_its_own(tmp_path, monkeypatch):
    room = tmp_path / "recsys_tutorial" / "pretrained"
    room.mkdir(parents=True)
    (room / "__init__.py").touch()
    (room.parent / "__init__.py").touch()
    code = "import sys\nprint(*sys.argv[1:], file=open('calls.txt', 'a'))\n"
    (room / "__main__.py").write_text(code)
    venv = tmp_path / "venv"
    venv.mkdir()
    monkeypatch.setattr(setup, "python_of", lambda venv: sys.executable)
    for name in (None, "tiny", "tiny", None):
        setup.fetch_weights(venv, tmp_path, name)
    assert (tmp_path / "calls.txt").read_text() == "fetch\nfetch tiny\n"


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SetupError, match="left alone"):
        make_venv(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


def without_pip_settings(**more):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**env, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", **more}


def test_without_a_network_a_real_set_up_ends_with_one_clear_line(project, monkeypatch):
    """A real venv and a real pip, against a package index that refuses the connection."""
    (project / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.py", project / "scripts")
    text = (project / "scripts" / "setup.py").read_text()
    # The test must not need the disk that an installation needs.
    (project / "scripts" / "setup.py").write_text(text.replace("NEEDED_GB = 8.0", "NEEDED_GB = 0"))
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "scripts/setup.py"], cwd=project, capture_output=True, text=True,
        env=without_pip_settings(PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1"),
        timeout=limit(120),
    )  # fmt: skip
    assert done.returncode == 1
    assert time.monotonic() - start < limit(60)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("set-up failed: no network: pip cannot reach the package index")
    assert "environment: creating" in done.stdout
    assert "packages: pip install -c constraints.txt" in done.stdout
    assert not list((project / ".venv").glob(".installed*"))


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_says_what_it_can_do_and_which_python_is_missing():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=limit(60))
    assert done.returncode == 0
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split()
    targets = re.findall(r"^([a-z-]+):", makefile, re.M)
    assert sorted(targets) == sorted(phony)
    for target in set(targets) - {"help", "setup", "python"}:
        assert re.search(rf"\bmake {target}\b", done.stdout), target
    done = subprocess.run(
        ["make", "lint", "PYTHON=no-such-python"],
        cwd=ROOT, capture_output=True, text=True, timeout=limit(60),
    )  # fmt: skip
    assert done.returncode != 0
    assert "set-up failed: no no-such-python here" in done.stderr
