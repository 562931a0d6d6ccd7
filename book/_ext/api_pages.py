"""The package's reference pages, made from its docstrings.

    .. api:: losses                 every public name of recsys_tutorial.losses
    .. api-contents::               each room and module: its page, and its first sentence

autodoc finds and lists the names. The docstrings are NumPy's sections with plain sentences in them,
`name : type; what it is, over more than one line`, and formulas as they are typed: `to_rst` makes
reStructuredText of them, and a link of each name in backticks that has a place on these pages.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import textwrap

import house
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

PACKAGE = "recsys_tutorial"
WIDTH = 99  # a docstring's line is broken before this column, or because a sentence ended
ENTRIES = ("Parameters", "Other Parameters", "Attributes")
SECTIONS = (*ENTRIES, "Returns", "Yields", "Raises", "Warns", "Notes", "References", "See Also",
            "Examples")  # fmt: skip
# What keeps its meaning in a sentence: literals, *emphasis*, **strong**; the rest is as typed.
ITEM = re.compile(r"- |\d+\. ")
MARKED = re.compile(r"(``.+?``|`[^`]+`|\*\*\w[^*]*\*\*|(?<!\w)\*\w(?:[^*]*[^\s*])?\*(?!\w))", re.S)


@functools.cache
def modules():
    """The public rooms and modules, each room's public rooms after it."""
    found = []
    for name in (name for row in house.layers() for name in row if not name.startswith("_")):
        found.append(name)
        module = importlib.import_module(f"{PACKAGE}.{name}")
        for inner in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if inner.ispkg and not inner.name.startswith("_"):
                found.append(f"{name}.{inner.name}")
    return found


def members(module):
    """The public names of a room or module: those on its door, or else those defined in it."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


@functools.cache
def places():
    """{every unambiguous way to name a documented thing: its full name}."""
    found = {}
    for name in modules():
        module = importlib.import_module(f"{PACKAGE}.{name}")
        for member in members(module):
            value, full = getattr(module, member), f"{PACKAGE}.{name}.{member}"
            targets = [full]
            if inspect.isclass(value):
                own = [name for name in vars(value) if not name.startswith("_")]
                own = [name for name in own if inspect.isroutine(getattr(value, name))]
                targets += [f"{full}.{name}" for name in own if getattr(value, name).__doc__]
            for target in targets:
                parts = target.split(".")
                for start in range(len(parts)):
                    found.setdefault(".".join(parts[start:]), set()).add(target)
    return {name: targets.pop() for name, targets in found.items() if len(targets) == 1}


def first_sentence(doc):
    """The first sentence of a docstring, without what follows a colon.

    >>> first_sentence("Read the data: MovieLens, a table of one's own. More.")
    "Read the data: MovieLens, a table of one's own."
    """
    paragraph = " ".join((doc or "").strip().split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


# --- A docstring as reStructuredText --------------------------------------------------------------


def escape(text, link=lambda name: None):
    """A sentence of a docstring, with what reStructuredText would misread escaped.

    >>> escape("`x` * y, user_factors_ and |x|^2, *all* of it")
    '``x`` \\\\* y, user_factors\\\\_ and \\\\|x\\\\|^2, *all* of it'
    """
    parts = MARKED.split(text)
    for number, part in enumerate(parts):
        if number % 2 == 0:
            parts[number] = re.sub(r"([\\*|]|_(?!\w)|`)", r"\\\1", part)
        elif part.startswith("`"):
            name = part.strip("`")
            target = link(name)
            parts[number] = f":py:obj:`{name} <{target}>`" if target else f"``{name}``"
            if number + 1 < len(parts) and re.match(r"\w", parts[number + 1]):
                parts[number] += "\\ "  # as in `fit`s
    return "".join(parts)


def entries(lines, start=re.compile(r"\S")):
    """The entries of a section: [(a line that begins as `start` says, the lines below it)]."""
    found = []
    for line in filter(str.strip, lines):
        if start.match(line) or not found:
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


def one_line(rows):
    """The rows of a paragraph as one."""
    return " ".join(" ".join(rows).split())


def prose(lines, link):
    """Paragraphs, lists and definitions; what is indented, and every example, is left as it is."""
    out, literal = [], False
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        first = next((n for n, row in enumerate(rows) if ITEM.match(row)), len(rows))
        above, items = rows[:first], entries(rows[first:], ITEM)
        defined, follows, literal = entries(above), literal, False
        if rows[0].startswith(">>>"):
            out += [*rows, ""]
            continue
        if not any(row.startswith(" ") for row in above):
            out += [escape(re.sub(r"::$", ":", one_line(above)), link), ""]
        elif not rows[0].startswith(" ") and all(below for _, below in defined):
            for term, below in defined:
                out += [escape(term, link), f"   {escape(one_line(below), link)}", ""]
        else:
            out += [] if follows else [".. code-block:: none", ""]
            cut = 4 if all(row.startswith("    ") for row in above) else 0
            out += [*("   " + row[cut:] for row in above), ""]
            literal = True
        for item, below in items:
            mark = ITEM.match(item).group()
            out += [mark + escape(one_line([item[len(mark) :], *below]), link), ""]
    return out


def joined(head, rest, indent):
    """One text of an entry's first line and those below it.

    Where the first line ends early, a sentence ended; where it is full, the sentence goes on.

    >>> joined("int", ["How many."], 4)
    'int. How many.'
    """
    rest = one_line(rest)
    if not (head and rest):
        return head or rest
    ended = head[-1] in ".,;:" or not rest[0].isupper()
    full = indent + len(head) + 1 + len(rest.split(" ")[0]) > WIDTH
    return f"{head} {rest}" if ended or full else f"{head}. {rest}"


def fields(title, lines, link, indent):
    """A section as a field of a list."""
    out = []
    if title in ENTRIES:
        for head, below in entries(lines):
            name, _, kind = head.partition(" : ")
            below = textwrap.dedent("\n".join(below)).split("\n")
            end = next((n for n, row in enumerate(below) if ITEM.match(row)), len(below))
            text = joined(kind, below[:end], indent + len(name) + 3)
            out.append(f"**{escape(name)}**")
            out += [f"   {row}" for row in prose([text, *below[end:]], link)]
    elif title in ("Raises", "Warns"):
        for head, below in entries(lines, re.compile(r"[A-Z]\w*(Error|Warning|NotFound)\b")):
            head = f"{head}:" if re.fullmatch(r"\w+", head) else head
            out += [escape(re.sub(r"^\w+", r"`\g<0>`", joined(head, below, indent)), link), ""]
    else:
        out = prose(lines, link)
    return [f":{title}:", *(f"   {row}" for row in out), ""]


def to_rst(lines, link=lambda name: None, indent=4):
    """A docstring's lines as reStructuredText."""
    starts = [
        number
        for number in range(len(lines) - 1)
        if lines[number].strip() in SECTIONS and set(lines[number + 1].strip()) == {"-"}
    ]
    out = prose(lines[: starts[0] if starts else None], link)
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        title, body = lines[start].strip(), lines[start + 2 : end]
        if title in ("Notes", "References", "See Also", "Examples"):
            out += ["", f".. rubric:: {title}", "", *prose(body, link)]
        else:
            out += ["", *fields(title, body, link, indent)]
    return out


def rewrite(app, what, name, value, options, lines):
    """Give autodoc the docstring as reStructuredText."""
    if what == "data" and lines[:1] == (type(value).__doc__ or "").split("\n")[:1]:
        lines.clear()  # what Python says of every dict
    known = places()
    try:
        own = set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        own = set()

    def link(text):
        if text in own or text == name.rpartition(".")[2]:
            return None
        within = [f"{name}.{text}", f"{name.rpartition('.')[0]}.{text}"]
        target = next((known[one] for one in within if one in known), None)
        # A plain word in backticks is a variable more often than a function of another module.
        return target or (known.get(text) if re.search(r"[A-Z_.]", text) else None)

    lines[:] = to_rst(lines, link, indent=8 if what in ("method", "property") else 4)


# --- Pages ----------------------------------------------------------------------------------------


class Api(SphinxDirective):
    """Everything public of one room or module."""

    required_arguments = 1

    def run(self):
        name = f"{PACKAGE}.{self.arguments[0]}"
        module = importlib.import_module(name)
        lines = [f".. automodule:: {name}", ""]
        for member in members(module):
            value = getattr(module, member)
            kind, options = "data", ["no-value:"]
            if inspect.isclass(value):
                kind = "class"
                options = ["members:", "inherited-members: Module, Sequential, tuple, Exception"]
                if issubclass(value, BaseException):
                    kind = "exception"
            elif callable(value):
                kind, options = "function", []
            lines += [f".. auto{kind}:: {name}.{member}"]
            lines += [f"   :{option}" for option in options] + [""]
        holder = nodes.container(classes=["api"])
        self.state.nested_parse(StringList(lines, self.state_machine.input_lines.source(0)),
                                self.content_offset, holder)  # fmt: skip
        return holder.children


class ApiContents(SphinxDirective):
    """The rooms and modules, in the order in which they build upon each other."""

    def run(self):
        lines = []
        for name in modules():
            doc = importlib.import_module(f"{PACKAGE}.{name}").__doc__
            lines += [f":py:mod:`{name} <{PACKAGE}.{name}>`", f"   {escape(first_sentence(doc))}"]
            lines += [""]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "api-contents"), self.content_offset, holder)
        return holder.children


def skip(app, what, name, value, skip_it, options):
    """Leave out a named tuple's fields, which its class describes under Parameters."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("api", Api)
    app.add_directive("api-contents", ApiContents)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
