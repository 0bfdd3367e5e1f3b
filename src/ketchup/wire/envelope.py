"""The envelope: every answer is a JSON object with an integer `code` and a string `message`.

Here alone an error becomes a status and a body. The bodies are CONTRACT §2 and §3 to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from ketchup.errors import (
    Conflict,
    Forbidden,
    Gone,
    InsufficientFunds,
    InvalidRequest,
    KetchupError,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

CONTENT_TYPE: Final = (b"content-type", b"application/json; charset=utf-8")
INTERNAL_ERROR: Final = b'{"code":1,"message":"internal server error"}'
NOT_FOUND: Final = b'{"code":1,"message":"not found"}'
METHOD_NOT_ALLOWED: Final = b'{"code":1,"message":"method not allowed"}'


class Failure(msgspec.Struct, frozen=True):
    """Every error. `detail` says what is wrong where `message` is only `failed`."""

    code: int
    message: str
    detail: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between endpoints and settings in how an error is written."""

    # 1 where a task is created and 401 everywhere else: as published.
    unauthenticated_code: int
    insufficient_credits_status: int = 402


def error_reply(error: KetchupError, dialect: Dialect) -> Reply:
    """Write an error as the contract has it."""
    match error:
        case Unauthenticated():
            return _reply(401, Failure(dialect.unauthenticated_code, "Invalid API key"))
        case NotFound():
            return _reply(404, Failure(1, str(error)))
        case RateLimited() | Unavailable():
            seconds = max(1, math.ceil(error.retry_after))
            again = (b"retry-after", b"%d" % seconds)
            if isinstance(error, RateLimited):
                return _reply(429, _detailed(error), (again, *error.headers))
            return _reply(503, _detailed(error), (again,))
        case _:
            return _reply(_status(error, dialect), _detailed(error))


async def respond(send: Send, reply: Reply, request_id: str) -> None:
    """Send the answer with its request id."""
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                CONTENT_TYPE,
                (b"content-length", b"%d" % len(reply.body)),
                (b"x-request-id", request_id.encode()),
                *reply.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": reply.body})


def refusal(status: int, detail: str, methods: Iterable[bytes]) -> Reply:
    """Answer a request that no surface has seen; `methods` are those that one could know."""
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return not_allowed(method.decode() for method in methods)
    return _reply(status, Failure(1, "failed", detail))


def not_allowed(methods: Iterable[str]) -> Reply:
    """Answer 405 with what is allowed."""
    return Reply(405, METHOD_NOT_ALLOWED, ((b"allow", ", ".join(methods).encode()),))


def _detailed(error: KetchupError) -> Failure:
    return Failure(1, "failed", str(error))


def _status(error: KetchupError, dialect: Dialect) -> int:
    if isinstance(error, InsufficientFunds):
        return dialect.insufficient_credits_status
    return next(status for kind, status in _STATUS.items() if isinstance(error, kind))


def _reply(status: int, failure: Failure, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    return Reply(status, _ENCODER.encode(failure), headers)


_ENCODER: Final = msgspec.json.Encoder()
_STATUS: Final[dict[type[KetchupError], int]] = {
    InvalidRequest: 400,
    Forbidden: 403,
    Gone: 410,
    Conflict: 409,
    TooLarge: 413,
}
