"""Drawing: what a pipeline is to the process that calls it, and how its pictures become files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Protocol

from PIL import Image

from ketchup.providers.local_diffusers.messages import Abilities, Call, Picture

Stepped = Callable[[float], None]
"""Told after each step how much is done. Raises NotWanted when the call is to end."""


class NotWanted(Exception):
    """The call is unwanted; raised between two steps."""


class Full(Exception):
    """The call does not fit into the device's memory."""


class Pipeline(Protocol):
    """A loaded pipeline."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""
        ...

    def draw(self, call: Call, stepped: Stepped) -> Sequence[Picture]:
        """Draw every picture of the call. Raises NotWanted and Full, and stays usable."""
        ...


def file_of(image: Image.Image, name: str) -> bytes:
    """Write a picture in the format of that name."""
    out = BytesIO()
    match name:
        case "jpeg":
            image.convert("RGB").save(out, "JPEG", quality=92, optimize=True)
        case "webp":
            image.save(out, "WEBP", quality=90, method=3)
        case _:
            image.save(out, "PNG", compress_level=2)
    return out.getvalue()
