"""What a callback says: the bare object of CONTRACT §5, as the bytes that every attempt sends."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ketchup.ids import TaskId
from ketchup.money import Credits, decimal


class _Image(msgspec.Struct, frozen=True):
    image: str


class _Reason(msgspec.Struct, frozen=True):
    message: str | None


class _Callback(msgspec.Struct, frozen=True):
    # The order of the fields is the order of the keys on the wire.
    result: list[_Image] | None
    status: str
    task_id: str
    consumed: str
    status_reason: _Reason


def callback_body(
    task_id: TaskId,
    status: str,
    images: Sequence[str] | None,
    consumed: Credits,
    message: str | None,
) -> bytes:
    """Return the callback as compact JSON; `consumed` is written with 6 decimals.

    `images` are the addresses of a success, None for a failure; `message` is a failure's sentence
    for the customer.
    """
    return msgspec.json.encode(
        _Callback(
            result=None if images is None else [_Image(image) for image in images],
            status=status,
            task_id=task_id,
            consumed=decimal(consumed),
            status_reason=_Reason(message),
        )
    )
