from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from ketchup.clock import FrozenClock, Micros, after
from ketchup.providers.base import ImageFormat
from ketchup.storage import Bucket, BucketStorage, DiskStorage, Storage, image_key, reference_key
from ketchup.wire.files import ImageFiles

NOW = FrozenClock().at
DAY = 24 * 3600
RETENTION = 30 * DAY
BITS = "0123456789abcdef" * 2
ETAG = f'"{BITS}"'
IMAGE = bytes(range(256)) * 4000


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    chunks: int


@dataclass
class Files:
    """The endpoint with a storage, a clock and a workspace number 7."""

    storage: Storage
    clock: FrozenClock

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        async def retention(number: int) -> int | None:
            return RETENTION if number == 7 else None

        messages: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            messages.append(message)

        raw = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
        scope: dict[str, object] = {"method": method, "path": path, "headers": raw}
        await ImageFiles(self.storage, self.clock, retention).respond(scope, send, "req_1")
        return _response(messages)

    async def put(self, image_format: ImageFormat = ImageFormat.PNG, number: int = 7) -> str:
        key = image_key(number, NOW, image_format, BITS)
        await self.storage.put(key, IMAGE)
        return f"/{key}"


def _response(messages: list[dict[str, object]]) -> Response:
    start, *bodies = messages
    assert start["type"] == "http.response.start"
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
    pairs = cast("list[tuple[bytes, bytes]]", start["headers"])
    headers = {name.decode(): value.decode() for name, value in pairs}
    assert len(headers) == len(pairs), "a header came twice"
    assert all(name == name.lower() for name in headers)
    data = b"".join(cast("bytes", body["body"]) for body in bodies)
    return Response(cast("int", start["status"]), headers, data, len(bodies) - 1)


@pytest_asyncio.fixture
async def files(tmp_path: Path) -> Files:
    return Files(DiskStorage(tmp_path / "blobs"), FrozenClock())


async def test_an_address_of_the_bucket_ends_with_the_retention(bucket: Bucket) -> None:
    files = Files(BucketStorage(bucket, presigned=True), FrozenClock())
    path = await files.put()
    files.clock.advance(RETENTION - 60)
    moved = await files.ask(path)
    assert moved.status == 302
    assert "X-Amz-Expires=60&" in moved.headers["location"]
    files.clock.advance(60)
    assert (await files.ask(path)).status == 404


@pytest.mark.parametrize("image_format", list(ImageFormat))
async def test_an_image_is_served_with_every_header(
    files: Files, image_format: ImageFormat
) -> None:
    response = await files.ask(await files.put(image_format))
    assert response.status == 200
    assert response.body == IMAGE
    assert response.chunks > 1
    assert response.headers == {
        "content-type": f"image/{image_format.value}",
        "content-length": str(len(IMAGE)),
        "etag": ETAG,
        "accept-ranges": "bytes",
        "cache-control": f"public, max-age={RETENTION}, immutable",
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "accept-ranges, content-length, content-range, etag, x-request-id",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
        "x-request-id": "req_1",
    }


async def test_whatever_is_answered_no_browser_takes_it_for_a_page(files: Files) -> None:
    path = await files.put()
    answers = [
        await files.ask(path),
        await files.ask(path, "HEAD"),
        await files.ask(path, range="bytes=0-0"),
        await files.ask(path, range="bytes=9999999-"),
        await files.ask(path, if_none_match=ETAG),
        await files.ask(path, "OPTIONS"),
        await files.ask(path, "POST"),
        await files.ask(path + "x"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 206, 416, 304, 204, 405, 404]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        # Images are for pages of everybody, so `same-site` would break the contract's clients.
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers.get("content-type", "image/png") in {
            "image/png",
            "application/json; charset=utf-8",
        }


async def test_head_has_the_headers_of_get_and_no_body(files: Files) -> None:
    path = await files.put()
    get, head = await files.ask(path), await files.ask(path, "HEAD")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1023990-", 1023990, 1024000),
        ("bytes=-5", 1023995, 1024000),
        ("bytes=-99999999", 0, 1024000),
        ("bytes=5-99999999", 5, 1024000),
        ("BYTES=1-2", 1, 3),
    ],
)
async def test_a_range_is_served_alone(files: Files, wanted: str, start: int, stop: int) -> None:
    response = await files.ask(await files.put(), range=wanted)
    assert response.status == 206
    assert response.body == IMAGE[start:stop]
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/1024000"
    assert response.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("wanted", ["bytes=1024000-", "bytes=9999999-99999999", "bytes=-0"])
async def test_a_range_behind_the_end_cannot_be_satisfied(files: Files, wanted: str) -> None:
    response = await files.ask(await files.put(), range=wanted)
    assert response.status == 416
    assert response.headers["content-range"] == "bytes */1024000"
    assert json.loads(response.body) == {"code": 1, "message": "range not satisfiable"}


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=5-4",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=\xb2-",
        "0-1",
        "bytes=" + "9" * 30 + "-",
    ],
)
async def test_a_malformed_or_multiple_range_gets_the_whole(files: Files, wanted: str) -> None:
    response = await files.ask(await files.put(), range=wanted)
    assert (response.status, len(response.body)) == (200, len(IMAGE))
    assert "content-range" not in response.headers


@pytest.mark.parametrize(
    ("if_range", "status"),
    [(ETAG, 206), ('"other"', 200), (f"W/{ETAG}", 200), ("Wed, 10 Sep 2025 10:00:00 GMT", 200)],
)
async def test_a_range_holds_only_for_the_content_the_client_began_with(
    files: Files, if_range: str, status: int
) -> None:
    response = await files.ask(await files.put(), range="bytes=0-9", if_range=if_range)
    assert response.status == status


@pytest.mark.parametrize("tags", [ETAG, f'"a", {ETAG}', f"W/{ETAG}", "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_the_content_is_told_so(
    files: Files, tags: str, method: str
) -> None:
    response = await files.ask(await files.put(), method, if_none_match=tags, range="bytes=0-1")
    assert (response.status, response.body) == (304, b"")
    assert response.headers["etag"] == ETAG
    assert "content-length" not in response.headers
    assert response.headers["access-control-allow-origin"] == "*"


async def test_a_client_with_other_content_gets_the_image(files: Files) -> None:
    assert (await files.ask(await files.put(), if_none_match='"a", "b"')).status == 200


async def test_caches_keep_an_image_only_as_long_as_it_lives(files: Files) -> None:
    path = await files.put()
    files.clock.advance(RETENTION - 60)
    response = await files.ask(path)
    assert response.headers["cache-control"] == "public, max-age=60, immutable"
    files.clock.advance(59)
    assert (await files.ask(path)).status == 200
    files.clock.advance(1)
    assert (await files.ask(path)).status == 404


async def test_an_image_of_a_clock_that_ran_ahead_is_not_kept_longer(files: Files) -> None:
    path = await files.put()
    files.clock.at = after(NOW, -5 * DAY)
    assert f"max-age={RETENTION}," in (await files.ask(path)).headers["cache-control"]


async def test_everything_that_is_no_image_looks_the_same(files: Files) -> None:
    path = await files.put()
    reference = reference_key(NOW, BITS)
    await files.storage.put(reference, b"private")
    strangers = await files.put(number=8)
    (image,) = await files.storage.keys("fileSystem/response_images/7")
    paths = [
        path.replace(BITS, "f" * 32),
        path.replace("/7/", "/07/"),
        path.replace("/7/", "/8/../7/"),
        path.replace(".png", ".jpg"),
        path + "/",
        path + "\0",
        "/" + path,
        path.replace("/2025", "//2025"),
        path.replace("_", "%5f"),
        path.upper(),
        f"/{reference}",
        f"/fileSystem/response_images/../../{reference}",
        strangers,
        "/fileSystem/response_images/",
        "/fileSystem/response_images/7/2025/09/10",
        "",
    ]
    answers = [await files.ask(each) for each in paths]
    assert {answer.status for answer in answers} == {404}
    assert {answer.body for answer in answers} == {b'{"code":1,"message":"not found"}'}
    assert len({json.dumps(answer.headers) for answer in answers}) == 1
    headers = answers[0].headers
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"] == "req_1"
    assert f"/{image}" == path


async def test_a_head_of_nothing_has_no_body(files: Files) -> None:
    response = await files.ask("/fileSystem/response_images/x", "HEAD")
    assert (response.status, response.body) == (404, b"")
    assert response.headers["content-length"] == "32"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
async def test_other_methods_are_not_allowed(files: Files, method: str) -> None:
    response = await files.ask(await files.put(), method)
    assert response.status == 405
    assert json.loads(response.body) == {"code": 1, "message": "method not allowed"}
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_preflight_lets_a_page_ask_for_ranges(files: Files) -> None:
    response = await files.ask("/fileSystem/response_images/x", "OPTIONS", origin="https://a.test")
    assert (response.status, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "range" in response.headers["access-control-allow-headers"]


async def test_an_image_from_the_first_microsecond_is_just_too_old(files: Files) -> None:
    key = image_key(7, Micros(0), ImageFormat.PNG, BITS)
    await files.storage.put(key, IMAGE)
    assert (await files.ask(f"/{key}")).status == 404
