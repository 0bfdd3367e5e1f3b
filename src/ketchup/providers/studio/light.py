"""Light as data: what each time of day, weather and season does to colours.

`light_of` joins them into one `Light`. Every painted colour passes through `Light.shade`, which is
why a boat and the sea under it look lit by the same sun.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ketchup.providers.studio.colour import Colour, mix


class Time(StrEnum):
    """Where the light comes from."""

    DAWN = "dawn"
    DAY = "day"
    GOLDEN = "golden"
    SUNSET = "sunset"
    DUSK = "dusk"
    NIGHT = "night"
    NEON = "neon"


class Weather(StrEnum):
    """What the air does."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    RAIN = "rain"
    STORM = "storm"
    FOG = "fog"
    SNOW = "snow"
    WIND = "wind"


class Season(StrEnum):
    """What the plants do."""

    SPRING = "spring"
    SUMMER = "summer"
    AUTUMN = "autumn"
    WINTER = "winter"


@dataclass(frozen=True, slots=True)
class Light:
    """How a scene is lit. The shares run from 0.0 to 1.0."""

    sky: tuple[Colour, ...]
    """From the zenith down to the horizon."""
    sun: Colour
    haze: Colour
    """What distance fades into."""
    ambient: Colour
    """What shadows are made of."""
    darkness: float
    """How far every colour sinks into `ambient`."""
    warmth: float
    """How much a side that faces the sun takes on its colour."""
    altitude: float
    """How high the sun stands above the horizon, as a share of the sky."""
    disc: float
    """The radius of the sun or moon, in thousandths of the short side; 0 hides it."""
    glow: float
    lamps: bool
    """Whether windows and lamps are lit."""
    stars: bool = False
    moon: bool = False
    clouds: float = 0.35
    murk: float = 0.0
    """How much the air itself hides distance."""

    def shade(self, colour: Colour, depth: float = 0.0, facing: float = 0.0) -> Colour:
        """Return how `colour` looks here, at a depth, facing the sun (1.0) or away (-1.0)."""
        seen = mix(colour, self.ambient, self.darkness)
        if facing > 0:
            seen = mix(seen, self.sun, facing * self.warmth)
        elif facing < 0:
            seen = mix(seen, self.ambient, -facing * 0.32)
        return mix(seen, self.haze, min(0.96, depth * (0.8 + 0.3 * self.murk)))


LIGHTS: Final[dict[Time, Light]] = {
    Time.DAWN: Light(
        sky=("#41598f", "#8585b8", "#d79fb4", "#f8bfa6", "#ffe0b0"),
        sun="#fff1d2", haze="#f4c8b6", ambient="#413f74", darkness=0.2, warmth=0.34,
        altitude=0.16, disc=52, glow=0.85, lamps=False,
    ),
    Time.DAY: Light(
        sky=("#2067bd", "#4a97dc", "#8dc5ee", "#cfe8f5"),
        sun="#fffbe6", haze="#c3dff0", ambient="#22406e", darkness=0.04, warmth=0.2,
        altitude=0.7, disc=36, glow=0.6, lamps=False, clouds=0.5,
    ),
    Time.GOLDEN: Light(
        sky=("#4c7fb8", "#93b3c9", "#e8cfa4", "#ffc873", "#ffe0a0"),
        sun="#fff2c2", haze="#f6cf93", ambient="#4a3b5e", darkness=0.16, warmth=0.42,
        altitude=0.3, disc=58, glow=0.95, lamps=False,
    ),
    Time.SUNSET: Light(
        sky=("#27195a", "#6a2a78", "#c8466b", "#fb7d4d", "#ffbf63", "#ffe19a"),
        sun="#fff2c4", haze="#f39363", ambient="#2a1848", darkness=0.36, warmth=0.42,
        altitude=0.13, disc=74, glow=1.0, lamps=True,
    ),
    Time.DUSK: Light(
        sky=("#0e1942", "#293a7c", "#5f5aa0", "#b87fa8", "#f0a99a"),
        sun="#ffdcc0", haze="#9a82b0", ambient="#151a45", darkness=0.5, warmth=0.3,
        altitude=0.1, disc=0, glow=0.6, lamps=True, stars=True,
    ),
    Time.NIGHT: Light(
        sky=("#050a22", "#0b1a48", "#17356f", "#35639a", "#5f8fb8"),
        sun="#eef2ff", haze="#406a9c", ambient="#081230", darkness=0.62, warmth=0.34,
        altitude=0.62, disc=46, glow=0.5, lamps=True, stars=True, moon=True, clouds=0.25,
    ),
    Time.NEON: Light(
        sky=("#0b0426", "#260b58", "#651083", "#c22291", "#ff5a9d"),
        sun="#ffd9f2", haze="#8a1d8c", ambient="#0e0524", darkness=0.58, warmth=0.3,
        altitude=0.42, disc=120, glow=0.8, lamps=True, stars=True, clouds=0.15,
    ),
}  # fmt: skip
"""One light for each time of day, under a clear sky."""


@dataclass(frozen=True, slots=True)
class Air:
    """What a weather changes about the light."""

    grey: float
    """How much of the sky's colour goes."""
    tone: Colour
    """What it goes to."""
    darkness: float
    sun: float
    """How much of the sun is left."""
    clouds: float
    murk: float


AIRS: Final[dict[Weather, Air]] = {
    Weather.CLEAR: Air(grey=0, tone="#9fb0bd", darkness=0, sun=1, clouds=0, murk=0),
    Weather.CLOUDY: Air(grey=0.3, tone="#a9b6c0", darkness=0.04, sun=0.35, clouds=0.55, murk=0.15),
    Weather.RAIN: Air(grey=0.55, tone="#7f919e", darkness=0.14, sun=0.1, clouds=0.6, murk=0.55),
    Weather.STORM: Air(grey=0.82, tone="#313d50", darkness=0.34, sun=0, clouds=0.9, murk=0.35),
    Weather.FOG: Air(grey=0.5, tone="#c3ccd0", darkness=0.02, sun=0.4, clouds=0, murk=1.0),
    Weather.SNOW: Air(grey=0.4, tone="#c6d3de", darkness=0.02, sun=0.3, clouds=0.35, murk=0.5),
    Weather.WIND: Air(grey=0.05, tone="#b4c2cb", darkness=0, sun=1, clouds=0.3, murk=0.05),
}


@dataclass(frozen=True, slots=True)
class Growth:
    """What a season does to plants and ground."""

    grass: Colour
    leaves: tuple[Colour, ...]
    conifer: Colour
    flowers: tuple[Colour, ...]
    snow: bool = False


GROWTHS: Final[dict[Season, Growth]] = {
    Season.SPRING: Growth(
        grass="#76b254", leaves=("#8cc265", "#a8d17a", "#6fae57"), conifer="#3b7a5b",
        flowers=("#f48fb4", "#ffd35c", "#ffffff", "#b58ae0", "#f26d6d"),
    ),
    Season.SUMMER: Growth(
        grass="#5f9e46", leaves=("#4f9348", "#6bab52", "#3f7d45"), conifer="#2b6450",
        flowers=("#f5c443", "#ffffff", "#e8574f", "#7f83d6", "#f29ab8"),
    ),
    Season.AUTUMN: Growth(
        grass="#b99a3c", leaves=("#e07a24", "#efae3a", "#bf4426"), conifer="#56693f",
        flowers=("#d97b34", "#e9b44c", "#b34a3c", "#8d5a86"),
    ),
    Season.WINTER: Growth(
        grass="#dfe9f2", leaves=("#c9d8e4", "#b4c8d8", "#dfe9f1"), conifer="#3d6370",
        flowers=("#ffffff", "#dfeaf4"), snow=True,
    ),
}  # fmt: skip

_VEILED: Final = 0.2
"""The share of sun below which its disc cannot be made out."""
_HIDDEN: Final = 0.5
"""The share of sun below which the sky shows no stars."""


def light_of(time: Time, weather: Weather) -> Light:
    """Join a time of day and a weather into one light."""
    light, air = LIGHTS[time], AIRS[weather]
    # Fog at night is dark: the weather's own grey sinks with the light it hangs in.
    tone = mix(air.tone, light.ambient, light.darkness)
    tone = mix(tone, light.haze, 0.25)
    return replace(
        light,
        sky=tuple(mix(colour, tone, air.grey) for colour in light.sky),
        haze=mix(light.haze, tone, air.grey),
        darkness=min(0.8, light.darkness + air.darkness),
        warmth=light.warmth * (0.4 + 0.6 * air.sun),
        disc=light.disc if air.sun > _VEILED else 0,
        glow=light.glow * (0.25 + 0.75 * air.sun),
        stars=light.stars and air.sun > _HIDDEN,
        clouds=min(1.0, light.clouds + air.clouds),
        lamps=light.lamps or weather is Weather.STORM,
        murk=air.murk,
    )
