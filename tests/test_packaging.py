"""The wheel carries code and data: installed alone, away from the checkout, it loads both."""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]

PROBE = """
import importlib.metadata, json, sys
import recsys_tutorial
from recsys_tutorial import datasets, leaderboard, models

movielens = datasets.load_movielens()
clipart = datasets.load_clipart()
print(json.dumps({
    "package": recsys_tutorial.__file__,
    "data": str(datasets.data_dir()),
    "ratings": len(movielens.ratings),
    "films": len(movielens.items),
    "pictures": [str(p) for p in clipart.paths()[:3]],
    "modules": [m.__file__ for n, m in sys.modules.items() if n.startswith("recsys_tutorial")],
    "version": importlib.metadata.version("recsys-tutorial"),
    "path": sys.path,
}))
"""


def run(*command, **options):
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=limit(300),
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel made from the checkout, and the one made from the source distribution."""
    direct, through_sdist = tmp_path_factory.mktemp("direct"), tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "build", "--no-isolation"]  # hatchling is here: no network
    run(*build, "--wheel", "--outdir", direct, ROOT)
    run(*build, "--outdir", through_sdist, ROOT)
    (wheel,), (second,) = direct.glob("*.whl"), through_sdist.glob("*.whl")
    return wheel, second


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).digest() for name in archive.namelist()}


def test_the_wheel_from_the_source_distribution_is_the_same(built):
    wheel, second = built
    assert contents(wheel) == contents(second)


def test_the_wheel_holds_the_package_its_data_and_licences_and_nothing_else(built):
    names = set(contents(built[0]))
    tops = {name.split("/")[0] for name in names}
    assert tops == {"recsys_tutorial", "recsys_tutorial-0.1.0.dist-info"}
    data = [name for name in names if name.startswith("recsys_tutorial/_data/")]
    for name in ("ratings.csv", "movies.csv", "README.md", "LICENSE"):
        assert any(n.startswith(f"recsys_tutorial/_data/movielens-small/{name}") for n in data), (
            name
        )
    for name in ("leaderboard.csv", "leaderboard_users.csv"):
        assert f"recsys_tutorial/_data/{name}" in data
    # The scripts that made the data stay in the repository.
    assert [n for n in data if n.endswith(".py") or "/." in n] == []
    assert "recsys_tutorial-0.1.0.dist-info/licenses/LICENSE" in names
    assert "recsys_tutorial-0.1.0.dist-info/licenses/LICENSE-PROSE" in names
    code = {p.relative_to(ROOT).as_posix() for p in (ROOT / "recsys_tutorial").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code
    # Installed by every reader on Colab, over and over.
    assert built[0].stat().st_size < 21e6


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The interpreter of a clean environment that holds the wheel; its requirements come from here.

    Installing those anew would take gigabytes, so a .pth file lends this environment's. The .pth
    files of a lent folder are not read: this environment's editable installation is not lent.
    """
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps",
        "--disable-pip-version-check", built[0])  # fmt: skip
    paths = json.loads(
        run(python, "-c", "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))")
    )
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(paths["purelib"], "lent.pth").write_text("\n".join(sorted(lent)))
    return python


def test_the_installed_wheel_loads_its_data_from_another_folder(installed, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    found = json.loads(run(installed, "-c", PROBE, cwd=tmp_path, env=env).splitlines()[-1])
    home = installed.parents[1]
    assert found["ratings"] == 100_004
    assert found["films"] == 9_066
    assert found["pictures"]
    for place in (found["package"], found["data"], *found["pictures"], *found["modules"]):
        assert Path(place).is_relative_to(home), place
        assert Path(place).exists()
    assert str(ROOT) not in found["path"]
    assert found["version"] == "0.1.0"
