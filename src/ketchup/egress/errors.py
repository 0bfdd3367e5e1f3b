"""Why an address was not opened. The tree is drawn in the package's docstring."""

from __future__ import annotations

from typing import Final


class EgressError(Exception):
    """`str(error)` is the same for every kind; `detail` is for the log and never leaves us."""

    SENTENCE: Final = "the address could not be reached"

    def __init__(self, detail: str) -> None:
        super().__init__(self.SENTENCE)
        self.detail = detail


class BadUrl(EgressError):
    """Not an http(s) URL that we would open."""


class Blocked(EgressError):
    """Resolves to an address, or names a port, that is not for callers."""


class Unreachable(EgressError):
    """No usable answer: no such host, refused, broken TLS, broken HTTP, or an error status."""


class TimedOut(EgressError):
    """No complete answer within the deadline."""


class Crowded(EgressError):
    """Not tried: too much was being read from there, or for the same workspace."""


class TooLarge(EgressError):
    """The answer is over its limit."""


class WrongType(EgressError):
    """The answer is of a media type that was not asked for."""
