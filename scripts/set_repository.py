"""Carry the repository's URL from pyproject.toml to every other file.

    python3 scripts/set_repository.py https://github.com/OWNER/NAME   # after a fork
    python3 scripts/set_repository.py                                 # after adding a notebook
    python3 scripts/set_repository.py --check                         # is everything in step?

``[project.urls] Repository`` in pyproject.toml is the one place where the URL is written by hand.
From it follow the links in prose, the site's configuration, the install cell of each notebook, the
line of links under each notebook's title, and the table of chapters in README.md. Files are found
as git knows them, so a file added later is covered too.

Standard library only, the package's module of files included: a fork needs no environment for it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole  # noqa: E402

BRANCH = "main"
CHAPTERS = ("<!-- chapters: written by scripts/set_repository.py -->", "<!-- end of chapters -->")
NOT_TEXT = {".png", ".jpg", ".jpeg", ".webp", ".ico", ".gz", ".zip", ".woff", ".woff2", ".npz",
            ".safetensors", ".pdf"}  # fmt: skip
SKIPPED_FOLDERS = {".git", ".venv", "_build", "node_modules", "__pycache__", "vendor"}


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, the one host that Colab opens notebooks from."""

    owner: str
    name: str

    @classmethod
    def parse(cls, url: str) -> Repository:
        """Return the repository of a URL; ValueError says what a URL must look like."""
        found = re.fullmatch(
            r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([\w.-]+?)(?:\.git)?/?", url.strip()
        )
        if not found or found[2] in (".", ".."):
            raise ValueError(
                f"{url!r} is no repository's URL: it must read https://github.com/OWNER/NAME "
                "(Colab opens notebooks from GitHub alone)"
            )
        return cls(found[1], found[2])

    @property
    def slug(self) -> str:
        """The repository as OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        """The repository's address."""
        return f"https://github.com/{self.slug}"

    def colab(self, path: str) -> str:
        """Return the address that opens a notebook in Colab."""
        return f"https://colab.research.google.com/github/{self.slug}/blob/{BRANCH}/{path}"

    def kaggle(self, path: str) -> str:
        """Return the address that copies a notebook into a reader's account on Kaggle."""
        return f"https://kaggle.com/kernels/welcome?src={self.url}/blob/{BRANCH}/{path}"

    def raw(self, path: str) -> str:
        """Return the address that downloads a file."""
        return f"https://raw.githubusercontent.com/{self.slug}/{BRANCH}/{path}"

    def install_line(self) -> str:
        """Return the line of a notebook's setup cell that installs the package on Colab."""
        return f'%pip install -q "recsys-tutorial @ git+{self.url}"'

    def links_line(self, path: str) -> str:
        """Return the line under a notebook's title.

        Words, not the usual picture: it would be fetched from another host whenever the site's
        page is opened.
        """
        return f"[Open in Colab]({self.colab(path)}) | [Download this notebook]({self.raw(path)})"


def current(root: Path = ROOT) -> Repository:
    """Return the repository that pyproject.toml names."""
    with open(root / "pyproject.toml", "rb") as file:
        return Repository.parse(tomllib.load(file)["project"]["urls"]["Repository"])


def replace_repository(text: str, old: Repository, new: Repository) -> str:
    """Replace every address of a repository in a text, and nothing that only looks like one."""
    before = (
        r"(?P<before>github\.com[/:]|colab\.research\.google\.com/github/|mybinder\.org/v2/gh/"
        r"|raw\.githubusercontent\.com/|api\.github\.com/repos/|nbviewer\.org/github/"
        r"|img\.shields\.io/github/[\w./-]*?/)"
    )
    slug = re.escape(old.slug)
    # The name ends here: OWNER/NAME-more is another repository, OWNER/NAME.git is this one.
    end = r"(?![\w-])(?!\.(?!git\b)\w)"
    text = re.sub(before + slug + end, lambda m: m["before"] + new.slug, text)
    pages = rf"(?<![\w-]){re.escape(old.owner)}\.github\.io/{re.escape(old.name)}{end}"
    return re.sub(pages, f"{new.owner}.github.io/{new.name}", text)


def files(root: Path = ROOT) -> list[Path]:
    """Return the project's text files: those git knows or would add, else all."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
        names = done.stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):  # a downloaded archive
        names = [str(path.relative_to(root)) for path in root.rglob("*")]
    paths = [root / name for name in sorted(set(names)) if name]
    return [
        path
        for path in paths
        if path.is_file()
        and path.suffix.lower() not in NOT_TEXT
        and not SKIPPED_FOLDERS & set(path.relative_to(root).parts)
    ]


def notebooks(root: Path = ROOT, *folders: str) -> list[Path]:
    """Return all notebooks, or those of some folders: "" holds the chapters, then "solutions"."""
    found = [
        path
        for path in sorted((root / "notebooks").rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    ]
    if not folders:
        return found
    homes = [root / "notebooks" / folder for folder in folders]
    return [path for home in homes for path in found if path.parent == home]


def first_markdown(notebook: dict) -> dict | None:
    """Return a notebook's first cell if it is Markdown."""
    cells = notebook["cells"]
    return cells[0] if cells and cells[0]["cell_type"] == "markdown" else None


def source_of(cell: dict) -> str:
    """Return a cell's source, which is stored as one text or as a list of lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def title_of(notebook: dict) -> str | None:
    """Return a notebook's title: the first line of its first cell, if that is Markdown."""
    cell = first_markdown(notebook)
    return source_of(cell).split("\n")[0].lstrip("# ").strip() if cell else None


def with_links_line(source: str, line: str) -> str:
    """Return a first cell's source with this line of links under its title."""
    lines = source.split("\n")
    is_links = [re.match(r"!?\[!?\[?Open in Colab", text) is not None for text in lines]
    if any(is_links):
        lines[is_links.index(True)] = line
        return "\n".join(lines)
    return "\n".join([lines[0], "", line, *(lines[1:] if lines[1:2] == [""] else ["", *lines[1:]])])


def notebook_text(text: str, repository: Repository, path: str) -> str:
    """Return a notebook file's text with the line of links that belongs to it."""
    notebook = json.loads(text)
    cell = first_markdown(notebook)
    if cell is None or not source_of(cell).startswith("# "):
        return text
    source = with_links_line(source_of(cell), repository.links_line(path))
    if source == source_of(cell):
        return text
    cell["source"] = source.splitlines(keepends=True)
    # The form in which nbformat writes, so that a later run changes no other line.
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def chapter_table(root: Path, repository: Repository) -> str:
    """Return README.md's table of chapters, from the notebooks that exist."""
    rows = ["| chapter | |", "|---|---|"]
    for path in notebooks(root, ""):
        title = title_of(json.loads(path.read_text(encoding="utf-8"))) or path.stem
        name = path.relative_to(root).as_posix()
        rows.append(f"| [{title}]({name}) | [open in Colab]({repository.colab(name)}) |")
    return "\n".join(rows)


def readme_text(text: str, table: str) -> str:
    """Return README.md's text with this table of chapters between its marks."""
    start, end = (text.find(mark) for mark in CHAPTERS)
    if start < 0 or end < start:
        return text
    return f"{text[:start]}{CHAPTERS[0]}\n{table}\n{text[end:]}"


def changes(root: Path, new: Repository) -> dict[Path, str]:
    """Return {file: its new text} for every file that would change."""
    old = current(root)
    chapters = {path.resolve(): path.relative_to(root).as_posix() for path in notebooks(root)}
    table = chapter_table(root, new)
    changed = {}
    for path in files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        updated = replace_repository(text, old, new)
        if path.resolve() in chapters:
            updated = notebook_text(updated, new, chapters[path.resolve()])
        if path == root / "README.md":
            updated = readme_text(updated, table)
        if updated != text:
            changed[path] = updated
    return changed


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write what changes, or with --check say what would, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="https://github.com/OWNER/NAME; default: as it is")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if needed")
    options = parser.parse_args(argv)
    try:
        new = Repository.parse(options.url) if options.url else current(root)
    except ValueError as error:
        print(f"set-repository: {error}", file=sys.stderr)
        return 2
    changed = changes(root, new)
    # pyproject.toml last: whoever interrupts this can start it again.
    for path in sorted(changed, key=lambda path: path == root / "pyproject.toml"):
        print(f"{'out of step' if options.check else 'set'}: {path.relative_to(root)}")
        if not options.check:
            with whole(path) as temporary:
                temporary.write_text(changed[path], encoding="utf-8")
                temporary.chmod(path.stat().st_mode)
    if not changed:
        print(f"everything names {new.url}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
