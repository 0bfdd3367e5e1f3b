"""API keys: minted, kept as digests, revoked.

A key is `dk-live_` or `dk-test_`, 32 random base62 characters (190 bits) and 6 of a CRC-32, so that
a typo is known without the database and a scanner finds leaked keys without false alarms. It is
shown once. The database keeps HMAC-SHA256(pepper, key); the pepper lives outside it, so neither
reading nor writing the database yields a key that works.

A key may be bound to networks and to a spend cap. `rotate_key` makes its successor, which has the
same rights, networks and purse.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final, NewType

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from ketchup import ids
from ketchup.clock import SECOND, Micros, after
from ketchup.db import metadata
from ketchup.errors import Conflict, InvalidRequest, NotFound
from ketchup.ids import KeyId, WorkspaceId
from ketchup.money import MAX_CREDITS, Credits
from ketchup.origins import Address, Networks
from ketchup.workspaces.tenants import WorkspaceStatus, checked_name, row_of, workspace
from ketchup.workspaces.vault import Pepper, pepper_id

KeyDigest = NewType("KeyDigest", bytes)
"""HMAC-SHA256 of a key: what the database knows of it."""

api_key = Table(
    "api_key",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("workspace_id", String(40), nullable=False),
    Column("environment", String(4), nullable=False),
    Column("name", String(200), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    # The first 12 and last 4 characters: enough to recognise a key, of no use to a thief.
    Column("hint", String(20), nullable=False),
    # JSON arrays; null allows every scope, or every model.
    Column("scopes", Text),
    Column("models", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
    # The network that it was last used from, such as 203.0.113.0/24: enough to notice a stranger.
    Column("last_used_from", String(50)),
    # JSON array of networks; null allows every address.
    Column("networks", Text),
    # Micro-credits; null is no limit.
    Column("day_cap", BigInteger),
    Column("month_cap", BigInteger),
    # The first of the keys that have replaced each other, and the next of them.
    Column("purse", String(40)),
    Column("replaced_by", String(40)),
    # Names the pepper of the digest; null for the first one.
    Column("pepper_id", String(16)),
    Index("api_key_of_workspace", "workspace_id"),
)


class Environment(StrEnum):
    """What a key is for. It stands in the key itself."""

    LIVE = "live"
    TEST = "test"


class Overlap(IntEnum):
    """For how many hours a key that was replaced goes on working."""

    NONE = 0
    HOUR = 1
    DAY = 24
    WEEK = 168


class Scope(StrEnum):
    """What a key may do."""

    CREATE_IMAGES = "image:create"
    READ_TASKS = "task:read"
    WRITE_TASKS = "task:write"
    READ_USAGE = "usage:read"
    MANAGE_WEBHOOKS = "webhooks:manage"


@dataclass(frozen=True, slots=True)
class Caller:
    """The workspace and key behind one request."""

    workspace_id: WorkspaceId
    key_id: KeyId
    environment: Environment
    scopes: frozenset[str] | None
    models: frozenset[str] | None
    """Model ids as the key names them; None allows all."""
    expires_at: Micros | None
    plan: str
    """The name of the workspace's plan."""
    networks: Networks | None = None
    """Where its requests may come from; None allows every address."""
    purse: str = ""
    """What its spending is counted under, where it has a cap."""
    day_cap: Credits | None = None
    month_cap: Credits | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope."""
        return self.scopes is None or scope in self.scopes

    def may_use(self, model: str) -> bool:
        """Whether the key is allowed this model, by its id."""
        return self.models is None or model in self.models

    def may_come_from(self, address: Address | None) -> bool:
        """Whether the key is allowed this address; one that is not known is nowhere."""
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is made with. `expires_at` None is never."""

    name: str
    environment: Environment = Environment.LIVE
    expires_at: Micros | None = None
    scopes: tuple[Scope, ...] | None = None
    models: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    day_cap: Credits | None = None
    month_cap: Credits | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown again: without its secret."""

    id: KeyId
    workspace_id: WorkspaceId
    name: str
    environment: Environment
    hint: str
    scopes: tuple[str, ...] | None
    models: tuple[str, ...] | None
    created_at: Micros
    expires_at: Micros | None
    revoked_at: Micros | None
    last_used_at: Micros | None
    last_used_from: str | None
    networks: tuple[str, ...] | None
    day_cap: Credits | None
    month_cap: Credits | None
    replaced_by: KeyId | None


def mint_secret(environment: Environment) -> str:
    """Make a new key's text: 46 characters."""
    body = "".join(secrets.choice(_BASE62) for _ in range(32))
    head = f"dk-{environment}_{body}"
    return head + _checksum(head)


def is_well_formed(secret: str) -> bool:
    """Whether this could be a key of ours. Says nothing about whether it is."""
    if _KEY.fullmatch(secret) is None or secret in EXAMPLES:
        return False
    return secret[-6:] == _checksum(secret[:-6])


def digest(pepper: Pepper, secret: str) -> KeyDigest:
    """Return what the database keeps of a key."""
    return KeyDigest(hmac.digest(pepper, secret.encode(), hashlib.sha256))


def create_key(
    conn: Connection, pepper: Pepper, workspace_id: WorkspaceId, new: NewKey, now: Micros
) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret: the only time that the secret is known.

    Raises InvalidRequest, NotFound, and Conflict when the workspace has as many as it may.
    """
    # Locked: of two that are made at once, the second counts the first.
    if conn.execute(_LOCK_WORKSPACE, {"workspace": workspace_id}).first() is None:
        raise NotFound("workspace not found")
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidRequest("expires_at must be in the future")
    active = conn.scalar(_COUNT_ACTIVE, {"workspace": workspace_id, "now": now}) or 0
    if active >= MAX_ACTIVE:
        raise Conflict(f"the workspace has {active} active keys, as many as it may; revoke one")
    key_id = ids.key_id()
    row = {
        "workspace_id": workspace_id,
        "environment": new.environment,
        "name": checked_name(new.name),
        "scopes": _json(new.scopes),
        "models": _json(new.models),
        "expires_at": new.expires_at,
        "networks": _json(checked_networks(new.networks)),
        "day_cap": _checked_cap(new.day_cap),
        "month_cap": _checked_cap(new.month_cap),
        "purse": key_id,
    }
    return _insert(conn, pepper, key_id, row, now)


def rotate_key(
    conn: Connection, pepper: Pepper, key_id: KeyId, overlap: Overlap, now: Micros
) -> tuple[ApiKey, str]:
    """Create the successor of a key, with the same rights, and let the key end after the overlap.

    The successor lives as long as the key was made to live. It may be one key more than a
    workspace may have, until the overlap is over. Raises NotFound, and Conflict when the key does
    not work any more or was replaced already.
    """
    old = conn.execute(select(api_key).where(api_key.c.id == key_id)).first()
    if old is None:
        raise NotFound("key not found")
    ends = after(now, overlap * _HOUR_SECONDS)
    if old.expires_at is not None:
        ends = min(ends, old.expires_at)
    successor = ids.key_id()
    changed = conn.execute(_REPLACE, {"b_id": key_id, "now": now, "by": successor, "ends": ends})
    if changed.rowcount != 1:
        raise Conflict("the key was revoked, has expired or was replaced already")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    row = {
        **{name: getattr(old, name) for name in _INHERITED},
        "expires_at": None if lifetime is None else min(now + lifetime, _LATEST),
        # One from before there were purses begins its own.
        "purse": old.purse or old.id,
    }
    return _insert(conn, pepper, successor, row, now)


def list_keys(conn: Connection, workspace_id: WorkspaceId) -> list[ApiKey]:
    """Return a workspace's keys, oldest first, revoked ones too."""
    row_of(conn, workspace_id)
    keys = select(api_key).where(api_key.c.workspace_id == workspace_id)
    return [_key(row) for row in conn.execute(keys.order_by(api_key.c.created_at, api_key.c.id))]


def revoke_key(conn: Connection, key_id: KeyId, now: Micros) -> ApiKey:
    """Revoke a key for good; the first revocation's time stays."""
    conn.execute(
        update(api_key)
        .where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return _get_key(conn, key_id)


def revoke_leaked(
    conn: Connection, peppers: Sequence[Pepper], secret: str, now: Micros
) -> KeyId | None:
    """Revoke the key that this is; None when it is none of ours, or was revoked before."""
    if not is_well_formed(secret):
        return None
    given = [digest(pepper, secret) for pepper in peppers]
    found = conn.execute(_REVOKE_BY_DIGEST, {"given": given, "at": now}).first()
    return None if found is None else KeyId(found.id)


def find_callers(
    conn: Connection, digests: Sequence[KeyDigest], now: Micros
) -> list[Caller | None]:
    """Return who each digest is; None for a key that does not work now, whatever the reason."""
    rows = {row.digest: row for row in conn.execute(_BY_DIGESTS, {"digests": list(set(digests))})}
    return [_caller(rows.get(d), now) for d in digests]


def count_by_pepper(conn: Connection, now: Micros) -> dict[str | None, int]:
    """Return how many keys that may still work there are under each pepper, by its id."""
    working = (
        select(api_key.c.pepper_id, func.count().label("keys_of_it"))
        .where(
            api_key.c.revoked_at.is_(None),
            or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
        )
        .group_by(api_key.c.pepper_id)
    )
    return {row.pepper_id: row.keys_of_it for row in conn.execute(working)}


def touch_keys(conn: Connection, used: Sequence[tuple[KeyId, Micros, str | None]]) -> None:
    """Write down when keys were last used, and from which network where that is known."""
    if used:
        rows = [{"b_id": key_id, "at": at, "from": where} for key_id, at, where in used]
        conn.execute(_TOUCH, rows)


def checked_networks(networks: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return networks as they are kept, or raise InvalidRequest. A single address is one too."""
    if networks is None:
        return None
    try:
        read = [ip_network(text.strip()) for text in networks]
    except ValueError as error:
        raise InvalidRequest("networks must be addresses or networks such as 10.0.0.0/8") from error
    if not 0 < len(read) <= MAX_NETWORKS:
        raise InvalidRequest(f"networks must have 1 to {MAX_NETWORKS} entries")
    return tuple(dict.fromkeys(str(network) for network in read))


MAX_ACTIVE: Final = 20
"""Keys of a workspace that work at once."""
MAX_NETWORKS: Final = 50
EXAMPLES: Final = frozenset(
    {
        "dk-1234567890abcdef",
        "dk-live_0123456789ABCDEFGHIJKLMNOPQRSTUV05H69u",
        "dk-test_0123456789ABCDEFGHIJKLMNOPQRSTUV3JVSxn",
    }
)
"""Keys that stand in documents: refused even if they were in the database."""
_INHERITED: Final = (
    "workspace_id",
    "environment",
    "name",
    "scopes",
    "models",
    "networks",
    "day_cap",
    "month_cap",
)
_HOUR_SECONDS: Final = 3600.0
# The last second that a date can be written of.
_LATEST: Final = 253_402_300_799 * SECOND
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(r"dk-(?:live|test)_[0-9A-Za-z]{38}", re.ASCII)


def _checksum(head: str) -> str:
    value, digits = zlib.crc32(head.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits


def _insert(
    conn: Connection, pepper: Pepper, key_id: KeyId, row: Mapping[str, object], now: Micros
) -> tuple[ApiKey, str]:
    secret = mint_secret(Environment(str(row["environment"])))
    made = {
        "id": key_id,
        "digest": digest(pepper, secret),
        "pepper_id": pepper_id(pepper),
        "hint": f"{secret[:12]}…{secret[-4:]}",
        "created_at": now,
    }
    conn.execute(insert(api_key), {**row, **made})
    return _get_key(conn, key_id), secret


def _checked_cap(cap: Credits | None) -> Credits | None:
    if cap is not None and not 0 <= cap <= MAX_CREDITS:
        raise InvalidRequest("a cap must be between 0 and 1000000000000")
    return cap


def _get_key(conn: Connection, key_id: KeyId) -> ApiKey:
    row = conn.execute(select(api_key).where(api_key.c.id == key_id)).first()
    if row is None:
        raise NotFound("key not found")
    return _key(row)


def _key(row: Row[*tuple[Any, ...]]) -> ApiKey:
    return ApiKey(
        id=KeyId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        name=row.name,
        environment=Environment(row.environment),
        hint=row.hint,
        scopes=_strings(row.scopes),
        models=_strings(row.models),
        created_at=Micros(row.created_at),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        last_used_from=row.last_used_from,
        networks=_strings(row.networks),
        day_cap=row.day_cap,
        month_cap=row.month_cap,
        replaced_by=row.replaced_by,
    )


def _caller(row: Row[*tuple[Any, ...]] | None, now: Micros) -> Caller | None:
    if row is None or row.status != WorkspaceStatus.ACTIVE or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= now:
        return None
    scopes, models = _strings(row.scopes), _strings(row.models)
    return Caller(
        workspace_id=WorkspaceId(row.workspace_id),
        key_id=KeyId(row.id),
        environment=Environment(row.environment),
        scopes=None if scopes is None else frozenset(scopes),
        models=None if models is None else frozenset(models),
        expires_at=row.expires_at,
        plan=row.plan,
        networks=None if row.networks is None else _networks(row.networks),
        purse=row.purse or row.id,
        day_cap=row.day_cap,
        month_cap=row.month_cap,
    )


@lru_cache(maxsize=4096)
def _networks(text: str) -> Networks:
    # Kept: a key's caller is built twice a second, and reading a network costs more than all else.
    return tuple(ip_network(one) for one in msgspec.json.decode(text, type=tuple[str, ...]))


def _json(values: Sequence[str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _strings(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


_BY_DIGESTS: Final = (
    select(api_key, workspace.c.status, workspace.c.plan)
    .join(workspace, workspace.c.id == api_key.c.workspace_id)
    .where(api_key.c.digest.in_(bindparam("digests", expanding=True)))
)
_TOUCH: Final = (
    update(api_key)
    .where(api_key.c.id == bindparam("b_id"))
    .values(
        last_used_at=bindparam("at"),
        last_used_from=func.coalesce(bindparam("from"), api_key.c.last_used_from),
    )
)
_WORKS: Final = and_(
    api_key.c.revoked_at.is_(None),
    or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > bindparam("now")),
)
_LOCK_WORKSPACE: Final = (
    select(workspace.c.id).where(workspace.c.id == bindparam("workspace")).with_for_update()
)
_COUNT_ACTIVE: Final = select(func.count()).where(
    api_key.c.workspace_id == bindparam("workspace"), _WORKS
)
_REPLACE: Final = (
    update(api_key)
    .where(api_key.c.id == bindparam("b_id"), api_key.c.replaced_by.is_(None), _WORKS)
    .values(replaced_by=bindparam("by"), expires_at=bindparam("ends"))
)
_REVOKE_BY_DIGEST: Final = (
    update(api_key)
    .where(api_key.c.digest.in_(bindparam("given", expanding=True)), api_key.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
    .returning(api_key.c.id)
)
