"""Queries that wait together are answered together, each with its own answer."""

import asyncio
import threading

import pytest

from recsys_tutorial.serving.service.batching import MicroBatcher
from recsys_tutorial.serving.service.engine import Query
from scripts.machine_speed import limit


class Slow:
    """An engine that waits until it is told, and answers each query with its first like."""

    def __init__(self):
        self.go, self.began, self.steps = threading.Event(), threading.Event(), []

    def recommend(self, queries):
        self.steps.append([query.likes[0] for query in queries])
        self.began.set()
        assert self.go.wait(limit(60))
        if -1 in self.steps[-1]:
            raise ValueError("planted")
        return [(query.likes[0], 0.0) for query in queries]


async def gathered(size, numbers, cancel=(), wait=0.0):
    """Ask once, and for the others while that is at work; the answers and the steps."""
    engine, sizes = Slow(), []
    batcher = MicroBatcher(size, wait, sizes.append)
    first = asyncio.create_task(batcher.ask(engine, Query([numbers[0]])))
    await asyncio.to_thread(engine.began.wait, limit(60))
    others = [asyncio.create_task(batcher.ask(engine, Query([n]))) for n in numbers[1:]]
    await asyncio.sleep(0)
    for task in (others[place] for place in cancel):
        task.cancel()
    await asyncio.sleep(0)
    engine.go.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    await batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        await batcher.ask(engine, Query([1]))
    return answers, engine.steps, sizes


def test_what_gathers_while_one_is_at_work_is_one_step():
    answers, steps, sizes = asyncio.run(gathered(8, [1, 2, 3, 4]))
    assert [answer[0] for answer in answers] == [1, 2, 3, 4]
    assert steps == [[1], [2, 3, 4]] and sizes == [1, 3]


def test_a_step_has_no_more_than_its_size():
    answers, steps, _ = asyncio.run(gathered(2, [1, 2, 3, 4, 5, 6]))
    assert [answer[0] for answer in answers] == [1, 2, 3, 4, 5, 6]
    assert steps == [[1], [2, 3], [4, 5], [6]]
    _, steps, _ = asyncio.run(gathered(1, [1, 2, 3]))
    assert steps == [[1], [2], [3]]


def test_who_gave_up_is_not_worked_for():
    answers, steps, _ = asyncio.run(gathered(8, [1, 2, 3], cancel=[0]))
    assert isinstance(answers[1], asyncio.CancelledError)
    assert steps == [[1], [3]]


def test_an_error_reaches_those_of_its_step_and_nobody_else():
    answers, steps, _ = asyncio.run(gathered(2, [1, 2, -1, 4]))
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, True, False]
    assert steps == [[1], [2, -1], [4]]


def test_a_wait_lets_others_come():
    async def two():
        engine = Slow()
        engine.go.set()
        batcher = MicroBatcher(8, 0.2)
        first = asyncio.create_task(batcher.ask(engine, Query([1])))
        await asyncio.sleep(0)
        second = asyncio.create_task(batcher.ask(engine, Query([2])))
        await asyncio.gather(first, second)
        await batcher.close()
        return engine.steps

    assert asyncio.run(two()) == [[1, 2]]


def test_versions_are_not_mixed():
    async def two():
        engines = Slow(), Slow()
        batcher = MicroBatcher(8, 0.1)
        for engine in engines:
            engine.go.set()
        queries = [(engines[n % 2], Query([n])) for n in range(6)]
        tasks = [asyncio.create_task(batcher.ask(*query)) for query in queries]
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        return answers, [engine.steps for engine in engines]

    answers, steps = asyncio.run(two())
    assert [answer[0] for answer in answers] == list(range(6))
    assert steps == [[[0, 2, 4]], [[1, 3, 5]]]
