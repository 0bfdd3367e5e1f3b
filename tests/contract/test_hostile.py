"""Bad input: whatever a client sends gets the contract's 4xx, and nothing is written.

The service renders nothing here, so that every row and blob that anything leaves behind is found.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.support.exchange import Connection, Response, exchange, head, post
from tests.support.service import RunningService, client_of, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

GEN = "/api/image/gen"
MEBIBYTE = 1024 * 1024
NOT_JSON = "request body is not valid JSON"
FIELDS = [
    "prompt", "model", "images", "callback_url", "aspect_ratio", "image_size", "n", "seed",
    "output_format",
]  # fmt: skip
GOOD = '"model":"google/gempix2","prompt":"a red boat"'
PNG = "data:image/png;base64,iVBORw0KGgo="
TABLES = ("task", "attempt", "hold", "idempotency", "delivery", "turn")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str | None
) -> AsyncIterator[RunningService]:
    """Run a service that accepts and does not render."""
    folder = tmp_path_factory.mktemp("target")
    served = running_service(folder, database=module_database_url, settings={"concurrency": 0})
    async with served as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_was_written(target: RunningService) -> AsyncIterator[None]:
    """After each test: no row, no hold, no blob, and the next good request is served."""
    yield
    rows = await target.runtime.database.read(
        lambda conn: {
            table: conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 ours
            for table in TABLES
        }
    )
    assert rows == dict.fromkeys(TABLES, 0)
    assert await target.runtime.storage.keys("references") == []
    answer = await target.client.get("/api/user")
    assert answer.content == b'{"code":0,"message":"ok","data":{"credit":"100.00000000"}}'


def check(status: int, headers: object, body: bytes, detail: str | None) -> None:
    assert 400 <= status < 500
    assert status != 422
    answer = json.loads(body)
    assert (answer["code"], answer["message"]) == (1, "failed")
    assert list(answer) == ["code", "message", "detail"]
    assert detail is None or answer["detail"] == detail
    assert isinstance(headers, httpx2.Headers | dict)
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-request-id"].startswith("req_")


async def refused(target: RunningService, body: bytes, detail: str | None = None) -> None:
    answer = await target.client.post(GEN, content=body)
    check(answer.status_code, answer.headers, answer.content, detail)


# -- what is not JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b" " * (MEBIBYTE - 1),
        b"\xef\xbb\xbf{" + GOOD.encode() + b"}",
        b"\xff\xfe{\x00}\x00",
        b"{" + GOOD.encode() + b"} trailing",
        b"{" + GOOD.encode() + b"}\x00",
        b"{" + GOOD.encode() + b"}{" + GOOD.encode() + b"}",
        b"{" + GOOD.encode(),
        b"{" + GOOD.encode() + b",}",
        b"\x00" * 1000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{" + GOOD.encode() + b',"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"google/gempix2","prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"prompt=a+red+boat&model=google%2Fgempix2",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_body_that_is_not_json(target: RunningService, body: bytes) -> None:
    # A list is JSON of another kind, however far it goes.
    await refused(target, body, None if body.startswith(b"[") else NOT_JSON)


VALUES = {
    "invalid UTF-8": b'"\xff\xfe"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a lone high surrogate": b'"\\ud83d"',
    "a lone low surrogate": b'"\\ude00"',
    "swapped surrogates": b'"\\ude00\\ud83d"',
    "a raw NUL": b'"a\x00b"',
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "minus Infinity": b"-Infinity",
}


@pytest.mark.parametrize("field", [*FIELDS, "unknown"])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_a_value_that_json_does_not_have(
    target: RunningService, field: str, value: bytes
) -> None:
    body = b"{" + GOOD.encode() + b',"' + field.encode() + b'":' + value + b"}"
    await refused(target, body, NOT_JSON)


# -- JSON that is not a request --------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"null", b"0", b"-1.5e3", b"true", b'"x"', b"[]", b"[{}]", b"{}"])
async def test_json_that_is_not_a_request(target: RunningService, body: bytes) -> None:
    await refused(target, body)


WRONG_TYPES = {
    "text": [0, 1.5, True, False, [], ["x"], {}, {"a": "b"}],
    "list": ["x", 0, 1.5, True, {}, [0], [None], [[]], [{}], [True], [PNG, 1]],
    "whole": [
        "1",
        "",
        1.5,
        -0.0,
        True,
        False,
        [],
        {},
        [1],
        -1,
        2**32,
        2**63,
        2**64,
        10**400,
        1e300,
    ],
}
KINDS = {"images": "list", "n": "whole", "seed": "whole"}


@pytest.mark.parametrize("field", FIELDS)
async def test_a_wrong_type_or_size_in_every_field(target: RunningService, field: str) -> None:
    for value in WRONG_TYPES[KINDS.get(field, "text")]:
        fields = {"model": "google/gempix2", "prompt": "x", "images": [PNG], field: value}
        answer = await target.client.post(GEN, json=fields)
        check(answer.status_code, answer.headers, answer.content, None)
        assert field in answer.json()["detail"], value


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999", "-1e999"])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_number_without_bounds(target: RunningService, field: str, number: str) -> None:
    await refused(target, f'{{{GOOD},"{field}":{number}}}'.encode())


async def test_of_a_name_that_comes_twice_the_last_value_is_judged(target: RunningService) -> None:
    await refused(target, f'{{{GOOD},"prompt":""}}'.encode(), "prompt is required")
    await refused(target, f'{{"n":1,{GOOD},"n":99}}'.encode(), "n must be an integer from 1 to 8")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"prompt": "a" * 20_001}, "prompt must have at most 20000 characters"),
        ({"prompt": "\U0010ffff" * 20_001}, "prompt must have at most 20000 characters"),
        ({"prompt": "a\0b"}, "prompt must not contain NUL characters"),
        ({"prompt": " " * 900_000}, "prompt must have at most 20000 characters"),
        ({"images": [PNG] * 5}, "images supports at most 4 items"),
        ({"images": ["x"] * 100_000}, "images supports at most 4 items"),
        ({"model": "m" * 900_000}, "model is not supported"),
        ({"model": "\0"}, "model is not supported"),
        ({"images": ["data:image/png;base64,!!!!"]}, "images[0] is not a valid base64 image"),
        ({"images": ["data:image/png;base64,"]}, "images[0] is not a PNG, JPEG or WebP image"),
        ({"images": [PNG, "data:image/png;base64,aGk="]}, "images[1] is not a PNG, JPEG or WebP image"),
        ({"images": [PNG], "n": 9}, "n must be an integer from 1 to 8"),
        ({"callback_url": "http://a\r\nX: y/"}, "callback_url must be an http or https URL"),
        ({"callback_url": "http://" + "a" * 100_000}, "callback_url must be an http or https URL"),
        ({"callback_url": "http://[::1"}, "callback_url must be an http or https URL"),
        ({"callback_url": "http://a:99999/"}, "callback_url must be an http or https URL"),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
async def test_a_field_out_of_bounds(
    target: RunningService, fields: dict[str, object], detail: str
) -> None:
    body = {"model": "google/gempix2", "prompt": "a red boat", **fields}
    await refused(target, json.dumps(body).encode(), detail)


# -- too much --------------------------------------------------------------------------------------


async def test_ten_megabytes_of_spaces(target: RunningService) -> None:
    answer = await exchange(target.base_url, post(target.key, b" " * 10_000_000))
    assert answer.status == 413
    check(answer.status, answer.headers, answer.body, "request body is too large")


async def test_a_length_over_the_limit_is_refused_before_the_body(target: RunningService) -> None:
    for length in ("41943041", "9" * 18):
        answer = await exchange(target.base_url, head(target.key, f"Content-Length: {length}"))
        assert answer.status == 413
        check(answer.status, answer.headers, answer.body, "request body is too large")


@pytest.mark.parametrize(("beginning", "limit"), [(b"", 1), (b'{"images":["data:', 40)])
async def test_an_endless_stream_is_refused_while_it_comes(
    target: RunningService, beginning: bytes, limit: int
) -> None:
    """The last piece is never sent: a server that waited for it would never answer."""
    connection = await Connection.to(target.base_url)
    answered = asyncio.ensure_future(connection.response())
    await connection.send(head(target.key, "Transfer-Encoding: chunked"))
    piece = b" " * 65_536
    if beginning:
        await connection.send(b"%x\r\n%b\r\n" % (len(beginning), beginning))
    pieces = 0
    while not answered.done() and pieces * len(piece) < (limit + 24) * MEBIBYTE:
        await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        pieces += 1
    answer = await answered
    assert answer.status == 413
    check(answer.status, answer.headers, answer.body, "request body is too large")
    assert pieces * len(piece) >= limit * MEBIBYTE
    await connection.close()


async def test_more_headers_than_anybody_needs(target: RunningService) -> None:
    for count, size in ((101, 1), (5000, 1), (100_000, 1), (10, 100_000)):
        many = [f"X-{number}: {'y' * size}" for number in range(count)]
        answer = await exchange(target.base_url, post(target.key, b"{}", *many))
        assert answer.status == 400
        check(answer.status, answer.headers, answer.body, "request is not valid HTTP")


async def test_an_address_without_end(target: RunningService) -> None:
    path = "/api/task/query?task_id=" + "a" * 1_000_000
    answer = await exchange(target.base_url, f"GET {path} HTTP/1.1\r\nHost: k\r\n\r\n".encode())
    check(answer.status, answer.headers, answer.body, "request is not valid HTTP")


# -- bodies that break off -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["closed", "reset", "half closed"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_body_that_stops_half_way(target: RunningService, kind: str, framing: str) -> None:
    body = f"{{{GOOD}}}".encode()
    begun = (
        head(target.key, f"Content-Length: {len(body) + 1}") + body
        if framing == "length"
        else head(target.key, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(body), body)
    )
    reader, writer = await asyncio.open_connection(
        *target.base_url.removeprefix("http://").split(":")
    )
    writer.write(begun)
    await writer.drain()
    # Answered on another connection: the server has seen this one begin.
    async with client_of(target.base_url, target.key) as client:
        assert (await client.get("/api/user")).status_code == 200
    if kind == "reset":
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    if kind == "closed":
        writer.close()
        return
    writer.write_eof()
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_chunks_that_are_not_chunks(target: RunningService) -> None:
    begun = head(target.key, "Transfer-Encoding: chunked")
    for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n", b"2\r\n{}x\r\n0\r\n\r\n", b"f" * 40):
        answer = await exchange(target.base_url, begun + chunks)
        assert answer.status == 400
        check(answer.status, answer.headers, answer.body, "request is not valid HTTP")


async def test_a_second_request_in_the_body_of_the_first_is_not_served(
    target: RunningService,
) -> None:
    smuggled = post(target.key, f"{{{GOOD}}}".encode())
    connection = await Connection.to(target.base_url)
    await connection.send(post(target.key, smuggled))
    check_response(await connection.response(), NOT_JSON)
    await connection.close()


def check_response(answer: Response, detail: str) -> None:
    check(answer.status, answer.headers, answer.body, detail)
