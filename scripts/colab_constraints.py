"""Turn Colab's published lists into what a test needs to stand in for Colab.

    python3 scripts/colab_constraints.py constraints pip-freeze.txt > colab.txt
    python3 scripts/colab_constraints.py python os-info.txt            # prints, say, 3.13

Colab publishes what its machines have preinstalled: github.com/googlecolab/backend-info. If pip can
install the package under these versions, an installation on Colab replaces none of them.

Standard library only.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

# The tools that run the test are not what is tested: the versions of pyproject.toml serve.
TOOLS = {
    "build", "iniconfig", "ipykernel", "ipython", "jupyter-client", "jupyter-core", "nbclient",
    "nbformat", "pip", "pluggy", "psutil", "pygments", "pytest", "pyzmq", "setuptools", "tornado",
    "traitlets", "wheel",
}  # fmt: skip


def constraints(freeze: str) -> list[str]:
    """Return "name==version" for each line of a `pip freeze`, local builds as their release."""
    found = {}
    for line in freeze.splitlines():
        exact = re.fullmatch(r"([\w.-]+)==([^\s;+]+)(?:\+\S+)?", line.strip())
        # torch @ https://host/torch-2.11.0%2Bcu128-cp313-cp313-linux_x86_64.whl#sha256=...
        wheel = re.match(r"([\w.-]+) @ \S*/[\w.]+-(\d[^-/]*)-[^/]*\.whl", line.strip())
        if exact or wheel:
            name, version = (exact or wheel).groups()
            name = re.sub(r"[-_.]+", "-", name).lower()
            if name not in TOOLS:
                found[name] = unquote(version).split("+")[0]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def python_version(os_info: str) -> str:
    """Return "3.13" from the text that names the system and its Python."""
    found = re.search(r"^Python (3\.\d+)\.\d+", os_info, re.M)
    if not found:
        raise ValueError(f"no line like 'Python 3.13.1' in {os_info!r}")
    return found[1]


def main(argv: list[str]) -> int:
    """Print what was asked for."""
    if len(argv) != 2 or argv[0] not in ("constraints", "python"):
        print(__doc__, file=sys.stderr)
        return 2
    text = Path(argv[1]).read_text(encoding="utf-8")
    print("\n".join(constraints(text)) if argv[0] == "constraints" else python_version(text))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
