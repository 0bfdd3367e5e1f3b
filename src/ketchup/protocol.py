"""HTTP as clients really send it: bounded, with deadlines, and answered in the envelope.

uvicorn reads the protocol; this stands in front of it. What is not HTTP, or what `edge` refuses,
gets the contract's answer and the connection is closed. A client that does not send a whole head in
time, stops or dawdles in the middle of a body, or does not take its answer, is dropped without one.

A request that comes in one piece costs no timer.

Connections cannot use up the files that the process may open: the images, the renderers and the
callbacks need some too, and those who hold connections open need no key. One client may hold only
some of them.

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
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ketchup import telemetry
from ketchup.edge import MAX_HEAD_BYTES, METHODS, Head, Hosts, NotHttp, Peers, Refused, judge
from ketchup.ids import RequestIds
from ketchup.wire.envelope import CONTENT_TYPE, refusal

log = telemetry.logger(__name__)

# An honest client sends a byte in a chunk of its own at worst: `1\r\nx\r\n`.
_FRAMING_PER_BYTE: Final = 8
_FRAMING_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})

_MISDIRECTED: Final = 421

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


# Read at once. A body waits for its reader with so much, and at most one piece more: together
# they are what may be read beyond a limit before anybody can say so.
_PIECE_BYTES: Final = 32 * 1024
_piece: Final = memoryview(bytearray(_PIECE_BYTES))


class _Pieces(asyncio.BufferedProtocol):
    """Has the loop read in pieces of our size; by itself it takes a quarter of a megabyte.

    One buffer does for all connections: the loop fills it and tells of it in one go.
    """

    def __init__(self, protocol: HttpProtocol) -> None:
        self._data_received = protocol.data_received
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign] # as it is
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign] # as it is
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign] # as it is

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return _piece

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._data_received(bytes(_piece[:nbytes]))


class HttpProtocol(HttpToolsProtocol):
    """One connection. The names of its methods are those that asyncio and the parser call.

    The deadlines keep what is promised, 5 s for a head and 10 s for a body, also on a busy loop.
    """

    head_seconds: float = 4.0
    """How long a client may take to send the head of a request."""
    pause_seconds: float = 9.0
    """How long it may pause in the middle of a body."""
    slowest_body: float = 16 * 1024.0
    """Bytes per second that a body must have on average, once it takes longer than a pause."""
    rest_seconds: float = 5.0
    """How long it may go on sending a body after it was answered."""
    answer_seconds: float = 60.0
    """How long it may take nothing of an answer that waits for it."""

    hosts: Hosts = Hosts()
    peers: Peers = Peers(0)

    _client: str | None = None
    _refused: Refused | None = None
    _deadline: asyncio.TimerHandle | None = None
    # While the client does not take what is written.
    _untaken: asyncio.TimerHandle | None = None
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
        # Without an address it is a socket of this machine's.
        self._client = self.peers.take(self.client[0]) if self.client else ""
        if self._client is None or len(self.connections) > self.most_connections():
            transport.abort()
        else:
            transport.set_protocol(_Pieces(self))
            self._close_in(self.head_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._take_your_time()
        self.resume_writing()
        if self._client:
            self.peers.release(self._client)
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._drop_if_untaken()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    @override
    def timeout_keep_alive_handler(self) -> None:
        self._let_go()

    @override
    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._refused or NotHttp())
        if self.transport.is_closing():
            return
        # After parsing: what came with the head may be its body.
        if self._overhead > MAX_HEAD_BYTES:
            self._refuse(NotHttp())
        else:
            self._set_deadline()
            if self._in_body and len(self.cycle.body) >= _PIECE_BYTES:
                self.flow.pause_reading()

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
        try:
            judge(self._head(), self.hosts)
        except Refused as refused:
            # The parser ends here, and `data_received` answers.
            self._refused = refused
            raise
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
        if self.transport.is_closing():
            self._let_go()
        elif self._in_body and self.cycle.response_complete:
            # Set once: what still comes must not put it off.
            self._close_in(self.rest_seconds)

    def most_connections(self) -> int:
        """Return how many may be open; one more is closed at once."""
        return connections_at_most()

    def _head(self) -> Head:
        parser = self.parser
        return Head(parser.get_method(), self.url, parser.get_http_version(), self.headers)

    def _refuse(self, refused: Refused) -> None:
        """Say why, where the next answer is this request's, and close."""
        if self._owes_this_answer():
            request_id = _request_ids.mint()
            if refused.status == _MISDIRECTED:
                log.info("host refused", request_id=request_id, host=self._named_host())
            self.transport.write(_answer(refused, request_id))
        self._let_go()

    def _named_host(self) -> str:
        # It has been judged to be a name; an operator looks for it in the log.
        return next((v.decode("ascii") for name, v in self.headers if name == b"host"), "")

    def _let_go(self) -> None:
        """Close, and wait only so long until the client has taken what was written to it."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._drop_if_untaken()

    def _drop_if_untaken(self) -> None:
        if self._untaken is None:
            self._untaken = self.loop.call_later(self.answer_seconds, self.transport.abort)

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
        self._deadline = self.loop.call_later(seconds, self._let_go)

    def _take_your_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def protocol_of(hosts: Hosts, peers: Peers) -> type[HttpProtocol]:
    """Return the protocol of a server that is asked for by these names."""

    class ServersProtocol(HttpProtocol):
        pass

    ServersProtocol.hosts, ServersProtocol.peers = hosts, peers
    return ServersProtocol


def _answer(refused: Refused, request_id: str) -> bytes:
    reply = refusal(refused.status, refused.detail, METHODS)
    headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(reply.body)), *reply.headers]
    headers += [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[reply.status] + head + b"\r\n" + reply.body
