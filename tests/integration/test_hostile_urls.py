"""Every URL that leads inside, through the whole service: nothing inside is ever connected to.

Canaries listen on loopback, at the port that the one friendly receiver has and that every opened
network has. Besides, each connection that this process opens is seen.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from sqlalchemy import func, select

from ketchup.db import Connection
from ketchup.webhooks import delivery, delivery_attempt
from tests.support.clocks import AdjustableClock
from tests.support.hostile_urls import FRIENDLY, InternalNames, hostile_urls
from tests.support.loopback import Request, Server, answer, response, serving
from tests.support.service import RunningService, running_service

_DAY = 86_400.0
_STEP = 7
Choice = Callable[[list[str]], list[str]]

_REFUSED = {"message": "a reference image could not be fetched"}


@dataclass
class Connections:
    """Where this process connected to, while it is watched."""

    seen: set[tuple[str, int]] = field(default_factory=set)


_watched: list[Connections] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watched and isinstance(args[1], tuple):
        _watched[-1].seen.add(args[1][:2])


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[Connections]:
    _watched.append(Connections())
    yield _watched[-1]
    _watched.pop()


@dataclass
class Scene:
    service: RunningService
    clock: AdjustableClock
    names: InternalNames
    friend: Server
    canary: Server

    async def try_out(self, url: str, *, callback: bool = True) -> None:
        """Name it as a reference and for the callback of the same task, and see that fail."""
        body = {"model": "google/gempix2", "prompt": "x", "images": [url]}
        if callback:
            body["callback_url"] = url
        created = await self.service.client.post("/api/image/gen", json=body)
        if created.status_code == 400:
            return
        assert created.status_code == 200, (url, created.text)
        ended = await self.service.ended(created.json()["data"]["task_id"])
        assert (ended["status"], ended["status_reason"]) == ("failed", _REFUSED), url

    async def try_all(self, urls: list[str], *, callback: bool = True) -> None:
        room = asyncio.Semaphore(8)

        async def one(url: str) -> None:
            async with room:
                await self.try_out(url, callback=callback)

        await asyncio.gather(*(one(url) for url in urls))

    async def attempts(self, count: int) -> None:
        """Return when each callback was tried so often, and none of them was answered but by 500."""

        join = delivery.c.id == delivery_attempt.c.delivery_id
        tried = (
            select(func.count(delivery_attempt.c.number).label("tries"))
            .select_from(delivery.outerjoin(delivery_attempt, join))
            .group_by(delivery.c.id)
            .subquery()
        )
        async with asyncio.timeout(60):
            while (
                await self.service.runtime.database.read(
                    lambda conn: conn.execute(select(func.min(tried.c.tries))).scalar_one() or 0
                )
                < count
            ):
                await asyncio.sleep(0.02)

    async def statuses(self) -> set[int | None]:
        def read(conn: Connection) -> set[int | None]:
            return set(conn.execute(select(delivery_attempt.c.status_code)).scalars())

        return await self.service.runtime.database.read(read)


async def _friendly(request: Request, writer: asyncio.StreamWriter) -> None:
    """Redirect `/hop/<n>?to=…` in n steps, with the last one to where the caller wants."""
    target = urlsplit(request.line.split()[1])
    if request.line.startswith("POST") and not target.path.startswith("/hop"):
        writer.write(response(500))
        return
    if not target.path.startswith("/hop/"):
        writer.write(response(200, b"not an image"))
        return
    left, wish = int(target.path.rpartition("/")[2]), parse_qs(target.query)["to"][0]
    here = f"/hop/{left - 1}?to={quote(wish, safe='')}"
    location = wish if left == 1 else here
    writer.write(response(307, location=quote(location, safe="!#$%&'()*+,/:;=?@[]\\~")))


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    names, clock = InternalNames(), AdjustableClock()
    async with serving(_friendly, FRIENDLY) as friend:
        canary_hosts = ("127.0.0.1", "127.0.0.3", "::1")
        async with serving(answer(500, b"SECRET"), *canary_hosts, port=friend.port) as canary:
            settings = {
                "concurrency": 8,
                # The port alone keeps nobody out.
                "egress.ports": f"80,443,{friend.port}",
                "egress.allow": f"{FRIENDLY}/32:{friend.port}",
                "egress.per_second": 100_000,
                "egress.wait_seconds": 60,
                "webhooks.per_destination": 64,
                # Nothing is tried again before a test lets a day pass.
                "webhooks.schedule": "0,86400,86400,86400,86400",
            }
            with watched() as connections:
                async with running_service(
                    folder, settings=settings, clock=clock, resolver=names
                ) as service:
                    yield Scene(service, clock, names, friend, canary)
                    own = urlsplit(service.base_url).port
            assert canary.connections == 0
            assert connections.seen <= {("127.0.0.1", own), (FRIENDLY, friend.port)}


def _some(urls: list[str]) -> list[str]:
    # A step that has nothing in common with how many notations an address has: each comes up.
    return urls[::_STEP]


@pytest.mark.parametrize("choose", [_some, pytest.param(list, marks=pytest.mark.torture)])
async def test_no_hostile_url_connects_directly(tmp_path: Path, choose: Choice) -> None:
    async with scene(tmp_path / "data") as stage:
        urls = choose(hostile_urls(stage.friend.port))
        await stage.try_all(urls)
        await stage.attempts(1)
        assert await stage.statuses() <= {None}
        assert stage.friend.connections == 0


@pytest.mark.parametrize("choose", [_some, pytest.param(list, marks=pytest.mark.torture)])
async def test_no_hostile_url_connects_by_a_redirect(tmp_path: Path, choose: Choice) -> None:
    async with scene(tmp_path / "data") as stage:
        urls = choose(hostile_urls(stage.friend.port))
        base = f"http://{FRIENDLY}:{stage.friend.port}/hop"
        hops = [f"{base}/{n % 3 + 1}?to={quote(url, safe='')}" for n, url in enumerate(urls)]
        await stage.try_all([hop for hop in hops if len(hop) < 2000])
        await stage.attempts(1)
        assert await stage.statuses() == {307}
        assert stage.friend.connections >= 2 * len(urls)


async def test_no_name_that_is_rebound_connects(tmp_path: Path) -> None:
    async with scene(tmp_path / "data") as stage:
        port = stage.friend.port
        # Judged good and bad in turn, hop by hop: what is judged is what is dialled.
        urls = [
            f"http://rebind{n}.test:{port}/hop/3?to=http://rebind{n}.test:{port}/"
            for n in range(28)
        ]
        await stage.try_all(urls)
        await stage.attempts(1)
        assert stage.friend.connections > 0


@pytest.mark.parametrize("names", [28, pytest.param(300, marks=pytest.mark.torture)])
async def test_no_callback_that_is_tried_again_days_later_connects(
    tmp_path: Path, names: int
) -> None:
    async with scene(tmp_path / "data") as stage:
        urls = [f"http://later{n}.test:{stage.friend.port}/{n}" for n in range(names)]
        await stage.try_all(urls)
        await stage.attempts(1)
        assert await stage.statuses() == {500}
        good = stage.friend.connections
        stage.names.has_turned = True
        for round_ in range(2, 5):
            stage.clock.adjust(2 * _DAY)
            await stage.attempts(round_)
        assert await stage.statuses() == {500, None}
        assert stage.friend.connections == good


def test_the_corpus_is_large() -> None:
    assert len(hostile_urls(8080)) >= 300
