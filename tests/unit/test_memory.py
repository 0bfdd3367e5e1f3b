"""The memory for engines' answers: bounded for all tasks together, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from contextvars import copy_context

import pytest

from ketchup.providers.memory import Memory, Share


async def take(share: Share, count: int) -> None:
    async with asyncio.timeout(10) as deadline:
        await share.take(count, deadline)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_task_waits_for_room_until_another_is_over() -> None:
    memory = Memory(100)
    with memory.share() as second:
        with memory.share() as first:
            await take(first, 80)
            waits = asyncio.create_task(take(second, 30))
            await settled()
            assert (waits.done(), memory.held) == (False, 80)
        await waits
        assert memory.held == 30
    assert memory.held == 0


async def test_what_was_taken_too_much_makes_room() -> None:
    memory = Memory(100)
    with memory.share() as first, memory.share() as second:
        await take(first, 100)
        waits = asyncio.create_task(take(second, 40))
        await settled()

        first.give(60)
        await waits

        assert memory.held == 80


async def test_tasks_that_each_hold_a_part_do_not_wait_for_each_other_for_ever() -> None:
    memory = Memory(100)
    with memory.share() as last:
        async with AsyncExitStack() as stack:
            first = stack.enter_context(memory.share())
            await take(first, 60)
            await take(last, 40)
            waits = asyncio.create_task(take(last, 60))
            # The one that came first goes beyond the bound.
            await take(first, 60)
            await settled()
            assert not waits.done()
        await waits
        assert memory.held == 100


async def test_whoever_waits_does_not_run_out_of_time() -> None:
    memory = Memory(100)
    with memory.share() as first, memory.share() as second:
        await take(first, 100)

        async def answered() -> None:
            async with second.timeout(0.01), asyncio.timeout(0.01) as deadline:
                await second.take(10, deadline)

        waits = [asyncio.create_task(answered()) for _ in range(2)]
        done, _ = await asyncio.wait(waits, timeout=0.1)
        assert not done
        first.give(20)
        await asyncio.gather(*waits)


async def test_a_limit_goes_on_when_there_is_room() -> None:
    memory = Memory(100)
    with memory.share() as first, memory.share() as second:
        await take(first, 100)

        async def answered() -> None:
            async with second.timeout(0.01):
                await take(second, 10)
                await asyncio.Event().wait()

        waits = asyncio.create_task(answered())
        await settled()
        first.give(20)
        with pytest.raises(TimeoutError):
            await waits


async def test_whoever_is_cancelled_while_it_waits_holds_nothing() -> None:
    memory = Memory(100)
    with memory.share() as first:
        await take(first, 100)
        with memory.share() as second:
            waits = asyncio.create_task(take(second, 10))
            await settled()
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
    assert memory.held == 0


def test_a_share_may_end_in_another_context() -> None:
    memory = Memory(100)
    share = memory.share()
    copy_context().run(share.__enter__)

    share.__exit__(None, None, None)

    assert memory.held == 0
