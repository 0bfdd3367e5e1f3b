from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest

from ketchup.egress.lookup import SystemResolver


class Servers:
    """Name servers that answer at once, or for `*.slow*.test` not until they are let go."""

    def __init__(self) -> None:
        self.go = Event()
        self.asked: list[str] = []
        self._lock = Lock()

    def lookup(self, host: str, _port: int) -> list[str]:
        with self._lock:
            self.asked.append(host)
        if "slow" in host:
            self.go.wait(20)
        if "unknown" in host:
            raise OSError("no such host")
        return ["192.0.2.1", "192.0.2.1"]


@contextmanager
def servers() -> Iterator[Servers]:
    found = Servers()
    yield found
    found.go.set()


async def test_slow_names_do_not_keep_others_from_being_looked_up() -> None:
    with servers() as names:
        resolve = SystemResolver(names.lookup)
        slow = [asyncio.create_task(resolve(f"slow{n}.test", 80)) for n in range(400)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert await resolve("quick.example", 80) == ["192.0.2.1"]
        names.go.set()
        assert len(await asyncio.gather(*slow, return_exceptions=True)) == 400
        assert not resolve._busy


async def test_one_domain_keeps_few_threads_and_others_have_the_rest() -> None:
    with servers() as names:
        resolve = SystemResolver(names.lookup, most=8, per_domain=4)
        slow = [asyncio.create_task(resolve(f"h{n}.slow.test", 80)) for n in range(100)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert await resolve("quick.example", 80) == ["192.0.2.1"]
        assert len([host for host in names.asked if host.endswith("slow.test")]) == 4
        names.go.set()
        await asyncio.gather(*slow)


async def test_a_lookup_that_nobody_waits_for_keeps_its_thread_until_it_ends() -> None:
    with servers() as names:
        resolve = SystemResolver(names.lookup, per_domain=1)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await resolve("a.slow.test", 80)
        assert names.asked == ["a.slow.test"]
        names.go.set()
        async with asyncio.timeout(2):
            assert await resolve("b.slow.test", 80) == ["192.0.2.1"]


async def test_what_a_lookup_raises_is_raised_and_an_address_asks_nobody() -> None:
    with servers() as names:
        resolve = SystemResolver(names.lookup)
        with pytest.raises(OSError, match="no such host"):
            await resolve("unknown.example", 80)
        assert await resolve("2001:db8::1", 80) == ["2001:db8::1"]
        assert names.asked == ["unknown.example"]
        resolve.close()
        with pytest.raises(OSError, match="closed"):
            await resolve("quick.example", 80)
