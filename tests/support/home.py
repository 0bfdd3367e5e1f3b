"""A place where services live one after the other, and what they leave there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from ketchup.db import Location, PostgresUrl, SqliteFile
from ketchup.providers.base import Provider
from tests.support.invariants import rows_of
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service


@dataclass
class Home:
    """Where a service lives: its folder, and the database that it finds there or elsewhere."""

    data: Path
    database_url: str | None

    @asynccontextmanager
    async def served_by(
        self, engines: Provider | Mapping[str, Provider], **settings: object
    ) -> AsyncIterator[RunningService]:
        """Run a service; one engine alone is the studio. `worker__max_tries` is `worker.max_tries`."""
        named = {name.replace("__", "."): value for name, value in settings.items()}
        providers = engines if isinstance(engines, Mapping) else {"studio": engines}
        async with running_service(
            self.data, providers=providers, settings=named, database=self.database_url
        ) as service:
            yield service

    @property
    def location(self) -> Location:
        url = self.database_url
        return PostgresUrl(url) if url else SqliteFile(self.data / "ketchup.db")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read what a service that has stopped left."""
        with rows_of(self.data, self.database_url) as rows:
            return list(rows(sql))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Look again and again until it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)


async def rows(service: RunningService, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """Read from the database of a service that runs."""

    def read(conn: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in conn.execute(text(sql), values)]

    return await service.runtime.database.read(read)


async def change(service: RunningService, *statements: str, **values: object) -> None:
    """Change the database of a service that runs, behind its back."""

    def write(conn: Connection) -> None:
        for sql in statements:
            conn.execute(text(sql), values)

    await service.runtime.database.write(write)
