"""HTTP as clients really send it: bounded, with deadlines, and answered in the envelope.

uvicorn reads the protocol; this stands in front of it. What is not HTTP, has a head without end or
too many headers gets the contract's 400 and the connection is closed. A client that does not send a
whole head in time, or stops or dawdles in the middle of a body, is dropped without an answer.

A request that comes in one piece costs no timer.

Connections cannot use up the files that the process may open: the images, the renderers and the
callbacks need some too, and those who hold connections open need no key.

Three things that a parser lets through would be at our cost or somebody else's:

- What surrounds a body (the sizes of chunks, their extensions, trailers) is bounded as a head is,
  and trailers are dropped: they come after the key was judged.
- A body that nobody reads any more, because the answer has been sent, is waited for only briefly.
- An offer to change the protocol (`Upgrade`) is ignored, as RFC 9110, section 7.8, allows. The
  parser would take the request for bodiless, and its body for the next request.
"""

from __future__ import annotations

import asyncio
import resource
from functools import cache
from typing import Final

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ketchup.ids import RequestIds
from ketchup.wire.envelope import NOT_HTTP

MAX_HEADERS: Final = 100
MAX_HEAD_BYTES: Final = 64 * 1024

# An honest client sends a byte in a chunk of its own at worst: `1\r\nx\r\n`.
_FRAMING_PER_BYTE: Final = 8
_FRAMING_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})

_request_ids: Final = RequestIds()


# What the rest of the service may have open at once: callbacks above all, then images and pipes.
_FILES_FOR_OTHERS: Final = 512


@cache
def connections_at_most() -> int:
    """Return how many connections leave enough of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return 2**20
    return max(files - _FILES_FOR_OTHERS, files // 2)


class TooManyHeaders(Exception):
    """More headers than any client has a reason to send."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. The names of its methods are those that asyncio and the parser call."""

    head_seconds: float = 20.0
    """How long a client may take to send the head of a request."""
    pause_seconds: float = 20.0
    """How long it may pause in the middle of a body."""
    slowest_body: float = 16 * 1024.0
    """Bytes per second that a body must have on average, once it takes longer than a pause."""
    rest_seconds: float = 10.0
    """How long it may go on sending a body after it was answered."""

    _deadline: asyncio.TimerHandle | None = None
    # Where the body is that is coming in: its bytes, and when its first pieces were seen.
    _body_bytes: int = 0
    _body_since: float | None = None
    # Bytes that came since the last message, less what became of its body.
    _overhead: int = 0
    _in_head = False
    _in_body = False
    # The head has been read already: what the parser tells of it again is not news.
    _repeating = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        super().connection_made(transport)
        if len(self.connections) > self.most_connections():
            transport.abort()
        else:
            self._close_in(self.head_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._take_your_time()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.logger.debug("Invalid HTTP request received.")
            self.send_400_response("not HTTP")
        if self.transport.is_closing():
            return
        # After parsing: what came with the head may be its body.
        if self._overhead > MAX_HEAD_BYTES:
            self.send_400_response("head without end")
        else:
            self._set_deadline()

    @override
    def on_message_begin(self) -> None:
        if self._repeating:
            return
        super().on_message_begin()
        self._in_head = True

    @override
    def on_url(self, url: bytes) -> None:
        if not self._repeating:
            super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        # Any other header is a trailer.
        if self._in_head:
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        if self._repeating:
            return
        self._take_your_time()
        self._in_head = False
        if len(self.headers) > MAX_HEADERS:
            # The parser ends here, and asks for the 400 below.
            raise TooManyHeaders
        super().on_headers_complete()
        self._in_body = True
        self._body_bytes, self._body_since = 0, None

    @override
    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._overhead = max(0, self._overhead - len(body) * (1 + _FRAMING_PER_BYTE))
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # only the parser thinks so
        self._in_body = False
        self._overhead = 0
        self._take_your_time()
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            # Set once: what still comes must not put it off.
            self._close_in(self.rest_seconds)

    @override
    def send_400_response(self, msg: str) -> None:
        if self._owes_this_answer():
            request_id = _request_ids.mint()
            self.transport.write(_HEAD % (len(NOT_HTTP), request_id.encode()) + NOT_HTTP)
        self.transport.close()

    def most_connections(self) -> int:
        """Return how many may be open; one more is closed at once."""
        return connections_at_most()

    def _feed(self, data: bytes) -> None:
        """Parse, past every offer to upgrade."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self._read_on_without_upgrade()
            else:
                return

    def _read_on_without_upgrade(self) -> None:
        """Go on behind a head, in a parser that has not seen its `Upgrade`."""
        framing = [b"%b: %b\r\n" % h for h in self.headers if h[0] in _FRAMING_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._repeating = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")
        self._repeating = False

    def _has_answered_all(self) -> bool:
        latest: RequestResponseCycle | None = self.cycle
        return latest is None or latest.response_complete

    def _owes_this_answer(self) -> bool:
        """Whether the next answer on this connection is the one to what was just read.

        Before an earlier request is answered, a 400 would be taken for the answer to that.
        """
        if self._in_body:
            return not self.cycle.response_started and not self.pipeline
        return self._has_answered_all()

    def _set_deadline(self) -> None:
        answered = self._has_answered_all()
        if self._in_body:
            if not answered:
                self._close_in(self._seconds_for_more())
        elif not self._in_head and not answered:
            self._take_your_time()  # the next word is ours
        elif self._deadline is None:
            # Once for all of the head: one byte at a time must not put it off.
            self._close_in(self.head_seconds)

    def _seconds_for_more(self) -> float:
        now = self.loop.time()
        if self._body_since is None:
            self._body_since = now
        latest = self._body_since + self.pause_seconds + self._body_bytes / self.slowest_body
        return min(self.pause_seconds, latest - now)

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
