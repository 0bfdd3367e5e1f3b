"""Colours as `#rrggbb` and the few operations that pictures need.

Mixing runs through Oklab (Björn Ottosson, 2020), where half-way between two colours looks half-way:
a sunset fades through orange instead of through grey.
"""

from __future__ import annotations

import math
from functools import lru_cache

Colour = str
"""Always seven characters, `#rrggbb`, in lower case."""

WHITE: Colour = "#ffffff"
BLACK: Colour = "#000000"

_Lab = tuple[float, float, float]


def rgb(colour: Colour) -> tuple[int, int, int]:
    """Return the three channels, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def from_rgb(red: float, green: float, blue: float) -> Colour:
    """Return the colour of three channels, each rounded and clamped to 0 to 255."""
    clamped = (min(255, max(0, round(channel))) for channel in (red, green, blue))
    return "#{:02x}{:02x}{:02x}".format(*clamped)


@lru_cache(maxsize=8192)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` with a `share` of `second` in it, from 0.0 to 1.0; beyond is clamped."""
    share = min(1.0, max(0.0, share))
    a, b = _oklab(first), _oklab(second)
    return _from_oklab(*(x + (y - x) * share for x, y in zip(a, b, strict=True)))


def lighter(colour: Colour, share: float) -> Colour:
    """Return the colour moved towards white."""
    return mix(colour, WHITE, share)


def darker(colour: Colour, share: float) -> Colour:
    """Return the colour moved towards black."""
    return mix(colour, BLACK, share)


def lightness(colour: Colour) -> float:
    """Return how light the colour looks, from 0.0 to 1.0."""
    return _oklab(colour)[0]


def chroma(colour: Colour) -> float:
    """Return how colourful it is: 0.0 is grey, a pure red is about 0.26."""
    _, a, b = _oklab(colour)
    return math.hypot(a, b)


@lru_cache(maxsize=2048)
def turn(colour: Colour, degrees: float, *, saturation: float = 1.0) -> Colour:
    """Return the colour with its hue turned and its chroma multiplied; the lightness stays."""
    light, a, b = _oklab(colour)
    angle = math.atan2(b, a) + math.radians(degrees)
    radius = math.hypot(a, b) * saturation
    return _from_oklab(light, radius * math.cos(angle), radius * math.sin(angle))


@lru_cache(maxsize=2048)
def with_lightness(colour: Colour, value: float) -> Colour:
    """Return the colour at another lightness, hue and chroma kept as far as sRGB allows."""
    _, a, b = _oklab(colour)
    return _from_oklab(value, a, b)


@lru_cache(maxsize=2048)
def deeper(colour: Colour, share: float) -> Colour:
    """Return the colour in shadow: darker by a share, a little cooler, and no less colourful."""
    light, a, b = _oklab(colour)
    keep = 1 - 0.55 * share
    return mix(_from_oklab(light * (1 - share), a * keep, b * keep), "#241a4a", 0.22 * share)


@lru_cache(maxsize=8192)
def _oklab(colour: Colour) -> _Lab:
    red, green, blue = (_linear(channel / 255) for channel in rgb(colour))
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _from_oklab(light: float, a: float, b: float) -> Colour:
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return from_rgb(
        255 * _gamma(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        255 * _gamma(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        255 * _gamma(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _linear(channel: float) -> float:
    low = 0.04045
    return channel / 12.92 if channel <= low else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel: float) -> float:
    low = 0.0031308
    if channel <= low:
        return 12.92 * max(0.0, channel)
    return float(1.055 * channel ** (1 / 2.4) - 0.055)
