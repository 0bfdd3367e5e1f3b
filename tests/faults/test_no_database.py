"""A PostgreSQL server that is not there: who asks is told when to come back, and nobody gives up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import httpx2
import pytest

from tests.support.deployment import Deployment, deployed
from tests.support.invariants import Promises
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.process import DEADLINE_SECONDS
from tests.support.seeded import seeded

pytestmark = pytest.mark.timeout(300)
_AWAY_SECONDS: Final = 3.0
"""Long enough for every loop to have met the missing server several times."""
_ORDER: Final = {"model": "google/gempix2", "prompt": "a red boat"}
_REFUSAL: Final = (
    b'{"code":1,"message":"failed","detail":"the store is unavailable; try again shortly"}'
)
_ENVIRON: Final = {"KETCHUP_LOG_LEVEL": "warning", "KETCHUP_WORKER_LEASE_SECONDS": "2"}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


def test_a_database_that_is_away_is_waited_for(server: PostgresServer, tmp_path: Path) -> None:
    with deployed("pair", tmp_path, server.create_database("ketchup"), **_ENVIRON) as deployment:
        deployment.start()
        key = deployment.new_key()
        tasks = _waited_for_at_work(deployment, server, key)
        deployment.stop()
        tasks |= _waited_for_at_the_start(deployment, server, key)
        deployment.stop()
        assert deployment.violations(Promises(tasks), at_the_end=True) == []


@pytest.mark.torture
def test_workers_that_complain_all_the_time_are_found_out(
    server: PostgresServer, tmp_path: Path
) -> None:
    once = "        if not self._told:\n"
    package = seeded(tmp_path, "worker.py", once, "        if True:\n")
    environ = {**_ENVIRON, "PYTHONPATH": str(package)}

    with deployed("pair", tmp_path, server.create_database("ketchup"), **environ) as deployment:
        deployment.start()
        with pytest.raises(AssertionError, match="a chore waits for the store"):
            _waited_for_at_work(deployment, server, deployment.new_key(), 3 * _AWAY_SECONDS)


def _waited_for_at_work(
    deployment: Deployment, server: PostgresServer, key: str, seconds: float = _AWAY_SECONDS
) -> set[str]:
    """Take the database from under processes at work and give it back; return what they did."""
    with _client(deployment, key) as client:
        first = _accepted(client)
        server.stop()
        _refused_for_a_while(client, seconds)
        server.start()
        tasks = {first, _accepted(client)}
        _until(lambda: {_status(client, task) for task in tasks} == {"success"})
    assert all(p.process.poll() is None for p in deployment.processes)
    _assert_told_once(deployment)
    return tasks


def _waited_for_at_the_start(deployment: Deployment, server: PostgresServer, key: str) -> set[str]:
    """Start all processes before the database; return what they did when it had come."""
    server.stop()
    told_before = len(deployment.log)
    for place in range(len(deployment.roles)):
        deployment.launch_again(place)
    _until(lambda: _answers(deployment))
    with _client(deployment, key) as client:
        _refused_for_a_while(client)
        server.start()
        task = _accepted(client)
        _until(lambda: _status(client, task) == "success")
    deployment.wait_until_ready()
    _assert_told_once(deployment, told_before)
    return {task}


def _refused_for_a_while(client: httpx2.Client, seconds: float = _AWAY_SECONDS) -> None:
    """Ask again and again: each time the answer is to come back, and when."""
    until = monotonic() + seconds
    while monotonic() < until:
        for answer in (
            client.post("/api/image/gen", json=_ORDER),
            client.get("/api/task/query", params={"task_id": "ta" + 32 * "0"}),
        ):
            assert (answer.status_code, answer.content) == (503, _REFUSAL)
            assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        sleep(0.1)


def _accepted(client: httpx2.Client) -> str:
    """Submit until it is accepted, and return the task's id."""
    accepted: list[str] = []

    def submit() -> bool:
        answer = client.post("/api/image/gen", json=_ORDER)
        assert answer.status_code in {200, 503}, answer.text
        if answer.status_code == 200:
            accepted.append(answer.json()["data"]["task_id"])
        return bool(accepted)

    _until(submit)
    return accepted[0]


def _assert_told_once(deployment: Deployment, start: int = 0) -> None:
    """A log that says the same thing every second hides everything else."""
    told: Counter[str] = Counter()
    for line in deployment.log[start:].splitlines():
        assert line.startswith("{"), line
        event = json.loads(line)
        # Each refused request is told, as it should.
        if event["component"] != "wire.app":
            told[event["event"]] += 1
    assert told, "nobody said that the database is away"
    # Once by each process, and again by one that finds a connection dead much later.
    assert max(told.values()) <= 2 * len(deployment.roles), told


def _status(client: httpx2.Client, task_id: str) -> str:
    answer = client.get("/api/task/query", params={"task_id": task_id})
    status: str = answer.json()["data"]["status"] if answer.status_code == 200 else "unknown"
    return status


def _answers(deployment: Deployment) -> bool:
    try:
        httpx2.get(f"{deployment.addresses[0]}/healthz", trust_env=False)
    except httpx2.TransportError:
        return False
    return True


@contextmanager
def _client(deployment: Deployment, key: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    address = deployment.addresses[0]
    with httpx2.Client(
        base_url=address, headers=headers, trust_env=False, timeout=DEADLINE_SECONDS
    ) as client:
        yield client


def _until(condition: Callable[[], bool]) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not condition():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.05)
