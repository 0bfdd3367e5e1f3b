"""Deep space: a nebula, stars, a ringed planet and its moon."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import Colour, lighter, mix, turn
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.sky import paint_stars
from ketchup.providers.studio.svg import num, ring, smooth


def paint(stage: Stage) -> None:
    """Paint the void first, then what shines in it."""
    stage.column = [(0, "#03040f"), (stage.height * 0.55, "#0a0c2a"), (stage.height, "#150f33")]
    _nebula(stage)
    paint_stars(stage, stage.height, round(260 * stage.width / stage.height))
    _planet(stage)
    _moon(stage)
    stage.bloom = 0.4


def _nebula(stage: Stage) -> None:
    chance, unit = stage.stream("nebula"), stage.unit
    base = stage.palette[0] if stage.palette else chance.choice(("#5a2fb0", "#1d5fae", "#9a2f86"))
    colours = (base, turn(base, 55), turn(base, -50), "#ff9d7a")
    slope = chance.choice((-1, 1)) * chance.uniform(0.35, 0.6)
    for i in range(34):
        t = chance.uniform(-0.1, 1.1)
        drift = chance.gauss(0, 105)
        centre = (t * stage.width, stage.height * (0.5 + slope * (t - 0.5)) + drift * unit)
        size = unit * chance.uniform(70, 330)
        colour = colours[0 if i < 14 else i % 4]
        alpha = 0.3 if abs(drift) < 60 else 0.17
        stage.behind.append(Wash(centre, (size * 1.5, size), colour, alpha))
    for _ in range(7):
        t = chance.random()
        centre = (
            t * stage.width,
            stage.height * (0.5 + slope * (t - 0.5)) + chance.gauss(0, 40) * unit,
        )
        stage.behind.append(Wash(centre, (200 * unit, 70 * unit), "#05040f", 0.5))


def _planet(stage: Stage) -> None:
    chance, unit, canvas = stage.stream("planet"), stage.unit, stage.canvas
    colour = stage.tints.get("planet") or (
        stage.palette[-1]
        if stage.palette
        else chance.choice(("#d98b5f", "#6f8fd6", "#c9798f", "#5fb3a8"))
    )
    side = stage.side
    centre = (stage.width * (0.5 + side * 0.17), stage.height * 0.36)
    radius = unit * 215
    tilt = -side * 18
    ringed = mix(lighter(colour, 0.5), "#ffe9c9", 0.5)
    stage.behind.append(Wash(centre, (radius * 2.1, radius * 2.1), colour, 0.4))
    with canvas.moved(*centre, turn=tilt):
        _ring(stage, radius, ringed, upper=True)
        with canvas.clipped(ring(0, 0, radius, radius)):
            canvas.circle((0, 0), radius, colour)
            _bands(stage, radius, colour)
            shadow = canvas.radial(
                [
                    (0, "#04030f", 0),
                    (0.55, "#04030f", 0.05),
                    (0.8, "#04030f", 0.55),
                    (1, "#04030f", 0.93),
                ],
                (0.5 + side * 0.24, 0.26),
                0.86,
            )
            canvas.circle((0, 0), radius * 1.01, shadow)
        rim = (
            f"M{num(side * radius * 0.2)} {num(-radius * 0.98)}A{num(radius)}"
            f" {num(radius)} 0 0 {1 if side > 0 else 0} {num(side * radius * 0.95)}"
            f" {num(radius * 0.3)}"
        )
        canvas.line(rim, lighter(colour, 0.7), 3 * unit, alpha=0.7)
        _ring(stage, radius, ringed, upper=False)


def _bands(stage: Stage, radius: float, colour: Colour) -> None:
    chance = stage.stream("bands")
    y = -radius
    while y < radius:
        tall = radius * chance.uniform(0.05, 0.22)
        tone = mix(
            turn(colour, chance.uniform(-22, 22)),
            chance.choice(("#ffffff", "#1d1230")),
            chance.uniform(0.05, 0.4),
        )
        edge = [(x / 6 * radius, y + radius * 0.03 * math.sin(x * 1.7 + y)) for x in range(-7, 8)]
        low = [(x, b + tall + radius * 0.06 * (1 - (x / radius) ** 2)) for x, b in reversed(edge)]
        stage.canvas.path(smooth(edge) + "L" + smooth(low)[1:] + "Z", tone, alpha=0.75)
        y += tall * chance.uniform(1.1, 1.9)
    stage.canvas.ellipse(
        (radius * 0.3, radius * 0.34),
        (radius * 0.2, radius * 0.1),
        mix(colour, "#fff3dd", 0.5),
        alpha=0.8,
    )


def _ring(stage: Stage, radius: float, colour: Colour, *, upper: bool) -> None:
    """Paint half of the rings: the upper half passes behind the planet, the lower before it."""
    sweep = 1 if upper else 0
    for reach, wide, alpha in (
        (1.42, 0.1, 0.35),
        (1.66, 0.2, 0.75),
        (1.92, 0.09, 0.5),
        (2.06, 0.03, 0.4),
    ):
        a, b = radius * reach, radius * reach * 0.26
        arc = f"M{num(-a)} 0A{num(a)} {num(b)} 0 0 {sweep} {num(a)} 0"
        inner_a, inner_b = a - radius * wide, b - radius * wide * 0.26
        back = f"L{num(inner_a)} 0A{num(inner_a)} {num(inner_b)} 0 0 {1 - sweep} {num(-inner_a)} 0Z"
        tone = mix(colour, "#0b0a1e", 0.45) if upper else colour
        stage.canvas.path(arc + back, tone, alpha=alpha)


def _moon(stage: Stage) -> None:
    unit, canvas, side = stage.unit, stage.canvas, stage.side
    centre, radius = (stage.width * (0.5 - side * 0.34), stage.height * 0.17), unit * 44
    body = canvas.radial(
        [(0, "#f2ead9"), (0.5, "#b9afae"), (0.85, "#3a3550"), (1, "#16132a")],
        (0.5 + side * 0.2, 0.3),
        0.75,
    )
    canvas.circle(centre, radius, body)
    pits = "".join(
        ring(centre[0] + a * radius, centre[1] + b * radius, c * radius, c * radius * 0.8)
        for a, b, c in ((0.2, -0.2, 0.18), (-0.3, 0.1, 0.22), (0.3, 0.4, 0.12))
    )
    canvas.path(pits, "#5b5468", alpha=0.45)


SETTING = Setting(
    name="space",
    words=(
        "space",
        "outer space",
        "galaxy",
        "cosmos",
        "cosmic",
        "nebula",
        "planet",
        "planets",
        "saturn",
        "universe",
        "orbit",
        "weltraum",
        "weltall",
        "galaxie",
        "ruimte",
        "heelal",
        "宇宙",
        "銀河",
        "惑星",
    ),
    near=5,
    surface=Surface.VOID,
    horizon=0.9,
    paint=paint,
    sky=False,
)
