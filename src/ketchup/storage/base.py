"""What a storage is: the promises that every place of blobs keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from ketchup.clock import Micros


class Storage(Protocol):
    """Blobs by key. Safe for concurrent use.

    Every method raises BlobNotFound for a key that was not made by `keys`, and Unavailable when the
    place is full, read-only, broken or away: never later than some seconds after it fell silent.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob. On return it is durable, whole and under its name."""

    async def get(self, key: str) -> bytes:
        """Return a blob whole."""

    async def size(self, key: str) -> int:
        """Return a blob's size in bytes."""

    def stream(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop`; the range must not be empty.

        A blob that is deleted meanwhile is still read to its end.
        """

    async def link(self, key: str, seconds: int) -> str | None:
        """Return an address from which anybody may read the blob for so long, existing or not.

        None when blobs are to be had from this service alone.
        """

    async def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is no error."""

    async def keys(self, folder: str) -> list[str]:
        """Return every key under a folder such as `image_folder` gives, in order."""

    async def sweep(self, folder: str, before: Micros, *, limit: int = 500) -> int:
        """Delete blobs made before a time, oldest days first, and return how many.

        `folder` is one workspace's `image_folder`, or REFERENCES. At most `limit` are deleted:
        call again until the answer is smaller, and let others have the place in between.
        """
