"""The service as a process that a notebook starts and talks to."""

import urllib.error
import urllib.request

import pytest

from recsys_tutorial.serving.service import LocalService
from scripts.machine_speed import limit
from tests.serving.service.small import films, write_versions


def test_it_answers_says_what_is_wrong_and_ends(tmp_path):
    write_versions(tmp_path, ["als", "ease"])
    with LocalService(tmp_path, patience=limit(120)) as service:
        assert service.ask("/health") == (200, {"status": "ok", "version": "als", "items": 40})
        item = int(films()["item_id"][3])
        message = {"user_id": "ann", "item_id": item, "value": "like"}
        assert service.ask("/feedback", message)[0] == 201
        status, answer = service.ask("/recommend", {"user_id": "ann", "k": 3})
        assert status == 200 and answer["n_likes"] == 1 and len(answer["items"]) == 3
        status, answer = service.ask("/recommend", {"likes": [1]})
        assert status == 404 and answer["error"]["code"] == "unknown_item"
        trial = {"version": "ease", "share": 0.5}
        assert service.ask("/models/candidate", trial, "PUT")[1]["candidate"] == "ease"
        base = service.base
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(base + "/health", timeout=limit(20))
    service.close()  # again does nothing


def test_what_keeps_it_from_beginning_is_said(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)did not begin.*holds no version of a model"):
        LocalService(tmp_path, patience=limit(120))
