"""Credits: what a workspace has, what is promised to open tasks, and every movement between them.

Invariants, held by CHECK constraints and proved by `audit`:
  balance == sum(entries)      held == sum(open holds)      0 <= held <= balance

A hold reserves the price when a task is accepted. It ends once: captured when images were
delivered, released when they were not; the row of a hold is gone when it has ended, so it cannot
end twice. Entries are never edited; a mistake is undone by a second entry. An entry is unique on
(task, kind): even a bug cannot charge a task twice.

A hold of a key with a cap is counted in its purse while it is open and when it is captured: see
`spending`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
)

from ketchup import spending
from ketchup.clock import Micros
from ketchup.db import CHURNS, Write, change, insert_new, insertion, metadata, write_many
from ketchup.errors import Conflict, InvalidRequest
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import MAX_CREDITS, Credits
from ketchup.spending import Cap, CapReached, Spent

account = Table(
    "account",
    metadata,
    Column("workspace_id", String(40), primary_key=True),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    CheckConstraint("0 <= held AND held <= balance", name="covers_its_holds"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

entry = Table(
    "entry",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("workspace_id", String(40), nullable=False),
    # Null for what no task caused: a grant.
    Column("task_id", String(40)),
    Column("kind", String(12), nullable=False),
    # Signed: what comes in is positive, what is spent is negative.
    Column("amount", BigInteger, nullable=False),
    Column("note", String(500)),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("task_id", "kind"),
    Index("entry_of_workspace", "workspace_id", "id"),
)

hold_table = Table(
    "hold",
    metadata,
    Column("task_id", String(40), primary_key=True),
    Column("workspace_id", String(40), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Of a key with a cap; null for the others.
    Column("purse", String(40)),
    CheckConstraint("amount >= 0", name="is_not_negative"),
    Index("hold_of_workspace", "workspace_id"),
    sqlite_with_rowid=False,
)


class EntryKind(StrEnum):
    """Why credits moved."""

    GRANT = "grant"  # an operator gave or took credits
    CAPTURE = "capture"  # a task's images were delivered


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Reserve `price` for a task that is about to be accepted."""

    task_id: TaskId
    workspace_id: WorkspaceId
    price: Credits
    cap: Cap | None = None
    """Of the key that asks, where it has one."""


@dataclass(frozen=True, slots=True)
class Held:
    """The price is reserved."""

    task_id: TaskId


@dataclass(frozen=True, slots=True)
class InsufficientCredits:
    """The workspace cannot cover the price now. Nothing was written."""

    available: Credits
    price: Credits


@dataclass(frozen=True, slots=True)
class Settlement:
    """How the hold of an ended task ends: `consumed` is captured, the rest released."""

    task_id: TaskId
    workspace_id: WorkspaceId
    consumed: Credits


@dataclass(frozen=True, slots=True)
class Account:
    """What a workspace has."""

    balance: Credits
    held: Credits

    @property
    def available(self) -> Credits:
        """What is left to spend."""
        return Credits(self.balance - self.held)


@dataclass(frozen=True, slots=True)
class Audit:
    """The account beside the rows it must agree with."""

    account: Account
    entries_sum: Credits
    open_holds_sum: Credits

    @property
    def consistent(self) -> bool:
        """Whether the invariants hold."""
        a = self.account
        return (
            a.balance == self.entries_sum
            and a.held == self.open_holds_sum
            and 0 <= a.held <= a.balance
        )


def hold(
    conn: Connection, requests: Sequence[HoldRequest], now: Micros
) -> list[Held | InsufficientCredits | CapReached]:
    """Reserve each price, in order, and say which could be covered and which a cap forbids.

    The accounts are locked first, in id order: two batches that meet on the same two workspaces
    would otherwise deadlock.
    """
    accounts = _lock_accounts(conn, {request.workspace_id for request in requests})
    spent = spending.load(conn, [request.cap for request in requests if request.cap], now)
    decisions = [_reserve(accounts, spent, request) for request in requests]
    covered = [
        request
        for request, decision in zip(requests, decisions, strict=True)
        if isinstance(decision, Held)
    ]
    if covered:
        write_many(
            conn,
            _change_of(accounts, {request.workspace_id for request in covered}),
            insertion(hold_table, [_hold_row(request, now) for request in covered]),
            spent.change(),
        )
    return decisions


def settle(conn: Connection, settlements: Sequence[Settlement], now: Micros) -> None:
    """End the hold of each task, once.

    Call it only in the transaction that ends the tasks and only for tasks that it ended. Raises
    HoldMissing when a hold has already ended: the two no longer agree and nothing may be kept.
    """
    if not settlements:
        return
    # Accounts before holds, as in `hold`: one order of locks everywhere.
    accounts = _lock_accounts(conn, {s.workspace_id for s in settlements})
    holds = _take_holds(conn, [s.task_id for s in settlements])
    back = [_release(accounts, s, holds) for s in settlements]
    spending.give_back(conn, [one for one in back if one])
    write_many(
        conn,
        insertion(entry, [_capture_row(s, now) for s in settlements if s.consumed]),
        _change_of(accounts, {s.workspace_id for s in settlements}),
    )


def grant(
    conn: Connection, workspace_id: WorkspaceId, amount: Credits, note: str | None, now: Micros
) -> Account:
    """Give credits, or take them back when negative, and return the account after it.

    Raises InvalidRequest for an amount of nothing or beyond all bounds, and Conflict when the
    credits to take are no longer available.
    """
    if amount == 0 or abs(amount) > MAX_CREDITS:
        raise InvalidRequest("amount must be between -1000000000000 and 1000000000000, and not 0")
    # The first grant makes the account; of two at the same time, one does.
    conn.execute(_INSERT_ACCOUNT, {"workspace_id": workspace_id, **_amounts(_EMPTY)})
    before = _lock_accounts(conn, {workspace_id})[workspace_id]
    now_has = Account(Credits(before.balance + amount), before.held)
    if now_has.available < 0:
        raise Conflict("the workspace has fewer credits available than that")
    if now_has.balance > MAX_CREDITS:
        raise InvalidRequest("the balance would be beyond 1000000000000 credits")
    write_many(conn, _change_of({workspace_id: now_has}, {workspace_id}))
    conn.execute(
        _INSERT_ENTRY,
        {
            "workspace_id": workspace_id,
            "task_id": None,
            "kind": EntryKind.GRANT,
            "amount": amount,
            "note": note,
            "created_at": now,
        },
    )
    return now_has


def find_account(conn: Connection, workspace_id: WorkspaceId) -> Account:
    """Return the account; one that never got credits is empty."""
    row = conn.execute(_SELECT_ACCOUNT, {"ids": [workspace_id]}).first()
    return Account(row.balance, row.held) if row else _EMPTY


def list_accounts(conn: Connection) -> dict[WorkspaceId, Account]:
    """Return every account; a workspace that never got credits has none."""
    rows = conn.execute(select(account))
    return {row.workspace_id: Account(row.balance, row.held) for row in rows}


def audit(conn: Connection, workspace_id: WorkspaceId) -> Audit:
    """Compare the account with its entries and holds. Reads every one of them."""
    return Audit(
        account=find_account(conn, workspace_id),
        # PostgreSQL sums integers to a decimal.
        entries_sum=Credits(int(conn.scalar(_SUM_ENTRIES, {"workspace": workspace_id}) or 0)),
        open_holds_sum=Credits(int(conn.scalar(_SUM_HOLDS, {"workspace": workspace_id}) or 0)),
    )


_EMPTY: Final = Account(Credits(0), Credits(0))


class HoldMissing(RuntimeError):
    """A task ended whose hold had already ended: a bug. The transaction must not commit."""


def _reserve(
    accounts: dict[WorkspaceId, Account], spent: Spent, request: HoldRequest
) -> Held | InsufficientCredits | CapReached:
    known = accounts.get(request.workspace_id, _EMPTY)
    if known.available < request.price:
        return InsufficientCredits(known.available, request.price)
    if request.cap is not None:
        if refusal := spent.refusal(request.cap, request.price):
            return refusal
        spent.add(request.cap, request.price)
    if request.price:
        # For nothing there need not be an account, and one that is not locked must not be written.
        accounts[request.workspace_id] = Account(known.balance, Credits(known.held + request.price))
    return Held(request.task_id)


@dataclass(frozen=True, slots=True)
class _OpenHold:
    amount: Credits
    purse: str | None
    created_at: Micros


def _release(
    accounts: dict[WorkspaceId, Account], s: Settlement, holds: dict[str, _OpenHold]
) -> tuple[str, Micros, Credits] | None:
    """End a hold; return what its purse gets back, if it is of one."""
    # Taken out, so that a task that is named twice in one call does not end twice either.
    hold = holds.pop(s.task_id, None)
    if hold is None or not 0 <= s.consumed <= hold.amount:
        raise HoldMissing(f"task {s.task_id} has no hold that covers {s.consumed}")
    a = accounts.get(s.workspace_id)
    if a is None:
        return None  # a free model needs no account; one that was made meanwhile is not locked
    accounts[s.workspace_id] = Account(
        Credits(a.balance - s.consumed), Credits(a.held - hold.amount)
    )
    if hold.purse is None:
        return None
    return hold.purse, hold.created_at, Credits(hold.amount - s.consumed)


def _lock_accounts(
    conn: Connection, workspaces: Iterable[WorkspaceId]
) -> dict[WorkspaceId, Account]:
    rows = conn.execute(_LOCK_ACCOUNTS, {"ids": sorted(workspaces)})
    return {row.workspace_id: Account(row.balance, row.held) for row in rows}


def _change_of(accounts: Mapping[WorkspaceId, Account], touched: Iterable[WorkspaceId]) -> Write:
    them = [key for key in sorted(touched) if key in accounts]
    rows = [{"workspace_id": key, **_amounts(accounts[key])} for key in them]
    return change(account, ("workspace_id",), rows)


def _take_holds(conn: Connection, tasks: Sequence[TaskId]) -> dict[str, _OpenHold]:
    rows = conn.execute(_DELETE_HOLDS, {"ids": list(tasks)})
    return {row.task_id: _OpenHold(row.amount, row.purse, row.created_at) for row in rows}


def _amounts(a: Account) -> dict[str, int]:
    return {"balance": a.balance, "held": a.held}


def _hold_row(request: HoldRequest, now: Micros) -> dict[str, object]:
    return {
        "task_id": request.task_id,
        "workspace_id": request.workspace_id,
        "amount": request.price,
        "created_at": now,
        "purse": None if request.cap is None else request.cap.purse,
    }


def _capture_row(s: Settlement, now: Micros) -> dict[str, object]:
    return {
        "workspace_id": s.workspace_id,
        "task_id": s.task_id,
        "kind": EntryKind.CAPTURE,
        "amount": -s.consumed,
        "note": None,
        "created_at": now,
    }


_SELECT_ACCOUNT: Final = select(account).where(
    account.c.workspace_id.in_(bindparam("ids", expanding=True))
)
_LOCK_ACCOUNTS: Final = _SELECT_ACCOUNT.order_by(account.c.workspace_id).with_for_update()
_INSERT_ACCOUNT: Final = insert_new(account)
_DELETE_HOLDS: Final = (
    delete(hold_table)
    .where(hold_table.c.task_id.in_(bindparam("ids", expanding=True)))
    .returning(
        hold_table.c.task_id, hold_table.c.amount, hold_table.c.purse, hold_table.c.created_at
    )
)
_INSERT_ENTRY: Final = insert(entry)
_SUM_ENTRIES: Final = select(func.sum(entry.c.amount)).where(
    entry.c.workspace_id == bindparam("workspace")
)
_SUM_HOLDS: Final = select(func.sum(hold_table.c.amount)).where(
    hold_table.c.workspace_id == bindparam("workspace")
)
