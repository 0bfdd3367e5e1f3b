"""Waiting for a task's end: woken by it, bounded, and no longer than somebody is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ketchup.api import Waiters
from ketchup.clock import FrozenClock
from ketchup.errors import Unavailable
from tests.integration.test_worker import Gate
from tests.support.service import DEADLINE_SECONDS, running_service


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def test_who_waits_is_answered_when_the_task_ends(
    tmp_path: Path, database_url: str | None
) -> None:
    gate = Gate()
    running = running_service(tmp_path / "data", providers={"studio": gate}, database=database_url)
    async with running as service, asyncio.timeout(DEADLINE_SECONDS):
        task_id = await service.submit()
        waiting = asyncio.create_task(service.client.get(f"/v1/tasks/{task_id}?wait=30"))
        while not gate.waiting:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        gate.waiting[0].set()
        assert (await waiting).json()["status"] == "success"
        assert (await service.client.get(f"/v1/tasks/{task_id}?wait=30")).status_code == 200
        assert (await service.client.get(f"/v1/tasks/{task_id}?wait=31")).status_code == 400


async def test_an_end_wakes_who_waits_before_the_next_look() -> None:
    waiters, over = Waiters(FrozenClock()), asyncio.Event()
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return over.is_set()

    async with asyncio.timeout(0.9):
        waiting = asyncio.create_task(waiters.until(look, bool, no, 30))
        while not looks:
            await asyncio.sleep(0)
        over.set()
        waiters.wake()
        assert await waiting is True
    assert looks == 2


async def test_who_finds_no_place_is_told_at_once_and_may_still_ask() -> None:
    waiters = Waiters(FrozenClock(), most=1)
    first = asyncio.create_task(waiters.until(no, bool, no, 30))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many requests wait"):
        async with asyncio.timeout(0.9):
            await waiters.until(no, bool, no, 30)
    assert await waiters.until(yes, bool, no, 30) is True
    assert await waiters.until(no, bool, no, 0) is False
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_nobody_waits_for_a_client_that_is_gone() -> None:
    waiters = Waiters(FrozenClock())
    waiting = asyncio.create_task(waiters.until(no, bool, yes, 30))
    await asyncio.sleep(0)
    waiters.wake()
    async with asyncio.timeout(0.9):
        assert await waiting is False
