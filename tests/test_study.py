"""Minutes are data, and the plans made of them fit: in time, and nothing before what it needs."""

import doctest
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import course_data  # noqa: E402
import study  # noqa: E402

COURSE = study.Course(ROOT)
MODULE, WORKSHOP = COURSE.plans["module"], COURSE.plans["workshop"]


def test_examples():
    result = doctest.testmod(study)
    assert result.attempted >= 8 and result.failed == 0


@pytest.mark.parametrize(
    "text, minutes",
    [
        ("About three and a half\nminutes and 2 GB of memory", 3.5),
        ("Three to four minutes and 1.8 GB", 3.5),
        ("one and a half to two minutes and 1 GB", 1.75),
        ("Half an hour and 4 GB", 30),
        ("A minute and 4 GB", 1),
        ("12 minutes and 4 GB", 12),
        ("one hour and 4 GB", 60),
        ("in minutes and 4 GB", None),
        ("two minutes more the first time", None),
    ],
)
def test_minutes_are_read_as_they_are_said(text, minutes):
    assert study.minutes_of(text) == minutes


@pytest.mark.parametrize("number", COURSE.names)
def test_a_chapter_says_the_minutes_that_are_stored(number):
    said = study.minutes_of("".join(COURSE.notebook(number)["cells"][0]["source"]))
    assert said is not None, "its first cell must say '... minutes and ... GB'"
    stored = COURSE.plans["runs"].get(number)
    assert stored == said, f"write {number}: {said:g} into runs of book/_study.yml"


def test_the_sections_of_a_chapter_add_up():
    for number in COURSE.names:
        notebook = COURSE.notebook(number)
        sections = study.section_minutes(notebook)
        assert {"Summary", "Further reading"} <= set(sections), number
        assert 0 <= study.class_minutes(notebook) - sum(sections.values()) < 5


def test_every_exercise_counts():
    for number in COURSE.names:
        tasks = study.exercise_minutes(COURSE.notebook(number, "exercises"))
        assert 30 <= tasks <= 120, number


def after(number):
    """The next chapter that there is: numbers are names, and one may still be missing."""
    return min(later for later in COURSE.names if later > number)


def test_the_chapters_stand_in_the_order_of_their_numbers():
    assert [int(name[:2]) for name in course_data.chapter_files(ROOT)] == sorted(COURSE.names)


@pytest.mark.parametrize("number", COURSE.names)
def test_a_chapter_ends_with_the_way_on(number):
    """To its exercise notebook, its quiz and the next chapter, with the minutes of each."""
    text = "\n".join("".join(c["source"]) for c in COURSE.notebook(number)["cells"])
    way = text.partition("## To think about")[2].partition("\n\n1.")[0].replace("\n", " ")
    tasks = study.exercise_minutes(COURSE.notebook(number, "exercises"))
    assert f"notebooks/exercises/{COURSE.names[number]}.ipynb" in way
    assert f"(about {tasks} minutes)" in way
    assert f"(../book/quizzes.md) (about {COURSE.minutes({'quiz': number})[0]})" in way
    if number == max(COURSE.names):
        assert "(../book/where_next.md)" in way
    else:
        assert f"[chapter {after(number)}]({COURSE.names[after(number)]}.ipynb)" in way


@pytest.mark.parametrize("number", COURSE.names)
def test_an_exercise_notebook_ends_with_the_way_on(number):
    """To the quiz, with its minutes, and to the next chapter."""
    way = "".join(COURSE.notebook(number, "exercises")["cells"][-1]["source"]).replace("\n", " ")
    assert f"(../../book/quizzes.md) (about {COURSE.minutes({'quiz': number})[0]} minutes)" in way
    if number == max(COURSE.names):
        assert "(../../book/where_next.md)" in way
    else:
        assert f"[chapter {after(number)}](../{COURSE.names[after(number)]}.ipynb)" in way


def unlinked(text):
    """The chapters that an opening names as what it needs, but does not link to."""
    needs = text.partition("**What it needs**")[2].partition("\n\n")[0].replace("\n", " ")
    plain = re.sub(r"\[[^\]]*\]\([^)]*\)", "", needs)
    said = re.findall(r"[Cc]hapters? (\d+(?:(?:, | and )\d+)*)", plain)
    return sorted(int(n) for found in said for n in re.findall(r"\d+", found))


OPENINGS = sorted(
    path
    for folder in ("", "exercises", "capstone")
    for path in (ROOT / "notebooks" / folder).glob("*.ipynb")
)


@pytest.mark.parametrize("path", OPENINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_opens_with_what_it_needs_linked(path):
    """To chapters before it, or from the first one to the pages that prepare for it."""
    first = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
    needs = first.partition("**What it needs**")[2].partition("\n\n")[0]
    assert unlinked(first) == [], "a chapter is named without a link"
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", needs)
    assert links, "what does it need? Link it"
    assert all((path.parent / link).is_file() for link in links), links
    numbers = [int(n) for n in re.findall(r"(\d\d)_\w+\.ipynb", " ".join(links))]
    if path.parent.name == "exercises":
        assert int(path.name[:2]) in numbers
    elif path.parent.name == "notebooks":
        assert all(number < int(path.name[:2]) for number in numbers)
        assert numbers or "math_toolbox.md" in needs


def test_a_chapter_named_without_a_link_is_noticed():
    assert unlinked("**What it needs**: [chapter 1](01_a.ipynb), chapters 2 and 4.") == [2, 4]
    assert unlinked("**What it needs**: [chapter 1](01_a.ipynb).\n\nChapter 9 is later.") == []


# --- The module -----------------------------------------------------------------------------------


def test_each_meeting_and_each_week_of_the_module_fits():
    assert len(MODULE["weeks"]) == 4
    for number, week in enumerate(MODULE["weeks"], start=1):
        meetings, home = COURSE.week(week)
        assert len(meetings) == 2
        assert all(minutes <= MODULE["meeting_minutes"] for minutes in meetings), (number, meetings)
        assert home <= MODULE["homework_minutes"], (number, home)


def test_the_module_has_nothing_before_what_it_needs():
    known = set()
    for week in MODULE["weeks"]:
        taught = []
        for meeting in week["meetings"]:
            for entry in meeting:
                if "chapter" in entry:
                    missing = COURSE.needs(entry["chapter"]) - known
                    assert not missing, f"chapter {entry['chapter']} needs {sorted(missing)}"
                    taught.append(entry["chapter"])
                    known.add(entry["chapter"])
                assert entry.get("quiz", 1) in known
        for entry in week["homework"]:
            assert entry.get("exercises", 1) in known, entry
    assert {1, 2, 3, 4} <= known


def test_a_plan_that_does_not_fit_is_noticed(monkeypatch):
    """The sums see a longer meeting, and the order a chapter that came too early."""
    week = {"meetings": [[{"chapter": 1, "class": 95}]], "homework": [{"exercises": 1}]}
    (together,), home = COURSE.week(week)
    whole = study.class_minutes(COURSE.notebook(1))
    assert together == 95 and whole > 95
    assert home == whole - 95 + study.exercise_minutes(COURSE.notebook(1, "exercises"))
    assert COURSE.needs(8) == {1, 2, 3, 4} and COURSE.needs(1) == set()
    assert COURSE.needs(12) == {1, 3, 8}
    assert COURSE.needs(13) == {10, 12}
    assert COURSE.needs(14) == {3, 7, 12}
    assert COURSE.needs(15) == {8, 12, 14}


# --- The workshop ---------------------------------------------------------------------------------


def test_the_workshop_fits_into_half_a_day():
    parts = WORKSHOP["parts"]
    assert sum(part["minutes"] for part in parts) <= WORKSHOP["minutes"] == 240
    for part in parts:
        if "chapter" in part:
            sections = study.section_minutes(COURSE.notebook(part["chapter"]))
            assert set(part["sections"]) <= set(sections), set(part["sections"]) - set(sections)
            needed = sum(sections[name] for name in part["sections"])
            assert needed <= part["minutes"], (part["chapter"], needed)


def test_the_workshop_needs_only_what_it_had():
    chapters = [part["chapter"] for part in WORKSHOP["parts"] if "chapter" in part]
    assert chapters[0] == 1
    for place, number in enumerate(chapters):
        # Factors (chapter 2) are told in a sentence there: the parts taken do not use them.
        assert COURSE.needs(number) - {2} <= set(chapters[:place])


def test_the_tables_say_what_the_plans_hold():
    lines = study.module_lines(COURSE)
    assert len(lines) == 2 + len(MODULE["weeks"])
    assert all(line.count(" | ") == 3 for line in lines[2:])
    assert "{chapter}`Chapter 8`" in "\n".join(lines)
    lines = study.workshop_lines(COURSE)
    assert len(lines) == 2 + len(WORKSHOP["parts"])
    page = (ROOT / "book" / "instructors.md").read_text("utf-8")
    for name in ("workshop-plan", "module-plan"):
        assert len(re.findall(rf"^```{{{name}}}$", page, re.M)) == 1
