"""Webhook signatures, by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), scheme `v1`.

The signed text is `id.timestamp.body`, the MAC is HMAC-SHA256, the header is one or more
space-separated `v1,<base64>`: two while a secret is being rotated. A secret is `whsec_` and the
base64 of 24 to 64 bytes. The clients' half, `verify`, lives here too, because the SDK imports
nothing else from the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 the published prefix, not a secret
TOLERANCE_SECONDS: Final = 300
# Python refuses to read an integer of thousands of digits, by an error of its own.
_STAMP: Final = re.compile(r"[0-9]{1,15}")


class SignatureInvalid(ValueError):
    """The message was not signed by this secret, was changed on its way, or is too old."""


def headers(
    secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the three headers for a message, signed by every secret; `timestamp` in seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            _sign(secret, message_id, timestamp, body) for secret in secrets
        ),
    }


def verify(secret: str, received: Mapping[str, str], body: bytes, *, now: int) -> None:
    """Check a received message; `received` has lower-case header names, `now` is in seconds.

    Raises SignatureInvalid; the reason is for the receiver's log, not for the sender.
    """
    message_id, stamp = received.get("webhook-id", ""), received.get("webhook-timestamp", "")
    if not message_id or _STAMP.fullmatch(stamp) is None:
        raise SignatureInvalid("the webhook headers are missing or malformed")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureInvalid("the timestamp is more than five minutes off")
    expected = _sign(secret, message_id, int(stamp), body)
    candidates = received.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(expected.encode(), c.encode()) for c in candidates):
        raise SignatureInvalid("no signature matches")


def secret_from_bytes(raw: bytes) -> str:
    """Write key bytes in the form that receivers are given."""
    return SECRET_PREFIX + base64.b64encode(raw).decode()


def checked_secret(secret: str) -> str:
    """Return what is a secret by the standard. Raises ValueError, which does not repeat it."""
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(_key(secret)) <= 64:  # noqa: PLR2004 the standard's bounds
        raise ValueError("a webhook secret is whsec_ followed by the base64 of 24 to 64 bytes")
    return secret


def _sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    mac = hmac.new(_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError("a webhook secret is whsec_ followed by base64") from error
