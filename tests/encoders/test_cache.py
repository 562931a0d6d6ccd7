"""The cache of vectors: a dictionary on disk that processes share, and what may befall its files.

What encoders do with it is in test_base.
"""

import errno
import hashlib
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.encoders import _cache as embedding_cache
from recsys_tutorial.encoders._cache import EmbeddingCache, content_key
from scripts.machine_speed import limit
from tests.encoders import cache_script

ROOT = Path(__file__).parents[2]


def keys_of(numbers):
    return np.array([content_key(b"%d" % number) for number in numbers], "S16")


def store(folder, *numbers):
    """Store a vector for each number, and return the cache."""
    cache = EmbeddingCache(folder, 2)
    cache.store(keys_of(numbers), np.array([[n, -n] for n in numbers], np.float32))
    return cache


def known(folder, numbers):
    """The numbers whose vectors are known; they must be right."""
    vectors, there = EmbeddingCache(folder, 2).lookup(keys_of(numbers))
    found = np.array(list(numbers))[there]
    np.testing.assert_array_equal(vectors[there], np.stack([found, -found], 1))
    assert not vectors[~there].any()
    return found.tolist()


@pytest.fixture
def merge_often(monkeypatch):
    monkeypatch.setattr(embedding_cache, "_MANY_SHARDS", 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=25), st.integers(0, 30))
def test_the_cache_is_a_dictionary(tmp_path_factory, writes, asked):
    folder, stored = tmp_path_factory.mktemp("cache"), set()
    for write in writes:
        store(folder, *write)
        stored.update(write)
    assert set(known(folder, [asked, *stored])) == stored
    for number in {asked, *stored}:
        assert known(folder, [number]) == [number] * (number in stored)


def test_a_key_is_the_hash_of_its_parts_one_by_one():
    """Keys name what lies in caches: computed in another way they would find none of it."""
    part = (3).to_bytes(8, "little") + b"abc"
    for key, text in (((b"text",), b"text"), ((b"file", b"abc"), b"file" + part)):
        assert content_key(*key) == hashlib.blake2b(text, digest_size=16).digest()
    assert content_key(b"a", b"bc") != content_key(b"a", b"b", b"c")


def test_keys_that_end_in_zero_bytes_are_kept_apart(tmp_path):
    cache = EmbeddingCache(tmp_path, 1)
    keys = np.array([b"a" * 15 + b"\0", b"a" * 15 + b"b", b"a" * 14 + b"\0\0"], "S16")
    cache.store(keys, np.arange(3, dtype=np.float32)[:, None])
    vectors, there = cache.lookup(keys[::-1])
    assert there.all() and vectors[:, 0].tolist() == [2, 1, 0]


def test_a_lookup_makes_no_folder_and_storing_nothing_neither(tmp_path):
    assert known(tmp_path / "cache", [1, 2]) == []
    store(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_many_small_files_become_few(tmp_path):
    n_files = []
    for number in range(100):
        store(tmp_path, number)
        n_files.append(len(list(tmp_path.glob("*.npz"))))
    assert max(n_files) == embedding_cache._MANY_SHARDS
    assert known(tmp_path, range(101)) == list(range(100))


def test_a_folder_of_the_previous_format_is_read_and_merged(tmp_path, merge_often):
    """Files were named by their keys; now a name is never used twice."""
    for number in range(4):
        keys, vectors = keys_of([number]), np.array([[number, -number]], np.float32)
        name = content_key(keys.tobytes()).hex()
        np.savez(tmp_path / f"{name}.npz", keys=keys, vectors=vectors)
    assert known(tmp_path, range(5)) == [0, 1, 2, 3]
    store(tmp_path, 4)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert known(tmp_path, range(6)) == [0, 1, 2, 3, 4]


def test_a_file_is_read_once_and_none_when_all_is_known(tmp_path, monkeypatch):
    for number in range(4):
        store(tmp_path, number)
    read, paths = EmbeddingCache._read_shard, []
    monkeypatch.setattr(
        EmbeddingCache, "_read_shard", lambda self, path: (paths.append(path), read(self, path))[1]
    )
    assert known(tmp_path, [9]) == [] and len(paths) == 4
    paths.clear()
    first = sorted(tmp_path.glob("*.npz"))[0]
    numbers = [n for n in range(4) if keys_of([n])[0] in np.load(first)["keys"]]
    (tmp_path / ".lock").unlink()  # of the search above
    assert known(tmp_path, numbers) == numbers and paths == [first]
    assert not (tmp_path / ".lock").exists()  # who finds everything waits for nobody


# --- several processes


def start(folder, worker, seconds, output):
    command = [sys.executable, Path(cache_script.__file__), folder, worker, seconds]
    return subprocess.Popen(
        list(map(str, command)), stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rounds(path):
    """How many vectors a process says that it has stored: whole lines only."""
    return path.read_text().count("\n")


def assert_kept(folder, worker, n):
    assert n >= 2 * cache_script.SHARED  # it did something
    keys = np.array([cache_script.key(worker, number) for number in range(n)], "S16")
    vectors, there = EmbeddingCache(folder, cache_script.DIM).lookup(keys)
    assert there.all(), f"of worker {worker}, {np.flatnonzero(~there)} are lost"
    np.testing.assert_array_equal(vectors, np.concatenate(list(map(cache_script.vector, range(n)))))


def test_processes_may_write_at_once(tmp_path):
    folder, outputs = tmp_path / "cache", [tmp_path / f"{worker}.txt" for worker in range(4)]
    processes = []
    for worker, path in enumerate(outputs):
        with path.open("w") as output:
            processes.append(start(folder, worker, 4, output))
    errors = [process.communicate(timeout=limit(300))[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(errors)
    assert errors == [""] * 4  # no warning either
    for worker, path in enumerate(outputs):
        assert_kept(folder, worker, rounds(path))
    assert not list(folder.glob("*.tmp"))
    # A merge that finds another at work leaves it to the next: some files more than `_MANY_SHARDS`.
    assert len(list(folder.glob("*.npz"))) < 20 < sum(map(rounds, outputs))


def test_a_killed_process_takes_nothing_with_it(tmp_path, merge_often):
    folder, outputs = tmp_path / "cache", [tmp_path / f"{worker}.txt" for worker in range(3)]
    processes = []
    for worker, path in enumerate(outputs):
        with path.open("w") as output:
            processes.append(start(folder, worker, 300, output))
    deadline = time.monotonic() + 200
    try:
        while min(map(rounds, outputs)) < 3 * cache_script.SHARED and time.monotonic() < deadline:
            assert [process.poll() for process in processes] == [None] * 3
            time.sleep(0.05)
    finally:
        for process in processes:  # each in the midst of something
            process.kill()
            process.communicate()
    for worker, path in enumerate(outputs):
        assert_kept(folder, worker, rounds(path))
    # The lock of the dead is free, and what they left half written goes in time.
    halves = [*folder.glob("*.tmp"), folder / "half.tmp"]
    halves[-1].write_bytes(b"half a file")
    for path in halves:
        os.utime(path, (0, 0))
    (folder / "new.tmp").write_bytes(b"of a process at work")
    for name, hours in (("today.tmp", 23), ("yesterday.tmp", 25)):
        (folder / name).write_bytes(b"half a file")
        os.utime(folder / name, (time.time() - 3600 * hours,) * 2)
    cache = EmbeddingCache(folder, cache_script.DIM)
    for number in range(6):
        cache.store(keys_of([number]), cache_script.vector(number))
    assert len(list(folder.glob("*.npz"))) <= 2
    assert sorted(path.name for path in folder.glob("*.tmp")) == ["new.tmp", "today.tmp"]
    for worker, path in enumerate(outputs):
        assert_kept(folder, worker, rounds(path))


def test_all_files_merged_away_while_a_merge_begins(tmp_path, merge_often, monkeypatch):
    """Where locks fail to keep others off, there is nothing to merge, and that is no error."""
    cache = store(tmp_path, 1)
    listed = [tmp_path / "gone.npz", tmp_path / "gone too.npz"]
    monkeypatch.setattr(cache, "_shards", lambda: listed)
    cache._merge()
    monkeypatch.undo()
    assert known(tmp_path, [1, 2]) == [1]


def test_a_merge_between_listing_and_reading_hides_nothing(tmp_path, monkeypatch):
    for number in range(3):
        store(tmp_path, number)
    cache, calls = EmbeddingCache(tmp_path, 2), []
    listing = EmbeddingCache._shards

    def shards(self):
        calls.append(listing(self))
        if len(calls) == 1:
            EmbeddingCache(tmp_path, 2)._merge()  # calls this once more
        return calls[0] if len(calls) == 2 else listing(self)

    monkeypatch.setattr(EmbeddingCache, "_shards", shards)
    _, there = cache.lookup(keys_of(range(3)))
    assert len(calls) == 3 and len(calls[0]) == 3 and len(calls[2]) == 1
    assert there.all()


def test_what_a_merge_moved_is_found_beside_what_was_known(tmp_path, monkeypatch):
    cache = store(tmp_path, 1)
    lists = [list(tmp_path.glob("*.npz"))]
    store(tmp_path, 2)
    lists.append(sorted(tmp_path.glob("*.npz")))
    monkeypatch.setattr(cache, "_shards", lambda: lists.pop(0))
    assert cache.lookup(keys_of([1, 2]))[1].all()


def test_a_lock_that_another_holds_stops_neither_reading_nor_writing(
    tmp_path, merge_often, monkeypatch
):
    monkeypatch.setattr(embedding_cache, "_PATIENCE", 0.05)
    store(tmp_path, 0)
    with FileLock(tmp_path / ".lock"), warnings.catch_warnings():
        warnings.simplefilter("error")
        held = EmbeddingCache(tmp_path, 2)
        with held._lock(0.05) as locked:
            assert not locked
        for number in range(1, 6):
            store(tmp_path, number)
        assert known(tmp_path, range(7)) == list(range(6))
    assert len(list(tmp_path.glob("*.npz"))) == 6  # not merged
    store(tmp_path, 6)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert known(tmp_path, range(8)) == list(range(7))


# --- disks


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError("flock")])
def test_a_drive_without_locks_costs_only_the_merging(tmp_path, merge_often, monkeypatch, error):
    def acquire(*args, **kwargs):
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    for number in range(6):
        store(tmp_path, number)
    assert known(tmp_path, range(7)) == list(range(6))
    assert len(list(tmp_path.glob("*.npz"))) == 6


def test_a_read_only_folder_is_read_and_writing_is_a_warning(tmp_path, monkeypatch):
    store(tmp_path, 1)
    (tmp_path / "damaged.npz").write_bytes(b"damaged")

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(np, "savez", refuse)
    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match="vectors are not kept in .*: .*Read-only file system"):
        store(tmp_path, 2)
    assert known(tmp_path, [1, 2]) == [1]


def test_a_full_disk_is_a_warning_and_leaves_no_half_file(tmp_path, merge_often, monkeypatch):
    store(tmp_path, 1)
    store(tmp_path, 2)
    save, full = np.savez, OSError(errno.ENOSPC, "No space left on device")

    def savez(file, keys, vectors):
        if len(keys) > room:
            file.write(b"half a fi")
            raise full
        save(file, keys=keys, vectors=vectors)

    monkeypatch.setattr(np, "savez", savez)
    room = 0
    with pytest.warns(UserWarning, match="vectors are not kept in .*: .*No space left"):
        store(tmp_path, 3)
    room = 1  # enough for the new vector, not for one file of all
    with pytest.warns(UserWarning, match="the files in .* are not merged: .*No space left"):
        store(tmp_path, 4)
    assert known(tmp_path, range(1, 6)) == [1, 2, 4]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_file_that_cannot_be_read_today_is_left_for_tomorrow(tmp_path, monkeypatch):
    """Another user's file, too many open ones, a drive that is away: no reason to remove it."""
    store(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *args: (_ for _ in ()).throw(PermissionError("closed")))
        assert known(tmp_path, [1]) == []
    assert known(tmp_path, [1]) == [1]


def test_no_single_wrong_bit_gives_a_wrong_vector_or_an_error(tmp_path):
    store(tmp_path, 1, 2)
    (path,) = tmp_path.glob("*.npz")
    data, lost = path.read_bytes(), 0
    bits = range(0, 8 * len(data), 3)  # of every byte some
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        lost += known(tmp_path, [1, 2]) == []  # `known` compares the vectors
    # Times and attributes in the archive's directory are not looked at; all else is.
    assert lost > 0.7 * len(bits)
    path.write_bytes(data)
    assert known(tmp_path, [1, 2]) == [1, 2]


@pytest.mark.parametrize(
    "keys, shape",
    [([b"k" * 16], (2, 2)), ([b"k" * 16], (1, 3)), ([b"k" * 8], (1, 2)), ([7], (1, 2))],
    ids=["two vectors", "longer vectors", "shorter keys", "numbers as keys"],
)
def test_a_file_of_another_form_is_removed(tmp_path, keys, shape):
    store(tmp_path, 1)
    other = tmp_path / "0.npz"
    np.savez(other, keys=np.array(keys), vectors=np.zeros(shape, np.float32))
    assert known(tmp_path, [1, 2]) == [1] and not other.exists()


def test_a_file_without_vectors_hinders_nothing(tmp_path):
    store(tmp_path, 1)
    np.savez(tmp_path / "0.npz", keys=np.array([], "S16"), vectors=np.zeros((0, 2), np.float32))
    assert known(tmp_path, [1, 2]) == [1]


def test_a_damaged_file_is_removed_and_does_not_hinder_a_merge(tmp_path, merge_often):
    for number in range(2):
        store(tmp_path, number)
    assert known(tmp_path, range(3)) == [0, 1]
    damaged = sorted(tmp_path.glob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    store(tmp_path, 2)
    assert not damaged.exists() and len(list(tmp_path.glob("*.npz"))) == 1
    assert known(tmp_path, [2]) == [2] and len(known(tmp_path, range(3))) == 2
