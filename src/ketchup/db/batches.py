"""Batches: concurrent calls of one kind become one list, one transaction and one commit.

A slow disk is then waited for once per batch and not once per call. The promises:

- a call is answered only after the commit of the transaction that holds it;
- a refusal is a value in the results; if a flush raises, nothing of it was kept and its items are
  tried one by one, so that one bad item fails alone;
- when the store itself fails (disk full, read-only, I/O error) every item gets `Unavailable` and
  the connection is thrown away: after a failed fsync the only safe state is the one on the disk;
- what waits is bounded; beyond that a call is refused with `Unavailable` at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection

from ketchup.db.lanes import BUSY, Lane, Raised
from ketchup.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
Flush = Callable[[Connection, Sequence[Item]], Sequence[Result]]

BATCH_LIMIT: Final = 512


class Batcher(Generic[Item, Result]):
    """Calls of one kind, many at a time. Call it; await the future.

    A caller that stops waiting does not undo its call: the item is still flushed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lane: Lane,
        flush: Flush[Item, Result],
        capacity: int,
    ) -> None:
        self._loop = loop
        self._lane = lane
        self._flush = flush
        self._capacity = capacity
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._scheduled = False

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        """Queue the item; the future carries its result after the commit.

        Raises Unavailable at once when too many wait.
        """
        self._lane.require_open()
        if len(self._waiting) >= self._capacity:
            raise Unavailable(BUSY)
        future: asyncio.Future[Result] = self._loop.create_future()
        # The item is in the queue before the flag is read, and the lane clears the flag before it
        # drains: whichever thread comes second, the item is seen.
        self._waiting.append((item, future))
        if not self._scheduled:
            self._scheduled = True
            # At the end of this turn of the event loop: what is called in one turn shares a batch,
            # and the thread is woken once for all of it.
            self._loop.call_soon(self._lane.put, self._drain)
        return future

    def _drain(self) -> None:
        self._scheduled = False
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < BATCH_LIMIT:
            batch.append(self._waiting.popleft())
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._lane.put(self._drain)
        if batch:
            outcomes = self._outcomes([item for item, _ in batch])
            self._loop.call_soon_threadsafe(resolve, batch, outcomes)

    def _outcomes(self, items: Sequence[Item]) -> Sequence[Result | Raised]:
        together = self._lane.attempt(lambda conn: self._flushed(conn, items))
        if not isinstance(together, Raised):
            return together
        if isinstance(together.error, Unavailable) or len(items) == 1:
            return [together] * len(items)
        return [self._alone(item) for item in items]

    def _alone(self, item: Item) -> Result | Raised:
        results = self._lane.attempt(lambda conn: self._flushed(conn, [item]))
        return results if isinstance(results, Raised) else results[0]

    def _flushed(self, conn: Connection, items: Sequence[Item]) -> list[Result]:
        results = list(self._flush(conn, items))
        # Judged inside the transaction: an answer too few would leave its caller waiting for ever.
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} items")
        return results


def resolve(
    batch: Sequence[tuple[Any, asyncio.Future[Result]]], outcomes: Sequence[Result | Raised]
) -> None:
    """Give each caller its outcome. On the event loop."""
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, Raised):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
