"""The databases that the tests run on: as good as new each time, and gone with the run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres_pool import PostgresPool, postgres_pool
from tests.support.process import Descendants

_SCHEMA = """
CREATE TABLE boat (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100), name text UNIQUE);
CREATE TABLE mast (boat text REFERENCES boat (name), height int CHECK (height > 0));
CREATE TABLE clock (id int PRIMARY KEY, time bigint);
INSERT INTO clock VALUES (1, 0)
"""
# Prints the folder of its server, and waits to be killed.
_RUN = """
import sys
from tests.support.postgres import postgres_server
with postgres_server() as server:
    print(server.folder, flush=True)
    sys.stdin.read()
"""


def make_schema(url: str) -> None:
    run(url, _SCHEMA)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def select(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


@pytest.fixture
def server(postgres: PostgresPool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a second pool of this test use the server of all tests."""
    url = postgres.url("postgres")
    monkeypatch.setenv("KETCHUP_TEST_POSTGRES", url)
    return url


@pytest.fixture
def pool(server: str) -> Iterator[PostgresPool]:
    assert server
    with postgres_pool(make_schema) as pool:
        yield pool


def test_a_database_is_as_new_when_it_is_given_out_again(pool: PostgresPool) -> None:
    with pool.migrated() as url:
        run(
            url,
            "INSERT INTO boat (name) VALUES ('one'), ('two')",
            "INSERT INTO mast VALUES ('one', 5)",
            "UPDATE clock SET time = 7",
        )
        left_open = psycopg.connect(url)
    with pool.migrated() as again:
        run(again, "INSERT INTO boat (name) VALUES ('three')")

        assert again == url
        assert select(again, "SELECT * FROM boat") == [(100, "three")]
        assert select(again, "SELECT * FROM mast") == []
        assert select(again, "SELECT * FROM clock") == [(1, 0)]
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
    left_open.close()


def test_a_number_that_no_row_got_is_given_out_again(pool: PostgresPool) -> None:
    with pool.migrated() as url:
        run(url, "SELECT nextval('boat_id_seq')")
    with pool.migrated() as again:
        run(again, "INSERT INTO boat (name) VALUES ('one')")

        assert again == url
        assert select(again, "SELECT id FROM boat") == [(100,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE boat ADD length int",
        "ALTER TABLE mast DROP CONSTRAINT mast_height_check",
        "CREATE TABLE sail (colour text)",
        "CREATE INDEX ON boat (id)",
        "CREATE FUNCTION one() RETURNS int RETURN 1",
        "DROP TABLE mast",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 1', current_database()); END $$",
    ],
)
def test_a_database_that_is_not_the_same_any_more_is_not_given_out_again(
    pool: PostgresPool, change: str
) -> None:
    with pool.migrated() as url:
        run(url, change)
    with pool.migrated() as another:
        assert another != url
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_two_at_a_time_are_two(pool: PostgresPool) -> None:
    with pool.migrated() as one, pool.migrated() as other, pool.empty() as third:
        assert len({one, other, third}) == 3
        assert select(third, "SELECT * FROM pg_tables WHERE schemaname = 'public'") == []


def test_what_a_dead_run_left_is_dropped_and_what_a_living_one_has_is_not(server: str) -> None:
    with postgres_pool(make_schema) as living, living.migrated() as living_url:
        run(server, "CREATE DATABASE ketchup_test_12_3")
        with postgres_pool(make_schema):
            names = [name for (name,) in select(server, "SELECT datname FROM pg_database")]

        assert "ketchup_test_12_3" not in names
        assert select(living_url, "SELECT * FROM clock") == [(1, 0)]
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(living_url)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_server_goes_with_the_run_that_made_it(end: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        left = Descendants(process.pid)
        assert len(left.pids) > 2
        process.send_signal(end)
        # Long before it would notice by itself, which it does within a minute.
        assert left.left_after(10.0) == []
    assert not folder.exists()
