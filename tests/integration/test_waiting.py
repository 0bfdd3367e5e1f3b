"""Waiting for a task's end: woken by it, bounded, and no longer than somebody is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from ketchup import tasks
from ketchup.api import Waiters
from ketchup.clock import FrozenClock
from ketchup.db import Location
from ketchup.ids import WorkspaceId
from tests.integration.test_worker import Gate
from tests.support.admin_api import open_admin_api
from tests.support.customers import customer
from tests.support.database import open_engine
from tests.support.factories import enqueue
from tests.support.service import DEADLINE_SECONDS, client_of, running_service


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


async def test_a_workspace_has_its_share_of_the_places_and_keeps_nobody_from_waiting(
    tmp_path: Path,
) -> None:
    gate = Gate()
    settings = {"concurrency": 1, "limits.polls_per_second": 0}
    running = running_service(tmp_path / "data", providers={"studio": gate}, settings=settings)
    async with running as service, asyncio.timeout(DEADLINE_SECONDS):
        mine = await service.submit()
        path = f"/v1/tasks/{mine}"
        async with client_of(service.base_url, service.key) as client, customer(service) as other:
            theirs = await other.submit()
            asked = [client.get(f"{path}?wait=30", timeout=60) for _ in range(21)]
            asking = [asyncio.create_task(one) for one in asked]
            over, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            [answer] = [one.result() for one in over]
            assert answer.status_code == 429
            assert answer.json()["detail"] == "20 requests wait already"
            assert (await service.client.get(path)).status_code == 200

            beside = asyncio.create_task(
                other.client.get(f"/v1/tasks/{theirs}?wait=30", timeout=60)
            )
            for place in range(2):
                while len(gate.waiting) <= place:
                    await asyncio.sleep(0.01)
                gate.waiting[place].set()
            assert (await beside).json()["status"] == "success"
            answers = await asyncio.gather(*waiting)
            assert {answer.json()["status"] for answer in answers} == {"success"}
            # Who asks for what has ended needs no place.
            assert (await service.client.get(f"{path}?wait=30")).status_code == 200


async def test_an_end_makes_all_who_wait_look_with_one_read(location: Location) -> None:
    batches: list[int] = []

    def look(
        conn: Connection, wanted: Sequence[tuple[WorkspaceId, str]]
    ) -> list[tasks.Summary | None]:
        batches.append(len(wanted))
        return tasks.find_summaries(conn, wanted)

    with open_engine(location):
        pass  # its tables
    async with open_admin_api(location) as api, asyncio.timeout(DEADLINE_SECONDS):
        behind = api.app.state.dependencies
        looked_at = api.database.read_batcher(look)
        api.app.state.dependencies = replace(behind, look_at=looked_at)
        workspace = await api.workspace()
        _, key = await api.key(workspace)
        [task_id] = await api.database.write(lambda conn: enqueue(conn, WorkspaceId(workspace)))
        asked = {"Authorization": f"Bearer {key}"}
        path = f"/v1/tasks/{task_id}?wait=30"
        waiting = [asyncio.create_task(api.client.get(path, headers=asked)) for _ in range(20)]
        while sum(batches) < 40:
            await asyncio.sleep(0.001)
        batches.clear()

        behind.waiters.wake()
        while sum(batches) < 20:
            await asyncio.sleep(0.001)
        assert len(batches) <= 2
        behind.waiters.stop()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_nobody_waits_for_a_client_that_is_gone() -> None:
    waiters = Waiters(FrozenClock())
    waiting = asyncio.create_task(waiters.until(no, bool, yes, 30))
    await asyncio.sleep(0)
    waiters.wake()
    async with asyncio.timeout(0.9):
        assert await waiting is False
