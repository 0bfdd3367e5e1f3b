"""Migrations: they make the schema that the code describes, at once or not at all, and only forward."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

import ketchup.generation  # noqa: F401 its import registers every feature's tables
from ketchup import migrations, workspaces
from ketchup.db import SqliteFile, engine_of, metadata
from ketchup.migrations import HEAD, SchemaTooNew, SchemaTooOld
from tests.support.database import migrated_file, open_engine
from tests.support.factories import NOW

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
from ketchup.db import SqliteFile, engine_of

print(migrations.upgrade(engine_of(SqliteFile(Path(sys.argv[1])))), "alembic" in sys.modules)
"""


def clauses(sql: str) -> Counter[str]:
    """Split a statement at its top level: constraints may stand in any order."""
    head, _, body = " ".join(sql.split()).partition("(")
    depth, parts = 1, [""]
    for character in body:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (depth, character) in {(1, ","), (0, ")")}:
            parts.append("")
        else:
            parts[-1] += character
    return Counter([head.strip(), *(part.strip() for part in parts)])


def schema(engine: Engine) -> dict[str, Counter[str]]:
    with engine.begin() as conn:
        rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {name: clauses(sql) for name, sql in rows}


def test_the_steps_make_the_schema_that_the_code_describes(tmp_path: Path) -> None:
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


def test_a_database_made_at_once_is_the_one_that_the_steps_make(tmp_path: Path) -> None:
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


def test_the_queue_has_its_clock_from_the_start(tmp_path: Path) -> None:
    with open_engine(migrated_file(tmp_path)) as engine, engine.begin() as conn:
        assert conn.execute(text("SELECT id, vtime FROM queue_clock")).all() == [(1, 0)]


def test_a_first_start_migrates_and_a_second_finds_nothing_to_do(tmp_path: Path) -> None:
    engine = engine_of(SqliteFile(tmp_path / "ketchup.db"))
    with engine.begin() as conn:
        assert migrations.current(conn) is None

    assert migrations.upgrade(engine) is True
    before = schema(engine)
    assert migrations.upgrade(engine) is False

    assert schema(engine) == before
    with engine.begin() as conn:
        assert migrations.current(conn) == HEAD
    engine.dispose()


def test_an_up_to_date_start_does_not_pay_for_alembic(tmp_path: Path) -> None:
    with open_engine(migrated_file(tmp_path)):
        answer = subprocess.run(
            [sys.executable, "-c", _IS_CURRENT, str(tmp_path / "ketchup.db")],
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


_OLD_WORKSPACE = text(
    "INSERT INTO workspace (id, number, name, status, retention_days, secret_version, created_at)"
    " VALUES (:id, :number, 'old', 'active', 365, 1, 0)"
)


def _upgrade_to(conn: Connection, step: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = conn
    command.upgrade(config, step)


@pytest.mark.parametrize("newer", ["0003", "9999", "f00ba7"])
@pytest.mark.parametrize("check", [migrations.upgrade, migrations.require_usable])
def test_data_that_older_code_cannot_use_is_refused_and_left_alone(
    tmp_path: Path, newer: str, check: Callable[[Engine], object]
) -> None:
    with open_engine(migrated_file(tmp_path)) as engine:
        _make_newer(engine, newer, oldest_code=newer)
        before = schema(engine)

        with pytest.raises(SchemaTooNew, match=rf"newer Ketchup \(schema {newer}.*knows {HEAD}"):
            check(engine)

        assert schema(engine) == before
        with engine.begin() as conn:
            assert migrations.current(conn) == newer


def test_a_newer_schema_that_does_not_say_whom_it_supports_is_refused(tmp_path: Path) -> None:
    with open_engine(migrated_file(tmp_path)) as engine:
        _make_newer(engine, "0003", oldest_code=HEAD)
        with engine.begin() as conn:
            conn.execute(text("DELETE FROM schema_support"))

        with pytest.raises(SchemaTooNew):
            migrations.require_usable(engine)


def test_code_goes_on_with_the_next_schema_that_supports_it(tmp_path: Path) -> None:
    with open_engine(migrated_file(tmp_path)) as engine:
        _make_newer(engine, "0003", oldest_code=HEAD)
        before = schema(engine)

        migrations.require_usable(engine)
        assert migrations.upgrade(engine) is False
        assert migrations.upgrade(engine, newest=metadata) is False

        assert schema(engine) == before
        with engine.begin() as conn:
            assert migrations.current(conn) == "0003"


@pytest.mark.parametrize("at", [None, "0001"])
def test_an_older_schema_must_be_migrated_before_it_is_used(tmp_path: Path, at: str | None) -> None:
    engine = engine_of(SqliteFile(tmp_path / "old.db"))
    if at:
        with engine.begin() as conn:
            _upgrade_to(conn, at)

    with pytest.raises(SchemaTooOld, match="run `ketchup migrate` first"):
        migrations.require_usable(engine)

    assert migrations.upgrade(engine) is True
    migrations.require_usable(engine)
    engine.dispose()


def _make_newer(engine: Engine, version: str, *, oldest_code: str) -> None:
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
        conn.execute(text("UPDATE schema_support SET oldest_code = :v"), {"v": oldest_code})


def test_head_names_the_last_of_the_steps() -> None:
    steps = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert steps.get_heads() == [HEAD]


def test_a_start_killed_while_it_migrates_leaves_the_old_schema_or_the_new(tmp_path: Path) -> None:
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
