"""Who sent this request: the one door for every API key.

A good key is remembered for half a second, so that a busy client does not cost a query per request
and a revoked key still stops within one second on every node. Refusals are never remembered, and
every refusal looks the same: in its words, and in its time. What cannot be a key of ours is refused
at once, which tells nothing that its form does not; for everything else the answer is given at a
moment that was set before the database was asked, whatever it found.

A key that is bound to networks is refused from elsewhere as if it were unknown: whoever has stolen
it must not learn that it is good. That is why this is no 403.

Refusals are counted by address, and one too many is told so instead. Good keys of the same address
go on working: many customers can share one, and guessing is hopeless at 190 bits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from ketchup.clock import Clock, Micros
from ketchup.db import Database
from ketchup.errors import Unauthenticated, Unavailable
from ketchup.ids import KeyId
from ketchup.origins import Address, kept, neighbours
from ketchup.pace import Pace
from ketchup.workspaces.keys import (
    Caller,
    digest,
    find_callers,
    is_well_formed,
    touch_keys,
)
from ketchup.workspaces.vault import Ring, Vault

REMEMBER_SECONDS: Final = 0.5
REFUSAL_SECONDS: Final = 0.02
"""When a refusal is told that the database was asked for: longer than a question takes."""
_REMEMBER_AT_MOST: Final = 10_000
_MAX_HEADER: Final = 256
_SCHEME: Final = b"bearer "

Scope = Mapping[str, Any]
AddressOf = Callable[[Scope], Address | None]


def _unknown(_scope: Scope) -> None:
    return None


_NOTHING: Final[Scope] = {}


class Authenticator:
    """Turns an `Authorization` header into a `Caller`. `failures` counts refusals by address."""

    def __init__(
        self, database: Database, vault: Vault, clock: Clock, failures: Pace | None = None
    ) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._failures = failures
        self._find = database.read_batcher(self._find_callers)
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._used: dict[KeyId, tuple[Micros, str | None]] = {}

    def recall(self, header: bytes) -> Caller | None:
        """Return the caller if this header was good within the last half second."""
        remembered = self._known.get(header)
        if remembered is None:
            return None
        caller, until = remembered
        if self._clock.monotonic() >= until or _has_expired(caller, self._clock.now()):
            del self._known[header]
            return None
        return caller

    async def authenticate(
        self, headers: Sequence[bytes], address_of: AddressOf = _unknown, scope: Scope = _NOTHING
    ) -> Caller:
        """Return who sent these `Authorization` headers: there must be exactly one.

        `address_of` reads the sender's address from `scope`, where it is needed. Raises
        Unauthenticated, with the same words whatever the reason, and RateLimited instead when the
        address was refused too often.
        """
        if len(headers) == 1:
            caller = self.recall(headers[0])
            if caller is not None and (
                caller.networks is None or caller.may_come_from(address_of(scope))
            ):
                return caller
        address = address_of(scope)
        found = await self._look(headers, address)
        if found is None:
            self.refuse(address)
            raise Unauthenticated(_REFUSAL)
        return found

    def refuse(self, address: Address | None) -> None:
        """Count a refusal. Raises RateLimited when the address had too many."""
        if self._failures is not None:
            self._failures.check(neighbours(address))

    def forget_all(self) -> None:
        """Ask the database again from now on: a key was revoked or a workspace suspended here."""
        self._known = {}

    async def write_uses(self) -> None:
        """Store when keys were last used. A crash forgets what came since the last call."""
        used, self._used = self._used, {}
        if not used:
            return
        rows = [(key_id, at, where) for key_id, (at, where) in sorted(used.items())]
        try:
            await self._database.write(lambda conn: touch_keys(conn, rows))
        except Unavailable:
            self._used = {**used, **self._used}
            raise

    async def _look(self, headers: Sequence[bytes], address: Address | None) -> Caller | None:
        """Ask the database who this is; None when nobody may come in so."""
        secret = None if len(headers) != 1 else _secret_of(headers[0])
        if secret is None:
            return None
        # Taken before the query: the answer is as old as the question.
        asked = self._clock.monotonic()
        # So is where it is kept: an answer that was overtaken by `forget_all` is forgotten too.
        known = self._known
        # And when a refusal is told, so that the time of it cannot depend on what was found.
        told, timer = _moment()
        try:
            found = await self._find(secret)
            if found is None or not found.may_come_from(address):
                await told
                return None
        finally:
            timer.cancel()
        self._used[found.key_id] = (self._clock.now(), kept(address))
        if len(known) >= _REMEMBER_AT_MOST:
            known.clear()
        known[headers[0]] = (found, asked + REMEMBER_SECONDS)
        return found

    def _find_callers(self, conn: Connection, secrets: Sequence[str]) -> list[Caller | None]:
        ring = self._vault.ring(conn)
        found = self._by(conn, ring, secrets)
        if None in found and self._vault.look_again(conn) is not ring:
            # Made by a process that has rotated the secret key.
            return self._by(conn, self._vault.ring(conn), secrets)
        return found

    def _by(self, conn: Connection, ring: Ring, secrets: Sequence[str]) -> list[Caller | None]:
        """Return who each key is, by the first pepper that its digest is known under."""
        peppers = ring.peppers()
        digests = [digest(pepper, secret) for secret in secrets for pepper in peppers]
        callers = find_callers(conn, digests, self._clock.now())
        each = len(peppers)
        return [
            next((one for one in callers[at : at + each] if one is not None), None)
            for at in range(0, len(callers), each)
        ]


_REFUSAL: Final = "Invalid API key"


def _moment() -> tuple[asyncio.Future[None], asyncio.TimerHandle]:
    """Return what is done when a refusal may be told."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    return told, loop.call_later(REFUSAL_SECONDS, _tell, told)


def _tell(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


def _secret_of(header: bytes) -> str | None:
    """Return the key in a header; None when it cannot be one of ours."""
    if len(header) > _MAX_HEADER or not header.isascii():
        return None
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    secret = header[len(_SCHEME) :].decode("ascii")
    return secret if is_well_formed(secret) else None


def _has_expired(caller: Caller, now: Micros) -> bool:
    return caller.expires_at is not None and caller.expires_at <= now
