"""Processes, as Linux tells of them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, by their ids."""
    found: list[int] = []
    # One of its threads may end while we look.
    with contextlib.suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in file.read_text().split()]
    return [pid, *(one for child in found for one in tree(child))]
