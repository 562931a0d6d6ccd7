"""A catalogue so small that a service of it starts at once, its versions, and a server process."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.models import EASE, ImplicitALS, Popularity
from recsys_tutorial.serving.service import Artefact, save_artefact
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[3]
N_ITEMS = 40
WORDS = ("robot", "ocean", "castle", "desert")


def likes(n_users=200, seed=0):
    """Four tastes of ten items each, and some noise: csr (n_users, N_ITEMS)."""
    rng = np.random.default_rng(seed)
    chance = np.where(np.arange(N_ITEMS) % 4 == np.arange(n_users)[:, None] % 4, 0.6, 0.05)
    return sparse.csr_matrix((rng.random((n_users, N_ITEMS)) < chance).astype(float))


def films():
    """Item ids that are no columns, so that a mix-up shows."""
    ids = 100 + 7 * np.arange(N_ITEMS)
    titles = [f"The {WORDS[i % 4]} number {i} (1999)" for i in range(N_ITEMS)]
    return pd.DataFrame({"item_id": ids, "title": titles, "genres": "Drama|Comedy"})


ALS = {"factors": 8, "reg": 1.0, "alpha": 5.0}


def versions():
    """{name: Artefact} of each kind, EASE both ways."""
    few, many = likes(20), likes(200)
    counts = Popularity().fit(many).item_counts_

    def of(name, model, **settings):
        return Artefact(name, model, films(), counts, settings, about={"n": 200})

    return {
        "ease": of("ease", EASE(20.0).fit(many), reg=20.0),
        "ease-users": of("ease-users", EASE(20.0).fit(few), reg=20.0),
        "als": of("als", ImplicitALS(**ALS).fit(many), **ALS),
        "popularity": of("popularity", Popularity().fit(many)),
    }


def write_versions(folder, names=("als", "ease")):
    """Write some of them; return {name: Artefact}."""
    made = {name: versions()[name] for name in names}
    for artefact in made.values():
        save_artefact(folder / "versions", artefact)
    return made


@contextlib.contextmanager
def serving(folder, *options, token="secret"):
    """A server process of its own at a free port: (process, address)."""
    command = [sys.executable, "-m", "recsys_tutorial.serving.service", "serve", str(folder)]
    env = {**os.environ, "RECSYS_SERVICE_TOKEN": token, "PYTHONPATH": str(ROOT)}
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--port", "0", "--rate", "1e6", "--burst", "1000000", *options],
        cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    too_long = threading.Timer(limit(120), process.kill)  # readline has no limit of its own
    too_long.start()
    try:
        lines = []
        while not (found := re.search(r"serving at (\S+)", lines[-1] if lines else "")):
            lines.append(process.stdout.readline())
            assert lines[-1], "the server did not begin:\n" + "".join(lines)
        too_long.cancel()
        yield process, found[1]
    finally:
        too_long.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def ask(base, path, body=None, method=None, token="secret"):
    """(status, answer) of one request."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=limit(60)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
