"""The exported quizzes say what the site's say: read back, each question is the one in the file."""

import html
import re
import zipfile
from xml.etree import ElementTree as ET

import pytest
import yaml

from scripts import make_quizzes
from scripts.build_book import remote_references
from scripts.make_quizzes import LETTERS, PACKAGE, QTI, ROOT, to_html

CHAPTERS = make_quizzes.titles()
IN = {"q": QTI, "p": PACKAGE}
# Which elements may stand in which, and in what order: the part of imsqti_v2p1.xsd that is used.
SEQUENCES = {
    "assessmentItem": r"responseDeclaration+ outcomeDeclaration* itemBody responseProcessing "
                      r"modalFeedback*",
    "responseDeclaration": "correctResponse?",
    "outcomeDeclaration": "defaultValue?",
    "correctResponse": "value+",
    "defaultValue": "value+",
    "itemBody": "choiceInteraction+",
    "choiceInteraction": "prompt? simpleChoice+",
    "responseProcessing": "responseCondition* setOutcomeValue*",
    "responseCondition": "responseIf",
    "responseIf": "match setOutcomeValue*",
    "match": "variable correct",
    "setOutcomeValue": "(variable|baseValue)",
    "assessmentTest": "testPart+",
    "testPart": "assessmentSection+",
    "assessmentSection": "assessmentItemRef*",
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Everything, exported once."""
    out = tmp_path_factory.mktemp("quizzes")
    assert make_quizzes.main(["--out", str(out)]) == 0
    return out


def quiz(chapter):
    return make_quizzes.read_quiz(ROOT / "book" / "_quizzes" / f"{chapter}.yml")


def as_html(questions):
    """What a reader of an export should find: text, (answer, right, reason) of each."""
    return [
        (to_html(q.text), [(to_html(o.text), o.right, to_html(o.reason)) for o in q.options])
        for q in questions
    ]


def inner(element):
    """The content of a QTI element as HTML."""
    text = ET.tostring(element, "unicode")
    text = re.sub(r"^<[^>]*>|</[^>]*>\s*$", "", text)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", re.sub(r"(</?)\w+:", r"\1", text))
    return text.replace('"', "&quot;")  # as HTML's writer does; XML's need not


def test_every_quiz_of_the_site_is_exported(exported):
    files = sorted(p.stem for p in (ROOT / "book" / "_quizzes").glob("*.yml"))
    assert list(CHAPTERS) == files and len(files) >= 11
    for folder, suffix in (("moodle", "xml"), ("qti", "zip"), ("print", "html")):
        assert {p.stem[:2] for p in (exported / folder).glob(f"*.{suffix}")} == set(files)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_moodle_xml_read_back_is_the_quiz(exported, chapter):
    root = ET.parse(exported / "moodle" / f"{chapter}.xml").getroot()
    category, *entries = root
    assert category.get("type") == "category"
    assert category.findtext("category/text").endswith(CHAPTERS[chapter].replace("/", "//"))
    found = []
    for entry in entries:
        assert entry.get("type") == "multichoice" and entry.findtext("single") == "true"
        answers = [
            (a.findtext("text"), a.get("fraction") == "100", a.findtext("feedback/text"))
            for a in entry.findall("answer")
        ]
        assert all(e.get("format") == "html" for e in entry.iter("answer"))
        found.append((entry.findtext("questiontext/text"), answers))
    assert found == as_html(quiz(chapter))
    numbers = [entry.findtext("idnumber") for entry in entries]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_qti_package_read_back_is_the_quiz(exported, chapter):
    with zipfile.ZipFile(exported / "qti" / f"{chapter}.zip") as package:
        files = {name: package.read(name) for name in package.namelist()}
    resources = ET.fromstring(files.pop("imsmanifest.xml")).findall("p:resources/p:resource", IN)
    assert sorted(r.get("href") for r in resources) == sorted(files)
    known = {r.get("identifier") for r in resources}
    assert {d.get("identifierref") for r in resources for d in r.findall("p:dependency", IN)} <= (
        known
    )
    test = ET.fromstring(files["test.xml"])
    order = [ref.get("href") for ref in test.iter(f"{{{QTI}}}assessmentItemRef")]
    found = []
    for name in order:
        item = ET.fromstring(files[name])
        right = item.findtext("q:responseDeclaration/q:correctResponse/q:value", None, IN)
        reasons = {f.get("identifier"): inner(f) for f in item.findall("q:modalFeedback", IN)}
        choices = item.findall(".//q:simpleChoice", IN)
        assert set(reasons) == {c.get("identifier") for c in choices}
        answers = [(inner(c), c.get("identifier") == right, reasons[c.get("identifier")])
                   for c in choices]  # fmt: skip
        found.append((inner(item.find(".//q:prompt", IN)), answers))
    assert found == as_html(quiz(chapter))


@pytest.mark.parametrize("chapter", ["01", "08"])
def test_qti_elements_stand_where_the_specification_has_them(exported, chapter):
    """The whole schema is not ours to pass on; the packages were validated with it when made."""
    with zipfile.ZipFile(exported / "qti" / f"{chapter}.zip") as package:
        names = [name for name in package.namelist() if name != "imsmanifest.xml"]
        for name in names:
            for element in ET.fromstring(package.read(name)).iter():
                kind = element.tag.split("}")[1]
                children = "".join(child.tag.split("}")[1] + " " for child in element)
                if kind in SEQUENCES:
                    pattern = re.sub(r"(\w+|\([^)]*\))([+*?]?) ?", r"(?:\1 )\2", SEQUENCES[kind])
                    assert re.fullmatch(pattern, children), (name, kind, children)


def test_a_sheet_shows_no_verdict_and_its_key_has_the_letters(exported):
    for chapter in CHAPTERS:
        questions = quiz(chapter)
        sheet = (exported / "print" / f"{chapter}.html").read_text("utf-8")
        key = (exported / "print" / f"{chapter}-key.html").read_text("utf-8")
        assert "Right" not in re.sub(r"<li>.*?</li>", "", sheet) and 'class="right"' not in sheet
        letters = re.findall(r"\d+ ([A-H])", re.search(r'class="key">([^<]*)<', key)[1])
        lists = re.findall(r'<ol class="answers">(.*?)</ol>', sheet, re.S)
        assert len(lists) == len(letters) == len(questions)
        for question, options, letter in zip(questions, lists, letters, strict=True):
            shown = re.findall(r"<li>(.*?)</li>", options, re.S)
            assert sorted(shown) == sorted(to_html(o.text) for o in question.options)
            (right,) = [to_html(o.text) for o in question.options if o.right]
            assert shown[LETTERS.index(letter)] == right
            assert not any(to_html(o.reason) in sheet for o in question.options)


def test_a_seed_is_an_order_and_no_letter_is_the_usual_one():
    questions = quiz("01")
    first, again, other = (make_quizzes.orders("01", questions, seed) for seed in (1, 1, 2))
    assert first == again != other
    places = [
        order.index(next(i for i, option in enumerate(question.options) if option.right))
        for question, order in zip(questions, first, strict=True)
    ]
    assert max(places.count(place) for place in set(places)) <= len(places) // 2


def test_sheets_fetch_nothing_from_elsewhere(exported):
    assert remote_references(exported / "print") == []
    page = (exported / "print" / "02.html").read_text("utf-8")
    (script,) = re.findall(r'<script defer src="([^"]+)"', page)
    assert (exported / "print" / script).is_file()
    assert r'["\\(", "\\)"]' in page  # MathJax looks for these, and the text has them
    assert r"\(b_i\)" in html.unescape(page)


def test_the_same_quiz_is_the_same_file(exported, tmp_path):
    assert make_quizzes.main(["01", "--out", str(tmp_path)]) == 0
    for name in ("moodle/01.xml", "qti/01.zip", "print/01.html"):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()
    assert not (tmp_path / "moodle" / "02.xml").exists()


def test_signs_that_xml_and_html_read_otherwise_survive(tmp_path):
    given = make_quizzes.Question(
        'Is `a < b && "c"` for $a < b$, <b>bold</b> & *so*?',
        (make_quizzes.Option(True, "1 > 0 ]]> $x_1 * y_1 * z$", "`</text>`"),
         make_quizzes.Option(False, "5 $", "是")),
    )  # fmt: skip
    root = make_quizzes.moodle("99", "A/B", [given])
    read = ET.fromstring(make_quizzes.text_of(root).encode())
    question = read.findall("question")[1].findtext("questiontext/text")
    assert question == (
        r"Is <code>a &lt; b &amp;&amp; &quot;c&quot;</code> for \(a &lt; b\), "
        r"&lt;b&gt;bold&lt;/b&gt; &amp; <em>so</em>?"
    )
    assert read.find("question/category/text").text.endswith("/A//B")
    make_quizzes.write_qti(tmp_path / "x.zip", "99", "A/B", [given])
    with zipfile.ZipFile(tmp_path / "x.zip") as package:
        item = ET.fromstring(package.read("item-99-01.xml"))
    assert "".join(item.find(".//q:prompt", IN).itertext()) == (
        r'Is a < b && "c" for \(a < b\), <b>bold</b> & so?'
    )
    texts = ["".join(c.itertext()) for c in item.findall(".//q:simpleChoice", IN)]
    assert texts == [r"1 > 0 ]]> \(x_1 * y_1 * z\)", "5 $"]


BAD = {
    "no list": ("{}", "no list of questions"),
    "no verdict": ([{"question": "q", "options": [["yes", "a", "b"]]}], "neither right nor wrong"),
    "two right": ([{"question": "q", "options": [["right", "a", "b"]] * 2}], "one option must be"),
    "none right": ([{"question": "q", "options": [["wrong", "a", "b"]] * 3}], "one option must"),
    "no reason": ([{"question": "q", "options": [["right", "a"]]}], "each option is"),
    "number": ([{"question": "q", "options": [["right", 0.3, "b"], ["wrong", "a", "b"]]}],
               "quote it"),
    "no text": ([{"question": "q", "options": [["right", "a", "b"], ["wrong", " ", "b"]]}],
                "a text is empty"),
    "no options": ([{"question": "q"}], "question 1: each option"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_quiz_with_a_fault_names_the_question(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / "01.yml").write_text(content if isinstance(content, str) else yaml.dump(content))
    with pytest.raises(ValueError, match=message):
        make_quizzes.read_quiz(tmp_path / "01.yml")


def test_an_unknown_chapter_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no quiz 99, only 01"):
        make_quizzes.main(["99", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
