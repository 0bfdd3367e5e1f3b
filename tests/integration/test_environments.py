"""Keys for tests: their tasks cost nothing, and never meet what renders for those who pay."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, text

from ketchup import ids
from ketchup.ids import TaskId
from ketchup.providers.base import ImageFormat, ImageRequest, ImageSize
from ketchup.providers.studio import StudioProvider
from tests.support.customers import customer
from tests.support.engines import ScriptedProvider
from tests.support.receiver import Receiver
from tests.support.service import (
    DEADLINE_SECONDS,
    RunningService,
    client_of,
    running_service,
)

CHANNEL = {
    "provider": "openai",
    "base_url": "http://127.0.0.1:9/",
    "models": {"google/gempix2": []},
}


def settings(**channels: str) -> dict[str, object]:
    """Return channels of their names, each for an environment."""
    return {
        f"channels.{name}.{field}": value
        for name, environment in channels.items()
        for field, value in {**CHANNEL, "environment": environment}.items()
    }


def engines(*names: str) -> dict[str, ScriptedProvider]:
    return {name: ScriptedProvider() for name in ("studio", *(f"channels.{n}" for n in names))}


async def rendered(service: RunningService, environment: str) -> dict[str, Any]:
    async with customer(service, credit="1", environment=environment) as own:
        task_id = await own.submit()
        assert (await own.ended(task_id))["status"] == "success"
        task: dict[str, Any] = (await own.client.get(f"/v1/tasks/{task_id}")).json()
        task["credit"] = (await own.client.get("/api/user")).json()["data"]["credit"]
        task["usage"] = (await own.client.get("/v1/usage")).json()["items"]
    return task


async def test_each_goes_to_the_channels_of_its_own_environment(
    tmp_path: Path, database_url: str | None
) -> None:
    given = engines("paid", "sandbox")
    running = running_service(
        tmp_path / "data",
        providers=given,
        settings=settings(paid="live", sandbox="test"),
        database=database_url,
    )
    async with running as service:
        test = await rendered(service, "test")
        asked = {name: len(engine.requests) for name, engine in given.items()}
        assert asked == {"studio": 0, "channels.paid": 0, "channels.sandbox": 1}
        live = await rendered(service, "live")
        asked = {name: len(engine.requests) for name, engine in given.items()}
        assert asked == {"studio": 0, "channels.paid": 1, "channels.sandbox": 1}
    assert (test["environment"], test["price"], test["consumed"]) == (
        "test",
        "0.000000",
        "0.000000",
    )
    assert (live["environment"], live["price"], live["consumed"]) == (
        "live",
        "0.500000",
        "0.500000",
    )
    assert (test["credit"], live["credit"]) == ("1.00000000", "0.50000000")
    [used] = test["usage"]
    assert (used["environment"], used["tasks"], used["credits"]) == ("test", 1, "0.000000")


async def test_a_test_without_a_channel_goes_to_the_studio_and_never_to_a_live_one(
    tmp_path: Path,
) -> None:
    given = engines("paid")
    running = running_service(tmp_path / "data", providers=given, settings=settings(paid="live"))
    async with running as service:
        await rendered(service, "test")
    assert len(given["studio"].requests) == 1
    assert given["studio"].requests[0].is_test
    assert not given["channels.paid"].requests


async def test_a_live_task_never_goes_to_a_tests_channel(tmp_path: Path) -> None:
    given = engines("sandbox")
    running = running_service(tmp_path / "data", providers=given, settings=settings(sandbox="test"))
    async with running as service:
        await rendered(service, "live")
    assert not given["channels.sandbox"].requests
    assert not given["studio"].requests[0].is_test


async def test_a_live_request_is_never_answered_with_a_tests_task(tmp_path: Path) -> None:
    async with running_service(tmp_path / "data") as service, customer(service) as own:
        keys = f"/admin/v1/workspaces/{own.workspace_id}/keys"
        made = await service.admin.post(keys, json={"name": "t", "environment": "test"})
        assert made.json()["key"].startswith("dk-test_")
        body = {"model": "google/gempix2", "prompt": "a boat"}
        answers = [
            await own.client.post(
                "/api/image/gen",
                json=body,
                headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "order-1"},
            )
            for key in (made.json()["key"], own.key)
        ]
    assert [answer.status_code for answer in answers] == [200, 409]


async def test_who_has_no_credits_can_test(tmp_path: Path) -> None:
    running = running_service(tmp_path / "data")
    async with running as service, customer(service, credit="0", environment="test") as own:
        assert (await own.ended(await own.submit(n=8)))["status"] == "success"


@pytest.mark.parametrize("image_format", list(ImageFormat))
async def test_the_studio_says_in_the_picture_that_it_is_a_test(image_format: ImageFormat) -> None:
    studio = StudioProvider(processes=1)
    try:
        feet = []
        for is_test in (False, True):
            request = ImageRequest(
                "ta1", "m", "a boat", (), None, ImageSize.K1, 1, 7, image_format, is_test
            )
            [image] = await studio.generate(
                request, progress=lambda _done: None, cancelled=asyncio.Event()
            )
            picture = Image.open(io.BytesIO(image.data)).convert("RGB")
            foot = picture.crop((0, picture.height - 60, picture.width, picture.height - 20))
            feet.append({colour for _, colour in foot.getcolors(1 << 20) or []})
    finally:
        await studio.close()
    plain, stamped = feet

    def is_lettered(colours: set[Any]) -> bool:
        return any(red > 230 and green > 190 and blue < 110 for red, green, blue in colours)

    assert is_lettered(stamped)
    assert not is_lettered(plain)


@pytest.mark.parametrize(
    ("method", "path", "done"),
    [
        ("POST", "/v1/tasks/{task}/cancel", 409),
        ("POST", "/v1/deliveries/{delivery}/redeliver", 202),
        ("DELETE", "/v1/tasks/{task}", 204),
    ],
)
async def test_a_tests_key_changes_no_live_task_and_a_live_key_changes_both(
    tmp_path: Path, database_url: str | None, method: str, path: str, done: int
) -> None:
    running = running_service(tmp_path / "data", database=database_url)
    async with Receiver() as hook, running as service, customer(service) as live:
        keys = f"/admin/v1/workspaces/{live.workspace_id}/keys"
        made = await service.admin.post(keys, json={"name": "t", "environment": "test"})
        async with client_of(service.base_url, made.json()["key"]) as client:
            test = replace(live, client=client)
            paid = await _path(live, hook, path)
            free = await _path(test, hook, path)
            free_too = await _path(test, hook, path)

            refused = await client.request(method, paid)
            assert refused.status_code == 403
            assert refused.json()["detail"] == "a test key cannot change a live task"
            assert (await client.request(method, free)).status_code == done
            assert (await live.client.request(method, free_too)).status_code == done
            assert (await live.client.request(method, paid)).status_code == done
            # What it may read is for its scopes to say.
            assert (await client.get("/v1/tasks")).status_code == 200
            absent = path.format(task="ta1", delivery="msg_ta1")
            assert (await client.request(method, absent)).status_code == 404


async def _path(own: RunningService, hook: Receiver, path: str) -> str:
    """Have a task end whose callback ended long before, and return the path to it."""
    task_id = await own.submit(callback_url=hook.url)
    await own.ended(task_id)
    delivery = ids.delivery_id(TaskId(task_id))

    def rest(conn: Connection) -> bool:
        rested = text(
            "UPDATE delivery SET finished_at = finished_at - 60000000 "
            "WHERE id = :id AND state = 'delivered'"
        )
        return conn.execute(rested, {"id": delivery}).rowcount == 1

    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await own.runtime.database.write(rest):
            await asyncio.sleep(0.01)
    return path.format(task=task_id, delivery=delivery)
