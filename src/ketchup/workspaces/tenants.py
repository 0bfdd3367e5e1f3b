"""Workspaces: the tenants, and the secrets that sign their webhooks.

A webhook secret is random, or a customer's own, and lies sealed in the row. One from before there
were sealed ones is derived from the first pepper and a version number until it is rotated. Rotating
puts another in its place; the one before signs along until its time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    bindparam,
    event,
    insert,
    select,
    update,
)

from ketchup import ids
from ketchup.clock import Micros, after
from ketchup.db import metadata
from ketchup.errors import InvalidRequest, NotFound
from ketchup.ids import WorkspaceId
from ketchup.signing import checked_secret, secret_from_bytes
from ketchup.workspaces.vault import Vault

workspace = Table(
    "workspace",
    metadata,
    Column("id", String(40), primary_key=True),
    # Stands in image addresses, so it never changes and is never used again: `workspace_number`.
    Column("number", Integer, nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("status", String(12), nullable=False),
    # Not read: the plan says it.
    Column("retention_days", Integer, nullable=False),
    Column("secret_version", Integer, nullable=False),
    # Until when the version before still signs along; null when it does not.
    Column("old_secret_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    # The name of a plan of the settings.
    Column("plan", String(40), nullable=False, server_default="scale"),
    # The secret that signs callbacks and the one before it, each sealed for its own place; null
    # where it is derived.
    Column("sealed_secret", LargeBinary),
    Column("old_sealed_secret", LargeBinary),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
)

workspace_number = Table(
    "workspace_number",
    metadata,
    # One row: the number that was given last. Taking the next one locks it, so that two processes
    # never take the same, and it does not go back when a workspace goes.
    Column("id", Integer, primary_key=True),
    Column("latest", Integer, nullable=False),
)
# The first workspace's number: three digits, as in the addresses that clients know.
_FIRST_NUMBER: Final = 100


@event.listens_for(workspace_number, "after_create")
def _set_number(_table: Table, conn: Connection, **_options: object) -> None:
    """Begin before the first number, as the migration does."""
    conn.execute(insert(workspace_number).values(id=1, latest=_FIRST_NUMBER - 1))


class WorkspaceStatus(StrEnum):
    """Whether a workspace's keys work."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant."""

    id: WorkspaceId
    number: int
    name: str
    status: WorkspaceStatus
    plan: str
    """The name of its plan, which the settings may not have any more: see `Plans.find`."""
    created_at: Micros


def create(conn: Connection, name: str, plan: str, now: Micros) -> Workspace:
    """Create an active workspace on a plan, with the next number."""
    workspace_id = ids.workspace_id()
    row = {
        "id": workspace_id,
        "name": checked_name(name),
        "number": conn.execute(_NEXT_NUMBER).scalar_one(),
        "status": WorkspaceStatus.ACTIVE,
        "plan": plan,
        "retention_days": _OLD_RETENTION_DAYS,
        "secret_version": 1,
        "created_at": now,
    }
    conn.execute(insert(workspace), row)
    return get(conn, workspace_id)


def lock_creation(conn: Connection) -> None:
    """Let nobody else create a workspace before this transaction ends."""
    conn.execute(select(workspace_number).with_for_update())


def get(conn: Connection, workspace_id: WorkspaceId) -> Workspace:
    """Return the workspace, or raise NotFound."""
    return _workspace(row_of(conn, workspace_id))


def list_all(conn: Connection) -> list[Workspace]:
    """Return every workspace, oldest first."""
    return [_workspace(row) for row in conn.execute(select(workspace).order_by(workspace.c.number))]


def find_plan(conn: Connection, number: int) -> str | None:
    """Return the name of a workspace's plan; None for an unknown number."""
    return conn.scalar(select(workspace.c.plan).where(workspace.c.number == number))


def find_plans(conn: Connection, workspace_ids: Iterable[WorkspaceId]) -> dict[WorkspaceId, str]:
    """Return the name of each workspace's plan, of those that there are."""
    rows = conn.execute(_PLANS, {"ids": list(workspace_ids)})
    return {WorkspaceId(row.id): row.plan for row in rows}


def set_status(conn: Connection, workspace_id: WorkspaceId, status: WorkspaceStatus) -> Workspace:
    """Suspend a workspace or make it active again; the same status twice is no error."""
    conn.execute(update(workspace).where(workspace.c.id == workspace_id).values(status=status))
    return get(conn, workspace_id)


def set_plan(conn: Connection, workspace_id: WorkspaceId, plan: str) -> Workspace:
    """Name another plan; that there is one of this name is for the caller to know."""
    conn.execute(update(workspace).where(workspace.c.id == workspace_id).values(plan=plan))
    return get(conn, workspace_id)


def webhook_secrets(
    conn: Connection, vault: Vault, workspace_id: WorkspaceId, now: Micros
) -> list[str]:
    """Return the secrets that sign now, the current one first."""
    row = row_of(conn, workspace_id)
    found = [_opened(conn, vault, row, "sealed_secret", row.secret_version)]
    if row.old_secret_until is not None and now < row.old_secret_until:
        found.append(_opened(conn, vault, row, "old_sealed_secret", row.secret_version - 1))
    return found


def rotate_webhook_secret(
    conn: Connection,
    vault: Vault,
    workspace_id: WorkspaceId,
    overlap_seconds: float,
    now: Micros,
    *,
    secret: str | None = None,
) -> str:
    """Put another secret in place and return it; the one before signs along for the overlap.

    A random one, unless the customer brings `secret`. Raises InvalidRequest for one that is none.
    """
    if secret is not None:
        try:
            checked_secret(secret)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
    new = secret or secret_from_bytes(secrets.token_bytes(_SECRET_BYTES))
    # Before the row is read: a rotation of the secret key seals it anew.
    vault.for_writing(conn)
    row = row_of(conn, workspace_id)
    until, old = None, None
    if overlap_seconds > 0:
        until = after(now, overlap_seconds)
        current = _opened(conn, vault, row, "sealed_secret", row.secret_version)
        old = _sealed(conn, vault, workspace_id, "old_sealed_secret", current)
    conn.execute(
        update(workspace)
        .where(workspace.c.id == workspace_id)
        .values(
            secret_version=workspace.c.secret_version + 1,
            sealed_secret=_sealed(conn, vault, workspace_id, "sealed_secret", new),
            old_sealed_secret=old,
            old_secret_until=until,
        )
    )
    return new


def reseal_webhook_secrets(conn: Connection, before: Vault, now: Micros) -> Callable[[Vault], int]:
    """Open every secret that signs, derived ones too; what is returned seals them all anew."""
    rows = conn.execute(select(workspace).with_for_update()).all()
    found = {row.id: webhook_secrets(conn, before, row.id, now) for row in rows}

    def seal(vault: Vault) -> int:
        for workspace_id, (current, *old) in found.items():
            sealed = {
                "sealed_secret": _sealed(conn, vault, workspace_id, "sealed_secret", current),
                "old_sealed_secret": _sealed(conn, vault, workspace_id, "old_sealed_secret", old[0])
                if old
                else None,
            }
            if not old:
                sealed["old_secret_until"] = None
            conn.execute(update(workspace).where(workspace.c.id == workspace_id).values(sealed))
        return len(found)

    return seal


_SECRET_BYTES: Final = 32


def _opened(
    conn: Connection, vault: Vault, row: Row[*tuple[Any, ...]], column: str, version: int
) -> str:
    sealed = getattr(row, column)
    if sealed is not None:
        return vault.unseal(conn, bytes(sealed), _place(row.id, column)).decode()
    label = f"webhook-secret:{row.id}:{version}".encode()
    return secret_from_bytes(hmac.digest(vault.first_pepper(conn), label, hashlib.sha256))


def _sealed(conn: Connection, vault: Vault, workspace_id: str, column: str, secret: str) -> bytes:
    return vault.seal(conn, secret.encode(), _place(workspace_id, column))


def _place(workspace_id: str, column: str) -> str:
    return f"workspace/{workspace_id}/{column}"


_MAX_NAME: Final = 200
_OLD_RETENTION_DAYS: Final = 30


def checked_name(name: str) -> str:
    """Return the name without white space around it, or raise InvalidRequest."""
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise InvalidRequest(f"name must have 1 to {_MAX_NAME} printable characters")
    return name.strip()


def row_of(conn: Connection, workspace_id: WorkspaceId) -> Row[*tuple[Any, ...]]:
    """Return the workspace's row, or raise NotFound."""
    row = conn.execute(select(workspace).where(workspace.c.id == workspace_id)).first()
    if row is None:
        raise NotFound("workspace not found")
    return row


def _workspace(row: Row[*tuple[Any, ...]]) -> Workspace:
    return Workspace(
        id=WorkspaceId(row.id),
        number=row.number,
        name=row.name,
        status=WorkspaceStatus(row.status),
        plan=row.plan,
        created_at=Micros(row.created_at),
    )


_NEXT_NUMBER: Final = (
    update(workspace_number)
    .values(latest=workspace_number.c.latest + 1)
    .returning(workspace_number.c.latest)
)
_PLANS: Final = select(workspace.c.id, workspace.c.plan).where(
    workspace.c.id.in_(bindparam("ids", expanding=True))
)
