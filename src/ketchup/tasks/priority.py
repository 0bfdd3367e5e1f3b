"""Priority: which of its own tasks a workspace wants first."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """The order within one workspace, higher first; it gains nothing against the others."""

    LOW = -1
    NORMAL = 0
    HIGH = 1
