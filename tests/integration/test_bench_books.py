"""The benchmark's judge: what another queue writes is right only when every stage was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from bench import books
from bench.orders import Setup
from bench.rivals import writes
from ketchup.data_folder import paths
from ketchup.db import PostgresUrl
from tests.support.database import open_engine
from tests.support.postgres_pool import PostgresPool

WRITES = writes.for_psycopg()


@pytest.fixture
def url(postgres: PostgresPool) -> Iterator[str]:
    with postgres.migrated() as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with open_engine(PostgresUrl(url)) as engine:
        yield engine


@pytest.fixture
def workspaces(engine: Engine) -> list[str]:
    with engine.begin() as conn:
        return books.open_workspaces(conn, 2)


def _run_a_task(url: str, folder: Path, workspace_id: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        task = writes.new_task(workspace_id)
        task_id = str(task["id"])
        connection.execute(WRITES.submit.text, WRITES.submit.named(task))
        started = WRITES.start.named(writes.started(task_id, "a worker"))
        row = connection.execute(WRITES.start.text, started).fetchone()
        assert row is not None
        picture = writes.store(Setup(folder=str(folder)), b"a picture")
        finished = WRITES.finish.named(writes.finished(task_id, row[0], picture))
        connection.execute(WRITES.finish.text, finished)


def _faults(engine: Engine, workspaces: list[str], folder: Path, submitted: int) -> list[str]:
    with engine.connect() as conn:
        return list(books.faults(conn, workspaces, paths(folder).blobs, submitted))


def test_books_are_right_when_every_stage_was_written(
    url: str, engine: Engine, workspaces: list[str], tmp_path: Path
) -> None:
    for workspace_id in workspaces:
        _run_a_task(url, tmp_path, workspace_id)

    assert _faults(engine, workspaces, tmp_path, submitted=2) == []


@pytest.mark.parametrize(
    "spoilt",
    [
        "DELETE FROM entry WHERE kind = 'capture'",
        "DELETE FROM attempt",
        "UPDATE attempt SET outcome = NULL, finished_at = NULL",
        "UPDATE account SET balance = balance + 1",
        "UPDATE account SET held = held + 1",
        "UPDATE task SET status = 'failed', result = NULL, reason = 'no', consumed = 0",
        "DELETE FROM task",
        "INSERT INTO hold SELECT id, workspace_id, 0, created_at FROM task",
    ],
)
def test_a_stage_that_is_missing_is_found(
    url: str, engine: Engine, workspaces: list[str], tmp_path: Path, spoilt: str
) -> None:
    _run_a_task(url, tmp_path, workspaces[0])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(spoilt.encode())

    assert _faults(engine, workspaces, tmp_path, submitted=1) != []


def test_a_picture_that_was_not_stored_is_found(
    url: str, engine: Engine, workspaces: list[str], tmp_path: Path
) -> None:
    _run_a_task(url, tmp_path, workspaces[0])
    for picture in paths(tmp_path).blobs.rglob("*.png"):
        picture.unlink()

    assert _faults(engine, workspaces, tmp_path, submitted=1) == [
        "1 tasks submitted, 0 pictures stored"
    ]


def test_a_task_that_was_lost_is_found(
    url: str, engine: Engine, workspaces: list[str], tmp_path: Path
) -> None:
    _run_a_task(url, tmp_path, workspaces[0])

    assert "2 tasks submitted, 1 tasks stored" in _faults(engine, workspaces, tmp_path, submitted=2)
