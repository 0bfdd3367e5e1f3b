"""Slow clients: each is dropped in time, and nobody else notices them."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.exchange import Connection
from tests.support.process import ServerProcess
from tests.support.slow_clients import Outcome, SlowClients

pytestmark = pytest.mark.timeout(300)
HEAD_SECONDS = 5.0
BODY_SECONDS = 10.0
_PAUSE_SECONDS = 0.005
_CONNECTIONS = 4


@dataclass(frozen=True)
class Figures:
    """The slow clients' end, and the 99th percentile of a healthy one's times, in seconds."""

    slow: Outcome
    without: float
    beside: float

    @property
    def ratio(self) -> float:
        return self.beside / self.without


async def test_slow_clients_are_dropped_in_time(tmp_path: Path) -> None:
    figures = await attacked(tmp_path, count=150, seconds=2.0)

    all_dropped_in_time(figures.slow, 150)


@pytest.mark.torture
async def test_two_thousand_slow_clients_for_a_minute_are_not_noticed(tmp_path: Path) -> None:
    figures = await attacked(tmp_path, count=2000, seconds=60.0)

    all_dropped_in_time(figures.slow, 2000)
    assert min(figures.slow.closed.values()) > 2000  # each place was taken again and again
    assert figures.ratio < 2


def all_dropped_in_time(slow: Outcome, count: int) -> None:
    assert slow.held > 0.9 * count
    assert slow.refused == 0
    assert slow.longest["silent"] <= HEAD_SECONDS
    assert slow.longest["head"] <= HEAD_SECONDS
    assert slow.longest["body"] <= BODY_SECONDS


async def attacked(folder: Path, *, count: int, seconds: float) -> Figures:
    """Measure a healthy client before, beside and after an attack on a server of its own."""
    with ServerProcess.start(
        folder / "data", "--concurrency", "0", environ={"KETCHUP_LOG_LEVEL": "error"}
    ) as server:
        key = _key_of(server)
        port = urlsplit(server.base_url).port
        assert port is not None
        await healthy(server.base_url, key, min(seconds, 2.0))  # what is loaded late is loaded
        quiet = await healthy(server.base_url, key, seconds / 3)
        with SlowClients(port, key, count=count, seconds=seconds) as slow:
            await slow.are_here()
            beside = await healthy(server.base_url, key, seconds)
            outcome = await slow.outcome()
        quiet += await healthy(server.base_url, key, seconds / 3)
    figures = Figures(outcome, _p99(quiet), _p99(beside))
    sys.stdout.write(
        f"{outcome}\nhealthy p99 {1000 * figures.without:.2f} ms without, "
        f"{1000 * figures.beside:.2f} ms beside {count} slow clients: {figures.ratio:.2f} times\n"
    )
    return figures


async def healthy(base_url: str, key: str, seconds: float) -> list[float]:
    """Ask again and again on a few connections, and return how long each answer took."""
    request = (
        f"GET /api/user HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    took: list[float] = []
    end = perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.to(base_url)
        while perf_counter() < end:
            began = perf_counter()
            await connection.send(request)
            assert (await connection.response()).status == 200
            took.append(perf_counter() - began)
            await asyncio.sleep(_PAUSE_SECONDS)  # a client that thinks, not a flood of its own
        await connection.close()

    await asyncio.gather(*[client() for _ in range(_CONNECTIONS)])
    return took


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * len(times))]


def _key_of(server: ServerProcess) -> str:
    with httpx2.Client(
        base_url=f"{server.base_url}/admin/v1",
        headers={"Authorization": f"Bearer {server.admin_token}"},
        trust_env=False,
    ) as operator:
        workspace = operator.get("/workspaces").json()["items"][0]["id"]
        key: str = operator.post(f"/workspaces/{workspace}/keys", json={"name": "t"}).json()["key"]
    return key
