"""What must hold in a data folder and its database, whatever happened to their processes.

Written in SQL of its own, which both databases understand, so that a mistake in the product's
queries cannot hide itself here. Of a SQLite file it looks at a copy: opening the files of a killed
server would do the recovery that the server must do. On PostgreSQL it sees one moment, also while
others work.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psycopg

_TABLES: Final = "SELECT 1 FROM sqlite_master WHERE name = 'task'"
_POSTGRES_TABLES: Final = "SELECT 1 FROM pg_class WHERE oid = to_regclass('task')"
TERMINAL: Final = ("success", "failed")
_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")

ALWAYS: Final[Mapping[str, str]] = {
    "a balance is not the sum of its entries": """
        SELECT workspace_id FROM account a WHERE balance !=
            (SELECT COALESCE(SUM(amount), 0) FROM entry e WHERE e.workspace_id = a.workspace_id)""",
    "held is not the sum of the open holds": """
        SELECT workspace_id FROM account a WHERE held !=
            (SELECT COALESCE(SUM(amount), 0) FROM hold h WHERE h.workspace_id = a.workspace_id)""",
    "an open task is not covered by a hold": """
        SELECT t.id FROM task t LEFT JOIN hold h ON h.task_id = t.id
        WHERE t.status NOT IN ('success', 'failed') AND h.amount IS DISTINCT FROM t.price""",
    "a hold belongs to no open task": """
        SELECT h.task_id FROM hold h LEFT JOIN task t ON t.id = h.task_id
        WHERE t.id IS NULL OR t.status IN ('success', 'failed')""",
    "a success was not paid exactly once": """
        SELECT t.id FROM task t WHERE t.status = 'success' AND (t.consumed != t.price OR
            CASE WHEN t.price = 0 THEN 0 ELSE 1 END !=
            (SELECT COUNT(*) FROM entry e WHERE e.task_id = t.id AND e.amount = -t.price))""",
    "something else than a success was paid": """
        SELECT e.task_id FROM entry e LEFT JOIN task t ON t.id = e.task_id
        WHERE e.task_id IS NOT NULL AND t.status IS DISTINCT FROM 'success'""",
    "a task that is no success has consumed": """
        SELECT id FROM task WHERE status != 'success' AND consumed != 0""",
    "an ended task does not owe its one callback": """
        SELECT t.id FROM task t LEFT JOIN delivery d ON d.task_id = t.id
        WHERE t.status IN ('success', 'failed') AND t.callback_url IS DISTINCT FROM d.url""",
    "a callback is owed for a task that has not ended": """
        SELECT d.task_id FROM delivery d LEFT JOIN task t ON t.id = d.task_id
        WHERE t.id IS NULL OR t.status NOT IN ('success', 'failed')""",
    "a success has not exactly one successful attempt": """
        SELECT t.id FROM task t WHERE t.status = 'success' AND 1 !=
            (SELECT COUNT(*) FROM attempt a WHERE a.task_id = t.id AND a.outcome = 'success')""",
    "an idempotency key names no task": """
        SELECT key FROM idempotency WHERE task_id NOT IN (SELECT id FROM task)""",
    "tasks in flight are miscounted": """
        SELECT workspace_id FROM turn t WHERE active !=
            (SELECT COUNT(*) FROM task k WHERE k.workspace_id = t.workspace_id
             AND k.queue_state IN ('ready', 'delayed', 'leased'))""",
    "waiting tasks are miscounted": """
        SELECT workspace_id FROM turn t WHERE waiting !=
            (SELECT COUNT(*) FROM task k WHERE k.workspace_id = t.workspace_id
             AND k.queue_state = 'waiting')""",
    "a task waits although there is room": """
        SELECT workspace_id FROM turn
        WHERE waiting > 0 AND (capacity = 0 OR active < capacity)""",
    "usage is not what the tasks that ended come to": """
        SELECT t.workspace_id FROM task t WHERE t.finished_at IS NOT NULL
        GROUP BY t.workspace_id HAVING COUNT(*) IS DISTINCT FROM
            (SELECT SUM(u.tasks) FROM usage u WHERE u.workspace_id = t.workspace_id)
            OR SUM(t.consumed) IS DISTINCT FROM
            (SELECT SUM(u.credits) FROM usage u WHERE u.workspace_id = t.workspace_id)""",
    "a task is leased to nobody": """
        SELECT id FROM task
        WHERE worker_id IS NOT NULL AND worker_id NOT IN (SELECT id FROM worker)""",
    "a callback is leased to nobody": """
        SELECT id FROM delivery
        WHERE worker_id IS NOT NULL AND worker_id NOT IN (SELECT id FROM worker)""",
    # Each takes room on its channel for ever.
    "an attempt is open that nobody runs": """
        SELECT a.task_id FROM attempt a LEFT JOIN task t ON t.id = a.task_id
        WHERE a.outcome IS NULL
            AND (t.queue_state IS DISTINCT FROM 'leased' OR t.attempt != a.number)""",
    "an attempt was sent after the one that ended its task": """
        SELECT a.task_id FROM attempt a JOIN task t ON t.id = a.task_id
        WHERE t.status IN ('success', 'failed') AND a.number > t.attempt""",
    "an attempt was charged less than nothing": "SELECT task_id FROM attempt WHERE cost < 0",
    "a channel is out and no time says until when": """
        SELECT name FROM channel WHERE taken_out IS NOT NULL AND closed_until = 0""",
}
"""Each sentence with a query for what breaks it. True at every instant, also of a crash."""

AT_THE_END: Final[Mapping[str, str]] = {
    "a task has not ended": "SELECT id FROM task WHERE status NOT IN ('success', 'failed')",
    "an attempt is open": "SELECT task_id FROM attempt WHERE outcome IS NULL",
    "images are in flight": """
        SELECT channel FROM attempt WHERE outcome IS NULL GROUP BY channel
        HAVING SUM(images) != 0""",
    "a callback was given up": "SELECT id FROM delivery WHERE state = 'dead'",
}
"""True besides when a server that had nothing left to do has stopped."""


@dataclass
class Promises:
    """What clients were told, and rely on."""

    accepted: set[str] = field(default_factory=set)
    """The ids of tasks that were acknowledged."""
    keyed: dict[str, set[str]] = field(default_factory=dict)
    """The ids that were acknowledged for each idempotency key."""

    def acknowledge(self, task_id: str, key: str | None) -> None:
        self.accepted.add(task_id)
        if key is not None:
            self.keyed.setdefault(key, set()).add(task_id)


_NO_COSTS: Final[Mapping[str, int]] = MappingProxyType({})

Rows = Callable[[str], Iterable[tuple[Any, ...]]]


def violations(
    data: Path,
    promises: Promises,
    *,
    at_the_end: bool = False,
    database: str | None = None,
    costs: Mapping[str, int] = _NO_COSTS,
) -> list[str]:
    """Return a sentence for everything that is wrong.

    The database is the one in the folder, whose server must be gone, or the one with this URL.
    `costs` says what an image costs on a channel, in millionths.
    """
    opened = _one_moment(database) if database else _copy(data)
    with opened as rows:
        if database is None and (damage := _damage(rows)):
            return damage
        if not list(rows(_TABLES if database is None else _POSTGRES_TABLES)):
            return [f"an acknowledged task is lost: {task_id}" for task_id in promises.accepted]
        rules = {**ALWAYS, **(AT_THE_END if at_the_end else {})}
        return [
            *(f"{name}: {row[0]}" for name, sql in rules.items() for row in rows(sql)),
            *_broken(rows, promises),
            *_miscalculated(rows, costs),
            *_missing_images(rows, data / "blobs"),
        ]


@contextmanager
def rows_of(data: Path, database: str | None) -> Iterator[Rows]:
    """Open a database as `violations` does, for questions of a test's own."""
    with _one_moment(database) if database else _copy(data) as rows:
        yield rows


@contextmanager
def _copy(data: Path) -> Iterator[Rows]:
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("ketchup.db", "ketchup.db-wal"):
            if (data / name).exists():
                shutil.copy(data / name, scratch)
        with closing(sqlite3.connect(Path(scratch) / "ketchup.db")) as db:
            yield db.execute


@contextmanager
def _one_moment(database: str) -> Iterator[Rows]:
    with psycopg.connect(database) as db:
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield lambda sql: db.execute(sql.encode())


def _damage(rows: Rows) -> list[str]:
    try:
        lines = [line for (line,) in rows("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        lines = [str(error)]
    return [f"the file is damaged: {line}" for line in lines if line != "ok"]


def _broken(rows: Rows, promises: Promises) -> Iterable[str]:
    known = {row[0] for row in rows("SELECT id FROM task")}
    for task_id in promises.accepted - known:
        yield f"an acknowledged task is lost: {task_id}"
    for key, ids in promises.keyed.items():
        if len(ids) != 1:
            yield f"an idempotency key made several tasks: {key} {sorted(ids)}"


def _miscalculated(rows: Rows, costs: Mapping[str, int]) -> Iterable[str]:
    """An attempt was charged for all its images, or for none if that is proven."""
    for task_id, channel, images, cost, outcome in rows(
        "SELECT task_id, channel, images, cost, outcome FROM attempt"
    ):
        whole = costs.get(channel, 0) * images
        if cost != whole and (cost != 0 or outcome in {"success", "unknown"}):
            yield f"an attempt cost {cost} instead of {whole}: {task_id}"


def _missing_images(rows: Rows, blobs: Path) -> Iterable[str]:
    for task_id, result in rows("SELECT id, result FROM task WHERE result IS NOT NULL"):
        for name in json.loads(result):
            image = blobs / name
            if not image.exists() or not image.read_bytes().startswith(_SIGNATURES):
                yield f"the image of a success is missing: {task_id} {name}"
