"""Inputs: references on their way through the queue.

An address waits in the task's row as it is. One of a picture that we made is read from the storage:
this service is closed to what callers name. An image that came with the request becomes a blob
first, so that rows stay small, and the row keeps the blob's name. The blob goes when its task has
ended, or at once when the request was not accepted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from ketchup import storage
from ketchup.clock import Clock
from ketchup.errors import NotFound, Unavailable
from ketchup.ids import Entropy, name_bits
from ketchup.providers.base import ReferenceImage
from ketchup.references import (
    DataReference,
    Problem,
    Reference,
    ReferenceFailed,
    References,
    UrlReference,
)
from ketchup.storage import Storage

# No address begins like this: those are http or https.
_BLOB: Final = "blob:"


def blobs_among(kept: Sequence[str]) -> list[str]:
    """Return the names of the blobs among what a task's row keeps."""
    return [one.removeprefix(_BLOB) for one in kept if one.startswith(_BLOB)]


class Inputs:
    """Keeps references with a task, and loads them for an engine."""

    def __init__(
        self,
        references: References,
        store: Storage,
        clock: Clock,
        entropy: Entropy = os.urandom,
        *,
        own_key: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        """`own_key` returns the key of the picture of ours that an address leads to."""
        self._references = references
        self._storage = store
        self._clock = clock
        self._entropy = entropy
        self._own_key = own_key

    async def keep(self, references: Sequence[Reference]) -> tuple[str, ...]:
        """Return what the task's row keeps of each.

        Raises Unavailable when blobs do not fit; then none is kept.
        """
        kept: list[str] = []
        try:
            for reference in references:
                kept.append(await self._keep(reference))  # noqa: PERF401 known when the next one fails
        except Unavailable:
            await self.discard(kept)
            raise
        return tuple(kept)

    def are_far(self, kept: Sequence[str]) -> bool:
        """Whether a stranger's server is asked for one of them."""
        return any(self._stored_as(one) is None for one in kept)

    async def load_all(self, kept: Sequence[str], workspace: str = "") -> list[ReferenceImage]:
        """Load them side by side: a task waits for its slowest reference, not for their sum.

        The workspace is whose turn to fetch it takes.

        Raises what the first to fail raises, and gives up the others.
        """
        if not kept:
            return []
        loading = [asyncio.create_task(self.load(one, workspace)) for one in kept]
        try:
            return await asyncio.gather(*loading)
        finally:
            for load in loading:
                load.cancel()

    async def load(self, kept: str, workspace: str = "") -> ReferenceImage:
        """Return the decoded image, or raise ReferenceFailed with a sentence for the customer."""
        key = self._stored_as(kept)
        if key is None:
            return await self._references.load(UrlReference(kept), workspace)
        try:
            data = await self._storage.get(key)
        except NotFound as error:
            raise ReferenceFailed(Problem.NOT_FETCHED, "its blob is gone") from error
        return await self._references.load(DataReference(data))

    async def discard(self, kept: Sequence[str]) -> None:
        """Remove the blobs among them."""
        for key in blobs_among(kept):
            await self._storage.delete(key)

    def _stored_as(self, kept: str) -> str | None:
        return kept.removeprefix(_BLOB) if kept.startswith(_BLOB) else self._own_key(kept)

    async def _keep(self, reference: Reference) -> str:
        match reference:
            case UrlReference(url):
                return url
            case DataReference(data):
                key = storage.reference_key(self._clock.now(), name_bits(self._entropy))
                await self._storage.put(key, data)
                return _BLOB + key
