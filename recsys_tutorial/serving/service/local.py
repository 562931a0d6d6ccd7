"""The service as a process of its own on this machine, for a notebook or a test to talk to."""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import recsys_tutorial

_PATIENT = ("--rate", "1e6", "--burst", "1000000", "--timeout", "120")


class LocalService:
    """`python -m recsys_tutorial.serving.service serve` at a free port; ends with `close`.

    Its limits are wide, so that a busy machine answers late rather than not at all. Use it in a
    ``with``, or call `close`; if nobody does, it ends with this process.

    Parameters
    ----------
    folder : path, with the versions' folders in `versions`
    *options : str, more of the command line, such as "--index", "int8"
    patience : float, seconds that a start or an answer may take

    Attributes
    ----------
    base : str, "http://127.0.0.1:..."

    Raises
    ------
    RuntimeError
        When it does not begin; the message is the service's own.
    """

    def __init__(self, folder: str | os.PathLike, *options: str, patience: float = 120.0):
        self._patience = patience
        home = str(Path(recsys_tutorial.__file__).parents[1])
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "recsys_tutorial.serving.service", "serve", str(folder)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", *_PATIENT, *options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        atexit.register(self.close)
        too_long = threading.Timer(patience, self._process.kill)  # reading has no limit of its own
        too_long.start()
        said: list[str] = []
        try:
            while not (found := re.search(r"serving at (\S+)", said[-1] if said else "")):
                said.append(self._process.stdout.readline())
                if not said[-1]:
                    self.close()
                    raise RuntimeError("the service did not begin:\n" + "".join(said))
        finally:
            too_long.cancel()
        self.base = found[1]

    def ask(self, path: str, body: object = None, method: str | None = None) -> tuple[int, dict]:
        """One request.

        Parameters
        ----------
        path : str, such as "/recommend"
        body : what JSON can hold; None for a request without one
        method : str; GET without a body and POST with one, by default

        Returns
        -------
        status : int
        answer : dict
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._patience) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def close(self) -> None:
        """End it: what it has begun to answer is answered; again does nothing."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> LocalService:
        return self

    def __exit__(self, *error) -> None:
        self.close()
