"""The data folder that every contestant starts from: one workspace, its key, and ended tasks.

All contestants work on the same schema with the same rows, so none has smaller tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert

from ketchup import ids
from ketchup.bootstrap import FirstStart, first_start, open_runtime
from ketchup.clock import Micros, SystemClock
from ketchup.config import Settings, load
from ketchup.data_folder import DataFolder
from ketchup.tasks.table import task

CREDITS: Final = "1000000000"
PRICE: Final = 500_000
"""What `google/gempix2` costs, in micro-credits."""
_CHUNK: Final = 5_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that nobody owns at the moment, and what its client knows."""

    folder: Path
    workspace_id: str
    key: str
    ended: list[str]
    """The tasks that it came with: every other one a success."""


def settings_for(folder: Path) -> Settings:
    """Return the settings that contestants without a command line share with `ketchup serve`."""
    flags: Mapping[str, object] = {"data": folder, "concurrency": 0, "start.credits": CREDITS}
    return load({}, flags=flags, folder=folder).settings


async def prepare(folder: Path, tasks: int) -> Prepared:
    """Make the folder with that many ended tasks."""
    settings = settings_for(folder)
    clock = SystemClock()
    with DataFolder.open(folder, clock) as owned:
        async with open_runtime(settings, owned, base_url="http://127.0.0.1", providers=None) as r:
            made = await first_start(r, settings)
            assert made is not None
            rows = list(_ended_tasks(made, tasks, clock.now()))
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                await r.database.write(partial(_insert, rows=chunk))
    return Prepared(folder, made.workspace_id, made.key, [str(row["id"]) for row in rows])


def _insert(conn: Connection, rows: list[dict[str, object]]) -> None:
    conn.execute(insert(task), rows)


def _ended_tasks(made: FirstStart, count: int, now: Micros) -> Iterator[dict[str, object]]:
    for n in range(count):
        at = now - (count - n) * 1_000_000
        success = n % 2 == 0
        image = f"fileSystem/response_images/1000/2026/01/01/{at}_{n:032x}.png"
        yield {
            "id": ids.task_id(at),
            "workspace_id": made.workspace_id,
            "key_id": "key_of_the_past",
            "request_id": "req_of_the_past",
            "model": "google/gempix2",
            "prompt": "Put them in a basket, soft light, 35mm",
            "images": '["https://cdn.example.com/body-lotion.png"]',
            "callback_url": "https://example.com/webhooks/images",
            "options": '{"aspect_ratio":"1:1"}',
            "status": "success" if success else "failed",
            "queue_state": "done",
            "price": PRICE,
            "vtime": 0,
            "priority": 0,
            "attempt": 1,
            "tries": 1,
            "losses": 0,
            "result": f'["{image}"]' if success else None,
            "consumed": PRICE if success else 0,
            "reason": None if success else "The image could not be rendered.",
            "created_at": at,
            "submitted_at": at,
            "started_at": at,
            "finished_at": at + 900_000,
        }
