"""Open water under the sky, with swell, glitter and a far coast."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import Colour, darker, mix
from ketchup.providers.studio.light import Weather
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.svg import lens, num
from ketchup.providers.studio.terrain import ground_under, ridge

_LOW_SUN = 0.35


def paint(stage: Stage) -> None:
    """Paint the water from the horizon to the lower edge."""
    _coast(stage)
    water(stage, stage.tint("sea", "#1f7f9c"))


def water(stage: Stage, colour: Colour) -> None:
    """Paint open water below the horizon: a mirror of the sky far away, its own colour near by."""
    light = stage.light
    own = stage.shade(colour)
    low = light.altitude < _LOW_SUN
    stage.floor(
        (0, mix(light.sky[-1], own, 0.22)),
        (0.12, mix(light.sky[-2], own, 0.45)),
        (0.45, mix(own, light.sky[1 if low else 0], 0.5 if low else 0.2)),
        (1, mix(darker(own, 0.4), light.sky[0], 0.5 if low else 0.25)),
    )
    _swell(stage, own)
    if stage.weather in {Weather.STORM, Weather.WIND}:
        _whitecaps(stage, own)
    _glitter(stage)


def _coast(stage: Stage) -> None:
    chance, unit = stage.stream("coast"), stage.unit
    for depth, tall, start in ((0.82, 60, -0.1), (0.6, 38, 0.5)):
        side = -stage.side if start < 0 else stage.side
        line = [
            (x, stage.horizon + 2 - unit * tall * (0.55 + 0.5 * y) * _fade(x / stage.width, side))
            for x, y in ridge(chance, stage.width, steps=6)
        ]
        stage.canvas.path(ground_under(line, stage.horizon + 2), stage.shade("#3c5566", depth))


def _fade(share: float, side: int) -> float:
    """Let a coast rise towards one edge of the picture and sink into the sea before the middle."""
    near_edge = share if side > 0 else 1 - share
    return math.pow(max(0.0, (near_edge - 0.52) / 0.48), 0.8)


def _swell(stage: Stage, own: Colour) -> None:
    """Lay bands of light and dark water that widen towards the viewer."""
    chance, unit = stage.stream("swell"), stage.unit
    depth = stage.height - stage.horizon
    for colour, alpha, count in (
        (darker(own, 0.5), 0.16, 90),
        (mix(own, stage.light.sky[-1], 0.75), 0.2, 110),
        (mix(own, stage.light.sky[-2], 0.6), 0.3, 60),
    ):
        bands = []
        for _ in range(count):
            t = chance.random() ** 1.7
            y = stage.horizon + 2 + t * depth
            length = unit * (14 + 190 * t) * chance.uniform(0.4, 1.5)
            bands.append(lens(chance.random() * stage.width, y, length, unit * (0.8 + 9 * t)))
        stage.canvas.path("".join(bands), colour, alpha=alpha)


def _whitecaps(stage: Stage, own: Colour) -> None:
    """Raise waves that break: a dark back, a light crest, foam that runs down from it."""
    chance, unit = stage.stream("whitecaps"), stage.unit
    depth = stage.height - stage.horizon
    for row in range(9):
        t = ((row + 0.6) / 9) ** 1.5
        backs, crests = [], []
        for _ in range(max(3, 12 - row)):
            x, y = (
                chance.random() * stage.width,
                stage.horizon + 4 + t * depth + chance.uniform(-8, 8) * unit,
            )
            reach, rise = unit * (24 + 190 * t) * chance.uniform(0.6, 1.2), unit * (3 + 30 * t)
            lean = -stage.side * reach * 0.3
            backs.append(
                f"M{num(x - reach)} {num(y + rise * 0.4)}Q{num(x + lean * 0.4)}"
                f" {num(y + rise * 0.1)} {num(x + lean)} {num(y - rise)}"
                f"Q{num(x + lean * 0.7)} {num(y + rise * 0.2)} {num(x + reach)}"
                f" {num(y + rise * 0.4)}Z"
            )
            crests.append(
                f"M{num(x + lean - reach * 0.34)} {num(y - rise * 0.45)}"
                f"Q{num(x + lean - reach * 0.1)} {num(y - rise * 0.9)} {num(x + lean)}"
                f" {num(y - rise)}Q{num(x + lean * 0.9)} {num(y - rise * 0.5)}"
                f" {num(x + lean + reach * 0.3)} {num(y - rise * 0.1)}Q{num(x + lean)}"
                f" {num(y - rise * 0.75)} {num(x + lean - reach * 0.34)}"
                f" {num(y - rise * 0.45)}Z"
            )
        stage.canvas.path(
            "".join(backs), mix(darker(own, 0.35), stage.light.haze, 0.5 * (1 - t)), alpha=0.6
        )
        stage.canvas.path(
            "".join(crests), mix("#eef4f7", stage.light.haze, 0.5 * (1 - t)), alpha=0.7
        )


def _glitter(stage: Stage) -> None:
    """Lay the sun's path on the water: a column of glints, wider and longer near by."""
    light = stage.light
    if not light.disc:
        return
    chance, unit = stage.stream("glitter"), stage.unit
    depth = stage.height - stage.horizon
    for alpha, count, spread in ((0.85, 130, 0.5), (0.4, 150, 1.0)):
        glints = []
        for _ in range(count):
            t = chance.random() ** 1.25
            reach = unit * (26 + 170 * t) * spread
            x = stage.sun[0] + chance.gauss(0, reach * 0.6)
            length = unit * (7 + 58 * t) * chance.uniform(0.4, 1.2)
            y = stage.horizon + 2 + t * depth
            glints.append(lens(x, y, length, unit * (0.8 + 2.6 * t)))
        strength = alpha * (0.55 + 0.45 * light.glow) * (1 if light.altitude < 0.5 else 0.55)
        stage.canvas.path("".join(glints), light.sun, alpha=float(num(strength, 3)))


SETTING = Setting(
    name="sea",
    words=(
        "sea",
        "ocean",
        "sail",
        "sailing",
        "waves",
        "harbour",
        "harbor",
        "bay",
        "meer",
        "ozean",
        "see",
        "zee",
        "oceaan",
        "haven",
        "hafen",
        "海",
        "港",
    ),
    near=40,
    surface=Surface.WATER,
    horizon=0.58,
    paint=paint,
)
