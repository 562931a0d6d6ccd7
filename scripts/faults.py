"""Single-line faults of Python source, for `scripts/mutants.py`: what a slip of the hand would do.

Written here and not taken from mutmut 3 or cosmic-ray 8: mutmut leaves out decorated functions,
class methods and module constants; neither forgets a term of a sum, a condition or an argument's
value, or swaps an axis, which are the faults of numerical code; and both bring a database, a
terminal interface or a web client with them.

Left out, since no test should hold them: texts of errors and logs, docstrings, annotations, what
only a type checker reads, decorators, and the default values of a function's settings.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

# operator -> how it is written, and what is written in its place
COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "//"), ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.BitXor: ("^", "&"),
}  # fmt: skip
COMMUTATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)
UNARY = {ast.USub: "sign", ast.Invert: "mask negated", ast.Not: "condition negated"}
OPPOSITES = [
    ("max", "min"), ("any", "all"), ("argmax", "argmin"), ("maximum", "minimum"), ("log", "exp"),
    ("zeros", "ones"), ("zeros_like", "ones_like"), ("floor", "ceil"), ("sum", "mean"),
    ("cumsum", "cumprod"), ("union", "intersection"), ("hstack", "vstack"), ("left", "right"),
]  # fmt: skip
NAMES = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
BUILTINS = {"max", "min", "any", "all"}
# Without these a call does the same on a CPU and for this package's own inputs.
IDLE = {"strict", "encoding", "stacklevel", "desc", "disable", "newline", "copy", "device",
        "local_files_only"}  # fmt: skip
TALK = {"warn", "warning", "info", "debug", "print", "set_postfix", "close"}


@dataclass(frozen=True)
class Fault:
    """One edit: bytes `start` to `end` of the source, in UTF-8, become `text`."""

    start: int
    end: int
    text: str
    kind: str
    line: int

    def apply(self, source: str) -> str:
        """Return the source with the fault in it."""
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()


def faults(source: str) -> list[Fault]:
    """Return every fault that can be planted in a module's text, in the order of the text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found = sorted(set(finder.found), key=lambda f: (f.start, f.end, f.text))
    return [f for f in found if finder.data[f.start : f.end] != f.text.encode()]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", 0), str)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.data, self.found = source.encode(), []
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.AST) -> str:
        return self.data[slice(*self._span(node))].decode()

    def _add(self, kind: str, node: ast.AST, text: str) -> None:
        self.found.append(Fault(*self._span(node), text, kind, node.lineno))

    def _operator(self, kind: str, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        start, end = self._span(left)[1], self._span(right)[0]
        between = self.data[start:end].decode()
        if between.count(old) == 1:
            text = between.replace(old, new)
            self.found.append(Fault(start, end, text, kind, left.end_lineno))

    def visit_Raise(self, node):
        pass

    visit_JoinedStr = visit_Raise

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node):
        if not any(getattr(target, "id", "") == "__all__" for target in node.targets):
            self.generic_visit(node)

    def visit_ClassDef(self, node):
        for statement in node.body:
            self.visit(statement)

    def visit_If(self, node):
        test = self._text(node.test)
        if "TYPE_CHECKING" in test or "__name__" in test:
            return
        if not (isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)):
            self._add("condition negated", node.test, f"not ({test})")  # else visit_UnaryOp's
        self.generic_visit(node)

    visit_IfExp = visit_While = visit_If

    def visit_BoolOp(self, node):
        word = " and " if isinstance(node.op, ast.And) else " or "
        for dropped in node.values:
            rest = [self._text(value) for value in node.values if value is not dropped]
            self._add("condition dropped", node, f"({word.join(rest)})")
        self.generic_visit(node)

    def visit_Compare(self, node):
        parts = [node.left, *node.comparators]
        for left, op, right in zip(parts, node.ops, parts[1:], strict=False):
            self._operator("comparison", left, right, *COMPARISONS[type(op)])
        self.generic_visit(node)

    def visit_BinOp(self, node):
        sides = (node.left, node.right)
        if type(node.op) in ARITHMETIC and not any(map(_is_text, sides)):
            self._operator("arithmetic", *sides, *ARITHMETIC[type(node.op)])
            for kept in sides if isinstance(node.op, COMMUTATIVE) else sides[:1]:
                self._add("term forgotten", node, f"({self._text(kept)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if type(node.op) in UNARY:
            self._add(UNARY[type(node.op)], node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if isinstance(value, bool):
            self._add("constant", node, str(not value))
        elif isinstance(value, int) and value <= 10:
            self._add("off by one", node, str(value + 1))
        elif isinstance(value, int | float) and abs(value) < float("inf"):
            self._add("constant", node, repr(2 * value if value else 1.0))
        elif isinstance(value, str) and value in NAMES:  # side="left"
            self._add("constant", node, repr(NAMES[value]))

    def visit_AugAssign(self, node):
        self._add("statement forgotten", node, "pass")
        if type(node.op) in ARITHMETIC and not isinstance(node.value, ast.JoinedStr):
            old, new = ARITHMETIC[type(node.op)]
            self._operator("arithmetic", node.target, node.value, f"{old}=", f"{new}=")
        self.visit(node.value)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call) and _called(node.value) not in TALK:
            self._add("statement forgotten", node, "pass")
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Call(self, node):
        if _called(node) in TALK:
            return
        values = [k for k in node.keywords if k.arg not in IDLE]
        for keyword in values:
            value = getattr(keyword.value, "value", None)
            if keyword.arg in ("axis", "dim") and value in (0, 1):
                self._add("axis", keyword.value, str(1 - value))
            elif keyword.arg:
                parts = [*node.args, *(k for k in node.keywords if k is not keyword)]
                text = ", ".join(self._text(part) for part in parts)
                self._add("argument dropped", node, f"{self._text(node.func)}({text})")
        for part in [node.func, *node.args, *(k.value for k in values)]:
            self.visit(part)

    def visit_Attribute(self, node):
        if node.attr == "T":
            self._add("axis", node, self._text(node.value))
        if node.attr in NAMES and isinstance(node.ctx, ast.Load):
            text = self._text(node).removesuffix(node.attr)
            self._add("function", node, text + NAMES[node.attr])
        self.visit(node.value)

    def visit_Name(self, node):
        if node.id in BUILTINS:
            self._add("function", node, NAMES[node.id])

    def visit_FunctionDef(self, node):
        """Every statement, and before the first each setting put back to its default."""
        given = [*node.args.posonlyargs, *node.args.args]
        n = len(node.args.defaults)
        settings = [*zip(given[len(given) - n :], node.args.defaults, strict=True)]
        settings += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        body = [s for s in node.body if not (isinstance(s, ast.Expr) and _is_text(s.value))]
        for setting, default in settings if body else []:
            if isinstance(default, ast.Constant):
                text = f"{setting.arg} = {self._text(default)}\n{' ' * body[0].col_offset}"
                start = self._span(body[0])[0]
                self.found.append(Fault(start, start, text, "argument ignored", body[0].lineno))
        for statement in node.body:
            self.visit(statement)
