"""Who sent this request: the one door for every API key.

A good key is remembered for half a second, so that a busy client does not cost a query per request
and a revoked key still stops within one second on every node. Refusals are never remembered, and
every refusal looks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from ketchup.clock import Clock, Micros
from ketchup.db import Database
from ketchup.errors import Unauthenticated, Unavailable
from ketchup.ids import KeyId
from ketchup.workspaces.keys import (
    Caller,
    digest,
    find_callers,
    is_well_formed,
    touch_keys,
)
from ketchup.workspaces.vault import Ring, Vault

REMEMBER_SECONDS: Final = 0.5
_REMEMBER_AT_MOST: Final = 10_000
_MAX_HEADER: Final = 256
_SCHEME: Final = b"bearer "


class Authenticator:
    """Turns an `Authorization` header into a `Caller`."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._find = database.read_batcher(self._find_callers)
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._used: dict[KeyId, Micros] = {}

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

    async def authenticate(self, headers: Sequence[bytes]) -> Caller:
        """Return who sent these `Authorization` headers: there must be exactly one.

        Raises Unauthenticated, with the same words whatever the reason.
        """
        if len(headers) != 1:
            raise Unauthenticated(_REFUSAL)
        header = headers[0]
        caller = self.recall(header)
        if caller is not None:
            return caller
        secret = _secret_of(header)
        # Taken before the query: the answer is as old as the question.
        asked = self._clock.monotonic()
        # So is where it is kept: an answer that was overtaken by `forget_all` is forgotten too.
        known = self._known
        found = await self._find(secret)
        if found is None:
            raise Unauthenticated(_REFUSAL)
        self._used[found.key_id] = self._clock.now()
        if len(known) >= _REMEMBER_AT_MOST:
            known.clear()
        known[header] = (found, asked + REMEMBER_SECONDS)
        return found

    def forget_all(self) -> None:
        """Ask the database again from now on: a key was revoked or a workspace suspended here."""
        self._known = {}

    async def write_uses(self) -> None:
        """Store when keys were last used. A crash forgets what came since the last call."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._database.write(lambda conn: touch_keys(conn, sorted(used.items())))
        except Unavailable:
            self._used = {**used, **self._used}
            raise

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


def _secret_of(header: bytes) -> str:
    """Return the key in a header, or raise Unauthenticated when it cannot be one of ours."""
    if len(header) > _MAX_HEADER or not header.isascii():
        raise Unauthenticated(_REFUSAL)
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated(_REFUSAL)
    secret = header[len(_SCHEME) :].decode("ascii")
    if not is_well_formed(secret):
        raise Unauthenticated(_REFUSAL)
    return secret


def _has_expired(caller: Caller, now: Micros) -> bool:
    return caller.expires_at is not None and caller.expires_at <= now
