"""A foreign task takes as long to be denied as one that never was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.customers import customer
from tests.support.service import RunningService, running_service
from tests.support.timing import TOLD_APART, t_of

PAIRS = int(os.environ.get("KETCHUP_TIMING_PAIRS", "20000"))
PATHS = ["/api/task/query?task_id={}", "/v1/tasks/{}", "/v1/tasks/{}/events"]
TASKS = 20


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", settings={"log.level": "error"}) as running:
        yield running


def asked(own: RunningService, path: str, ids: list[str]) -> list[bytes]:
    """Return a request for each, made beforehand."""
    return [
        f"GET {path.format(one)} HTTP/1.1\r\nHost: ketchup\r\n"
        f"Authorization: Bearer {own.key}\r\n\r\n".encode()
        for one in ids
    ]


def twins(ids: list[str]) -> list[str]:
    return [one[:-1] + ("0" if one[-1] != "0" else "1") for one in ids]


async def made(own: RunningService) -> list[str]:
    ids = [await own.submit() for _ in range(TASKS)]
    for one in ids:
        await own.ended(one)
    return ids


async def test_what_is_told_apart_by_what_it_takes_is_found(service: RunningService) -> None:
    """The harness, at a difference that is meant to be: one's own task is shown."""
    async with customer(service) as own:
        ids = await made(own)
        shown = asked(own, PATHS[0], ids)
        none = asked(own, PATHS[0], twins(ids))
        assert abs(await t_of(service.base_url, shown, none, 1000)) >= TOLD_APART


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", PATHS)
async def test_foreign_and_absent_take_the_same_time(service: RunningService, path: str) -> None:
    async with customer(service) as own, customer(service) as other:
        ids = await made(own)
        foreign, absent = asked(other, path, ids), asked(other, path, twins(ids))
        t = await t_of(service.base_url, foreign, absent, PAIRS)
        print(f"{path}: t = {t:.2f} over {PAIRS} pairs")  # noqa: T201 the figure that is published
        assert abs(t) < TOLD_APART
