"""What was asked of the fake, and how a dialect answers: the same for every dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ketchup.testing.faults import Fault, Limited
from ketchup.testing.http import Answer, Request


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it was understood."""

    dialect: str
    model: str
    prompt: str
    references: Sequence[bytes]
    count: int
    size: tuple[int, int]
    """Of the picture that is drawn: an eighth of what was asked for."""
    format: str
    """`png`, `jpeg` or `webp`."""
    seed: int
    key: str
    fields: Mapping[str, Any]
    """Everything that was sent, as the dialect has it."""
    request: Request


class Dialect(Protocol):
    """One upstream's language."""

    def understands(self, request: Request) -> bool:
        """Whether the request is one of this dialect's."""
        ...

    def read(self, request: Request) -> Asked:
        """Read a request. Raises ValueError for one that the real engine would refuse as well."""
        ...

    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        """Answer with pictures in base64."""
        ...

    def file(self, request: Request) -> Answer | None:
        """Answer with a picture that was given by its address; None for any other path."""
        ...

    def failure(self, fault: Fault, asked: Asked) -> Answer | None:
        """Answer with a fault; None for one that is made of a right answer."""
        ...

    def limited(self, limit: Limited) -> Answer:
        """Ask for a pause."""
        ...

    def malformed(self, why: str) -> Answer:
        """Refuse a request that makes no sense."""
        ...
