"""Cancel: from every place in the queue, once, with the books in order."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from typing_extensions import override

from ketchup import credits, tasks
from ketchup.clock import after
from ketchup.db import Database, Location, PostgresUrl, SqliteFile
from ketchup.errors import Conflict, NotFound, Unavailable
from ketchup.generation import CANCELLED, cancel, recover
from ketchup.generation.finish import finish
from ketchup.ids import TaskId, WorkspaceId
from ketchup.providers.base import GeneratedImage, ImageRequest, Progress
from ketchup.tasks import Allowance, LeaseLost, Status
from tests.integration.test_worker import Gate
from tests.support.customers import customer
from tests.support.database import open_database, open_engine
from tests.support.factories import (
    NOW,
    PRICE,
    WORKER,
    claim,
    claim_one,
    ending,
    enqueue,
    new_task,
    new_workspace,
    register,
    submitted,
    success,
)
from tests.support.invariants import ALWAYS
from tests.support.pictures import png
from tests.support.postgres_pool import PostgresPool
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service

PICTURE = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()
ONE_AT_ONCE = Allowance(capacity=1)


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        register(opened, WORKER)
        yield opened


def wrong(conn: Connection) -> list[str]:
    return [name for name, sql in ALWAYS.items() if conn.execute(text(sql)).all()]


def status_of(
    conn: Connection, workspace: WorkspaceId, task_id: TaskId
) -> tuple[Status, str | None]:
    found = tasks.find_history(conn, workspace, task_id)
    assert found is not None
    return found.summary.status, found.summary.reason


def test_a_ready_task_ends_gives_its_credits_back_and_owes_its_callback(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    task_id = submitted(conn, workspace)
    assert credits.find_account(conn, workspace).held == PRICE

    cancel(conn, workspace, task_id, NOW)

    assert status_of(conn, workspace, task_id) == (Status.FAILED, CANCELLED)
    assert credits.find_account(conn, workspace).held == 0
    assert claim(conn, WORKER, 1, NOW) == []
    assert wrong(conn) == []
    assert conn.scalar(text("SELECT count(*) FROM delivery")) == 1


def test_one_that_waits_leaves_and_one_that_ran_lets_the_next_in(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    made = [new_task(workspace) for _ in range(3)]
    credits.hold(conn, [credits.HoldRequest(one.id, workspace, PRICE) for one in made], NOW)
    turns = tasks.lock_turns(conn, [workspace])
    tasks.enqueue(conn, turns, [(one, ONE_AT_ONCE) for one in made], NOW)

    cancel(conn, workspace, made[1].id, NOW)
    assert wrong(conn) == []
    cancel(conn, workspace, made[0].id, NOW)
    assert wrong(conn) == []
    assert claim_one(conn).attempt.task_id == made[2].id


def test_one_that_waits_for_another_try_is_not_tried_again(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    task_id = submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.retry(conn, lease.attempt, after(NOW, 60), "busy", NOW)

    cancel(conn, workspace, task_id, NOW)

    assert tasks.promote_due(conn, after(NOW, 61)) == 0
    assert wrong(conn) == []


def test_what_a_worker_has_is_ended_and_its_worker_can_end_it_no_more(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    task_id = submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [tasks.Sending(lease.attempt, "studio")], NOW)

    cancel(conn, workspace, task_id, NOW)

    assert finish(conn, [ending(lease, success(lease))], NOW) == [LeaseLost(lease.attempt)]
    assert status_of(conn, workspace, task_id) == (Status.FAILED, CANCELLED)
    assert tasks.list_ended_for(conn, [lease.attempt], CANCELLED) == [lease.attempt]
    assert wrong(conn) == []


def test_what_nobody_charged_for_and_waits_for_another_try_can_be_cancelled(
    conn: Connection,
) -> None:
    workspace = new_workspace(conn).id
    task_id = submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [tasks.Sending(lease.attempt, "paid", is_resubmitted=False)], NOW)
    tasks.retry(conn, lease.attempt, NOW, "rate limited", NOW)
    cancel(conn, workspace, task_id, NOW)
    assert status_of(conn, workspace, task_id) == (Status.FAILED, CANCELLED)

    task_id = submitted(conn, workspace)
    lease = claim_one(conn)
    cancel(conn, workspace, task_id, NOW)
    # The start that comes behind it sends nothing.
    late = tasks.Sending(lease.attempt, "paid", is_resubmitted=False)
    assert tasks.start(conn, [late], NOW) == [LeaseLost(lease.attempt)]
    assert wrong(conn) == []


async def test_on_postgresql_a_cancel_waits_for_the_start_that_is_under_way(
    postgres: PostgresPool,
) -> None:
    with postgres.migrated() as url, open_engine(PostgresUrl(url)) as engine:
        with engine.begin() as conn:
            register(conn, WORKER)
            workspace = new_workspace(conn).id
            task_id = submitted(conn, workspace)
            lease = claim_one(conn)

        def cancel_now() -> None:
            with engine.begin() as conn:
                cancel(conn, workspace, task_id, NOW)

        def waits() -> bool:
            with engine.connect() as conn:
                return bool(conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

        with engine.begin() as starting:
            paid = tasks.Sending(lease.attempt, "paid", is_resubmitted=False)
            tasks.start(starting, [paid], NOW)
            cancelling = asyncio.create_task(asyncio.to_thread(cancel_now))
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not await asyncio.to_thread(waits):
                    await asyncio.sleep(0.01)
        await cancelling
        with engine.connect() as conn:
            found = tasks.find_history(conn, workspace, task_id)
            assert found is not None
            assert found.summary.status is Status.IN_PROGRESS
            assert found.summary.cancel_requested_at == NOW


def test_what_has_ended_stays_as_it_is(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [tasks.Sending(lease.attempt, "studio")], NOW)
    finish(conn, [replace(ending(lease, success(lease)), callback=b"{}")], NOW)

    with pytest.raises(Conflict, match="the task has ended"):
        cancel(conn, workspace, lease.attempt.task_id, NOW)
    assert status_of(conn, workspace, lease.attempt.task_id) == (Status.SUCCESS, None)
    assert tasks.list_ended_for(conn, [lease.attempt], CANCELLED) == []
    assert wrong(conn) == []


def test_nobody_cancels_what_belongs_to_another(conn: Connection) -> None:
    owner, other = new_workspace(conn).id, new_workspace(conn, name="other").id
    task_id = submitted(conn, owner)
    with pytest.raises(NotFound):
        cancel(conn, other, task_id, NOW)
    claim_one(conn)
    with pytest.raises(NotFound):
        cancel(conn, other, task_id, NOW)
    assert wrong(conn) == []


def test_on_postgresql_what_is_being_claimed_is_neither_waited_for_nor_ended(
    postgres: PostgresPool,
) -> None:
    with postgres.migrated() as url, open_engine(PostgresUrl(url)) as engine:
        with engine.begin() as conn:
            register(conn, WORKER)
            workspace = new_workspace(conn).id
            task_id = submitted(conn, workspace)
        with engine.begin() as claiming:
            lease = claim_one(claiming)
            with engine.begin() as conn, pytest.raises(Unavailable, match="changing hands"):
                cancel(conn, workspace, task_id, NOW)
        with engine.begin() as conn:
            assert wrong(conn) == []
            cancel(conn, workspace, task_id, NOW)
            assert finish(conn, [ending(lease, success(lease))], NOW) == [LeaseLost(lease.attempt)]
            assert wrong(conn) == []


async def test_of_cancel_and_finish_at_once_exactly_one_counts(location: Location) -> None:
    def set_up(conn: Connection) -> tuple[WorkspaceId, list[TaskId]]:
        register(conn, WORKER)
        workspace = new_workspace(conn).id
        made = [new_task(workspace) for _ in range(40)]
        credits.hold(conn, [credits.HoldRequest(one.id, workspace, PRICE) for one in made], NOW)
        turns = tasks.lock_turns(conn, [workspace])
        tasks.enqueue(conn, turns, [(one, Allowance(capacity=7)) for one in made], NOW)
        return workspace, [one.id for one in made]

    # Each has connections of its own, as two processes have.
    async with open_database(location) as worker, _beside(worker, location) as customers:
        workspace, made = await worker.write(set_up)
        working = asyncio.create_task(_work(worker, len(made)))
        cancelling = [_insist(customers, workspace, one) for one in reversed(made)]
        cancelled = sum(await asyncio.gather(*cancelling))
        finished = await working

        counts = await worker.read(_counts)
        account = await worker.read(lambda conn: credits.find_account(conn, workspace))
        assert await worker.read(wrong) == []
    assert counts == {"failed": cancelled, "success": finished}
    assert cancelled + finished == len(made)
    assert account.held == 0
    assert account.balance == 100_000_000 - finished * PRICE


@asynccontextmanager
async def _beside(database: Database, location: Location) -> AsyncIterator[Database]:
    """Open a second one on PostgreSQL; a SQLite file has one process."""
    if isinstance(location, SqliteFile):
        yield database
    else:
        async with open_database(location) as second:
            yield second


async def _work(database: Database, most: int) -> int:
    """Claim, start and finish until nothing is left; return how many ended here."""

    def claim_and_start(conn: Connection) -> list[tasks.Lease]:
        leases = claim(conn, WORKER, 3, NOW)
        tasks.start(conn, [tasks.Sending(lease.attempt, "studio") for lease in leases], NOW)
        return leases

    finished = 0
    for _ in range(most):
        leases = await database.write(claim_and_start)
        if not leases and await database.read(_open) == 0:
            break
        endings = [ending(lease, success(lease)) for lease in leases]
        ends = await database.write(partial(finish, endings=endings, now=NOW))
        finished += sum(not isinstance(end, LeaseLost) for end in ends)
    return finished


async def _insist(database: Database, workspace: WorkspaceId, task_id: TaskId) -> bool:
    """Cancel a task; False when its end came first."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await database.write(lambda conn: cancel(conn, workspace, task_id, NOW))
            except Unavailable:
                continue
            except Conflict:
                return False
            return True


def _open(conn: Connection) -> int:
    return int(conn.scalar(text("SELECT count(*) FROM task WHERE queue_state <> 'done'")) or 0)


def _counts(conn: Connection) -> dict[str, int]:
    rows = conn.execute(text("SELECT status, count(*) FROM task GROUP BY status"))
    return {"failed": 0, "success": 0, **{row[0]: row[1] for row in rows}}


async def test_the_engine_hears_of_it_and_the_customer_pays_nothing(
    tmp_path: Path, database_url: str | None
) -> None:
    gate = Gate()
    running = running_service(
        tmp_path / "data",
        providers={"studio": gate},
        database=database_url,
        settings={"concurrency": 1},
    )
    async with running as service, customer(service) as own, asyncio.timeout(DEADLINE_SECONDS):
        task_id = await own.submit()
        while not gate.entered:
            await asyncio.sleep(0.01)

        answer = await own.client.post(f"/v1/tasks/{task_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "failed")
        assert answer.json()["reason"] == CANCELLED
        # Its place is free again, although the gate was never opened.
        second = await own.submit()
        while gate.entered < 2:
            await asyncio.sleep(0.01)
        assert gate.cancelled == 1
        gate.waiting[1].set()
        assert (await own.ended(second))["status"] == "success"

        again = await own.client.post(f"/v1/tasks/{second}/cancel")
        assert (again.status_code, again.json()["detail"]) == (409, "the task has ended")
        credit = (await own.client.get("/api/user")).json()["data"]["credit"]
        assert credit == "99.50000000"


NARROW = """
[models."google/gempix2"]
max_n = 1
[channels.narrow]
provider = "studio"
models = ["google/gempix2"]
images_in_flight = 1
"""


class Lingering(Gate):
    """An engine that draws on for a while after it was told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.lingers = asyncio.Event()

    @asynccontextmanager
    async def released(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.lingers.set()

    @override
    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        try:
            return await super().generate(request, progress=progress, cancelled=cancelled)
        except asyncio.CancelledError:
            await self.lingers.wait()
            raise


async def test_its_channel_has_room_again_once_the_engine_has_stopped_and_not_before(
    tmp_path: Path, database_url: str | None
) -> None:
    engine = Lingering()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ketchup.toml").write_text(NARROW)
    running = running_service(
        tmp_path / "data", providers={"studio": engine}, database=database_url
    )
    async with (
        running as service,
        customer(service) as own,
        asyncio.timeout(DEADLINE_SECONDS),
        engine.released(),
    ):
        first = await own.submit()
        while not engine.entered:
            await asyncio.sleep(0.01)
        answer = await own.client.post(f"/v1/tasks/{first}/cancel")
        assert answer.json()["status"] == "failed"
        while not engine.cancelled:
            await asyncio.sleep(0.01)

        second = await own.submit()
        # It was looked at again and again, and there was no room.
        while not await _claimed_often(service, second):
            await asyncio.sleep(0.01)
        assert engine.entered == 1
        engine.lingers.set()
        while engine.entered < 2:
            await asyncio.sleep(0.01)
        engine.waiting[1].set()
        assert (await own.ended(second))["status"] == "success"


async def _claimed_often(service: RunningService, task_id: str) -> bool:
    often = text("SELECT 1 FROM task WHERE id = :id AND attempt > 3").bindparams(id=task_id)
    return await service.runtime.database.read(lambda conn: conn.execute(often).first() is not None)


async def test_the_references_that_came_with_it_go_at_once(
    tmp_path: Path, database_url: str | None
) -> None:
    gate = Gate()
    running = running_service(
        tmp_path / "data",
        providers={"studio": gate},
        database=database_url,
        settings={"concurrency": 1},
    )
    async with running as service, asyncio.timeout(DEADLINE_SECONDS):
        at_work = await service.submit(images=[PICTURE])
        while not gate.entered:
            await asyncio.sleep(0.01)
        queued = await service.submit(images=[PICTURE, PICTURE])
        store = service.runtime.storage
        assert len(await store.keys("references")) == 3

        for task_id, left in ((queued, 1), (at_work, 0)):
            answer = await service.client.post(f"/v1/tasks/{task_id}/cancel")
            assert answer.status_code == 200
            assert len(await store.keys("references")) == left


def test_the_references_of_what_is_given_up_are_left_to_the_chores(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    [task_id] = enqueue(conn, workspace, images=("blob:references/a", "https://host/b.png"))
    credits.hold(conn, [credits.HoldRequest(task_id, workspace, PRICE)], NOW)
    claim_one(conn)

    recover(conn, [WORKER], 1, lambda _lease, _reason: None, NOW)

    assert status_of(conn, workspace, task_id)[0] is Status.FAILED
    assert tasks.list_doomed(conn, None, 9) == ["references/a"]
