"""Storage: blobs on disk. Stored images, which anybody with the address may read, and references.

Keys are made here and nowhere else; `Storage` touches no other key, so no text of a caller can name
a file outside:

  fileSystem/response_images/<workspace number>/<yyyy>/<mm>/<dd>/<nanoseconds>_<32 hex>.<suffix>
  references/<yyyy>/<mm>/<dd>/<nanoseconds>_<32 hex>.blob

Folders have no dot and files have one, so a file is never in the place of a folder. The 128 random
bits are what keeps strangers out. A blob is written once and never changed.

Invariants: what `put` returned from survives a power cut; a reader sees a whole blob or none.

Which blob belongs to which task, and how long a workspace keeps its images, is not known here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from obstore import exceptions
from obstore.store import LocalStore

from ketchup.clock import SECOND, Micros
from ketchup.errors import NotFound, Unavailable
from ketchup.providers.base import ImageFormat

IMAGES: Final = "fileSystem/response_images"
REFERENCES: Final = "references"

_CHUNK_BYTES: Final = 256 * 1024
_WRITE_THREADS: Final = 2
_WRITE_TOGETHER: Final = 64
_MODE: Final = 0o600
_REMEMBER_FOLDERS: Final = 10_000
_MAX_KEY_LENGTH: Final = 255
_KEY = re.compile(r"(?:[A-Za-z0-9_]{1,64}/)+[a-z0-9_]{1,64}\.[a-z]{3,4}", re.ASCII)
_IMAGE_KEY = re.compile(
    rf"{IMAGES}/(\d{{1,18}})/\d{{4}}/\d\d/\d\d/(\d{{1,21}})_([0-9a-f]{{32}})\.(png|jpg|webp)",
    re.ASCII,
)
_NANOSECONDS: Final = 1_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_NAME = re.compile(r"(\d{1,21})_", re.ASCII)
_FORMATS: Final = {image_format.suffix: image_format for image_format in ImageFormat}
# 9999-12-31, the last date that a folder can have.
_LAST_MICROS: Final = 253_402_300_800 * SECOND - 1


class BlobNotFound(NotFound):
    """There is no blob under that key, or no blob can have such a key."""


@dataclass(frozen=True, slots=True)
class ImageKey:
    """What the address of a stored image says about it."""

    number: int
    """The workspace's."""
    created_at: Micros
    bits: str
    """The 128 random bits, in hex: they name the content, because no blob is ever changed."""
    format: ImageFormat


def image_key(
    number: int, now: Micros, image_format: ImageFormat, name_bits: str, *, sequence: int = 0
) -> str:
    """Return the key of a new image; `sequence` (0 to 999) keeps a task's images in order."""
    nanoseconds = now * _NANOSECONDS + sequence
    folder = f"{image_folder(number)}/{_folder_of(_day(now))}"
    return f"{folder}/{nanoseconds}_{name_bits}.{image_format.suffix}"


def image_folder(number: int) -> str:
    """Return the folder of a workspace's images."""
    return f"{IMAGES}/{number}"


def reference_key(now: Micros, name_bits: str) -> str:
    """Return the key of an uploaded reference; no address leads to it."""
    return f"{REFERENCES}/{_folder_of(_day(now))}/{now * _NANOSECONDS}_{name_bits}.blob"


def parse_image_key(path: str) -> ImageKey | None:
    """Read an image's key, without a slash in front; None unless `image_key` would write it so."""
    match = _IMAGE_KEY.fullmatch(path)
    if match is None:
        return None
    created_at, sequence = divmod(int(match[2]), _NANOSECONDS)
    if created_at > _LAST_MICROS:
        return None
    key = ImageKey(int(match[1]), Micros(created_at), match[3], _FORMATS[match[4]])
    canonical = image_key(key.number, key.created_at, key.format, key.bits, sequence=sequence)
    return key if canonical == path else None


class Storage:
    """Blobs under one folder of the local disk. Safe for concurrent use.

    Every method raises BlobNotFound for a key that was not made here, and Unavailable when the
    disk is full, read-only or broken.
    """

    def __init__(self, root: Path) -> None:
        # What lies here is for the service alone, whatever the umask says.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _fsync(root.parent)
        self._root = root
        self._store = LocalStore(root)
        self._writer = _Writer(root)

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob. On return it is on disk, under its name, even if the power fails now."""
        _check(key)
        with _disk():
            await self._writer.write(self._root / key, data)

    async def get(self, key: str) -> bytes:
        """Return a blob whole."""
        _check(key)
        with _disk(), _existing():
            result = await self._store.get_async(key)
            return bytes(await result.bytes_async())

    async def size(self, key: str) -> int:
        """Return a blob's size in bytes."""
        _check(key)
        with _disk(), _existing():
            return (await self._store.head_async(key))["size"]

    async def stream(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop`; the range must not be empty.

        A blob that is deleted meanwhile is still read to its end.
        """
        _check(key)
        with _disk(), _existing():
            result = await self._store.get_async(key, options={"range": (start, stop)})
            async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    async def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        _check(key)
        await self._delete([key])

    async def keys(self, folder: str) -> list[str]:
        """Return every key under a folder such as `image_folder` gives, in order."""
        with _disk():
            pages = self._store.list(f"{folder}/")
            return sorted([meta["path"] async for page in pages for meta in page])

    async def sweep(self, folder: str, before: Micros, *, limit: int = 500) -> int:
        """Delete blobs made before a time, oldest days first, and return how many.

        `folder` is one workspace's `image_folder`, or REFERENCES. At most `limit` are deleted:
        call again until the answer is smaller, and let others have the disk in between.
        """
        deleted = 0
        last_day = _day(before)
        for day in await self._days(folder, last_day):
            path = f"{folder}/{_folder_of(day)}"
            expired = await self._expired(path, before, limit - deleted)
            await self._delete(expired)
            deleted += len(expired)
            if deleted >= limit:
                break
            if day < last_day:
                await asyncio.to_thread(self._prune, path)
        return deleted

    async def _expired(self, path: str, before: Micros, limit: int) -> Sequence[str]:
        expired: list[str] = []
        with _disk():
            async for page in self._store.list(f"{path}/"):
                expired += [meta["path"] for meta in page if _made_before(meta["path"], before)]
                if len(expired) >= limit:
                    break
        return expired[:limit]

    async def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with _disk(), suppress(FileNotFoundError):
                await self._store.delete_async(key)

    async def _days(self, folder: str, last: date) -> Sequence[date]:
        """Return the days up to `last` that have a folder, oldest first."""
        days = [
            _folder_day(year, month, day)
            for year in await self._folders(folder)
            for month in await self._folders(f"{folder}/{year}")
            for day in await self._folders(f"{folder}/{year}/{month}")
        ]
        return [day for day in days if day is not None and day <= last]

    async def _folders(self, folder: str) -> Sequence[str]:
        with _disk():
            listing = await self._store.list_with_delimiter_async(f"{folder}/")
            return sorted(path.rpartition("/")[2] for path in listing["common_prefixes"])

    def _prune(self, path: str) -> None:
        """Remove a day's folder with what crashes left there, and the folders it leaves empty.

        A half-written file has a name that the store never lists, so nothing else would remove it.
        """
        folder = self._root / path
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty: the next month, or the root
            for parent in folder.parents:
                if parent == self._root:
                    break
                parent.rmdir()


class _Writer:
    """Puts new files onto the disk, with the entry of every folder on the way to each.

    The library's own `put` leaves all of it in the cache, and many of its threads in one folder
    wait for each other. Files that come together share a thread here, the sync of their folder, and
    the file system's journal: all are there before the first is forced.
    A folder's own place among others is forced once: folders are removed only when all that was in
    them is past its time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._waiting: deque[tuple[Path, bytes, asyncio.Future[None]]] = deque()
        self._workers: set[asyncio.Task[Any] | None] = set()
        self._placed: set[Path] = set()

    async def write(self, path: Path, data: bytes) -> None:
        """Return when the file is on the disk under its name. Raises OSError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((path, data, done))
        if len(self._workers) < _WRITE_THREADS:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        await done

    async def _work(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), _WRITE_TOGETHER)
            batch = [self._waiting.popleft() for _ in range(count)]
            files = [(path, data) for path, data, _ in batch]
            error = await asyncio.to_thread(self._write_all, files)
            for *_, done in batch:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        # Here, and not only when the event loop has taken note of our end: who is woken by the last
        # file may bring the next before that, and would wait for a worker that comes to nothing.
        self._workers.discard(asyncio.current_task())

    def _write_all(self, files: Sequence[tuple[Path, bytes]]) -> Exception | None:
        try:
            _write(files)
            for folder in {path.parent for path, _ in files}:
                self._place(folder)
        except Exception as error:  # noqa: BLE001 it is raised again where each file is awaited
            return error
        return None

    def _place(self, folder: Path) -> None:
        _fsync(folder)
        if folder in self._placed:
            return
        for above in folder.parents:
            _fsync(above)
            if above == self._root:
                break
        if len(self._placed) >= _REMEMBER_FOLDERS:
            self._placed.clear()
        self._placed.add(folder)


@contextmanager
def _disk() -> Iterator[None]:
    """Translate what the store and the system raise."""
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise Unavailable("the image store is unavailable") from error


@contextmanager
def _existing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound("not found") from error


def _check(key: str) -> None:
    if len(key) > _MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise BlobNotFound("not found")


def _made_before(key: str, before: Micros) -> bool:
    match = _NAME.match(key.rpartition("/")[2])
    return match is not None and int(match[1]) < before * _NANOSECONDS


def _folder_day(year: str, month: str, day: str) -> date | None:
    """Read the names of three folders; None when they are not ours."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _day(at: Micros) -> date:
    return date.fromordinal(_EPOCH + at // (86_400 * SECOND))


def _folder_of(day: date) -> str:
    return day.isoformat().replace("-", "/")


def _write(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files whole under names that the store never lists, then give each its own.

    When one fails, nobody may count on any of them.
    """
    unfinished: list[tuple[Path, int]] = []
    try:
        for path, data in files:
            beside = path.with_name(f"{path.name}#1")
            descriptor = _create(beside)
            unfinished.append((beside, descriptor))
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
        for _, descriptor in unfinished:
            os.fsync(descriptor)
        for (beside, _), (path, _) in zip(unfinished, files, strict=True):
            beside.rename(path)
    except OSError:
        for beside, _ in unfinished:
            with suppress(OSError):
                beside.unlink()
        raise
    finally:
        for _, descriptor in unfinished:
            os.close(descriptor)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, _MODE)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, _MODE)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
