"""Priority: which of a workspace's own tasks goes first."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Higher goes first, among the tasks of one workspace."""

    LOW = -1
    NORMAL = 0
    HIGH = 1
