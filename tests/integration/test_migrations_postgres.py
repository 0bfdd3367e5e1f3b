"""Migrations on PostgreSQL: by one process at a time, all or nothing, and only where it may work."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, text

from ketchup import migrations
from ketchup.db import PostgresUrl, metadata
from ketchup.migrations import DatabaseUnreachable, DatabaseUnusable
from tests.support.database import open_engine
from tests.support.postgres_pool import PostgresPool
from tests.support.process import DEADLINE_SECONDS
from tests.support.schema import schema

# Migrates, and is killed after the first statement, the fifth, and so on until it is done; prints
# how many there were.
_KILLED = """
import os, signal, sys
import ketchup.generation
import psycopg, sqlalchemy.dialects.postgresql.psycopg
from sqlalchemy import event, inspect
from ketchup import migrations
from ketchup.db import PostgresUrl, engine_of, metadata

location = PostgresUrl(sys.argv[1])

def migrate(kill_after):
    engine, seen = engine_of(location), 0
    def count(*_):
        nonlocal seen
        seen += 1
        if seen == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(engine, "after_cursor_execute", count)
    migrations.upgrade(engine, newest=metadata)
    os._exit(0)

kill_after = -3
while True:
    kill_after += 4
    child = os.fork()
    if child == 0:
        migrate(kill_after)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    with psycopg.connect(sys.argv[1]) as conn:
        left = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [], left
print(kill_after - 1)
sys.exit(status)
"""


@pytest.fixture
def url(postgres: PostgresPool) -> Iterator[str]:
    with postgres.empty() as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with open_engine(PostgresUrl(url)) as engine:
        yield engine


def test_of_processes_that_start_at_once_one_migrates_and_the_others_wait(url: str) -> None:
    starters = 4
    together = threading.Barrier(starters, timeout=DEADLINE_SECONDS)

    def start(_: int) -> bool:
        with open_engine(PostgresUrl(url)) as engine:
            together.wait()
            return migrations.upgrade(engine, newest=metadata)

    with ThreadPoolExecutor(starters) as threads:
        assert sorted(threads.map(start, range(starters))) == [False, False, False, True]


def test_a_start_killed_while_it_migrates_leaves_nothing_behind(url: str, engine: Engine) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )

    assert int(killed.stdout) > 30
    migrations.require_usable(engine)


def test_an_index_of_few_rows_is_one_here_too(engine: Engine) -> None:
    migrations.upgrade(engine, newest=metadata)
    made = schema(engine)

    partial = {
        index.name
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    assert "task_ready" in partial
    assert partial == {
        name for name, clauses in made.items() if any(" WHERE " in clause for clause in clauses)
    }


@contextmanager
def database_in(url: str, encoding: str) -> Iterator[str]:
    name = f"{conninfo_to_dict(url)['dbname']}_encoded"
    create = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(create.encode())
        try:
            yield name
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_and_left_alone(
    postgres: PostgresPool, url: str, encoding: str
) -> None:
    with database_in(url, encoding) as name, open_engine(PostgresUrl(postgres.url(name))) as engine:
        with pytest.raises(DatabaseUnusable, match=f"encoded in {encoding}; create it with"):
            migrations.upgrade(engine, newest=metadata)
        assert schema(engine) == {}


def test_a_database_that_does_not_answer_is_named_without_its_password(
    postgres: PostgresPool,
) -> None:
    url = postgres.url("no_such_database").replace("postgres@", "postgres:hidden@")
    with (
        open_engine(PostgresUrl(url)) as engine,
        pytest.raises(DatabaseUnreachable, match='"no_such_database" does not exist') as lost,
    ):
        migrations.upgrade(engine, newest=metadata)

    assert "hidden" not in str(lost.value)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_nothing_that_a_power_failure_would_lose_is_switched_off_here(
    engine: Engine, setting: str
) -> None:
    with engine.begin() as conn:
        assert migrations.risks(conn) == []
        if setting == "synchronous_commit":
            conn.execute(text("SET LOCAL synchronous_commit = off"))
            assert migrations.risks(conn) == [setting]
