"""The vault: the ring of keys that the secret key opens, and what is sealed with them.

    secret key ──opens──> ring: generation 1, 2, …      each: a pepper, and a key that seals
                                                        older ones keep their pepper alone

The ring lies in the database, sealed once for each secret key that may open it: for one, and for
two while a rotation is under way. A process opens it once and keeps it; what was made by a newer
generation makes it look again. So processes with the old key and with the new one work side by side
until the rotation is finished.

Generation 1 is what was there before rings: its pepper is the secret key itself. Nothing is stored
for it until the first value is sealed.

Whoever seals holds the row of `installation` until the commit, as a rotation does: no value can be
sealed by a generation that a rotation has just left behind.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NewType

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    insert,
    select,
)
from typing_extensions import override

from ketchup import sealing
from ketchup.db import insert_new, metadata
from ketchup.errors import Unavailable
from ketchup.sealing import Unsealable

Pepper = NewType("Pepper", bytes)
"""The secret outside the database that digests are made with."""

installation = Table(
    "installation",
    metadata,
    # One row.
    Column("id", Integer, primary_key=True),
    # A value that only the newest secret key can make.
    Column("secret_check", LargeBinary, nullable=False),
)
key_ring = Table(
    "key_ring",
    metadata,
    # Of the secret key that opens it.
    Column("key_id", String(16), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)


class Generation(msgspec.Struct, frozen=True):
    """A pepper, and the key that seals; None once nothing is sealed by it any more."""

    number: int
    pepper: bytes
    sealing: bytes | None

    @override
    def __repr__(self) -> str:
        """Say which it is; never what."""
        return f"Generation({self.number})"


@dataclass(frozen=True, slots=True, repr=False)
class Ring:
    """Every generation that is still of use, the oldest first."""

    generations: tuple[Generation, ...]

    @property
    def newest(self) -> Generation:
        """The one that new things are made with."""
        return self.generations[-1]

    def peppers(self) -> list[Pepper]:
        """Return every pepper, the newest first."""
        return [Pepper(one.pepper) for one in reversed(self.generations)]

    def sealing_keys(self) -> dict[int, bytes]:
        """Return every key that seals, by its generation."""
        return {one.number: one.sealing for one in self.generations if one.sealing is not None}

    def following(self, keep: Sequence[Generation]) -> Ring:
        """Return the ring after a rotation: those to keep without what seals, and a new one."""
        kept = [Generation(one.number, one.pepper, None) for one in keep]
        fresh = Generation(
            self.newest.number + 1,
            secrets.token_bytes(sealing.KEY_BYTES),
            secrets.token_bytes(sealing.KEY_BYTES),
        )
        return Ring((*kept, fresh))


class Vault:
    """What one secret key opens. Safe to use on several threads, each with its connection."""

    def __init__(self, secret_key: bytes) -> None:
        self._secret_key = secret_key
        # As it was stored, None before anything was; and opened.
        self._known: tuple[bytes | None, Ring] | None = None

    @property
    def key_id(self) -> str:
        """Names the secret key, and tells nothing of it."""
        return hmac.digest(self._secret_key, b"key id", hashlib.sha256)[:8].hex()

    @property
    def check(self) -> bytes:
        """A value that proves the secret key, and does not tell it."""
        return hmac.digest(self._secret_key, b"installation", hashlib.sha256)

    def pepper(self, conn: Connection) -> Pepper:
        """Return what digests are made with from now on."""
        return self.look_again(conn).peppers()[0]

    def peppers(self, conn: Connection) -> list[Pepper]:
        """Return every pepper that a digest may have been made with, the newest first."""
        return self.ring(conn).peppers()

    def ring(self, conn: Connection) -> Ring:
        """Return the ring as it is known; it is read at the first use."""
        known = self._known
        return self.look_again(conn) if known is None else known[1]

    def look_again(self, conn: Connection) -> Ring:
        """Read the ring again: a row, opened only where it has changed.

        Raises Unavailable when this secret key does not open it any more. A ring that was read
        before stays of use: what it has made and sealed is still good.
        """
        stored = {row.key_id: bytes(row.sealed) for row in conn.execute(_STORED)}
        known = self._known
        if stored and self.key_id not in stored:
            if known is None or known[0] is None:
                raise Unavailable(_REPLACED, retry_after=_RETRY_SECONDS)
            return known[1]
        sealed = stored.get(self.key_id)
        if known is None or known[0] != sealed:
            known = self._known = sealed, self._opened(sealed)
        return known[1]

    def seal(self, conn: Connection, plain: bytes, place: str) -> bytes:
        """Seal for a place, `table/row/column`. Raises Unavailable when the key was replaced."""
        ring = self.for_writing(conn)
        number = ring.newest.number
        return sealing.seal(ring.sealing_keys()[number], number, plain, place)

    def unseal(self, conn: Connection, sealed: bytes, place: str) -> bytes:
        """Open what was sealed for this place. Raises Unsealable, and Unavailable as above."""
        ring = self.ring(conn)
        try:
            return sealing.unseal(ring.sealing_keys(), sealed, place)
        except Unsealable:
            again = self.look_again(conn)
            number = sealing.generation_of(sealed)
            if number > again.newest.number:
                raise Unavailable(_REPLACED, retry_after=_RETRY_SECONDS) from None
            if number < again.newest.number:
                # Read before a rotation, and opened behind it.
                raise Unavailable(_CHANGED, retry_after=_RETRY_SECONDS) from None
            if again is ring:
                raise
            return sealing.unseal(again.sealing_keys(), sealed, place)

    def for_writing(self, conn: Connection) -> Ring:
        """Lock the ring until the commit and return it as it is, made where there is none."""
        self.lock(conn)
        stored = set(conn.scalars(select(key_ring.c.key_id)))
        if not stored:
            ring = Ring((Generation(1, self._secret_key, secrets.token_bytes(32)),))
            self.store(conn, ring)
            return ring
        if self.key_id not in stored:
            raise Unavailable(_REPLACED, retry_after=_RETRY_SECONDS)
        return self.look_again(conn)

    def lock(self, conn: Connection) -> bytes:
        """Let nobody else seal or rotate before this transaction ends; return the newest check."""
        if conn.scalar(_CHECK) is None:
            conn.execute(insert_new(installation), {"id": 1, "secret_check": self.check})
        return bytes(conn.execute(_CHECK.with_for_update()).scalar_one())

    def store(self, conn: Connection, ring: Ring) -> None:
        """Keep a ring so that this secret key opens it."""
        plain = msgspec.json.encode(ring.generations)
        sealed = sealing.seal(self._opener(), 0, plain, self._place)
        conn.execute(delete(key_ring).where(key_ring.c.key_id == self.key_id))
        conn.execute(insert(key_ring), {"key_id": self.key_id, "sealed": sealed})

    def first_pepper(self, conn: Connection) -> Pepper:
        """Return the pepper of the time before rings, while anything was made with it."""
        return Pepper(next(g.pepper for g in self.ring(conn).generations if g.number == 1))

    def _opened(self, sealed: bytes | None) -> Ring:
        if sealed is None:
            return Ring((Generation(1, self._secret_key, None),))
        plain = sealing.unseal({0: self._opener()}, sealed, self._place)
        return Ring(msgspec.json.decode(plain, type=tuple[Generation, ...]))

    @property
    def _place(self) -> str:
        return f"key_ring/{self.key_id}/sealed"

    def _opener(self) -> bytes:
        return sealing.subkey(self._secret_key, "ketchup key ring")


def pepper_id(pepper: Pepper) -> str:
    """Name a pepper: stands beside each digest that was made with it."""
    return hmac.digest(pepper, b"pepper id", hashlib.sha256)[:8].hex()


_RETRY_SECONDS: Final = 5.0
_REPLACED: Final = "the secret key was replaced; start this process with the new one"
_CHANGED: Final = "the secrets were sealed anew just now"
_STORED: Final = select(key_ring.c.key_id, key_ring.c.sealed)
_CHECK: Final = select(installation.c.secret_check)
