"""Power loss: no acknowledgement leaves before what it acknowledges has been synced to the disk.

Seen in the order of the server's own system calls: a write to the log of the database makes it
dirty, a sync makes it clean, and an answer must find it clean.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.errand import Home, errand
from tests.support.receiver import Receiver
from tests.support.seeded import seeded
from tests.support.strace import require_strace, traced
from tests.support.zygote import zygote

pytestmark = pytest.mark.timeout(300)
_CALLS: Final = "pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg"
_LOG: Final = "ketchup.db-wal>"
_ANSWER: Final = re.compile(r"(?:write|writev|sendto|sendmsg)\(.*HTTP/1\.1 200")
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed>")


@pytest_asyncio.fixture(autouse=True)
async def _strace() -> AsyncIterator[None]:
    require_strace()
    yield


async def test_no_answer_leaves_before_its_transaction_is_on_disk(tmp_path: Path) -> None:
    answers = await _answers(tmp_path, {})

    assert answers == [True] * len(answers)


async def test_a_server_that_does_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    package = seeded(
        tmp_path, "db/sqlite.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"
    )

    answers = await _answers(tmp_path, {"PYTHONPATH": str(package)})

    assert answers == [False] * len(answers)


async def _answers(tmp_path: Path, environ: dict[str, str]) -> list[bool]:
    """Submit, and return of each acknowledgement whether the log was clean when it left."""
    log = tmp_path / "calls"
    async with zygote(environ) as forks, Receiver() as receiver:
        home = await Home.made_by(forks, tmp_path)
        # Nothing but the submits writes.
        async with forks.fork(home.place.data, concurrency=0) as service:
            ready = await service.live()
            assert ready is not None
            orders = errand(receiver.url)
            async with traced(service.pid, "-y", "-s", "16", "-e", f"trace={_CALLS}", log=log):
                customers = home.customers(receiver)
                await customers.submit_all(ready.base_url, orders)
    answers = list(_judged(log.read_text().splitlines()))
    assert len(answers) == len(orders), log.read_text()
    return answers


def _judged(lines: Iterable[str]) -> Iterable[bool]:
    dirty = False
    syncing: set[str] = set()
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("pwrite64(") and _LOG in call:
            dirty = True
        elif call.startswith(("fdatasync(", "fsync(")) and _LOG in call:
            if "<unfinished" in call:
                syncing.add(thread)
            else:
                dirty = False
        elif (resumed := _RESUMED.match(call)) and resumed[1] in {"fdatasync", "fsync"}:
            if thread in syncing:
                syncing.discard(thread)
                dirty = False
        elif _ANSWER.match(call):
            yield not dirty
