"""The books: the workspaces that the queue's parts work for, and what must be written at the end.

Every contestant writes to the same tables, so one audit judges them all. A contestant whose books
are wrong has measured nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.schema import DropIndex

from ketchup import credits, workspaces
from ketchup.clock import SystemClock
from ketchup.ids import WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import attempt, task

BALANCE: Final = Credits(10**15)
PLAN: Final = "scale"
_LOOK_EVERY_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 180


def drop_our_indexes(conn: Connection) -> None:
    """Take away the indexes that only our own queue reads: another one brings its own."""
    for table in (task, attempt):
        for index in table.indexes:
            conn.execute(DropIndex(index))


def open_workspaces(conn: Connection, count: int) -> list[str]:
    """Create that many workspaces, rich enough for any run, and return their ids."""
    now = SystemClock().now()
    opened: list[str] = []
    for n in range(count):
        made = workspaces.create(conn, f"bench {n}", PLAN, now)
        credits.grant(conn, made.id, BALANCE, "bench", now)
        opened.append(made.id)
    return opened


def wait_until_done(database: Engine) -> None:
    """Return when nothing is promised to open tasks any more: every one has ended."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        with database.connect() as conn:
            held = conn.scalar(select(func.sum(credits.account.c.held)))
        if not held:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {_DRAIN_SECONDS} s {held} micro-credits are still held")
        time.sleep(_LOOK_EVERY_SECONDS)


def faults(
    conn: Connection, opened: Sequence[str], pictures: Path, submitted: int
) -> Iterator[str]:
    """Say what is wrong when that many tasks were submitted and all of them must be a success."""
    counted = {
        "tasks that are a success": select(func.count()).where(task.c.status == "success"),
        "attempts in the journal": select(func.count()).where(attempt.c.outcome == "success"),
        "captures in the ledger": select(func.count()).where(credits.entry.c.kind == "capture"),
    }
    for what, query in counted.items():
        if (found := conn.scalar(query)) != submitted:
            yield f"{submitted} tasks submitted, {found} {what}"
    if stored := conn.scalar(select(func.count()).select_from(credits.hold_table)):
        yield f"{stored} holds are left"
    if (found := sum(1 for _ in pictures.rglob("*.png"))) != submitted:
        yield f"{submitted} tasks submitted, {found} pictures stored"
    yield from faults_so_far(conn, opened, submitted)


def faults_so_far(conn: Connection, opened: Sequence[str], submitted: int) -> Iterator[str]:
    """Say what is wrong when that many tasks were submitted, whatever has become of them."""
    if (found := conn.scalar(select(func.count()).select_from(task))) != submitted:
        yield f"{submitted} tasks submitted, {found} tasks stored"
    for workspace_id in opened:
        audit = credits.audit(conn, WorkspaceId(workspace_id))
        if not audit.consistent:
            yield f"an account does not agree with its rows: {audit}"
