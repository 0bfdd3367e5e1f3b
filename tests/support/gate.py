"""A way to hold a thread of the database where a test wants it, without sleeping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from ketchup.db import Batcher, Database

DEADLINE = 10.0


class Gate:
    """Holds whoever passes until it is opened; what never opens fails instead of hanging."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def hold(self, _conn: Connection) -> None:
        self._entered.set()
        assert self._opened.wait(DEADLINE), "the gate was never opened"

    def open(self) -> None:
        self._opened.set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, DEADLINE), "nobody came to the gate"


@asynccontextmanager
async def held_writer(database: Database, lane: str = "batches") -> AsyncIterator[Gate]:
    """Keep the writer of a lane busy for the body; it goes on behind it, or when the gate is opened.

    On SQLite that is the only writer there is.
    """
    gate = Gate()

    def flush(conn: Connection, calls: Sequence[None]) -> Sequence[None]:
        gate.hold(conn)
        return calls

    hold: Batcher[None, None] = database.write_batcher(flush, lane=lane)
    held = hold(None)
    try:
        await gate.entered()
        yield gate
    finally:
        gate.open()
        await held
