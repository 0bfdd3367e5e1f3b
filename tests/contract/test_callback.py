"""CONTRACT §5: the callback."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import standardwebhooks
from sqlalchemy import text

from ketchup.config import Settings
from ketchup.providers.base import Refused
from tests.support.customers import admin
from tests.support.engines import PromptedProvider
from tests.support.loopback import Request, response, serving
from tests.support.receiver import Answer, Received, Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = r"fileSystem/response_images/\d+/\d{4}/\d\d/\d\d/\d{19}_[0-9a-f]{32}\.png"


async def secret_of(service: RunningService) -> str:
    path = f"/admin/v1/workspaces/{service.workspace_id}/webhook-secret"
    secret: str = (await service.admin.get(path)).json()["secret"]
    return secret


def verified(secret: str, received: Received) -> object:
    """Verify by the Standard Webhooks library, as a receiver would, and return the body."""
    headers = {k: v for k, v in received.headers.items() if k.startswith("webhook-")}
    return standardwebhooks.Webhook(secret).verify(received.body, headers)


async def delivery_state(service: RunningService, task_id: str, status: str) -> None:
    """Wait until the delivery of a task's callback is in that state."""
    asked = text("SELECT state FROM delivery WHERE task_id = :id")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await service.runtime.database.read(
                lambda conn: conn.execute(asked, {"id": task_id}).scalar()
            )
            if found == status:
                return
            await asyncio.sleep(0.01)


# -- the body --------------------------------------------------------------------------------------


async def test_the_callback_of_a_success_is_these_bytes(alice: RunningService) -> None:
    async with Receiver() as receiver:
        task_id = await alice.submit(n=2, callback_url=receiver.url)
        await receiver.received(1)
    (received,) = receiver.requests
    image = f'{{"image":"{alice.base_url}/IMAGE"}}'
    expected = re.escape(
        f'{{"result":[{image},{image}],"status":"success","task_id":"{task_id}",'
        '"consumed":"1.000000","status_reason":{"message":null}}'
    ).replace("IMAGE", IMAGE)
    assert re.fullmatch(expected.encode(), received.body)
    assert json.loads(received.body)["result"] == (await alice.query(task_id))["result"]


async def test_the_callback_of_a_failure_is_these_bytes(
    alice: RunningService, engine: PromptedProvider
) -> None:
    engine.script("refused", Refused("The prompt was refused."))
    async with Receiver() as receiver:
        task_id = await alice.submit(prompt="refused", callback_url=receiver.url)
        await receiver.received(1)
    (received,) = receiver.requests
    assert (
        received.body
        == (
            f'{{"result":null,"status":"failed","task_id":"{task_id}","consumed":"0.000000",'
            '"status_reason":{"message":"The prompt was refused."}}'
        ).encode()
    )


async def test_a_callback_is_a_signed_post_of_json(alice: RunningService) -> None:
    async with Receiver() as receiver:
        task_id = await alice.submit(callback_url=receiver.url)
        await receiver.received(1)
    (received,) = receiver.requests
    assert (received.method, received.path) == ("POST", "/hook")
    assert received.headers["content-type"] == "application/json"
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", received.headers["webhook-signature"])
    body = verified(await secret_of(alice), received)
    assert isinstance(body, dict)
    assert body["task_id"] == task_id
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(await secret_of(alice), Received("POST", "/", received.headers, b"{}"))


async def test_two_signatures_while_a_secret_is_being_rotated(alice: RunningService) -> None:
    old = await secret_of(alice)
    path = f"/workspaces/{alice.workspace_id}/webhook-secret/rotate"
    new = (await admin(alice, path, {}))["secret"]
    async with Receiver() as receiver:
        await alice.submit(callback_url=receiver.url)
        await receiver.received(1)
    (received,) = receiver.requests
    assert received.headers["webhook-signature"].count("v1,") == 2
    assert old != new
    assert verified(old, received) == verified(new, received)


async def test_each_workspace_has_its_own_secret(
    alice: RunningService, bob: RunningService
) -> None:
    assert await secret_of(alice) != await secret_of(bob)


# -- when ------------------------------------------------------------------------------------------


async def test_the_final_state_is_committed_before_the_callback(alice: RunningService) -> None:
    seen: list[tuple[str, str]] = []
    told = asyncio.Event()

    async def ask(request: Request, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.body)
        seen.append((body["status"], (await alice.query(body["task_id"]))["status"]))
        writer.write(response(204, b""))
        told.set()

    async with serving(ask) as server:
        await alice.submit(callback_url=f"http://127.0.0.1:{server.port}/")
        await asyncio.wait_for(told.wait(), DEADLINE_SECONDS)
    assert seen == [("success", "success")]


async def test_a_task_without_a_callback_url_owes_none(alice: RunningService) -> None:
    task_id = await alice.submit()
    await alice.ended(task_id)
    asked = text("SELECT count(*) FROM delivery WHERE task_id = :id")
    owed = await alice.runtime.database.read(
        lambda conn: conn.execute(asked, {"id": task_id}).scalar_one()
    )
    assert owed == 0


async def test_a_receiver_that_did_not_know_the_task_yet_is_told_again(
    alice: RunningService,
) -> None:
    """The receiver answers 400 until it has stored the id, then 200 with an empty body."""
    async with Receiver(Answer(400, body=b"unknown task"), Answer(200)) as receiver:
        task_id = await alice.submit(callback_url=receiver.url)
        await receiver.received(2)
        await delivery_state(alice, task_id, "delivered")
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    secret = await secret_of(alice)
    assert verified(secret, first) == verified(secret, second)
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered_whatever_its_body(alice: RunningService, status: int) -> None:
    body = b"" if status == 204 else b"\xff{not json"
    async with Receiver(otherwise=Answer(status, body=body)) as receiver:
        task_id = await alice.submit(callback_url=receiver.url)
        await receiver.received(1)
        await delivery_state(alice, task_id, "delivered")
    assert len(receiver.requests) == 1


async def test_410_ends_the_attempts(alice: RunningService) -> None:
    async with Receiver(otherwise=Answer(410)) as receiver:
        task_id = await alice.submit(callback_url=receiver.url)
        await receiver.received(1)
        await delivery_state(alice, task_id, "dead")
    assert len(receiver.requests) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed(alice: RunningService) -> None:
    async with Receiver() as target:
        redirect = Answer(307, {"location": target.url})
        async with Receiver(redirect, otherwise=Answer(200)) as receiver:
            task_id = await alice.submit(callback_url=receiver.url)
            await receiver.received(2)
            await delivery_state(alice, task_id, "delivered")
    assert target.requests == []


async def test_attempts_end_with_the_schedule(alice: RunningService) -> None:
    async with Receiver(otherwise=Answer(500)) as receiver:
        task_id = await alice.submit(callback_url=receiver.url)
        await receiver.received(4)
        await delivery_state(alice, task_id, "dead")
    assert len(receiver.requests) == 4
    assert len({received.body for received in receiver.requests}) == 1


async def test_the_schedule_is_75_hours_and_35_minutes_long() -> None:
    schedule = Settings().webhooks.schedule
    minute, hour = 60, 3600
    assert list(schedule) == [
        0, 5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour,
    ]  # fmt: skip
    assert sum(schedule) // minute == 75 * 60 + 35
