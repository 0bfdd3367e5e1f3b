"""Errors on the wire: RFC 9457 problem documents for `/admin` and `/v1`, the envelope elsewhere.

This is the one place of this package where a kind of error gets a status. Promises: no 422; no text
of an unexpected exception; no value that the caller sent comes back, only the names of fields.

The `type` is always `about:blank`: the status says the kind, and no page describes it further.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ketchup import errors, telemetry

PROBLEM_JSON: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store"}

log = telemetry.logger(__name__)


class FieldProblem(BaseModel):
    """What is wrong with one field of the request."""

    param: str = Field(description="The field, with dots and indexes for what is inside it.")
    reason: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(description="Always `about:blank`: the status says the kind.")
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    instance: str | None = Field(default=None, description="Names the request, as the log does.")
    errors: list[FieldProblem] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """An error on its way out."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[FieldProblem] = ()


_SCHEMAS: Final = "#/components/schemas/"
_CONTENT: Final = {PROBLEM_JSON: {"schema": {"$ref": _SCHEMAS + "Problem"}}}

_RETRY_AFTER: Final = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 1},
}

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "The request was not accepted.", "content": _CONTENT},
    "5XX": {"description": "The request may be fine, but was not served.", "content": _CONTENT},
}
"""The responses that every route can give. They name what `schemas` returns."""


def documented(said: Mapping[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    """Return the responses that a route names besides `DOCUMENTED`, each with what it says."""
    return {status.value: _documented(status, text) for status, text in said.items()}


def _documented(status: HTTPStatus, text: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": text, "content": _CONTENT}
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        response["headers"] = {"Retry-After": _RETRY_AFTER}
    return response


def schemas() -> dict[str, Any]:
    """Return the schemas of a problem: FastAPI adds those of plain JSON answers only."""
    problem = Problem.model_json_schema(ref_template=_SCHEMAS + "{model}")
    return {"Problem": problem, **problem.pop("$defs")}


def install(app: FastAPI) -> None:
    """Let this module answer for everything that goes wrong in the application."""
    for kind in (errors.KetchupError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(_LastResort)


def request_id_of(scope: Scope) -> str | None:
    """Return the id that the server gave the request; None where no server stands in front."""
    request_id = scope.get("state", {}).get("request_id")
    return None if request_id is None else str(request_id)


def fault_of(error: errors.KetchupError) -> Fault:
    """Say how a fact is told to a caller."""
    status = next(s for kind, s in _STATUS.items() if isinstance(error, kind))
    return Fault(status, str(error), _headers(error))


def respond(scope: Scope, fault: Fault) -> Response:
    """Write the fault in the form that belongs to the path."""
    if has_problems(scope["path"]):
        body, media = _problem(scope, fault), PROBLEM_JSON
        headers = {**NO_STORE, **fault.headers}
    else:
        body, media = _envelope(fault), "application/json; charset=utf-8"
        headers = dict(fault.headers)
    # ASCII only: a field may be called anything.
    content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, fault.status, headers, media_type=media)


def has_problems(path: str) -> bool:
    """Whether the path belongs to `/admin` or `/v1`, known there or not."""
    return path in {"/admin", "/v1"} or path.startswith(("/admin/", "/v1/"))


# The kinds of `ketchup.errors`, and their base for one that is added there and forgotten here.
_STATUS: Final[dict[type[errors.KetchupError], HTTPStatus]] = {
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.InsufficientFunds: HTTPStatus.PAYMENT_REQUIRED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Gone: HTTPStatus.GONE,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.KetchupError: HTTPStatus.BAD_REQUEST,
}
_NOT_JSON: Final = "the request body is not valid JSON"
_NOT_AN_OBJECT: Final = (
    "the request body must be a JSON object, with Content-Type: application/json"
)
_MAX_FIELDS: Final = 20
_MAX_PARAM: Final = 100
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _headers(error: errors.KetchupError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case errors.RateLimited() | errors.Unavailable():
            again = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            limits = error.headers if isinstance(error, errors.RateLimited) else ()
            return again | {name.decode(): value.decode() for name, value in limits}
        case _:
            return {}


def _problem(scope: Scope, fault: Fault) -> dict[str, object]:
    request_id = request_id_of(scope)
    problem = Problem(
        type="about:blank",
        title=fault.status.phrase,
        status=fault.status,
        detail=fault.detail,
        instance=None if request_id is None else f"urn:ketchup:request:{request_id}",
        errors=list(fault.fields) or None,
    )
    return problem.model_dump(exclude_none=True)


def _envelope(fault: Fault) -> dict[str, object]:
    match fault.status:
        case (
            HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED | HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            return {"code": 1, "message": fault.detail}
        case _:
            return {"code": 1, "message": "failed", "detail": fault.detail}


async def _answer(request: Request, error: Exception) -> Response:
    """Answer for an error that has its place: a fact, a bad body, or what the framework found."""
    match error:
        case errors.KetchupError():
            fault = fault_of(error)
        case RequestValidationError():
            fault = _fault_of_validation(error.errors())
        case HTTPException():
            fault = _fault_of_http(request, error)
        case _:
            raise error
    return respond(request.scope, fault)


def _fault_of_http(request: Request, error: HTTPException) -> Fault:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return Fault(HTTPStatus.NOT_FOUND, "not found")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allow = {"Allow": ", ".join(_allowed(request))}
            return Fault(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", allow)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Fault(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request body is too large")
        case _:
            # Invalid UTF-8, nesting without end, a number of ten thousand digits.
            return Fault(HTTPStatus.BAD_REQUEST, _NOT_JSON)


def _allowed(request: Request) -> list[str]:
    """Return every method of the path: the framework names those of its first route only."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]


def _fault_of_validation(found: Sequence[Mapping[str, Any]]) -> Fault:
    first = found[0]
    if first["type"] == "json_invalid":
        return Fault(HTTPStatus.BAD_REQUEST, _NOT_JSON)
    if tuple(first["loc"]) == ("body",):
        return Fault(HTTPStatus.BAD_REQUEST, _NOT_AN_OBJECT)
    fields = [_field_problem(error) for error in found[:_MAX_FIELDS]]
    detail = f"{fields[0].param}: {fields[0].reason}"
    return Fault(HTTPStatus.BAD_REQUEST, detail, fields=fields)


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    where = error["loc"][1:] if error["loc"][0] in {"body", "query"} else error["loc"]
    return FieldProblem(param=".".join(map(str, where))[:_MAX_PARAM], reason=_reason(error))


def _reason(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not a known field"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"]).replace("Input should", "should", 1)


class _LastResort:
    """Answers 500 for what nobody foresaw, and logs it; the caller learns nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # Half an answer cannot be taken back: the server then closes the connection.
            if started or scope["type"] != "http":
                raise
            log.exception("request failed", path=scope["path"], request_id=request_id_of(scope))
            fault = Fault(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
            await respond(scope, fault)(scope, receive, send)
