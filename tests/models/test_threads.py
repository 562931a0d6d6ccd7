"""How many cores are used, and that BLAS uses one where blocks run in parallel."""

import os

import threadpoolctl
import torch

from recsys_tutorial.models._threads import one_blas_thread, usable_cores


def test_the_cores_of_this_process_are_used(monkeypatch):
    """Those it may run on, where the system says so; else those of the machine; at least one."""
    allowed = {0: {1, 4, 6}, 1: {0}}  # process 0 is this one
    monkeypatch.setattr(os, "sched_getaffinity", allowed.__getitem__, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def threads():
    """Of BLAS's libraries and of OpenMP's, in this process."""
    found = {"blas": set(), "openmp": set()}
    for library in threadpoolctl.threadpool_info():
        found[library["user_api"]].add(library["num_threads"])
    return found


def test_blas_is_held_to_one_thread_and_nothing_else_is():
    torch.ones(2) @ torch.ones(2)  # brings OpenMP along
    with threadpoolctl.threadpool_limits(2):
        before = threads()
        assert before == {"blas": {2}, "openmp": {2}}
        with one_blas_thread():
            now = threads()
            assert now["blas"] == {1} and 2 in now["openmp"]  # one of which may be BLAS's own
        assert threads() == before
