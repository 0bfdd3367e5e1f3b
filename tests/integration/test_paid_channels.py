"""Channels that are never asked twice, and those that stay out: what was paid once is not paid again,
nobody waits for ever, and the customer's credits are right."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from structlog.testing import capture_logs

from ketchup.generation import outcomes
from ketchup.generation.run import TRIED_TOO_OFTEN
from ketchup.providers.base import (
    AnswerLost,
    Misconfigured,
    NotServed,
    Provider,
    RateLimited,
    Refused,
)
from tests.support.engines import ScriptedProvider
from tests.support.home import Home, change, rows, until
from tests.support.invariants import Promises, violations
from tests.support.lost_answers import answer_lost
from tests.support.pictures import png
from tests.support.receiver import Answer, Receiver
from tests.support.service import RunningService

CHANNEL: Final = """
[channels.paid]
provider = "gemini"
key = "a-key"
models = ["google/gempix2"]
cost = "0.04"
"""
OTHER: Final = """
priority = 1
[channels.other]
provider = "studio"
models = ["google/gempix2"]
"""
STAND_IN: Final = """
[models."google/gempix2"]
fallback = "google/gemini-2.5-flash-image"
[channels.other]
provider = "studio"
models = ["google/gemini-2.5-flash-image"]
"""
FULL: Final = "100.00000000"
DATA_URI: Final = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()
COSTS: Final = {"paid": 40_000}

ONE_AT_A_TIME = """images_in_flight = 1
[models."google/gempix2"]
max_n = 1
"""


class PaidHome(Home):
    """Where a service lives whose model is rendered by the channel `paid`."""

    @asynccontextmanager
    async def paid_for(
        self,
        engine: Provider,
        *,
        more: str = "",
        studio: Provider | None = None,
        **settings: object,
    ) -> AsyncIterator[RunningService]:
        self.data.mkdir(exist_ok=True)
        (self.data / "ketchup.toml").write_text(CHANNEL + more)
        engines = {"gemini": engine, "studio": studio or ScriptedProvider()}
        async with self.served_by(engines, **settings) as service:
            yield service

    def wrong(self, task_id: str) -> list[str]:
        """Return all that is wrong once everything has ended."""
        promises = Promises({task_id})
        return violations(
            self.data, promises, at_the_end=True, database=self.database_url, costs=COSTS
        )


@pytest.fixture
def home(tmp_path: Path, database_url: str | None) -> PaidHome:
    return PaidHome(tmp_path / "data", database_url)


async def finds(service: RunningService, sql: str) -> bool:
    return bool(await rows(service, sql))


async def credit(service: RunningService) -> str:
    left: str = (await service.client.get("/api/user")).json()["data"]["credit"]
    return left


async def test_what_a_stop_interrupts_is_not_sent_again_and_is_free(home: PaidHome) -> None:
    engine = ScriptedProvider(asyncio.Event())
    async with home.paid_for(engine, worker__drain_seconds=0) as service:
        task_id = await service.submit(images=[DATA_URI])
        await engine.started.wait()

    assert home.wrong(task_id) == []
    assert len(home.rows("SELECT key FROM erasure")) == 1
    assert home.rows("SELECT status, reason FROM task") == [("failed", outcomes.NO_ANSWER)]
    assert home.rows("SELECT outcome, cost FROM attempt") == [("unknown", 40_000)]
    assert home.rows("SELECT balance, held FROM account") == [(100_000_000, 0)]


async def test_the_operator_sees_what_each_attempt_cost(home: PaidHome) -> None:
    engine = ScriptedProvider(RateLimited("429", retry_after=0.01))
    async with home.paid_for(engine) as service:
        task_id = await service.submit(prompt="a very private boat")
        assert (await service.ended(task_id))["status"] == "success"
        answer = await service.admin.get(f"/admin/v1/tasks/{task_id}")

        task = answer.json()
        assert (task["status"], task["consumed"]) == ("success", "0.500000")
        assert [
            (one["number"], one["channel"], one["outcome"], one["images"], one["cost"])
            for one in task["attempts"]
        ] == [(1, "paid", "retry", 1, "0.000000"), (2, "paid", "success", 1, "0.040000")]
        assert "429" in task["attempts"][0]["detail"]
        # Neither what was asked for nor what was drawn.
        assert "private" not in answer.text
        assert set(task) == {
            *("id", "workspace_id", "model", "environment"),
            *("status", "cancel_requested_at", "price", "consumed", "attempts"),
        }
        for absent in ("ta1", "ta" + "0" * 34):
            assert (await service.admin.get(f"/admin/v1/tasks/{absent}")).status_code == 404
        stranger = await service.client.get(f"/admin/v1/tasks/{task_id}")
        assert stranger.status_code == 401


async def test_what_a_stop_interrupts_before_it_was_sent_goes_back_to_the_queue(
    home: PaidHome,
) -> None:
    never = asyncio.Event()
    async with (
        Receiver(Answer(after=never)) as slow,
        home.paid_for(ScriptedProvider(), worker__drain_seconds=0) as service,
    ):
        await service.submit(images=[slow.url])
        await slow.received(1)

    assert home.rows("SELECT queue_state, tries, losses FROM task") == [("ready", 0, 0)]
    assert home.rows("SELECT * FROM attempt") == []


async def test_pictures_that_cannot_be_stored_in_time_are_not_rendered_again(
    home: PaidHome,
) -> None:
    engine = ScriptedProvider()
    async with home.paid_for(engine, worker__task_timeout_seconds=0.5) as service:
        in_the_way = home.data / "blobs" / "fileSystem"
        in_the_way.write_text("no folder can be made here")
        task_id = await service.submit()
        data = await service.ended(task_id)

        assert data["status_reason"]["message"] == outcomes.NOT_STORED
        assert len(engine.requests) == 1
        assert await credit(service) == FULL
    in_the_way.unlink()
    assert home.wrong(task_id) == []
    assert home.rows("SELECT outcome, cost FROM attempt") == [("failed", 40_000)]


async def test_pictures_wait_for_a_disk_that_is_full_for_a_moment(home: PaidHome) -> None:
    engine = ScriptedProvider()
    async with home.paid_for(engine) as service:
        in_the_way = home.data / "blobs" / "fileSystem"
        in_the_way.write_text("no folder can be made here")
        task_id = await service.submit()
        await engine.started.wait()
        in_the_way.unlink()

        assert (await service.ended(task_id))["status"] == "success"
        assert len(engine.requests) == 1
    assert home.wrong(task_id) == []


async def test_an_end_that_crashes_after_the_answer_is_not_rendered_again(home: PaidHome) -> None:
    gate = asyncio.Event()
    engine = ScriptedProvider(gate)
    async with home.paid_for(engine) as service:
        task_id = await service.submit()
        await engine.started.wait()
        # Nobody knows where its images belong.
        await change(service, "UPDATE workspace SET id = 'moved ' || id")
        gate.set()
        await until(lambda: finds(service, "SELECT 1 FROM task WHERE status = 'failed'"))
        await change(service, "UPDATE workspace SET id = substr(id, 7)")

        assert len(engine.requests) == 1
        assert await credit(service) == FULL
    assert home.wrong(task_id) == []
    assert home.rows("SELECT reason FROM task") == [(outcomes.NOT_STORED,)]


async def test_what_cannot_be_ended_is_not_rendered_again_for_a_claim_that_nobody_heard_of(
    home: PaidHome,
) -> None:
    gate = asyncio.Event()
    engine = ScriptedProvider(gate)
    async with home.paid_for(engine) as service:
        task_id = await service.submit()
        await engine.started.wait()
        # The books do not agree with the task, whatever its end is.
        await change(service, "UPDATE hold SET task_id = 'x' || substr(task_id, 3)")
        with capture_logs() as events:
            gate.set()
            await until(lambda: "a task cannot be ended" in [e["event"] for e in events])
        with answer_lost(service.runtime.database, "UPDATE queue_clock") as lost:
            other = await service.submit()
            await service.ended(other)

        assert lost.is_set()
        assert [request.task_id for request in engine.requests] == [task_id, other]
        await change(service, "UPDATE hold SET task_id = 'ta' || substr(task_id, 2)")


async def test_a_task_does_not_wait_for_ever_for_a_key_that_nobody_mends(home: PaidHome) -> None:
    engine = ScriptedProvider(*[Misconfigured("401")] * 20)
    async with (
        Receiver() as receiver,
        home.paid_for(engine, worker__patience_seconds=2) as service,
    ):
        task_id = await service.submit(callback_url=receiver.url)
        data = await service.ended(task_id)
        await receiver.received(1)

        assert data["status_reason"]["message"] == outcomes.CHANNELS_OUT
        assert await credit(service) == FULL
        # It is probed all the same: whoever comes later need not wait when it was mended.
        assert len(engine.requests) >= 2
        await until(lambda: finds(service, "SELECT 1 FROM delivery WHERE state = 'delivered'"))
    assert home.wrong(task_id) == []


async def test_what_an_engine_does_not_serve_takes_no_channel_out_and_uses_a_try(
    home: PaidHome,
) -> None:
    engine = ScriptedProvider(NotServed("404"), NotServed("404"))
    async with home.paid_for(engine, worker__max_tries=2) as service:
        task_id = await service.submit()
        data = await service.ended(task_id)

        assert data["status_reason"]["message"] == TRIED_TOO_OFTEN
        assert not await finds(service, "SELECT 1 FROM channel WHERE taken_out IS NOT NULL")
        # Whether it is the whole channel is the breaker's to find out.
        assert await finds(service, "SELECT 1 FROM channel WHERE failures = 2")
        assert (await service.ended(await service.submit()))["status"] == "success"
    assert home.wrong(task_id) == []
    costs = home.rows("SELECT outcome, cost FROM attempt ORDER BY task_id, number")
    assert sorted(costs) == [("failed", 0), ("retry", 0), ("success", 40_000)]


async def test_a_request_that_an_engine_cannot_serve_is_told_why_and_closes_nothing(
    home: PaidHome,
) -> None:
    engine = ScriptedProvider(*[NotServed("404", reason="No references here.")] * 5)
    async with home.paid_for(engine) as service:
        for _ in range(5):
            data = await service.ended(await service.submit())
            assert data["status_reason"]["message"] == "No references here."
        assert not await finds(service, "SELECT 1 FROM channel WHERE failures > 0")
        assert await credit(service) == FULL
    assert set(home.rows("SELECT outcome, cost FROM attempt")) == {("failed", 0)}


async def test_what_one_channel_does_not_serve_another_does(home: PaidHome) -> None:
    engine = ScriptedProvider(NotServed("404", reason="No references here."))
    async with home.paid_for(engine, more=OTHER) as service:
        data = await service.ended(await service.submit())

    assert data["status"] == "success"
    assert home.rows("SELECT channel, outcome, cost FROM attempt ORDER BY number") == [
        ("paid", "retry", 0),
        ("other", "success", 0),
    ]


async def test_a_stand_in_does_not_make_a_task_go_round_for_ever(home: PaidHome) -> None:
    engine = ScriptedProvider(*[NotServed("404")] * 20)
    async with home.paid_for(engine, more=STAND_IN, worker__max_tries=2) as service:
        data = await service.ended(await service.submit())

    assert data["status_reason"]["message"] == TRIED_TOO_OFTEN
    assert len(engine.requests) == 2


async def test_a_stand_in_renders_at_the_price_of_the_model_that_was_asked_for(
    home: PaidHome,
) -> None:
    engine, other = ScriptedProvider(Misconfigured("401")), ScriptedProvider()
    async with home.paid_for(engine, more=STAND_IN, studio=other) as service:
        task_id = await service.submit()
        data = await service.ended(task_id)

        assert data["status"] == "success"
        assert await credit(service) == "99.50000000"
    assert [request.model for request in engine.requests] == ["google/gempix2"]
    assert [request.model for request in other.requests] == ["google/gemini-2.5-flash-image"]
    assert home.wrong(task_id) == []


async def test_a_refusal_keeps_the_cost_of_what_may_have_been_rendered(home: PaidHome) -> None:
    async with home.paid_for(ScriptedProvider(Refused("No cats."))) as service:
        task_id = await service.submit(n=3)
        await service.ended(task_id)

        assert await credit(service) == FULL
    assert home.wrong(task_id) == []
    assert home.rows("SELECT outcome, cost FROM attempt") == [("failed", 120_000)]


async def test_a_pause_that_was_asked_for_holds_though_the_rest_was_rendered(
    home: PaidHome,
) -> None:
    engine = ScriptedProvider(AnswerLost("1 of 3 calls brought nothing", retry_after=200.0))
    async with home.paid_for(engine) as service:
        task_id = await service.submit(n=3)
        data = await service.ended(task_id)

        assert data["status_reason"]["message"] == outcomes.NO_ANSWER
        assert await finds(service, "SELECT 1 FROM channel WHERE closed_until > 0")
    assert home.wrong(task_id) == []
    assert home.rows("SELECT outcome, cost FROM attempt") == [("unknown", 120_000)]


async def test_the_references_of_a_task_that_waits_for_a_channel_are_fetched_once(
    home: PaidHome,
) -> None:
    gate = asyncio.Event()
    engine = ScriptedProvider(gate)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    shown = Answer(headers={"content-type": "image/png"}, body=picture.getvalue())
    async with (
        Receiver(otherwise=shown) as pictures,
        home.paid_for(engine, more=ONE_AT_A_TIME) as service,
    ):
        first = await service.submit()
        await engine.started.wait()
        second = await service.submit(images=[pictures.url])
        await until(lambda: finds(service, "SELECT 1 FROM task WHERE attempt > 2"))

        assert pictures.requests == []
        gate.set()
        assert (await service.ended(first))["status"] == "success"
        assert (await service.ended(second))["status"] == "success"
        assert len(pictures.requests) == 1
