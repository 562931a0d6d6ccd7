"""Take every notebook as Colab would: alone, with nothing but the wheel its first cell installs.

    .venv/bin/python scripts/colab_check.py              # all notebooks to their end
    .venv/bin/python scripts/colab_check.py 01 capstone  # those whose path contains one of these
    .venv/bin/python scripts/colab_check.py --setup      # the set-up cells alone, in half a minute

The package is built as a wheel. A clean environment borrows what this one has installed, except the
package itself, as Colab has everything but the package. A copy of the notebook lies alone in an
empty folder; ``google.colab`` is there, so the set-up cell's ``%pip install`` runs: it is caught,
must be the documented line, and installs the wheel. At the end every module of the package must
have come from there. Outputs are not compared: other versions may give other digits. Assertions
count.

To check against Colab's own versions run this in an environment that has them (colab.yml does).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.execute_notebooks import find_notebooks  # noqa: E402
from scripts.machine_speed import kernel_limits  # noqa: E402
from scripts.set_repository import current  # noqa: E402
from scripts.setup import python_of  # noqa: E402

PACKAGE = "recsys_tutorial"
CELL_TIMEOUT = 900

# Before the notebook: Colab's module, and the magic that installs.
PRELUDE = """
import importlib.machinery, importlib.util, sys, types
assert importlib.util.find_spec({package!r}) is None, "the package is here before it is installed"
sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.modules["google.colab"].__spec__ = importlib.machinery.ModuleSpec("google.colab", None)
sys.modules["google.colab"].calls = []
sys.modules["google.colab"].installed = False

def pip(line):
    import importlib, subprocess, sys  # the names around it may be reset
    colab = sys.modules["google.colab"]
    colab.calls.append("%pip " + line)
    if not colab.installed:
        subprocess.run({install!r}, check=True)
        importlib.invalidate_caches()
        colab.installed = True

get_ipython().register_magic_function(pip, "line", "pip")
"""
# After it: one installation, by the documented line, and the package from nowhere else.
CHECK = """
import sys
from pathlib import Path
calls, expected = sys.modules["google.colab"].calls, {line!r}
assert calls == [expected], f"installs by {{calls}}, not by {{[expected]}}"
modules = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == {package!r}]
assert modules, "the package was never imported"
foreign = [name for name in modules if not Path(name).is_relative_to({home!r})]
assert not foreign, f"imported from elsewhere: {{foreign}}"
"""
# Between two set-up cells in one kernel: as if the package had not been imported.
RESET = """
get_ipython().run_line_magic("reset", "-sf")
import sys
for _name in [n for n in sys.modules if n.split(".")[0] == {package!r}]:
    del sys.modules[_name]
sys.modules["google.colab"].calls = []
"""


@dataclass
class StandIn:
    """A machine like Colab's: a clean environment, and the wheel that it may install."""

    folder: Path
    wheel: Path
    python: Path

    @classmethod
    def make(cls, folder: Path) -> StandIn:
        """Build the wheel and the environment below `folder`."""
        here = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist")]
        _run(*build, *here, str(ROOT))
        (wheel,) = (folder / "dist").glob("*.whl")
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        python = python_of(folder / "venv")
        show = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(_run(str(python), "-c", show).strip())
        # The .pth files of a lent folder are not read, so an editable installation is not lent.
        lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (site / "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
        kernel = folder / "jupyter" / "kernels" / "colab"
        kernel.mkdir(parents=True)
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Colab", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        return cls(folder, wheel, python)

    def cells(self) -> dict[str, str]:
        """The stand-in's own cells."""
        install = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "-q",
                   "--no-index", "--no-deps", "--disable-pip-version-check",
                   str(self.wheel)]  # fmt: skip
        values = {
            "package": PACKAGE,
            "install": install,
            "line": current(ROOT).install_line(),
            "home": str(self.folder / "venv"),
        }
        texts = {"prelude": PRELUDE, "check": CHECK, "reset": RESET}
        return {name: text.format(**values) for name, text in texts.items()}

    def forget(self) -> None:
        """Take the package out again: the next notebook finds a fresh machine."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "uninstall", "-qy"]
        subprocess.run([*command, PACKAGE.replace("_", "-")], capture_output=True)

    def execute(self, notebook, folder: Path, timeout: float = CELL_TIMEOUT) -> str:
        """Run a notebook in `folder`; return the first error as text, or ""."""
        self.forget()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        env.pop("RECSYS_TUTORIAL_RECORD", None)
        client = NotebookClient(
            notebook,
            kernel_name="colab",
            **kernel_limits(timeout),
            allow_errors=True,
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            # Jupyter looks for the kernel's description when the client starts it.
            with mock.patch.dict(os.environ, JUPYTER_PATH=str(self.folder / "jupyter")):
                client.execute(env=env)
        except (CellTimeoutError, DeadKernelError) as error:
            return str(error)
        for cell in notebook.cells:
            expected = "raises-exception" in cell.metadata.get("tags", [])
            for output in cell.get("outputs", []):
                if output.output_type == "error" and not expected:
                    first = cell.source.strip().split("\n")[0]
                    return f"{output.ename}: {output.evalue} (cell starting {first!r})"
        return ""


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(
            f"colab-check: {command[:4]} failed:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return done.stdout


def code(source: str):
    """A code cell."""
    return nbformat.v4.new_code_cell(source)


def replay(stand_in: StandIn, path: Path) -> str:
    """Run one notebook to its end; return what went wrong, or ""."""
    own = stand_in.cells()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [code(own["prelude"]), *notebook.cells, code(own["check"])]
    with tempfile.TemporaryDirectory() as name:
        nbformat.write(nbformat.read(path, as_version=4), Path(name) / path.name)
        return stand_in.execute(notebook, Path(name))


def replay_setups(stand_in: StandIn, paths: list[Path]) -> dict[Path, str]:
    """Run the set-up cell of each notebook, one after the other; return {path: error or ""}."""
    own = stand_in.cells()
    cells, place = [code(own["prelude"])], {}
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        setup = [c for c in notebook.cells if "setup" in c.metadata.get("tags", [])]
        place[path] = range(len(cells), len(cells) + 2 + len(setup))
        sources = [own["reset"], *(c.source for c in setup), own["check"]]
        cells += [code(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with tempfile.TemporaryDirectory() as name:
        broken = stand_in.execute(notebook, Path(name))
    found = {}
    for path, numbers in place.items():
        outputs = [o for n in numbers for o in notebook.cells[n].get("outputs", [])]
        errors = [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"]
        ran = all(notebook.cells[n].get("execution_count") for n in numbers)
        found[path] = errors[0] if errors else "" if ran else broken or "it was not reached"
    return found


def main(argv: list[str] | None = None) -> int:
    """Replay what was asked for, say how each went, return 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", action="store_true", help="the set-up cells alone")
    parser.add_argument("words", nargs="*", help="parts of paths; default: all notebooks")
    options = parser.parse_args(argv)
    paths = find_notebooks(options.words, ROOT, () if options.setup else ("exercises",))
    if not paths:
        print(f"colab-check: no notebook matches {options.words}", file=sys.stderr)
        return 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="colab-") as name:
        stand_in = StandIn.make(Path(name))
        if options.setup:
            results = replay_setups(stand_in, paths).items()
        else:
            results = ((path, replay(stand_in, path)) for path in paths)
        start = time.monotonic()
        for path, error in results:
            failed += bool(error)
            seconds = "" if options.setup else f" {time.monotonic() - start:6.0f} s"
            verdict = f"FAILED: {error}" if error else "ok"
            print(f"{path.relative_to(ROOT)}{seconds}  {verdict}", flush=True)
            start = time.monotonic()
    print(f"colab-check: {len(paths) - failed} of {len(paths)} notebooks run as on Colab")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
