"""The two things done with a caller's URL: read a file from it, or post a message to it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore2

from ketchup import __version__
from ketchup.clock import SECOND, Clock
from ketchup.egress.connect import GuardedBackend, Resolver, verifying_context
from ketchup.egress.errors import BadUrl, TimedOut, TooLarge, Unreachable, WrongType
from ketchup.egress.lookup import SystemResolver
from ketchup.egress.rules import Rules
from ketchup.egress.turns import Bounds, Turns
from ketchup.egress.urls import Target, join, parse_url
from ketchup.openings import Opening

USER_AGENT: Final = f"Ketchup/{__version__}"

_CONNECT_SECONDS: Final = 5.0
_OPERATORS: Final = Bounds(reads=64, per_workspace=64, wait_seconds=3600.0)
_REPLY_BYTES: Final = 4096
_REPLY_SECONDS: Final = 1.0
_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# A body in a million chunks of one byte costs seconds of CPU. Honest servers send far more at once.
_SPARE_CHUNKS: Final = 1024
_BYTES_PER_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL holds."""

    data: bytes
    content_type: str
    """The media type as the server claims it, lower case, without parameters; may be empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a receiver answered a message. Its body is not kept."""

    status: int
    retry_after: float | None
    """The pause it asked for, in seconds from now; None when it did not say."""
    duration: float
    """Seconds from the start to the end of the reply's head and first bytes."""


class Egress:
    """Opens callers' URLs under the guard. One per process; safe for concurrent use.

    On the public internet `ports` are open; `allow` opens what is not public. `own_url`, where
    clients reach this service, and `own_ports`, where it listens, stay closed whatever is allowed.
    `bounds` are for all callers together, so that nobody can aim us at a third party.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        allow: Collection[Opening] = (),
        ports: Collection[int] = (80, 443),
        own_url: str | None = None,
        own_ports: Collection[int] = (),
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
        post_seconds: float = 15.0,
    ) -> None:
        self._clock = clock
        self._system_resolver = SystemResolver()
        self._backend = GuardedBackend(
            resolver or self._system_resolver,
            Rules(allow, ports, own_host=_host_of(own_url), own_ports=own_ports),
        )
        self._tls = tls or verifying_context()
        self._turns = Turns(bounds or Bounds(), clock)
        self._post_seconds = post_seconds

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        deadline_seconds: float,
        max_redirects: int = 3,
        accept: Sequence[str] = (),
        workspace: str = "",
    ) -> Fetched:
        """Read a file for a workspace, following redirects. Raises an EgressError.

        `accept` lists media types, or their beginnings such as `image/`; an answer that claims
        another is not read. An answer that claims none is. The deadline is for all hops together,
        without the time that we make a read wait for its turn.
        """
        target = parse_url(url)
        headers = {"Accept": ", ".join(f"{a}*" if a.endswith("/") else a for a in accept) or "*/*"}
        seconds_left = deadline_seconds
        for _ in range(max_redirects + 1):
            async with self._turns.read(target.origin, workspace):
                await self._turns.pace(target.origin)
                started = self._clock.monotonic()
                async with (
                    _deadline(seconds_left),
                    self._exchange("GET", target, headers) as response,
                ):
                    if response.status not in _REDIRECTS:
                        return await _read(response, max_bytes, accept)
                    target = _next_hop(target, response)
                seconds_left -= self._clock.monotonic() - started
        raise Unreachable(f"more than {max_redirects} redirects")

    async def post(
        self,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        connect_timeout: float = _CONNECT_SECONDS,
        deadline: float | None = None,
    ) -> Reply:
        """Post a message once and return the reply, whatever its status. Raises an EgressError.

        The deadline is `post_seconds` unless given. Redirects are not followed. At most 4 KiB of
        the reply are read, and dropped.
        """
        target = parse_url(url)
        await self._turns.pace(target.origin)
        started = self._clock.monotonic()
        async with (
            _deadline(self._post_seconds if deadline is None else deadline),
            self._exchange("POST", target, headers, body, connect_timeout) as response,
        ):
            await _drain(response)
            return Reply(
                status=response.status,
                retry_after=self._retry_after(_header(response, b"retry-after")),
                duration=self._clock.monotonic() - started,
            )

    def trusting(self, url: str) -> Egress:
        """Return one that also reads from this URL's origin, which the operator named.

        Redirects from there are judged like any. It has turns of its own, as no caller's reads may
        be in its way. It shares all the rest, and is closed with this.
        Raises BadUrl.
        """
        target = parse_url(url)
        trusting = copy(self)
        trusting._turns = Turns(_OPERATORS, self._clock)  # noqa: SLF001 our own
        trusting._backend = self._backend.trusting(target.host, target.port)  # noqa: SLF001 our own
        return trusting

    async def close(self) -> None:
        """Look nothing up any more. A lookup under way is not waited for. May be called twice."""
        self._system_resolver.close()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect_timeout: float = _CONNECT_SECONDS,
    ) -> AsyncIterator[httpcore2.Response]:
        """Send one request on a connection of its own, which is closed at the end.

        A kept connection would be a judgement kept: the name may mean another address by now.
        """
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        ours = {
            **headers,
            "Host": target.authority,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        connection = httpcore2.AsyncHTTPConnection(
            url.origin, self._tls, network_backend=self._backend
        )
        try:
            async with (
                connection,
                connection.stream(
                    method,
                    url,
                    headers=list(ours.items()),
                    content=body,
                    extensions={"timeout": {"connect": connect_timeout}},
                ) as response,
            ):
                yield response
        except httpcore2.TimeoutException as error:
            raise TimedOut(f"{target.origin}: {error!r}") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise Unreachable(f"{target.origin}: {error!r}") from error

    def _retry_after(self, text: str | None) -> float | None:
        """Read seconds or an HTTP date (RFC 9110, section 10.2.3)."""
        if text is None:
            return None
        if re.fullmatch(r"\d{1,9}", text, re.ASCII):
            return float(text)
        try:
            at = parsedate_to_datetime(text)
            # Without a zone, which the format forbids, it is not our local time either.
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return max(at.timestamp() - self._clock.now() / SECOND, 0.0)
        except (ValueError, OverflowError):
            return None


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimedOut(f"no complete answer within {seconds} s") from error


def _host_of(url: str | None) -> tuple[str, int] | None:
    # An address that no caller could give is no way to us either.
    with suppress(BadUrl):
        target = parse_url(url or "")
        return target.host, target.port
    return None


def _next_hop(here: Target, response: httpcore2.Response) -> Target:
    location = _header(response, b"location")
    if location is None:
        raise Unreachable(f"{here.origin} redirects nowhere")
    try:
        there = join(here, location)
    except BadUrl as error:
        raise Unreachable(f"{here.origin} redirects badly: {error.detail}") from error
    if (here.scheme, there.scheme) == ("https", "http"):
        raise Unreachable(f"{here.origin} redirects from https to http")
    return there


async def _read(response: httpcore2.Response, max_bytes: int, accept: Sequence[str]) -> Fetched:
    if response.status != _OK:
        raise Unreachable(f"answered {response.status}")
    content_type = (_header(response, b"content-type") or "").partition(";")[0].strip().lower()
    if content_type and accept and not content_type.startswith(tuple(accept)):
        raise WrongType(f"answered {content_type[:100]!r}")
    length = _header(response, b"content-length") or ""
    if re.fullmatch(r"\d{1,20}", length, re.ASCII) and int(length) > max_bytes:
        raise TooLarge(f"announces {length} bytes")
    data = bytearray()
    chunks = 0
    async for chunk in response.aiter_stream():
        data += chunk
        chunks += 1
        if len(data) > max_bytes:
            raise TooLarge(f"sends more than {max_bytes} bytes")
        if chunks > _SPARE_CHUNKS + len(data) // _BYTES_PER_CHUNK:
            raise Unreachable("sends its body in crumbs")
    return Fetched(data=bytes(data), content_type=content_type)


async def _drain(response: httpcore2.Response) -> None:
    """Read a little, so that a receiver can finish its short answer.

    The status is known by now: a body that breaks off or does not end changes nothing.
    """
    size = 0
    with suppress(httpcore2.NetworkError, httpcore2.ProtocolError, TimeoutError):
        async with asyncio.timeout(_REPLY_SECONDS):
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size >= _REPLY_BYTES:
                    return


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    """Return the first header of that name; bytes that are not UTF-8 become lone surrogates."""
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("utf-8", "surrogateescape").strip()
    return None
