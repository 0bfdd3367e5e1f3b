"""HTTP as clients really send it: bounded, with deadlines, and answered in the envelope.

uvicorn reads the protocol; this stands in front of it. What is not HTTP, has a head without end or
too many headers gets the contract's 400 and the connection is closed. A client that does not send a
whole head in time, or stops in the middle of a body, is dropped without an answer.

A request that comes in one piece costs no timer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ketchup.ids import RequestIds
from ketchup.wire.envelope import NOT_HTTP

MAX_HEADERS: Final = 100
MAX_HEAD_BYTES: Final = 64 * 1024

_request_ids: Final = RequestIds()


class TooManyHeaders(Exception):
    """More headers than any client has a reason to send."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. The names of its methods are those that asyncio and the parser call."""

    head_seconds: float = 20.0
    """How long a client may take to send the head of a request."""
    pause_seconds: float = 20.0
    """How long it may pause in the middle of a body."""

    # Bytes that came since the head began; None from a head's end to the next one's start.
    _head_bytes: int | None = 0
    _is_whole: bool = False
    _deadline: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        super().connection_made(transport)
        self._close_in(self.head_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._take_your_time()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        before = self._head_bytes
        super().data_received(data)
        if self.transport.is_closing():
            return
        # After parsing: what came with the head may be its body, or the body before.
        if before is not None and self._head_bytes is not None:
            self._head_bytes = before + len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("head without end")
                return
        self._set_deadline()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_whole = False
        self._head_bytes = 0

    @override
    def on_headers_complete(self) -> None:
        self._head_bytes = None
        if len(self.headers) > MAX_HEADERS:
            # The parser ends here, and asks for the 400 below.
            raise TooManyHeaders
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self._is_whole = True
        super().on_message_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        request_id = _request_ids.mint()
        self.transport.write(_HEAD % (len(NOT_HTTP), request_id.encode()) + NOT_HTTP)
        self.transport.close()

    def _set_deadline(self) -> None:
        if self._is_whole and not self.cycle.response_complete:
            self._take_your_time()  # the next word is ours
        elif self._head_bytes is None:
            self._close_in(self.pause_seconds)
        elif self._deadline is None:
            # Once for all of the head: one byte at a time must not put it off.
            self._close_in(self.head_seconds)

    def _close_in(self, seconds: float) -> None:
        self._take_your_time()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _take_your_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


_HEAD: Final = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"content-type: application/json; charset=utf-8\r\n"
    b"content-length: %d\r\n"
    b"x-request-id: %b\r\n"
    b"connection: close\r\n\r\n"
)
