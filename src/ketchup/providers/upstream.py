"""One exchange with an engine across the network: bounded in time, in bytes and in trust.

The operator chose the address, so it is not judged as callers' are (see `egress`). What comes back
is suspected all the same: it may be endless, no HTTP, no JSON, no image, or an image that nobody
can hold.

What a failure says about the charge decides what may be done next:

    nothing was sent (no connection, no place in the pool)    Unavailable
    it was sent, and what came back is no whole answer        AnswerLost, TimedOut for the deadline
    a whole answer with an error status                       `refusal_of` and the engine's own map

A request is sent once. Another try is the queue's matter, which knows what it may cost. Each has a
connection of its own: on one that is used again, an answer that comes twice would be taken for the
next request's, which is somebody else's picture; and a request that meets the farewell of an idle
connection would have an outcome that nobody knows.

Our key is taken out of everything that an upstream says, before any of it is told.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    Misconfigured,
    NotServed,
    ProviderError,
    RateLimited,
    Refused,
    TimedOut,
    Unavailable,
)
from ketchup.providers.headers import NotAnImage, read_header
from ketchup.providers.memory import MEBIBYTE, share_of_this_task

T = TypeVar("T")
D = TypeVar("D", str, bytes)

LONGEST_PAUSE: Final = 3600.0
_TOLD: Final = 300
_OK: Final = 200
_NO_KEY: Final = 401
_MASK: Final = "***"
# Bytes or characters of a picture that are read without a thread of their own.
_AT_ONCE: Final = 256 * 1024
# Characters of base64, a multiple of four.
_PIECE: Final = MEBIBYTE
# Characters of a key: fewer are no secret, and would be found in every text.
_TOLD_APART: Final = 5
# As many are in no picture's base64 by chance.
_UNLIKELY: Final = 12
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)
_NEVER_SENT: Final = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of everything one exchange may take. Times are in seconds."""

    deadline: float = 240.0
    """For all of it, from the connection to the last byte."""
    connect: float = 10.0
    answer_bytes: int = 64 * MEBIBYTE
    pixels: int = 40_000_000
    """Of one picture; the largest that an engine sells have 17 million."""
    connections: int = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: httpx2.Headers
    body: bytes

    def told(self) -> str:
        """Return the beginning of what it says, for the operator's log."""
        return f"{self.status}: {self.body[:_TOLD].decode('utf-8', 'replace')}"

    def read(self, shape: type[T]) -> T:
        """Read the body as JSON of a shape. Raises AnswerLost."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AnswerLost(f"the answer makes no sense ({error}); {self.told()}") from error

    def error(self, shape: type[T]) -> T | None:
        """Read the body of a failure as JSON of a shape; None when it is something else."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class Upstream:
    """The way to one engine: one address, with the same headers always, and `key` among them.

    Redirects are not followed, for they would carry the key elsewhere. Proxies are used when they
    are given, and never because of an environment variable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        key: str,
        bounds: Bounds | None = None,
        proxy: str | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._client = httpx2.AsyncClient(
            headers={**headers, "Accept-Encoding": "identity", "Connection": "close"},
            timeout=httpx2.Timeout(None, connect=self.bounds.connect, pool=self.bounds.connect),
            limits=httpx2.Limits(max_connections=self.bounds.connections),
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
        )

    async def post(
        self, path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and return the whole answer. Raises a ProviderError."""
        request = self._client.build_request(
            "POST",
            self._base_url + path,
            content=body,
            headers={"Content-Type": content_type, **(headers or {})},
        )
        try:
            async with asyncio.timeout(self.bounds.deadline) as deadline:
                return await self._exchange(request, deadline)
        except TimeoutError as error:
            raise TimedOut(f"no whole answer within {self.bounds.deadline} s") from error
        except _NOT_SENT as error:
            raise Unavailable(f"not reached: {self._told(error)}") from error
        except _NEVER_SENT as error:
            raise Misconfigured(f"the request cannot be sent: {self._told(error)}") from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise AnswerLost(f"the answer broke off: {self._told(error)}") from error

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        await self._client.aclose()

    async def _exchange(self, request: httpx2.Request, deadline: asyncio.Timeout) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            most, share = _announced(response, self.bounds.answer_bytes), share_of_this_task()
            await share.take(most, deadline)
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > most:
                    raise AnswerLost(f"the answer has more than {most} bytes")
            share.give(most - len(data))
            return self._discreet(response, bytes(data))
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            # The head came whole, and what it asks for holds.
            told = f"{response.status_code}, and the answer broke off: {error!r}"
            raise AnswerLost(told, retry_after=_bounded(None, response.headers)) from error
        finally:
            await response.aclose()

    def _told(self, error: Exception) -> str:
        # Whatever it failed at may stand in it: a header of ours, or an answer that is no HTTP.
        return _masked(repr(error), self._key)[:_TOLD]

    def _discreet(self, response: httpx2.Response, body: bytes) -> Answer:
        # Not from a picture: a short key can stand in its base64 by chance.
        if response.status_code != _OK or len(self._key) >= _UNLIKELY:
            # As bytes: a body without the key is then not copied, and few have it.
            for form in _forms(self._key):
                body = body.replace(form.encode(), _MASK.encode())
        fields = [(name, _masked(value, self._key)) for name, value in response.headers.items()]
        return Answer(response.status_code, httpx2.Headers(fields), body)


def _announced(response: httpx2.Response, most: int) -> int:
    """Return how many bytes the answer says that it has; as many as it may, if it does not."""
    told = response.headers.get("content-length", "")
    return min(int(told), most) if re.fullmatch(r"\d{1,15}", told, re.ASCII) else most


def _masked(text: str, key: str) -> str:
    for form in _forms(key):
        text = text.replace(form, _MASK)
    return text


def _forms(key: str) -> set[str]:
    """Return how a key can be written; of one that is no secret, nothing."""
    return {key, quote(key, safe="")} if len(key) >= _TOLD_APART else set()


def failure_of(answer: Answer, message: str, retry_after: float | None = None) -> ProviderError:
    """Say what an error status means, where the engine's own words do not say more.

    502 and 504 come from something in between that has not waited: the engine may have rendered.
    """
    match answer.status:
        case 429:
            return RateLimited(message, retry_after=_bounded(retry_after, answer.headers))
        case 401 | 403 | 404 | 405:
            # Without a key nothing works. The others may be of one model or path alone: what they
            # say of the whole channel, the breaker finds out.
            kind = Misconfigured if answer.status == _NO_KEY else NotServed
            return kind(message)
        case status if 300 <= status < 400:  # noqa: PLR2004 redirects
            return Misconfigured(f"a redirect to {answer.headers.get('location')!r}: {message}")
        case 408 | 502 | 504:
            return AnswerLost(message)
        case status if status >= 500:  # noqa: PLR2004 the upstream's own faults
            return Unavailable(message)
        case _:
            return Refused("The model does not accept this request.", detail=message)


async def read_picture(
    read: Callable[[D, Bounds], GeneratedImage], data: D, bounds: Bounds
) -> GeneratedImage:
    """Call `picture_of` or `checked`, in a thread for what takes its time. Raises AnswerLost."""
    if len(data) <= _AT_ONCE:
        return read(data, bounds)
    return await asyncio.to_thread(read, data, bounds)


def picture_of(text: str, bounds: Bounds) -> GeneratedImage:
    """Read a picture in base64, in either alphabet. Raises AnswerLost."""
    # By length, before anything is decoded.
    if len(text) // 4 * 3 > bounds.answer_bytes:
        raise AnswerLost(f"a picture of {len(text)} characters")
    try:
        data = b"".join(_decoded(text))
    except (binascii.Error, ValueError) as error:
        raise AnswerLost(f"a picture in broken base64: {error}") from error
    return checked(data, bounds)


def _decoded(text: str) -> Iterator[bytes]:
    """Decode piece by piece: nothing else runs while one is decoded, in whatever thread."""
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        if "=" in piece and start + _PIECE < len(text):
            raise ValueError("it goes on behind its end")
        padded = piece + "=" * (-len(piece) % 4)
        yield base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


def checked(data: bytes, bounds: Bounds) -> GeneratedImage:
    """Return a picture that its header lets pass. Raises AnswerLost."""
    try:
        header = read_header(data)
    except NotAnImage as error:
        raise AnswerLost(f"not a picture: {error}") from error
    if not 0 < header.width * header.height <= bounds.pixels:
        raise AnswerLost(f"a picture of {header.width} x {header.height} pixels")
    return GeneratedImage(data, header.format, header.width, header.height)


async def all_of(call: Callable[[int], Coroutine[Any, Any, T]], count: int) -> list[T]:
    """Wait for every one of a task's calls, and raise what says most about them.

    None is given up because another failed: it would be charged all the same. A call that rendered
    nothing says so for itself alone; when others may have rendered, the answer as a whole is lost.
    """
    works = [call(index) for index in range(count)]
    results = await asyncio.gather(*works, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if not errors:
        return [result for result in results if not isinstance(result, BaseException)]
    # What only says that its own call was free must not hide another one that was charged.
    worst = min([e for e in errors if not isinstance(e, _FREE)] or errors, key=_rank)
    if isinstance(worst, _FREE) and len(errors) < count:
        told = f"{len(errors)} of {count} calls brought nothing: {worst}"
        raise AnswerLost(told, retry_after=_pause(errors)) from worst
    raise worst


def _pause(errors: Sequence[BaseException]) -> float | None:
    asked = [e.retry_after for e in errors if isinstance(e, RateLimited)]
    return max((pause for pause in asked if pause is not None), default=None)


# What proves that its own call was not charged.
_FREE: Final = (Misconfigured, RateLimited, Unavailable)
_RANKS: Final = (Misconfigured, Refused, RateLimited, AnswerLost, Unavailable)


def _rank(error: BaseException) -> int:
    # What is no ProviderError is a bug, and comes first.
    return next((rank for rank, kind in enumerate(_RANKS) if isinstance(error, kind)), -1)


def _bounded(seconds: float | None, headers: httpx2.Headers) -> float | None:
    """Return the pause that was asked for, in seconds (RFC 9110, section 10.2.3)."""
    if seconds is None:
        seconds = _retry_after(headers)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_PAUSE)


def _retry_after(headers: httpx2.Headers) -> float | None:
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    until, now = _date(text), _date(headers.get("date", ""))
    # By its own clock: ours has nothing to do with it.
    return (until - now).total_seconds() if until and now else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else None
