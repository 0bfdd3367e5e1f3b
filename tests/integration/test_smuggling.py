"""Requests that two servers in a row would read in two ways: this one reads each in one, or not at all.

Behind the bytes of each case comes a request that would make a task with a good key, where an
attacker would have put it. It must never be served: no task is ever made, and no answer is ever
given that is not the first request's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.support.exchange import DEADLINE_SECONDS, exchange, post
from tests.support.service import RunningService, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_HTTP = b'{"code":1,"message":"failed","detail":"request is not valid HTTP"}'
NO_HOST = b'{"code":1,"message":"failed","detail":"request must name one host"}'
NOT_HERE = b'{"code":1,"message":"failed","detail":"host is not served here"}'
NOT_ALLOWED = b'{"code":1,"message":"method not allowed"}'
NO_KEY = b'{"code":1,"message":"Invalid API key"}'
NOT_FOUND = b'{"code":1,"message":"not found"}'
GOOD = b'{"model":"google/gempix2","prompt":"smuggled"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningService]:
    """Run a service that accepts and does not render."""
    async with running_service(
        tmp_path_factory.mktemp("target"), settings={"concurrency": 0}
    ) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_was_made(target: RunningService) -> AsyncIterator[None]:
    """After each case: no task more than before."""
    before = await tasks_of(target)
    yield
    assert await tasks_of(target) == before


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    closes: bool


async def answers(base_url: str, request: bytes) -> list[Answer]:
    """Send bytes, end them, and return whatever is answered until the server closes."""
    host, _, port = base_url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    rest = b""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            writer.write(request)
            with suppress(ConnectionResetError):  # what was sent was not read to its end
                while piece := await reader.read(65_536):
                    rest += piece
    finally:
        writer.close()
    found = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        status, *lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        length = int(headers[b"content-length"])
        closes = headers.get(b"connection") == b"close"
        found.append(Answer(int(status.split(b" ")[1]), rest[:length], closes))
        rest = rest[length:]
    return found


async def tasks_of(service: RunningService) -> int:
    def count(conn: object) -> int:
        number: int = conn.execute(text("SELECT count(*) FROM task")).scalar_one()  # type: ignore[attr-defined] # SQLAlchemy's
        return number

    return await service.runtime.database.read(count)


def get(*headers: bytes, target: bytes = b"/api/user", version: bytes = b"1.1") -> bytes:
    lines = [b"GET %b HTTP/%b" % (target, version), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def gen(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = [b"POST /api/image/gen HTTP/" + version, b"Host: ketchup", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


HOST = b"Host: ketchup"
TE = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
# Each case: the bytes, and the status and the body of the one answer. Where the framing is in doubt, the smuggled request comes right behind the head or the chunks.
REFUSED: dict[str, tuple[bytes, int, bytes]] = {
    "1 no Host": (get(), 400, NO_HOST),
    "2 two Hosts": (get(HOST, b"Host: other"), 400, NO_HOST),
    "2b two equal Hosts": (get(HOST, HOST), 400, NO_HOST),
    "3 CL before TE": (gen(b"Content-Length: 5", TE, body=END), 400, NOT_HTTP),
    "4 TE before CL": (gen(TE, b"Content-Length: 5", body=END), 400, NOT_HTTP),
    "5 TE twice": (gen(TE, TE, body=END), 400, NOT_HTTP),
    "5b TE twice, once unknown": (gen(b"Transfer-Encoding: x", TE, body=END), 400, NOT_HTTP),
    "6 TE chunked, identity": (gen(TE + b", identity", body=END), 400, NOT_HTTP),
    "6b TE identity, chunked": (
        gen(b"Transfer-Encoding: identity, chunked", body=END),
        400,
        NOT_HTTP,
    ),
    "6c TE xchunked": (gen(b"Transfer-Encoding: xchunked", body=END), 400, NOT_HTTP),
    "6d TE behind a vertical tab": (
        gen(b"Transfer-Encoding:\x0bchunked", body=END),
        400,
        NOT_HTTP,
    ),
    "7 equal CLs": (gen(b"Content-Length: 0", b"Content-Length: 0"), 400, NOT_HTTP),
    "7b equal CLs in one line": (gen(b"Content-Length: 0, 0"), 400, NOT_HTTP),
    "8 unequal CLs": (gen(b"Content-Length: 0", b"Content-Length: 9"), 400, NOT_HTTP),
    "9 negative CL": (gen(b"Content-Length: -1"), 400, NOT_HTTP),
    "10 CL with a plus": (gen(b"Content-Length: +0"), 400, NOT_HTTP),
    "11 hexadecimal CL": (gen(b"Content-Length: 0x0"), 400, NOT_HTTP),
    "12 CL over 64 bits": (gen(b"Content-Length: 18446744073709551616"), 400, NOT_HTTP),
    "12b empty CL": (gen(b"Content-Length:"), 400, NOT_HTTP),
    "13 a folded header": (gen(b"X: a\r\n Content-Length: 9"), 400, NOT_HTTP),
    "13b a folded first header": (get(b" X: a", HOST), 400, NOT_HTTP),
    "14 bare LF": (b"GET /api/user HTTP/1.1\nHost: ketchup\n\n", 400, NOT_HTTP),
    "14b one bare LF": (get(HOST + b"\nX: a"), 400, NOT_HTTP),
    "15 bare CR": (get(HOST + b"\rX: a"), 400, NOT_HTTP),
    "16 NUL in a header": (get(HOST, b"X: a\0b"), 400, NOT_HTTP),
    "17 space before the colon": (gen(b"Content-Length : 9"), 400, NOT_HTTP),
    "18 a chunk over 64 bits": (gen(TE, body=b"10000000000000000\r\n"), 400, NOT_HTTP),
    "19 a negative chunk": (gen(TE, body=b"-1\r\n"), 400, NOT_HTTP),
    "20 garbage for a chunk": (gen(TE, body=b"zz\r\n"), 400, NOT_HTTP),
    "20b a chunk in 0x": (gen(TE, body=b"0x0\r\n\r\n"), 400, NOT_HTTP),
    "20c LF behind a chunk's size": (gen(TE, body=b"0\n\n"), 400, NOT_HTTP),
    "21 a chunk longer than it says": (gen(TE, body=b"1\r\nxx0\r\n\r\n"), 400, NOT_HTTP),
    "22 no end of the last chunk": (gen(TE, body=b"0\r\n"), 400, NOT_HTTP),
    "23 a trailer that frames": (
        gen(TE, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        400,
        NOT_HTTP,
    ),
    "24 an absolute target": (get(HOST, target=b"http://ketchup/api/user"), 400, NOT_HTTP),
    "24b of another host": (get(HOST, target=b"http://evil.example/admin/v1"), 400, NOT_HTTP),
    "24c a target of two words": (get(HOST, target=b"/ /admin/v1"), 400, NOT_HTTP),
    "25 Host with a path": (get(b"Host: x/admin?y="), 400, NO_HOST),
    "25b Host of another": (get(b"Host: evil.example"), 421, NOT_HERE),
    "26 TRACE": (b"TRACE / HTTP/1.1\r\nHost: ketchup\r\n\r\n", 405, NOT_ALLOWED),
    "27 CONNECT": (b"CONNECT ketchup:80 HTTP/1.1\r\nHost: ketchup\r\n\r\n", 405, NOT_ALLOWED),
    "28 HTTP/0.9": (b"GET /api/user\r\n\r\n", 400, NOT_HTTP),
    "28b HTTP/2": (get(HOST, version=b"2.0"), 400, NOT_HTTP),
    "28c HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, NOT_HTTP),
    "28d HTTP/1.0 without Host": (get(version=b"1.0"), 400, NO_HOST),
    "29 TE in HTTP/1.0": (gen(TE, body=END, version=b"1.0"), 400, NOT_HTTP),
    "30 a header of 200 KB": (get(HOST, b"X: " + b"y" * 200_000), 400, NOT_HTTP),
    "30b a head of 40 KB": (get(HOST, *[b"X: " + b"y" * 1000] * 40), 400, NOT_HTTP),
    "31 101 headers": (get(HOST, *[b"X: y"] * 100), 400, NOT_HTTP),
}


@pytest.mark.parametrize(("sent", "status", "body"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_could_be_read_in_two_ways_is_refused_with_all_that_follows(
    target: RunningService, sent: bytes, status: int, body: bytes
) -> None:
    found = await answers(target.base_url, sent + post(target.key, GOOD))

    assert found == [Answer(status, body, closes=True)]


async def test_the_last_request_of_a_connection_is_its_last(target: RunningService) -> None:
    """What comes behind it is for nobody, also where it came in one piece."""
    smuggled = post(target.key, GOOD)
    for last in (
        get(HOST, version=b"1.0"),
        get(HOST, b"Connection: keep-alive", version=b"1.0"),
        get(HOST, b"Connection: close"),
    ):
        [answer] = await answers(target.base_url, last + smuggled)
        assert (answer.status, answer.closes) == (401, True)


async def test_a_body_of_a_request_that_is_not_read_is_not_the_next_one(
    target: RunningService,
) -> None:
    """Answered 401 before its body came: the body is a request, and is not served."""
    smuggled = post(target.key, GOOD)
    by_length = gen(b"Content-Length: %d" % len(smuggled), body=smuggled)
    in_chunks = gen(TE, body=b"%x\r\n%b\r\n" % (len(smuggled), smuggled) + END)
    extended = in_chunks.replace(END, b"0;x=y\r\nX: a\r\n\r\n")
    for first in (by_length, in_chunks, extended):
        found = await answers(target.base_url, first + get(HOST, b"Connection: close"))
        assert [answer.status for answer in found] == [401, 401]
        assert [answer.body for answer in found] == [NO_KEY, NO_KEY.replace(b":1,", b":401,")]


async def test_a_trailer_brings_no_key(target: RunningService) -> None:
    trailer = b"0\r\nAuthorization: Bearer %b\r\n\r\n" % target.key.encode()
    body = b"%x\r\n%b\r\n" % (len(GOOD), GOOD)
    last = get(HOST, b"Connection: close")
    found = await answers(target.base_url, gen(TE, body=body + trailer) + last)
    assert [answer.status for answer in found] == [401, 401]


@pytest.mark.parametrize(
    "begun", [b"1;" + b"x" * 40_000, b"0\r\nX: " + b"y" * 40_000], ids=["extension", "trailer"]
)
async def test_extensions_and_trailers_without_end(target: RunningService, begun: bytes) -> None:
    found = await answers(target.base_url, gen(TE, body=begun) + post(target.key, GOOD))
    # The head may have been read, and answered, before the rest came.
    assert [answer.status for answer in found] in ([400], [401])


async def test_the_path_alone_decides(target: RunningService) -> None:
    """A surface is not chosen by `Host`, nor a check passed by it (CVE-2026-48710)."""
    admin = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
    for host in (b"ketchup", b"127.0.0.1:1", b"api", b"healthz"):
        found = await exchange(target.base_url, admin % (b"/admin/v1/workspaces", host))
        assert found.status == 401
    for path in (
        b"//admin/v1/workspaces",
        b"/x/../admin/v1/workspaces",
        b"/admin%2fv1/workspaces/",
    ):
        found = await exchange(target.base_url, admin % (path, b"ketchup"))
        assert found.status in {401, 404}
        assert b"items" not in found.body


async def test_a_reverse_proxy_may_leave_any_port_or_case(target: RunningService) -> None:
    for host in (b"127.0.0.1", b"LOCALHOST:443", b"ketchup:80", b"[::1]:1"):
        found = await exchange(target.base_url, get(b"Host: " + host))
        assert found.status == 401


async def test_the_names_that_the_settings_imply_are_served_and_no_others(tmp_path: Path) -> None:
    named = {"public_url": "https://images.example.com", "server.hosts": "other.example"}
    async with running_service(tmp_path, settings={"concurrency": 0, **named}) as service:
        for host in (b"images.example.com", b"other.example:443", b"127.0.0.1"):
            assert (await exchange(service.base_url, get(b"Host: " + host))).status == 401
        for host in (b"evil.example", b"192.0.2.1", b"ketchup"):
            found = await exchange(service.base_url, get(b"Host: " + host))
            assert (found.status, found.body) == (421, NOT_HERE)
            assert found.headers["content-type"] == "application/json; charset=utf-8"
            assert found.headers["x-request-id"].startswith("req_")
