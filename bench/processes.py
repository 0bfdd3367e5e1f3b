"""Processes, as Linux tells of them."""

from __future__ import annotations

from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, by their ids."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for file in children for child in file.read_text().split()]
    return [pid, *(one for child in found for one in tree(child))]
