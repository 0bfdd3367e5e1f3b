"""Reading a request's body: never more of it than its kind may have.

Most requests are a prompt and a few addresses. Only one that carries data URIs may be large, and
whether it does is seen in its first bytes: a body that passes the plain limit without a `data:`
anywhere is refused there, while the rest of it has not been read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ketchup.errors import TooLarge
from ketchup.wire.envelope import Message, Receive, Scope

TOO_LARGE: Final = "request body is too large"
_MARK: Final = b'"data:'


class Disconnected(Exception):
    """The client went away before its body was complete. There is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The most bytes that a body may have."""

    total: int = 40 * 1024 * 1024
    plain: int = 1024 * 1024
    """Without data URIs."""


def refuse_by_length(scope: Scope, limits: BodyLimits) -> None:
    """Refuse what says itself that it is too large, before anything else is looked at."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # The server has checked that it is a number. More digits than these are no body, and
            # Python would refuse to read thousands of them.
            digits = value.lstrip(b"0")
            if len(digits) > len(str(limits.total)) or int(digits or b"0") > limits.total:
                raise TooLarge(TOO_LARGE)
            return


async def read_body(receive: Receive, limits: BodyLimits) -> bytes:
    """Return the whole body. Raises TooLarge as soon as that is known, and Disconnected."""
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        _check_whole(body, limits)
        return body
    return await _read_stream(receive, limits, bytearray(body))


async def _read_stream(receive: Receive, limits: BodyLimits, body: bytearray) -> bytes:
    may_be_large = False
    searched = 0
    while True:
        if len(body) > limits.plain and not may_be_large:
            may_be_large = body.find(_MARK, max(0, searched - len(_MARK))) >= 0
            searched = len(body)
        if len(body) > limits.total or (len(body) > limits.plain and not may_be_large):
            raise TooLarge(TOO_LARGE)
        message = await _next(receive)
        body += message.get("body", b"")
        if not message.get("more_body"):
            _check_whole(body, limits)
            return bytes(body)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message


def _check_whole(body: bytes | bytearray, limits: BodyLimits) -> None:
    limit = limits.total if _MARK in body else limits.plain
    if len(body) > limit:
        raise TooLarge(TOO_LARGE)
