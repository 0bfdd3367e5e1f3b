"""What a provider is: a request in, images or one of six errors out.

ProviderError
├── Refused         this will never be rendered; the reason is fit for the customer
├── RateLimited     the upstream wants a pause; says how long
├── Unavailable     the upstream is down or broken; nothing was rendered
├── AnswerLost      the answer broke off or is of no use; it may have been rendered and charged
│   └── TimedOut    no answer in time
└── Misconfigured   our own credentials or settings are wrong; an operator must act
    └── NotServed   it has no such model or no such way in; it may well serve other tasks

A provider returns exactly `count` images that can be decoded, or raises; who does not trust an
upstream decodes what it sends. A provider keeps nothing: the same request may come again after a
crash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    # Processes that only want to know what a format is do without an event loop.
    import asyncio

Progress = Callable[[float], None]
"""Told how much is done, from 0.0 to 1.0. Cheap, and safe to call from the event loop only."""


class ImageFormat(StrEnum):
    """What an image file can be. The value is the word of the contract's `output_format`."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def mime_type(self) -> str:
        """The media type, such as `image/jpeg`."""
        return f"image/{self.value}"

    @property
    def suffix(self) -> str:
        """The file suffix in an image's address: `png`, `jpg` or `webp`."""
        return "jpg" if self is ImageFormat.JPEG else self.value


def sniff(data: bytes) -> ImageFormat | None:
    """Tell the format by the first bytes, whatever the sender claims."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    return None


class AspectRatio(StrEnum):
    """Width to height, in the words of the contract."""

    SQUARE = "1:1"
    R2_3 = "2:3"
    R3_2 = "3:2"
    R3_4 = "3:4"
    R4_3 = "4:3"
    R4_5 = "4:5"
    R5_4 = "5:4"
    R9_16 = "9:16"
    R16_9 = "16:9"
    R21_9 = "21:9"

    @property
    def value_as_float(self) -> float:
        """Width divided by height."""
        width, height = self.value.split(":")
        return int(width) / int(height)


class ImageSize(StrEnum):
    """How large the image is: `1K` is about a megapixel, each step doubles both sides."""

    K1 = "1K"
    K2 = "2K"
    K4 = "4K"

    @property
    def scale(self) -> int:
        """How many times the sides of `1K`."""
        return {"1K": 1, "2K": 2, "4K": 4}[self.value]


# The 1K sides that Gemini's image models deliver, all multiples of 16; larger sizes double them.
_SIDES: Final[dict[AspectRatio, tuple[int, int]]] = {
    AspectRatio.SQUARE: (1024, 1024),
    AspectRatio.R2_3: (848, 1264),
    AspectRatio.R3_2: (1264, 848),
    AspectRatio.R3_4: (896, 1200),
    AspectRatio.R4_3: (1200, 896),
    AspectRatio.R4_5: (928, 1152),
    AspectRatio.R5_4: (1152, 928),
    AspectRatio.R9_16: (768, 1376),
    AspectRatio.R16_9: (1376, 768),
    AspectRatio.R21_9: (1584, 672),
}


def dimensions(ratio: AspectRatio, size: ImageSize) -> tuple[int, int]:
    """Return (width, height) in pixels."""
    width, height = _SIDES[ratio]
    return width * size.scale, height * size.scale


def nearest_ratio(width: int, height: int) -> AspectRatio:
    """Return the ratio closest to a given shape: what `auto` means when there is a reference."""
    wanted = width / height
    # Distances are compared as factors, so that 1:2 is as far from 1:1 as 2:1 is.
    return min(AspectRatio, key=lambda r: max(r.value_as_float / wanted, wanted / r.value_as_float))


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """A caller's image, already fetched, decoded and found harmless."""

    data: bytes
    format: ImageFormat
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One task, as a provider sees it."""

    task_id: str
    """Sent upstream as idempotency key where that exists."""
    model: str
    """The upstream's name of the model, from the catalogue."""
    prompt: str
    references: tuple[ReferenceImage, ...]
    aspect_ratio: AspectRatio | None
    """None is `auto`: the shape of the first reference, or square."""
    image_size: ImageSize
    count: int
    seed: int
    output_format: ImageFormat
    is_test: bool = False
    """Whether a key for tests asks. Who draws by rules says so in the picture."""


def size_of(request: ImageRequest, sizes: Sequence[tuple[int, int]] = ()) -> tuple[int, int]:
    """Return (width, height) in pixels: of `sizes` the nearest in shape, if there are only these.

    `auto` is the shape of the first reference, or square.
    """
    ratio = request.aspect_ratio
    if ratio is None and request.references:
        ratio = nearest_ratio(request.references[0].width, request.references[0].height)
    width, height = dimensions(ratio or AspectRatio.SQUARE, request.image_size)
    if not sizes:
        return width, height
    wanted = width / height
    return min(sizes, key=lambda side: max(side[0] / side[1] / wanted, wanted * side[1] / side[0]))


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One rendered picture."""

    data: bytes
    format: ImageFormat
    width: int
    height: int


class ProviderError(Exception):
    """Why a provider gave no images. `str(error)` is for the operator's log."""


class Refused(ProviderError):
    """Final. `reason` is one sentence for the customer; `detail` is what the upstream said."""

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class RateLimited(ProviderError):
    """The upstream asks to wait; `retry_after` is in seconds, None when it does not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ProviderError):
    """The upstream is down or overloaded; nothing was rendered."""


class AnswerLost(ProviderError):
    """The request was sent, and no answer that can be used came back.

    Trying again is safe for the customer, who pays once; the operator may be charged twice.
    `retry_after` is in seconds, when a part of the work, or an answer that broke off, asked for it.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TimedOut(AnswerLost):
    """No answer in time."""


class Misconfigured(ProviderError):
    """Our credentials or settings are wrong."""


class NotServed(Misconfigured):
    """This task is not served here, which says nothing of others. Nothing was rendered.

    `reason` is a sentence for the customer when the request itself is why; None when it is not.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Provider(Protocol):
    """An adapter to one kind of upstream."""

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        """Render `request.count` images, or raise a ProviderError.

        Stops soon after `cancelled` is set, or when the awaiting task is cancelled.
        """
        ...

    async def close(self) -> None:
        """Release processes and connections. May be called twice."""
        ...
