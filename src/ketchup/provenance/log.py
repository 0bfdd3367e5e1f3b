"""The log of fingerprints: which task made a picture, though its manifest is gone.

Only added to. It holds no picture and no prompt, and outlives the pictures themselves.

What is near a perceptual hash is found without reading the log. The hash is cut into four bands of
16 bits: of two hashes that differ in 7 bits or fewer, at least one band differs in one bit or none.
So 4 x 17 values are looked up, whatever the size of the log, and what they lead to is compared in
full. Each hash stands in `fingerprint_band` once, however many pictures have it: a thousand times
the same prompt and seed must not bury what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    String,
    Table,
    select,
)

from ketchup.clock import Micros
from ketchup.db import insertion_of_new, metadata, write_many
from ketchup.ids import TaskId, WorkspaceId
from ketchup.provenance.fingerprint import NEAR, Fingerprint, PerceptualHash, distance

PAGE: Final = 100
"""How many pictures are found at most: whose who asks is first, then the newest."""

_BANDS: Final = 4
_BAND_BITS: Final = 16
# One value of a band leads to 15 hashes in a log of a million, and to more among alike pictures.
_MAX_CANDIDATES: Final = 10_000

fingerprint_log = Table(
    "fingerprint",
    metadata,
    # The blob that it was stored as; a name is never used twice.
    Column("key", String(200), primary_key=True),
    Column("task_id", String(40), nullable=False),
    Column("workspace_id", String(40), nullable=False),
    Column("sha256", String(64), nullable=False),
    # Of the decoded pixels, for a file that was stripped and not encoded again.
    Column("pixels", String(64), nullable=False),
    # Signed, as databases count: the same 64 bits.
    Column("phash", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("fingerprint_of_task", "task_id"),
    Index("fingerprint_by_sha256", "sha256"),
    Index("fingerprint_by_pixels", "pixels"),
    Index("fingerprint_by_phash", "phash", "created_at"),
)

fingerprint_band = Table(
    "fingerprint_band",
    metadata,
    Column("band", Integer, primary_key=True, autoincrement=False),
    Column("bits", Integer, primary_key=True, autoincrement=False),
    Column("phash", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class Logged:
    """A picture that was made here."""

    key: str
    task_id: TaskId
    workspace_id: WorkspaceId
    fingerprint: Fingerprint
    created_at: Micros


def record(conn: Connection, pictures: Sequence[Logged]) -> None:
    """Remember these pictures. What is known already stays as it is."""
    # In one order everywhere: two transactions would otherwise wait for each other.
    bands = sorted({at for it in pictures for at in _bands(it.fingerprint.phash)})
    rows = [{"band": band, "bits": bits, "phash": phash} for band, bits, phash in bands]
    write_many(
        conn,
        insertion_of_new(fingerprint_log, [_row(picture) for picture in pictures]),
        insertion_of_new(fingerprint_band, rows),
    )


def list_of_task(conn: Connection, workspace_id: WorkspaceId, task_id: TaskId) -> list[Logged]:
    """Return a task's pictures in its order, if the task is this workspace's."""
    c = fingerprint_log.c
    its = select(fingerprint_log).where(c.task_id == task_id, c.workspace_id == workspace_id)
    # Names are given in a task's order.
    return [_logged(row) for row in conn.execute(its.order_by(c.key))]


def find_by_sha256(conn: Connection, workspace_id: WorkspaceId, sha256: str) -> list[Logged]:
    """Return the pictures that were stored with exactly these bytes, this workspace's first."""
    return _found(conn, workspace_id, fingerprint_log.c.sha256 == sha256)


def find_by_pixels(conn: Connection, workspace_id: WorkspaceId, pixels: str) -> list[Logged]:
    """Return the pictures that have exactly these pixels, this workspace's first."""
    return _found(conn, workspace_id, fingerprint_log.c.pixels == pixels)


def find_near(
    conn: Connection, workspace_id: WorkspaceId, phash: PerceptualHash, bits: int = NEAR
) -> list[tuple[int, Logged]]:
    """Return what looks alike, each with the bits that differ, the nearest first.

    Complete up to 7 bits; a larger distance is refused. Of more than a page, this workspace's.
    """
    if not 0 <= bits <= NEAR:
        raise ValueError(f"a distance is at most {NEAR} bits")
    near = _near_hashes(conn, phash, bits)
    if not near:
        return []
    alike = [_signed(one) for one in near]
    found = _found(conn, workspace_id, fingerprint_log.c.phash.in_(alike))
    return sorted(
        ((distance(phash, picture.fingerprint.phash), picture) for picture in found),
        key=lambda pair: (pair[0], -pair[1].created_at),
    )


def _near_hashes(conn: Connection, phash: PerceptualHash, bits: int) -> list[PerceptualHash]:
    c = fingerprint_band.c
    # One query each: PostgreSQL may read a whole index for four that are joined by OR.
    candidates = [
        value
        for band, bits_of, _ in _bands(phash)
        for value in conn.scalars(
            select(c.phash)
            .where(c.band == band, c.bits.in_(_within_one_bit(bits_of)))
            .limit(_MAX_CANDIDATES)
        )
    ]
    unsigned = {PerceptualHash(value & _ALL) for value in candidates}
    near = [one for one in unsigned if distance(one, phash) <= bits]
    return sorted(near, key=lambda one: distance(one, phash))[:PAGE]


_ALL: Final = 2**64 - 1


def _bands(phash: PerceptualHash) -> list[tuple[int, int, int]]:
    mask = 2**_BAND_BITS - 1
    return [(at, phash >> at * _BAND_BITS & mask, _signed(phash)) for at in range(_BANDS)]


def _within_one_bit(value: int) -> list[int]:
    return [value, *(value ^ 1 << at for at in range(_BAND_BITS))]


def _signed(phash: int) -> int:
    return phash - 2**64 if phash >> 63 else phash


def _found(conn: Connection, workspace_id: WorkspaceId, alike: ColumnElement[bool]) -> list[Logged]:
    # The same prompt and seed are drawn alike for all: what others made must not bury one's own.
    c = fingerprint_log.c
    first = ((c.workspace_id == workspace_id).desc(), c.created_at.desc())
    page = select(fingerprint_log).where(alike).order_by(*first).limit(PAGE)
    return [_logged(row) for row in conn.execute(page)]


def _row(picture: Logged) -> dict[str, object]:
    prints = picture.fingerprint
    return {
        "key": picture.key,
        "task_id": picture.task_id,
        "workspace_id": picture.workspace_id,
        "sha256": prints.sha256,
        "pixels": prints.pixels,
        "phash": _signed(prints.phash),
        "created_at": picture.created_at,
    }


def _logged(row: Row[Any]) -> Logged:
    prints = Fingerprint(row.sha256, row.pixels, PerceptualHash(row.phash & _ALL))
    return Logged(row.key, row.task_id, row.workspace_id, prints, Micros(row.created_at))
