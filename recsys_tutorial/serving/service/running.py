"""A service at work: its versions, its feedback, and the steps between a request and an answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

from recsys_tutorial.serving.service._schemas import (
    FeedbackMessage,
    ListedItem,
    Recommendations,
    RecommendQuestion,
    Stored,
    listed,
)
from recsys_tutorial.serving.service.artefacts import load_artefact
from recsys_tutorial.serving.service.batching import MicroBatcher
from recsys_tutorial.serving.service.deployment import Deployment
from recsys_tutorial.serving.service.engine import Engine, Query
from recsys_tutorial.serving.service.errors import ServiceError
from recsys_tutorial.serving.service.feedback_store import FeedbackStore, Refused, StoreError
from recsys_tutorial.serving.service.monitoring import Monitor
from recsys_tutorial.serving.service.searching import TextSearch
from recsys_tutorial.serving.service.settings import Settings

FIRST = "fading-ease"  # of those that `make demo` trains, where nothing else was put on yet


class Service:
    """What the endpoints call. `start` before anything else, `stop` at the end.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    store : FeedbackStore
    deployment : Deployment
    monitor : Monitor
    """

    def __init__(self, settings: Settings):
        self.settings, self.monitor = settings, Monitor()

    async def start(self) -> None:
        """Open the feedback, load and check the versions of the plan.

        Raises
        ------
        StoreError, ArtefactError
            When one of them cannot be: the service does not begin.
        """
        settings = self.settings
        self.store = FeedbackStore(settings.database)
        try:
            first = FIRST if (settings.versions / FIRST).is_dir() else None
            self.deployment = await asyncio.to_thread(
                Deployment, settings.versions, settings.deployment, self._load, first
            )
        except BaseException:
            self.store.close()
            raise
        self._batcher = MicroBatcher(
            settings.batch_size, settings.batch_wait, self.monitor.steps.observe
        )

    async def stop(self) -> None:
        """Answer and write what waits, then close."""
        await self._batcher.close()
        await asyncio.to_thread(self.store.close)

    def _load(self, folder: Path) -> Engine:
        artefact = load_artefact(folder)
        engine = Engine(artefact, self.settings.index, TextSearch(artefact))
        # The first users must not wait for what is made at a first call.
        engine.similar(0, 1)
        engine.search.search(artefact.items["title"].iloc[0], 1)
        return engine

    async def recommend(self, question: RecommendQuestion) -> Recommendations:
        """A list for a user: what is stored of them is folded in, and what the question brings.

        Parameters
        ----------
        question : RecommendQuestion

        Returns
        -------
        Recommendations

        Raises
        ------
        ServiceError
            404 for an item that is not in the catalogue.
        """
        user_id = question.user_id
        engine, arm = self.deployment.engine_for(user_id)
        given = self._columns(engine, question.likes, "body.likes")
        hidden = self._columns(engine, question.exclude, "body.exclude")
        stored: list[int] = []
        if user_id is not None:
            likes, unwanted = self.store.history(user_id, self.settings.max_likes)
            stored = [engine.columns[item] for item in likes if item in engine.columns]
            hidden += [engine.columns[item] for item in unwanted if item in engine.columns]
        likes = list(dict.fromkeys([*given, *stored]))
        columns, scores = await self._batcher.ask(engine, Query(likes, hidden, question.k))
        items = listed(engine, columns, scores)
        version, basis = engine.artefact.name, "likes" if likes else "popularity"
        self.monitor.lists.labels(version, arm, basis).inc()
        list_id = self._record(user_id, version, items)
        return Recommendations(
            list_id=list_id, version=version, arm=arm, basis=basis, n_likes=len(likes), items=items
        )

    async def feedback(self, message: FeedbackMessage) -> Stored:
        """Write what a user said; done when it is safe.

        Parameters
        ----------
        message : FeedbackMessage

        Returns
        -------
        Stored

        Raises
        ------
        ServiceError
            404 for an unknown item, 409 for a key or list that contradicts what is stored.
        """
        engine, _ = self.deployment.engine_for(message.user_id)
        self.column(engine, message.item_id, "body.item_id")
        future = self.store.add(
            message.user_id, message.item_id, message.value,
            list_id=message.list_id, key=message.key,
        )  # fmt: skip
        try:
            number, duplicate = await asyncio.wrap_future(future)
        except Refused as refused:
            raise ServiceError(409, "conflict", str(refused), f"body.{refused.where}") from None
        self.monitor.feedback.labels(message.value).inc()
        return Stored(id=number, duplicate=duplicate)

    def column(self, engine: Engine, item_id: int, where: str) -> int:
        """An item's column.

        Parameters
        ----------
        engine : Engine
        item_id : int
        where : str, its place in the request

        Returns
        -------
        int

        Raises
        ------
        ServiceError
            404 when it is not in the catalogue.
        """
        if item_id not in engine.columns:
            message = f"there is no item {item_id} among the {engine.n_items} of the catalogue"
            raise ServiceError(404, "unknown_item", message, where)
        return engine.columns[item_id]

    def _columns(self, engine: Engine, item_ids: Sequence[int], where: str) -> list[int]:
        return [
            self.column(engine, item_id, f"{where}.{place}")
            for place, item_id in enumerate(item_ids)
        ]

    def _record(self, user_id: str | None, version: str, items: list[ListedItem]) -> str | None:
        if user_id is None or not items:
            return None
        list_id = uuid.uuid4().hex
        try:
            self.store.add_list(list_id, user_id, version, [item.item_id for item in items])
        except StoreError:  # the list is good all the same; only the comparison misses it
            self.monitor.lost_lists.inc()
            return None
        return list_id
