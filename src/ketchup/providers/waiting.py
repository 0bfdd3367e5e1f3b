"""How engines wait: for their work, or for the word that nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless(cancelled: asyncio.Event, work: Coroutine[Any, Any, T], error: Exception) -> T:
    """Wait for the work, or give it up when `cancelled` is set first, and raise the error."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(cancelled.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise error
    finally:
        task.cancel()
        stop.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)
