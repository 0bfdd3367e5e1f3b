"""The data folder that every contestant starts from: one workspace, its key, and ended tasks.

All contestants work on the same schema with the same rows, so none has smaller tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import bulk, rows
from ketchup import bootstrap
from ketchup.clock import SystemClock
from ketchup.config import Settings, load
from ketchup.db import Location, PostgresUrl

CREDITS: Final = "1000000000"
REMEMBERED: Final = 20_000
LATEST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that nobody owns at the moment, and what its client knows."""

    folder: Path
    location: Location
    workspace_id: str
    key: str
    ended: int
    """The tasks that it came with: every other one a success."""
    known: list[str]
    """Some of their ids, from all of the past, and those of the latest thousand."""

    @property
    def database(self) -> str | None:
        """The address of its PostgreSQL database."""
        return self.location.url if isinstance(self.location, PostgresUrl) else None


def settings_for(
    folder: Path,
    *,
    database: str | None = None,
    concurrency: int = 0,
    lease_seconds: float | None = None,
) -> Settings:
    """Return the settings that contestants without a command line share with `ketchup serve`."""
    flags: Mapping[str, object] = {
        "data": folder,
        "database": database,
        "concurrency": concurrency,
        "worker.lease_seconds": lease_seconds,
        "start.credits": CREDITS,
        # The engine's pixel takes no time, and no rival signs it. What signing costs is in 0016.
        "provenance.enabled": False,
    }
    return load({}, flags=flags, folder=folder).settings


async def prepare(folder: Path, tasks: int, database: str | None = None) -> Prepared:
    """Make the folder, and that many ended tasks in its file or in an empty PostgreSQL database."""
    settings = settings_for(folder, database=database)
    with bootstrap.open_folder(settings) as owned:
        bootstrap.migrate(settings, owned)
        async with bootstrap.open_runtime(settings, owned, base_url="http://127.0.0.1") as runtime:
            made = await bootstrap.first_start(runtime, settings)
    assert made is not None
    location = bootstrap.location_of(settings, folder)
    known: list[str] = []
    past = rows.ended(made.workspace_id, tasks, SystemClock().now())
    bulk.load(location, "task", _remembering(past, tasks, known))
    return Prepared(folder, location, made.workspace_id, made.key, tasks, known)


def _remembering(past: bulk.Rows, count: int, known: list[str]) -> Iterator[Mapping[str, object]]:
    every = max(1, count // REMEMBERED)
    for n, row in enumerate(past):
        if n % every == 0 or n >= count - LATEST:
            known.append(str(row["id"]))
        yield row
