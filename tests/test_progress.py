"""A line for each finished file, with and without workers; time limits that follow the machine."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import pytest

from scripts import machine_speed, run_tests
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "test_good.py": "import pytest\n"
    "def test_one(): pass\n"
    "def test_two(): pytest.skip('not here')\n"
    "@pytest.mark.xfail(strict=True)\ndef test_three(): assert False\n",
    "test_bad.py": "import pytest\n"
    "def test_one(): assert 1 == 2, 'the reason'\n"
    "@pytest.fixture\ndef broken(): raise ValueError\n"
    "def test_two(broken): pass\n",
}
LINES = {
    r"\d+\.\d s  test_bad\.py: 1 failed, 1 error \[[12]/2\]",
    r"\d+\.\d s  test_good\.py: 1 passed, 1 skipped, 1 xfailed \[[12]/2\]",
}


def run_pytest(folder, *options):
    command = [sys.executable, "-m", "pytest", "-p", "tests.progress", "-p", "xdist.plugin"]
    # Of the plugins installed only these two: the others take seconds to import.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=limit(120),
        stdin=subprocess.DEVNULL, env=env,
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("options", [[], ["-n", "2", "--dist", "loadfile"]], ids=str)
def test_a_finished_file_has_one_line_and_failures_stand_in_full(folder, options):
    out = run_pytest(folder, *options)
    shown = {line.strip() for line in out.splitlines() if " s  test_" in line}
    assert len(shown) == len(LINES)
    assert all(any(re.fullmatch(pattern, line) for line in shown) for pattern in LINES), out
    assert "AssertionError: the reason" in out
    assert re.search(r"^FAILED test_bad\.py::test_one", out, re.M)
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error in" in out
    assert not re.search(r"^[.FEsx]+|%\]$", out.partition("=== ERRORS")[0], re.M)  # no dots


def test_a_single_file_keeps_its_dots(folder):
    out = run_pytest(folder, "test_good.py")
    assert re.search(r"^test_good\.py \.sx +\[100%\]$", out, re.M)
    assert " s  test_good" not in out


# --- the machine's speed --------------------------------------------------------------------------


def test_a_limit_grows_with_the_seconds_measured_and_never_shrinks():
    reference = machine_speed.REFERENCE_SECONDS
    assert machine_speed.factor_of(3 * reference) == pytest.approx(3)
    assert machine_speed.factor_of(reference / 2) == 1


def test_the_variable_sets_the_factor(monkeypatch):
    monkeypatch.setenv(machine_speed.VARIABLE, "2.5")
    monkeypatch.setattr(machine_speed, "measure", lambda: pytest.fail("measured all the same"))
    assert limit(60) == 150
    assert limit(1) == 3  # whole seconds, rounded up


@pytest.mark.parametrize("text", ["fast", "0", "-1", "nan", "inf"])
def test_a_factor_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(machine_speed.VARIABLE, text)
    with pytest.raises(ValueError, match=f"{machine_speed.VARIABLE} must be .* above 0.*'{text}'"):
        limit(60)


def test_without_the_variable_the_first_limit_measures_and_no_other(monkeypatch):
    calls = []
    monkeypatch.delenv(machine_speed.VARIABLE, raising=False)
    monkeypatch.setattr(machine_speed, "measure", lambda: calls.append(1) or 7.0)
    machine_speed._measured.cache_clear()
    try:
        assert limit(60) == limit(60) == 60 * 7.0 / machine_speed.REFERENCE_SECONDS
        assert len(calls) == 1
    finally:
        machine_speed._measured.cache_clear()


def test_the_slowest_of_the_processes_counts(monkeypatch, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, sys\nassert sys.argv[1:] == ['--workload']\n"
        "try:\n    pathlib.Path(__file__ + '.first').touch(exist_ok=False)\n    print(7.5)\n"
        "except FileExistsError:\n    print(1.5)\n"
    )
    monkeypatch.setattr(machine_speed, "__file__", str(script))
    assert machine_speed.measure(3) == 7.5
    assert machine_speed.measure(1) == 1.5


def test_the_workload_takes_about_a_second():
    assert machine_speed.workload() > 0.2  # a processor five times as fast would need a longer one


def test_a_broken_workload_is_not_taken_for_a_fast_one(monkeypatch):
    monkeypatch.setattr(machine_speed.sys, "executable", "false")
    with pytest.raises(subprocess.CalledProcessError):
        machine_speed.measure(2)


def test_the_run_says_its_factor_and_scales_every_limit(monkeypatch, capsys):
    seconds = 2 * machine_speed.REFERENCE_SECONDS
    monkeypatch.setattr(machine_speed, "measure", lambda workers, env: seconds)
    assert run_tests.time_factor(2, {}) == 2
    assert "time limits x 2.00" in capsys.readouterr().out
    assert run_tests.time_factor(2, {machine_speed.VARIABLE: "3"}) == 3
    plan = run_tests.stages(2, factor=3.0)
    for stage in ("tests", "site"):
        command = plan[stage][-1]
        assert command[command.index("--timeout") + 1] == "1800"
    command = plan["notebooks"][0]
    assert command[command.index("--nbval-cell-timeout") + 1] == "2700"
    assert int(command[command.index("--timeout") + 1]) > 2700  # nbval's limit strikes first


def test_stages_get_the_factor(monkeypatch, capfd):
    show = f"import os; print('factor', os.environ['{machine_speed.VARIABLE}'])"
    monkeypatch.delenv(machine_speed.VARIABLE, raising=False)
    monkeypatch.setattr(run_tests, "stages", lambda *_: {"one": [[sys.executable, "-c", show]]})
    seconds = 4 * machine_speed.REFERENCE_SECONDS
    monkeypatch.setattr(machine_speed, "measure", lambda workers, env: seconds)
    assert run_tests.main([]) == 0
    assert "factor 4.0" in capfd.readouterr().out


# Seconds that must not grow: a test of a limit, and Pythons that may be too old for machine_speed.
UNSCALED = {"tests/test_execute_notebooks.py": 1, "scripts/setup.py": 1}


def sources():
    """(name, every node) of each test and script."""
    for path in sorted([*ROOT.glob("tests/*.py"), *ROOT.glob("scripts/*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(ROOT).as_posix(), list(ast.walk(tree))


def test_no_limit_is_a_bare_number():
    """A `timeout=60` in a test or a script is red on a slow machine; `timeout=limit(60)` is not."""
    found = {}
    for name, nodes in sources():
        given = [n.value for n in nodes if isinstance(n, ast.keyword) and n.arg == "timeout"]
        n_bare = sum(isinstance(v, ast.Constant) and v.value is not None for v in given)
        if n_bare:
            found[name] = n_bare
    assert found == UNSCALED


def test_no_kernel_is_given_nbclient_s_own_limits():
    names = set()
    for name, nodes in sources():
        for node in nodes:
            called = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1]
            if called == "NotebookClient":
                names.add(name)
                assert any(keyword.arg is None for keyword in node.keywords), name
    assert {"scripts/execute_notebooks.py", "tests/test_nbval.py"} <= names


def test_a_kernel_s_limits_are_nbclient_s_names_and_defaults(monkeypatch):
    monkeypatch.setenv(machine_speed.VARIABLE, "1")
    limits = machine_speed.kernel_limits(90)
    assert limits.pop("timeout") == 90
    assert limits == {name: getattr(nbclient.NotebookClient, name).default_value for name in limits}
    monkeypatch.setenv(machine_speed.VARIABLE, "3")
    assert machine_speed.kernel_limits(90) == {
        "timeout": 270, "startup_timeout": 180, "iopub_timeout": 12
    }  # fmt: skip
