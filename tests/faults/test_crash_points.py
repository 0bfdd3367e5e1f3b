"""Kill -9 inside each single write, sync and answer of a small piece of work, one after the other.

Where random kills find what is likely, this finds what is rare: there is no instant between two
calls of the process that is left out.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest
import pytest_asyncio

from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.customers import customer
from tests.support.errand import Home, Place, errand
from tests.support.invariants import Promises, violations
from tests.support.postgres import postgres_server
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import running_service
from tests.support.strace import calls_of, require_strace, traced
from tests.support.zygote import PUBLIC_URL, Forked, Zygote, side_by_side, zygote

pytestmark = pytest.mark.timeout(300)
SECONDS: Final = 60.0
CALLS: Final = (
    *("pwrite64", "fdatasync", "ftruncate"),  # the database
    *("fsync", "rename", "unlink", "mkdir"),  # the images
    *("write", "writev", "sendmsg", "sendto"),  # a database server, answers, callbacks, the log
)


@dataclass(frozen=True)
class Point:
    """Before the call of that number, of the thread that comes there first."""

    call: str
    number: int

    @property
    def options(self) -> Sequence[str]:
        inject = f"inject={self.call}:signal=KILL:when={self.number}"
        return ("-e", f"trace={self.call}", "-e", inject)


@pytest_asyncio.fixture
async def forks() -> AsyncIterator[Zygote]:
    require_strace()
    async with zygote() as process:
        yield process


async def test_a_kill_inside_any_of_some_calls_loses_nothing(
    forks: Zygote, tmp_path: Path, random: Random
) -> None:
    home = await Home.made_by(forks, tmp_path)
    points = await _points_of_work(forks, home, tmp_path / "recorded")

    for point in random.sample(points, 8):
        assert await _killed_at_work(forks, home, tmp_path / "run", point) == [], point


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_a_kill_inside_every_call_loses_nothing(forks: Zygote, tmp_path: Path) -> None:
    home = await Home.made_by(forks, tmp_path)

    await _killed_at_each(home, await _points_of_work(forks, home, tmp_path / "recorded"), tmp_path)


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_a_kill_inside_any_of_many_calls_on_postgresql_loses_nothing(
    forks: Zygote, tmp_path: Path, random: Random
) -> None:
    with postgres_server() as server:
        home = await Home.made_by(forks, tmp_path, server)
        points = await _points_of_work(forks, home, tmp_path / "recorded")

        await _killed_at_each(home, random.sample(points, 40), tmp_path)


async def test_a_first_start_that_is_killed_inside_some_calls_can_be_made_again(
    forks: Zygote, tmp_path: Path, random: Random
) -> None:
    points = await _points_of_a_first_start(forks, tmp_path)

    for point in random.sample(points, 3):
        await _killed_at_first_start(forks, tmp_path / "run", point)


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_a_first_start_that_is_killed_inside_every_call_can_be_made_again(
    forks: Zygote, tmp_path: Path
) -> None:
    points = await _points_of_a_first_start(forks, tmp_path)

    await side_by_side(points, tmp_path, _killed_at_first_start)
    sys.stdout.write(f"{len(points)} points of a first start\n")


async def test_a_server_that_holds_and_enqueues_in_two_transactions_is_found_out(
    tmp_path: Path,
) -> None:
    require_strace()
    enqueue = "    tasks.enqueue(conn, turns, "
    between = """    conn.exec_driver_sql("COMMIT")
    conn.exec_driver_sql("BEGIN IMMEDIATE")
"""
    package = seeded(tmp_path, "generation/submit.py", enqueue, between + enqueue)
    found: list[str] = []

    async with zygote({"PYTHONPATH": str(package)}) as forks:
        home = await Home.made_by(forks, tmp_path)
        for number in range(1, 20):
            folder = tmp_path / str(number)
            if found := await _killed_at_work(forks, home, folder, Point("fdatasync", number)):
                break

    assert any("a hold belongs to no open task" in sentence for sentence in found)


# -- the work --------------------------------------------------------------------------------------


async def _points_of_work(forks: Zygote, home: Home, folder: Path) -> Sequence[Point]:
    """Do the work once in peace, and return every call that it made."""
    log = folder.parent / "calls"
    with home.copied_to(folder) as place:
        async with (
            Receiver() as receiver,
            forks.fork(place.data, **place.settings) as service,
            _recorded(service, log),
        ):
            ready = await service.live()
            assert ready is not None
            await _work(ready.base_url, home.customers(receiver), receiver)
            assert await service.stop() == 0
    return _points(log)


async def _killed_at_work(forks: Zygote, home: Home, folder: Path, point: Point) -> list[str]:
    """Do the work with a kill in it, finish it without, and return all that is wrong."""
    with home.copied_to(folder) as place:
        async with Receiver() as receiver:
            customers = home.customers(receiver)
            await _work_until_killed(forks, place, point, customers, receiver)
            if found := place.violations(customers.promises):
                return found
            settings = {"public_url": PUBLIC_URL, **place.settings}
            async with running_service(place.data, settings=settings) as service:
                await _work(service.base_url, customers, receiver)
                await nothing_held(service.admin, SECONDS)
            found = disagreements(receiver, customers.ended) + customers.complaints
        return found + place.violations(customers.promises, at_the_end=True)


async def _killed_at_each(home: Home, points: Sequence[Point], folder: Path) -> None:
    async def judge(forks: Zygote, folder: Path, point: Point) -> None:
        assert await _killed_at_work(forks, home, folder, point) == [], point

    await side_by_side(points, folder, judge)
    sys.stdout.write(f"{len(points)} points of the work\n")


async def _work_until_killed(
    forks: Zygote, place: Place, point: Point, customers: Customers, receiver: Receiver
) -> None:
    async with (
        forks.fork(place.data, **place.settings) as service,
        traced(service.pid, *point.options),
    ):
        if (ready := await service.live()) is None:
            return
        work = asyncio.create_task(_work(ready.base_url, customers, receiver))
        ended = asyncio.create_task(service.ended())
        await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
        service.signal(signal.SIGTERM)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        # Beyond the last call of its kind it ends by itself.
        assert await ended in {0, -signal.SIGKILL}, point


async def _work(base_url: str, customers: Customers, receiver: Receiver) -> None:
    """Have the errand done, or what is left of it."""
    if not customers.promises.accepted:
        await customers.submit_all(base_url, errand(receiver.url))
    await customers.settle(base_url, SECONDS)
    await all_told(receiver, customers.owed, SECONDS)


# -- the first start -------------------------------------------------------------------------------


async def _points_of_a_first_start(forks: Zygote, folder: Path) -> Sequence[Point]:
    log = folder / "calls"
    async with forks.fork(folder / "recorded") as service, _recorded(service, log):
        assert await service.live() is not None
        assert await service.stop() == 0
    return _points(log)


async def _killed_at_first_start(forks: Zygote, folder: Path, point: Point) -> None:
    folder.mkdir()
    data = folder / "data"
    async with forks.fork(data) as service, traced(service.pid, *point.options):
        await service.live()
        assert await service.stop() in {0, -signal.SIGKILL}, point
    async with running_service(data) as again, customer(again) as stranger:
        promises = Promises({await stranger.submit()})
        for task_id in promises.accepted:
            assert (await stranger.ended(task_id))["status"] == "success", point
    assert violations(data, promises, at_the_end=True) == [], point
    shutil.rmtree(folder)


def _recorded(service: Forked, log: Path) -> AbstractAsyncContextManager[None]:
    return traced(service.pid, "-e", f"trace={','.join(CALLS)}", log=log)


def _points(log: Path) -> Sequence[Point]:
    counts = calls_of(log)
    assert counts["fsync"], "nothing was traced"
    return [Point(call, number) for call in CALLS for number in range(1, counts[call] + 1)]
