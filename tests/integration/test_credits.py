"""Credits: what is held, captured, released and granted, and that it always adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, text
from sqlalchemy.exc import IntegrityError

from ketchup import credits, ids
from ketchup.credits import (
    Account,
    EntryKind,
    Held,
    HoldMissing,
    HoldRequest,
    InsufficientCredits,
    Settlement,
    entry,
)
from ketchup.db import Batcher, Location
from ketchup.errors import Conflict, InvalidRequest
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import MAX_CREDITS, MICRO, Credits
from ketchup.spending import CapReached
from tests.support.database import open_database, open_engine
from tests.support.factories import NOW
from tests.support.gate import held_writer

ACME = WorkspaceId("ws_acme")
OTHER = WorkspaceId("ws_other")
PRICE = Credits(MICRO // 2)


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn


def give(conn: Connection, amount: int, workspace: WorkspaceId = ACME) -> Account:
    return credits.grant(conn, workspace, Credits(amount), "a test's", NOW)


def hold(conn: Connection, count: int = 1, price: int = PRICE) -> list[TaskId]:
    """Hold the price for new tasks, all of which must be covered."""
    wanted = [HoldRequest(ids.task_id(NOW), ACME, Credits(price)) for _ in range(count)]
    assert credits.hold(conn, wanted, NOW) == [Held(request.task_id) for request in wanted]
    return [request.task_id for request in wanted]


def settle(conn: Connection, *ends: tuple[TaskId, int]) -> None:
    settlements = [Settlement(task, ACME, Credits(consumed)) for task, consumed in ends]
    credits.settle(conn, settlements, NOW)


def assert_adds_up(conn: Connection, balance: int, held: int) -> None:
    audit = credits.audit(conn, ACME)
    assert (audit.account.balance, audit.account.held) == (balance, held)
    assert audit.consistent


def entries(conn: Connection) -> list[tuple[str, int]]:
    rows = conn.execute(select(entry.c.kind, entry.c.amount).order_by(entry.c.id))
    return [(row.kind, row.amount) for row in rows]


# -- the life of a hold ---------------------------------------------------------------------------


def test_a_hold_takes_from_what_is_available_and_not_from_the_balance(conn: Connection) -> None:
    give(conn, 2 * MICRO)
    hold(conn, 3)

    account = credits.find_account(conn, ACME)
    assert account.available == MICRO // 2
    assert_adds_up(conn, 2 * MICRO, 3 * PRICE)
    assert entries(conn) == [("grant", 2 * MICRO)]


def test_a_delivered_task_is_charged_and_its_hold_is_gone(conn: Connection) -> None:
    give(conn, 2 * MICRO)
    (task,) = hold(conn)

    settle(conn, (task, PRICE))

    assert_adds_up(conn, 2 * MICRO - PRICE, 0)
    assert entries(conn) == [("grant", 2 * MICRO), ("capture", -PRICE)]


def test_a_failed_task_gives_its_credits_back_without_an_entry(conn: Connection) -> None:
    give(conn, 2 * MICRO)
    (task,) = hold(conn)

    settle(conn, (task, 0))

    assert_adds_up(conn, 2 * MICRO, 0)
    assert entries(conn) == [("grant", 2 * MICRO)]


def test_what_is_captured_in_part_releases_the_rest(conn: Connection) -> None:
    give(conn, 2 * MICRO)
    one, two = hold(conn, 2, price=MICRO)

    settle(conn, (one, MICRO // 4))

    assert_adds_up(conn, 2 * MICRO - MICRO // 4, MICRO)
    settle(conn, (two, MICRO))
    assert_adds_up(conn, MICRO - MICRO // 4, 0)


def test_holds_are_decided_in_order_and_a_cheaper_one_may_still_fit(conn: Connection) -> None:
    give(conn, 10)
    prices = [6, 6, 4, 1]
    wanted = [HoldRequest(ids.task_id(NOW), ACME, Credits(price)) for price in prices]

    decisions = credits.hold(conn, wanted, NOW)

    assert decisions == [
        Held(wanted[0].task_id),
        InsufficientCredits(Credits(4), Credits(6)),
        Held(wanted[2].task_id),
        InsufficientCredits(Credits(0), Credits(1)),
    ]
    assert_adds_up(conn, 10, 10)


def test_a_workspace_without_credits_can_hold_only_what_is_free(conn: Connection) -> None:
    refused = credits.hold(conn, [HoldRequest(ids.task_id(NOW), ACME, Credits(1))], NOW)
    assert refused == [InsufficientCredits(Credits(0), Credits(1))]

    (free,) = hold(conn, price=0)
    settle(conn, (free, 0))

    assert_adds_up(conn, 0, 0)
    assert credits.find_account(conn, ACME) == Account(Credits(0), Credits(0))


def test_one_workspace_never_pays_for_another(conn: Connection) -> None:
    give(conn, PRICE)
    give(conn, PRICE, OTHER)
    wanted = [
        HoldRequest(TaskId(f"ta{i}"), workspace, PRICE)
        for i, workspace in enumerate([OTHER, ACME, OTHER, ACME])
    ]

    decisions = credits.hold(conn, wanted, NOW)

    assert [isinstance(decision, Held) for decision in decisions] == [True, True, False, False]
    credits.settle(conn, [Settlement(TaskId("ta0"), OTHER, PRICE)], NOW)
    assert_adds_up(conn, PRICE, PRICE)
    assert credits.audit(conn, OTHER).consistent
    assert credits.find_account(conn, OTHER).balance == 0


# -- what must never happen -----------------------------------------------------------------------


@pytest.mark.parametrize("consumed", [0, PRICE])
def test_settling_twice_raises_and_keeps_nothing(engine: Engine, consumed: int) -> None:
    with engine.begin() as conn:
        give(conn, 10 * MICRO)
        once, twice = hold(conn, 2)
        settle(conn, (twice, consumed))

    with pytest.raises(HoldMissing), engine.begin() as conn:
        settle(conn, (once, PRICE), (twice, consumed))

    with engine.begin() as conn:
        assert_adds_up(conn, 10 * MICRO - consumed, PRICE)


@pytest.mark.parametrize("consumed", [0, PRICE])
def test_settling_twice_in_one_call_raises_and_keeps_nothing(engine: Engine, consumed: int) -> None:
    with engine.begin() as conn:
        give(conn, 10 * MICRO)
        task, _other = hold(conn, 2)

    with pytest.raises(HoldMissing), engine.begin() as conn:
        settle(conn, (task, consumed), (task, consumed))

    with engine.begin() as conn:
        assert_adds_up(conn, 10 * MICRO, 2 * PRICE)


@pytest.mark.parametrize("consumed", [PRICE + 1, -1])
def test_no_more_than_the_hold_is_captured_and_no_less_than_nothing(
    engine: Engine, consumed: int
) -> None:
    with engine.begin() as conn:
        give(conn, 10 * MICRO)
        (task,) = hold(conn)

    with pytest.raises(HoldMissing), engine.begin() as conn:
        settle(conn, (task, consumed))

    with engine.begin() as conn:
        assert_adds_up(conn, 10 * MICRO, PRICE)


def test_settling_nothing_is_nothing(conn: Connection) -> None:
    give(conn, MICRO)
    credits.settle(conn, [], NOW)
    assert credits.hold(conn, [], NOW) == []

    assert_adds_up(conn, MICRO, 0)


def test_even_a_bug_cannot_charge_a_task_twice(conn: Connection) -> None:
    give(conn, MICRO)
    (task,) = hold(conn)
    settle(conn, (task, PRICE))
    hold_again = text(
        "INSERT INTO hold (task_id, workspace_id, amount, created_at) VALUES (:t, :w, :a, 0)"
    )
    conn.execute(hold_again, {"t": task, "w": ACME, "a": PRICE})
    conn.execute(text("UPDATE account SET held = :a"), {"a": PRICE})

    with pytest.raises(IntegrityError, match=r"entry.task_id.*kind"):
        settle(conn, (task, PRICE))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET held = balance + 1",
        "UPDATE account SET held = -1",
        "UPDATE account SET balance = -1, held = -1",
        "UPDATE hold SET amount = -1",
    ],
)
def test_the_database_itself_refuses_an_account_that_cannot_be(
    conn: Connection, change: str
) -> None:
    give(conn, MICRO)
    hold(conn)

    with pytest.raises(IntegrityError, match=r"(?i)check constraint"):
        conn.execute(text(change))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET balance = balance + 1",
        "UPDATE account SET held = held - 1",
        "UPDATE hold SET amount = amount + 1",
        "DELETE FROM hold",
        "UPDATE entry SET amount = amount + 1",
        "DELETE FROM entry WHERE kind = 'capture'",
        "DELETE FROM account",
    ],
)
def test_the_audit_sees_whatever_was_changed_behind_its_back(conn: Connection, change: str) -> None:
    give(conn, 10 * MICRO)
    task, _open = hold(conn, 2)
    settle(conn, (task, PRICE))
    assert credits.audit(conn, ACME).consistent

    conn.execute(text(change))

    assert not credits.audit(conn, ACME).consistent


# -- grants ---------------------------------------------------------------------------------------


def test_grants_add_up_and_are_kept_with_their_note(conn: Connection) -> None:
    assert give(conn, 3) == Account(Credits(3), Credits(0))
    assert give(conn, 4) == Account(Credits(7), Credits(0))
    assert give(conn, -2) == Account(Credits(5), Credits(0))

    assert entries(conn) == [("grant", 3), ("grant", 4), ("grant", -2)]
    assert_adds_up(conn, 5, 0)
    kept = conn.execute(select(entry).order_by(entry.c.id)).first()
    assert kept is not None
    assert (kept.kind, kept.task_id, kept.note) == (EntryKind.GRANT, None, "a test's")
    assert kept.created_at == NOW


def test_credits_that_are_promised_to_a_task_cannot_be_taken_away(conn: Connection) -> None:
    give(conn, MICRO)
    hold(conn)

    with pytest.raises(Conflict, match="fewer credits available"):
        give(conn, -MICRO // 2 - 1)
    give(conn, -MICRO // 2)

    assert_adds_up(conn, MICRO // 2, MICRO // 2)


def test_nothing_can_be_taken_from_who_has_nothing(conn: Connection) -> None:
    with pytest.raises(Conflict):
        give(conn, -1)
    assert entries(conn) == []
    assert_adds_up(conn, 0, 0)


@pytest.mark.parametrize("amount", [0, MAX_CREDITS + 1, -MAX_CREDITS - 1, 2**63, 10**30])
def test_an_amount_of_nothing_or_beyond_all_bounds_is_refused(
    conn: Connection, amount: int
) -> None:
    give(conn, 5)

    with pytest.raises(InvalidRequest, match="amount must be between"):
        give(conn, amount)

    assert_adds_up(conn, 5, 0)


def test_the_balance_has_a_ceiling_that_sums_can_bear(conn: Connection) -> None:
    give(conn, MAX_CREDITS)

    with pytest.raises(InvalidRequest, match="beyond 1000000000000"):
        give(conn, 1)

    assert_adds_up(conn, MAX_CREDITS, 0)
    hold(conn, price=MAX_CREDITS)
    assert_adds_up(conn, MAX_CREDITS, MAX_CREDITS)


# -- together -------------------------------------------------------------------------------------


async def test_320_holds_at_once_with_credits_for_50_give_exactly_50(location: Location) -> None:
    async with open_database(location) as database:
        await database.write(lambda conn: give(conn, 50 * PRICE))
        hold_one: Batcher[HoldRequest, Held | InsufficientCredits | CapReached] = (
            database.write_batcher(
                lambda conn, wanted: credits.hold(conn, wanted, NOW), capacity=320
            )
        )
        async with held_writer(database):
            futures = [hold_one(HoldRequest(ids.task_id(NOW), ACME, PRICE)) for _ in range(320)]
        answers = await asyncio.gather(*futures)

        assert sum(isinstance(answer, Held) for answer in answers) == 50
        refused = [answer for answer in answers if isinstance(answer, InsufficientCredits)]
        assert refused == [InsufficientCredits(Credits(0), PRICE)] * 270
        audit = await database.read(lambda conn: credits.audit(conn, ACME))
        assert audit.consistent
        assert audit.account == Account(Credits(50 * PRICE), Credits(50 * PRICE))


def test_a_free_task_writes_no_account_that_it_did_not_lock(conn: Connection) -> None:
    workspace = WorkspaceId("ws_new")
    free = HoldRequest(TaskId("ta_free"), workspace, Credits(0))
    written: list[str] = []

    def note(*given: Any) -> None:  # noqa: ANN401 the library's own signature
        written.append(given[2])

    event.listen(conn.engine, "before_cursor_execute", note)
    assert credits.hold(conn, [free], NOW) == [Held(free.task_id)]
    credits.settle(conn, [Settlement(free.task_id, workspace, Credits(0))], NOW)

    # A first grant may come in between: what was not locked is not ours to set.
    assert not [sql for sql in written if sql.startswith("UPDATE account")]
