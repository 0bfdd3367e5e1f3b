"""CONTRACT §6: result images and where they are."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from ketchup import workspaces
from ketchup.clock import SECOND, after
from ketchup.ids import WorkspaceId, name_bits
from ketchup.providers.base import ImageFormat
from ketchup.storage import image_key
from tests.support.customers import customer
from tests.support.engines import PromptedProvider
from tests.support.exchange import exchange
from tests.support.pictures import png
from tests.support.receiver import Receiver
from tests.support.service import RunningService, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADDRESS = re.compile(
    r"(?P<base>http://127\.0\.0\.1:\d+)/fileSystem/response_images/(?P<number>\d+)/"
    r"(?P<day>\d{4}/\d\d/\d\d)/(?P<nanoseconds>\d{19})_(?P<bits>[0-9a-f]{32})\.(png|jpg|webp)"
)
GONE = b'{"code":1,"message":"not found"}'


async def image_of(service: RunningService, **fields: object) -> str:
    task = await service.ended(await service.submit(**fields))
    image: str = task["result"][0]["image"]
    return image


async def number_of(service: RunningService) -> int:
    workspace_id = WorkspaceId(service.workspace_id)
    found = await service.runtime.database.read(lambda conn: workspaces.get(conn, workspace_id))
    return found.number


async def fetched(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """Fetch as anybody: no key, no cookie, no referer."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, headers=fields)


async def test_the_address_has_the_form_of_the_contract(alice: RunningService) -> None:
    before = alice.runtime.clock.now()
    image = await image_of(alice)
    match = ADDRESS.fullmatch(image)
    assert match
    assert match["base"] == alice.base_url
    assert int(match["number"]) == await number_of(alice)
    made = int(match["nanoseconds"]) // 1000
    assert before <= made <= alice.runtime.clock.now()
    assert match["day"] == f"{datetime.fromtimestamp(made // SECOND, UTC):%Y/%m/%d}"


async def test_the_images_of_a_task_have_addresses_of_their_own(alice: RunningService) -> None:
    task = await alice.ended(await alice.submit(n=8))
    matches = [ADDRESS.fullmatch(one["image"]) for one in task["result"]]
    assert len({match["bits"] for match in matches if match}) == 8
    times = [int(match["nanoseconds"]) for match in matches if match]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("output_format", "media_type", "pillow"),
    [("png", "image/png", "PNG"), ("jpeg", "image/jpeg", "JPEG"), ("webp", "image/webp", "WEBP")],
)
async def test_anybody_can_download_it_with_these_headers(
    alice: RunningService, output_format: str, media_type: str, pillow: str
) -> None:
    answer = await fetched(await image_of(alice, output_format=output_format))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch('"[0-9a-f]{32}"', answer.headers["etag"])
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-request-id"].startswith("req_")
    assert Image.open(io.BytesIO(answer.content)).format == pillow


async def test_head_answers_like_get_without_the_body(alice: RunningService) -> None:
    url = await image_of(alice)
    get, head = await fetched(url), await fetched(url, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "access-control-allow-origin"):
        assert head.headers[name] == get.headers[name]


async def test_ranges(alice: RunningService) -> None:
    url = await image_of(alice)
    whole = (await fetched(url)).content
    part = await fetched(url, range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    behind = await fetched(url, range=f"bytes={len(whole)}-")
    assert behind.status_code == 416
    assert behind.content == b'{"code":1,"message":"range not satisfiable"}'


async def test_what_the_client_has_is_not_sent_again(alice: RunningService) -> None:
    url = await image_of(alice)
    etag = (await fetched(url)).headers["etag"]
    same = await fetched(url, if_none_match=etag)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["x-request-id"].startswith("req_")
    assert (await fetched(url, if_none_match='"other"')).status_code == 200


async def test_a_browser_may_ask_first(alice: RunningService) -> None:
    asked = await fetched(
        await image_of(alice),
        "OPTIONS",
        origin="https://shop.example",
        access_control_request_method="GET",
        access_control_request_headers="range",
    )
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "GET" in asked.headers["access-control-allow-methods"]
    assert "range" in asked.headers["access-control-allow-headers"]


async def stored(service: RunningService, days_ago: float) -> str:
    """Store an image as it was made some days ago, and return its path."""
    made = after(service.runtime.clock.now(), -days_ago * 86_400)
    key = image_key(await number_of(service), made, ImageFormat.PNG, name_bits())
    await service.runtime.storage.put(key, b"image")
    return f"/{key}"


async def test_an_address_lives_as_long_as_the_retention(alice: RunningService) -> None:
    assert (await alice.client.get(await stored(alice, 89.99))).status_code == 200
    old = await stored(alice, 90.01)
    answer = await alice.client.get(old)
    assert (answer.status_code, answer.content) == (404, GONE)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-request-id"].startswith("req_")
    head = await alice.client.head(old)
    assert (head.status_code, head.content) == (404, b"")


async def test_another_plan_holds_for_the_images_that_are_there(service: RunningService) -> None:
    async with customer(service) as owner:
        image = await stored(owner, 7.01)
        assert (await owner.client.get(image)).status_code == 200

        path = f"/admin/v1/workspaces/{owner.workspace_id}"
        assert (await owner.admin.patch(path, json={"plan": "free"})).is_success

        assert (await owner.client.get(image)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/fileSystem/response_images/../../secret.key",
        "/fileSystem/response_images/%2e%2e/%2e%2e/secret.key",
        "/fileSystem/..%2f..%2fadmin.token",
        "/fileSystem//etc/passwd",
        "/fileSystem/response_images/",
        "/fileSystem/references/2026/01/01/1_a.blob",
        "/fileSystem/response_images/100/2026/01/01/1767225600000000000_{bits}.gif",
        "/fileSystem/response_images/100/2026/01/01/1767225600000000000_{bits}.png%00",
        "/fileSystem/response_images/100/2026/13/41/1767225600000000000_{bits}.png",
        "/fileSystem/response_images/" + "9" * 5000,
        "/fileSystem/%ff%fe",
    ],
)
async def test_no_other_path_leads_anywhere(service: RunningService, path: str) -> None:
    target = path.replace("{bits}", "0" * 32)
    # Byte by byte: a client library would tidy the path up.
    answer = await exchange(service.base_url, f"GET {target} HTTP/1.1\r\nHost: k\r\n\r\n".encode())
    assert (answer.status, answer.body) == (404, GONE)


async def test_an_image_may_be_a_data_uri_instead(tmp_path: Path) -> None:
    settings = {"models.google/gempix2.result": "data"}
    async with running_service(tmp_path, settings=settings) as service, Receiver() as receiver:
        task = await service.ended(
            await service.submit(output_format="jpeg", callback_url=receiver.url)
        )
        await receiver.received(1)
        head, _, data = task["result"][0]["image"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data, validate=True))).format == "JPEG"
        assert _json(receiver.requests[0].body)["result"] == task["result"]
        other = await image_of(service, model="google/gemini-2.5-flash-image")
        assert other.startswith("http")


async def test_the_addresses_are_those_of_the_public_url(tmp_path: Path) -> None:
    settings = {"public_url": "https://images.example.com/studio/"}
    async with running_service(tmp_path, settings=settings) as service:
        image = await image_of(service)
        prefix = "https://images.example.com/studio"
        assert image.startswith(prefix + "/fileSystem/response_images/")
        # Whatever stands in front takes the prefix off.
        assert (await service.client.get(image.removeprefix(prefix))).status_code == 200


async def test_an_empty_answer_of_the_engine_is_a_failure_and_free(
    alice: RunningService, engine: PromptedProvider
) -> None:
    for images, wanted in ((0, 1), (1, 2)):
        prompt = f"{images} of {wanted}"
        engine.script(prompt, images)
        task = await alice.ended(await alice.submit(prompt=prompt, n=wanted))
        assert (task["status"], task["result"]) == ("failed", None)
        assert (task["consumed"], bool(task["status_reason"]["message"])) == ("0.00000000", True)
    assert (await alice.client.get("/api/user")).json()["data"]["credit"] == "100.00000000"


@pytest.mark.parametrize(
    "data", [b"", b"<html>not today</html>", b"GIF89a" + bytes(20), png(8, 8)[4:]], ids=repr
)
async def test_an_answer_that_is_no_picture_is_a_failure_and_free(
    alice: RunningService, engine: PromptedProvider, data: bytes
) -> None:
    prompt = f"{data!r} instead of a picture"
    engine.script(prompt, data)
    task = await alice.ended(await alice.submit(prompt=prompt))
    assert (task["status"], task["result"]) == ("failed", None)
    assert task["status_reason"]["message"] == "The model returned no image."
    assert (await alice.client.get("/api/user")).json()["data"]["credit"] == "100.00000000"


def _json(body: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(body)
    return parsed
