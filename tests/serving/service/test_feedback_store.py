"""What was acknowledged is there; the last word holds; the same message counts once."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from recsys_tutorial.serving.service import FeedbackStore, StoreError
from recsys_tutorial.serving.service.feedback_store import Refused
from scripts.machine_speed import limit


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(tmp_path / "feedback.sqlite3")
    yield store
    store.close()


def said(store, *arguments, **more):
    return store.add(*arguments, **more).result(timeout=limit(60))


def test_the_last_word_on_an_item_holds(store):
    words = [(1, "like"), (2, "like"), (3, "hide"), (1, "unlike"), (3, "like"), (2, "hide")]
    for item, value in words:
        said(store, "ann", item, value)
    said(store, "ben", 9, "like")
    assert store.history("ann") == ([3], [2])
    assert store.history("ben") == ([9], [])
    assert store.history("cleo") == ([], [])
    assert len(store.read("SELECT * FROM feedback")) == 7  # nothing of what was said is lost


def test_old_likes_beyond_the_limit_are_hidden_not_shown_again(store):
    for item in range(5):
        said(store, "ann", item, "like")
    said(store, "ann", 0, "like")  # now the newest
    assert store.history("ann", limit=2) == ([0, 4], [3, 2, 1])


def test_it_is_on_the_disk_before_it_is_acknowledged(store):
    """Asked by another connection at the moment of the acknowledgement, in the writer's thread."""
    seen, done = [], threading.Event()

    def look(future):
        with sqlite3.connect(store.path) as other:
            seen.extend(other.execute("SELECT item_id FROM latest").fetchall())
        done.set()

    store.add("ann", 5, "like").add_done_callback(look)
    assert done.wait(limit(60)) and seen == [(5,)]
    assert store.read("PRAGMA journal_mode") == [("wal",)]
    assert store.read("PRAGMA synchronous") == [(2,)]  # FULL


def test_a_message_sent_again_is_stored_once(store):
    first = said(store, "ann", 5, "like", key="m1")
    again = said(store, "ann", 5, "like", key="m1")
    assert first == (1, False) and again == (1, True)
    assert said(store, "ben", 5, "like", key="m1") == (2, False)  # another user's own key
    with pytest.raises(Refused, match="'m1' was used for like of item 5"):
        said(store, "ann", 6, "like", key="m1")
    assert store.history("ann") == ([5], [])


def test_a_list_that_was_not_shown_is_refused(store):
    store.add_list("l1", "ann", "ease", [5, 6])
    said(store, "ann", 5, "like", list_id="l1")
    for user, item, list_id in (("ben", 5, "l1"), ("ann", 7, "l1"), ("ann", 5, "l2")):
        with pytest.raises(Refused, match=f"no list '{list_id}' with item {item}") as caught:
            said(store, user, item, "like", list_id=list_id)
        assert caught.value.where == "list_id"
    assert len(store.read("SELECT * FROM feedback")) == 1


def test_one_refusal_does_not_undo_the_others_of_its_step(store):
    with store._reader:  # nothing else reads; the writer goes on
        good = [store.add("ann", item, "like") for item in range(50)]
        bad = store.add("ann", 1, "like", list_id="none")
        good += [store.add("ann", item, "like") for item in range(50, 100)]
    for future in good:
        future.result(timeout=limit(60))
    with pytest.raises(Refused):
        bad.result(timeout=limit(60))
    assert len(store.history("ann")[0]) == 100


def test_what_cannot_be_written_is_not_acknowledged(tmp_path):
    store = FeedbackStore(tmp_path / "feedback.sqlite3")
    said(store, "ann", 1, "like")
    store._writing.execute("PRAGMA query_only=ON")  # as a disk that takes nothing any more
    with pytest.raises(StoreError, match=r"feedback\.sqlite3 cannot be written"):
        said(store, "ann", 2, "like")
    store._writing.execute("PRAGMA query_only=OFF")
    assert said(store, "ann", 3, "like")[1] is False  # and goes on when it can
    assert store.history("ann") == ([3, 1], [])
    store.close()


def test_closing_writes_what_waits_and_then_refuses(tmp_path):
    store = FeedbackStore(tmp_path / "feedback.sqlite3")
    futures = [store.add("ann", item, "like") for item in range(300)]
    store.close()
    store.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreError, match="closed"):
        store.add("ann", 1, "like")
    assert not store.works
    again = FeedbackStore(tmp_path / "feedback.sqlite3")
    assert len(again.history("ann")[0]) == 300
    again.close()


def test_a_second_process_is_refused(store):
    code = (
        "import sys; from recsys_tutorial.serving.service.feedback_store import FeedbackStore\n"
        "try: FeedbackStore(sys.argv[1])\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True,
                          text=True, timeout=limit(120))  # fmt: skip
    assert "is open in another process: stop it first" in done.stdout, done.stderr
    said(store, "ann", 1, "like")


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "feedback.sqlite3"
    path.write_bytes(b"a thesis, not a database" * 100)
    with pytest.raises(StoreError, match=r"cannot be read: .*not a database; move it away"):
        FeedbackStore(path)
    assert path.read_bytes().startswith(b"a thesis")
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=7")
    with pytest.raises(StoreError, match="tables have version 7, this package knows 1"):
        FeedbackStore(path)


def test_another_word_is_refused(store):
    with pytest.raises(ValueError, match="value must be one of like, unlike, hide, got 'love'"):
        store.add("ann", 1, "love")
