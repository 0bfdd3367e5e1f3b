"""Blobs on disk: files below one folder, named as their keys are.

Files are 0600. Invariants: what `put` returned from survives a power cut; a reader sees a whole
blob or none. Several processes may use the same folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from obstore.store import LocalStore
from typing_extensions import override

from ketchup.storage.blobs import Blobs, trouble
from ketchup.storage.keys import require_ours

_WRITE_THREADS: Final = 2
_WRITE_TOGETHER: Final = 64
_MODE: Final = 0o600
_REMEMBER_FOLDERS: Final = 10_000


class DiskStorage(Blobs):
    """Blobs under one folder of the local disk."""

    def __init__(self, root: Path) -> None:
        # What lies here is for the service alone, whatever the umask says.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _fsync(root.parent)
        super().__init__(LocalStore(root))
        self._root = root
        self._writer = _Writer(root)

    @override
    async def put(self, key: str, data: bytes) -> None:
        """Store a blob. On return it is on disk, under its name, even if the power fails now."""
        require_ours(key)
        with trouble():
            await self._writer.write(self._root / key, data)

    @override
    async def _tidy(self, path: str) -> None:
        await asyncio.to_thread(self._prune, path)

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
