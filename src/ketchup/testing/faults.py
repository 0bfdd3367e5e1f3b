"""What can go wrong with an image engine, one step per request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias


class Fault(StrEnum):
    """A way in which an answer goes wrong.

    Of those that were RENDERED, a real engine has drawn and charged the picture.
    """

    PROMPT_BLOCKED = "prompt_blocked"
    IMAGE_UNSAFE = "image_unsafe"
    TEXT_ONLY = "text_only"
    EMPTY = "empty"
    BAD_KEY = "bad_key"
    ECHO = "echo"
    """500 with everything that it was sent, the key included."""
    MODEL_GONE = "model_gone"
    BROKEN = "broken"
    """500."""
    OVERLOADED = "overloaded"
    """503."""
    GATEWAY_TIMEOUT = "gateway_timeout"
    """504 from a proxy that did not wait; the engine behind it goes on."""
    HTML = "html"
    """A page for people, with status 200."""
    REDIRECT = "redirect"
    RESET_BEFORE_RENDERING = "reset_before_rendering"
    RESET_AFTER_RENDERING = "reset_after_rendering"
    TRUNCATED = "truncated"
    """Half of the body that was announced, and then a close."""
    DUPLICATE = "duplicate"
    """A right answer, twice."""
    TRICKLE = "trickle"
    """A byte now and then, without an end."""
    HUGE = "huge"
    """300 MB."""
    WRONG_TYPE = "wrong_type"
    """A right answer that says it is text."""
    HALF_BASE64 = "half_base64"
    NOT_BASE64 = "not_base64"
    NOT_AN_IMAGE = "not_an_image"
    SVG = "svg"
    BOMB = "bomb"
    """A picture of 30,000 pixels square in 109 kB."""


RENDERED = frozenset(
    {
        Fault.IMAGE_UNSAFE,
        Fault.GATEWAY_TIMEOUT,
        Fault.RESET_AFTER_RENDERING,
        Fault.TRUNCATED,
        Fault.DUPLICATE,
        Fault.TRICKLE,
        Fault.HUGE,
        Fault.WRONG_TYPE,
        Fault.HALF_BASE64,
        Fault.NOT_BASE64,
        Fault.NOT_AN_IMAGE,
        Fault.SVG,
        Fault.BOMB,
    }
)


@dataclass(frozen=True, slots=True)
class Limited:
    """429. The pause stands in the header, or in Gemini's RetryInfo; None leaves it out."""

    header: str | None = None
    retry_info: str | None = None
    is_cut: bool = False
    """Whether half of the body is missing."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A right answer, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """A right answer, once the event is set; without one, none for as long as the client stays.

    An event belongs to the first loop that waits for it: a script that several runs share has none.
    """

    until: asyncio.Event | None = None


Step: TypeAlias = Fault | Limited | Slow | Held | None
"""What becomes of one request; None is a right answer."""

_SHORT: Final[Mapping[str, Step]] = {
    "ok": None,
    "slow": Slow(1.0),
    "refusal": Fault.PROMPT_BLOCKED,
    "401": Fault.BAD_KEY,
    "404": Fault.MODEL_GONE,
    "429": Limited(header="1", retry_info="1s"),
    "500": Fault.BROKEN,
    "503": Fault.OVERLOADED,
    "504": Fault.GATEWAY_TIMEOUT,
}
WORDS: Final = (*_SHORT, *Fault)


def script_of(text: str) -> Sequence[Step]:
    """Read steps such as `429,slow,huge,ok`, in order. Raises ValueError for an unknown word."""
    words = [word.strip().lower().replace("-", "_") for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in WORDS]:
        raise ValueError(f"{unknown[0]} is unknown; there is {', '.join(WORDS)}")
    return [_SHORT[word] if word in _SHORT else Fault(word) for word in words]
