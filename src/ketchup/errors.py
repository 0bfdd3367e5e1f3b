"""The kinds of error that can reach a caller.

Features define their facts under these, next to the code that raises them.

KetchupError
├── InvalidRequest        the caller sent something we cannot accept          400
├── Unauthenticated       the key is missing, malformed, unknown or no longer good  401
├── InsufficientFunds     the workspace cannot cover the price                 402
├── Forbidden             the key is good, but may not do this                 403
├── NotFound              absent, or somebody else's                           404
├── Gone                  it was there, is the caller's, and was deleted     410
├── Conflict              contradicts what is already there                    409
├── TooLarge              the body is over its limit                           413
├── RateLimited           too often; says when to come back                    429
└── Unavailable           not now; says when to come back                      503

The HTTP surfaces alone map a kind to a status and a body. What is not a KetchupError is our own
fault: it answers 500, is logged with the request id, and tells the caller nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable


class KetchupError(Exception):
    """A fact that a caller may be told. `str(error)` is one clear English sentence for them."""


class InvalidRequest(KetchupError):
    """The caller sent something we cannot accept."""


class Unauthenticated(KetchupError):
    """The API key is missing, malformed or no longer good, or its workspace is suspended."""


class InsufficientFunds(KetchupError):
    """The workspace cannot cover the price."""


class Forbidden(KetchupError):
    """The key is good, but may not do this."""


class NotFound(KetchupError):
    """The thing is absent, or belongs to somebody else: the caller cannot tell which."""


class Gone(KetchupError):
    """The thing was the caller's, and was deleted. Nobody else is told so."""


class Conflict(KetchupError):
    """The request contradicts what is already there."""


class TooLarge(KetchupError):
    """The request body is over its limit."""


class RateLimited(KetchupError):
    """Too many requests. `retry_after` is in seconds; `headers` name the limit, as `pace` does."""

    def __init__(
        self, message: str, *, retry_after: float, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = tuple(headers)


class Unavailable(KetchupError):
    """The request is fine, but cannot be served now. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
