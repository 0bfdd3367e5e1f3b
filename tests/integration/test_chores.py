"""Chores: what is past its time goes, all of it, and nothing younger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, update

from ketchup import db, storage, tasks, webhooks, workspaces
from ketchup.clock import SECOND, FrozenClock, after
from ketchup.db import Database, Location
from ketchup.errors import Unavailable
from ketchup.generation import Chores, Eraser, Results
from ketchup.generation.chores import PORTION
from ketchup.ids import WorkspaceId, name_bits
from ketchup.providers.base import ImageFormat
from ketchup.providers.catalog import Catalog
from ketchup.storage import DiskStorage, Storage
from ketchup.tasks import Allowance, Sending
from ketchup.tasks.table import QueueState, attempt, idempotency, task, turn
from ketchup.webhooks import Again, Answered
from ketchup.workspaces import Authenticator, NewKey
from tests.support.database import open_database
from tests.support.deliveries import answered, claimed, new, owe
from tests.support.factories import (
    MODEL,
    PEPPER,
    PLANS,
    VAULT,
    WORKER,
    enqueue,
    new_workspace,
    register,
)
from tests.support.refusals import only_reading

DAY = 86_400.0
TOO_MANY = 2 * PORTION + 1
"""More than one portion, and not a whole number of them."""


@dataclass
class House:
    """All that is to be tidied."""

    database: Database
    storage: Storage
    authenticator: Authenticator
    clock: FrozenClock
    chores: Chores
    woken: list[int]
    """One for each time that the workers were woken."""


@pytest.fixture
async def house(location: Location, clock: FrozenClock, tmp_path: Path) -> AsyncIterator[House]:
    store = DiskStorage(tmp_path / "blobs")
    async with open_database(location) as database:
        authenticator = Authenticator(database, VAULT, clock)
        woken: list[int] = []
        chores = Chores(
            database,
            store,
            authenticator,
            PLANS,
            clock,
            Eraser(database, Results(store, Catalog([MODEL]), "http://host"), clock),
            ready=lambda: woken.append(1),
        )
        yield House(database, store, authenticator, clock, chores, woken)


async def remember(house: House, count: int, *, name: str) -> None:
    rows = [
        {
            "workspace_id": "ws_one",
            "key": f"{name}-{number}",
            "fingerprint": b"",
            "task_id": "ta",
            "created_at": house.clock.now(),
        }
        for number in range(count)
    ]
    await house.database.write(lambda conn: conn.execute(insert(idempotency), rows))


async def fail_once(house: House) -> None:
    """Try the callback that is due, in vain; it is tried again in a minute."""
    [pending] = await claimed(house.database, house.clock.now())
    failed = replace(
        answered(pending, house.clock.now()), outcome=Answered(500), decision=Again(60.0)
    )
    await house.database.write(lambda conn: webhooks.record(conn, [failed]))


async def test_all_old_keys_are_forgotten_in_one_round_however_many_there_are(
    house: House,
) -> None:
    await remember(house, TOO_MANY, name="old")
    house.clock.advance(2 * DAY + 1)
    await remember(house, 1, name="young")

    await house.chores.run()

    assert await house.database.read(_keys) == ["young-0"]


async def test_a_portion_of_keys_is_the_oldest_and_no_more(house: House) -> None:
    for name in ("b", "a", "c"):
        await remember(house, 1, name=name)
        house.clock.advance(1)
    house.clock.advance(2 * DAY)

    forgotten = await house.database.write(
        lambda conn: tasks.forget_keys(conn, house.clock.now(), 2)
    )

    assert forgotten == 2
    assert await house.database.read(_keys) == ["c-0"]


def _keys(conn: Connection) -> list[str]:
    return list(conn.execute(select(idempotency.c.key)).scalars())


async def test_all_files_past_their_time_go_in_one_round_however_many_there_are(
    house: House,
) -> None:
    workspace = await house.database.write(new_workspace)
    folder = storage.image_folder(workspace.number)

    def key() -> str:
        return storage.image_key(workspace.number, house.clock.now(), ImageFormat.PNG, name_bits())

    for _ in range(PORTION + 1):
        await house.storage.put(key(), b"old")
    house.clock.advance(PLANS.find(workspace.plan).retention_seconds + 1)
    young = key()
    await house.storage.put(young, b"young")

    await house.chores.run()

    assert await house.storage.keys(folder) == [young]


@pytest.mark.parametrize("runs_before", [0, 1])
@pytest.mark.parametrize("is_tried", [False, True])
async def test_a_clock_that_is_set_back_keeps_no_callback(
    house: House, runs_before: int, is_tried: bool
) -> None:
    for _ in range(runs_before):
        await house.chores.run()
        house.clock.advance(30.0)
    await owe(house.database, house.clock.now(), new("http://host.example/"))
    if is_tried:
        # Enqueued by a clock that was right, and tried by one that was an hour ahead.
        house.clock.advance(3600.0)
        await fail_once(house)
    # The wall's clock alone; two seconds go by before anybody looks.
    house.clock.advance(-3600.0)
    house.clock.elapsed += 3602.0

    await house.chores.run()

    assert await house.database.read(webhooks.next_due) == house.clock.now()


async def test_a_callback_that_waits_for_its_time_is_left_alone(house: House) -> None:
    await owe(house.database, house.clock.now(), new("http://host.example/"))
    await fail_once(house)
    house.clock.advance(1.0)

    await house.chores.run()

    assert await house.database.read(webhooks.next_due) == after(house.clock.now(), 59.0)


@pytest.mark.parametrize(("plan", "kept"), [("free", 1), ("scale", 2), ("gone", 2)])
async def test_files_are_kept_as_long_as_the_plan_says_and_longer_where_it_is_not_known(
    house: House, plan: str, kept: int
) -> None:
    workspace = await house.database.write(lambda conn: new_workspace(conn, plan=plan))

    for age in (7.01, 0):
        made = after(house.clock.now(), -age * DAY)
        key = storage.image_key(workspace.number, made, ImageFormat.PNG, name_bits())
        await house.storage.put(key, b"image")
    await house.chores.run()

    assert len(await house.storage.keys(storage.image_folder(workspace.number))) == kept


async def test_files_are_looked_through_once_an_hour(house: House) -> None:
    await house.chores.run()
    reference = storage.reference_key(after(house.clock.now(), -8 * DAY), name_bits())
    await house.storage.put(reference, b"left by a crash")

    house.clock.advance(3599)
    await house.chores.run()
    assert await house.storage.keys(storage.REFERENCES) == [reference]

    house.clock.advance(1)
    await house.chores.run()
    assert await house.storage.keys(storage.REFERENCES) == []


async def test_who_waits_without_need_is_let_in_and_the_workers_are_woken(house: House) -> None:
    workspaces = [WorkspaceId(f"ws_{number:02}") for number in range(12)]
    for workspace in workspaces:
        allowance = Allowance(capacity=1)
        await house.database.write(
            partial(enqueue, workspace_id=workspace, count=5, allowance=allowance)
        )
    await house.chores.run()
    assert await house.database.read(_ready) == 12
    assert house.woken == []

    # As a change of plans leaves it when there are many.
    await house.database.write(lambda conn: conn.execute(update(turn).values(capacity=3)))
    await house.chores.run()

    assert await house.database.read(_ready) == 36
    # In more than one portion.
    assert house.woken == [1, 1]


def _ready(conn: Connection) -> int:
    counting = select(func.count()).where(task.c.queue_state == QueueState.READY.value)
    return conn.scalar(counting) or 0


async def test_uses_that_could_not_be_written_are_written_the_next_time(
    house: House,
) -> None:
    workspace = await house.database.write(new_workspace)
    key, secret = await house.database.write(
        lambda conn: workspaces.create_key(
            conn, PEPPER, workspace.id, NewKey("a key"), house.clock.now()
        )
    )
    await house.authenticator.authenticate([f"Bearer {secret}".encode()])

    with only_reading(house.database), pytest.raises(Unavailable):
        await house.chores.run()
    await house.chores.run()

    def used(conn: Connection) -> list[int | None]:
        return [k.last_used_at for k in workspaces.list_keys(conn, workspace.id)]

    assert await house.database.read(used) == [house.clock.now()]
    assert key.last_used_at is None


async def test_what_dead_workers_were_sending_is_forgotten_once_no_engine_can_draw_it(
    house: House,
) -> None:
    def lose(conn: Connection) -> None:
        register(conn, WORKER)
        enqueue(conn, new_workspace(conn).id, 2)
        now = db.now(conn, house.clock)
        one, other = tasks.claim(conn, WORKER, 2, now)
        sendings = [
            Sending(one.attempt, "studio", engine_seconds=0.0),
            Sending(other.attempt, "studio", engine_seconds=3600.0),
        ]
        tasks.start(conn, sendings, now)
        tasks.requeue_lost(conn, [WORKER], 10, now)

    await house.database.write(lose)
    await house.chores.run()

    ends = select(attempt.c.occupies_until - attempt.c.sent_at)
    found = ends.where(attempt.c.occupies_until.is_not(None))
    left = await house.database.read(lambda conn: list(conn.execute(found).scalars()))
    assert left == [3600 * SECOND]
