r"""Export the quizzes: for a learning platform, and as sheets to print with their keys.

    .venv/bin/python scripts/make_quizzes.py           # every chapter, into _build/quizzes/
    .venv/bin/python scripts/make_quizzes.py 03 05     # these chapters
    .venv/bin/python scripts/make_quizzes.py --seed 2  # sheets with the answers in another order

From the questions in ``book/_quizzes`` it writes ``moodle/NN.xml`` (Moodle's question bank),
``qti/NN.zip`` (IMS QTI 2.1, for Canvas, Blackboard, ILIAS, OPAL, TAO and others) and
``print/NN.html`` with ``print/NN-key.html``: pages that need no network and print from any browser.
The platforms shuffle the answers themselves; a sheet's order comes from the seed, and the right
answer is as often at one place as at another.

Formulas are written between ``\(`` and ``\)``, which these platforms show where MathJax is on.
"""

from __future__ import annotations

import argparse
import functools
import html
import random
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole, whole_folder  # noqa: E402

COURSE = "Large pretrained models for recommendation"
MATHJAX = ROOT / "book" / "_static" / "vendor" / "mathjax"
QTI = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"
SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
XSD = "http://www.imsglobal.org/xsd/qti/qtiv2p1/imsqti_v2p1.xsd"
LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Option:
    """An answer: what it says, whether it is right, and why."""

    right: bool
    text: str
    reason: str


@dataclass(frozen=True)
class Question:
    """A question with its answers, exactly one of which is right; texts are Markdown."""

    text: str
    options: tuple[Option, ...]


def read_quiz(path: Path) -> list[Question]:
    """Return the questions of a file.

    Raises
    ------
    ValueError
        When it is not of the form that the site's quizzes have; the text names the question.
    """
    found = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path.name}: no list of questions")
    questions = []
    for number, entry in enumerate(found, start=1):
        where = f"{path.name}, question {number}"
        try:
            options = tuple(Option(_is_right(v), text, reason) for v, text, reason in
                            entry["options"])  # fmt: skip
            question = Question(entry["question"], options)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{where}: each option is [right or wrong, text, reason] ({error})"
            ) from None
        texts = [question.text, *(x for o in options for x in (o.text, o.reason))]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"{where}: a text is empty, or no text (quote it in the file)")
        if sum(option.right for option in options) != 1 or not 2 <= len(options) <= len(LETTERS):
            raise ValueError(f"{where}: one option must be right, of 2 to {len(LETTERS)}")
        questions.append(question)
    return questions


def _is_right(verdict: str) -> bool:
    if verdict not in ("right", "wrong"):
        raise ValueError(f"{verdict!r} is neither right nor wrong")
    return verdict == "right"


@functools.cache
def _markdown() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).use(dollarmath_plugin, double_inline=True)
    reader.add_render_rule("math_inline", _formula)
    reader.add_render_rule("math_inline_double", _formula)
    return reader


def _formula(renderer, tokens, index, options, env):
    return rf"\({html.escape(tokens[index].content, quote=False)}\)"


def to_html(text: str) -> str:
    r"""Markdown of one line as HTML that is also XML.

    >>> to_html("is `a < b` where $a_1 < b_1$?")
    'is <code>a &lt; b</code> where \\(a_1 &lt; b_1\\)?'
    """
    return _markdown().renderInline(" ".join(text.split()))


def plain_of(text: str, longest: int = 80) -> str:
    """The words of a question as its name in a list."""
    words = re.sub(r"[`*]", "", re.sub(r"\$[^$]+\$", "…", " ".join(text.split())))
    return words if len(words) <= longest else words[: longest - 1].rsplit(" ", 1)[0] + "…"


# --- Moodle ---------------------------------------------------------------------------------------


def moodle(chapter: str, title: str, questions: list[Question]) -> ET.Element:
    """Return a quiz as Moodle XML, in a category of the course's question bank."""
    root = ET.Element("quiz")
    category = ET.SubElement(ET.SubElement(root, "question", type="category"), "category")
    # A slash in a name is written twice: a single one begins a category within it.
    names = [name.replace("/", "//") for name in (COURSE, title)]
    ET.SubElement(category, "text").text = "/".join(["$course$", "top", *names])
    for number, question in enumerate(questions, start=1):
        entry = ET.SubElement(root, "question", type="multichoice")
        ET.SubElement(
            ET.SubElement(entry, "name"), "text"
        ).text = f"{chapter}.{number:02d} {plain_of(question.text)}"
        _moodle_text(entry, "questiontext", question.text)
        values = {
            "defaultgrade": "1",
            "penalty": "0.3333333",
            "hidden": "0",
            "idnumber": f"recsys-{chapter}-{number:02d}",
            "single": "true",
            "shuffleanswers": "true",
            "answernumbering": "abc",
        }
        for name, value in values.items():
            ET.SubElement(entry, name).text = value
        for option in question.options:
            answer = _moodle_text(entry, "answer", option.text)
            answer.set("fraction", "100" if option.right else "0")
            _moodle_text(answer, "feedback", option.reason)
    return root


def _moodle_text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, name, format="html")
    ET.SubElement(element, "text").text = to_html(text)
    return element


# --- QTI 2.1 --------------------------------------------------------------------------------------


def qti_item(identifier: str, question: Question) -> ET.Element:
    """Return a question as an assessmentItem: one choice, a point, the reason of what was chosen.

    Built of elements of the specification's section on choice interactions and modal feedback.
    """
    root = _qti("assessmentItem", {
        "identifier": identifier, "title": plain_of(question.text), "adaptive": "false",
        "timeDependent": "false", f"{{{SCHEMA}}}schemaLocation": f"{QTI} {XSD}",
    })  # fmt: skip
    names = list(LETTERS[: len(question.options)])
    right = next(n for n, option in zip(names, question.options, strict=True) if option.right)
    response = {"identifier": "RESPONSE", "cardinality": "single", "baseType": "identifier"}
    declared = _qti("responseDeclaration", response, root)
    _qti("value", {}, _qti("correctResponse", {}, declared)).text = right
    score = {"identifier": "SCORE", "cardinality": "single", "baseType": "float"}
    declared = _qti("outcomeDeclaration", score, root)
    _qti("value", {}, _qti("defaultValue", {}, declared)).text = "0"
    _qti("outcomeDeclaration", response | {"identifier": "FEEDBACK"}, root)
    choice = _qti("choiceInteraction", {"responseIdentifier": "RESPONSE", "shuffle": "true",
                                        "maxChoices": "1"}, _qti("itemBody", {}, root))  # fmt: skip
    _qti_text(_qti("prompt", {}, choice), question.text)
    for name, option in zip(names, question.options, strict=True):
        _qti_text(_qti("simpleChoice", {"identifier": name}, choice), option.text)
    processing = _qti("responseProcessing", {}, root)
    hit = _qti("responseIf", {}, _qti("responseCondition", {}, processing))
    match = _qti("match", {}, hit)
    _qti("variable", {"identifier": "RESPONSE"}, match)
    _qti("correct", {"identifier": "RESPONSE"}, match)
    point = _qti("setOutcomeValue", {"identifier": "SCORE"}, hit)
    _qti("baseValue", {"baseType": "float"}, point).text = "1"
    shown = _qti("setOutcomeValue", {"identifier": "FEEDBACK"}, processing)
    _qti("variable", {"identifier": "RESPONSE"}, shown)
    for name, option in zip(names, question.options, strict=True):
        feedback = {"outcomeIdentifier": "FEEDBACK", "identifier": name, "showHide": "show"}
        _qti_text(_qti("modalFeedback", feedback, root), option.reason)
    return root


def _qti(name: str, attributes: dict[str, str], parent: ET.Element | None = None) -> ET.Element:
    element = ET.Element(f"{{{QTI}}}{name}", attributes)
    if parent is not None:
        parent.append(element)
    return element


def _qti_text(element: ET.Element, text: str) -> None:
    """Append a Markdown line to an element, its tags in QTI's namespace."""
    made = ET.fromstring(f'<p xmlns="{QTI}">{to_html(text)}</p>')
    element.text = made.text
    element.extend(made)


def qti_test(chapter: str, title: str, items: list[str]) -> ET.Element:
    """Return the assessmentTest that holds a chapter's items in their order."""
    root = _qti("assessmentTest", {"identifier": f"quiz-{chapter}", "title": title,
                                   f"{{{SCHEMA}}}schemaLocation": f"{QTI} {XSD}"})  # fmt: skip
    part = _qti("testPart", {"identifier": "part", "navigationMode": "nonlinear",
                             "submissionMode": "individual"}, root)  # fmt: skip
    section = {"identifier": "section", "title": title, "visible": "true"}
    section = _qti("assessmentSection", section, part)
    for name in items:
        _qti("assessmentItemRef", {"identifier": name, "href": f"{name}.xml"}, section)
    return root


def manifest(chapter: str, items: list[str]) -> ET.Element:
    """Return the manifest of a content package: each file in it is named."""
    root = ET.Element(f"{{{PACKAGE}}}manifest", {"identifier": f"manifest-{chapter}"})
    metadata = ET.SubElement(root, f"{{{PACKAGE}}}metadata")
    ET.SubElement(metadata, f"{{{PACKAGE}}}schema").text = "QTIv2.1 Package"
    ET.SubElement(metadata, f"{{{PACKAGE}}}schemaversion").text = "1.0.0"
    ET.SubElement(root, f"{{{PACKAGE}}}organizations")
    resources = ET.SubElement(root, f"{{{PACKAGE}}}resources")
    files = {name: ("imsqti_item_xmlv2p1", f"{name}.xml") for name in items}
    files = {f"quiz-{chapter}": ("imsqti_test_xmlv2p1", "test.xml")} | files
    for name, (kind, href) in files.items():
        attributes = {"identifier": f"r-{name}", "type": kind, "href": href}
        resource = ET.SubElement(resources, f"{{{PACKAGE}}}resource", attributes)
        ET.SubElement(resource, f"{{{PACKAGE}}}file", {"href": href})
        if kind == "imsqti_test_xmlv2p1":
            for item in items:
                ET.SubElement(resource, f"{{{PACKAGE}}}dependency", {"identifierref": f"r-{item}"})
    return root


def text_of(root: ET.Element) -> str:
    """XML as text, with the namespaces that platforms expect to find without a prefix."""
    for uri in (QTI, PACKAGE):
        if root.tag.startswith(f"{{{uri}}}"):
            ET.register_namespace("", uri)
    ET.register_namespace("xsi", SCHEMA)
    if root.tag == "quiz":  # in QTI, space within a text is text
        ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def write_qti(path: Path, chapter: str, title: str, questions: list[Question]) -> None:
    """Write a content package; its bytes are the same each time."""
    items = {f"item-{chapter}-{n:02d}": q for n, q in enumerate(questions, start=1)}
    files = {
        "imsmanifest.xml": manifest(chapter, list(items)),
        "test.xml": qti_test(chapter, title, list(items)),
        **{f"{name}.xml": qti_item(name, question) for name, question in items.items()},
    }
    with whole(path) as temporary, zipfile.ZipFile(temporary, "w") as package:
        for name, root in files.items():
            entry = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, text_of(root))


# --- Sheets ---------------------------------------------------------------------------------------

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 11pt/1.45 Georgia, serif; max-width: 17cm; margin: 1.5cm auto; padding: 0 1em;
        color: #111; background: #fff }}
h1 {{ font-size: 15pt }} ol.answers {{ list-style: upper-alpha }}
section {{ break-inside: avoid; margin: 0 0 1.1em }} p {{ margin: 0 0 .3em }}
.lines span {{ display: inline-block; border-bottom: 1px solid #111; width: 6.5cm }}
code {{ font-size: 10pt }} .right {{ font-weight: bold }} li p {{ margin: 0 }}
</style>
<script>MathJax = {{tex: {{inlineMath: [["\\\\(", "\\\\)"]]}}}};</script>
<script defer src="mathjax/es5/tex-mml-chtml.js"></script></head>
<body>
<h1>{title}</h1>
{body}
</body></html>
"""


def orders(chapter: str, questions: list[Question], seed: int) -> list[list[int]]:
    """Return for each question the order of its options on the sheets of a seed.

    The place of the right answer is dealt out in turn, so that no letter is the usual one.
    """
    rng = random.Random(f"{chapter} {seed}")
    n_places = max(len(question.options) for question in questions)
    places = []
    while len(places) < len(questions):
        places += rng.sample(range(n_places), n_places)
    found = []
    for question, place in zip(questions, places, strict=False):
        right = next(i for i, option in enumerate(question.options) if option.right)
        order = [i for i in range(len(question.options)) if i != right]
        rng.shuffle(order)
        order.insert(place % len(question.options), right)
        found.append(order)
    return found


def sheet(chapter: str, title: str, questions: list[Question], seed: int) -> str:
    """Return the page that students get: no verdicts, no reasons."""
    body = ['<p class="lines">Name <span></span> Date <span></span></p>',
            "<p>One answer to each question is right.</p>"]  # fmt: skip
    for number, (question, order) in enumerate(
        zip(questions, orders(chapter, questions, seed), strict=True), start=1
    ):
        options = "".join(f"<li>{to_html(question.options[i].text)}</li>\n" for i in order)
        body.append(f"<section><p><strong>{number}.</strong> {to_html(question.text)}</p>\n"
                    f'<ol class="answers">\n{options}</ol></section>')  # fmt: skip
    return PAGE.format(title=html.escape(f"{title}: quiz, sheet {seed}"), body="\n".join(body))


def key(chapter: str, title: str, questions: list[Question], seed: int) -> str:
    """Return the key of a sheet: the letters in a line, then each answer with its reason."""
    placed = orders(chapter, questions, seed)
    letters = [
        LETTERS[[q.options[i].right for i in order].index(True)]
        for q, order in zip(questions, placed, strict=True)
    ]
    line = ", ".join(f"{n} {letter}" for n, letter in enumerate(letters, start=1))
    body = [f'<p class="key">{line}</p>']
    for number, (question, order) in enumerate(zip(questions, placed, strict=True), start=1):
        options = ""
        for option in (question.options[i] for i in order):
            kind = ' class="right"' if option.right else ""
            options += f"<li><p{kind}>{to_html(option.text)}</p>"
            options += f"<p><em>{'Right' if option.right else 'Wrong'}.</em> "
            options += f"{to_html(option.reason)}</p></li>\n"
        body.append(f"<section><p><strong>{number}.</strong> {to_html(question.text)}</p>\n"
                    f'<ol class="answers">\n{options}</ol></section>')  # fmt: skip
    return PAGE.format(title=html.escape(f"{title}: key of sheet {seed}"), body="\n".join(body))


# --- All of it ------------------------------------------------------------------------------------


def titles(root: Path = ROOT) -> dict[str, str]:
    """Return {"01": "Chapter 1: ..."} from the site's page of quizzes."""
    page = (root / "book" / "quizzes.md").read_text("utf-8")
    return {number: title for title, number in
            re.findall(r"^## (.+)\n+```\{quiz\} (\d\d)$", page, re.M)}  # fmt: skip


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Export the quizzes of these chapters, or of all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="such as 03; all by default")
    parser.add_argument("--seed", type=int, default=1, help="the order on the sheets")
    parser.add_argument("--out", type=Path, default=root / "_build" / "quizzes")
    options = parser.parse_args(argv)
    known = titles(root)
    unknown = sorted(set(options.chapters) - set(known))
    if unknown:
        raise SystemExit(f"quizzes: no quiz {', '.join(unknown)}, only {', '.join(known)}")
    for chapter in options.chapters or known:
        try:
            questions = read_quiz(root / "book" / "_quizzes" / f"{chapter}.yml")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SystemExit(f"quizzes: {error}") from None
        title, out = known[chapter], options.out
        write_text(out / "moodle" / f"{chapter}.xml", text_of(moodle(chapter, title, questions)))
        write_qti(out / "qti" / f"{chapter}.zip", chapter, title, questions)
        for name, make in ((chapter, sheet), (f"{chapter}-key", key)):
            text = make(chapter, title, questions, options.seed)
            write_text(out / "print" / f"{name}.html", text)
        print(f"quizzes: {title}: {len(questions)} questions")
    with whole_folder(options.out / "print" / "mathjax") as folder:
        shutil.copytree(MATHJAX, folder, dirs_exist_ok=True)
    print(f"quizzes: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
