"""Migrations: they make the schema that the code describes, at once or not at all, and only forward."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

import ketchup.generation  # noqa: F401 its import registers every feature's tables
from ketchup import migrations, workspaces
from ketchup.db import Location, PostgresUrl, SqliteFile, engine_of, metadata
from ketchup.migrations import HEAD, OLDEST_CODE, SchemaTooNew, SchemaTooOld
from tests.support.database import migrated_file, open_engine, take_back_to_0002
from tests.support.factories import NOW
from tests.support.schema import schema

# Migrates, and is killed after the given number of statements; prints how many there were if not.
# One process loads Alembic, and every try is a fork of it.
_KILLED = """
import os, signal, sys
from pathlib import Path
import alembic.command, alembic.script
from sqlalchemy import event
from ketchup import migrations
from ketchup.db import SqliteFile, engine_of

folder, seen = Path(sys.argv[1]), 0

def migrate(path, kill_after):
    engine = engine_of(SqliteFile(path))
    def count(*_):
        global seen
        seen += 1
        if seen == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(engine, "after_cursor_execute", count)
    migrations.upgrade(engine)
    engine.dispose()

kill_after = 0
while True:
    kill_after += 1
    child = os.fork()
    if child == 0:
        migrate(folder / f"{kill_after}.db", kill_after)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(0 if status == 0 and seen == 0 else 1)
    assert os.WTERMSIG(status) == signal.SIGKILL
"""
_IS_CURRENT = """
import sys
from pathlib import Path
from ketchup import migrations
from ketchup.db import PostgresUrl, SqliteFile, engine_of

where = sys.argv[1]
location = PostgresUrl(where) if "://" in where else SqliteFile(Path(where))
print(migrations.upgrade(engine_of(location)), "alembic" in sys.modules)
"""


@pytest.fixture
def empty(empty_location: Location) -> Iterator[Engine]:
    with open_engine(empty_location) as engine:
        yield engine


@pytest.fixture
def migrated(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


# The steps begin with SQLite's: an empty database on PostgreSQL is made at once.
def test_the_steps_make_the_schema_of_a_sqlite_file_that_the_code_describes(tmp_path: Path) -> None:
    described = engine_of(SqliteFile(tmp_path / "described.db"))
    with described.begin() as conn:
        metadata.create_all(conn)

    with open_engine(migrated_file(tmp_path)) as migrated:
        made = schema(migrated)
    # The history's own, and of no use to the code.
    assert made.pop("alembic_version")
    assert made.pop("schema_support")

    assert made == schema(described)
    assert {"task", "task_ready", "hold", "delivery", "worker", "api_key"} <= set(made)
    described.dispose()


def test_a_sqlite_file_made_at_once_is_the_one_that_the_steps_make(tmp_path: Path) -> None:
    at_once = engine_of(SqliteFile(tmp_path / "at_once.db"))
    seeded = ("queue_clock", "workspace_number", "alembic_version", "schema_support")
    contents = [text(f"SELECT * FROM {name}") for name in seeded]  # noqa: S608 our own names

    assert migrations.upgrade(at_once, newest=metadata) is True

    with open_engine(migrated_file(tmp_path)) as migrated:
        assert schema(at_once) == schema(migrated)
        with at_once.begin() as ours, migrated.begin() as theirs:
            for rows in contents:
                assert ours.execute(rows).all() == theirs.execute(rows).all()
    assert migrations.upgrade(at_once) is False
    at_once.dispose()


def test_the_queue_has_its_clock_from_the_start(migrated: Engine) -> None:
    with migrated.begin() as conn:
        assert conn.execute(text("SELECT id, vtime FROM queue_clock")).all() == [(1, 0)]


def test_a_first_start_migrates_and_a_second_finds_nothing_to_do(empty: Engine) -> None:
    with empty.begin() as conn:
        assert migrations.current(conn) is None

    assert migrations.upgrade(empty, newest=metadata) is True
    before = schema(empty)
    assert migrations.upgrade(empty, newest=metadata) is False

    assert schema(empty) == before
    with empty.begin() as conn:
        assert migrations.current(conn) == HEAD


def test_whoever_may_not_migrate_says_what_is_to_be_done_first(empty: Engine) -> None:
    with pytest.raises(SchemaTooOld, match="no schema yet; run `ketchup migrate` first"):
        migrations.require_usable(empty)

    migrations.upgrade(empty, newest=metadata)

    migrations.require_usable(empty)


def test_an_up_to_date_start_does_not_pay_for_alembic(location: Location) -> None:
    where = location.url if isinstance(location, PostgresUrl) else str(location.path)
    answer = subprocess.run(
        [sys.executable, "-c", _IS_CURRENT, where],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert answer.stdout.split() == ["False", "False"]


def test_workspaces_from_before_plans_lose_nothing_and_keep_their_numbers(tmp_path: Path) -> None:
    engine = engine_of(SqliteFile(tmp_path / "old.db"))
    with engine.begin() as conn:
        _upgrade_to(conn, "0001")
        for number in (100, 104):
            conn.execute(_OLD_WORKSPACE, {"id": f"ws_{number}", "number": number})

    assert migrations.upgrade(engine) is True

    with engine.begin() as conn:
        assert {workspace.plan for workspace in workspaces.list_all(conn)} == {"scale"}
        assert workspaces.create(conn, "new", "free", NOW).number == 105
    engine.dispose()


def test_what_was_in_the_queue_before_there_were_caps_is_counted_as_in_flight(
    tmp_path: Path,
) -> None:
    engine = engine_of(SqliteFile(tmp_path / "old.db"))
    with engine.begin() as conn:
        _upgrade_to(conn, "0001")
        conn.execute(text("INSERT INTO turn VALUES ('ws_busy', 7000, 5), ('ws_idle', 3000, 4)"))
        for number, state in enumerate(["ready", "ready", "leased", "delayed", "done"]):
            conn.execute(_OLD_TASK, {"id": f"ta{number}", "state": state})
    with pytest.raises(SchemaTooOld, match=r"is at schema 0001.*run `ketchup migrate` first"):
        migrations.require_usable(engine)

    assert migrations.upgrade(engine) is True

    with engine.begin() as conn:
        rows = conn.execute(text("SELECT * FROM turn ORDER BY workspace_id")).all()
        assert rows == [("ws_busy", 7000, 5, 4, 0, 0, 1), ("ws_idle", 3000, 4, 0, 0, 0, 1)]
    engine.dispose()


_OLD_TASK = text(
    "INSERT INTO task (id, workspace_id, key_id, request_id, model, prompt, images, options,"
    " status, queue_state, price, vtime, priority, run_at, attempt, tries, losses, worker_id,"
    " consumed, created_at, finished_at)"
    " VALUES (:id, 'ws_busy', 'key', 'req', 'model', 'a boat', '[]', '{}',"
    " iif(:state = 'done', 'failed', 'pending'), :state, 1, 0, 0, iif(:state = 'delayed', 1, NULL),"
    " 0, 0, 0, iif(:state = 'leased', 'wrk', NULL), 0, 0, iif(:state = 'done', 1, NULL))"
)
_OLD_WORKSPACE = text(
    "INSERT INTO workspace (id, number, name, status, retention_days, secret_version, created_at)"
    " VALUES (:id, :number, 'old', 'active', 365, 1, 0)"
)


def _upgrade_to(conn: Connection, step: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = conn
    command.upgrade(config, step)


@pytest.mark.parametrize("newer", ["0005", "9999", "f00ba7"])
def test_data_of_a_newer_version_is_refused_and_left_alone(migrated: Engine, newer: str) -> None:
    with migrated.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": newer})
        conn.execute(text("UPDATE schema_support SET oldest_code = :v"), {"v": newer})
    before = schema(migrated)

    for start in (migrations.upgrade, migrations.require_usable):
        with pytest.raises(SchemaTooNew, match=rf"newer Ketchup \(schema {newer}.*knows {HEAD}"):
            start(migrated)

    assert schema(migrated) == before
    with migrated.begin() as conn:
        assert migrations.current(conn) == newer


def test_data_of_a_newer_version_that_still_supports_this_one_is_used(migrated: Engine) -> None:
    with migrated.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    migrations.require_usable(migrated)
    assert migrations.upgrade(migrated) is False

    with migrated.begin() as conn:
        assert migrations.current(conn) == "9999"


def test_a_newer_version_that_does_not_say_whom_it_supports_is_refused(migrated: Engine) -> None:
    with migrated.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        conn.execute(text("DELETE FROM schema_support"))

    with pytest.raises(SchemaTooNew):
        migrations.require_usable(migrated)


def test_a_database_at_0002_gets_what_is_new_and_leaves_its_code_behind(
    migrated: Engine,
) -> None:
    newest = schema(migrated)
    with migrated.begin() as conn:
        take_back_to_0002(conn)

    assert migrations.upgrade(migrated, newest=metadata) is True

    assert schema(migrated) == newest
    with migrated.begin() as conn:
        assert conn.scalar(text("SELECT oldest_code FROM schema_support")) == OLDEST_CODE == "0004"


def test_what_ended_before_there_was_usage_is_summed_up(migrated: Engine) -> None:
    with migrated.begin() as conn:
        for number, result in enumerate(['["a.png","b.png"]', '["c.png"]', None]):
            status = "success" if result else "failed"
            consumed = 5 if result else 0
            values = {"id": f"ta{number}", "result": result, "status": status, "paid": consumed}
            conn.execute(_ENDED_TASK, values)
        take_back_to_0002(conn)

    migrations.upgrade(migrated, newest=metadata)

    with migrated.begin() as conn:
        rows = conn.execute(text("SELECT * FROM usage ORDER BY status")).all()
        assert rows == [
            ("ws_1", 2, "model", "key", "live", "failed", 1, 0, 0),
            ("ws_1", 2, "model", "key", "live", "success", 2, 3, 10),
        ]
        assert set(conn.scalars(text("SELECT environment FROM task"))) == {"live"}


_ENDED_TASK = text(
    "INSERT INTO task (id, workspace_id, key_id, request_id, model, prompt, images, options,"
    " status, queue_state, price, vtime, priority, attempt, tries, losses, result, consumed,"
    " created_at, finished_at) VALUES (:id, 'ws_1', 'key', 'req', 'model', 'a boat', '[]', '{}',"
    " :status, 'done', 5, 1, 0, 1, 0, 0, :result, :paid, 0, 2 * 86400000000 + 7)"
)


def test_head_names_the_last_of_the_steps() -> None:
    steps = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert steps.get_heads() == [HEAD]


def test_a_start_killed_while_it_migrates_leaves_a_sqlite_file_with_the_old_schema_or_the_new(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=True, timeout=60)

    files = sorted(tmp_path.glob("*.db"), key=lambda path: int(path.stem))
    tables = [_tables_of(path) for path in files]
    assert len(tables) > 20  # one for each statement that it was killed after
    assert set(tables) == {0, tables[-1]}
    assert tables[-1] > 10
    # What was left half-way is simply migrated by the next start.
    half_way = engine_of(SqliteFile(files[len(files) // 2]))
    assert migrations.upgrade(half_way) is True
    half_way.dispose()
    assert _tables_of(files[len(files) // 2]) == tables[-1]


def _tables_of(path: Path) -> int:
    conn = sqlite3.connect(path)
    try:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (count,) = conn.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
        ).fetchone()
    finally:
        conn.close()
    return int(count)
