"""What a task of Ketchup's writes, for engines that know nothing of Ketchup.

One statement per stage, as an expert would write it: a round trip and a commit each, except that
`SUBMIT` goes into the transaction that enqueues the job, where the engine has one.

    SUBMIT   the account is guarded and its held amount raised, the hold and the task are inserted
    START    the task is in progress, and the journal says so before anything is sent
    FINISH   the task is a success, its hold becomes a ledger entry, the journal is closed
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Executable,
    bindparam,
    delete,
    insert,
    literal,
    make_url,
    select,
    update,
)

from bench.orders import Setup
from bench.rows import pending
from ketchup import ids, storage
from ketchup.clock import SystemClock
from ketchup.credits import account, entry, hold_table
from ketchup.data_folder import paths
from ketchup.ids import WorkspaceId
from ketchup.providers.base import ImageFormat
from ketchup.tasks.table import attempt, task

CLOCK: Final = SystemClock()
_FOLDER_NUMBER: Final = 1000


@dataclass(frozen=True, slots=True)
class Statement:
    """A stage in a driver's own words."""

    text: str
    order: tuple[str, ...]
    """The parameters by their numbers, for a driver that numbers them."""
    constants: Mapping[str, object]

    def named(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return all parameters by name."""
        return {**self.constants, **values}

    def numbered(self, values: Mapping[str, object]) -> list[object]:
        """Return all parameters in their order."""
        named = self.named(values)
        return [named[name] for name in self.order]


@dataclass(frozen=True, slots=True)
class Writes:
    """The three stages for one driver."""

    submit: Statement
    start: Statement
    finish: Statement


def for_asyncpg() -> Writes:
    """Return the stages with parameters `$1`, `$2` and so on."""
    return _writes("postgresql+asyncpg")


def for_psycopg() -> Writes:
    """Return the stages with parameters `%(name)s`."""
    return _writes("postgresql+psycopg")


def new_task(workspace_id: str) -> dict[str, object]:
    """Return the values of SUBMIT for a new task."""
    return pending(WorkspaceId(workspace_id), CLOCK.now())


def started(task_id: str, worker: str) -> dict[str, object]:
    """Return the values of START."""
    return {"id": task_id, "worker": worker, "now": CLOCK.now()}


def finished(task_id: str, number: int, picture: str) -> dict[str, object]:
    """Return the values of FINISH."""
    return {"id": task_id, "number": number, "result": f'["{picture}"]', "now": CLOCK.now()}


def store(setup: Setup, data: bytes) -> str:
    """Store a picture durably, under a name as Ketchup gives one, and return the name."""
    key = storage.image_key(_FOLDER_NUMBER, CLOCK.now(), ImageFormat.PNG, ids.name_bits())
    path = paths(setup.data).blobs / key
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return key


def _writes(driver: str) -> Writes:
    dialect = make_url(f"{driver}://").get_dialect()()
    return Writes(*(_statement(one, dialect) for one in (_submit(), _start(), _finish())))


def _statement(statement: Executable, dialect: Dialect) -> Statement:
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined] # all of ours
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return Statement(str(compiled), tuple(compiled.positiontup or ()), constants)


def _submit() -> Executable:
    guarded = (
        update(account)
        .where(
            account.c.workspace_id == _bound(account.c.workspace_id),
            account.c.balance - account.c.held >= _bound(task.c.price),
        )
        .values(held=account.c.held + _bound(task.c.price))
        .returning(account.c.workspace_id)
        .cte("guarded")
    )
    promised = select(
        _bound(task.c.id), guarded.c.workspace_id, _bound(task.c.price), _bound(task.c.created_at)
    )
    of_hold = ["task_id", "workspace_id", "amount", "created_at"]
    held = insert(hold_table).from_select(of_hold, promised).cte("held")
    columns = [column for column in task.c if column.name in pending(WorkspaceId(""), CLOCK.now())]
    row = select(*(_bound(column) for column in columns)).select_from(guarded)
    return insert(task).from_select(columns, row).add_cte(held)


def _start() -> Executable:
    started = (
        update(task)
        .where(task.c.id == _bound(task.c.id), task.c.finished_at.is_(None))
        .values(
            status="in_progress",
            attempt=task.c.attempt + 1,
            submitted_at=_now(),
            started_at=_now(),
        )
        .returning(task.c.id, task.c.attempt)
        .cte("started")
    )
    row = select(
        started.c.id,
        started.c.attempt,
        bindparam("worker", type_=attempt.c.worker_id.type),
        literal("studio"),
        _now(),
    )
    columns = ["task_id", "number", "worker_id", "channel", "sent_at"]
    return insert(attempt).from_select(columns, row).returning(attempt.c.number)


def _finish() -> Executable:
    number = bindparam("number", type_=attempt.c.number.type)
    ended = (
        update(task)
        .where(
            task.c.id == _bound(task.c.id),
            task.c.attempt == number,
            task.c.finished_at.is_(None),
        )
        .values(
            status="success",
            queue_state="done",
            result=_bound(task.c.result),
            consumed=task.c.price,
            finished_at=_now(),
        )
        .returning(task.c.id)
        .cte("ended")
    )
    freed = (
        delete(hold_table)
        .where(hold_table.c.task_id == ended.c.id)
        .returning(hold_table.c.task_id, hold_table.c.workspace_id, hold_table.c.amount)
        .cte("freed")
    )
    captured = select(
        freed.c.workspace_id, freed.c.task_id, literal("capture"), -freed.c.amount, _now()
    )
    columns = ["workspace_id", "task_id", "kind", "amount", "created_at"]
    noted = insert(entry).from_select(columns, captured).cte("noted")
    closed = (
        update(attempt)
        .where(attempt.c.task_id == ended.c.id, attempt.c.number == number)
        .values(outcome="success", finished_at=_now())
        .cte("closed")
    )
    settled = (
        update(account)
        .where(account.c.workspace_id == freed.c.workspace_id)
        .values(balance=account.c.balance - freed.c.amount, held=account.c.held - freed.c.amount)
    )
    return settled.add_cte(noted, closed)


def _bound(column: Column[Any]) -> Any:  # noqa: ANN401 SQLAlchemy's own name for it is private
    return bindparam(column.name, type_=column.type)


def _now() -> Any:  # noqa: ANN401 as above
    return bindparam("now", type_=BigInteger)
