"""The PostgreSQL server restarted under load: requests are refused meanwhile, and nothing is lost.

No process of ours ends for it. What was committed without our hearing of it counts, once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.deployment import Deployment, deployed
from tests.support.postgres import Mode, PostgresServer, postgres_server
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import client_of

pytestmark = pytest.mark.timeout(300)
_UNAVAILABLE: Final = 503
_TASKS_PER_RESTART: Final = 40
_ENVIRON: Final = {
    "KETCHUP_LOG_LEVEL": "warning",
    "KETCHUP_CONCURRENCY": "2",
    "KETCHUP_WEBHOOKS_PER_DESTINATION": "16",
    "KETCHUP_WORKER_LEASE_SECONDS": "2",
    "KETCHUP_WORKER_MAX_LOSSES": "1000",
}


async def test_restarts_of_the_database_lose_nothing(tmp_path: Path, random: Random) -> None:
    modes: Sequence[Mode] = ("fast", "immediate")

    assert await _complaints(tmp_path, random, "fleet", modes) == []


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["postgres", "fleet"])
async def test_many_restarts_of_the_database_lose_nothing(
    tmp_path: Path, random: Random, kind: str
) -> None:
    modes: Sequence[Mode] = ("fast", "immediate", "kill") * 3

    assert await _complaints(tmp_path, random, kind, modes) == []


@pytest.mark.torture
async def test_a_server_that_takes_a_lost_connection_for_a_mistake_is_found_out(
    tmp_path: Path, random: Random
) -> None:
    judged = "            if fault is Fault.MISTAKE:\n"
    package = seeded(tmp_path, "db/lanes.py", judged, "            if fault:\n")

    found = await _complaints(tmp_path, random, "postgres", ["immediate"], PYTHONPATH=str(package))

    assert any("internal server error" in sentence for sentence in found), found


async def _complaints(
    folder: Path, random: Random, kind: str, modes: Sequence[Mode], **environ: str
) -> Sequence[str]:
    """Restart the database under load, in each of these ways; return all that is wrong."""
    with postgres_server() as server:
        url = server.create_database("ketchup")
        with deployed(kind, folder, url, **_ENVIRON, **environ) as deployment:
            deployment.start()
            return await _survived(deployment, server, random, modes)


async def _survived(
    deployment: Deployment, server: PostgresServer, random: Random, modes: Sequence[Mode]
) -> Sequence[str]:
    refusals, most = frozenset({_UNAVAILABLE}), _TASKS_PER_RESTART * len(modes)
    async with Receiver() as receiver:
        customers = Customers(
            deployment.new_key(), receiver.url, random, 8, most=most, refusals=refusals
        )
        async with customers.at_work(*deployment.addresses):
            for mode in modes:
                await customers.accept_more(3)
                await asyncio.to_thread(server.restart, mode)
                if customers.complaints:
                    return customers.complaints
                assert all(p.process.poll() is None for p in deployment.processes), mode
            await customers.accept_more(3)
        await customers.settle(deployment.addresses[0], 60)
        await all_told(receiver, customers.owed, 60)
        async with client_of(deployment.addresses[0], deployment.admin_token) as admin:
            await nothing_held(admin, 60)
        deployment.stop()
        found = disagreements(receiver, customers.ended) + customers.complaints
    sys.stdout.write(f"{len(modes)} restarts, {len(customers.ended)} tasks\n")
    return [*found, *deployment.violations(customers.promises, at_the_end=True)]
