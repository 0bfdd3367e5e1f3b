"""API keys: minted, kept as digests, revoked.

A key is `dk-live_` or `dk-test_`, 32 random base62 characters (190 bits) and 6 of a CRC-32, so that
a typo is known without the database and a scanner finds leaked keys without false alarms. It is
shown once. The database keeps HMAC-SHA256(pepper, key); the pepper lives outside it, so neither
reading nor writing the database yields a key that works.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
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
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from ketchup import ids
from ketchup.clock import Micros
from ketchup.db import metadata
from ketchup.errors import InvalidRequest, NotFound
from ketchup.ids import KeyId, WorkspaceId
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
    # Names the pepper of the digest; null for the first one.
    Column("pepper_id", String(16)),
    Index("api_key_of_workspace", "workspace_id"),
)


class Environment(StrEnum):
    """What a key is for. It stands in the key itself."""

    LIVE = "live"
    TEST = "test"


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

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope."""
        return self.scopes is None or scope in self.scopes

    def may_use(self, model: str) -> bool:
        """Whether the key is allowed this model, by its id."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is made with. `expires_at` None is never."""

    name: str
    environment: Environment = Environment.LIVE
    expires_at: Micros | None = None
    scopes: tuple[Scope, ...] | None = None
    models: tuple[str, ...] | None = None


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


def mint_secret(environment: Environment) -> str:
    """Make a new key's text: 46 characters."""
    body = "".join(secrets.choice(_BASE62) for _ in range(32))
    head = f"dk-{environment}_{body}"
    return head + _checksum(head)


def is_well_formed(secret: str) -> bool:
    """Whether this could be a key of ours. Says nothing about whether it is."""
    return _KEY.fullmatch(secret) is not None and secret[-6:] == _checksum(secret[:-6])


def digest(pepper: Pepper, secret: str) -> KeyDigest:
    """Return what the database keeps of a key."""
    return KeyDigest(hmac.digest(pepper, secret.encode(), hashlib.sha256))


def create_key(
    conn: Connection, pepper: Pepper, workspace_id: WorkspaceId, new: NewKey, now: Micros
) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret: the only time that the secret is known."""
    row_of(conn, workspace_id)
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidRequest("expires_at must be in the future")
    secret = mint_secret(new.environment)
    key_id = ids.key_id()
    row = {
        "id": key_id,
        "workspace_id": workspace_id,
        "environment": new.environment,
        "name": checked_name(new.name),
        "digest": digest(pepper, secret),
        "pepper_id": pepper_id(pepper),
        "hint": f"{secret[:12]}…{secret[-4:]}",
        "scopes": _json(new.scopes),
        "models": _json(new.models),
        "created_at": now,
        "expires_at": new.expires_at,
    }
    conn.execute(insert(api_key), row)
    return _get_key(conn, key_id), secret


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


def touch_keys(conn: Connection, used: Sequence[tuple[KeyId, Micros]]) -> None:
    """Write down when keys were last used."""
    if used:
        conn.execute(_TOUCH, [{"b_id": key_id, "at": at} for key_id, at in used])


_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(r"dk-(?:live|test)_[0-9A-Za-z]{38}", re.ASCII)


def _checksum(head: str) -> str:
    value, digits = zlib.crc32(head.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits


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
    )


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
    update(api_key).where(api_key.c.id == bindparam("b_id")).values(last_used_at=bindparam("at"))
)
