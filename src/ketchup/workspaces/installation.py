"""The installation: every process on one database has the same secret key.

The database keeps a value that only the key can make. A process with another key would find no API
key good and sign webhooks with secrets that nobody knows: it is refused at its start instead.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from sqlalchemy import Column, Connection, Integer, LargeBinary, Table, select

from ketchup.db import insert_new, metadata
from ketchup.workspaces.tenants import Pepper

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
    """Raise WrongSecretKey unless this is the key of the database; the first one becomes it."""
    ours = hmac.digest(pepper, b"installation", hashlib.sha256)
    conn.execute(insert_new(installation), {"id": 1, "secret_check": ours})
    kept: bytes = conn.execute(select(installation.c.secret_check)).scalar_one()
    if not hmac.compare_digest(bytes(kept), ours):
        raise WrongSecretKey(_MESSAGE)


_MESSAGE: Final = (
    "the database was made with another secret key; give this process the same one"
    " (secret.key of the data folder, or KETCHUP_SECRET_KEY_FILE)"
)
