"""What every storage does, on the disk and in a bucket on moto's server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ketchup.clock import Micros, after
from ketchup.errors import NotFound
from ketchup.ids import name_bits
from ketchup.providers.base import ImageFormat
from ketchup.storage import (
    REFERENCES,
    BlobNotFound,
    Bucket,
    BucketStorage,
    DiskStorage,
    Storage,
    image_folder,
    image_key,
    reference_key,
)

NOW = Micros(1_757_499_740_010_000)  # 2025-09-10T10:22:20Z
DAY = 24 * 3600


@pytest.fixture(params=["disk", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return DiskStorage(tmp_path / "blobs")
    bucket: Bucket = request.getfixturevalue("bucket")
    return BucketStorage(bucket)


def key_at(at: Micros, number: int = 1) -> str:
    return image_key(number, at, ImageFormat.PNG, name_bits())


async def test_a_blob_is_read_back_whole_and_in_parts(storage: Storage) -> None:
    key, data = key_at(NOW), os.urandom(600_000)
    await storage.put(key, data)
    assert await storage.get(key) == data
    assert await storage.size(key) == 600_000
    assert [chunk async for chunk in storage.stream(key, 10, 15)] == [data[10:15]]
    whole = [chunk async for chunk in storage.stream(key, 0, 600_000)]
    assert b"".join(whole) == data
    assert len(whole) > 1


async def test_a_deleted_blob_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    key = key_at(NOW)
    await storage.put(key, b"image")
    await storage.delete(key)
    await storage.delete(key)
    for ask in _readings(storage, key):
        with pytest.raises(BlobNotFound):
            await ask()


@pytest.mark.parametrize(
    "key", ["../a.png", "a/../b.png", "a/b", "a.png", "", "a//b.png", "a/\0.png"]
)
async def test_a_key_that_is_not_ours_names_nothing(storage: Storage, key: str) -> None:
    attempts: list[Callable[[], Awaitable[object]]] = [
        *_readings(storage, key),
        lambda: storage.put(key, b"x"),
        lambda: storage.delete(key),
        lambda: storage.link(key, 1),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt()


def _readings(storage: Storage, key: str) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: storage.get(key),
        lambda: storage.size(key),
        lambda: anext(storage.stream(key, 0, 1)),
    ]


async def test_the_sweep_deletes_what_is_older_and_nothing_else(storage: Storage) -> None:
    edge = after(NOW, -30 * DAY)
    old = [key_at(after(edge, -seconds)) for seconds in (1, 3600, 2 * DAY, 400 * DAY)]
    young = [key_at(edge), key_at(after(edge, 1)), key_at(NOW)]
    foreign = [
        key_at(after(edge, -400 * DAY), number=11),
        reference_key(after(edge, -DAY), "0" * 32),
    ]
    for key in old + young + foreign:
        await storage.put(key, b"x")
    assert await storage.sweep(image_folder(1), edge) == 4
    assert await storage.keys(image_folder(1)) == sorted(young)
    assert await storage.keys(image_folder(11)) + await storage.keys(REFERENCES) == foreign
    assert await storage.sweep(image_folder(1), edge) == 0


async def test_the_sweep_works_in_batches_from_the_oldest_day(storage: Storage) -> None:
    days = [5, 5, 4, 4, 4, 2]
    keys = [key_at(after(NOW, number - day * DAY)) for number, day in enumerate(days)]
    for key in keys:
        await storage.put(key, b"x")
    assert await storage.sweep(image_folder(1), NOW, limit=3) == 3
    left = await storage.keys(image_folder(1))
    assert len(left) == 3
    assert set(left) < set(keys[2:])
    assert await storage.sweep(image_folder(1), NOW, limit=3) == 3
    assert await storage.sweep(image_folder(1), NOW, limit=3) == 0


async def test_many_blobs_are_put_and_read_at_once(storage: Storage) -> None:
    keys = [key_at(after(NOW, number)) for number in range(40)]
    await asyncio.gather(*(storage.put(key, key.encode()) for key in keys))
    assert await asyncio.gather(*(storage.get(key) for key in keys)) == [k.encode() for k in keys]
    assert await storage.keys(image_folder(1)) == keys
