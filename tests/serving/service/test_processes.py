"""Real servers: killed under load, changed under load, told to end while somebody is asking."""

import json
import os
import signal
import socket
import threading
from collections import Counter
from urllib.parse import urlsplit

import pytest

from recsys_tutorial.serving.service import FeedbackStore
from scripts.machine_speed import limit
from tests.serving.service.small import ask, films, serving, write_versions

IDS = films()["item_id"].tolist()
N_CLIENTS = 4

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")


def in_threads(work):
    """Start N_CLIENTS threads of work(number, stop, log); return (end them, their logs)."""
    stop, logs = threading.Event(), [[] for _ in range(N_CLIENTS)]
    arguments = ((number, stop, log) for number, log in enumerate(logs))
    threads = [threading.Thread(target=work, args=args, daemon=True) for args in arguments]
    for thread in threads:
        thread.start()

    def end():
        stop.set()
        for thread in threads:
            thread.join(limit(120))
            assert not thread.is_alive()
        return [entry for log in logs for entry in log]

    return end, logs


def wait_for(logs, n):
    """Until each of the clients has been answered so often."""
    tick = threading.Event()
    for _ in range(limit(120) * 20):
        if all(len(log) >= n for log in logs):
            return
        tick.wait(0.05)
    raise AssertionError(f"too slow: {[len(log) for log in logs]} answers")


def test_nothing_acknowledged_is_lost_by_kill_9_under_load(tmp_path):
    write_versions(tmp_path)
    with serving(tmp_path) as (process, base):

        def like(number, stop, log):
            turn = 0
            while not stop.is_set():
                message = {"user_id": f"u{number}-{turn}", "item_id": IDS[turn % len(IDS)],
                           "value": "like"}  # fmt: skip
                try:
                    status, answer = ask(base, "/feedback", message)
                except OSError:  # the connection went with the process: not acknowledged
                    return
                assert status == 201 and answer["duplicate"] is False
                log.append((message["user_id"], message["item_id"]))
                turn += 1

        end, logs = in_threads(like)
        wait_for(logs, 20)
        process.send_signal(signal.SIGKILL)
        process.wait(limit(60))
        acknowledged = end()
    assert len(acknowledged) >= 20 * N_CLIENTS
    with serving(tmp_path) as (_, base):
        user, item = acknowledged[-1]
        _, answer = ask(base, "/recommend", {"user_id": user})
        assert answer["n_likes"] == 1 and item not in [one["item_id"] for one in answer["items"]]
    store = FeedbackStore(tmp_path / "feedback.sqlite3")
    stored = set(store.read("SELECT user_id, item_id FROM feedback"))
    store.close()
    assert set(acknowledged) <= stored
    # what was written and not yet acknowledged may be there: at most one message of each client
    assert len(stored) <= len(acknowledged) + N_CLIENTS


def test_versions_change_under_load_without_a_failed_request_and_it_ends_gracefully(tmp_path):
    write_versions(tmp_path, ["als", "ease", "ease-users"])
    with serving(tmp_path) as (process, base):

        def recommend(number, stop, log):
            while not stop.is_set():
                status, answer = ask(base, "/recommend", {"user_id": f"u{number}", "k": 3})
                log.append((status, answer.get("version"), len(answer.get("items", []))))

        end, logs = in_threads(recommend)
        for turn in range(6):
            wait_for(logs, 5 * (turn + 1))
            version = ("ease", "ease-users", "als")[turn % 3]
            status, state = ask(base, "/models/activate", {"version": version})
            assert status == 200 and state["stable"] == version
            if turn == 2:
                assert ask(base, "/models/rollback", method="POST")[1]["stable"] == "ease-users"
        wait_for(logs, 40)
        answers = end()
        assert {(status, n) for status, _, n in answers} == {(200, 3)}
        versions = Counter(version for _, version, _ in answers)
        assert set(versions) == {"als", "ease", "ease-users"}
        assert_graceful(process, base)


def assert_graceful(process, base):
    """A request that has half arrived when the server is told to end is answered all the same."""
    place = urlsplit(base)
    body = json.dumps({"user_id": "late", "item_id": IDS[0], "value": "like"}).encode()
    head = f"POST /feedback HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=limit(60)) as late:
        late.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:9])
        while in_work(base) < 2:  # this one, and the question itself
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGTERM)
        wait_until_refused(place)
        late.sendall(body[9:])
        answer = late.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 201") and '"duplicate":false' in answer
    assert process.wait(limit(60)) == 0
    assert "ended: all answered, all written" in process.stdout.read()


def in_work(base):
    import urllib.request

    with urllib.request.urlopen(base + "/metrics", timeout=limit(60)) as answer:
        text = answer.read().decode()
    (line,) = (line for line in text.splitlines() if line.startswith("recsys_requests_in_work "))
    return float(line.split()[1])


def wait_until_refused(place):
    """Until the server takes nobody new."""
    tick = threading.Event()
    for _ in range(limit(60) * 20):
        try:
            socket.create_connection((place.hostname, place.port), timeout=limit(60)).close()
        except OSError:
            return
        tick.wait(0.05)
    raise AssertionError("the server still takes new connections")


def test_a_damaged_version_is_not_served(tmp_path):
    write_versions(tmp_path, ["ease"])
    path = tmp_path / "versions" / "ease" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    message = r"model\.safetensors has \d+ bytes, not \d+"
    with pytest.raises(AssertionError, match=message), serving(tmp_path):
        pass
