"""Numbers, tables, figures and cards of the prose pages, from the chapters' own results.

    {measured}`EASE ndcg@10`            a value of data/leaderboard.csv
    {measured}`cold targets`            a value of a stored output, found as STORED says
    {chapter}`6`                        a link once there is one; or {chapter}`Chapter 6`
    ```{leaderboard}
    ```                                 the whole table, and how often the test users were looked at
    ```{packages-leaderboard}
    ```                                 the table of the second world
    ```{course-figure} funnel
    :alt: what it shows
    caption
    ```                                 a figure that course_figures.py draws
    ```{chapter-cards}
    ```                                 a card per chapter that is in the table of contents
    ```{practice}
    ```                                 the exercises that exist, with their links
    ```{quiz} 01
    ```                                 the questions of book/_quizzes/01.yml

What is missing or does not match is a warning, and so fails the build.
"""

import functools
import json
import os
import re
import sys
from pathlib import Path
from typing import ClassVar

import course_figures
import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from study import in_words

from recsys_tutorial import leaderboard

sys.path.append(str(Path(__file__).resolve().parents[2]))  # Sphinx adds this folder alone

from scripts.set_repository import current, source_of, title_of

LOGGER = logging.getLogger(__name__)
# name: (start of the notebook's file name, pattern whose group is the value in a stored output)
STORED = {
    "ratings": ("01_", r"([\d,]+) ratings by"),
    "rated share": ("01_", r"([\d.]+)% of all user-film pairs have a rating"),
    "top tenth share": ("01_", r"the most rated tenth of the films has (\d+)% of the ratings"),
    "few ratings share": ("01_", r"(\d+)% of the films have one or two ratings"),
    "cold targets": ("01_", r"cold targets of new users: [\d.]+ trained once, (0\.\d+) rolling"),
    "cold targets once": ("01_", r"cold targets of new users: (0\.\d+) trained once"),
    "EASE future gain": ("01_", r"EASE, with the future minus rolling: \+(0\.\d{3})"),
    "one day users": ("01_", r"(\d+)% of the users gave all their ratings within one day"),
    "RMSE mean": ("02_", r"test RMSE of the mean: ([\d.]+)"),
    "RMSE biases": ("02_", r"test RMSE of the biases: ([\d.]+)"),
    "pictures siblings in": ("05_", r"siblings in training\s+([\d.]+)"),
    "pictures siblings out": ("05_", r"siblings left out\s+([\d.]+)"),
    "singled out": ("16_", r"known to two weeks: (\d+)% singled out"),
    "named though absent": ("16_", r"singled out, (\d+)% of those not there named"),
    "EASE members found": ("16_", r"EASE, penalty 200: (\d+)% of members found"),
    "towers members found": ("16_", r"text two-tower: (\d+)% of members found"),
    "shilled lists": ("16_", r"100 bandwagon fakes: ([\d.]+)% of EASE's lists"),
}
LOOKS = r"on the test users: (\d+) models and (\d+) other settings looked at"
LEVELS = {1: "introductory", 2: "introductory", 3: "introductory",
          8: "advanced", 9: "advanced", 11: "advanced"}  # fmt: skip


@functools.cache
def output_text(path, mtime):
    """All texts of a notebook's stored outputs."""
    texts = []
    for cell in json.loads(Path(path).read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            texts.append("".join(output.get("text", [])))
            texts.append("".join(output.get("data", {}).get("text/plain", [])))
    return "\n".join(texts)


def stored_value(root, name):
    """The value of a stored output; LookupError says what was not found."""
    start, pattern = STORED[name]
    paths = sorted((root / "notebooks").glob(f"{start}*.ipynb"))
    if not paths:
        raise LookupError(f"no notebook {start}*")
    found = re.search(pattern, output_text(str(paths[0]), paths[0].stat().st_mtime))
    if not found:
        raise LookupError(f"{paths[0].name} has no output that matches {pattern!r}")
    return found[1]


def leaderboard_value(rows, name):
    """The value of "model column", written as the table writes it."""
    model, _, column = name.rpartition(" ")
    found = rows[rows["model"] == model]
    if found.empty or column not in rows:
        raise LookupError(f"the leaderboard has no {name!r}")
    return write(found.iloc[0][column], column)


def write(value, column):
    """One value of the leaderboard as text.

    >>> write(0.146026, "ndcg@10"), write(9066.0, "parameters"), write(float("nan"), "peak_mb")
    ('0.146', '9,066', '–')
    >>> [write(x, "train_seconds") for x in (0.0002, 0.231, 7.46, 123.4)]
    ['<0.01', '0.23', '7.5', '123']
    """
    if value != value:
        return "–"
    if "@" in column:
        return f"{value:.3f}"
    if column == "parameters":
        return f"{value:,.0f}"
    if value < 0.01:
        return "<0.01"
    return f"{value:.2g}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


COST_COLUMNS = {
    "recall@20": "recall@20",
    "parameters": "parameters",
    "train_seconds": "training, s",
    "ms_per_user": "ms per user",
    "peak_mb": "memory, MB",
}


def markdown(header, rows):
    """Lines of a Markdown table; all columns but the model's and intervals to the right."""
    rule = ["---" if cell in ("model", "95 % interval") else "--:" for cell in header]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def costs(row, columns=tuple(COST_COLUMNS)):
    """What a model needs, as the tables write it."""
    return [write(row[column], column) for column in columns]


def leaderboard_markdown(board=leaderboard.FILMS):
    """A leaderboard, best first: shared places, paired differences to the references, costs.

    A cost that nobody measured on a board has no column there.
    """
    rows = leaderboard.load(board=board).set_index("model")
    table = leaderboard.table(board=board)
    differences = [f"- {name}" for name in board.references]
    measured = [column for column in COST_COLUMNS if rows[column].notna().any()]
    header = ["place", "model", "chapter", "NDCG@10", "95 % interval"]
    header += [f"minus {name}" for name in board.references]
    header += [COST_COLUMNS[column] for column in measured]
    lines = []
    for place, row in table.iterrows():
        cells = [str(place), row["model"], str(row["chapter"]), write(row["NDCG@10"], "ndcg@10")]
        cells += [row["95 %"], *(row[column] or "–" for column in differences)]
        lines.append(cells + costs(rows.loc[row["model"]], measured))
    return markdown(header, lines)


def looks(root):
    """How many models stand in the table, and other settings that chapters saw on its users."""
    others = 0
    for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        found = re.search(LOOKS, output_text(str(path), path.stat().st_mtime))
        others += int(found[2]) if found else 0
    return len(leaderboard.load()), others


class Measured(SphinxRole):
    """A number that a chapter measured."""

    def run(self):
        try:
            if self.text in STORED:
                value = stored_value(Path(self.env.srcdir), self.text)
            else:
                value = leaderboard_value(leaderboard.load(), self.text)
        except LookupError as error:
            LOGGER.warning("measured: %s", error, location=self.get_location())
            value = "?"
        return [nodes.inline("", value, classes=["measured"])], []


class Chapter(SphinxRole):
    """The words "chapter 6", leading there if that chapter is in the table of contents."""

    def run(self):
        number = int(re.search(r"\d+", self.text)[0])
        words = f"chapter {number}" if self.text.isdigit() else self.text
        for name in chapter_files(Path(self.env.srcdir)):
            if int(name[:2]) == number:
                uri = self.env.app.builder.get_relative_uri(self.env.docname, f"notebooks/{name}")
                return [nodes.reference("", words, refuri=uri, internal=True)], []
        return [nodes.Text(words)], []


class Markdown(SphinxDirective):
    """A directive that writes Markdown, which is then read as if it stood on the page."""

    def parsed(self, lines):
        holder = nodes.container(classes=[self.name])
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, holder)
        return [holder]


class Leaderboard(Markdown):
    """The whole leaderboard as a table, and how often its users have been looked at."""

    def run(self):
        models, others = looks(Path(self.env.srcdir))
        line = f"Looked at on these users so far: {models} models, and {others} other settings in "
        line += "the chapters' figures and experiments. Each look is a chance to be lucky."
        return self.parsed([*leaderboard_markdown(), "", line])


class PackagesLeaderboard(Markdown):
    """The table of models that say what packages need."""

    def run(self):
        return self.parsed(leaderboard_markdown(leaderboard.PACKAGES))


class KaggleLinks(Markdown):
    """A link for each chapter that copies it into a reader's account on Kaggle."""

    def run(self):
        root = Path(self.env.srcdir)
        repository = current(root)
        links = [
            f"[{int(name[:2])}]({repository.kaggle(f'notebooks/{name}.ipynb')})"
            for name in chapter_files(root)
        ]
        return self.parsed([f"Chapter {', '.join(links)}."])


class CourseFigure(SphinxDirective):
    """A figure that course_figures.py draws; its content is the caption."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required}
    has_content = True

    def run(self):
        (name,) = self.arguments
        if len(self.options.get("alt", "")) < 15:
            raise self.error(f"figure {name}: say in :alt: what it shows")
        folder = Path(self.env.srcdir) / "_build" / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        course_figures.draw(name, folder / f"{name}.svg")
        uri = f"/_build/figures/{name}.svg"
        image = nodes.image(uri=uri, alt=self.options["alt"], classes=["drawn"])
        figure = nodes.figure("", image)
        if self.content:
            caption = nodes.container()
            self.state.nested_parse(self.content, self.content_offset, caption)
            figure += nodes.caption("", "", *caption[0].children)
        return [figure]


def chapter_files(root):
    """The chapters in the table of contents: file names without suffix, in order."""
    return re.findall(r"file: notebooks/(\w+)$", (root / "_toc.yml").read_text("utf-8"), re.M)


def read_chapter(root, name):
    """A chapter's notebook."""
    return json.loads((root / "notebooks" / f"{name}.ipynb").read_text("utf-8"))


def goals_of(text):
    r"""What a first cell says a reader will be able to do.

    >>> goals_of("# 1. T\n\n- do this;\n- do\n  that.")
    ['do this', 'do that']
    """
    return [" ".join(goal.split()) for goal in re.findall(r"^- (.+?)[;.]$", text, re.M | re.S)]


def chapters(root):
    """Of each chapter in the table of contents: file name without suffix, title, minutes, goal."""
    plans = yaml.safe_load((root / "book" / "_study.yml").read_text("utf-8"))
    runs = plans["runs"]
    for name in chapter_files(root):
        notebook = read_chapter(root, name)
        text = source_of(notebook["cells"][0])
        goals = goals_of(text)
        yield {
            "file": name,
            "number": int(name[:2]),
            "title": title_of(notebook),
            "minutes": in_words(runs[int(name[:2])]),
            "goal": goals[0] if goals else "",
        }


class ChapterCards(Markdown):
    """A card for each chapter."""

    def run(self):
        lines = ["::::{grid} 1 1 2 2", ":gutter: 3", ""]
        for chapter in chapters(Path(self.env.srcdir)):
            level = LEVELS.get(chapter["number"], "intermediate")
            lines += [
                f":::{{grid-item-card}} {chapter['title']}",
                f":link: /notebooks/{chapter['file']}",
                ":link-type: doc",
                "",
                f"You will {chapter['goal']}." if chapter["goal"] else "",
                "",
                f"*{level}, runs {chapter['minutes']}*",
                ":::",
                "",
            ]
        return self.parsed([*lines, "::::"])


class Quiz(SphinxDirective):
    """The questions of a chapter: each option unfolds to say whether it is right, and why.

    Plain HTML: without a script, with keyboard and screen reader.
    """

    required_arguments = 1

    def run(self):
        (chapter,) = self.arguments
        path = Path(self.env.srcdir) / "book" / "_quizzes" / f"{chapter}.yml"
        self.env.note_dependency(str(path))
        questions = yaml.safe_load(path.read_text("utf-8"))
        quiz = nodes.container(classes=["quiz"])
        for number, question in enumerate(questions, start=1):
            name = f"quiz-{chapter}-{number}"
            quiz += raw(f'<div class="quiz-question" role="group" aria-labelledby="{name}">')
            quiz += raw(f'<p id="{name}"><strong>{number}.</strong> ')
            quiz += self.inline(question["question"])
            quiz += raw("</p>")
            for verdict, text, reason in question["options"]:
                quiz += raw(f'<details class="quiz-{verdict}"><summary>')
                quiz += self.inline(text)
                quiz += raw(f"</summary><p><strong>{verdict.capitalize()}.</strong> ")
                quiz += self.inline(reason)
                quiz += raw("</p></details>")
            quiz += raw("</div>")
        return [quiz]

    def inline(self, text):
        """The text read as Markdown, without a paragraph around it."""
        holder = nodes.container()
        self.state.nested_parse(StringList([text], source="quiz"), self.content_offset, holder)
        return nodes.inline("", "", *holder[0].children)


def raw(html):
    """HTML as it stands."""
    return nodes.raw("", html, format="html")


def practice_links(root, folder, name):
    """A notebook as a file that the site itself hands out, and in Colab."""
    path = f"notebooks/{folder}/{name}"
    if not (root / path).is_file():
        return "–"
    return f"{{download}}`notebook </{path}>` · [Colab]({current(root).colab(path)})"


class Practice(Markdown):
    """The exercise notebooks: chapter, download, Colab; the solutions, where they are published."""

    def run(self):
        root = Path(self.env.srcdir)
        names = sorted(
            p.name for p in (root / "notebooks" / "exercises").glob("[0-9][0-9]_*.ipynb")
        )
        folders = ["exercises"]
        if any((root / "notebooks" / "solutions").glob("*.ipynb")):
            folders.append("solutions")
        lines = [f"| chapter | {' | '.join(folders)} | quiz |", "|---" * (len(folders) + 2) + "|"]
        written = set(chapter_files(root))
        for name in names:
            notebook = json.loads((root / "notebooks" / "exercises" / name).read_text("utf-8"))
            title = re.sub(r"^Exercises ", "", title_of(notebook))
            stem = name.removesuffix(".ipynb")
            if stem in written:
                title = f"[{title}](/notebooks/{name})"
            quiz = root / "book" / "_quizzes" / f"{name[:2]}.yml"
            cells = [title, *(practice_links(root, folder, name) for folder in folders)]
            cells.append("[quiz](/book/quizzes.md)" if quiz.is_file() else "–")
            lines.append("| " + " | ".join(cells) + " |")
        return self.parsed(lines) if names else []


def needs_new_reading(app, env, added, changed, removed):
    """The pages that show data depend on more than their own text."""
    return [name for name in env.found_docs if name.startswith("book/")]


def setup(app):
    os.environ.setdefault("MPLBACKEND", "Agg")
    app.add_role("measured", Measured())
    app.add_role("chapter", Chapter())
    app.add_directive("leaderboard", Leaderboard)
    app.add_directive("packages-leaderboard", PackagesLeaderboard)
    app.add_directive("course-figure", CourseFigure)
    app.add_directive("kaggle-links", KaggleLinks)
    app.add_directive("chapter-cards", ChapterCards)
    app.add_directive("practice", Practice)
    app.add_directive("quiz", Quiz)
    app.connect("env-get-outdated", needs_new_reading)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
