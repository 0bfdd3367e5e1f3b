"""The judge of the fault tests, judged: each kind of damage is found, and sound data is left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest
import pytest_asyncio

from ketchup.providers.base import Refused
from tests.support.engines import ScriptedProvider
from tests.support.invariants import Promises, violations
from tests.support.receiver import Receiver
from tests.support.service import running_service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Promises]:
    """A folder with a success and a failure that both have ended, and what was promised."""
    data, promises = tmp_path_factory.mktemp("sound") / "data", Promises()
    engines = {"studio": ScriptedProvider(Refused("This cannot be rendered."))}
    async with Receiver() as receiver, running_service(data, providers=engines) as service:
        for _ in range(2):
            task_id = await service.submit(callback_url=receiver.url)
            await service.ended(task_id)
            promises.acknowledge(task_id, f"key of {task_id}")
        await receiver.received(2)
    return data, promises


@pytest.fixture
def sound(made_once: tuple[Path, Promises], tmp_path: Path) -> tuple[Path, Promises]:
    data, promises = made_once
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data", deepcopy(promises)


def test_nothing_is_wrong_with_sound_data(sound: tuple[Path, Promises]) -> None:
    data, promises = sound

    assert violations(data, promises, at_the_end=True) == []


_REOPEN = """UPDATE task SET status = 'in_progress', queue_state = 'ready', finished_at = NULL
             WHERE status = 'failed'"""
_LEASE = (
    "UPDATE task SET queue_state = 'leased', worker_id = 'wrk_gone' WHERE queue_state = 'ready'"
)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE account SET balance = balance + 1", "a balance is not the sum of its entries"),
        ("UPDATE account SET held = 1", "held is not the sum of the open holds"),
        (_REOPEN, "an open task is not covered by a hold"),
        (_REOPEN, "a task has not ended"),
        (f"{_REOPEN}; {_LEASE}", "a task is leased to nobody"),
        (_REOPEN, "a callback is owed for a task that has not ended"),
        ("INSERT INTO hold VALUES ('ta', 'ws', 1, 1, NULL)", "a hold belongs to no open task"),
        ("DELETE FROM entry WHERE kind = 'capture'", "a success was not paid exactly once"),
        ("UPDATE task SET consumed = 1 WHERE status = 'success'", "a success was not paid exactly"),
        (
            """INSERT INTO entry (workspace_id, task_id, kind, amount, created_at)
               SELECT workspace_id, id, 'other', -price, 1 FROM task WHERE status = 'success'""",
            "a success was not paid exactly once",
        ),
        (
            """INSERT INTO entry (workspace_id, task_id, kind, amount, created_at)
               SELECT workspace_id, id, 'capture', -price, 1 FROM task WHERE status = 'failed'""",
            "something else than a success was paid",
        ),
        (
            "UPDATE task SET consumed = 1 WHERE status = 'failed'",
            "a task that is no success has consumed",
        ),
        (
            "DELETE FROM delivery WHERE id = (SELECT MIN(id) FROM delivery)",
            "an ended task does not owe its one callback",
        ),
        ("UPDATE attempt SET outcome = NULL", "an attempt is open"),
        ("UPDATE attempt SET outcome = NULL", "a success has not exactly one successful attempt"),
        ("UPDATE attempt SET outcome = NULL", "an attempt is open that nobody runs"),
        ("UPDATE attempt SET outcome = NULL", "images are in flight"),
        (
            "UPDATE attempt SET number = number + 1",
            "an attempt was sent after the one that ended its task",
        ),
        ("UPDATE attempt SET cost = -1", "an attempt was charged less than nothing"),
        (
            "INSERT INTO channel VALUES ('studio', 0, '[]', 5, 0, 0, 'a wrong key')",
            "a channel is out and no time says until when",
        ),
        ("UPDATE delivery SET state = 'dead'", "a callback was given up"),
        (
            "INSERT INTO idempotency VALUES ('ws', 'key', x'00', 'ta', 1)",
            "an idempotency key names no task",
        ),
        (
            """UPDATE delivery SET state = 'pending', finished_at = NULL, worker_id = 'wrk_gone',
               claimed_at = 1""",
            "a callback is leased to nobody",
        ),
        ("DELETE FROM task WHERE status = 'failed'", "an acknowledged task is lost"),
        ("UPDATE turn SET active = active + 1", "tasks in flight are miscounted"),
        ("UPDATE turn SET waiting = waiting + 1", "waiting tasks are miscounted"),
        ("UPDATE turn SET waiting = waiting + 1", "a task waits although there is room"),
    ],
)
def test_damage_in_the_database_is_found(
    sound: tuple[Path, Promises], damage: str, sentence: str
) -> None:
    data, promises = sound
    with closing(sqlite3.connect(data / "ketchup.db")) as db:
        db.executescript(damage)

    assert sentence in "\n".join(violations(data, promises, at_the_end=True))


@pytest.mark.parametrize("cost", [0, 1, 80_000])
def test_an_attempt_with_the_wrong_cost_is_found(sound: tuple[Path, Promises], cost: int) -> None:
    data, promises = sound
    with closing(sqlite3.connect(data / "ketchup.db")) as db:
        db.execute("UPDATE attempt SET cost = ?, images = 1 WHERE outcome = 'success'", (cost,))
        db.commit()

    found = "\n".join(violations(data, promises, costs={"studio": 40_000}))
    assert f"an attempt cost {cost} instead of 40000" in found


def test_a_lost_image_is_found(sound: tuple[Path, Promises]) -> None:
    data, promises = sound
    shutil.rmtree(data / "blobs" / "fileSystem")

    assert "the image of a success is missing" in "\n".join(violations(data, promises))


def test_two_tasks_for_one_idempotency_key_are_found(sound: tuple[Path, Promises]) -> None:
    data, promises = sound
    promises.keyed["one key"] = set(promises.accepted)

    assert "an idempotency key made several tasks" in "\n".join(violations(data, promises))


def test_a_damaged_file_is_found(sound: tuple[Path, Promises]) -> None:
    data, promises = sound
    with closing(sqlite3.connect(data / "ketchup.db")) as db:
        # An index whose page is another table's: what a write to the wrong place leaves.
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'idempotency_by_age'")
        db.commit()

    assert "the file is damaged" in "\n".join(violations(data, promises))


def test_a_database_without_tables_has_lost_every_task(tmp_path: Path) -> None:
    promises = Promises({"ta1"})

    assert violations(tmp_path, promises) == ["an acknowledged task is lost: ta1"]
