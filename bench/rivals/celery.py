"""Celery on Redis: jobs in Redis, the task's rows in PostgreSQL.

    python -m bench.rivals.celery install|submit|work SETUP

No transaction spans the two, so the job is sent behind the commit; a producer that dies in between
leaves a task that never runs. Jobs are acknowledged late, behind their last commit, or a killed
worker would lose them. Redis flushes its log every second: a power cut may lose the last one's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Final

import asyncpg
import psycopg
import uvloop
from celery import Celery
from celery.signals import worker_ready

from bench.engine import Engine
from bench.orders import Setup, setup_from_arguments, take_orders, tell_ready
from bench.rivals import writes

CONNECTIONS: Final = 16
PROCESSES: Final = 4
PREFETCH: Final = 16


def application(setup: Setup) -> Any:  # noqa: ANN401 the library has no types
    """Return the application, which producer and worker share."""
    app = Celery("bench", broker=f"redis://127.0.0.1:{setup.redis}/0")
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=PREFETCH,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
    )
    return app


async def install(_setup: Setup) -> None:
    """Redis needs nothing to be made."""


async def submit(setup: Setup) -> None:
    """Submit what is ordered."""
    app, submit_row = application(setup), writes.for_asyncpg().submit
    render = app.signature("render")
    pool = asyncpg.create_pool(setup.postgres, min_size=CONNECTIONS, max_size=CONNECTIONS)
    async with pool:

        async def one(workspace_id: str) -> str:
            row = writes.new_task(workspace_id)
            done = await pool.execute(submit_row.text, *submit_row.numbered(row))
            assert done == "INSERT 0 1", done
            render.apply_async((row["id"],))
            return str(row["id"])

        await take_orders(one)


def work(setup: Setup) -> None:
    """Run jobs until told to stop."""
    assert setup.postgres is not None
    address = setup.postgres
    app, both = application(setup), writes.for_psycopg()
    engine = Engine(setup.starts, setup.engine_seconds)
    connections: dict[int, psycopg.Connection] = {}

    def render(task_id: str) -> None:
        # One connection per process, opened behind the fork.
        if (connection := connections.get(os.getpid())) is None:
            connection = psycopg.connect(address, autocommit=True)
            connections[os.getpid()] = connection
        started = both.start.named(writes.started(task_id, "celery"))
        row = connection.execute(both.start.text, started).fetchone()
        assert row is not None
        picture = writes.store(setup, engine.draw_blocking(task_id))
        finished = both.finish.named(writes.finished(task_id, row[0], picture))
        connection.execute(both.finish.text, finished)

    app.task(name="render")(render)
    worker_ready.connect(lambda **_: tell_ready(), weak=False)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    app.worker_main(
        [
            "worker",
            "--loglevel=warning",
            f"--concurrency={PROCESSES}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def _end_with_standard_input() -> None:
    # Not through `sys.stdin`: its lock would be held in every child that is forked meanwhile.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(setup_from_arguments())
    else:
        uvloop.run({"install": install, "submit": submit}[sys.argv[1]](setup_from_arguments()))
