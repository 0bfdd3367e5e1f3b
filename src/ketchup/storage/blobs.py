"""What disk and bucket have in common: reading, listing and sweeping through an object store.

An object store is the library's way to see either of them. Its errors are translated here.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import date
from typing import Final, TypeVar

from obstore import exceptions
from obstore.store import LocalStore, S3Store
from typing_extensions import override

from ketchup.clock import Micros
from ketchup.errors import Unavailable
from ketchup.storage.base import Storage
from ketchup.storage.keys import (
    BlobNotFound,
    day_of,
    folder_day,
    folder_of,
    made_before,
    require_ours,
)

_CHUNK_BYTES: Final = 256 * 1024
_NO_BUCKET: Final = "<Code>NoSuchBucket</Code>"
_APPENDIX: Final = "\n\nDebug source"
T = TypeVar("T")


class Blobs(Storage):
    """A storage on an object store.

    `patience` is how many seconds a step may take (an answer, the next part of one); None for a
    place that answers always.
    """

    def __init__(self, store: LocalStore | S3Store, *, patience: float | None = None) -> None:
        self._store = store
        self._patience = patience

    @override
    @abstractmethod
    async def put(self, key: str, data: bytes) -> None: ...

    @override
    async def get(self, key: str) -> bytes:
        require_ours(key)
        with trouble(), _existing():
            async with asyncio.timeout(self._patience):
                result = await self._store.get_async(key)
            if self._patience is None:
                return bytes(await result.bytes_async())
            parts = [bytes(part) async for part in self._in_time(aiter(result.stream()))]
        return b"".join(parts)

    @override
    async def size(self, key: str) -> int:
        require_ours(key)
        with trouble(), _existing():
            async with asyncio.timeout(self._patience):
                return (await self._store.head_async(key))["size"]

    @override
    async def stream(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        require_ours(key)
        with trouble(), _existing():
            async with asyncio.timeout(self._patience):
                result = await self._store.get_async(key, options={"range": (start, stop)})
            parts = aiter(result.stream(min_chunk_size=_CHUNK_BYTES))
            async with aclosing(self._in_time(parts)) as chunks:
                async for chunk in chunks:
                    yield bytes(chunk)

    @override
    async def link(self, key: str, seconds: int) -> str | None:
        require_ours(key)
        return None

    @override
    async def delete(self, key: str) -> None:
        require_ours(key)
        await self._delete([key])

    @override
    async def keys(self, folder: str) -> list[str]:
        with trouble():
            pages = self._in_time(aiter(self._store.list(f"{folder}/")))
            return sorted([meta["path"] async for page in pages for meta in page])

    @override
    async def sweep(self, folder: str, before: Micros, *, limit: int = 500) -> int:
        deleted = 0
        last_day = day_of(before)
        for day in await self._days(folder, last_day):
            path = f"{folder}/{folder_of(day)}"
            expired = await self._expired(path, before, limit - deleted)
            await self._delete(expired)
            deleted += len(expired)
            if deleted >= limit:
                break
            if day < last_day:
                await self._tidy(path)
        return deleted

    async def _tidy(self, path: str) -> None:
        """Remove what is left of a day's folder whose blobs are all gone."""

    async def _expired(self, path: str, before: Micros, limit: int) -> Sequence[str]:
        expired: list[str] = []
        with trouble():
            async with aclosing(self._in_time(aiter(self._store.list(f"{path}/")))) as pages:
                async for page in pages:
                    expired += [meta["path"] for meta in page if made_before(meta["path"], before)]
                    if len(expired) >= limit:
                        break
        return expired[:limit]

    async def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with trouble(), suppress(FileNotFoundError):
                async with asyncio.timeout(self._patience):
                    await self._store.delete_async(key)

    async def _days(self, folder: str, last: date) -> Sequence[date]:
        """Return the days up to `last` that have a folder, oldest first."""
        days = [
            folder_day(year, month, day)
            for year in await self._folders(folder)
            for month in await self._folders(f"{folder}/{year}")
            for day in await self._folders(f"{folder}/{year}/{month}")
        ]
        return [day for day in days if day is not None and day <= last]

    async def _folders(self, folder: str) -> Sequence[str]:
        with trouble():
            async with asyncio.timeout(self._patience):
                listing = await self._store.list_with_delimiter_async(f"{folder}/")
            return sorted(path.rpartition("/")[2] for path in listing["common_prefixes"])

    async def _in_time(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield them, and wait for each no longer than for an answer."""
        while True:
            async with asyncio.timeout(self._patience):
                item = await anext(items, None)
            if item is None:
                return
            yield item


class StoreError(Exception):
    """What the library said, without the pages that it appends: for the log."""


@contextmanager
def trouble() -> Iterator[None]:
    """Translate what the store and the system raise."""
    try:
        yield
    except (exceptions.BaseError, FileNotFoundError) as error:
        said = str(error).partition(_APPENDIX)[0].replace("\n", " ")
        raise Unavailable("the image store is unavailable") from StoreError(said)
    except OSError as error:
        raise Unavailable("the image store is unavailable") from error


def is_without_bucket(error: BaseException) -> bool:
    """Tell whether there is not even a bucket, which the library reports as a missing blob."""
    return _NO_BUCKET in str(error)


@contextmanager
def _existing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if is_without_bucket(error):
            raise
        raise BlobNotFound("not found") from error
