"""What instructors need to know of each chapter, read from its notebook.

```{teaching-plan}
```                     a table: a row per chapter that is in the table of contents
```{workshop-plan}
```                     the half day, and the four weeks, as study.py reads them
```{module-plan}
```
```{chapter-facts} 6
```                     goals, prerequisites and practice of one chapter, or that it is missing
{capstone}`template`    a link to the capstone's template in Colab, and one that downloads it
"""

import json
import re
from pathlib import Path

from course_data import LEVELS, Markdown, chapter_files, chapters, goals_of, read_chapter
from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from study import Course, class_minutes, exercise_minutes, module_lines, workshop_lines

from scripts.set_repository import current  # course_data has put the root on the path

LOGGER = logging.getLogger(__name__)
CAPSTONE = "notebooks/capstone/bring_your_own_ratings.ipynb"


def opening(text):
    """Goals and needs from the first cell of a chapter; ValueError says what it lacks.

    >>> opening("# 1. T\\n\\n- do this;\\n- do\\n  that.\\n\\n**What it needs**: [a](02_b.ipynb).")
    (['do this', 'do that'], '[a](/notebooks/02_b.ipynb).')
    """
    goals = goals_of(text)
    needs = re.search(r"\*\*What it needs\*\*:\s*(.+)", text, re.S)
    if not goals or not needs:
        raise ValueError("its first cell has no goals, or no line that starts **What it needs**:")
    needs = re.sub(r"\]\((\d\d_\w+\.ipynb)\)", r"](/notebooks/\1)", " ".join(needs[1].split()))
    return goals, needs


def practice(root, name):
    """Links to what there is to practise a chapter.

    >>> practice(Path("/nowhere"), "01_x")
    'none yet'
    """
    links = []
    if (root / "notebooks" / "exercises" / f"{name}.ipynb").is_file():
        links.append("[exercises](/book/practice.md)")
    if (root / "book" / "_quizzes" / f"{name[:2]}.yml").is_file():
        links.append("[quiz](/book/quizzes.md)")
    return " and ".join(links) or "none yet"


class TeachingPlan(Markdown):
    """A row per chapter: minutes in class, minutes to run, level, practice."""

    def run(self):
        root = Path(self.env.srcdir)
        lines = [
            "| chapter | level | minutes in class | exercises, minutes | runs | practice |",
            "|---|---|--:|--:|---|---|",
        ]
        for chapter in chapters(root):
            name = chapter["file"]
            cells = [f"[{chapter['title']}](/notebooks/{name}.ipynb)",
                     LEVELS.get(chapter["number"], "intermediate"),
                     str(class_minutes(read_chapter(root, name))),
                     str(self.exercises(root, name)), chapter["minutes"],
                     practice(root, name)]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        return self.parsed(lines)

    @staticmethod
    def exercises(root, name):
        """Their minutes, or a dash where there are none."""
        path = root / "notebooks" / "exercises" / f"{name}.ipynb"
        return exercise_minutes(json.loads(path.read_text("utf-8"))) if path.is_file() else "–"


class WorkshopPlan(Markdown):
    """The half day of book/_study.yml."""

    def run(self):
        return self.parsed(workshop_lines(Course(self.env.srcdir)))


class ModulePlan(Markdown):
    """The four weeks of book/_study.yml."""

    def run(self):
        return self.parsed(module_lines(Course(self.env.srcdir)))


class ChapterFacts(Markdown):
    """Goals, prerequisites and practice of one chapter."""

    required_arguments = 1

    def run(self):
        root = Path(self.env.srcdir)
        number = int(self.arguments[0])
        names = [name for name in chapter_files(root) if int(name[:2]) == number]
        if not names:
            return self.parsed(["*Not in the course yet; this is what to plan for.*"])
        notebook = read_chapter(root, names[0])
        try:
            goals, needs = opening("".join(notebook["cells"][0]["source"]))
        except ValueError as error:
            LOGGER.warning("%s: %s", names[0], error, location=self.get_location())
            return []
        return self.parsed(
            [
                f"**Goals.** After [the chapter](/notebooks/{names[0]}.ipynb) a student can",
                "",
                *[f"- {goal};" for goal in goals[:-1]],
                f"- {goals[-1]}.",
                "",
                f"**Prerequisites.** {needs}",
                "",
                f"**In class.** About {class_minutes(notebook)} minutes. "
                f"Practice: {practice(root, names[0])}.",
            ]
        )


class Capstone(SphinxRole):
    """A link that opens the capstone's template in Colab, and one that downloads it."""

    def run(self):
        repository = current(Path(self.env.srcdir))
        file = addnodes.download_reference(
            "", "", reftarget=f"/{CAPSTONE}", refdoc=self.env.docname
        )
        file += nodes.literal("", "download it", classes=["xref", "download"])
        return [
            nodes.reference("", self.text, refuri=repository.colab(CAPSTONE)),
            nodes.Text(" ("),
            file,
            nodes.Text(")"),
        ], []


def setup(app):
    app.add_role("capstone", Capstone())
    app.add_directive("teaching-plan", TeachingPlan)
    app.add_directive("workshop-plan", WorkshopPlan)
    app.add_directive("module-plan", ModulePlan)
    app.add_directive("chapter-facts", ChapterFacts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
