"""Servers that let us wait must not delay those of others: receivers of callbacks, references."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from ketchup.clock import SECOND, SystemClock
from ketchup.db import Connection, Location
from ketchup.egress import Egress, EgressError
from ketchup.ids import WorkspaceId
from ketchup.openings import parse
from ketchup.webhooks import NewDelivery, SenderSettings, delivery_attempt
from tests.support.database import open_database
from tests.support.deliveries import new, owe, sending
from tests.support.loopback import Request, Server, answer, serving
from tests.support.service import running_service

PITS = ("127.0.0.2", "127.0.0.3")


@asynccontextmanager
async def tar_pit() -> AsyncIterator[Server]:
    """Take every request, and answer none."""

    async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(never, *PITS) as server:
        yield server


def pits(server: Server, count: int, *, workspaces: int = 1) -> list[NewDelivery]:
    """Return callbacks to as many origins, of one workspace or several."""
    return [
        replace(
            new(f"http://pit{n}.test:{server.port}/", n),
            workspace_id=WorkspaceId(f"ws_{n % workspaces}"),
        )
        for n in range(count)
    ]


async def first_attempt_after(
    location: Location, settings: SenderSettings, count: int, workspaces: int
) -> float:
    """Return after how many seconds a healthy receiver is asked, behind so many that are not."""
    clock = SystemClock()
    egress = Egress(clock, allow=[parse("127.0.0.0/8:1-65535")], resolver=_resolve)
    async with (
        open_database(location) as database,
        tar_pit() as bad,
        serving(answer(200), "127.0.0.1") as good,
        sending(database, clock, poster=egress, settings=settings) as (sender, watch),
    ):
        sender._errors = (EgressError,)
        await owe(database, clock.now(), *pits(bad, count, workspaces=workspaces))
        sender.wake()
        async with asyncio.timeout(30):
            while bad.open_now < min(count, settings.concurrency) // 2:
                await asyncio.sleep(0.01)
        healthy = replace(
            new(f"http://127.0.0.1:{good.port}/", 9999), workspace_id=WorkspaceId("ws_healthy")
        )
        owed_at = clock.now()
        await owe(database, owed_at, healthy)
        sender.wake()
        await watch.until(lambda: watch.delivered == 1)
        began = await database.read(_began)
        sender.stop()
    await egress.close()
    return (began - owed_at) / SECOND


async def _resolve(host: str, _port: int) -> Sequence[str]:
    return [PITS[0] if host.startswith("pit") else host]


def _began(conn: Connection) -> int:
    query = select(delivery_attempt.c.started_at).where(delivery_attempt.c.status_code == 200)
    return int(conn.execute(query).scalar_one())


QUICK = SenderSettings(concurrency=8, slow=16, slow_after=0.3, poll=3600.0, grace=0.1)


@pytest.mark.parametrize("workspaces", [1, 15])
async def test_tar_pits_do_not_delay_a_healthy_receiver(
    location: Location, workspaces: int
) -> None:
    assert await first_attempt_after(location, QUICK, 15, workspaces) < 2.0


async def test_one_workspace_s_tar_pits_leave_half_of_all_to_others(location: Location) -> None:
    assert await first_attempt_after(location, QUICK, 200, 1) < 2.0


@pytest.mark.torture
async def test_500_tar_pits_do_not_delay_a_healthy_receiver_beyond_2_s(location: Location) -> None:
    assert await first_attempt_after(location, SenderSettings(grace=0.1), 500, 500) < 2.0


async def test_slow_references_take_no_place_to_render(tmp_path: Path) -> None:
    settings = {"concurrency": 1, "worker.drain_seconds": 0}
    async with (
        tar_pit() as bad,
        running_service(tmp_path / "data", settings=settings) as service,
    ):
        for n in range(6):
            await service.submit(images=[f"http://{PITS[n % 2]}:{bad.port}/{n}.png"])
        async with asyncio.timeout(10):
            while bad.open_now < 6:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            ended = await service.ended(await service.submit())
        assert ended["status"] == "success"
        assert bad.open_now == 6
