"""Every public callable says what it takes and raises: the site's reference is made of it.

And modules and functions are short, or say why they are not.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

import recsys_tutorial
from recsys_tutorial import protocols

# What a method of a protocol takes is said there, once.
PROMISED = {
    name: set(inspect.signature(method).parameters)
    for protocol in map(vars(protocols).get, protocols.__all__)
    for name, method in vars(protocol).items()
    if inspect.isfunction(method) and not name.startswith("_")
}
PROMISED["log_q"] = {"users", "items"}
PROMISED["forward"] |= {"history"}
PROMISED["embed"] |= {"items", "texts", "features"}
# Above so many lines a module says in its docstring why it is one, and not two.
LONGEST_MODULE = 200
# Lines of a function without its docstring; the one that is longer has a reason.
LONGEST_FUNCTION = 40
LONGER = {"train": "an argument for each setting of the loop, described in one place"}
# Raised for who has not written a method, or asks for a name that is not there.
UNDERSTOOD = {"AttributeError", "NotImplementedError"}


def public_modules():
    """The modules whose path has no underscore at a beginning."""
    for info in pkgutil.walk_packages(recsys_tutorial.__path__, "recsys_tutorial."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def callables(module):
    """(name, object) of a module's own public functions, classes and their methods."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            for method, function in vars(value).items():
                function = getattr(function, "__func__", function)
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


def documented(doc, *sections):
    """The names that have an entry in these sections."""
    parsed = NumpyDocString(doc)
    entries = [entry for section in sections for entry in parsed[section]]
    return {name.strip(" *") for entry in entries for name in entry.name.split(",")}


def raised(function):
    """The classes of the exceptions that a function's own lines raise."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    nodes = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {ast.unparse(node.func).split(".")[-1] for node in nodes if isinstance(node, ast.Call)}


def gaps(name, value):
    """What the docstring of a callable leaves out, in words; the empty list where nothing is."""
    doc = inspect.getdoc(value) or ""
    function = inspect.unwrap(value.__init__ if inspect.isclass(value) else value)
    if not inspect.isfunction(function) or function.__module__ == "typing":  # none of its own
        return [] if doc else ["has no docstring"]
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    promised = PROMISED.get(name.split(".")[-1], set()) if "." in name else set()
    try:
        classes = raised(function) - UNDERSTOOD
    except OSError:  # the __init__ of a dataclass is written by Python
        classes = set()
    taken, kept = documented(doc, "Parameters", "Other Parameters"), documented(doc, "Attributes")
    found = [f"parameter {one}" for one in sorted(parameters - taken - kept - promised)]
    found += [f"no such parameter: {one}" for one in sorted(taken - parameters)]
    return found + [f"raises {one}" for one in sorted(classes) if one not in doc]


MODULES = list(public_modules())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings_name_every_parameter_and_error(module):
    found = {name: gaps(name, value) for name, value in callables(module)}
    assert {name: gap for name, gap in found.items() if gap} == {}


def test_the_package_is_read():
    names = {module.__name__ for module in MODULES}
    assert {"recsys_tutorial.metrics", "recsys_tutorial.losses.contrastive"} <= names
    assert sum(1 for module in MODULES for _ in callables(module)) > 200


def test_gaps_are_seen():
    def silent(a, b, *, c=0):
        """Add.

        Parameters
        ----------
        a : int
        d : int
        """
        if a > b:
            raise ValueError(f"{a} > {b}")
        return a + b + c

    class Model:
        """A model."""

        def __init__(self, reg):
            self.reg = reg

        def fit(self, train, *, patience):
            """Learn; the matrix is what `Recommender` says."""

    assert gaps("silent", silent) == [
        "parameter b",
        "parameter c",
        "no such parameter: d",
        "raises ValueError",
    ]
    assert gaps("Model", Model) == ["parameter reg"]
    assert gaps("Model.fit", Model.fit) == ["parameter patience"]


def test_a_complete_docstring_has_no_gap():
    def complete(a, b, *rest):
        """Add.

        Parameters
        ----------
        a, b : int
        *rest : int

        Raises
        ------
        ValueError
            Where a > b.
        """
        if a > b:
            raise ValueError(f"{a} > {b}")
        return a + b + sum(rest)

    assert gaps("complete", complete) == []


def sources():
    """The package's files with what Python makes of them."""
    for path in sorted(Path(recsys_tutorial.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield path, text, ast.parse(text)


def says_why_long(text):
    """Whether a module is short, or its docstring speaks of its length."""
    why = ast.get_docstring(ast.parse(text)) or ""
    return text.count("\n") <= LONGEST_MODULE or bool(re.search(r"\b(long|longer|lines)\b", why))


def long_functions(tree):
    """The names of functions with too many lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.name


def test_a_long_module_says_why():
    assert [path.name for path, text, _ in sources() if not says_why_long(text)] == []
    body = "x = 1\n" * LONGEST_MODULE
    assert says_why_long(body) and not says_why_long(body + "x = 2\n")
    assert says_why_long(
        '"""Two in one.\n\nLong, since nobody can tell them apart: long."""\n' + body
    )


def test_functions_are_short():
    found = [name for _, _, tree in sources() for name in long_functions(tree)]
    assert sorted(found) == sorted(LONGER)
    short = (
        "def f():\n" + '    """Lines.\n\n    Of which this is one.\n    """\n' + "    x = 1\n" * 39
    )
    assert [*long_functions(ast.parse(short + "    y = 2\n"))] == ["f"]
    assert not [*long_functions(ast.parse(short))]
