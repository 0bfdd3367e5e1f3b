"""As much of HTTP/1.1 as the fake needs, on asyncio's streams.

Written by hand because a server that keeps to the rules can neither reset a connection nor stop in
the middle of a body. It reads what our own clients and the makers' SDKs send, and is no server for
the internet.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_MAX_BODY: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, not sent yet."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, length: int | None = None) -> bytes:
        """Return the head, announcing `length` bytes or as many as there are."""
        lines = {
            "content-type": self.content_type,
            "content-length": str(len(self.body) if length is None else length),
            **self.headers,
        }
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status} -\r\n{fields}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes


def json_answer(status: int, body: object, **headers: str) -> Answer:
    """Answer with JSON; `retry_after="7"` becomes the header `retry-after: 7`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), headers=named)


async def read_request(first: bytes, reader: asyncio.StreamReader) -> Request:
    """Read a request whose first byte was read. Raises ValueError, IncompleteReadError."""
    try:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise ValueError("a head without an end") from error
    line, *fields = head.rstrip("\r\n").split("\r\n")
    method, path, _version = line.split(" ")
    pairs = (field.partition(":") for field in fields)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if "transfer-encoding" in headers:
        raise ValueError("a body without a length")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _MAX_BODY:
        raise ValueError(f"a body of {length} bytes")
    return Request(method, path, headers, await reader.readexactly(length))


def read_form(request: Request) -> Sequence[Part]:
    """Read a `multipart/form-data` body, byte for byte (RFC 7578). Raises ValueError."""
    found = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if found is None:
        raise ValueError("a form without a boundary")
    pieces = (b"\r\n" + request.body).split(b"\r\n--" + found[1].encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):  # noqa: PLR2004 a start and an end
        raise ValueError("a form without an end")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    text = head.decode()
    name = re.search(r'[; ]name="([^"]*)"', text)
    if name is None:
        raise ValueError("a part without a name")
    filename = re.search(r'filename="([^"]*)"', text)
    content_type = re.search(r"(?im)^content-type: *(\S+)", text)
    return Part(name[1], filename and filename[1], content_type and content_type[1], data)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off, so that the other side sees a reset and no farewell."""
    raw: socket.socket = writer.get_extra_info("socket")
    # A linger of zero makes the kernel answer so.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
