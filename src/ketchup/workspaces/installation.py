"""The installation: every process on one database has a secret key that it knows.

The database keeps values that only the key can make. A process with another key would find no API
key good and could open nothing that is sealed: it is refused at its start instead.
"""

from __future__ import annotations

import hmac
from typing import Final

from sqlalchemy import Connection, delete, select, update

from ketchup.workspaces.tenants import workspace
from ketchup.workspaces.vault import Vault, installation, key_ring


class WrongSecretKey(Exception):
    """The database was made with another secret key; `str(error)` is one sentence."""


def require_same_secret(conn: Connection, vault: Vault) -> None:
    """Raise WrongSecretKey unless this is a key of the database.

    The first one becomes it, and may still be changed while nothing was made with it: a schema is
    often made by a job whose folder is thrown away. During a rotation there are two.
    """
    newest = vault.lock(conn)
    known = set(conn.scalars(select(key_ring.c.key_id)))
    if vault.key_id in known or (not known and hmac.compare_digest(newest, vault.check)):
        return
    if conn.execute(select(workspace.c.id).limit(1)).first() is not None:
        raise WrongSecretKey(_MESSAGE)
    conn.execute(delete(key_ring))
    conn.execute(update(installation).values(secret_check=vault.check))


_MESSAGE: Final = (
    "the database was made with another secret key; give this process the same one"
    " (secret.key of the data folder, or KETCHUP_SECRET_KEY_FILE)"
)
