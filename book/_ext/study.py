"""How long things take, and the plans that are made of it, from book/_study.yml and the notebooks.

```{workshop-plan}
```                     the half day: a row per part
```{module-plan}
```                     the four weeks: what is done together, what at home

Read with care, 150 words of prose take a minute; a code cell takes one and a half, a figure two.
An exercise takes 10, 20 or 30 minutes, easy, medium or hard; a question of a quiz one and a half.
"""

import json
import math
import re
from pathlib import Path

import yaml

WORDS_PER_MINUTE = 150
MINUTES_PER_CELL = 1.5  # run it, say what it did
MINUTES_PER_FIGURE = 2.0  # look, and talk about it
FIGURES = {"image/svg+xml", "image/png"}
MINUTES_PER_TASK = {"easy": 10, "medium": 20, "hard": 30}  # an open one is for who wants it
MINUTES_PER_QUESTION = 1.5
NUMBERS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
           "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20}  # fmt: skip
NUMBER = r"(\d+|" + "|".join(sorted(NUMBERS, key=len, reverse=True)) + r")( and a half)?"
PHRASE = re.compile(
    rf"(?:half an? (?P<half>minute|hour)|{NUMBER}(?: to {NUMBER})? (?P<unit>minute|hour)s?)"
    r" and [\d.]+ GB",
    re.I,
)


def minutes_of(text):
    """The minutes that a chapter says it runs; None where it says nothing.

    >>> minutes_of("Three and a half minutes and 2 GB"), minutes_of("two to three minutes and 1 GB")
    (3.5, 2.5)
    >>> minutes_of("half a minute and 1 GB"), minutes_of("One hour and 4 GB"), minutes_of("soon")
    (0.5, 60.0, None)
    """
    found = PHRASE.search(" ".join(text.split()))
    if not found:
        return None
    hours = (found["half"] or found["unit"]).lower() == "hour"
    if found["half"]:
        return 30.0 if hours else 0.5
    ends = [(word, half) for word, half in (found.group(2, 3), found.group(4, 5)) if word]
    values = [NUMBERS.get(word.lower()) or float(word) for word, _ in ends]
    values = [value + (0.5 if half else 0) for value, (_, half) in zip(values, ends, strict=True)]
    return sum(values) / len(values) * (60 if hours else 1)


def in_words(minutes):
    """Minutes as the site writes them.

    >>> in_words(3.5), in_words(1), in_words(0.5), in_words(4)
    ('3½ minutes', '1 minute', '½ minute', '4 minutes')
    """
    whole, half = divmod(minutes, 1)
    text = (f"{whole:.0f}" if whole else "") + ("½" if half else "")
    return f"{text} minute{'s' if minutes > 1 else ''}"


def tags_of(cell):
    """The tags of a cell."""
    return cell.get("metadata", {}).get("tags", [])


def section_minutes(notebook):
    """{heading of the second level: minutes in class}; what stands before the first is "".

    >>> figure = {"data": {"image/svg+xml": ""}}
    >>> code = {"cell_type": "code", "source": "f()", "outputs": [figure]}
    >>> text = {"cell_type": "markdown", "source": "word " * 150 + "\\n## A\\n" + "b " * 148}
    >>> section_minutes({"cells": [text, code]})
    {'': 1.0, 'A': 4.5}
    """
    found, heading = {"": 0.0}, ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for part in re.split(r"^(?=## )", source, flags=re.M):
                title = re.match(r"## (.+)", part)
                heading = title[1].strip() if title else heading
                found[heading] = found.get(heading, 0) + len(part.split()) / WORDS_PER_MINUTE
        elif cell["cell_type"] == "code" and "check" not in cell.get("metadata", {}).get(
            "tags", []
        ):
            shown = [set(o.get("data", {})) for o in cell.get("outputs", [])]
            figures = sum(not FIGURES.isdisjoint(kinds) for kinds in shown)
            found[heading] += MINUTES_PER_CELL + MINUTES_PER_FIGURE * figures
    return found


def class_minutes(notebook):
    """How long a class needs to go through a notebook, in steps of five minutes.

    >>> figure = {"data": {"image/svg+xml": ""}}
    >>> code = {"cell_type": "code", "source": "f()", "outputs": [figure]}
    >>> class_minutes({"cells": [{"cell_type": "markdown", "source": "word " * 300}, code]})
    10
    """
    return 5 * math.ceil(sum(section_minutes(notebook).values()) / 5)


def exercise_minutes(notebook):
    """How long the tasks of an exercise notebook take.

    >>> exercise_minutes({"cells": [{"cell_type": "markdown", "source": "## 1. A *(hard)*"}]})
    30
    """
    text = "\n".join(
        "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"
    )
    levels = re.findall(r"^## .*\*\((\w+)\)\*$", text, re.M)
    return sum(MINUTES_PER_TASK.get(level, 0) for level in levels)


class Course:
    """The chapters' minutes and what each needs, read once."""

    def __init__(self, root):
        self.root = Path(root)
        self.plans = yaml.safe_load((self.root / "book" / "_study.yml").read_text("utf-8"))
        self.names = {int(path.name[:2]): path.stem for path in
                      sorted((self.root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}  # fmt: skip

    def notebook(self, number, folder=""):
        """A chapter, or its exercises."""
        path = self.root / "notebooks" / folder / f"{self.names[number]}.ipynb"
        return json.loads(path.read_text("utf-8"))

    def needs(self, number):
        """The chapters that a chapter's first cell links to as what it needs."""
        text = "".join(self.notebook(number)["cells"][0]["source"])
        return {int(n) for n in re.findall(r"\((\d\d)_\w+\.ipynb\)",
                                           text.partition("**What it needs**")[2])}  # fmt: skip

    def minutes(self, entry):
        """(together, at home) of an entry of the module's plan."""
        if "chapter" in entry:
            whole = class_minutes(self.notebook(entry["chapter"]))
            together = min(entry["class"], whole)
            return together, whole - together
        if "quiz" in entry:
            path = self.root / "book" / "_quizzes" / f"{entry['quiz']:02d}.yml"
            questions = len(yaml.safe_load(path.read_text("utf-8")))
            return math.ceil(questions * MINUTES_PER_QUESTION), 0
        if "exercises" in entry:
            return exercise_minutes(self.notebook(entry["exercises"], "exercises")), 0
        return entry["minutes"], 0

    def week(self, week):
        """Minutes of a week: [of each meeting], at home."""
        meetings = [[self.minutes(entry) for entry in meeting] for meeting in week["meetings"]]
        home = sum(rest for meeting in meetings for _, rest in meeting)
        home += sum(self.minutes(entry)[0] for entry in week["homework"])
        return [sum(together for together, _ in meeting) for meeting in meetings], home


def written(entry, course):
    """An entry of the module's plan as a table's words."""
    minutes, rest = course.minutes(entry)
    if "chapter" in entry:
        return f"{{chapter}}`Chapter {entry['chapter']}` ({minutes} min, {rest} at home)"
    if "quiz" in entry:
        return f"[quiz {entry['quiz']}](/book/quizzes.md) ({minutes} min)"
    if "exercises" in entry:
        return f"[exercises {entry['exercises']}](/book/practice.md) ({minutes} min)"
    return f"{entry['what']} ({minutes} min)"


def module_lines(course):
    """The four weeks as a Markdown table."""
    lines = ["| week | first meeting | second meeting | at home |", "|--:|---|---|---|"]
    for number, week in enumerate(course.plans["module"]["weeks"], start=1):
        cells = ["; ".join(written(entry, course) for entry in meeting)
                 for meeting in week["meetings"]]  # fmt: skip
        home = [f"{rest} min of chapter {entry['chapter']}" for meeting in week["meetings"]
                for entry in meeting for rest in [course.minutes(entry)[1]] if rest]  # fmt: skip
        home += [written(entry, course) for entry in week["homework"]]
        total = course.week(week)[1]
        cells.append(f"{'; '.join(home)}: {total / 60:.1f} hours")
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return lines


def workshop_lines(course):
    """The half day as a Markdown table."""
    lines = ["| minutes | what | with |", "|--:|---|---|"]
    for part in course.plans["workshop"]["parts"]:
        where = part.get("with", "")
        if "chapter" in part:
            sections = ", ".join(f'"{name}"' for name in part["sections"])
            where = f"{{chapter}}`Chapter {part['chapter']}`: {sections}"
        lines.append(f"| {part['minutes']} | {part['what']} | {where} |")
    return lines
