from __future__ import annotations

import asyncio

import pytest

from ketchup.generation.places import NoRoom, Places
from ketchup.ids import WorkspaceId

ONE, TWO = WorkspaceId("ws_one"), WorkspaceId("ws_two")


class Task:
    """A task that fetches until it is told to end, and then renders."""

    def __init__(self, places: Places, workspace: WorkspaceId = ONE) -> None:
        self.fetched = asyncio.Event()
        self.renders = False
        self._places = places
        places.take()
        self.running = asyncio.create_task(self._run(workspace))
        self.running.add_done_callback(lambda _: places.leave())

    async def _run(self, workspace: WorkspaceId) -> None:
        async with self._places.lent(workspace):
            await self.fetched.wait()
        self.renders = True
        await asyncio.Event().wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def stop(*tasks: Task) -> None:
    for task in tasks:
        task.running.cancel()
    await asyncio.gather(*(task.running for task in tasks), return_exceptions=True)
    await settle()


async def test_a_task_that_fetches_takes_no_place() -> None:
    freed = []
    places = Places(1, lambda: freed.append(True))
    task = Task(places)
    assert places.free == 0
    await settle()
    assert places.free == 1
    assert freed
    await stop(task)
    assert places.free == 1


async def test_no_more_render_at_once_than_there_are_places() -> None:
    places = Places(2, lambda: None)
    tasks = [Task(places) for _ in range(5)]
    await settle()
    for task in tasks:
        task.fetched.set()
    await settle()
    assert [task.renders for task in tasks] == [True, True, False, False, False]
    assert places.free == 0
    await stop(tasks[0])
    # The place goes to the next that has fetched, and not to a claim.
    assert [task.renders for task in tasks[1:]] == [True, True, False, False]
    assert places.free == 0
    await stop(*tasks)
    assert places.free == 2


async def test_a_task_that_is_stopped_while_it_waits_for_a_place_leaves_none_behind() -> None:
    places = Places(1, lambda: None)
    first, second = Task(places), Task(places)
    await settle()
    first.fetched.set()
    second.fetched.set()
    await settle()
    await stop(second)
    assert places.free == 0
    await stop(first)
    assert places.free == 1


async def test_few_of_one_workspace_may_be_away() -> None:
    places = Places(1, lambda: None, away=3, away_per_workspace=2)
    tasks = [Task(places), Task(places)]
    await settle()
    crowded, other = Task(places), Task(places, TWO)
    await settle()
    assert isinstance(crowded.running.exception(), NoRoom)
    assert not other.running.done()
    late = Task(places, TWO)
    await settle()
    with pytest.raises(NoRoom):
        await late.running
    await stop(*tasks, other)
    assert places.free == 1
