"""A flowering meadow between trees, its blossoms growing towards the viewer."""

from __future__ import annotations

import math
import random

from ketchup.providers.studio.colour import Colour, deeper, mix
from ketchup.providers.studio.light import Season
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.svg import circles, num
from ketchup.providers.studio.terrain import blades, crown, height_at, hill_under, swell


def backdrop(stage: Stage) -> None:
    """Paint rolling hills with rows of round trees."""
    chance, unit, growth = stage.stream("hills"), stage.unit, stage.growth
    for depth, lift, tall in ((0.72, 70, 34), (0.5, 34, 62)):
        line = [
            (x, stage.horizon - unit * (lift * 0.4 + 22 * y)) for x, y in swell(chance, stage.width)
        ]
        _grove(stage, chance, line, (depth, tall * unit))
        green = mix(growth.grass, growth.conifer, 0.25)
        top = stage.shade(green, depth, 0.3)
        fill = stage.canvas.vertical(
            [(0, top), (1, mix(top, stage.light.haze, 0.3))],
            stage.horizon - 60 * unit,
            stage.horizon + 50 * unit,
        )
        stage.canvas.path(hill_under(line, stage.horizon + 60 * unit), fill)


def paint(stage: Stage) -> None:
    """Paint the meadow and its flowers, small and dense far away, large and leafy near by."""
    chance, unit, growth = stage.stream("meadow"), stage.unit, stage.growth
    grass = stage.tint("garden", growth.grass)
    line = [
        (x, stage.horizon + unit * (14 - 16 * y)) for x, y in swell(chance, stage.width, waves=0.8)
    ]
    fill = stage.canvas.vertical(
        [
            (0, stage.shade(grass, 0.34, 0.6)),
            (0.35, stage.shade(grass, 0.06, 0.2)),
            (1, stage.shade(mix(grass, "#1d4a35", 0.6), 0, -0.3)),
        ],
        stage.horizon,
        stage.height,
    )
    stage.canvas.path(hill_under(line, stage.height), fill)
    for low, high, count, tall in ((0.12, 0.45, 260, 22), (0.45, 0.8, 260, 46)):
        area = (0, stage.ground(low), stage.width, stage.ground(high) - stage.ground(low))
        stage.canvas.path(
            blades(chance, area, count, tall * unit),
            stage.shade(mix(grass, growth.conifer, 0.4), 0.05),
        )
        stage.canvas.path(blades(chance, area, count, tall * unit), stage.shade(grass, 0.02, 0.9))
    _trees(stage, chance)
    flowers(stage, chance, (0.1, 0.82), 260)


def _trees(stage: Stage, chance: random.Random) -> None:
    """Stand a few larger trees at both sides, so that the eye has steps into the distance."""
    unit, growth = stage.unit, stage.growth
    for share, at, tall in (
        (0.02, 0.05, 210),
        (0.13, 0.03, 150),
        (0.97, 0.07, 250),
        (0.87, 0.03, 130),
        (0.79, 0.02, 90),
    ):
        x, y, size = share * stage.width, stage.ground(at), tall * unit
        depth = 0.34 - tall / 1000
        trunk = (
            f"M{num(x - size * 0.05)} {num(y)}L{num(x - size * 0.02)}"
            f" {num(y - size * 0.6)}H{num(x + size * 0.02)}L{num(x + size * 0.05)}"
            f" {num(y)}Z"
        )
        stage.canvas.ellipse(
            (x - stage.side * size * 0.3, y + 2 * unit),
            (size * 0.6, size * 0.07),
            stage.shade(growth.conifer, depth, -0.8),
            alpha=0.4,
        )
        stage.canvas.path(trunk, stage.shade("#5f4636", depth, -0.2))
        middle = (x, y - size * 0.66)
        blossom = stage.season is Season.SPRING and tall < 200
        leaf = ("#f6b6ca", "#ffe3ea", "#e08ba8") if blossom else growth.leaves
        for shift, reach, colour, facing in (
            (-0.03, 1.0, leaf[2], -0.4),
            (0.05, 0.82, leaf[0], 0.1),
            (0.12, 0.52, leaf[1], 0.7),
        ):
            centre = (middle[0] + stage.side * size * shift, middle[1] - size * shift * 0.9)
            discs = crown(chance, centre, (size * 0.36 * reach, size * 0.34 * reach), 20)
            stage.canvas.path(circles(discs), stage.shade(colour, depth, facing))


def front(stage: Stage) -> None:
    """Fill the lower edge with tall grass and the nearest flowers."""
    chance, unit, growth = stage.stream("flower front"), stage.unit, stage.growth
    area = (0, stage.height - 50 * unit, stage.width, 80 * unit)
    grass = stage.tint("garden", growth.grass)
    stage.canvas.path(
        blades(chance, area, 300, 130 * unit), stage.shade(mix(grass, "#16402f", 0.65), 0, -0.2)
    )
    stage.canvas.path(
        blades(chance, area, 130, 120 * unit), stage.shade(mix(grass, "#2c6b3e", 0.3), 0, 0.6)
    )
    flowers(stage, chance, (0.86, 1.03), 34)


def flowers(stage: Stage, chance: random.Random, band: tuple[float, float], count: int) -> None:
    """Scatter flowers between two lines of the ground, sorted by depth."""
    unit = stage.unit
    colours = _colours(stage)
    count = round(count * stage.width / stage.height)
    places = sorted(
        (band[0] + (band[1] - band[0]) * chance.random() ** 0.9, chance.random())
        for _ in range(count)
    )
    dots: dict[Colour, list[tuple[float, float, float]]] = {}
    near: list[tuple[float, float, float, Colour]] = []
    for share, x in places:
        patch = math.sin(x * 9 + share * 5) + math.sin(x * 4.1 - share * 9)
        colour = colours[int(patch * 1.3 + 10 + chance.random() * 1.4) % len(colours)]
        size = unit * (2.2 + 19 * share**1.6) * chance.uniform(0.75, 1.15)
        if size < 7 * unit:
            dots.setdefault(colour, []).append((x * stage.width, stage.ground(share), size))
        else:
            near.append((x * stage.width, stage.ground(share), size, colour))
    for colour, discs in dots.items():
        stage.canvas.path(circles(discs), stage.shade(colour, 0.16, 0.5))
    _blossoms(stage, chance, near)


def _colours(stage: Stage) -> tuple[Colour, ...]:
    asked = stage.tints.get("flowers") or stage.tints.get("garden")
    if asked:
        return (asked, mix(asked, "#ffffff", 0.3), mix(asked, "#3a1030", 0.18), asked)
    return stage.growth.flowers


def _blossoms(
    stage: Stage, chance: random.Random, places: list[tuple[float, float, float, Colour]]
) -> None:
    unit = stage.unit
    stems = "".join(
        f"M{num(x)} {num(y)}q{num(size * 0.3)} {num(size * 1.6)} {num(-size * 0.1)} {num(size * 3)}"
        for x, y, size, _ in places
    )
    stage.canvas.line(stems, stage.shade("#3f7d3f", 0, -0.2), 2.2 * unit)
    for x, y, size, colour in places:
        turn = chance.random() * math.tau
        petals = chance.choice((5, 6, 8))
        squash = chance.uniform(0.62, 0.9)
        reach, broad = size * 0.62, size * (1.7 / petals + 0.12)
        for way, tone in (
            (1.0, stage.shade(colour, 0, -0.35)),
            (0.84, stage.shade(colour, 0, 0.55)),
        ):
            discs = [
                (
                    x + math.cos(turn + i * math.tau / petals) * reach * way,
                    y
                    - (1 - way) * size * 0.5
                    + math.sin(turn + i * math.tau / petals) * reach * way * squash,
                    broad * way,
                )
                for i in range(petals)
            ]
            stage.canvas.path(circles(discs), tone)
        heart = "#7a4a1c" if colour in {"#f5c443", "#ffd35c"} else "#f7cf52"
        stage.canvas.circle((x, y - size * 0.06), size * 0.3, stage.shade(heart, 0, 0.5))


def _grove(
    stage: Stage, chance: random.Random, line: list[tuple[float, float]], shape: tuple[float, float]
) -> None:
    """Plant clumps of round trees on a hill's edge."""
    depth, tall = shape
    dark, lit = [], []
    for _ in range(5):
        start = chance.uniform(-0.05, 1.0) * stage.width
        for i in range(chance.randint(3, 7)):
            x = start + i * tall * chance.uniform(0.55, 0.9)
            y = height_at(line, min(max(x, 0), stage.width))
            size = tall * chance.uniform(0.5, 1)
            dark += crown(chance, (x, y - size * 0.55), (size * 0.42, size * 0.55), 9)
            lit += crown(
                chance,
                (x + stage.side * size * 0.12, y - size * 0.72),
                (size * 0.22, size * 0.3),
                5,
            )
    leaf = stage.growth.leaves
    stage.canvas.path(circles(dark), stage.shade(deeper(leaf[0], 0.16), depth, -0.2))
    stage.canvas.path(circles(lit), stage.shade(leaf[1], depth, 0.5), alpha=0.8)


SETTING = Setting(
    name="garden",
    words=(
        "garden",
        "meadow",
        "flower field",
        "flower meadow",
        "flower garden",
        "flower bed",
        "field of flowers",
        "flowers",
        "wildflowers",
        "poppies",
        "tulips",
        "daisies",
        "lavender field",
        "park",
        "lawn",
        "garten",
        "wiese",
        "blumen",
        "blumenwiese",
        "tuin",
        "weide",
        "bloemen",
        "庭",
        "花畑",
        "花",
        "公園",
    ),
    near=32,
    surface=Surface.LAND,
    horizon=0.46,
    paint=paint,
    backdrop=backdrop,
    front=front,
    parts=("flowers",),
)
