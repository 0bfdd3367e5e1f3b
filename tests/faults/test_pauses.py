"""Processes that stand still for longer than their lease, and workers whose engine takes its time."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Final

import httpx2
import pytest

from tests.faults.conftest import Deploy
from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.deployment import Deployment
from tests.support.gated import COMMAND, VARIABLE, Gates
from tests.support.invariants import Promises
from tests.support.process import DEADLINE_SECONDS, ServerProcess
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import client_of

pytestmark = pytest.mark.timeout(300)
LEASE_SECONDS: Final = 2.0
_TAKEN_UP_SECONDS: Final = 5.0
_ENVIRON: Final = {
    "KETCHUP_LOG_LEVEL": "error",
    "KETCHUP_WORKER_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "KETCHUP_WEBHOOKS_PER_DESTINATION": "16",
    "KETCHUP_WORKER_MAX_LOSSES": "1000",
}
_ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path / "gates")


def _gated(tmp_path: Path, package: Path = _ROOT / "src") -> dict[str, str]:
    """Return the environment of processes with engines that a test holds."""
    return {
        **_ENVIRON,
        VARIABLE: str(tmp_path / "gates"),
        "PYTHONPATH": f"{package}:{_ROOT}",
        "KETCHUP_CONCURRENCY": "1",
    }


# -- one worker stands still -----------------------------------------------------------------------


def test_a_worker_that_stood_still_writes_nothing(
    deploy: Deploy, tmp_path: Path, gates: Gates
) -> None:
    with deploy("pair", command=COMMAND, **_gated(tmp_path)) as deployment:
        _overtaken(deployment, gates)


@pytest.mark.torture
def test_the_fence_alone_holds_off_a_worker_that_trusts_its_lease_for_ever(
    deploy: Deploy, tmp_path: Path, gates: Gates
) -> None:
    environ = _gated(tmp_path, _trusting(tmp_path))

    with deploy("pair", command=COMMAND, **environ) as deployment:
        _overtaken(deployment, gates)


@pytest.mark.torture
def test_a_server_without_the_fence_is_found_out(
    deploy: Deploy, tmp_path: Path, gates: Gates
) -> None:
    _trusting(tmp_path)
    seeded(
        tmp_path,
        "tasks/queue.py",
        "    return {Attempt(row.id, row.attempt, row.worker_id): row for row in rows}\n",
        "    return {a: row for row in rows for a in attempts if a.task_id == row.id}\n",
    )
    fence = '_FENCE: Final = ("id", "attempt")'
    package = seeded(tmp_path, "tasks/queue.py", fence, '_FENCE: Final = ("id",)')

    with (
        deploy("pair", command=COMMAND, **_gated(tmp_path, package)) as deployment,
        pytest.raises(AssertionError, match="has not exactly one successful attempt"),
    ):
        _overtaken(deployment, gates)


def _trusting(tmp_path: Path) -> Path:
    """Return the product with workers that never give up what they hold."""
    seeded(
        tmp_path,
        "leases.py",
        "        return self._until - self._clock.monotonic()\n",
        "        return 1.0\n",
    )
    return seeded(
        tmp_path,
        "worker.py",
        "            if not renewed:\n                return False\n",
        "",
    )


def _overtaken(deployment: Deployment, gates: Gates) -> None:
    """Stop a worker until another has its task, and let both come to the end of it."""
    deployment.start()
    key = deployment.new_key()
    task_id = _submit(deployment, key)
    [(stopped, _)] = gates.wait_for(1)
    with _standing_still(_process(deployment, stopped)):
        since = monotonic()
        [_, (other, again)] = gates.wait_for(2)
        assert monotonic() - since < LEASE_SECONDS + _TAKEN_UP_SECONDS
        assert (other != stopped, again) == (True, task_id)
        gates.open(stopped)
    # When it has ended in good order it has written all that it ever will.
    assert _process(deployment, stopped).terminate() == 0
    gates.open(other)
    _until(lambda: _status(deployment, key, task_id) == "success")
    deployment.stop()

    assert deployment.violations(Promises({task_id}), at_the_end=True) == []
    journal = deployment.rows("SELECT outcome FROM attempt ORDER BY number")
    assert journal == [("unknown",), ("success",)]
    assert deployment.rows("SELECT COUNT(*) FROM entry WHERE kind = 'capture'") == [(1,)]
    [image] = (deployment.data / "blobs" / "fileSystem").rglob("*.png")
    [(result,)] = deployment.rows("SELECT result FROM task")
    assert image.name in result


# -- engines that take their time ------------------------------------------------------------------


def test_two_workers_with_a_slow_engine_render_each_task_once(
    deploy: Deploy, tmp_path: Path, gates: Gates
) -> None:
    with deploy("pair", command=COMMAND, **_gated(tmp_path)) as deployment:
        deployment.start()
        key = deployment.new_key()
        tasks = {_submit(deployment, key) for _ in range(4)}
        both = {pid for pid, _ in gates.wait_for(2)}
        assert len(both) == 2
        held_since = monotonic()
        _until(lambda: monotonic() > held_since + 2 * LEASE_SECONDS)
        for pid in both:
            gates.open(pid)
        _until(lambda: {_status(deployment, key, task) for task in tasks} == {"success"})
        deployment.stop()

        assert sorted(task for _, task in gates.begun()) == sorted(tasks)
        assert deployment.rows("SELECT DISTINCT outcome FROM attempt") == [("success",)]
        assert deployment.violations(Promises(tasks), at_the_end=True) == []


@pytest.mark.torture
def test_workers_that_do_not_renew_their_lease_are_found_out(
    deploy: Deploy, tmp_path: Path, gates: Gates
) -> None:
    package = seeded(tmp_path, "leases.py", "beat=worker.c.beat + 1", "beat=worker.c.beat")

    with deploy("pair", command=COMMAND, **_gated(tmp_path, package)) as deployment:
        deployment.start()
        task_id = _submit(deployment, deployment.new_key())

        # Taken from one that lives.
        assert {task for _, task in gates.wait_for(2)} == {task_id}


# -- under load ------------------------------------------------------------------------------------


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "fleet"])
async def test_pauses_under_load_lose_nothing(deploy: Deploy, random: Random, kind: str) -> None:
    with deploy(kind, **_ENVIRON) as deployment:
        await _survives(deployment, random, 10)


async def _survives(deployment: Deployment, random: Random, pauses: int) -> None:
    deployment.start()
    async with Receiver() as receiver:
        customers = Customers(
            deployment.new_key(), receiver.url, random, 4 * pauses, most=40 * pauses
        )
        async with customers.at_work(*deployment.addresses):
            for _ in range(pauses):
                await customers.accept_more(5)
                place = random.choice(deployment.workers)
                with _standing_still(deployment.processes[place]):
                    await asyncio.sleep(LEASE_SECONDS * random.uniform(0.8, 1.6))
            await customers.accept_more(5)
        await customers.settle(deployment.addresses[0], 60)
        await all_told(receiver, customers.owed, 60)
        async with client_of(deployment.addresses[0], deployment.admin_token) as admin:
            await nothing_held(admin, 60)
        deployment.stop()
        assert disagreements(receiver, customers.ended) == []
    assert customers.complaints == []
    assert deployment.violations(customers.promises, at_the_end=True) == []
    sys.stdout.write(f"{pauses} pauses, {len(customers.ended)} tasks\n")


@contextmanager
def _standing_still(process: ServerProcess) -> Iterator[None]:
    process.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.process.send_signal(signal.SIGCONT)


def _process(deployment: Deployment, pid: int) -> ServerProcess:
    return next(p for p in deployment.processes if p.process.pid == pid)


def _submit(deployment: Deployment, key: str) -> str:
    body = {"model": "google/gempix2", "prompt": "a red boat"}
    with _client(deployment, key) as client:
        answer = client.post("/api/image/gen", json=body)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["data"]["task_id"]
    return task_id


def _status(deployment: Deployment, key: str, task_id: str) -> str:
    with _client(deployment, key) as client:
        answer = client.get("/api/task/query", params={"task_id": task_id})
    assert answer.status_code == 200, answer.text
    status: str = answer.json()["data"]["status"]
    return status


def _client(deployment: Deployment, key: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=deployment.addresses[0], headers=headers, trust_env=False)


def _until(condition: Callable[[], bool]) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not condition():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.02)
