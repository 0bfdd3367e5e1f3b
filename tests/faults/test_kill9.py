"""Kill -9 at random instants, under load: nothing that was acknowledged is lost or paid twice.

One process is killed at a time, whichever chance takes: the only one, an `api` or a `worker`, which
also sends the callbacks. The instants of a second run with the same seed differ all the same: they
depend on the machine.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Final

import pytest

from tests.faults.conftest import Deploy
from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.deployment import Deployment
from tests.support.process import Descendants, ServerProcess
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import client_of

# Each start takes a second, and five where the machine has much else to do.
pytestmark = pytest.mark.timeout(300)
CHILDREN_END_SECONDS: Final = 10.0
# So that all can be ended in the time that the test has.
_TASKS_PER_KILL: Final = 40
_ENVIRON: Final = {
    "KETCHUP_LOG_LEVEL": "error",
    "KETCHUP_CONCURRENCY": "2",
    "KETCHUP_WEBHOOKS_PER_DESTINATION": "16",
    "KETCHUP_WORKER_LEASE_SECONDS": "2",
    # A task that is always in the engine when the power goes must not fail for it here.
    "KETCHUP_WORKER_MAX_LOSSES": "1000",
}


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 4), ("fleet", 6)])
async def test_a_few_kills_lose_nothing(
    deploy: Deploy, random: Random, kind: str, kills: int
) -> None:
    with deploy(kind, **_ENVIRON) as deployment:
        await _survives(deployment, random, kills, pictures=8)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 40), ("postgres", 20), ("fleet", 50)])
async def test_many_kills_lose_nothing(
    deploy: Deploy, random: Random, kind: str, kills: int
) -> None:
    with deploy(kind, **_ENVIRON) as deployment:
        await _survives(deployment, random, kills, pictures=100)


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        ("sqlite", "BEGIN IMMEDIATE"),
        pytest.param("fleet", "BEGIN", marks=pytest.mark.torture),
    ],
)
async def test_a_server_that_holds_and_enqueues_in_two_transactions_is_found_out(
    deploy: Deploy, tmp_path: Path, random: Random, kind: str, begin: str
) -> None:
    enqueue = "    tasks.enqueue(conn, turns, "
    between = f"""    conn.exec_driver_sql("COMMIT")
    __import__("time").sleep(0.2)
    conn.exec_driver_sql("{begin}")
"""
    package = seeded(tmp_path, "generation/submit.py", enqueue, between + enqueue)

    with deploy(kind, **_ENVIRON, PYTHONPATH=str(package)) as deployment:
        found = await _found_out(deployment, random)

    assert any("a hold belongs to no open task" in sentence for sentence in found), found


async def test_a_server_that_answers_before_the_commit_is_found_out(
    deploy: Deploy, tmp_path: Path, random: Random
) -> None:
    seeded(
        tmp_path,
        "db/lanes.py",
        "                    result = work(connection)\n",
        """                    result = work(connection)
                    if isinstance(result, list) and "Accepted(" in repr(result[:1]):
                        self.answer_early(result)
                        __import__("time").sleep(0.2)
""",
    )
    package = seeded(
        tmp_path,
        "db/batches.py",
        "            outcomes = self._outcomes([item for item, _ in batch])\n",
        """            self._lane.answer_early = lambda results: self._loop.call_soon_threadsafe(
                resolve, batch, results
            )
            outcomes = self._outcomes([item for item, _ in batch])
""",
    )

    with deploy("sqlite", **_ENVIRON, PYTHONPATH=str(package)) as deployment:
        found = await _found_out(deployment, random)

    assert any("an acknowledged task is lost" in sentence for sentence in found), found


async def test_a_first_start_that_is_killed_can_be_made_again(
    deploy: Deploy, random: Random
) -> None:
    with deploy("sqlite", **_ENVIRON) as deployment:
        for _ in range(3):
            with ServerProcess.launch(deployment.data, environ=deployment.environ) as server:
                await _goes_on(server, random.uniform(0.1, 0.8))
        deployment.start()
        assert deployment.new_key().startswith("dk-live_")
        deployment.stop()


async def _survives(deployment: Deployment, random: Random, kills: int, pictures: int) -> None:
    # So that tasks wait for each other.
    deployment.configure("[plans.scale]\nconcurrency = 4\n")
    deployment.start()
    async with Receiver() as receiver:
        key, most = deployment.new_key(), _TASKS_PER_KILL * kills
        customers = Customers(key, receiver.url, random, pictures, most)
        async with customers.at_work(*deployment.addresses):
            for number in range(1, kills + 1):
                found = await _one_kill(deployment, random, customers)
                assert found == [], f"after kill {number}"
            await asyncio.to_thread(deployment.wait_until_ready)
        await customers.settle(deployment.addresses[0], 60 + 2 * kills)
        await all_told(receiver, customers.owed, 60 + kills)
        async with client_of(deployment.addresses[0], deployment.admin_token) as admin:
            await nothing_held(admin, 60)
    deployment.stop()
    assert customers.complaints == []
    assert deployment.violations(customers.promises, at_the_end=True) == []
    assert disagreements(receiver, customers.ended) == []
    statuses = [data["status"] for data in customers.ended.values()]
    done = f"{len(statuses)} tasks, {statuses.count('success')} pictures"
    sys.stdout.write(f"{kills} kills, {done}, {len(receiver.requests)} callbacks\n")
    # Without these the test would prove nothing.
    assert len(statuses) > kills
    assert "success" in statuses


async def _found_out(deployment: Deployment, random: Random) -> Sequence[str]:
    """Return what a few kills bring to light; the customers want no pictures."""
    deployment.start()
    async with Receiver() as receiver:
        customers = Customers(deployment.new_key(), receiver.url, random, 0)
        async with customers.at_work(*deployment.addresses):
            for _ in range(20):
                if found := await _one_kill(deployment, random, customers):
                    return found
    return []


async def _one_kill(deployment: Deployment, random: Random, customers: Customers) -> Sequence[str]:
    """Let them work, kill one process, judge, and start it again; return what is wrong.

    The next kill in five meets a process that was not ready again.
    """
    await _first(customers.complained, random.uniform(0.01, 1.5))
    place = random.randrange(len(deployment.processes))
    children = Descendants(deployment.processes[place].process.pid)
    deployment.processes[place].kill()
    left = await asyncio.to_thread(children.left_after, CHILDREN_END_SECONDS)
    assert left == [], "these processes outlived their server"
    found = customers.complaints + deployment.violations(customers.promises)
    again = deployment.launch_again(place)
    if random.random() < 0.8:
        assert await asyncio.to_thread(again.wait_until_ready), again.log
    return found


async def _first(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def _goes_on(server: ServerProcess, seconds: float) -> None:
    """Let it run for so long; it must not end by itself."""
    with pytest.raises(TimeoutExpired):
        await asyncio.to_thread(server.process.wait, seconds)
