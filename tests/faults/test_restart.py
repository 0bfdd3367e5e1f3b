"""Stops, kills and pauses while a picture is in the engine: what was begun is taken up again."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import httpx2
import pytest
from PIL import Image

from tests.support.invariants import Promises, violations
from tests.support.pictures import encoded
from tests.support.process import DEADLINE_SECONDS, Descendants, ServerProcess

# Each start takes a second, and five where the machine has much else to do.
pytestmark = pytest.mark.timeout(300)
# Many seconds of work, so that the fault falls in the middle of it.
LONG: Final = {"image_size": "4K", "n": 2}
LEASE_SECONDS: Final = 15.0
TAKEN_UP_SECONDS: Final = 5.0
"""Far below the lease, and above what a slow machine needs for two seconds' work."""


class Operator:
    """A server's only customer, who also looks into its journal once it is gone."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._client = httpx2.Client(trust_env=False)
        self._key = ""

    def start(self, **environ: str) -> ServerProcess:
        server = ServerProcess.start(self.data, "--concurrency", "1", environ=environ)
        if not self._key:
            self._key = self._new_key(server)
        return server

    def submit(self, server: ServerProcess, **fields: object) -> str:
        body = {"model": "google/gempix2", "prompt": "a red boat", **fields}
        answer = self._client.post(
            f"{server.base_url}/api/image/gen", json=body, headers=_bearer(self._key)
        )
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["data"]["task_id"]
        return task_id

    def status(self, server: ServerProcess, task_id: str) -> str:
        answer = self._client.get(
            f"{server.base_url}/api/task/query",
            params={"task_id": task_id},
            headers=_bearer(self._key),
        )
        status: str = answer.json()["data"]["status"]
        return status

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.data}/ketchup.db?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()

    def journal(self) -> list[str | None]:
        return [row[0] for row in self.rows("SELECT outcome FROM attempt ORDER BY number")]

    def begun(self) -> bool:
        """Whether an attempt is in the engine's hands right now."""
        return bool(self.rows("SELECT 1 FROM attempt WHERE outcome IS NULL"))

    def _new_key(self, server: ServerProcess) -> str:
        base, headers = f"{server.base_url}/admin/v1/workspaces", _bearer(server.admin_token)
        workspace = self._client.get(base, headers=headers).json()["items"][0]["id"]
        made = self._client.post(f"{base}/{workspace}/keys", json={"name": "t"}, headers=headers)
        key: str = made.json()["key"]
        return key

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "data")
    yield operator
    operator.close()


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> float:
    """Return how many seconds it took."""
    start = monotonic()
    while not condition():
        assert monotonic() - start < seconds, "it did not happen in time"
        sleep(0.02)
    return monotonic() - start


def test_a_stop_lets_what_renders_end(operator: Operator) -> None:
    with operator.start() as server:
        task_id = operator.submit(server)
        until(operator.begun)
        assert server.terminate() == 0

    assert operator.journal() == ["success"]
    assert violations(operator.data, Promises({task_id}), at_the_end=True) == []


def test_a_stop_hands_back_what_takes_too_long_and_a_start_takes_it_up_at_once(
    operator: Operator,
) -> None:
    with operator.start(KETCHUP_WORKER_DRAIN_SECONDS="0") as server:
        task_id = operator.submit(server, **LONG)
        until(operator.begun)
        children = Descendants(server.process.pid)
        assert server.terminate() == 0
        assert children.left_after(DEADLINE_SECONDS) == []
    assert operator.journal() == ["interrupted"]
    assert operator.rows("SELECT tries, losses, queue_state FROM task") == [(0, 0, "ready")]
    assert violations(operator.data, Promises({task_id})) == []

    with operator.start(KETCHUP_WORKER_DRAIN_SECONDS="0") as server:
        assert operator.status(server, task_id) == "in_progress"
        assert until(operator.begun) < TAKEN_UP_SECONDS
        assert server.terminate() == 0
    assert operator.journal() == ["interrupted", "interrupted"]
    assert operator.rows("SELECT tries, losses FROM task") == [(0, 0)]


def test_a_killed_attempt_is_unknown_and_a_start_makes_the_next_at_once(
    operator: Operator,
) -> None:
    with operator.start() as server:
        task_id = operator.submit(server)
        until(operator.begun)
        children = Descendants(server.process.pid)
        server.kill()
        assert children.left_after(DEADLINE_SECONDS) == []
    assert operator.journal() == [None]
    assert violations(operator.data, Promises({task_id})) == []

    with operator.start() as server:
        assert until(lambda: len(operator.journal()) == 2) < TAKEN_UP_SECONDS < LEASE_SECONDS
        until(lambda: operator.status(server, task_id) == "success")
        assert server.terminate() == 0
    assert operator.journal() == ["unknown", "success"]
    assert violations(operator.data, Promises({task_id}), at_the_end=True) == []


def test_a_task_that_loses_its_server_too_often_is_given_up_for_free(operator: Operator) -> None:
    limit = {"KETCHUP_WORKER_MAX_LOSSES": "2"}
    for lost in range(2):
        with operator.start(**limit) as server:
            if lost == 0:
                operator.submit(server, **LONG)
            until(lambda lost=lost: len(operator.journal()) > lost)  # type: ignore[misc] # mypy knows no defaults in lambdas
            server.kill()

    with operator.start(**limit) as server:
        [(task_id,)] = operator.rows("SELECT id FROM task")
        until(lambda: operator.status(server, task_id) == "failed")
        assert server.terminate() == 0
    assert operator.journal() == ["unknown", "unknown"]
    assert operator.rows("SELECT reason FROM task") == [("The image could not be rendered.",)]
    assert violations(operator.data, Promises({task_id}), at_the_end=True) == []


def test_a_server_that_was_paused_for_longer_than_its_lease_starts_over_and_charges_once(
    operator: Operator,
) -> None:
    lease_seconds = 2
    with operator.start(KETCHUP_WORKER_LEASE_SECONDS=str(lease_seconds)) as server:
        task_id = operator.submit(server, n=2)
        until(operator.begun)
        [(before,)] = operator.rows("SELECT id FROM worker")
        os.kill(server.process.pid, signal.SIGSTOP)
        stopped = monotonic()
        until(lambda: monotonic() > stopped + lease_seconds + 0.5)
        os.kill(server.process.pid, signal.SIGCONT)

        until(lambda: operator.rows("SELECT id FROM worker") != [(before,)])
        until(lambda: operator.status(server, task_id) == "success")
        assert server.terminate() == 0
    # Its renderer was not paused: the first attempt may have ended before it was given up.
    assert operator.journal() in (["unknown", "success"], ["success"])
    assert operator.rows("SELECT COUNT(*) FROM entry WHERE kind = 'capture'") == [(1,)]
    assert violations(operator.data, Promises({task_id}), at_the_end=True) == []


def test_a_stop_that_reaches_the_helpers_too_costs_no_try(operator: Operator) -> None:
    """Supervisors such as systemd send their signal to every process of a service."""
    with operator.start() as server:
        reference = base64.b64encode(encoded(Image.new("RGB", (64, 64), "teal"), "PNG")).decode()
        task_id = operator.submit(server, images=[f"data:image/png;base64,{reference}"])
        until(operator.begun)
        # One decodes, one renders, one finishes. Who has only just started still sets itself up.
        until(lambda: len(helpers := _helpers(server)) == 3 and all(map(_ignores_term, helpers)))
        for pid in _helpers(server):
            os.kill(pid, signal.SIGTERM)
        assert server.terminate() == 0

    assert operator.journal() == ["success"]
    assert operator.rows("SELECT tries, losses FROM task") == [(0, 0)]
    assert violations(operator.data, Promises({task_id}), at_the_end=True) == []


def _helpers(server: ServerProcess) -> list[int]:
    return Descendants(server.process.pid).pids


def _ignores_term(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(ignored & 1 << signal.SIGTERM - 1)
