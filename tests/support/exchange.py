"""HTTP byte by byte: for requests that no client library would send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes


class Connection:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, base_url: str, source: str | None = None) -> Self:
        """Connect; `source` is an address of this machine's to come from."""
        parts = urlsplit(base_url)
        origin = (source, 0) if source else None
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, local_addr=origin))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._writer.drain()

    async def response(self) -> Response:
        """Read one response whose length stands in its head."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip("\r\n").split("\r\n")
            fields = (line.partition(": ") for line in lines)
            headers = {name.lower(): value for name, _, value in fields}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return Response(int(status.split(" ")[1]), headers, body)

    async def is_closed_by_server(self) -> bool:
        """Wait until the server ends the connection; whatever it still says is an error."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self._writer.close()


async def exchange(base_url: str, request: bytes) -> Response:
    """Send bytes on a new connection and return the response to them."""
    connection = await Connection.to(base_url)
    try:
        await connection.send(request)
        return await connection.response()
    finally:
        await connection.close()


def post(key: str, body: bytes, *headers: str, path: str = "/api/image/gen") -> bytes:
    """Write a POST whose `Content-Length` is the truth."""
    return head(key, f"Content-Length: {len(body)}", *headers, path=path) + body


def head(key: str, *headers: str, path: str = "/api/image/gen") -> bytes:
    """Write the head of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: ketchup", f"Authorization: Bearer {key}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
