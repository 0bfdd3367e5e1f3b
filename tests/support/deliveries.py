"""What the webhook tests share: deliveries to owe, a sender to run, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from sqlalchemy import Row, select
from standardwebhooks.webhooks import Webhook
from typing_extensions import override

from ketchup import leases, signing
from ketchup.clock import SECOND, Clock, Micros
from ketchup.db import Database
from ketchup.ids import TaskId, WorkerId, WorkspaceId, delivery_id, task_id
from ketchup.money import Credits
from ketchup.webhooks import (
    Answered,
    Attempted,
    Delivered,
    HandedBack,
    NewDelivery,
    Pending,
    Poster,
    Sender,
    SenderSettings,
    Tally,
    callback_body,
    claim,
    delivery,
    delivery_attempt,
    enqueue,
)
from ketchup.webhooks.decision import Decision
from tests.support.receiver import (
    DEADLINE,
    LoopbackPoster,
)

WORKSPACE = WorkspaceId("ws_one")
WORKER = WorkerId("wrk_one")
OTHER_WORKER = WorkerId("wrk_two")
SECRETS = tuple(signing.secret_from_bytes(bytes([number]) * 32) for number in (1, 2))
# A poll that no test lives to see: what happens, happens because of a wake or a due time.
PATIENT = SenderSettings(poll=3600.0)


async def two_secrets(_workspace: WorkspaceId) -> Sequence[str]:
    return SECRETS


@dataclass
class Watch(Tally):
    """A tally that can be waited for."""

    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    notices: set[asyncio.Task[None]] = field(default_factory=set)

    @override
    def attempted(self, decision: Decision | HandedBack) -> None:
        super().attempted(decision)
        self._notice()

    @override
    def unrecordable(self) -> None:
        super().unrecordable()
        self._notice()

    @override
    def faulty(self) -> None:
        super().faulty()
        self._notice()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self.changed:
            await self.changed.wait_for(reached)

    async def until_attempts(self, count: int) -> None:
        await self.until(
            lambda: self.delivered + self.again + self.dead + self.handed_back == count
        )

    def _notice(self) -> None:
        async def notify() -> None:
            async with self.changed:
                self.changed.notify_all()

        task = asyncio.create_task(notify())
        self.notices.add(task)
        task.add_done_callback(self.notices.discard)


@contextlib.asynccontextmanager
async def sending(
    database: Database,
    clock: Clock,
    *,
    poster: Poster | None = None,
    settings: SenderSettings = PATIENT,
    secrets: Callable[[WorkspaceId], Awaitable[Sequence[str]]] = two_secrets,
    worker_id: WorkerId = WORKER,
) -> AsyncIterator[tuple[Sender, Watch]]:
    """Run a sender, and stop it at the end. Its worker is on the list as long as it runs."""
    watch = Watch()
    await database.write(lambda conn: leases.register(conn, worker_id, clock.now()))
    sender = Sender(
        database,
        poster or LoopbackPoster(),
        worker_id=worker_id,
        secrets=secrets,
        clock=clock,
        random=Random(11),
        settings=settings,
        errors=LoopbackPoster.errors,
        tally=watch,
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(sender.run())
        try:
            yield sender, watch
        finally:
            sender.stop()
    await database.write(lambda conn: leases.remove(conn, [worker_id]))


def new(url: str, number: int = 0) -> NewDelivery:
    task = task_id(1_757_499_740_010_000 + number, lambda size: number.to_bytes(size, "big"))
    body = callback_body(task, "success", ["https://host/ä.png"], Credits(500_000), None)
    return NewDelivery(task, WORKSPACE, url, body)


async def owe(database: Database, now: Micros, *deliveries: NewDelivery) -> None:
    await database.write(lambda conn: enqueue(conn, deliveries, now))


async def row(database: Database, task: TaskId) -> Row[Any]:
    query = select(delivery).where(delivery.c.task_id == task)
    return await database.read(lambda conn: conn.execute(query).one())


async def attempts(database: Database, task: TaskId) -> Sequence[Row[Any]]:
    query = (
        select(delivery_attempt)
        .where(delivery_attempt.c.delivery_id == delivery_id(task))
        .order_by(delivery_attempt.c.number)
    )
    return await database.read(lambda conn: conn.execute(query).all())


async def claimed(
    database: Database,
    now: Micros,
    *,
    worker_id: WorkerId = WORKER,
    limit: int = 100,
    per_destination: int = 100,
) -> list[Pending]:
    return await database.write(
        lambda conn: claim(conn, worker_id, now, limit=limit, per_destination=per_destination)
    )


def answered(pending: Pending, now: Micros) -> Attempted:
    return Attempted(
        pending.lease,
        pending.tries,
        started_at=now,
        ended_at=now,
        duration_ms=0,
        outcome=Answered(200),
        decision=Delivered(),
    )


def assert_signed_by_both(headers: Mapping[str, str], body: bytes, at: Micros) -> None:
    assert headers["webhook-timestamp"] == str(at // SECOND)
    moment = datetime.fromtimestamp(at // SECOND, UTC)
    expected = [
        Webhook(secret).sign(headers["webhook-id"], moment, body.decode()) for secret in SECRETS
    ]
    assert headers["webhook-signature"].split(" ") == expected


# ── enqueue ──────────────────────────────────────────────────────────────────────────────────────


async def settled(database: Database) -> None:
    """Return when what the sender asked of the database before is done: lanes keep their order."""
    for _ in range(5):
        await database.read(lambda _conn: None)
        await database.write(lambda _conn: None)
