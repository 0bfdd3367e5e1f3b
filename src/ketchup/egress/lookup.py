"""The machine's resolver.

A lookup cannot be cancelled, and whoever runs a name's server decides how long it takes. So each
has a thread of its own, which nobody waits for at the end, and a domain whose server does not
answer keeps only its own few from being asked.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Final

from ketchup.egress.addresses import parse

_THREADS: Final = 512
_PER_DOMAIN: Final = 16
_LABELS: Final = 2

Lookup = Callable[[str, int], Sequence[str]]


class SystemResolver:
    """Asks `lookup` on daemon threads: at most so many, and so many of them per domain.

    A domain is the last two labels of a name. Under some public suffixes strangers share one; what
    waits there when it is full waits within its own deadline.
    """

    def __init__(
        self, lookup: Lookup | None = None, *, most: int = _THREADS, per_domain: int = _PER_DOMAIN
    ) -> None:
        self._lookup = lookup or _getaddrinfo
        self._most = most
        self._per_domain = per_domain
        self._busy: Counter[str] = Counter()
        self._freed = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Ask for nothing any more. What is under way is not waited for."""
        self._closed = True

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return every address of the host. Raises OSError."""
        if parse(host) is not None:
            return [host]
        if self._closed:
            raise OSError("closed")
        domain = ".".join(host.split(".")[-_LABELS:])
        while self._busy[domain] >= self._per_domain or self._busy.total() >= self._most:
            self._freed.clear()
            await self._freed.wait()
        answers = await self._ask(host, port, domain)
        return list(dict.fromkeys(answers))

    async def _ask(self, host: str, port: int, domain: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def tell(found: Sequence[str] | Exception) -> None:
            self._busy[domain] -= 1
            if not self._busy[domain]:
                del self._busy[domain]
            self._freed.set()
            # Whoever asked may have gone at its deadline.
            if not answer.done():
                if isinstance(found, Exception):
                    answer.set_exception(found)
                else:
                    answer.set_result(found)

        def ask() -> None:
            found: Sequence[str] | Exception
            try:
                found = self._lookup(host, port)
            except Exception as error:  # noqa: BLE001 it is raised where it was asked for
                found = error
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, found)

        try:
            Thread(target=ask, name="egress-dns", daemon=True).start()
        except RuntimeError as error:
            raise OSError("no thread for a lookup") from error
        self._busy[domain] += 1
        return await answer


def _getaddrinfo(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]
