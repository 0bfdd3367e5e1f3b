from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from ketchup.clock import SECOND, Micros, after
from ketchup.errors import NotFound, Unavailable
from ketchup.ids import name_bits
from ketchup.providers.base import ImageFormat
from ketchup.storage import (
    REFERENCES,
    BlobNotFound,
    DiskStorage,
    image_folder,
    image_key,
    reference_key,
)

NOW = Micros(1_757_499_740_010_000)  # 2025-09-10T10:22:20Z
DAY = 24 * 3600


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(tmp_path / "blobs")


def key_at(at: Micros, number: int = 1) -> str:
    return image_key(number, at, ImageFormat.PNG, name_bits())


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_blob_is_read_back_whole_and_in_parts(storage: DiskStorage) -> None:
    key, data = key_at(NOW), os.urandom(600_000)
    await storage.put(key, data)
    assert await storage.get(key) == data
    assert await storage.size(key) == 600_000
    assert [chunk async for chunk in storage.stream(key, 10, 15)] == [data[10:15]]
    whole = [chunk async for chunk in storage.stream(key, 0, 600_000)]
    assert b"".join(whole) == data
    assert len(whole) > 1


async def test_a_blob_is_found_after_a_restart(storage: DiskStorage, tmp_path: Path) -> None:
    key = key_at(NOW)
    await storage.put(key, b"image")
    assert await DiskStorage(tmp_path / "blobs").get(key) == b"image"


class _Held(ThreadPoolExecutor):
    """Does nothing before it is told to, and then everything at one moment."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Future[Any], Callable[[], Any]]] = []

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self.given.append((done, partial(fn, *args, **named)))
        return done

    def do_all(self) -> None:
        while self.given:
            done, work = self.given.pop(0)
            done.set_result(work())


async def test_a_blob_that_comes_when_all_writers_have_just_ended_is_written(
    storage: DiskStorage,
) -> None:
    async def put(count: int) -> None:
        for _ in range(count):
            await storage.put(key_at(NOW), b"image")

    executor = _Held()
    asyncio.get_running_loop().set_default_executor(executor)
    async with asyncio.timeout(10):
        callers: list[asyncio.Task[None]] = []
        for count in (2, 1):
            callers.append(asyncio.create_task(put(count)))
            while len(executor.given) < len(callers):
                await asyncio.sleep(0)
        while not all(caller.done() for caller in callers):
            executor.do_all()
            await asyncio.sleep(0)


async def test_a_deleted_blob_is_gone_and_may_be_deleted_again(storage: DiskStorage) -> None:
    key = key_at(NOW)
    await storage.put(key, b"image")
    await storage.delete(key)
    await storage.delete(key)
    with pytest.raises(BlobNotFound):
        await storage.get(key)
    with pytest.raises(BlobNotFound):
        await storage.size(key)
    with pytest.raises(BlobNotFound):
        await anext(storage.stream(key, 0, 1))


async def test_a_blob_that_is_deleted_meanwhile_is_read_to_its_end(storage: DiskStorage) -> None:
    key, data = key_at(NOW), os.urandom(900_000)
    await storage.put(key, data)
    chunks = storage.stream(key, 0, len(data))
    read = await anext(chunks)
    await storage.delete(key)
    async for chunk in chunks:
        read += chunk
    assert read == data


def test_the_folder_is_closed_to_others(storage: DiskStorage, tmp_path: Path) -> None:
    assert storage is not None
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700


ESCAPES = [
    "../secret.png",
    "/etc/passwd",
    "a/../../secret.png",
    "fileSystem/response_images/../../../secret.png",
    "%2e%2e/secret.png",
    "..%2fsecret.png",
    "a/\0.png",
    "a/b.png\0",
    "a//b.png",
    "./a.png",
    "a/./b.png",
    "a\\..\\b.png",
    "a/b.png/",
    "a/b.png/c.png",
    "a/b",
    "a.png",
    "",
    ".",
    "..",
    "a/\uff0e\uff0e/b.png",
    "a/‥/b.png",
    "A/É.png",
    "a/con.png#1",
    "x" * 300 + "/a.png",
    "a/" * 200 + "b.png",
    "\ud800/a.png",
]


async def refused_everywhere(storage: DiskStorage, key: str) -> None:
    """Try each operation with a key that we never make."""
    for attempt in (
        lambda: storage.put(key, b"x"),
        lambda: storage.get(key),
        lambda: storage.size(key),
        lambda: storage.delete(key),
        lambda: anext(storage.stream(key, 0, 1)),
    ):
        with pytest.raises(NotFound):
            await attempt()


@pytest.mark.parametrize("key", ESCAPES)
async def test_no_key_leads_out_of_the_folder(
    storage: DiskStorage, tmp_path: Path, key: str
) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    await refused_everywhere(storage, key)
    assert files_in(tmp_path) == ["secret.png"]


@given(st.text() | st.from_regex(r"[a-z./%\\]{1,20}") | st.sampled_from(ESCAPES).map("a/{}".format))
def test_no_text_raises_anything_but_not_found_or_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    storage = DiskStorage(outside / "blobs")

    async def attempt() -> None:
        try:
            await storage.put(key, b"x")
            assert await storage.get(key) == b"x"
        except BlobNotFound:
            assert files_in(outside) == []

    asyncio.run(attempt())
    assert files_in(outside) == files_in(outside / "blobs")
    shutil.rmtree(outside)


@contextmanager
def full_disk() -> Iterator[None]:
    """Make every file end after a kilobyte: the write fails half-way, as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


async def test_a_full_disk_is_unavailable_and_leaves_no_half_blob(storage: DiskStorage) -> None:
    key = key_at(NOW)
    with full_disk(), pytest.raises(Unavailable):
        await storage.put(key, bytes(5000))
    with pytest.raises(BlobNotFound):
        await storage.get(key)
    assert await storage.keys(image_folder(1)) == []
    await storage.put(key, bytes(5000))
    assert await storage.size(key) == 5000


async def test_a_broken_folder_is_unavailable(storage: DiskStorage, tmp_path: Path) -> None:
    key = key_at(NOW)
    shutil.rmtree(tmp_path / "blobs")
    (tmp_path / "blobs").write_bytes(b"not a folder")
    with pytest.raises(Unavailable):
        await storage.put(key, b"x")
    with pytest.raises(Unavailable):
        await storage.get(key)


PUT_ONE = """
import asyncio, sys
from pathlib import Path
from ketchup.storage import DiskStorage
asyncio.run(DiskStorage(Path(sys.argv[1])).put(sys.argv[2], b"image"))
print("acknowledged", flush=True)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs the strace command")
def test_a_blob_is_on_disk_before_put_returns(tmp_path: Path) -> None:
    root, log, key = tmp_path / "blobs", tmp_path / "log", key_at(NOW)
    strace = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,fdatasync,rename,write"]
    command = [*strace, sys.executable, "-c", PUT_ONE, str(root), key]
    subprocess.run(command, check=True, capture_output=True)
    trace = log.read_text()
    written, renamed, rest = trace.partition(f'{key.rpartition("/")[2]}") = 0')
    before_the_answer, answered, _ = rest.partition("acknowledged")
    flushed = re.findall(r"fsync\(\d+<([^>]*)>\)", before_the_answer)
    assert renamed
    assert answered
    path = root / key
    # Its bytes before it gets its name, and then the name.
    assert f"fsync({{}}<{path}#1>)" in re.sub(r"fsync\(\d+", "fsync({}", written)
    assert set(flushed) == {str(root), *map(str, _folders_between(root, path))}


def _folders_between(root: Path, path: Path) -> list[Path]:
    return [parent for parent in path.parents if root in parent.parents]


async def test_the_sweep_deletes_what_is_older_and_nothing_else(
    storage: DiskStorage, tmp_path: Path
) -> None:
    edge = after(NOW, -30 * DAY)
    old = [key_at(after(edge, -seconds)) for seconds in (1, 3600, 2 * DAY, 400 * DAY)]
    young = [key_at(edge), key_at(after(edge, 1)), key_at(NOW)]
    foreign = [
        key_at(after(edge, -400 * DAY), number=2),
        reference_key(after(edge, -DAY), "0" * 32),
    ]
    for key in old + young + foreign:
        await storage.put(key, b"x")
    assert await storage.sweep(image_folder(1), edge) == 4
    assert await storage.keys(image_folder(1)) == sorted(young)
    assert await storage.keys(image_folder(2)) + await storage.keys(REFERENCES) == foreign
    assert not (tmp_path / "blobs" / image_folder(1) / "2024").exists()
    assert await storage.sweep(image_folder(1), edge) == 0


async def test_the_sweep_removes_what_a_crash_left_half_written(
    storage: DiskStorage, tmp_path: Path
) -> None:
    key = key_at(after(NOW, -2 * DAY))
    await storage.put(key, b"x")
    half = tmp_path / "blobs" / f"{key}#1"
    half.write_bytes(b"half")
    assert await storage.keys(image_folder(1)) == [key]
    await storage.sweep(image_folder(1), NOW)
    assert files_in(tmp_path) == []


async def test_the_sweep_leaves_foreign_folders_alone(storage: DiskStorage, tmp_path: Path) -> None:
    foreign = tmp_path / "blobs" / image_folder(1) / "2024" / "13" / "lost+found"
    foreign.mkdir(parents=True)
    (foreign / "note.txt").write_text("x")
    assert await storage.sweep(image_folder(1), NOW) == 0
    assert files_in(tmp_path) == ["note.txt"]


async def test_blobs_are_put_while_their_folders_come_and_go(storage: DiskStorage) -> None:
    async def put_and_delete(index: int) -> None:
        key = key_at(Micros(NOW + index * SECOND))
        await storage.put(key, b"x")
        assert await storage.get(key) == b"x"
        await storage.delete(key)

    await asyncio.gather(*(put_and_delete(index) for index in range(100)))
    assert await storage.keys(image_folder(1)) == []
