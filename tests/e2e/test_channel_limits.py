"""A channel's limits over all that want it: the fake engine counts, and so does the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import httpx2
import pytest

from ketchup.testing import FakeUpstream
from tests.support.deployment import Deployment, deployed
from tests.support.invariants import Promises
from tests.support.service import client_of

pytestmark = pytest.mark.timeout(180)
DEADLINE = 60.0
CHANNEL = """
[models."google/gempix2"]
max_n = 2
[channels.narrow]
provider = "gemini"
base_url = "{url}"
key = "a-key"
models = ["google/gempix2"]
{limits}
"""
_ENVIRON = {"KETCHUP_LOG_LEVEL": "error", "KETCHUP_CONCURRENCY": "6"}


@contextmanager
def limited(
    folder: Path, database_url: str | None, upstream: FakeUpstream, limits: str
) -> Iterator[Deployment]:
    """Start two workers on PostgreSQL, or one process on SQLite, with a channel of these limits."""
    kind = "pair" if database_url else "sqlite"
    with deployed(kind, folder, database_url, **_ENVIRON) as deployment:
        deployment.configure(CHANNEL.format(url=upstream.url, limits=limits))
        yield deployment


async def rendered(deployment: Deployment, images: Sequence[int]) -> set[str]:
    """Have tasks of so many images rendered; return their ids."""
    await asyncio.to_thread(deployment.start)
    key = await asyncio.to_thread(deployment.new_key)
    async with asyncio.timeout(DEADLINE), client_of(deployment.addresses[0], key) as client:
        ids = [await _submitted(client, count) for count in images]
        for task_id in ids:
            while await _status(client, task_id) != "success":
                await asyncio.sleep(0.05)
    await asyncio.to_thread(deployment.stop)
    return set(ids)


async def _submitted(client: httpx2.AsyncClient, images: int) -> str:
    body = {"model": "google/gempix2", "prompt": "a red boat", "n": images}
    answer = await client.post("/api/image/gen", json=body)
    task_id: str = answer.json()["data"]["task_id"]
    return task_id


async def _status(client: httpx2.AsyncClient, task_id: str) -> str:
    answer = await client.get("/api/task/query", params={"task_id": task_id})
    status: str = answer.json()["data"]["status"]
    assert status != "failed", answer.text
    return status


async def test_no_more_images_are_in_flight_than_allowed_and_as_many_are(
    tmp_path: Path, database_url: str | None
) -> None:
    async with FakeUpstream(seconds=0.2) as upstream:
        with limited(tmp_path, database_url, upstream, "images_in_flight = 3") as deployment:
            ids = await rendered(deployment, [1, 2] * 8)
            assert deployment.violations(Promises(ids), at_the_end=True) == []

    assert upstream.most_at_once == 3


async def test_images_are_not_sent_faster_than_allowed_and_as_fast(
    tmp_path: Path, database_url: str | None
) -> None:
    async with FakeUpstream() as upstream:
        limits = "images_per_minute = 600"
        with limited(tmp_path, database_url, upstream, limits) as deployment:
            await rendered(deployment, [1] * 20)
            sent = [at for (at,) in deployment.rows("SELECT sent_at FROM attempt ORDER BY 1")]

    pauses = [later - earlier for earlier, later in pairwise(sent)]
    assert min(pauses) >= 100_000
    # Sweeps come four times as rarely: a channel's pace must not be theirs.
    assert median(pauses) < 300_000
