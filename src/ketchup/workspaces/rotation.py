"""The secret key's rotation: another one takes its place, and all that is sealed is sealed anew.

    rotate   the ring gets a new generation, all values are sealed by it, and both secret keys open
             the ring: one transaction
    finish   the key before opens it no more: another one

Between the two, processes with either key work side by side. Digests of API keys cannot be made
anew, because nobody knows the keys: the pepper that they were made with stays in the ring, and can
check keys only, until none that works is left under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, select, update

from ketchup.clock import Micros
from ketchup.workspaces.keys import count_by_pepper
from ketchup.workspaces.provider_keys import reseal_provider_keys
from ketchup.workspaces.tenants import reseal_webhook_secrets
from ketchup.workspaces.vault import (
    Generation,
    Pepper,
    Ring,
    Vault,
    installation,
    key_ring,
    pepper_id,
)


class RotationRefused(Exception):
    """The secret key cannot be rotated, or not now; `str(error)` is one sentence."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation sealed anew, and what it could not."""

    webhook_secrets: int
    provider_keys: int
    keys_under_older_peppers: int
    """API keys that work by a pepper of before; making them anew ends that."""


def rotate(conn: Connection, before: Vault, after: Vault, now: Micros) -> Rotated:
    """Let another secret key open a new generation of the ring. Raises RotationRefused."""
    before.lock(conn)
    if is_unfinished(conn):
        raise RotationRefused(_UNFINISHED)
    if after.key_id == before.key_id:
        raise RotationRefused("the new secret key is the same as the one before")
    ring = before.for_writing(conn)
    seal_webhook_secrets = reseal_webhook_secrets(conn, before, now)
    seal_provider_keys = reseal_provider_keys(conn, before)
    kept, older = _of_use(conn, ring, now)
    following = ring.following(kept)
    before.store(conn, following)
    after.store(conn, following)
    conn.execute(update(installation).values(secret_check=after.check))
    return Rotated(seal_webhook_secrets(after), seal_provider_keys(after), older)


def finish(conn: Connection, vault: Vault) -> bool:
    """Let no other secret key open the ring; False when none did. Raises RotationRefused."""
    if vault.lock(conn) != vault.check:
        raise RotationRefused("only a process with the new secret key can finish the rotation")
    return conn.execute(delete(key_ring).where(key_ring.c.key_id != vault.key_id)).rowcount > 0


def is_unfinished(conn: Connection) -> bool:
    """Whether more than one secret key opens the ring."""
    return len(conn.execute(select(key_ring.c.key_id).limit(2)).all()) > 1


def is_newest(conn: Connection, vault: Vault) -> bool:
    """Whether this is the secret key that came last."""
    return conn.scalar(select(installation.c.secret_check)) == vault.check


def opens(conn: Connection, vault: Vault) -> bool:
    """Whether this secret key opens the ring that is stored."""
    own = select(key_ring.c.key_id).where(key_ring.c.key_id == vault.key_id)
    return conn.execute(own).first() is not None


def _of_use(conn: Connection, ring: Ring, now: Micros) -> tuple[list[Generation], int]:
    """Return the generations whose pepper is still needed, and by how many keys."""
    counts = count_by_pepper(conn, now)
    kept, needed = [], 0
    for one in ring.generations:
        keys = counts.get(pepper_id(Pepper(one.pepper)), 0)
        if one.number == 1:
            keys += counts.get(None, 0)
        if keys:
            kept.append(one)
            needed += keys
    return kept, needed


_UNFINISHED: Final = (
    "the last rotation is not finished: start every process with the new secret key, then run"
    " `ketchup rotate-secret-key --finish`"
)
