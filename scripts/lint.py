"""Lint everything: ruff on code and notebooks, codespell on prose too, import-linter on imports.

    .venv/bin/python scripts/lint.py            # what `make lint` runs
    .venv/bin/python scripts/lint.py --fix      # let ruff mend what it can

codespell would read a notebook's stored outputs and pictures as words, so the cells' sources alone
are given to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.set_repository import notebooks  # noqa: E402


def write_sources(notebook: Path, folder: Path) -> None:
    """Write each cell's source to ``folder/<notebook's stem>/cell <number>.txt``."""
    # The stem alone: pyproject.toml tells codespell to skip what ends in .ipynb.
    target = folder / notebook.stem
    target.mkdir(parents=True)
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        source = cell["source"]
        text = source if isinstance(source, str) else "".join(source)
        (target / f"cell {number}.txt").write_text(text, encoding="utf-8")


def spell_notebooks(paths: list[Path], root: Path = ROOT) -> int:
    """Run codespell over the cells' sources; the names it prints are notebook/cell."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for notebook in paths:
            write_sources(notebook, folder / notebook.parent.name)
        command = [sys.executable, "-m", "codespell_lib", "--toml", str(root / "pyproject.toml")]
        return subprocess.run([*command, "."], cwd=folder).returncode


def main(argv: list[str] | None = None) -> int:
    """Run the linters, all of them, and return 1 when one complains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fix", action="store_true", help="mend what ruff can mend")
    fix = parser.parse_args(argv).fix
    python = [sys.executable, "-m"]
    commands = [
        [*python, "ruff", "check", *(["--fix"] if fix else [])],
        [*python, "ruff", "format", *([] if fix else ["--check"])],
        [*python, "codespell_lib"],
        # It has no module that `python -m` runs.
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-logo",
            "--no-cache",
        ],
    ]
    codes = [subprocess.run(command, cwd=ROOT).returncode for command in commands]
    codes.append(spell_notebooks(notebooks()))
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
