"""A fir forest in five depths with a clearing where the light falls in."""

from __future__ import annotations

import random

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import circles, num, polyline
from ketchup.providers.studio.terrain import blades, conifer, ground_under, height_at, ridge


def backdrop(stage: Stage) -> None:
    """Paint the far tree line."""
    chance = stage.stream("treeline")
    _stand(stage, chance, (0.86, stage.horizon + 4 * stage.unit, 120, 1.0))
    _stand(stage, chance, (0.66, stage.horizon + 22 * stage.unit, 175, 1.0))


def paint(stage: Stage) -> None:
    """Paint the clearing and the trees that close in on it."""
    chance, growth = stage.stream("forest"), stage.growth
    moss = stage.tint(
        "forest", mix(growth.grass, growth.conifer, 0.35 if not growth.snow else 0.05)
    )
    stage.floor(
        (0, stage.shade(moss, 0.75)),
        (0.25, stage.shade(moss, 0.3, 0.4)),
        (1, stage.shade(moss, 0, -0.7)),
    )
    if stage.light.glow > 0.4:
        _shafts(stage)
    for depth, share, tall, free in ((0.45, 0.1, 270, 0.42), (0.24, 0.28, 430, 0.62)):
        _stand(stage, chance, (depth, stage.ground(share), tall, free))
    _clearing(stage, chance)


def front(stage: Stage) -> None:
    """Frame the picture with near trunks and undergrowth."""
    chance, unit, growth = stage.stream("trunks"), stage.unit, stage.growth
    bark = stage.shade("#3a2f33", 0, -0.4)
    for share, wide in ((-0.01, 74), (0.1, 34), (0.915, 40), (1.0, 82)):
        x, half = share * stage.width, wide * unit / 2
        foot = stage.height + 10 * unit
        bend = chance.uniform(-20, 20) * unit
        trunk = (
            f"M{num(x - half * 1.5)} {num(foot)}Q{num(x - half)} {num(foot - 130 * unit)} {num(x - half * 0.9 + bend)} -5"
            f"H{num(x + half * 0.8 + bend)}Q{num(x + half)} {num(foot - 130 * unit)} {num(x + half * 1.6)} {num(foot)}Z"
        )
        stage.canvas.path(trunk, bark)
        rim = x + stage.side * half * 0.8
        stage.canvas.line(
            f"M{num(rim)} {num(foot - 60 * unit)}Q{num(rim - stage.side * 4 * unit)} {num(foot / 2)} {num(rim + bend)} 0",
            stage.shade("#6e5a54", 0, 0.8),
            4 * unit,
            alpha=0.7,
        )
    area = (0, stage.height - 40 * unit, stage.width, 60 * unit)
    fern = mix(growth.conifer, growth.grass, 0.3)
    stage.canvas.path(blades(chance, area, 260, 95 * unit), stage.shade(fern, 0, -0.5))
    if len(growth.leaves) and growth.leaves[0] == "#d9772b":
        _fallen(stage, chance)


def _stand(stage: Stage, chance: random.Random, shape: tuple[float, float, float, float]) -> None:
    """Paint one depth of trees; `free` below 1 leaves the middle open."""
    depth, base, tall, free = shape
    unit = stage.unit
    line = [(x, base + unit * 12 * y) for x, y in ridge(chance, stage.width, steps=5)]
    size = tall * unit
    count = max(10, round(stage.width / size * 7))
    body, lit = [], []
    for i in range(count):
        share = (i + chance.random()) / count
        if free < 1 and abs(share - 0.5) < free * 0.5:
            continue
        x = share * stage.width
        height = size * chance.uniform(0.6, 1.2)
        foot = (x, height_at(line, x) + unit * chance.uniform(0, 14))
        state = chance.getstate()
        body.append(conifer(chance, foot, height))
        chance.setstate(state)
        lit.append(conifer(chance, foot, height, half=stage.side))
    colour = stage.growth.conifer
    dark = stage.shade(mix(colour, "#10222c", 0.3), depth, -0.2)
    stage.canvas.path("".join(body), dark)
    bright = mix(colour, "#f2f8ff", 0.7) if stage.growth.snow else mix(colour, "#b9cf72", 0.2)
    stage.canvas.path("".join(lit), stage.shade(bright, depth, 0.6), alpha=0.6)
    if free >= 1:
        stage.canvas.path(ground_under(line, base + 40 * unit), dark)
        haze = stage.light.haze
        mist = stage.canvas.linear([(0, haze, 0), (1, haze, 0.5 + 0.3 * stage.light.murk)])
        stage.canvas.rect((0, base - 90 * unit, stage.width, 110 * unit), mist)


def _shafts(stage: Stage) -> None:
    """Let the light fall through the trees in slanting beams."""
    chance, unit = stage.stream("shafts"), stage.unit
    sun = stage.light.sun
    for _ in range(4):
        x = stage.sun[0] + chance.uniform(-260, 200) * unit
        lean = -stage.side * unit * chance.uniform(200, 360)
        wide = unit * chance.uniform(30, 80)
        foot = stage.ground(0.5)
        beam = [(x, -5), (x + wide * 0.6, -5), (x + wide * 1.7 + lean, foot), (x + lean, foot)]
        stage.canvas.path(polyline(beam), stage.canvas.linear([(0, sun, 0.3), (1, sun, 0)]))
    stage.behind.append(
        Wash((stage.width / 2, stage.horizon), (stage.width * 0.5, 300 * unit), sun, 0.6)
    )


def _clearing(stage: Stage, chance: random.Random) -> None:
    unit, growth = stage.unit, stage.growth
    middle = stage.width / 2
    path = stage.shade("#b79a72" if not growth.snow else "#c7d7e6", 0.1, 0.5)
    top = stage.ground(0.06)
    bend = -stage.side * 120 * unit
    trail = (
        f"M{num(middle - 10 * unit)} {num(top)}C{num(middle + bend)} {num(stage.ground(0.3))} {num(middle - bend * 2 - 160 * unit)} {num(stage.ground(0.5))} "
        f"{num(middle - 220 * unit)} {num(stage.height)}H{num(middle + 170 * unit)}"
        f"C{num(middle - bend * 2 + 60 * unit)} {num(stage.ground(0.5))} {num(middle + bend + 50 * unit)} {num(stage.ground(0.3))} {num(middle + 10 * unit)} {num(top)}Z"
    )
    stage.canvas.path(trail, path, alpha=0.75)
    area = (0, stage.ground(0.3), stage.width, stage.height - stage.ground(0.3))
    for colour, facing, count in (
        (mix(growth.grass, growth.conifer, 0.5), -0.3, 420),
        (growth.grass, 0.7, 260),
    ):
        stage.canvas.path(blades(chance, area, count, unit * 44), stage.shade(colour, 0.05, facing))


def _fallen(stage: Stage, chance: random.Random) -> None:
    for colour in stage.growth.leaves:
        discs = [
            (
                chance.random() * stage.width,
                stage.ground(chance.uniform(0.35, 1)),
                stage.unit * chance.uniform(2, 6),
            )
            for _ in range(70)
        ]
        stage.canvas.path(circles(discs), stage.shade(colour, 0, 0.4))


SETTING = Setting(
    name="forest",
    words=("forest", "woods", "woodland", "pine", "pines", "jungle", "wald", "bos", "森", "林"),
    near=30,
    surface=Surface.LAND,
    horizon=0.5,
    paint=paint,
    backdrop=backdrop,
    front=front,
)
