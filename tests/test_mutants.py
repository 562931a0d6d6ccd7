"""Planted faults: which are found in a text, which are left alone, and what tests make of them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import mutants
from scripts.faults import faults

ROOT = Path(__file__).resolve().parents[1]


def planted(source):
    """{kind: the texts with such a fault}."""
    found = {}
    for fault in faults(source):
        found.setdefault(fault.kind, set()).add(fault.apply(source))
    return found


@pytest.mark.parametrize(
    "source, kind, expected",
    [
        ("a + b", "term forgotten", {"(a)", "(b)"}),
        ("a - b", "term forgotten", {"(a)"}),
        ("a - b", "arithmetic", {"a + b"}),
        ("x @ w.T", "axis", {"x @ w"}),
        ("x.sum(axis=0)", "axis", {"x.sum(axis=1)"}),
        ("x.sum(axis=1)", "function", {"x.mean(axis=1)"}),
        ("a <= b < c", "comparison", {"a < b < c", "a <= b <= c"}),
        ("a not in b", "comparison", {"a in b"}),
        ("a and b and c", "condition dropped", {"(b and c)", "(a and c)", "(a and b)"}),
        ("u = v if w else x", "condition negated", {"u = v if not (w) else x"}),
        ("if not w: f()", "condition negated", {"if (w): f()"}),
        ("m[~k] = 1", "mask negated", {"m[(k)] = 1"}),
        ("y = -x", "sign", {"y = (x)"}),
        ("y = x[1:]", "off by one", {"y = x[2:]"}),
        ("y = 0.5 * x", "constant", {"y = 1.0 * x"}),
        ("f(a, k=b)", "argument dropped", {"f(a)"}),
        ("x += y", "statement forgotten", {"pass"}),
        ("x += y", "arithmetic", {"x -= y"}),
        ("def f(x, k=3):\n    return x", "argument ignored",
         {"def f(x, k=3):\n    k = 3\n    return x"}),
        ('def f(x, *, k=None):\n    "What."\n    return x', "argument ignored",
         {'def f(x, *, k=None):\n    "What."\n    k = None\n    return x'}),
        ("é = 'é'; y = -x", "sign", {"é = 'é'; y = (x)"}),  # places are counted in bytes
    ],
)  # fmt: skip
def test_a_fault_of_each_kind(source, kind, expected):
    assert planted(source)[kind] == expected


@pytest.mark.parametrize(
    "source",
    [
        '"A docstring with 1 + 1."',
        'raise ValueError(f"{a + 1} is not {b}")',
        '__all__ = ["max"]',
        "if TYPE_CHECKING:\n    x = 1",
        "x: Literal[1]",
        "@dataclass(frozen=True)\nclass A:\n    x: int",
        'warnings.warn(f"{a}" + "b", stacklevel=2)',
        "def f(k=3): ...",  # a default is a choice, no behaviour
        "pairs = zip(a, b, strict=True)",
    ],
)
def test_what_no_test_should_hold_is_left_alone(source):
    assert [f for f in faults(source) if f.kind != "argument ignored"] == []


def test_every_module_has_tests_and_faults():
    names = mutants.modules(ROOT)
    assert {"losses/contrastive", "models/bpr"} <= set(names)
    for name in names:
        for path in mutants.tests_of(name, ROOT):
            assert (ROOT / path).exists()
    with pytest.raises(FileNotFoundError, match=r"no_such has no tests/test_no_such\.py"):
        mutants.tests_of("no_such", ROOT)
    assert set(mutants.OWN_TESTS) <= set(names)


def test_a_sample_is_repeatable_even_and_compiles():
    names = mutants.modules(ROOT)
    first, again, other = (mutants.draw(names, len(names) + 9, s, ROOT) for s in (3, 3, 4))
    assert first == again != other
    sources = {}
    for name, fault in first:
        sources[name] = (ROOT / "recsys_tutorial" / f"{name}.py").read_text("utf-8")
        changed = fault.apply(sources[name])
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(sources[name])), fault
        shown = mutants.diff(name, sources[name], fault).splitlines()
        assert shown[0].startswith(f"recsys_tutorial/{name}.py:")
        assert {line[0] for line in shown[1:]} <= set("+-")
    counts = [
        sum(name == module for name, _ in first)
        for module in names
        if module != "protocols"  # promises: there is nothing in it to break
    ]
    assert min(counts) >= 1 and max(counts) <= 3  # in turn


def test_what_changes_no_result_is_named_line_by_line_and_not_planted():
    named = {}
    for modules in mutants.EQUIVALENT.values():
        for name, lines in modules.items():
            named.setdefault(name, set()).update(lines)
    for name, lines in named.items():
        source = (ROOT / "recsys_tutorial" / f"{name}.py").read_text("utf-8")
        found = [mutants.changed_line(source, fault) for fault in faults(source)]
        assert lines <= set(found), f"no fault leaves {lines - set(found)} in {name}"
        rest = mutants.plantable(name, source)
        assert not lines & {mutants.changed_line(source, fault) for fault in rest}
        assert len(rest) >= len(found) - len(lines)  # a line is one fault's alone


def test_the_interval_is_wilsons():
    from scipy.stats import binomtest

    for caught, n in ((0, 5), (52, 60), (110, 110)):
        exact = binomtest(caught, n).proportion_ci(method="wilson")
        assert mutants.interval(caught, n) == pytest.approx((exact.low, exact.high), abs=1e-4)


MODULE = """
def double(x, times=2):
    while x < 0:
        x += 1
    return times * x


def unseen(x):
    return x + 3
"""
TESTS = """
from recsys_tutorial.small import double


def test_double():
    assert double(-3) == 0 and double(4) == 8 and double(4, times=3) == 12
"""


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    files = {"recsys_tutorial/__init__.py": "", "recsys_tutorial/small.py": MODULE,
             "tests/test_small.py": TESTS, "tests/__init__.py": "", ".gitignore": "_build/\n",
             "pytest.ini": "[pytest]\nmarkers =\n    slow\n    browser\n"}  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def plant(tree, *options):
    """Run the tool in a process of its own: pytest inside pytest shares its plugins' state."""
    code = (
        "import sys; from pathlib import Path; from scripts import mutants\n"
        "mutants.HEAVY, mutants.SLOWEST = ['pytest', 'hypothesis'], 3\n"
        "sys.exit(mutants.main(sys.argv[2:], Path(sys.argv[1])))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RECSYS_TUTORIAL_CACHE": str(tree / "none")}
    # of the plugins only the one whose options are given, since each fault loads them anew
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "_hypothesis_pytestplugin"}
    command = [sys.executable, "-c", code, str(tree), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_what_tests_notice_is_caught_and_the_rest_is_shown(tree):
    done = plant(tree, "--n", "100")
    assert done.returncode == 0, done.stderr
    survivors = done.stdout.split("\n\n", 1)[1]
    assert "+    return (x)" in survivors and "+    return x + 4" in survivors
    assert "times" not in survivors  # double is tested, its argument too
    n = len(mutants.draw(["small"], 100, 0, tree))
    assert f" of {n} faults caught" in survivors and "95 % interval" in survivors
    assert "caught, timeout" in done.stdout  # x -= 1 never ends
    assert (tree / "recsys_tutorial/small.py").read_text("utf-8") == MODULE

    # Results are kept: with tests that would all fail, nothing is planted again.
    path = tree / "tests/test_small.py"
    path.write_text("def test_it():\n    assert 1 == 2\n", "utf-8")
    assert plant(tree, "--n", "100").stdout == done.stdout
    broken = plant(tree, "--n", "100", "--again")
    assert broken.returncode and "fail without a fault" in broken.stderr

    # What survived meets a new test.
    more = TESTS.replace("double\n", "double, unseen\n", 1) + "    assert unseen(2) == 5\n"
    path.write_text(more, "utf-8")
    assert f"{n} of {n} faults caught" in plant(tree, "--n", "100", "--again").stdout


def test_no_module_of_that_name(tree, capsys):
    with pytest.raises(SystemExit):
        mutants.main(["--module", "large"], tree)
    assert "no fault can be planted" in capsys.readouterr().err
