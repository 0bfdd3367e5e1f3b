"""`GET /fileSystem/response_images/…`: stored images, for anybody who knows the address.

The 128 random bits in the address are the permission, so there is no key and no cookie. The bytes
under an address never change, so caches may keep them as long as the workspace keeps the image.
What is malformed, unknown or past its retention answers the same 404.

Where the storage has addresses of its own, a download is sent on to one (302) that is good for ten
minutes, or for what is left of the retention. The address that clients know stays ours.

Images are strangers' data on our own host: `nosniff`, a sandboxing policy and a fixed media type
keep a browser from ever taking one for a page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from ketchup.clock import SECOND, Clock
from ketchup.storage import BlobNotFound, ImageKey, Storage, parse_image_key

Scope: TypeAlias = Mapping[str, object]
Send: TypeAlias = Callable[[dict[str, object]], Awaitable[None]]
Retention: TypeAlias = Callable[[int], Awaitable[int | None]]
"""Tells for how many seconds a workspace, by its number, keeps images; None: no such workspace."""

Headers: TypeAlias = list[tuple[bytes, bytes]]

_METHODS: Final = "GET, HEAD, OPTIONS"
_MAX_AGE_SECONDS: Final = 365 * 24 * 3600
_LINK_SECONDS: Final = 600
_ALWAYS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]
_EXPOSED: Final = b"accept-ranges, content-length, content-range, etag, x-request-id"
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-methods", _METHODS.encode()),
    (b"access-control-allow-headers", b"range, if-range, if-none-match"),
    (b"access-control-max-age", b"86400"),
]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Unsatisfiable:
    """The range begins behind the last byte."""


@dataclass(frozen=True, slots=True)
class _Image:
    """A stored image as this request sees it."""

    key: str
    size: int
    headers: Headers
    etag: str
    seconds_left: int


class ImageFiles:
    """Serves images out of the storage. Raises Unavailable, before anything is sent."""

    def __init__(self, storage: Storage, clock: Clock, retention: Retention) -> None:
        self._storage = storage
        self._clock = clock
        self._retention = retention

    async def respond(self, scope: Scope, send: Send, request_id: str) -> None:
        """Answer one request whose path starts with the images' folder."""
        reply = _Reply(send, request_id)
        method = scope["method"]
        if method == "OPTIONS":
            await reply.empty(204, _PREFLIGHT)
        elif method not in ("GET", "HEAD"):
            allow = [(b"allow", _METHODS.encode())]
            await reply.envelope(405, "method not allowed", allow, body=True)
        else:
            await self._serve(scope, reply, body=method == "GET")

    async def _serve(self, scope: Scope, reply: _Reply, *, body: bool) -> None:
        try:
            image = await self._find(str(scope["path"]).removeprefix("/"))
            headers = _RequestHeaders(scope)
            if headers.has(image.etag):
                await reply.empty(304, image.headers)
            elif body and (link := await self._link(image)) is not None:
                # Not kept by anybody: the next who asks needs one that is good for as long.
                moved = [(b"location", link.encode()), (b"cache-control", b"no-store")]
                await reply.empty(302, [*moved, _length(0)])
            elif body:
                await self._send_image(reply, image, headers.range_of(image.size, image.etag))
            else:
                await reply.start(200, [*image.headers, _length(image.size)])
                await reply.end()
        except BlobNotFound:
            await reply.envelope(404, "not found", [(b"cache-control", b"no-store")], body=body)

    async def _find(self, path: str) -> _Image:
        """Return the image of that path. Raises BlobNotFound, for whatever reason."""
        key = parse_image_key(path)
        if key is None:
            raise BlobNotFound("not found")
        seconds = await self._seconds_left(key)
        if seconds <= 0:
            raise BlobNotFound("not found")
        max_age = min(seconds, _MAX_AGE_SECONDS)
        etag = f'"{key.bits}"'
        headers = [
            (b"etag", etag.encode()),
            (b"cache-control", f"public, max-age={max_age}, immutable".encode()),
            (b"content-type", key.format.mime_type.encode()),
            (b"accept-ranges", b"bytes"),
        ]
        return _Image(path, await self._storage.size(path), headers, etag, seconds)

    async def _link(self, image: _Image) -> str | None:
        return await self._storage.link(image.key, min(image.seconds_left, _LINK_SECONDS))

    async def _seconds_left(self, key: ImageKey) -> int:
        retention = await self._retention(key.number)
        age = (self._clock.now() - key.created_at) // SECOND
        return 0 if retention is None else retention - max(age, 0)

    async def _send_image(
        self, reply: _Reply, image: _Image, wanted: tuple[int, int] | _Unsatisfiable | None
    ) -> None:
        if isinstance(wanted, _Unsatisfiable):
            total = [(b"content-range", f"bytes */{image.size}".encode())]
            await reply.envelope(416, "range not satisfiable", total, body=True)
            return
        start, stop = wanted or (0, image.size)
        headers = [*image.headers, _length(stop - start)]
        if wanted is not None:
            headers.append((b"content-range", f"bytes {start}-{stop - 1}/{image.size}".encode()))
        async with aclosing(self._storage.stream(image.key, start, stop)) as chunks:
            # The first chunk before the status: a blob that has just gone is still a 404.
            first = await anext(chunks)
            await reply.start(200 if wanted is None else 206, headers)
            await reply.chunk(first)
            async for chunk in chunks:
                await reply.chunk(chunk)
        await reply.end()


class _RequestHeaders:
    """The conditions of a request. Malformed ones count as absent (RFC 9110, sections 13, 14)."""

    def __init__(self, scope: Scope) -> None:
        self._headers = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])

    def has(self, etag: str) -> bool:
        """Tell whether the client already holds this content, by If-None-Match."""
        tags = [tag.strip().removeprefix("W/") for tag in self._get(b"if-none-match").split(",")]
        return etag in tags or "*" in tags

    def range_of(self, size: int, etag: str) -> tuple[int, int] | _Unsatisfiable | None:
        """Return the wanted (start, stop); None for the whole. Several ranges get the whole."""
        match = _RANGE.fullmatch(self._get(b"range"))
        if match is None or self._get(b"if-range") not in ("", etag):
            return None
        first, last = match.groups()
        if not first:
            return _suffix(last, size)
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
        return (start, stop) if start < size else _Unsatisfiable()

    def _get(self, name: bytes) -> str:
        values = [value.decode("latin-1") for key, value in self._headers if key.lower() == name]
        return ", ".join(values).strip()


class _Reply:
    """Writes one response, with what every response here carries."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id

    async def start(self, status: int, headers: Headers) -> None:
        ours = [
            (b"x-request-id", self._request_id.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED),
            *_ALWAYS,
        ]
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *ours]}
        )

    async def chunk(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def empty(self, status: int, headers: Headers) -> None:
        await self.start(status, headers)
        await self.end()

    async def envelope(self, status: int, message: str, headers: Headers, *, body: bool) -> None:
        """Send the contract's error body, or only its length when the method was HEAD."""
        data = json.dumps({"code": 1, "message": message}, separators=(",", ":")).encode()
        json_type = (b"content-type", b"application/json; charset=utf-8")
        await self.start(status, [*headers, json_type, _length(len(data))])
        if body:
            await self.chunk(data)
        await self.end()


def _suffix(digits: str, size: int) -> tuple[int, int] | _Unsatisfiable | None:
    """Read `bytes=-n`, the last n bytes."""
    if not digits:
        return None
    length = min(int(digits), size)
    return (size - length, size) if length else _Unsatisfiable()


def _length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()
