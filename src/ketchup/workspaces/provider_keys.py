"""Providers' keys that lie in the database, sealed: a whole fleet shares them without a file.

A name is `gemini`, `openai`, or a channel's. What the settings say of a key comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from ketchup.clock import Micros
from ketchup.db import metadata
from ketchup.errors import InvalidRequest
from ketchup.workspaces.vault import Vault

provider_key = Table(
    "provider_key",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
_MAX_KEY: Final = 4096


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """That there is a key, and since when; never the key."""

    name: str
    updated_at: Micros


def set_provider_key(
    conn: Connection, vault: Vault, name: str, key: str, now: Micros
) -> ProviderKey:
    """Keep a key under a name, instead of the one before. Raises InvalidRequest."""
    if not key.isascii() or not key.isprintable() or not 0 < len(key.strip()) <= _MAX_KEY:
        raise InvalidRequest(f"a key must have 1 to {_MAX_KEY} printable ASCII characters")
    sealed = vault.seal(conn, key.strip().encode(), _place(name))
    conn.execute(delete(provider_key).where(provider_key.c.name == name))
    conn.execute(insert(provider_key), {"name": name, "sealed": sealed, "updated_at": now})
    return ProviderKey(name, now)


def remove_provider_key(conn: Connection, name: str) -> bool:
    """Forget a key; False when there was none."""
    return conn.execute(delete(provider_key).where(provider_key.c.name == name)).rowcount > 0


def list_provider_keys(conn: Connection) -> list[ProviderKey]:
    """Return which keys there are, by name."""
    rows = conn.execute(
        select(provider_key.c.name, provider_key.c.updated_at).order_by(provider_key.c.name)
    )
    return [ProviderKey(row.name, Micros(row.updated_at)) for row in rows]


def open_provider_keys(conn: Connection, vault: Vault) -> dict[str, str]:
    """Return every key by its name."""
    rows = conn.execute(select(provider_key.c.name, provider_key.c.sealed)).all()
    return {
        row.name: vault.unseal(conn, bytes(row.sealed), _place(row.name)).decode() for row in rows
    }


def reseal_provider_keys(conn: Connection, before: Vault) -> Callable[[Vault], int]:
    """Open every key; what is returned seals them all anew."""
    found = open_provider_keys(conn, before)

    def seal(vault: Vault) -> int:
        for name, key in found.items():
            sealed = vault.seal(conn, key.encode(), _place(name))
            conn.execute(
                update(provider_key).where(provider_key.c.name == name).values(sealed=sealed)
            )
        return len(found)

    return seal


def _place(name: str) -> str:
    return f"provider_key/{name}/sealed"
