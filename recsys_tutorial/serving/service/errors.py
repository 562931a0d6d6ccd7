"""What a client is told when something is wrong: what and where, and never what is inside."""

from __future__ import annotations

import json
import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recsys_tutorial.serving.service.feedback_store import StoreError

logger = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ServiceError(Exception):
    """An answer other than success.

    Parameters
    ----------
    status : int, of HTTP
    code : str, for programs
    message : str, for people: what is wrong, and what would be right
    where : str, the place in the request, such as "body.item_id"
    headers : dict or None
    """

    def __init__(
        self, status: int, code: str, message: str, where: str = "", headers: dict | None = None
    ):
        super().__init__(message)
        self.status, self.code, self.message, self.where = status, code, message, where
        self.headers = headers or {}

    def body(self) -> dict:
        """What is sent: {"error": {"code", "message", "where"}}."""
        return {"error": {"code": self.code, "message": self.message, "where": self.where}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def install(app: FastAPI) -> None:
    """Give every error of an application the one form.

    Parameters
    ----------
    app : FastAPI
    """
    app.add_exception_handler(ServiceError, lambda request, error: error.response())
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StoreError, _not_stored)
    app.add_exception_handler(Exception, _unexpected)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """The first thing that is wrong, in words, with its place."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        where, message = "body", f"no JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    else:
        message = first["msg"]
        if "input" in first and not isinstance(first["input"], dict | list):
            message += f", got {json.dumps(first['input'], default=str)[:80]}"
    return ServiceError(422, first["type"], message, where).response()


def _http(request: Request, error: HTTPException) -> JSONResponse:
    code = _CODES.get(error.status_code, "refused")
    message = f"{error.detail}: {request.method} {request.url.path[:80]}"
    return ServiceError(
        error.status_code, code, message, "path", dict(error.headers or {})
    ).response()


def _not_stored(request: Request, error: StoreError) -> JSONResponse:
    logger.error("%s", error)
    message = "it could not be stored, and nothing was acknowledged: send it again later"
    return ServiceError(503, "not_stored", message, headers={"Retry-After": "1"}).response()


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Of an error of the service itself a client learns a number, under which the log has it."""
    number = uuid.uuid4().hex[:12]
    logger.error("internal error %s at %s %s", number, request.method, request.url.path,
                 exc_info=error)  # fmt: skip
    message = f"an error of the service, in its log as {number}"
    return ServiceError(500, "internal", message).response()
