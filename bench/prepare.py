"""The data folder that every contestant starts from: one workspace, its key, and ended tasks.

All contestants work on the same schema with the same rows, so none has smaller tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert

from bench import rows
from ketchup.bootstrap import first_start, open_runtime
from ketchup.clock import SystemClock
from ketchup.config import Settings, load
from ketchup.data_folder import DataFolder
from ketchup.tasks.table import task

CREDITS: Final = "1000000000"
_CHUNK: Final = 5_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that nobody owns at the moment, and what its client knows."""

    folder: Path
    workspace_id: str
    key: str
    ended: list[str]
    """The tasks that it came with: every other one a success."""


def settings_for(folder: Path, *, concurrency: int = 0) -> Settings:
    """Return the settings that contestants without a command line share with `ketchup serve`."""
    flags: Mapping[str, object] = {
        "data": folder,
        "concurrency": concurrency,
        "start.credits": CREDITS,
    }
    return load({}, flags=flags, folder=folder).settings


async def prepare(folder: Path, tasks: int) -> Prepared:
    """Make the folder with that many ended tasks."""
    settings = settings_for(folder)
    clock = SystemClock()
    with DataFolder.open(folder, clock) as owned:
        async with open_runtime(settings, owned, base_url="http://127.0.0.1", providers=None) as r:
            made = await first_start(r, settings)
            assert made is not None
            ended = list(rows.ended(made.workspace_id, tasks, clock.now()))
            for start in range(0, len(ended), _CHUNK):
                chunk = ended[start : start + _CHUNK]
                await r.database.write(partial(_insert, chunk=chunk))
    return Prepared(folder, made.workspace_id, made.key, [str(row["id"]) for row in ended])


def _insert(conn: Connection, chunk: list[dict[str, object]]) -> None:
    conn.execute(insert(task), chunk)
