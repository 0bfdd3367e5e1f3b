"""A wall clock that jumps by an hour, either way, in the middle of everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from sqlalchemy import Connection, text

from ketchup.providers.base import Unavailable
from tests.support.clocks import AdjustableClock, WallClock
from tests.support.engines import ScriptedProvider
from tests.support.invariants import Promises, violations
from tests.support.receiver import Answer, Receiver
from tests.support.service import RunningService, running_service

HOUR: Final = 3600.0
LEASE_SECONDS: Final = 2.0
SECONDS: Final = 15.0
either_way = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])


@pytest.fixture
def clock() -> AdjustableClock:
    return AdjustableClock()


@either_way
async def test_a_task_that_renders_goes_on_and_is_rendered_once(
    tmp_path: Path, clock: AdjustableClock, jump: float
) -> None:
    await _rendered_once(tmp_path, clock, jump)


async def test_a_lease_that_goes_by_the_wall_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await _rendered_once(tmp_path, WallClock(), HOUR)


async def _rendered_once(tmp_path: Path, clock: AdjustableClock, jump: float) -> None:
    hold = asyncio.Event()
    engine = ScriptedProvider(hold)
    async with _service(tmp_path, clock, engine) as service:
        task_id = await service.submit()
        await engine.started.wait()
        leased_to = await _rows(service, "SELECT id FROM worker")
        clock.adjust(jump)
        # Long enough for every sweep to judge the lease by the new time.
        await _until_later(LEASE_SECONDS * 1.5)
        hold.set()
        assert (await service.ended(task_id))["status"] == "success"

        assert await _rows(service, "SELECT id FROM worker") == leased_to
        assert await _rows(service, "SELECT outcome FROM attempt") == [("success",)]
    assert len(engine.requests) == 1
    assert violations(tmp_path / "data", Promises({task_id}), at_the_end=True) == []


@either_way
async def test_a_retry_comes_soon(tmp_path: Path, clock: AdjustableClock, jump: float) -> None:
    engine = ScriptedProvider(Unavailable("for a moment"))
    async with _service(tmp_path, clock, engine) as service:
        task_id = await service.submit()
        await _until(service, "SELECT 1 FROM task WHERE queue_state = 'delayed'")
        clock.adjust(jump)

        assert (await service.ended(task_id))["status"] == "success"
    assert len(engine.requests) == 2
    assert violations(tmp_path / "data", Promises({task_id}), at_the_end=True) == []


async def test_a_callback_that_failed_is_sent_again_when_the_clock_goes_forward(
    tmp_path: Path, clock: AdjustableClock
) -> None:
    async with (
        Receiver(Answer(500)) as receiver,
        _service(tmp_path, clock, ScriptedProvider()) as service,
    ):
        await service.submit(callback_url=receiver.url)
        await _until(service, "SELECT 1 FROM delivery WHERE tries = 1")
        clock.adjust(HOUR)

        await _sent_twice(service, receiver)


async def test_a_callback_that_failed_outlives_a_clock_that_is_wrong_for_a_while(
    tmp_path: Path, clock: AdjustableClock
) -> None:
    async with (
        Receiver(Answer(500)) as receiver,
        _service(tmp_path, clock, ScriptedProvider()) as service,
    ):
        await service.submit(callback_url=receiver.url)
        await _until(service, "SELECT 1 FROM delivery WHERE tries = 1")
        clock.adjust(-HOUR)
        # What is enqueued by the wrong clock is not kept back by what waits.
        second = await service.submit(callback_url=receiver.url)
        await receiver.received(2)
        assert second in receiver.requests[1].body.decode()
        clock.adjust(HOUR)

        await _sent_twice(service, receiver)


async def _sent_twice(service: RunningService, receiver: Receiver) -> None:
    await _until(service, "SELECT 1 FROM delivery WHERE state = 'delivered' AND tries = 2")
    sent = [(request.headers["webhook-id"], request.body) for request in receiver.requests]
    assert sent[0] == sent[-1]


@either_way
async def test_the_rate_limit_goes_back_to_normal(
    tmp_path: Path, clock: AdjustableClock, jump: float
) -> None:
    limits = {"submits_per_minute": 60, "submit_burst": 2}
    plans = {"scale": {"title": "Scale", **limits}}
    async with _service(tmp_path, clock, ScriptedProvider(), plans=plans) as service:
        await _submit_until_refused(service)
        clock.adjust(jump)
        await _until_later(1.5)
        await service.submit()
        # The burst was not paid out again and again.
        assert await _submit_until_refused(service) <= 2


@either_way
async def test_a_repeated_request_is_still_the_same_task(
    tmp_path: Path, clock: AdjustableClock, jump: float
) -> None:
    order = {"model": "google/gempix2", "prompt": "a red boat"}
    name = {"Idempotency-Key": "order-1"}
    async with _service(tmp_path, clock, ScriptedProvider()) as service:
        first = await service.client.post("/api/image/gen", json=order, headers=name)
        clock.adjust(jump)
        second = await service.client.post("/api/image/gen", json=order, headers=name)

        assert first.status_code == 200
        assert second.content == first.content
        [image] = (await service.ended(first.json()["data"]["task_id"]))["result"]
        assert (await service.client.get(image["image"])).status_code == 200


def _service(
    folder: Path, clock: AdjustableClock, engine: ScriptedProvider, **settings: object
) -> Any:  # noqa: ANN401 the context manager of `running_service`
    terms = {"worker.lease_seconds": LEASE_SECONDS, "webhooks.schedule": "0,1,1"}
    return running_service(
        folder / "data", providers={"studio": engine}, settings=terms | settings, clock=clock
    )


async def _submit_until_refused(service: RunningService) -> int:
    """Return how many were accepted."""
    for accepted in range(10):
        order = {"model": "google/gempix2", "prompt": "a red boat"}
        answer = await service.client.post("/api/image/gen", json=order)
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 2
            return accepted
    raise AssertionError("nothing was refused")


async def _rows(service: RunningService, sql: str) -> list[tuple[Any, ...]]:
    def read(conn: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in conn.execute(text(sql))]

    return await service.runtime.database.read(read)


async def _until(service: RunningService, sql: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not await _rows(service, sql):
            await asyncio.sleep(0.01)


async def _until_later(seconds: float) -> None:
    """Let real time pass: what is waited for here is that nothing happens."""
    end = monotonic() + seconds
    while monotonic() < end:
        await asyncio.sleep(0.05)
