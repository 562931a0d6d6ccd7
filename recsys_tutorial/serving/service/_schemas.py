"""What goes in and out, as the OpenAPI document says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recsys_tutorial.serving.service._artefact_files import NAME

if TYPE_CHECKING:
    from recsys_tutorial.serving.service.engine import Engine

MOST_ITEMS = 100  # of a list
MOST_LIKES = 500  # that come with a question


def _whole(value):
    """JSON knows one kind of number: 5.0 is the whole number 5, "5" and true are none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Bounds that SQLite's and JavaScript's whole numbers can hold.
ItemId = Annotated[int, Field(ge=0, le=2**53 - 1, strict=True), BeforeValidator(_whole)]
UserId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._@:-]{1,64}$", examples=["ann"])]
Version = Annotated[str, Field(pattern=f"^{NAME.pattern}$", examples=["fading-ease"])]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Length = Annotated[int, Field(ge=1, le=MOST_ITEMS, strict=True), BeforeValidator(_whole)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(BaseModel):
    """What is wrong, for programs and for people."""

    code: str
    message: str
    where: str


class ErrorAnswer(BaseModel):
    """Every answer that is no success."""

    error: Error


class RecommendQuestion(_Strict):
    """Who asks, and for how much."""

    user_id: UserId | None = None
    k: Length = 10
    likes: list[ItemId] = Field(
        [], max_length=MOST_LIKES, description="beside those that are stored for the user"
    )
    exclude: list[ItemId] = Field([], max_length=MOST_LIKES, description="not to be shown")


class ListedItem(BaseModel):
    """An item in a list."""

    item_id: int
    title: str
    genres: str
    score: float


class Recommendations(BaseModel):
    """A list, and where it is from."""

    list_id: str | None = Field(description="for feedback on this list; null for nobody's list")
    version: str
    arm: Literal["stable", "candidate"]
    basis: Literal["likes", "popularity"]
    n_likes: int = Field(description="on which the list rests")
    items: list[ListedItem]


class FoundItems(BaseModel):
    """Items, best first, and what they were found by."""

    version: str
    by: Literal["text", "words", "likes"]
    items: list[ListedItem]


class FeedbackMessage(_Strict):
    """What a user says of an item."""

    user_id: UserId
    item_id: ItemId
    value: Literal["like", "unlike", "hide"]
    list_id: Key | None = Field(None, description="the list in which they met it")
    key: Key | None = Field(None, description="the same message sent twice is stored once")


class Stored(BaseModel):
    """It is safe on the disk."""

    id: int
    duplicate: bool


class VersionInfo(BaseModel):
    """A version that is there."""

    name: str
    state: Literal["stable", "previous", "candidate", "idle"]
    kind: str | None = None
    n_items: int | None = None
    about: dict = {}


class Versions(BaseModel):
    """All versions, and who is given which."""

    stable: str
    previous: str | None
    candidate: str | None
    share: float
    versions: list[VersionInfo]


class Activation(_Strict):
    """Which version to put on."""

    version: Version


class Trial(_Strict):
    """Which version to try out, on which share of the users."""

    version: Version
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Compared(BaseModel):
    """Candidate minus stable in liked / shown, over users; null where too few users are."""

    versions: tuple[str, str]
    paired: bool
    n_users: tuple[int, int]
    rates: tuple[float | None, float | None]
    difference: float | None
    low: float | None
    high: float | None


class Health(BaseModel):
    """That the service works."""

    status: Literal["ok"]
    version: str
    items: int


def listed(engine: Engine, columns: np.ndarray, scores: np.ndarray) -> list[ListedItem]:
    """The items of a list, best first, as they are answered."""
    return [
        ListedItem(score=float(score), **engine.record(int(column)))
        for column, score in zip(columns, scores, strict=True)
    ]
