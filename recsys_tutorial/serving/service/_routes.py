"""What everybody may ask: lists, similar items, a search; and what they may say."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from recsys_tutorial.serving.service import pages
from recsys_tutorial.serving.service._schemas import (
    MOST_ITEMS,
    ErrorAnswer,
    FeedbackMessage,
    FoundItems,
    Health,
    Recommendations,
    RecommendQuestion,
    Stored,
    listed,
)
from recsys_tutorial.serving.service.errors import ServiceError
from recsys_tutorial.serving.service.running import Service

# What the limits answer on any path, and what is wrong with a request.
REFUSALS = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The body cannot be read",
        408: "The body came too slowly",
        413: "The body is too long",
        421: "Not a name of this service",
        422: "What is wrong, and where",
        429: "Too many requests",
        503: "Busy, or too slow: try again later",
    }.items()
}
UNKNOWN = {404: {"model": ErrorAnswer, "description": "No such item"}}
CONFLICT = {409: {"model": ErrorAnswer, "description": "It contradicts what is stored"}}
EXAMPLES = [
    "curl -s {base}/recommend -H 'Content-Type: application/json' -d '{{\"user_id\": \"ann\"}}'",
    "curl -s {base}/feedback -H 'Content-Type: application/json' "
    '-d \'{{"user_id": "ann", "item_id": 260, "value": "like"}}\'',
    "curl -s '{base}/search?q=robots+that+feel&k=5'",
    "curl -s '{base}/similar/1?k=5'",
]

public = APIRouter(responses=REFUSALS, tags=["recommendations"])
people = APIRouter(include_in_schema=False)


def service_of(request: Request) -> Service:
    """The service behind a request.

    Parameters
    ----------
    request : Request

    Returns
    -------
    Service
    """
    return request.app.state.service


Served = Annotated[Service, Depends(service_of)]
Length = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="items of the list")]
ItemPath = Annotated[int, Path(ge=0, le=2**53 - 1)]
Words = Annotated[str, Query(min_length=1, max_length=200, description="what the film is about")]


@public.post("/recommend", responses=UNKNOWN)
async def recommend(question: RecommendQuestion, service: Served) -> Recommendations:
    """The best items for a user: what they like is folded in, with no training in between."""
    return await service.recommend(question)


@public.post("/feedback", status_code=201, responses=UNKNOWN | CONFLICT)
async def feedback(message: FeedbackMessage, service: Served) -> Stored:
    """Say that a user likes an item, takes that back, or never wants to see it again.

    An answer of 201 means that it is safe on the disk.
    """
    return await service.feedback(message)


@public.get("/search")
async def search(service: Served, q: Words, k: Length = 10) -> FoundItems:
    """The items whose text is nearest to some words."""
    engine, _ = service.deployment.engine_for(None)
    columns, scores = await asyncio.to_thread(engine.search.search, q, k)
    items = listed(engine, columns, scores)
    return FoundItems(version=engine.artefact.name, by=engine.search.by, items=items)


@public.get("/similar/{item_id}", responses=UNKNOWN)
async def similar(
    item_id: ItemPath, service: Served, k: Length = 10, by: Literal["likes", "text"] = "likes"
) -> FoundItems:
    """What is like an item: liked by those who like it, or near to it in its text."""
    engine, _ = service.deployment.engine_for(None)
    column = service.column(engine, item_id, "path.item_id")
    find = engine.similar if by == "likes" else engine.search.similar
    columns, scores = await asyncio.to_thread(find, column, k)
    by = by if by == "likes" else engine.search.by
    return FoundItems(version=engine.artefact.name, by=by, items=listed(engine, columns, scores))


@public.get("/health")
async def health(service: Served) -> Health:
    """Whether the service can answer and store."""
    if not service.store.works:
        raise ServiceError(503, "not_storing", "feedback cannot be stored")
    engine, _ = service.deployment.engine_for(None)
    return Health(status="ok", version=engine.artefact.name, items=engine.n_items)


@people.get("/metrics")
async def metrics(service: Served) -> Response:
    """For Prometheus."""
    return Response(service.monitor.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@people.get("/", response_class=HTMLResponse)
async def home(request: Request) -> HTMLResponse:
    """Where to begin."""
    base = str(request.base_url).rstrip("/")
    examples = [line.format(base=base) for line in EXAMPLES]
    return HTMLResponse(pages.home(examples), headers=pages.HEADERS)


@people.get("/docs", response_class=HTMLResponse)
async def documentation(request: Request) -> HTMLResponse:
    """The endpoints, for people."""
    return HTMLResponse(pages.documentation(request.app.openapi()), headers=pages.HEADERS)
