"""The installation: every process on one database has the same secret key.

The database keeps a value that only the key can make. A process with another key would find no API
key good and sign webhooks with secrets that nobody knows: it is refused at its start instead.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from sqlalchemy import Column, Connection, Integer, LargeBinary, Table, select, update

from ketchup.db import insert_new, metadata
from ketchup.workspaces.tenants import Pepper, workspace

installation = Table(
    "installation",
    metadata,
    # One row.
    Column("id", Integer, primary_key=True),
    Column("secret_check", LargeBinary, nullable=False),
)


class WrongSecretKey(Exception):
    """The database was made with another secret key; `str(error)` is one sentence."""


def require_same_secret(conn: Connection, pepper: Pepper) -> None:
    """Raise WrongSecretKey unless this is the key of the database.

    The first one becomes it, and may still be changed while nothing was made with it: a schema is
    often made by a job whose folder is thrown away.
    """
    ours = hmac.digest(pepper, b"installation", hashlib.sha256)
    if conn.scalar(_KEPT) is None:
        conn.execute(insert_new(installation), {"id": 1, "secret_check": ours})
    kept = conn.execute(_KEPT).scalar_one()
    if hmac.compare_digest(bytes(kept), ours):
        return
    if conn.execute(select(workspace.c.id).limit(1)).first() is not None:
        raise WrongSecretKey(_MESSAGE)
    conn.execute(update(installation).values(secret_check=ours))


_KEPT: Final = select(installation.c.secret_check)
_MESSAGE: Final = (
    "the database was made with another secret key; give this process the same one"
    " (secret.key of the data folder, or KETCHUP_SECRET_KEY_FILE)"
)
