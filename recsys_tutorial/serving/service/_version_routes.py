"""Which version is on, which is tried out, how the two compare; for whoever runs the service."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import math
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from recsys_tutorial.serving.service._routes import REFUSALS, Served
from recsys_tutorial.serving.service._schemas import (
    Activation,
    Compared,
    ErrorAnswer,
    Trial,
    VersionInfo,
    Versions,
)
from recsys_tutorial.serving.service.artefacts import ArtefactError
from recsys_tutorial.serving.service.comparison import compare_arms
from recsys_tutorial.serving.service.errors import ServiceError
from recsys_tutorial.serving.service.running import Service

_THIS_MACHINE = ("127.0.0.1", "::1")


def may_change(request: Request, service: Served) -> None:
    """Refuse who may not change versions.

    Parameters
    ----------
    request : Request
    service : Service

    Raises
    ------
    ServiceError
        403
    """
    token = service.settings.admin_token
    if token is None:
        allowed = request.client is not None and request.client.host in _THIS_MACHINE
        message = "versions are changed from this machine alone, as long as there is no token"
    else:
        given = request.headers.get("authorization", "").encode()
        allowed = hmac.compare_digest(given, f"Bearer {token}".encode())
        message = "bring the token: Authorization: Bearer ..."
    if not allowed:
        raise ServiceError(403, "forbidden", message, "header.authorization")


_REFUSALS = REFUSALS | {
    403: {"model": ErrorAnswer, "description": "Not for you"},
    404: {"model": ErrorAnswer, "description": "No such version"},
    409: {"model": ErrorAnswer, "description": "The version is damaged, or there is no way back"},
}
versions = APIRouter(prefix="/models", responses=REFUSALS, tags=["versions"])
_CHANGE = {"dependencies": [Depends(may_change)], "responses": _REFUSALS}


@versions.get("")
async def list_versions(service: Served) -> Versions:
    """The versions that there are, and who is given which."""
    return _state(service)


@versions.post("/activate", **_CHANGE)
async def activate(change: Activation, service: Served) -> Versions:
    """Load and check a version and put it on; requests in work end with the one before."""
    return await _change(service, "body.version", service.deployment.activate, change.version)


@versions.post("/rollback", **_CHANGE)
async def roll_back(service: Served) -> Versions:
    """Put the version back on that was on before."""
    if service.deployment.plan.previous is None:
        raise ServiceError(409, "no_way_back", "no version was on before this one")
    return await _change(service, "", service.deployment.roll_back)


@versions.put("/candidate", **_CHANGE)
async def try_out(trial: Trial, service: Served) -> Versions:
    """Give a version to a share of the users, always the same ones."""
    arguments = (trial.version, trial.share)
    return await _change(service, "body.version", service.deployment.try_out, *arguments)


@versions.delete("/candidate", **_CHANGE)
async def end_trial(service: Served) -> Versions:
    """Give everybody the version that is on."""
    return await _change(service, "", service.deployment.try_out, None)


@versions.get("/comparison", responses=_REFUSALS)
async def comparison(
    service: Served,
    paired: Annotated[bool, Query(description="only users who met both")] = False,
) -> Compared:
    """The candidate against the version that is on: liked / shown, with its 95 % interval.

    Without a candidate it is the version that is on against the one before.
    """
    plan = service.deployment.plan
    a, b = (plan.candidate, plan.stable) if plan.candidate else (plan.stable, plan.previous)
    if b is None:
        raise ServiceError(409, "nothing_to_compare", "there is one version: try another one out")
    found = await asyncio.to_thread(compare_arms, service.store, a, b, paired=paired)
    return Compared(**{name: _finite(value) for name, value in dataclasses.asdict(found).items()})


async def _change(service: Service, where: str, change, *arguments) -> Versions:
    """One change of the plan, in a thread: loading takes a while, and others want answers."""
    try:
        await asyncio.to_thread(change, *arguments)
    except KeyError as error:
        raise ServiceError(404, "unknown_version", error.args[0], where) from None
    except ArtefactError as error:
        raise ServiceError(409, "damaged", f"nothing was changed: {error}", where) from None
    except ValueError as error:
        raise ServiceError(409, "conflict", str(error), where) from None
    service.monitor.changes.inc()
    return _state(service)


def _state(service: Service) -> Versions:
    plan, infos = service.deployment.plan, []
    states = {plan.previous: "previous", plan.candidate: "candidate", plan.stable: "stable"}
    for name in service.deployment.names():
        engine = service.deployment.loaded.get(name)
        details = {}
        if engine is not None:
            artefact = engine.artefact
            details = {"kind": artefact.kind, "n_items": engine.n_items, "about": artefact.about}
        infos.append(VersionInfo(name=name, state=states.get(name, "idle"), **details))
    return Versions(**dataclasses.asdict(plan), versions=infos)


def _finite(value):
    """None for what JSON has no number for."""
    if isinstance(value, tuple):
        return tuple(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
