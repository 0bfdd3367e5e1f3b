"""Attempts that are cancelled: no picture stays that no task names, and none goes that one does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ketchup.errors import Unavailable
from ketchup.generation.stored import whole
from ketchup.storage import Storage
from tests.support.gate import held_writer
from tests.support.home import until
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service


class Holding:
    """A storage that holds each picture but the first, until it is let go.

    As a thread that writes a file does, it goes on when nobody waits for it any more.
    """

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._puts = 0
        self.held = asyncio.Event()
        self.go = asyncio.Event()

    async def put(self, key: str, data: bytes) -> None:
        self._puts += 1
        self.last = asyncio.create_task(self._put(key, data, self._puts))
        await asyncio.shield(self.last)

    async def _put(self, key: str, data: bytes, number: int) -> None:
        if number > 1:
            self.held.set()
            await self.go.wait()
        await self._inner.put(key, data)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)


class Full:
    """A storage that has room for one picture."""

    def __init__(self, inner: Storage, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self.most = 0

    async def put(self, key: str, data: bytes) -> None:
        if self.most:
            raise Unavailable("the disk is full") from OSError("full")
        await self._inner.put(key, data)
        self.most = len(blobs(self._folder))

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)


def hold(service: RunningService) -> Holding:
    stored = service.runtime.runner._stored
    holding = Holding(stored._storage)
    stored._storage = holding  # type: ignore[assignment]  # no more than that is asked of it
    return holding


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*_*.png") if path.is_file()]


def attempts() -> list[asyncio.Task[object]]:
    """Return what runs tasks in this process."""
    named = ((task, task.get_coro()) for task in asyncio.all_tasks())
    return [task for task, coro in named if getattr(coro, "__qualname__", "") == "Runner.run"]


async def test_a_cancelled_task_leaves_no_picture_behind(
    tmp_path: Path, database_url: str | None
) -> None:
    async with running_service(tmp_path / "data", database=database_url) as service:
        storage = hold(service)
        task_id = await service.submit(n=2)
        await storage.held.wait()
        assert len(blobs(tmp_path / "data")) == 1
        [attempt] = attempts()

        answer = await service.client.post(f"/v1/tasks/{task_id}/cancel")
        assert answer.status_code == 200, answer.text
        # A write that is under way is waited for, however often its worker is told.
        await until(lambda: attempt.cancelling() > 0)
        await asyncio.wait([attempt], timeout=0.1)
        storage.go.set()
        await storage.last
        await asyncio.wait([attempt], timeout=DEADLINE_SECONDS)

        assert attempt.cancelled()
        assert blobs(tmp_path / "data") == []


async def test_pictures_that_were_stored_before_time_was_over_do_not_stay(
    tmp_path: Path, database_url: str | None
) -> None:
    folder, settings = tmp_path / "data", {"task_timeout_seconds": 1.0, "max_tries": 1}
    named = {f"worker.{name}": value for name, value in settings.items()}
    async with running_service(folder, settings=named, database=database_url) as service:
        stored = service.runtime.runner._stored
        full = Full(stored._storage, folder)
        stored._storage = full  # type: ignore[assignment]  # no more than that is asked of it
        ended = await service.ended(await service.submit(n=2))

        assert ended["status"] == "failed"
        assert full.most == 1
        assert blobs(folder) == []


async def test_the_pictures_of_an_end_that_was_being_written_stay(
    tmp_path: Path, database_url: str | None
) -> None:
    async with running_service(tmp_path / "data", database=database_url) as service:
        storage = hold(service)
        task_id = await service.submit(n=2)
        await storage.held.wait()
        [attempt] = attempts()
        async with held_writer(service.runtime.database, "run"):
            storage.go.set()
            await until(lambda: bool(service.runtime.runner._finish._waiting))
            attempt.cancel()
            await asyncio.wait([attempt], timeout=0.1)
            assert not attempt.done()
        ended = await service.ended(task_id)
        await asyncio.wait([attempt], timeout=DEADLINE_SECONDS)

        assert attempt.cancelled()
        assert ended["status"] == "success"
        for one in ended["result"]:
            assert (await service.client.get(one["image"])).status_code == 200


async def test_whoever_is_cancelled_twice_still_waits_for_the_end() -> None:
    done = asyncio.Event()
    waits = asyncio.create_task(whole(done.wait()))
    for _ in range(3):
        await asyncio.sleep(0)
        waits.cancel()
    await asyncio.sleep(0)
    assert not waits.done()
    done.set()

    with pytest.raises(asyncio.CancelledError):
        await waits
