"""Reading a request's body: never more of it than its kind may have.

Most requests are a prompt and a few addresses. Only one that carries data URIs may be large, and
whether it does is seen in its first bytes: a body that passes the plain limit without a `data:`
anywhere is refused there, while the rest of it has not been read. What is not inside a data URI
stays under the plain limit all the same: 40 MiB of empty lists would be a gigabyte once parsed.

A large body needs a place first. There are few, because each is held in memory until its request is
answered, and one workspace cannot take them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ketchup.errors import RateLimited, TooLarge, Unavailable
from ketchup.wire.envelope import Message, Receive, Scope

TOO_LARGE: Final = "request body is too large"
TOO_FAST: Final = "rate limit exceeded"
TOO_MANY_AT_ONCE: Final = "too many large requests at once"
_MARK: Final = b'"data:'
# No image is smaller than this: what is shorter counts as plain.
_LEAST_DATA: Final = 64


class Disconnected(Exception):
    """The client went away before its body was complete. There is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The most bytes that a body may have."""

    total: int = 40 * 1024 * 1024
    plain: int = 1024 * 1024
    """Outside of data URIs."""
    large_at_once: int = 16
    """Bodies over the plain limit that may be in memory."""
    large_of_one: int = 4
    """How many of them may be one workspace's."""


class LargeBodies:
    """The places for large bodies. On the event loop only."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._held: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, owner: Hashable) -> Iterator[None]:
        """Hold one place. Raises RateLimited when the owner has enough, Unavailable when all are.

        Nobody waits for a place: a body that is not read would be taken for one that stalls.
        """
        if self._held[owner] >= self._limits.large_of_one:
            raise RateLimited(TOO_FAST, retry_after=1.0)
        if self._held.total() >= self._limits.large_at_once:
            raise Unavailable(TOO_MANY_AT_ONCE, retry_after=1.0)
        self._held[owner] += 1
        try:
            yield
        finally:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]


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


async def read_body(
    receive: Receive, limits: BodyLimits, when_large: Callable[[], object] = lambda: None
) -> bytes:
    """Return the whole body. Raises TooLarge as soon as that is known, and Disconnected.

    `when_large` is called once, before a body grows over the plain limit; it may raise.
    """
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        _check_whole(body, limits)
        return body
    return await _read_stream(receive, limits, bytearray(body), when_large)


async def _read_stream(
    receive: Receive, limits: BodyLimits, body: bytearray, when_large: Callable[[], object]
) -> bytes:
    may_be_large = False
    searched = 0
    while True:
        if len(body) > limits.plain and not may_be_large:
            may_be_large = body.find(_MARK, max(0, searched - len(_MARK))) >= 0
            searched = len(body)
            if may_be_large:
                when_large()
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
    if len(body) > limits.total or (len(body) > limits.plain and _plain(body) > limits.plain):
        raise TooLarge(TOO_LARGE)


def _plain(body: bytes | bytearray) -> int:
    """Return how many bytes are not inside of data URIs."""
    plain, start = len(body), body.find(_MARK)
    while start >= 0:
        end = body.find(b'"', start + len(_MARK))
        if end < 0:
            end = len(body)  # no JSON: who reads it next will say so
        if end - start >= _LEAST_DATA:
            plain -= end - start
        start = body.find(_MARK, end)
    return plain
