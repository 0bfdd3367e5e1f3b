"""How a command fails: one clear sentence on standard error, and an exit code that scripts can use.

A command raises `Failure`, or lets an error through that `failure_of` knows. Anything else is our
own fault and keeps its traceback.
"""

from __future__ import annotations

import sys
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes. Wrong usage is 2, as everywhere."""

    REFUSED = 1
    """It was understood, and could not be done."""
    SETTINGS = 2
    """The flags, variables or `ketchup.toml` cannot be used."""
    DATA_FOLDER = 3
    """The data folder is in use, or cannot be used."""
    UNREACHABLE = 4
    """No server answers."""


class Failure(Exception):
    """A command could not do its work; `str(failure)` says why, one sentence per line."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message)
        self.exit = code


def failure_of(error: Exception) -> Failure | None:
    """Return the failure that an error amounts to, or None for a bug.

    A module that was never loaded cannot have raised: asking for it here would slow every start.
    """
    if isinstance(error, Failure):
        return error
    for module, name, code in _KNOWN:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return Failure(str(error), code)
    return None


_KNOWN = (
    ("ketchup.config.sources", "SettingsError", Exit.SETTINGS),
    ("ketchup.data_folder", "DataFolderError", Exit.DATA_FOLDER),
    ("ketchup.migrations", "SchemaTooNew", Exit.DATA_FOLDER),
    ("ketchup.migrations", "SchemaTooOld", Exit.DATA_FOLDER),
    ("ketchup.migrations", "DatabaseUnusable", Exit.DATA_FOLDER),
    ("ketchup.workspaces.installation", "WrongSecretKey", Exit.DATA_FOLDER),
    ("ketchup.workspaces.rotation", "RotationRefused", Exit.REFUSED),
    # A start that finds no room for its first rows; once it serves, this is a 503 and no failure.
    ("ketchup.errors", "Unavailable", Exit.DATA_FOLDER),
)
