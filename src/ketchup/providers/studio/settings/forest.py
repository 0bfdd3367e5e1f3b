"""Inside a forest: trunks that fade into the light, a path, and leaves of the season overhead."""

from __future__ import annotations

import math
import random

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.settings import mountains
from ketchup.providers.studio.svg import circles, num, polyline, smooth
from ketchup.providers.studio.terrain import (
    blades,
    conifer,
    crown,
    fern,
    ground_under,
    height_at,
    hill_under,
    leaf,
    ridge,
    swell,
)

_EVERGREEN = {"pine", "pines", "fir", "firs"}


def backdrop(stage: Stage) -> None:
    """Paint the far tree line."""
    chance = stage.stream("treeline")
    _firs(
        stage, chance, (0.88, stage.horizon + 4 * stage.unit, 150), stage.horizon + 60 * stage.unit
    )
    _firs(
        stage, chance, (0.7, stage.horizon + 26 * stage.unit, 230), stage.horizon + 80 * stage.unit
    )


def paint(stage: Stage) -> None:
    """Paint the forest from the bright middle outwards, each row nearer and darker."""
    chance, unit, light = stage.stream("forest"), stage.unit, stage.light
    ground = _ground(stage)
    stage.floor(
        (0, stage.shade(ground, 0.7)),
        (0.3, stage.shade(ground, 0.4)),
        (1, stage.shade(ground, 0, -0.6)),
    )
    glow = (stage.width * 0.55, 330 * unit)
    stage.behind.append(
        Wash((stage.width / 2, stage.horizon), glow, light.sun, 0.75 * light.glow + 0.1)
    )
    firs = _evergreen(stage)
    for row, (depth, share, size) in enumerate(
        ((0.52, 0.07, 300), (0.34, 0.17, 430), (0.16, 0.34, 600))
    ):
        if firs:
            _firs(stage, chance, (depth, stage.ground(share), size), None)
        else:
            _trunks(stage, chance, (depth, stage.ground(share), size))
        _mound(stage, chance, (depth, share, row))
    if light.glow > 0.35:
        _shafts(stage)
    _path(stage)
    _undergrowth(stage, chance)


def front(stage: Stage) -> None:
    """Frame the picture with the nearest trunks, and hang leaves into its upper edge."""
    if _evergreen(stage):
        mountains.front(stage)
        return
    chance, unit = stage.stream("trunks"), stage.unit
    bark = stage.shade("#3b2d30", 0, -0.35)
    rim = stage.shade("#8a6a5a", 0, 0.9)
    for share, wide in ((0.015, 96), (0.985, 84)):
        x, half, foot = share * stage.width, wide * unit / 2, stage.height + 10 * unit
        bend = chance.uniform(-22, 22) * unit
        trunk = (
            f"M{num(x - half * 1.9)} {num(foot)}C{num(x - half)}"
            f" {num(foot - 120 * unit)} {num(x - half)} {num(foot * 0.4)}"
            f" {num(x - half * 0.8 + bend)} -5"
            f"H{num(x + half * 0.7 + bend)}C{num(x + half * 0.8)} {num(foot * 0.4)}"
            f" {num(x + half)} {num(foot - 120 * unit)} {num(x + half * 2)}"
            f" {num(foot)}Z"
        )
        stage.canvas.path(trunk, bark)
        edge = x + stage.side * half * 0.82
        for shift, alpha in ((edge, 0.8),):
            stage.canvas.line(
                f"M{num(shift)} {num(foot - 120 * unit)}C{num(shift)}"
                f" {num(foot * 0.6)} {num(shift)} {num(foot * 0.3)}"
                f" {num(shift + bend)} -5",
                rim,
                3.4 * unit,
                alpha=alpha,
            )
        cracks = "".join(
            f"M{num(x + chance.uniform(-0.6, 0.6) * half)} {num(y)}q{num(4 * unit)}"
            f" {num(26 * unit)} 0 {num(60 * unit)}"
            for y in (chance.uniform(0, stage.height) for _ in range(16))
        )
        stage.canvas.line(cracks, stage.shade("#1f171d", 0, -0.5), 2.4 * unit, alpha=0.6)
    area = (0, stage.height - 30 * unit, stage.width, 50 * unit)
    stage.canvas.path(
        blades(chance, area, 220, 100 * unit),
        stage.shade(mix(_ground(stage), "#10241f", 0.6), 0, -0.4),
    )
    if not stage.growth.snow:
        _boughs(stage, chance)


def _evergreen(stage: Stage) -> bool:
    return stage.growth.snow or bool(stage.words & _EVERGREEN)


def _ground(stage: Stage) -> Colour:
    growth = stage.growth
    usual = growth.grass if growth.snow else mix(growth.grass, growth.conifer, 0.35)
    return stage.tint("forest", usual)


def _firs(
    stage: Stage, chance: random.Random, shape: tuple[float, float, float], foot: float | None
) -> None:
    """Paint a row of firs; with a `foot` it is closed ground, without one the middle stays free."""
    depth, base, tall = shape
    unit = stage.unit
    line = [(x, base + unit * 12 * y) for x, y in ridge(chance, stage.width, steps=5)]
    count = max(8, round(stage.width / (tall * unit) * (8 if foot else 7)))
    body, lit = [], []
    for i in range(count):
        share = (i + chance.random()) / count
        if foot is None and abs(share - 0.5) < 0.17:
            continue
        x = share * stage.width
        height = tall * unit * chance.uniform(0.65, 1.25)
        root = (x, height_at(line, x) + unit * chance.uniform(0, 14))
        state = chance.getstate()
        body.append(conifer(chance, root, height))
        chance.setstate(state)
        lit.append(conifer(chance, root, height, half=stage.side))
    colour = stage.growth.conifer
    dark = stage.shade(mix(colour, "#10222c", 0.3), depth, -0.2)
    stage.canvas.path("".join(body), dark)
    bright = mix(colour, "#f2f8ff", 0.75) if stage.growth.snow else mix(colour, "#b9cf72", 0.25)
    stage.canvas.path("".join(lit), stage.shade(bright, depth, 0.6), alpha=0.65)
    if foot is not None:
        fade = stage.canvas.vertical([(0, dark), (1, stage.light.haze)], base, foot)
        stage.canvas.path(ground_under(line, foot), fade)


def _trunks(stage: Stage, chance: random.Random, shape: tuple[float, float, float]) -> None:
    """Paint a row of tall trees whose trunks leave the picture, under a roof of leaves."""
    depth, base, size = shape
    unit, leaves = stage.unit, stage.growth.leaves
    count = round(17 - size / 60)
    bark = stage.shade("#5a4440", depth, -0.2)
    trunks, limbs, roof, bright = [], [], [], []
    for i in range(count):
        share = (i + chance.uniform(0.15, 0.85)) / count
        if abs(share - 0.5) < 0.1 + 0.09 * (1 - depth):
            continue
        x, half = share * stage.width, size * unit * chance.uniform(0.022, 0.04)
        lean = chance.uniform(-0.05, 0.05) * size * unit
        foot = base + chance.uniform(0, 30) * unit
        trunks.append(
            f"M{num(x - half * 1.7)} {num(foot)}Q{num(x - half)}"
            f" {num(foot - size * 0.2 * unit)} {num(x - half * 0.8 + lean)} -5"
            f"H{num(x + half * 0.7 + lean)}Q{num(x + half)}"
            f" {num(foot - size * 0.2 * unit)} {num(x + half * 1.7)} {num(foot)}Z"
        )
        for _ in range(3):
            y = stage.horizon * chance.uniform(0.3, 0.75)
            way = chance.choice((-1, 1))
            limbs.append(
                f"M{num(x + lean * 0.5)} {num(y)}q{num(way * size * 0.1 * unit)}"
                f" {num(-size * 0.05 * unit)} {num(way * size * 0.2 * unit)}"
                f" {num(-size * 0.16 * unit)}"
            )
    for i in range(count + 4):
        x = stage.width * (i + chance.random()) / (count + 4)
        middle = 1 - abs(x / stage.width - 0.5) * 2
        y = (
            stage.horizon
            * (0.02 + 0.42 * (1 - depth) * (1 - 0.8 * middle))
            * chance.uniform(0.7, 1.3)
        )
        reach = size * unit * chance.uniform(0.16, 0.26)
        roof += crown(chance, (x, y), (reach * 1.3, reach * 0.7), 11)
        bright += crown(
            chance, (x + stage.side * reach * 0.3, y - reach * 0.12), (reach * 0.8, reach * 0.4), 8
        )
    stage.canvas.path("".join(trunks), bark)
    stage.canvas.line("".join(limbs), bark, size * 0.012 * unit)
    stage.canvas.path(circles(roof), stage.shade(mix(leaves[2], "#1e2b2a", 0.25), depth, -0.2))
    stage.canvas.path(circles(bright), stage.shade(leaves[0], depth, 0.6), alpha=0.85)
    stage.canvas.path(_fringe(chance, roof, size * 0.03 * unit), stage.shade(leaves[1], depth, 0.4))


def _fringe(chance: random.Random, discs: list[tuple[float, float, float]], length: float) -> str:
    """Hang single leaves from the lower rims of a crown."""
    leaves = []
    for x, y, r in discs:
        angle = chance.uniform(0.1, math.pi - 0.1)
        start = r * chance.uniform(0.8, 1.25)
        leaves.append(
            leaf(
                x + math.cos(angle) * start,
                y + math.sin(angle) * start,
                length,
                angle + chance.uniform(-0.8, 0.8),
            )
        )
    return "".join(leaves)


def _mound(stage: Stage, chance: random.Random, shape: tuple[float, float, int]) -> None:
    depth, share, row = shape
    unit = stage.unit
    dip = [
        (x, stage.ground(share) - unit * (10 * y + 40 * (row + 1) * abs(x / stage.width - 0.5)))
        for x, y in swell(chance, stage.width, waves=1.3)
    ]
    ground = _ground(stage)
    top = stage.shade(ground, depth, 0.5)
    fill = stage.canvas.vertical(
        [(0, top), (1, stage.shade(ground, depth * 0.6, -0.3))],
        stage.ground(share) - 30 * unit,
        stage.ground(share + 0.35),
    )
    stage.canvas.path(hill_under(dip, stage.height), fill)
    area = (0, stage.ground(share) + 4 * unit, stage.width, 60 * unit * (row + 1))
    tall = unit * (14 + 12 * row)
    stage.canvas.path(
        blades(chance, area, 150, tall),
        stage.shade(mix(ground, stage.growth.conifer, 0.5), depth, -0.2),
    )
    stage.canvas.path(blades(chance, area, 110, tall), stage.shade(ground, depth, 0.9))


def _shafts(stage: Stage) -> None:
    """Let the light fall through the leaves in slanting beams."""
    chance, unit, sun = stage.stream("shafts"), stage.unit, stage.light.sun
    for _ in range(4):
        x = stage.width * 0.5 + stage.side * chance.uniform(-40, 330) * unit
        lean = -stage.side * unit * chance.uniform(220, 330)
        wide, foot = unit * chance.uniform(34, 84), stage.ground(0.45)
        beam = [(x, -5), (x + wide * 0.6, -5), (x + wide * 1.7 + lean, foot), (x + lean, foot)]
        stage.canvas.path(
            polyline(beam), stage.canvas.linear([(0, sun, 0.3 * stage.light.glow), (1, sun, 0)])
        )


def _path(stage: Stage) -> None:
    unit, middle, bend = stage.unit, stage.width / 2, -stage.side
    ground = "#c9ab7c" if not stage.growth.snow else "#c3d3e4"
    fill = stage.canvas.vertical(
        [
            (0, stage.shade(ground, 0.5, 0.8)),
            (0.5, stage.shade(ground, 0.12, 0.3)),
            (1, stage.shade(ground, 0, -0.5)),
        ],
        stage.ground(0.1),
        stage.height,
    )
    spots = (
        (0.09, 0, 7),
        (0.18, 18, 16),
        (0.32, -26, 34),
        (0.52, -70, 74),
        (0.78, 10, 140),
        (1.05, 90, 220),
    )
    left = [(middle + bend * x * unit - half * unit, stage.ground(y)) for y, x, half in spots]
    right = [(middle + bend * x * unit + half * unit, stage.ground(y)) for y, x, half in spots]
    stage.canvas.path(band(left, right), fill)


def band(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> str:
    """Return path data of a band between two soft lines."""
    return smooth(left) + "L" + smooth(right[::-1])[1:] + "Z"


def _undergrowth(stage: Stage, chance: random.Random) -> None:
    """Set ferns, fallen leaves and small flowers beside the path."""
    unit, growth = stage.unit, stage.growth
    near: list[list[str]] = [[], []]
    for i in range(18):
        share = chance.uniform(0.3, 1.0)
        x = stage.width * (0.5 + (-1) ** i * chance.uniform(0.15 + 0.16 * share, 0.5))
        size = unit * (34 + 110 * share) * chance.uniform(0.6, 1.1)
        near[i // 2 % 2].append(fern(chance, (x, stage.ground(share)), size))
    green = growth.conifer if not growth.snow else mix(growth.conifer, "#ffffff", 0.55)
    stage.canvas.path("".join(near[0]), stage.shade(mix(green, "#10261f", 0.3), 0.04, -0.2))
    stage.canvas.path("".join(near[1]), stage.shade(mix(green, growth.grass, 0.35), 0.04, 0.5))
    if not growth.snow:
        for colour in growth.leaves:
            fallen = [
                leaf(
                    chance.random() * stage.width,
                    stage.ground(chance.uniform(0.25, 1)),
                    unit * chance.uniform(6, 15),
                    chance.uniform(0, math.tau),
                )
                for _ in range(60)
            ]
            stage.canvas.path("".join(fallen), stage.shade(colour, 0.05, 0.4))


def _boughs(stage: Stage, chance: random.Random) -> None:
    """Hang near boughs, dark and large, from the upper corners."""
    unit, leaves = stage.unit, stage.growth.leaves
    for tone, shift in (
        (stage.shade(mix(leaves[2], "#16211f", 0.55), 0, -0.3), 0),
        (stage.shade(leaves[0], 0, 0.2), 1),
    ):
        shapes = []
        for way in (-1, 1):
            for i in range(46):
                t = chance.random()
                x = stage.width / 2 + way * (stage.width / 2 - t * 330 * unit)
                y = (
                    unit * (chance.uniform(-30, 60) + 120 * (1 - t) ** 2 * chance.uniform(0.4, 1.3))
                    - shift * 12 * unit
                )
                shapes.append(
                    leaf(
                        x,
                        y,
                        unit * chance.uniform(26, 54) * (0.8 if shift and i % 2 else 1),
                        chance.uniform(0.2, math.pi - 0.2),
                    )
                )
        stage.canvas.path("".join(shapes), tone)


SETTING = Setting(
    name="forest",
    words=(
        "forest",
        "woods",
        "woodland",
        "pine",
        "pines",
        "fir",
        "firs",
        "jungle",
        "wald",
        "wäldern",
        "bos",
        "bossen",
        "森",
        "林",
    ),
    near=30,
    surface=Surface.LAND,
    horizon=0.5,
    paint=paint,
    backdrop=backdrop,
    front=front,
)
