"""Kill -9 at random instants, under load: nothing that was acknowledged is lost or paid twice.

The instants of a second run with the same seed differ all the same: they depend on the machine.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Final

import pytest

from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.invariants import violations
from tests.support.operator import new_key
from tests.support.process import Descendants, ServerProcess
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import client_of

# Each start takes a second, and five where the machine has much else to do.
pytestmark = pytest.mark.timeout(300)
CHILDREN_END_SECONDS: Final = 10.0
_ENVIRON: Final = {
    "KETCHUP_START_CREDITS": "1000000",
    "KETCHUP_LOG_LEVEL": "error",
    "KETCHUP_CONCURRENCY": "2",
    "KETCHUP_WEBHOOKS_PER_DESTINATION": "16",
    # A task that is always in the engine when the power goes must not fail for it here.
    "KETCHUP_WORKER_MAX_LOSSES": "1000",
}


async def test_eight_kills_lose_nothing(tmp_path: Path, random: Random) -> None:
    await _survives(tmp_path / "data", random, kills=8, pictures=10)


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_a_hundred_kills_lose_nothing(tmp_path: Path, random: Random) -> None:
    await _survives(tmp_path / "data", random, kills=100, pictures=150)


async def test_a_server_that_holds_and_enqueues_in_two_transactions_is_found_out(
    tmp_path: Path, random: Random
) -> None:
    enqueue = "    tasks.enqueue(conn, turns, "
    between = """    conn.exec_driver_sql("COMMIT")
    __import__("time").sleep(0.2)
    conn.exec_driver_sql("BEGIN IMMEDIATE")
"""
    package = seeded(tmp_path, "generation/submit.py", enqueue, between + enqueue)

    async with Receiver() as receiver:
        customers = Customers(_first_key(tmp_path / "data", package), receiver.url, random, 0)
        found: list[str] = []
        for _ in range(20):
            await _one_life(tmp_path / "data", random, customers, package)
            if found := violations(tmp_path / "data", customers.promises):
                break

    assert any("a hold belongs to no open task" in sentence for sentence in found)


async def test_a_server_that_answers_before_the_commit_is_found_out(
    tmp_path: Path, random: Random
) -> None:
    seeded(
        tmp_path,
        "db/lanes.py",
        "                    return work(connection)\n",
        """                    result = work(connection)
                    if isinstance(result, list) and type(result[0]).__name__ == "Accepted":
                        self.answer_early(result)
                        __import__("time").sleep(0.2)
                    return result
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

    async with Receiver() as receiver:
        customers = Customers(_first_key(tmp_path / "data", package), receiver.url, random, 0)
        found: list[str] = []
        for _ in range(20):
            await _one_life(tmp_path / "data", random, customers, package)
            if found := violations(tmp_path / "data", customers.promises):
                break

    assert any("an acknowledged task is lost" in sentence for sentence in found)


async def test_a_first_start_that_is_killed_can_be_made_again(
    tmp_path: Path, random: Random
) -> None:
    for _ in range(3):
        with ServerProcess.launch(tmp_path / "data", environ=_ENVIRON) as server:
            await _goes_on(server, random.uniform(0.1, 0.8))

    assert _first_key(tmp_path / "data").startswith("dk-live_")


async def _survives(data: Path, random: Random, *, kills: int, pictures: int) -> None:
    async with Receiver() as receiver:
        customers = Customers(_first_key(data), receiver.url, random, pictures)
        for number in range(1, kills + 1):
            await _one_life(data, random, customers)
            found = customers.complaints + violations(data, customers.promises)
            assert found == [], f"after kill {number}"
        with ServerProcess.start(data, environ=_ENVIRON) as server:
            await customers.settle(server.base_url, 60 + 2 * kills)
            await all_told(receiver, customers.promises.accepted, 60 + kills)
            async with client_of(server.base_url, server.admin_token) as admin:
                await nothing_held(admin, 60)
            assert server.terminate() == 0
    assert customers.complaints == []
    assert violations(data, customers.promises, at_the_end=True) == []
    assert disagreements(receiver, customers.ended) == []
    statuses = [data["status"] for data in customers.ended.values()]
    done = f"{len(statuses)} tasks, {statuses.count('success')} pictures"
    sys.stdout.write(f"{kills} kills, {done}, {len(receiver.requests)} callbacks\n")
    # Without these the test would prove nothing.
    assert len(statuses) > kills
    assert "success" in statuses


async def _one_life(
    data: Path, random: Random, customers: Customers, package: Path | None = None
) -> None:
    """Start, work, kill; one life in five ends before the server was ready."""
    with ServerProcess.launch(data, environ=_environ(package)) as server:
        if random.random() < 0.2:
            await _goes_on(server, random.uniform(0.0, 0.7))
        else:
            assert await asyncio.to_thread(server.wait_until_ready), server.log
            customers.open(server.base_url)
            await _first(customers.complained, random.uniform(0.01, 2.0))
        children = Descendants(server.process.pid)
        server.kill()
        await customers.close()
        left = await asyncio.to_thread(children.left_after, CHILDREN_END_SECONDS)
        assert left == [], "these processes outlived their server"


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


def _first_key(data: Path, package: Path | None = None) -> str:
    """Start once in peace, and make a key as an operator does."""
    with ServerProcess.start(data, "--concurrency", "0", environ=_environ(package)) as server:
        key = new_key(server.base_url, server.admin_token)
        assert server.terminate() == 0
    return key


def _environ(package: Path | None) -> dict[str, str]:
    return {**_ENVIRON, **({"PYTHONPATH": str(package)} if package else {})}
