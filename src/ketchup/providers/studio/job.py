"""The words that server and renderer exchange. Imported by both, so it imports almost nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to render."""

    prompt: str
    seed: int
    width: int
    height: int
    """The picture's size in pixels."""
    scale: int
    """How many times larger than `1K`: the scene is laid out at 1K and drawn at its size."""
    format: str
    """`png`, `jpeg` or `webp`."""
    references: tuple[bytes, ...] = ()
    is_test: bool = False
    """Whether the picture says that it is a test's."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The renderer's answer: a file, or what went wrong in words for the operator's log."""

    image: bytes = b""
    error: str = ""
