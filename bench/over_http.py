"""From a post to success: the pipeline behind Ketchup's HTTP server, which works as well.

The load is a process of its own; nothing is pinned, so server, load and PostgreSQL share the cores
as producer, worker and servers do in the pipeline. The clock runs from the first post until nothing
is held any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Engine

from bench import books, contestants
from bench.load import Job
from bench.orders import Setup
from bench.prepare import Prepared, prepare
from bench.rows import MODEL, PROMPT
from bench.servers import Servers
from ketchup.data_folder import paths
from ketchup.db import engine_of

CONNECTIONS: Final = 64
_BODY: Final = msgspec.json.encode({"model": MODEL, "prompt": PROMPT}).decode()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How fast it was, and what was wrong."""

    per_second: float
    faults: list[str]


def measure(servers: Servers, folder: Path, seconds: float, *, on_postgres: bool) -> Outcome:
    """Post for that many seconds, and wait for the last success."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(servers.new_database()).url if on_postgres else None
        prepared = asyncio.run(prepare(folder, 0, database))
        engine = engine_of(prepared.location, lasting=True)
        stack.callback(engine.dispose)
        setup = Setup(folder=str(folder), postgres=database)
        command = [sys.executable, "-m", "bench.own", "serve", msgspec.json.encode(setup).decode()]
        log = stack.enter_context((folder / "serve.log").open("wb"))
        _, port = stack.enter_context(contestants.running(command, None, log))
        began = time.perf_counter()
        posted = contestants.send(
            Job(
                port=port,
                key=prepared.key,
                connections=CONNECTIONS,
                warm_up=0,
                seconds=seconds,
                body=_BODY,
            )
        )
        books.wait_until_done(engine)
        took = time.perf_counter() - began
        return Outcome(len(posted.ids) / took, _faults(engine, prepared, len(posted.ids)))


def _faults(engine: Engine, prepared: Prepared, posted: int) -> list[str]:
    pictures = paths(prepared.folder).blobs
    with engine.connect() as conn:
        return list(books.faults(conn, [prepared.workspace_id], pictures, posted))
