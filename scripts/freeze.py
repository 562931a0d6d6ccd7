"""Write constraints.txt and environment.yml from the environment that runs this script.

constraints.txt holds the exact version of every distribution installed, whoever asked for it, so
that an installation under ``pip install -c constraints.txt`` repeats. environment.yml holds the
same versions for conda and Binder, of the distributions that pyproject.toml names.

Run it in the environment that the stored outputs were made with, after all extras are installed:

    .venv/bin/pip install -e ".[dev,book,bench]" && .venv/bin/python scripts/freeze.py
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole  # noqa: E402

# pip and its like belong to the environment, not to the course; the project is what we install.
LEFT_OUT = {"pip", "setuptools", "wheel", "recsys-tutorial"}
# On Binder a reader runs notebooks and builds the site; peers for benchmarks are not needed.
ENVIRONMENT_EXTRAS = ("dev", "book")

CONSTRAINTS_HEADER = """\
# The exact versions that the stored outputs were made with. Written by scripts/freeze.py.
# Use: pip install -c constraints.txt -e ".[dev,book]"
"""

ENVIRONMENT_HEADER = """\
# For conda and Binder. Written by scripts/freeze.py: the versions are those of constraints.txt.
name: recsys-tutorial
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
      # The CPU builds of torch: an eighth of the size, and what Binder can run.
      - --extra-index-url=https://download.pytorch.org/whl/cpu
      - --constraint=constraints.txt
"""


def installed_versions() -> dict[str, str]:
    """Return {canonical name: version} of this environment, local suffixes such as +cpu removed."""
    versions = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name not in LEFT_OUT:
            versions[name] = distribution.version.split("+")[0]
    return dict(sorted(versions.items()))


def constraints_text(versions: dict[str, str]) -> str:
    """Return the text of constraints.txt."""
    return CONSTRAINTS_HEADER + "".join(f"{name}=={v}\n" for name, v in sorted(versions.items()))


def read_constraints(text: str) -> dict[str, str]:
    """Return {canonical name: version} from the text of a constraints file."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version for name, version in pairs}


def requested_names(pyproject: dict, extras: tuple[str, ...] = ENVIRONMENT_EXTRAS) -> list[str]:
    """Return the canonical names that the project and these extras require, sorted."""
    project = pyproject["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    return sorted({canonicalize_name(Requirement(r).name) for r in requirements})


def environment_text(pyproject: dict, versions: dict[str, str]) -> str:
    """Return the text of environment.yml; KeyError names a requirement that is not installed."""
    pins = [f"      - {name}=={versions[name]}\n" for name in requested_names(pyproject)]
    return ENVIRONMENT_HEADER + "".join(pins) + "      - --editable=.\n"


def main() -> int:
    """Write both files."""
    versions = installed_versions()
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        environment = environment_text(pyproject, versions)
    except KeyError as error:
        print(f"not installed here, so its version is unknown: {error.args[0]}", file=sys.stderr)
        return 1
    texts = {"constraints.txt": constraints_text(versions), "environment.yml": environment}
    for name, text in texts.items():
        with whole(ROOT / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"constraints.txt: {len(versions)} versions; environment.yml written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
