"""Queries that wait at the same time are answered in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from recsys_tutorial.serving.service.engine import Engine, Query


class MicroBatcher:
    """Collects queries, and hands those of one engine to it together, in a thread.

    A matrix with many rows costs less than as many matrices with one. While one step is at work the
    next queries gather by themselves, so under load batches form without a wait; `wait` adds one.

    Parameters
    ----------
    size : int, queries in a step at most; 1 is no batching
    wait : float, seconds that the first query of a step waits for others
    seen : callable int -> None, told the size of each step

    Raises
    ------
    RuntimeError from `ask` after `close`.
    """

    def __init__(self, size: int, wait: float, seen: Callable[[int], None] = lambda n: None):
        self._size, self._wait, self._seen = size, wait, seen
        self._waiting: asyncio.Queue = asyncio.Queue()
        # One thread: two would share the cores that BLAS takes anyway.
        self._pool = ThreadPoolExecutor(1, "ranker")
        self._task = asyncio.create_task(self._work())

    async def ask(self, engine: Engine, query: Query):
        """The engine's answer to a query: (columns, scores).

        Parameters
        ----------
        engine : Engine
        query : Query

        Returns
        -------
        columns, scores : as of `Engine.recommend`

        Raises
        ------
        RuntimeError after `close`.
        """
        if self._task.done():
            raise RuntimeError("the batcher is closed")
        future = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((engine, query, future))
        return await future

    async def close(self) -> None:
        """Answer what waits, and end."""
        self._waiting.put_nowait(None)
        await self._task
        self._pool.shutdown()

    async def _work(self) -> None:
        going_on = True
        while going_on:
            batch = [await self._waiting.get()]
            if self._wait and self._size > 1:
                await asyncio.sleep(self._wait)
            while len(batch) < self._size and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            going_on = None not in batch
            # Who has given up waiting is not worked for.
            batch = [entry for entry in batch if entry is not None and not entry[2].done()]
            for engine in {id(entry[0]): entry[0] for entry in batch}.values():
                await self._step(engine, [entry for entry in batch if entry[0] is engine])

    async def _step(self, engine: Engine, batch: list) -> None:
        self._seen(len(batch))
        queries = [query for _, query, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._pool, engine.recommend, queries)
        except Exception as error:
            answers = [error] * len(batch)
        for (_, _, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
