"""The container file: built from the wheel, no root user, nothing written but the state."""

import json
import re
from pathlib import Path

from recsys_tutorial.serving.service import in_candidate
from recsys_tutorial.serving.service.__main__ import parse, settings_of
from tests.serving.service.small import ROOT, ask, films, serving, write_versions

TEXT = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", "")
STAGE = TEXT.rpartition("\nFROM ")[2].splitlines()


def instruction(name):
    """The arguments of the last stage's only line of this name."""
    (line,) = (line for line in STAGE if line.startswith(f"{name} "))
    return line.removeprefix(f"{name} ")


def test_it_is_made_of_the_wheel_and_the_pins():
    copied = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M)
    assert copied == ["dist/recsys_tutorial-*.whl constraints.txt /wheel/"]
    assert "-c constraints.txt" in TEXT and "[serve]" in TEXT
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split("\n*\n")[1].split()
    assert ignored == ["!dist/*.whl", "!constraints.txt"]


def test_it_runs_as_nobody_s_user_and_is_told_where_to_write():
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instruction("USER"))
    after = STAGE[STAGE.index(f"USER {instruction('USER')}") :]
    assert not [line for line in after if line.startswith(("RUN", "COPY", "ADD", "USER root"))]
    command = json.loads(instruction("ENTRYPOINT"))
    assert command[1:3] == ["-m", "recsys_tutorial.serving.service"]
    settings = settings_of(parse(command[3:]))
    assert settings.database == Path("/state/feedback.sqlite3")
    assert settings.deployment == Path("/state/deployment.json")
    assert instruction("VOLUME") == "/state"
    # Who comes from outside of the container comes from no address of its own machine.
    assert settings.hosts == ("127.0.0.1", "localhost", "::1", "0.0.0.0")


def test_a_server_writes_nothing_but_its_state(tmp_path):
    folder, state = tmp_path / "artefacts", tmp_path / "state"
    write_versions(folder)

    def there():
        return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}

    before = there()
    with serving(folder, "--state", str(state)) as (_, base):
        ask(base, "/models/candidate", {"version": "ease", "share": 0.5}, "PUT")
        message = {"user_id": "ann", "item_id": int(films()["item_id"][0]), "value": "like"}
        assert ask(base, "/feedback", message)[0] == 201
        answer = ask(base, "/recommend", {"user_id": "ann"})[1]
        assert answer["version"] == ("ease" if in_candidate("ann", 0.5, "ease") else "als")
    assert there() == before
    names = {path.name.partition("-")[0] for path in state.iterdir()}
    assert names == {"feedback.sqlite3", "feedback.sqlite3.lock", "deployment.json"}
