"""Spend caps of keys: exact whoever comes at the same time, and only what was delivered counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, Engine, select, text

from ketchup import credits, spending, workspaces
from ketchup.clock import SECOND, Micros, after
from ketchup.credits import Held, HoldRequest, InsufficientCredits, Settlement
from ketchup.db import Batcher, Database, Location, SqliteFile
from ketchup.ids import TaskId, WorkspaceId, task_id
from ketchup.money import Credits
from ketchup.spending import Cap, CapReached, Period, key_spend
from ketchup.workspaces import NewKey, Overlap
from tests.support.database import open_database, open_engine
from tests.support.factories import NOW, PEPPER, PRICE, new_workspace

DAY = 86_400.0


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn


@pytest.fixture
def workspace(conn: Connection) -> WorkspaceId:
    return new_workspace(conn).id


def cap_of(day: int | None = None, month: int | None = None, purse: str = "key_one") -> Cap:
    """Return a cap of so many tasks."""
    of = [None if count is None else Credits(count * PRICE) for count in (day, month)]
    return Cap(purse, *of)


def at(text: str) -> Micros:
    return Micros(round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND)


def hold(
    conn: Connection, workspace: WorkspaceId, cap: Cap | None, now: Micros = NOW, count: int = 1
) -> list[TaskId | Period]:
    """Hold the price of so many tasks; return their ids, or which cap forbids them."""
    wanted = [HoldRequest(task_id(now), workspace, PRICE, cap) for _ in range(count)]
    found = list[TaskId | Period]()
    for decision in credits.hold(conn, wanted, now):
        assert not isinstance(decision, InsufficientCredits)
        found.append(decision.task_id if isinstance(decision, Held) else decision.period)
    return found


def end(conn: Connection, workspace: WorkspaceId, task: object, consumed: int, now: Micros) -> None:
    assert isinstance(task, str)
    credits.settle(conn, [Settlement(TaskId(task), workspace, Credits(consumed))], now)


def spent(conn: Connection) -> dict[tuple[str, int], int]:
    return {(row.purse, row.day): row.spent for row in conn.execute(select(key_spend))}


def test_a_cap_lets_in_what_fits_and_says_which_one_is_reached(
    conn: Connection, workspace: WorkspaceId
) -> None:
    day, month = Period.DAY, Period.MONTH

    assert [type(x) for x in hold(conn, workspace, cap_of(day=2), count=3)] == [str, str, Period]
    assert hold(conn, workspace, cap_of(day=2)) == [day]
    assert hold(conn, workspace, cap_of(day=9, month=2)) == [month]
    assert [type(x) for x in hold(conn, workspace, cap_of(day=9, month=3))] == [str]
    # Another key of the workspace, and one without a cap, are not touched by it.
    assert hold(conn, workspace, cap_of(day=0, purse="key_two")) == [day]
    assert [type(x) for x in hold(conn, workspace, None)] == [str]
    assert set(spent(conn).values()) == {3 * PRICE}
    assert credits.audit(conn, workspace).consistent


def test_what_a_cap_forbids_leaves_no_trace(conn: Connection, workspace: WorkspaceId) -> None:
    before = credits.find_account(conn, workspace)

    assert hold(conn, workspace, cap_of(day=0), count=5) == [Period.DAY] * 5

    assert credits.find_account(conn, workspace) == before
    assert spent(conn) == {}


def test_what_cannot_be_paid_is_not_counted(conn: Connection) -> None:
    poor = new_workspace(conn, grant=PRICE).id
    wanted = [HoldRequest(task_id(NOW), poor, PRICE, cap_of(day=9)) for _ in range(3)]

    kinds = [type(one) for one in credits.hold(conn, wanted, NOW)]

    assert kinds == [Held, InsufficientCredits, InsufficientCredits]
    assert list(spent(conn).values()) == [PRICE]


def test_a_failed_task_gives_its_cap_back_on_the_day_it_was_held(
    conn: Connection, workspace: WorkspaceId
) -> None:
    late, next_day = at("2026-11-21T23:59:59"), at("2026-11-22T00:00:01")
    failed, delivered = hold(conn, workspace, cap_of(day=2), late, count=2)
    assert hold(conn, workspace, cap_of(day=2), late) == [Period.DAY]
    (today,) = hold(conn, workspace, cap_of(day=2), next_day)

    end(conn, workspace, failed, 0, next_day)
    end(conn, workspace, delivered, PRICE, next_day)

    assert sorted(spent(conn).items()) == [
        (("key_one", spending.day_of(late)), PRICE),
        (("key_one", spending.day_of(next_day)), PRICE),
    ]
    end(conn, workspace, today, 0, next_day)
    assert spent(conn)["key_one", spending.day_of(next_day)] == 0
    assert credits.audit(conn, workspace).consistent


def test_a_task_that_fails_makes_room_for_another(conn: Connection, workspace: WorkspaceId) -> None:
    for _ in range(5):
        (task,) = hold(conn, workspace, cap_of(day=1, month=1))
        assert hold(conn, workspace, cap_of(day=1, month=1)) == [Period.DAY]
        end(conn, workspace, task, 0, NOW)


@pytest.mark.parametrize(
    ("first", "then", "is_same_month"),
    [
        ("2026-11-01T00:00:00", "2026-11-30T23:59:59", True),
        ("2026-11-30T23:59:59", "2026-12-01T00:00:00", False),
        ("2026-12-31T23:59:59", "2027-01-01T00:00:00", False),
        ("2028-02-01T00:00:00", "2028-02-29T23:59:59", True),
        ("2028-02-29T23:59:59", "2028-03-01T00:00:00", False),
        # A clock that was set back looks at the same month.
        ("2026-11-20T00:00:00", "2026-11-19T23:59:59", True),
    ],
)
def test_a_month_is_one_of_the_calendar_in_utc(
    conn: Connection, workspace: WorkspaceId, first: str, then: str, is_same_month: bool
) -> None:
    hold(conn, workspace, cap_of(month=1), at(first))

    (second,) = hold(conn, workspace, cap_of(month=1), at(then))

    assert (second is Period.MONTH) == is_same_month


def test_what_costs_nothing_passes_a_cap_of_nothing(
    conn: Connection, workspace: WorkspaceId
) -> None:
    free = HoldRequest(task_id(NOW), workspace, Credits(0), cap_of(day=0, month=0))

    assert credits.hold(conn, [free], NOW) == [Held(free.task_id)]
    credits.settle(conn, [Settlement(free.task_id, workspace, Credits(0))], NOW)


def test_days_that_no_cap_looks_at_any_more_are_forgotten(
    conn: Connection, workspace: WorkspaceId
) -> None:
    (open_still,) = hold(conn, workspace, cap_of(day=5), NOW)
    later = after(NOW, 93 * DAY)
    hold(conn, workspace, cap_of(day=5), later)

    spending.forget(conn, later)

    assert list(spent(conn)) == [("key_one", spending.day_of(later))]
    # What is given back to a day that is gone is simply gone too.
    end(conn, workspace, open_still, 0, later)


def test_a_key_that_replaces_another_goes_on_with_its_cap(
    conn: Connection, workspace: WorkspaceId
) -> None:
    new = NewKey("k", day_cap=Credits(2 * PRICE))
    old, _ = workspaces.create_key(conn, PEPPER, workspace, new, NOW)
    successor, secret = workspaces.rotate_key(conn, PEPPER, old.id, Overlap.DAY, NOW)
    third, _ = workspaces.rotate_key(conn, PEPPER, successor.id, Overlap.DAY, NOW)
    (caller,) = workspaces.find_callers(conn, [workspaces.digest(PEPPER, secret)], NOW)

    assert caller is not None
    assert (caller.key_id, caller.purse, caller.day_cap) == (successor.id, old.id, 2 * PRICE)
    assert third.day_cap == 2 * PRICE


async def test_320_at_once_from_two_processes_spend_exactly_a_cap_of_50(
    location: Location,
) -> None:
    """With failures in between: what they give back may be spent, and not once more."""
    cap = cap_of(day=50, month=60)
    async with open_database(location) as one, open_database(location) as two:
        workspace = (await one.write(lambda conn: new_workspace(conn, grant=1000 * PRICE))).id

        # SQLite has one process that writes.
        other = one if isinstance(location, SqliteFile) else two

        async def spend(database: Database, count: int) -> Sequence[object]:
            hold_one: Batcher[HoldRequest, Held | InsufficientCredits | CapReached]
            hold_one = database.write_batcher(
                lambda conn, wanted: credits.hold(conn, wanted, NOW), capacity=320
            )
            wanted = [HoldRequest(task_id(NOW), workspace, PRICE, cap) for _ in range(count)]
            return await asyncio.gather(*(hold_one(each) for each in wanted))

        parts = await asyncio.gather(*(spend(each, 80) for each in (one, other) * 2))
        decisions = [each for part in parts for each in part]
        kinds = Counter(type(each) for each in decisions)
        assert kinds == {Held: 50, CapReached: 270}

        # Ten fail: there is room for ten, in the day and in the month.
        failed = [each.task_id for each in decisions if isinstance(each, Held)][:10]
        settlements = [Settlement(each, workspace, Credits(0)) for each in failed]
        await one.write(lambda conn: credits.settle(conn, settlements, NOW))
        again = await asyncio.gather(spend(one, 40), spend(other, 40))
        assert Counter(type(each) for part in again for each in part) == {Held: 10, CapReached: 70}

        total = await one.read(lambda conn: conn.scalar(text("SELECT sum(spent) FROM key_spend")))
        audit = await one.read(lambda conn: credits.audit(conn, workspace))
        assert audit.consistent
        assert int(total or 0) == audit.account.held == 50 * PRICE


def test_the_keys_cap_is_what_a_request_is_held_against(conn: Connection) -> None:
    """From the key's row to the hold: nothing on the way loses it."""
    workspace = new_workspace(conn).id
    new = NewKey("k", month_cap=Credits(PRICE))
    key, secret = workspaces.create_key(conn, PEPPER, workspace, new, NOW)
    (caller,) = workspaces.find_callers(conn, [workspaces.digest(PEPPER, secret)], NOW)

    assert caller is not None
    assert (caller.purse, caller.day_cap, caller.month_cap) == (key.id, None, PRICE)
