from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ketchup.clock import FrozenClock, SystemClock
from ketchup.egress import Bounds, Crowded
from ketchup.egress.turns import Turns

HERE, THERE = "http://here.test:80", "http://there.test:80"


class Reads:
    """Reads that last until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.under_way: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, name: str, origin: str, workspace: str) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._read(name, origin, workspace)))
        await settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def _read(self, name: str, origin: str, workspace: str) -> None:
        async with self.turns.read(origin, workspace):
            self.under_way.append(name)
            await self._ends[name].wait()
            self.under_way.remove(name)

    async def end_all(self) -> None:
        for event in self._ends.values():
            event.set()
        await asyncio.gather(*self._tasks)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def reading(bounds: Bounds) -> AsyncIterator[Reads]:
    reads = Reads(Turns(bounds, SystemClock()))
    yield reads
    await reads.end_all()
    assert not reads.turns._by_origin
    assert not reads.turns._by_workspace
    assert not reads.turns._waiting


async def test_so_many_are_read_at_once_from_an_origin_over_all_workspaces() -> None:
    async with reading(Bounds(per_origin=2)) as reads:
        for number, workspace in enumerate("abcd"):
            await reads.begin(f"{workspace}{number}", HERE, workspace)
        assert reads.under_way == ["a0", "b1"]
        await reads.begin("elsewhere", THERE, "a")
        assert reads.under_way == ["a0", "b1", "elsewhere"]
        await reads.end("a0")
        assert reads.under_way == ["b1", "elsewhere", "c2"]


async def test_so_many_are_read_at_once_for_a_workspace_whatever_the_origins() -> None:
    async with reading(Bounds(per_workspace=2)) as reads:
        for number in range(4):
            await reads.begin(f"a{number}", f"http://host{number}.test:80", "a")
        await reads.begin("b0", HERE, "b")
        assert reads.under_way == ["a0", "a1", "b0"]


async def test_what_waits_is_let_in_by_workspace_one_after_the_other() -> None:
    async with reading(Bounds(per_origin=1)) as reads:
        for number in range(50):
            await reads.begin(f"a{number}", HERE, "a")
        await reads.begin("b0", HERE, "b")
        await reads.begin("c0", HERE, "c")
        order = []
        for _ in range(5):
            [now] = reads.under_way
            order.append(now)
            await reads.end(now)
        assert order == ["a0", "a1", "b0", "c0", "a2"]


async def test_a_full_origin_does_not_keep_its_workspace_from_another() -> None:
    async with reading(Bounds(per_origin=1)) as reads:
        await reads.begin("a0", HERE, "a")
        await reads.begin("a1", HERE, "a")
        await reads.begin("a2", THERE, "a")
        assert reads.under_way == ["a0", "a2"]


async def test_nobody_waits_for_a_turn_beyond_the_bound_or_is_let_in_later() -> None:
    async with reading(Bounds(per_origin=1, wait_seconds=0.05)) as reads:
        await reads.begin("a0", HERE, "a")
        with pytest.raises(Crowded):
            async with asyncio.timeout(2), reads.turns.read(HERE, "b"):
                raise AssertionError("it was not its turn")
        await reads.end("a0")
        await reads.begin("c0", HERE, "c")
        assert reads.under_way == ["c0"]


async def test_a_turn_that_came_to_one_who_had_just_gone_passes_on() -> None:
    async with reading(Bounds(per_origin=1)) as reads:
        await reads.begin("a0", HERE, "a")
        await reads.begin("b0", HERE, "b")
        await reads.begin("c0", HERE, "c")
        # Its turn comes and its caller goes before it can run.
        reads._ends["a0"].set()
        while reads.under_way == ["a0"]:
            await asyncio.sleep(0)
        reads._tasks[1].cancel()
        await settle()
        assert reads.under_way == ["c0"]
        gone = reads._tasks.pop(1)
        assert gone.cancelled()


async def test_requests_to_one_origin_go_out_at_a_pace_after_a_second_s_worth() -> None:
    clock = FrozenClock()
    turns = Turns(Bounds(per_second=50.0), clock)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(51):
        await turns.pace(HERE)
    assert loop.time() - began < 0.5
    began = loop.time()
    waiting = asyncio.create_task(turns.pace(HERE))
    await turns.pace(THERE)
    assert not waiting.done()
    await waiting
    assert loop.time() - began >= 0.02
