"""Ids: what they look like and how they are made.

Ids are opaque to callers and to every other module.

A task id is a UUIDv7 (RFC 9562) whose first two characters are replaced by `ta`: 36 characters, as
the contract shows. Time-ordered keys insert at the right edge of the index; random ones were
measured 12 to 36 times slower. The replaced byte is the top of a 48-bit millisecond count, so ids
minted in one 35-year span still sort by time.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable
from typing import Final, NewType

TaskId = NewType("TaskId", str)
WorkspaceId = NewType("WorkspaceId", str)
KeyId = NewType("KeyId", str)
RequestId = NewType("RequestId", str)
WorkerId = NewType("WorkerId", str)
DeliveryId = NewType("DeliveryId", str)

_MAX_ID: Final = 40

Entropy = Callable[[int], bytes]
"""Returns that many random bytes: `os.urandom`, or a seeded source in simulations."""


def task_id(now_micros: int, entropy: Entropy = os.urandom) -> TaskId:
    """Mint a time-ordered task id. 74 bits are random."""
    raw = bytearray((now_micros // 1000).to_bytes(6, "big") + entropy(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return TaskId(f"ta{text[2:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def could_be_an_id(text: str) -> bool:
    """Whether a database would take it as one: no NUL, no half of a character."""
    return len(text) <= _MAX_ID and text.isascii() and text.isprintable()


def task_id_floor(at_micros: int, now_micros: int) -> str:
    """Return what sorts before every task id minted at this time or later, and behind all others.

    `now_micros` says which 35 years the ids are of. Exact to the millisecond.
    """
    milliseconds, spans = at_micros // 1000, at_micros // 1000 >> 40
    if spans != (now_micros // 1000 >> 40):
        return "ta" if at_micros < now_micros else "tb"
    text = f"{milliseconds & (1 << 40) - 1:010x}"
    return f"ta{text[:6]}-{text[6:]}"


def workspace_id() -> WorkspaceId:
    """Mint `ws_` and 80 random bits."""
    return WorkspaceId(f"ws_{_base32(os.urandom(10))}")


def key_id() -> KeyId:
    """Mint `key_` and 80 random bits. Not the secret: that is made by `workspaces`."""
    return KeyId(f"key_{_base32(os.urandom(10))}")


def worker_id(entropy: Entropy = os.urandom) -> WorkerId:
    """Mint the claim identity of one worker process."""
    return WorkerId(f"wrk_{_base32(entropy(10))}")


def delivery_id(task: TaskId) -> DeliveryId:
    """Derive the id of a task's webhook: the same in every retry, and without a dot.

    It keeps the order of task ids: hashed ones were measured to insert at a third of the rate.
    """
    return DeliveryId(f"msg_{task.replace('-', '')}")


def name_bits(entropy: Entropy = os.urandom) -> str:
    """Return 128 random bits in hex: what makes an image's address unguessable."""
    return entropy(16).hex()


class RequestIds:
    """Mints `req_` ids: 130 bits, from a buffer that is filled by one system call per 256 ids."""

    _LENGTH: Final = 26
    _BATCH: Final = 256

    def __init__(self, entropy: Entropy = os.urandom) -> None:
        self._entropy = entropy
        self._buffer: list[RequestId] = []
        self._lock = threading.Lock()

    def mint(self) -> RequestId:
        """Return the next id."""
        with self._lock:
            if not self._buffer:
                self._buffer = self._fill()
            return self._buffer.pop()

    def _fill(self) -> list[RequestId]:
        # Each byte becomes one of 32 letters, all equally likely because 32 divides 256.
        text = self._entropy(self._LENGTH * self._BATCH).translate(_LETTERS).decode()
        starts = range(0, len(text), self._LENGTH)
        return [RequestId(f"req_{text[i : i + self._LENGTH]}") for i in starts]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz234567" * 8
