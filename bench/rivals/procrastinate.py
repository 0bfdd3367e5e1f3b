"""Procrastinate: jobs in PostgreSQL, deferred in the transaction of the task's rows.

    python -m bench.rivals.procrastinate install|submit|work SETUP

It fetches one job at a time and runs many side by side. It is given a pool of its own whose
connections are not probed at each use and begin no transaction for a single statement, and it
deletes what succeeded; each of these is quicker than what it does by itself.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop
from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from bench.engine import Engine
from bench.orders import Setup, setup_from_arguments, take_orders, until_told_to_stop
from bench.rivals import writes

WRITES: Final = writes.for_psycopg()
CONNECTIONS: Final = 16

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


async def install(setup: Setup) -> None:
    """Make Procrastinate's own tables."""
    async with _pool(setup) as pool, App(connector=PsycopgConnector()).open_async(pool) as app:
        await app.schema_manager.apply_schema_async()


async def submit(setup: Setup) -> None:
    """Submit what is ordered."""
    async with _pool(setup) as pool, App(connector=PsycopgConnector()).open_async(pool) as app:

        async def one(workspace_id: str) -> str:
            row = writes.new_task(workspace_id)
            async with pool.connection() as connection, connection.transaction():
                done = await connection.execute(WRITES.submit.text, WRITES.submit.named(row))
                assert done.rowcount == 1
                job = app.configure_task("render", queue="images", connection=connection)
                await job.defer_async(task_id=str(row["id"]))
            return str(row["id"])

        await take_orders(one)


async def work(setup: Setup) -> None:
    """Run jobs until told to stop."""
    engine = Engine(setup.starts, setup.engine_seconds)
    app = App(connector=PsycopgConnector())
    async with _pool(setup) as pool, _pool(setup) as own, app.open_async(own):

        @app.task(name="render", queue="images")
        async def render(task_id: str) -> None:
            started = WRITES.start.named(writes.started(task_id, "procrastinate"))
            async with pool.connection() as connection:
                journal = await connection.execute(WRITES.start.text, started)
                row = await journal.fetchone()
            assert row is not None
            data = await engine.draw(task_id)
            picture = await asyncio.to_thread(writes.store, setup, data)
            finished = WRITES.finish.named(writes.finished(task_id, row[0], picture))
            async with pool.connection() as connection:
                await connection.execute(WRITES.finish.text, finished)

        working = asyncio.create_task(
            app.run_worker_async(
                queues=["images"],
                concurrency=setup.at_once,
                delete_jobs="successful",
                install_signal_handlers=False,
            )
        )
        await until_told_to_stop()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _pool(setup: Setup) -> Pool:
    assert setup.postgres is not None
    return AsyncConnectionPool(
        setup.postgres,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        configure=_without_transactions,
        open=False,
    )


async def _without_transactions(connection: AsyncConnection[TupleRow]) -> None:
    await connection.set_autocommit(True)


if __name__ == "__main__":
    role = {"install": install, "submit": submit, "work": work}[sys.argv[1]]
    uvloop.run(role(setup_from_arguments()))
