"""Clients that hold connections and give nothing for it, as a process of its own.

A third of them say nothing, a third send a head and a third a body, one byte in two seconds. Each
connection that the server ends is opened again at once.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Self

from typing_extensions import override

KINDS = ("silent", "head", "body")
_DRIP_SECONDS = 2.0
_AT_ONCE = 100
_COMING_SECONDS = 3.0
_LAST_SECONDS = 15.0


@dataclass
class Outcome:
    """What became of them. Times are in seconds, from the connection to its end, by kind."""

    closed: dict[str, int] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)
    held: float = 0.0
    """How many connections there were at once, on average, once all had been opened."""
    refused: int = 0


class _Client(asyncio.Protocol):
    def __init__(self, crowd: _Crowd, kind: str) -> None:
        self.kind = kind
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._since = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._since = asyncio.get_running_loop().time()
        self._crowd.held.add(self)
        transport.write(self._crowd.beginnings[self.kind])

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.held.discard(self)
        self._crowd.ended(self.kind, asyncio.get_running_loop().time() - self._since)

    def drip(self) -> None:
        if self.kind != "silent" and self._transport is not None:
            self._transport.write(b"x")


class _Crowd:
    def __init__(self, port: int, key: str) -> None:
        host = f"Host: 127.0.0.1:{port}\r\n"
        body = f"{host}Authorization: Bearer {key}\r\nContent-Length: 500000\r\n\r\n{{"
        self.beginnings = {
            "silent": b"",
            "head": f"GET /api/user HTTP/1.1\r\n{host}X: ".encode(),
            "body": f"POST /api/image/gen HTTP/1.1\r\n{body}".encode(),
        }
        self.held: set[_Client] = set()
        self.outcome = Outcome()
        self._port = port
        self._closed: Counter[str] = Counter()
        self._again: asyncio.Queue[str] | None = asyncio.Queue()

    def ended(self, kind: str, lived: float) -> None:
        self._closed[kind] += 1
        self.outcome.longest[kind] = max(lived, self.outcome.longest.get(kind, 0.0))
        if self._again is not None:
            self._again.put_nowait(kind)

    async def attack(self, count: int, seconds: float) -> None:
        """Keep so many connections open for so long, then open none and wait for their ends."""
        assert self._again is not None
        workers = [asyncio.create_task(self._open(self._again)) for _ in range(_AT_ONCE)]
        for number in range(count):
            self._again.put_nowait(KINDS[number % len(KINDS)])
            # Spread, so that they do not all come again in the same moment.
            await asyncio.sleep(_COMING_SECONDS / count)
        dripping = asyncio.create_task(self._drip())
        while len(self.held) < 0.95 * count:
            await asyncio.sleep(0.01)
        sys.stdout.write("all are here\n")
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        end, held = loop.time() + seconds, []
        while loop.time() < end:
            held.append(len(self.held))
            await asyncio.sleep(0.1)
        self._again = None
        for task in workers:
            task.cancel()
        last = loop.time() + _LAST_SECONDS
        while self.held and loop.time() < last:
            await asyncio.sleep(0.05)
        for client in list(self.held):
            self.outcome.longest[client.kind] = float("inf")
        dripping.cancel()
        self.outcome.held, self.outcome.closed = fmean(held), dict(self._closed)

    async def _open(self, again: asyncio.Queue[str]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            kind = await again.get()
            try:
                await loop.create_connection(
                    lambda kind=kind: _Client(self, kind),  # type: ignore[misc] # mypy loses it
                    "127.0.0.1",
                    self._port,
                )
            except OSError:
                self.outcome.refused += 1
                again.put_nowait(kind)
                await asyncio.sleep(0.1)

    async def _drip(self) -> None:
        """Spread over the two seconds, as clients that know nothing of each other are."""
        steps = 20
        while True:
            for step in range(steps):
                for number, client in enumerate(list(self.held)):
                    if number % steps == step:
                        client.drip()
                await asyncio.sleep(_DRIP_SECONDS / steps)


class SlowClients:
    """The process. It is killed at the end."""

    def __init__(self, port: int, key: str, *, count: int, seconds: float) -> None:
        job = {"port": port, "key": key, "count": count, "seconds": seconds}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.slow_clients", json.dumps(job)],
            stdout=subprocess.PIPE,
            text=True,
        )

    async def are_here(self) -> None:
        """Return when all connections have been opened."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line == "all are here\n"

    async def outcome(self) -> Outcome:
        """Return what became of them, when they have ended."""
        printed, _ = await asyncio.to_thread(self._process.communicate)
        return Outcome(**json.loads(printed))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


async def _run(port: int, key: str, count: int, seconds: float) -> None:
    crowd = _Crowd(port, key)
    await crowd.attack(count, seconds)
    sys.stdout.write(json.dumps(asdict(crowd.outcome)))


if __name__ == "__main__":
    _, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))
    asyncio.run(_run(**json.loads(sys.argv[1])))
