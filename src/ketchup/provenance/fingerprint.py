"""Fingerprints: how a picture is known again when its manifest was taken away.

They are taken in `perception`, which loads an image library; nothing here does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

PerceptualHash = NewType("PerceptualHash", int)
"""64 bits, unsigned."""

NEAR: Final = 7
"""How many bits may differ in what is still the same picture."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a picture is known by. The digests are hexadecimal."""

    sha256: str
    pixels: str
    phash: PerceptualHash


def distance(one: PerceptualHash, other: PerceptualHash) -> int:
    """Return how many bits differ: 0 to 64."""
    return (one ^ other).bit_count()
