"""What an error of the database means: the store is down, the work met other work, or it is wrong.

Only the first may be waited for. A statement that is wrong stays wrong; whoever repeated it until
it is taken would do so for ever.
"""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError


class Fault(Enum):
    """What to do about an error."""

    DOWN = auto()  # the store does not work now: throw the connection away, say Unavailable
    COLLISION = auto()  # other work was in the way: the same transaction may pass when repeated
    MISTAKE = auto()  # it will never pass


def fault_of(error: DBAPIError) -> Fault:
    """Judge by the code that the database gave, never by its words."""
    if error.connection_invalidated:
        return Fault.DOWN
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_fault(error.orig)
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:
        # The client's own: no connection, or one that broke.
        lost = isinstance(error, OperationalError | InterfaceError)
        return Fault.DOWN if lost else Fault.MISTAKE
    if state in _COLLISIONS:
        return Fault.COLLISION
    return Fault.DOWN if state[:2] in _DOWN_CLASSES or state in _DOWN else Fault.MISTAKE


def _sqlite_fault(error: sqlite3.Error) -> Fault:
    # The low byte is the primary code: https://sqlite.org/rescode.html
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return Fault.DOWN if isinstance(error, sqlite3.InterfaceError) else Fault.MISTAKE
    return Fault.DOWN if code & 0xFF in _SQLITE_DOWN else Fault.MISTAKE


_SQLITE_DOWN: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOTADB,
    }
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_COLLISIONS: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_DOWN_CLASSES: Final = frozenset(
    {
        "08",  # connection exception
        "28",  # invalid authorization: an operator's matter, and it may be mended meanwhile
        "3D",  # the database does not exist
        "53",  # insufficient resources: disk full, too many connections
        "57",  # operator intervention: shut down, starting up, statement timeout
        "58",  # system error: I/O
        "XX",  # internal error, data corrupted
    }
)
_DOWN: Final = frozenset(
    {
        "25006",  # read-only: this is not the primary any more
        "25P03",  # we were idle in a transaction for too long: this process had been stopped
        "55P03",  # a lock was not to be had in time
    }
)
