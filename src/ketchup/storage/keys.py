"""Keys: the names of blobs, which are made here and nowhere else. Pure.

  fileSystem/response_images/<workspace number>/<yyyy>/<mm>/<dd>/<nanoseconds>_<32 hex>.<suffix>
  references/<yyyy>/<mm>/<dd>/<nanoseconds>_<32 hex>.blob

Folders have no dot and files have one, so a file is never in the place of a folder. The 128 random
bits are what keeps strangers out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from ketchup.clock import SECOND, Micros
from ketchup.errors import NotFound
from ketchup.providers.base import ImageFormat

IMAGES: Final = "fileSystem/response_images"
REFERENCES: Final = "references"

_MAX_KEY_LENGTH: Final = 255
_KEY = re.compile(r"(?:[A-Za-z0-9_]{1,64}/)+[a-z0-9_]{1,64}\.[a-z]{3,4}", re.ASCII)
_IMAGE_KEY = re.compile(
    rf"{IMAGES}/(\d{{1,18}})/\d{{4}}/\d\d/\d\d/(\d{{1,21}})_([0-9a-f]{{32}})\.(png|jpg|webp)",
    re.ASCII,
)
_NANOSECONDS: Final = 1_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_NAME = re.compile(r"(\d{1,21})_", re.ASCII)
_FORMATS: Final = {image_format.suffix: image_format for image_format in ImageFormat}
# 9999-12-31, the last date that a folder can have.
_LAST_MICROS: Final = 253_402_300_800 * SECOND - 1


class BlobNotFound(NotFound):
    """There is no blob under that key, or no blob can have such a key."""


@dataclass(frozen=True, slots=True)
class ImageKey:
    """What the address of a stored image says about it."""

    number: int
    """The workspace's."""
    created_at: Micros
    bits: str
    """The 128 random bits, in hex: they name the content, because no blob is ever changed."""
    format: ImageFormat


def image_key(
    number: int, now: Micros, image_format: ImageFormat, name_bits: str, *, sequence: int = 0
) -> str:
    """Return the key of a new image; `sequence` (0 to 999) keeps a task's images in order."""
    nanoseconds = now * _NANOSECONDS + sequence
    folder = f"{image_folder(number)}/{folder_of(day_of(now))}"
    return f"{folder}/{nanoseconds}_{name_bits}.{image_format.suffix}"


def image_folder(number: int) -> str:
    """Return the folder of a workspace's images."""
    return f"{IMAGES}/{number}"


def reference_key(now: Micros, name_bits: str) -> str:
    """Return the key of an uploaded reference; no address leads to it."""
    return f"{REFERENCES}/{folder_of(day_of(now))}/{now * _NANOSECONDS}_{name_bits}.blob"


def parse_image_key(path: str) -> ImageKey | None:
    """Read an image's key, without a slash in front; None unless `image_key` would write it so."""
    match = _IMAGE_KEY.fullmatch(path)
    if match is None:
        return None
    created_at, sequence = divmod(int(match[2]), _NANOSECONDS)
    if created_at > _LAST_MICROS:
        return None
    key = ImageKey(int(match[1]), Micros(created_at), match[3], _FORMATS[match[4]])
    canonical = image_key(key.number, key.created_at, key.format, key.bits, sequence=sequence)
    return key if canonical == path else None


def media_type(key: str) -> str:
    """Return what a blob is, by its key; a reference may be anything."""
    found = _FORMATS.get(key.rpartition(".")[2])
    return "application/octet-stream" if found is None else found.mime_type


def require_ours(key: str) -> None:
    """Raise BlobNotFound for what no function here returns: it could lead elsewhere."""
    if len(key) > _MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise BlobNotFound("not found")


def made_before(key: str, before: Micros) -> bool:
    """Tell whether a key was made before a time; of a name that is not ours, it was not."""
    match = _NAME.match(key.rpartition("/")[2])
    return match is not None and int(match[1]) < before * _NANOSECONDS


def folder_day(year: str, month: str, day: str) -> date | None:
    """Read the names of three folders; None when they are not a day's."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def day_of(at: Micros) -> date:
    """Return the day whose folder a key of that time lies in."""
    return date.fromordinal(_EPOCH + at // (86_400 * SECOND))


def folder_of(day: date) -> str:
    """Return a day's folder, below the one of its kind."""
    return day.isoformat().replace("-", "/")
