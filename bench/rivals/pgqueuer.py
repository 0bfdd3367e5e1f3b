"""PgQueuer: jobs in PostgreSQL, enqueued in the transaction of the task's rows.

    python -m bench.rivals.pgqueuer install|submit|work SETUP

Its claims and completions come in batches, which is what it is quick by. It is given no limit of
jobs at once, which would make its claims slower, and connections apart from those of the tasks.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any, Final

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.engine import Engine
from bench.orders import Setup, setup_from_arguments, take_orders, until_told_to_stop
from bench.rivals import writes

ENTRYPOINT: Final = "render"
WRITES: Final = writes.for_asyncpg()
CONNECTIONS: Final = 16
BATCH: Final = 64


async def install(setup: Setup) -> None:
    """Make PgQueuer's own tables, with the vacuum settings that it brings along."""
    connection = await asyncpg.connect(setup.postgres)
    queries = Queries.from_asyncpg_connection(connection)
    await queries.install()
    await queries.optimize_autovacuum()
    await connection.close()


async def submit(setup: Setup) -> None:
    """Submit what is ordered."""
    async with _pool(setup) as pool:

        async def one(workspace_id: str) -> str:
            row = writes.new_task(workspace_id)
            async with pool.acquire() as connection, connection.transaction():
                done = await connection.execute(WRITES.submit.text, *WRITES.submit.numbered(row))
                assert done == "INSERT 0 1", done
                queries = Queries.from_asyncpg_connection(connection)
                await queries.enqueue(ENTRYPOINT, str(row["id"]).encode())
            return str(row["id"])

        await take_orders(one)


async def work(setup: Setup) -> None:
    """Run jobs until told to stop."""
    engine = Engine(setup.starts, setup.engine_seconds)
    async with _pool(setup) as pool, _pool(setup) as own:
        queuer = PgQueuer.from_asyncpg_pool(own)

        @queuer.entrypoint(ENTRYPOINT)
        async def render(job: Job) -> None:
            assert job.payload is not None
            task_id = job.payload.decode()
            started = WRITES.start.numbered(writes.started(task_id, "pgqueuer"))
            number = await pool.fetchval(WRITES.start.text, *started)
            data = await engine.draw(task_id)
            picture = await asyncio.to_thread(writes.store, setup, data)
            finished = WRITES.finish.numbered(writes.finished(task_id, number, picture))
            await pool.execute(WRITES.finish.text, *finished)

        async with asyncio.TaskGroup() as group:
            group.create_task(
                queuer.run(
                    batch_size=BATCH,
                    dequeue_timeout=timedelta(seconds=1),
                    heartbeat_timeout=timedelta(seconds=setup.lease_seconds),
                )
            )
            await until_told_to_stop()
            queuer.shutdown.set()


def _pool(setup: Setup) -> Any:  # noqa: ANN401 the library has no types
    return asyncpg.create_pool(setup.postgres, min_size=CONNECTIONS, max_size=CONNECTIONS)


if __name__ == "__main__":
    role = {"install": install, "submit": submit, "work": work}[sys.argv[1]]
    uvloop.run(role(setup_from_arguments()))
