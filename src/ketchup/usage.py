"""Usage: what each workspace has used, summed up by day, model, key and how its tasks ended.

Written in the transaction in which tasks end, so it always agrees with them. Whoever looks back
reads these sums and never the tasks: a year of a busy workspace is some thousand rows.

Who adds here has locked the workspace's turn before, so no two transactions that meet on a row
wait for each other. A day is one in UTC. Deleting a task changes nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from ketchup.clock import SECOND, Micros
from ketchup.db import CHURNS, addition, metadata, write_many
from ketchup.ids import KeyId, WorkspaceId
from ketchup.money import Credits

usage_table = Table(
    "usage",
    metadata,
    Column("workspace_id", String(40), primary_key=True),
    # Since 1970-01-01.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("model", String(200), primary_key=True),
    Column("key_id", String(40), primary_key=True),
    Column("environment", String(4), primary_key=True),
    Column("status", String(12), primary_key=True),
    Column("tasks", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)


class By(StrEnum):
    """What usage can be told apart by, besides its environment."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Used:
    """One task that has ended."""

    workspace_id: WorkspaceId
    model: str
    key_id: KeyId
    environment: str
    status: str
    images: int
    credits: Credits


@dataclass(frozen=True, slots=True)
class Asked:
    """Which usage: from one day to another, both included, and told apart by what."""

    first_day: int
    last_day: int
    by: frozenset[By]


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum. What it is not told apart by is None."""

    day: int | None
    model: str | None
    key_id: str | None
    status: str | None
    environment: str
    tasks: int
    images: int
    credits: Credits


def day_of(at: Micros) -> int:
    """Return the day of a time, as the table counts them."""
    return at // (86_400 * SECOND)


def record(conn: Connection, ended: Iterable[Used], now: Micros) -> None:
    """Add tasks that end in this transaction. Call it behind whatever locks their turns."""
    tasks: Counter[tuple[object, ...]] = Counter()
    images: Counter[tuple[object, ...]] = Counter()
    spent: Counter[tuple[object, ...]] = Counter()
    day = day_of(now)
    for one in ended:
        key = (one.workspace_id, day, one.model, one.key_id, one.environment, one.status)
        tasks[key] += 1
        images[key] += one.images
        spent[key] += one.credits
    rows = [
        {
            **dict(zip(_KEYS, key, strict=True)),
            "tasks": tasks[key],
            "images": images[key],
            "credits": spent[key],
        }
        for key in tasks
    ]
    write_many(conn, addition(usage_table, _KEYS, rows))


def find(conn: Connection, workspace_id: WorkspaceId, asked: Asked, *, most: int) -> Sequence[Sum]:
    """Return the sums in the order of days, models, keys and statuses; `most` at most."""
    c = usage_table.c
    wanted = [_COLUMNS[by] for by in By if by in asked.by]
    groups = [*(c[name] for name in wanted), c.environment]
    sums = [func.sum(c[name]).label(name) for name in ("tasks", "images", "credits")]
    statement = (
        select(*groups, *sums)
        .where(c.workspace_id == workspace_id, c.day.between(asked.first_day, asked.last_day))
        .group_by(*groups)
        .order_by(*groups)
        .limit(most)
    )
    # What is not asked for is None. PostgreSQL sums integers to a decimal.
    rows = ({**_NOT_ASKED, **row} for row in conn.execute(statement).mappings())
    return [
        Sum(
            day=row["day"],
            model=row["model"],
            key_id=row["key_id"],
            status=row["status"],
            environment=row["environment"],
            tasks=int(row["tasks"]),
            images=int(row["images"]),
            credits=Credits(int(row["credits"])),
        )
        for row in rows
    ]


_KEYS: Final = ("workspace_id", "day", "model", "key_id", "environment", "status")
_COLUMNS: Final = {By.DAY: "day", By.MODEL: "model", By.KEY: "key_id", By.STATUS: "status"}
_NOT_ASKED: Final = dict.fromkeys(_COLUMNS.values())
