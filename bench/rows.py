"""Rows of tasks as Ketchup writes them, for tables that are not filled by Ketchup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ketchup import ids
from ketchup.clock import Micros
from ketchup.ids import WorkspaceId

PRICE: Final = 500_000
"""What `google/gempix2` costs, in micro-credits."""
MODEL: Final = "google/gempix2"
PROMPT: Final = "Put them in a basket, soft light, 35mm"
_REQUEST_IDS: Final = ids.RequestIds()


def pending(workspace_id: WorkspaceId, now: Micros) -> dict[str, object]:
    """Return the row of a task that was just accepted, without what is null."""
    return {
        "id": ids.task_id(now),
        "workspace_id": workspace_id,
        "key_id": "key_of_the_bench",
        "request_id": _REQUEST_IDS.mint(),
        "model": MODEL,
        "prompt": PROMPT,
        "images": "[]",
        "options": "{}",
        "status": "pending",
        "queue_state": "ready",
        "price": PRICE,
        "vtime": 0,
        "priority": 0,
        "attempt": 0,
        "tries": 0,
        "losses": 0,
        "consumed": 0,
        "created_at": now,
    }


def ended(workspace_id: WorkspaceId, count: int, now: Micros) -> Iterator[dict[str, object]]:
    """Yield that many ended tasks of the past, a second apart: every other one a success."""
    for n in range(count):
        at = Micros(now - (count - n) * 1_000_000)
        success = n % 2 == 0
        image = f"fileSystem/response_images/1000/2026/01/01/{at}_{n:032x}.png"
        yield pending(workspace_id, at) | {
            "key_id": "key_of_the_past",
            "images": '["https://cdn.example.com/body-lotion.png"]',
            "callback_url": "https://example.com/webhooks/images",
            "options": '{"aspect_ratio":"1:1"}',
            "status": "success" if success else "failed",
            "queue_state": "done",
            "attempt": 1,
            "tries": 1,
            "result": f'["{image}"]' if success else None,
            "consumed": PRICE if success else 0,
            "reason": None if success else "The image could not be rendered.",
            "submitted_at": at,
            "started_at": at,
            "finished_at": at + 900_000,
        }
