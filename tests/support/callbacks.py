"""What the receivers of callbacks may rely on: every task is told, under one id, in one wording."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from tests.support.receiver import Receiver


async def all_told(receiver: Receiver, tasks: Collection[str], seconds: float) -> None:
    """Return when each of these tasks has been told at least once."""
    async with asyncio.timeout(seconds):
        while set(tasks) - _told(receiver).keys():
            await receiver.received(len(receiver.requests) + 1)


def disagreements(receiver: Receiver, ended: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each task that was told otherwise than polls say, or in two ways."""
    told = _told(receiver)
    found = []
    for task_id in ended.keys() & told.keys():
        if len(told[task_id]) != 1:
            found.append(f"a callback came in several ways: {sorted(told[task_id])}")
        status = f'"status":"{ended[task_id]["status"]}"'.encode()
        found += [f"{task_id}: {body!r}" for _, body in told[task_id] if status not in body]
    return found


def _told(receiver: Receiver) -> dict[str, set[tuple[str, bytes]]]:
    """Return the id and the body of every callback, by task."""
    found: dict[str, set[tuple[str, bytes]]] = {}
    for request in receiver.requests:
        task_id = request.body.partition(b'"task_id":"')[2].partition(b'"')[0].decode()
        found.setdefault(task_id, set()).add((request.headers["webhook-id"], request.body))
    return found
