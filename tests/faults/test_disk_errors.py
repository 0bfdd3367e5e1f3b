"""Each single write and sync refused by the disk in its turn: never an acknowledgement for nothing.

What is not on disk is answered by 503. The same process goes on when the fault is over, and
everything that it had accepted ends as it should. Full and read-only disks as such are in
`test_disk`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest
import pytest_asyncio

from tests.support.audit import nothing_held
from tests.support.busy_customers import Customers
from tests.support.callbacks import all_told, disagreements
from tests.support.errand import Home, errand
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.service import client_of
from tests.support.strace import calls_of, require_strace, traced
from tests.support.zygote import Forked, Ready, Zygote, side_by_side, zygote

pytestmark = pytest.mark.timeout(300)
SECONDS: Final = 30.0
_SYNCS: Final = ("fdatasync", "fsync", "rename", "mkdir")
_CALLS: Final = ("pwrite64", *_SYNCS)
_UNAVAILABLE: Final = 503
# As many as there are syncs; writes are five times as many, and a fault takes seconds to get over.
_MANY: Final = 60


@dataclass(frozen=True)
class Fault:
    """What the disk answers to the call of that number, and for good also to all later ones."""

    call: str
    error: str
    number: int
    for_good: bool = False

    @property
    def options(self) -> Sequence[str]:
        when = f"{self.number}+" if self.for_good else str(self.number)
        return (
            "-e",
            f"trace={self.call}",
            "-e",
            f"inject={self.call}:error={self.error}:when={when}",
        )


@pytest_asyncio.fixture
async def forks() -> AsyncIterator[Zygote]:
    require_strace()
    async with zygote() as process:
        yield process


async def test_some_errors_of_the_disk_lose_nothing(
    forks: Zygote, tmp_path: Path, random: Random
) -> None:
    home = await Home.made_by(forks, tmp_path)
    faults = await _faults(forks, home, tmp_path / "recorded")

    for kind in faults:
        for fault in random.sample(kind, 2):
            assert await _suffered(forks, home, tmp_path / "run", fault) == [], fault


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_many_errors_of_the_disk_lose_nothing(
    forks: Zygote, tmp_path: Path, random: Random
) -> None:
    home = await Home.made_by(forks, tmp_path)
    kinds = await _faults(forks, home, tmp_path / "recorded")
    faults = [fault for kind in kinds for fault in random.sample(kind, min(len(kind), _MANY))]

    async def judge(other: Zygote, folder: Path, fault: Fault) -> None:
        assert await _suffered(other, home, folder, fault) == [], fault

    await side_by_side(faults, tmp_path, judge)
    sys.stdout.write(f"{len(faults)} faults\n")


async def test_a_server_that_takes_a_failed_commit_for_a_commit_is_found_out(
    tmp_path: Path,
) -> None:
    require_strace()
    unavailable = "            unavailable = Unavailable(DOWN)\n"
    made_up = """            if (answers := getattr(self, "last", None)) is not None:
                return answers
"""
    seeded(tmp_path, "db/lanes.py", unavailable, made_up + unavailable)
    package = seeded(
        tmp_path,
        "db/lanes.py",
        "                    result = work(connection)\n",
        """                    self.last = None
                    self.last = result = work(connection)
""",
    )
    found: list[str] = []

    async with zygote({"PYTHONPATH": str(package)}) as forks:
        home = await Home.made_by(forks, tmp_path)
        for number in range(1, 20):
            fault = Fault("pwrite64", "ENOSPC", number)
            if found := await _suffered(forks, home, tmp_path / str(number), fault):
                break

    assert any("was acknowledged, but: 404" in sentence for sentence in found), found


async def _faults(forks: Zygote, home: Home, folder: Path) -> Sequence[Sequence[Fault]]:
    """Do the work once in peace, and return what can go wrong with each of its calls, by kind."""
    log = folder.parent / "calls"
    with home.copied_to(folder) as place:
        async with Receiver() as receiver, forks.fork(place.data) as service:
            ready = await service.live()
            assert ready is not None
            customers = home.customers(receiver)
            async with traced(service.pid, "-e", f"trace={','.join(_CALLS)}", log=log):
                await customers.submit_all(ready.base_url, errand(receiver.url))
                await customers.settle(ready.base_url, SECONDS)
                await all_told(receiver, customers.owed, SECONDS)
    counts = calls_of(log)

    def up_to(call: str) -> Iterable[int]:
        return range(1, counts[call] + 1)

    return (
        [Fault(call, "EIO", number) for call in _SYNCS for number in up_to(call)],
        [Fault("pwrite64", "EIO", number) for number in up_to("pwrite64")],
        [Fault("pwrite64", "ENOSPC", number, for_good=True) for number in up_to("pwrite64")],
    )


async def _suffered(forks: Zygote, home: Home, folder: Path, fault: Fault) -> list[str]:
    """Do the work while the disk fails, and return all that is wrong."""
    with home.copied_to(folder) as place:
        async with Receiver() as receiver, forks.fork(place.data) as service:
            customers = home.customers(receiver, _UNAVAILABLE)
            ready = await service.live()
            assert ready is not None
            await _work_on_a_bad_disk(service, ready, fault, customers, receiver)
            if customers.complaints:
                return customers.complaints
            async with client_of(ready.base_url, place.admin_token) as admin:
                await nothing_held(admin, SECONDS)
            assert await service.stop() == 0
            found = disagreements(receiver, customers.ended) + customers.complaints
        return found + place.violations(customers.promises, at_the_end=True)


async def _work_on_a_bad_disk(
    service: Forked, ready: Ready, fault: Fault, customers: Customers, receiver: Receiver
) -> None:
    """Have all of the work done in spite of the fault, unless somebody complains."""
    async with AsyncExitStack() as disk:
        await disk.enter_async_context(traced(service.pid, *fault.options))
        await customers.submit_all(ready.base_url, errand(receiver.url))
        await customers.poll_all(ready.base_url)
        if fault.for_good:
            await disk.aclose()
        if not customers.complaints:
            await customers.settle(ready.base_url, SECONDS)
            await all_told(receiver, customers.owed, SECONDS)
