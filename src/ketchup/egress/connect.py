"""The guard itself: what stands between a name and a TCP connection.

httpcore2 asks its network backend for every connection, so this sees each name, each literal
address and each hop of a redirect. The address that was judged is the one that is dialled: nothing
resolves the name a second time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import httpcore2
from typing_extensions import override

from ketchup.egress.addresses import parse
from ketchup.egress.errors import Blocked, Unreachable
from ketchup.egress.rules import Rules
from ketchup.openings import Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, or raises OSError. The port is a hint."""

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

_CONNECT_SECONDS: Final = 5.0


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections to judged addresses only."""

    def __init__(
        self,
        resolver: Resolver,
        rules: Rules,
        *,
        trusted: Collection[tuple[str, int]] = (),
    ) -> None:
        self._resolver = resolver
        self._rules = rules
        self._trusted = frozenset(trusted)
        self._dial = httpcore2.AnyIOBackend()

    def trusting(self, host: str, port: int) -> GuardedBackend:
        """Return one that also lets this host and port pass, whatever addresses it has."""
        trusted = {*self._trusted, (host, port)}
        return GuardedBackend(self._resolver, self._rules, trusted=trusted)

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, judge, and dial the first judged address that answers.

        Raises Blocked when any answer is bad, Unreachable when none can be connected to.
        """
        seconds = _CONNECT_SECONDS if timeout is None else timeout
        # A name of ours is not even asked for.
        self._rules.judge_host(host, port)
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._judged(host, port)
        except TimeoutError as error:
            raise Unreachable(f"{host} did not resolve in time") from error
        for address in addresses:
            try:
                # Each address has its share of the time: one that swallows packets must not
                # keep the next from being tried.
                return await self._dial.connect_tcp(
                    str(address), port, seconds / len(addresses), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        raise Unreachable(
            f"{host} port {port} does not answer at any of {len(addresses)} addresses"
        )

    @override
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: a URL names hosts only."""
        raise Blocked(f"a unix socket was asked for: {path}")

    @override
    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore2 does between its own retries (we ask for none)."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> list[Address]:
        try:
            answers = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"{host} does not resolve: {error}") from error
        if not answers:
            raise Unreachable(f"{host} has no address")
        return [self._judge(host, answer, port) for answer in answers]

    def _judge(self, host: str, answer: str, port: int) -> Address:
        address = parse(answer)
        if address is None:
            raise Blocked(f"{host} resolves to {answer}, which is no plain address")
        if (host, port) not in self._trusted:
            self._rules.judge(host, address, port)
        return address


def verifying_context() -> ssl.SSLContext:
    """Return a TLS context that verifies certificates and host names."""
    return httpcore2.default_ssl_context()
