"""A skyline in three depths, seen along a boulevard that shines when it is wet."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.light import Weather
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import circles, lens, num, polyline
from ketchup.providers.studio.terrain import crown
from ketchup.providers.studio.traffic import paint_traffic

_NEON: tuple[Colour, ...] = ("#35e0ff", "#ff4fc3", "#ffd166", "#8c6bff", "#52ffb8")
_NEON_WORDS = {"neon", "cyberpunk", "synthwave", "vaporwave", "retrowave", "futuristic", "ネオン"}
_WARM: tuple[Colour, ...] = ("#ffd98c", "#ffe9bd", "#ffc069", "#fff4dc")
_WALLS: tuple[Colour, ...] = ("#8a94a8", "#a88f86", "#7f8ea6", "#b0a294", "#70809c")


@dataclass(frozen=True, slots=True)
class _Row:
    """One depth of houses."""

    depth: float
    base: float
    tall: float
    broad: float
    gap: bool
    """Whether it leaves the middle free for the street."""


def backdrop(stage: Stage) -> None:
    """Paint the far and middle skyline."""
    unit = stage.unit
    foot = stage.horizon + 12 * unit
    _row(stage, _Row(0.8, foot, 300, 60, gap=False))
    _mist(stage, foot, 0.5)
    _row(stage, _Row(0.5, foot, 390, 84, gap=False))


def paint(stage: Stage) -> None:
    """Paint the street and the houses that line it."""
    _street(stage)
    _row(stage, _Row(0.16, stage.ground(0.16), 620, 150, gap=True))
    _pavement(stage)
    _avenue(stage)
    _lamps(stage)
    if not stage.crowd:
        # The lights of cars shine over everything, also over what would stand before them.
        paint_traffic(stage)


def neon(stage: Stage) -> bool:
    """Say whether the city glows in neon."""
    return stage.light.lamps and bool(stage.words & _NEON_WORDS)


def _row(stage: Stage, row: _Row) -> None:
    chance, unit = stage.stream(f"row {row.depth}"), stage.unit
    x = -unit * chance.uniform(10, 60)
    windows: dict[Colour, list[str]] = {}
    while x < stage.width:
        wide = unit * row.broad * chance.uniform(0.65, 1.35)
        middle = (x + wide / 2) / stage.width
        rise = 1 - abs(middle - 0.5) * (0.9 if not row.gap else -0.9)
        tall = (
            unit
            * row.tall
            * chance.uniform(0.45, 1.0)
            * (0.5 + 0.6 * rise if not row.gap else rise * 0.8)
        )
        if not (row.gap and 0.27 < middle < 0.73):
            _building(stage, chance, (x, row.base - tall, wide, tall), row)
            if row.depth < 0.75:
                _windows(stage, chance, (x, row.base - tall, wide, tall), windows)
            if row.gap and neon(stage):
                _signs(stage, chance, (x, row.base - tall, wide, tall))
        x += wide + unit * chance.uniform(-3, 9)
    lit = stage.light.lamps
    for colour, shapes in windows.items():
        stage.canvas.path(
            "".join(shapes),
            stage.shade(colour, row.depth * 0.5)
            if not lit
            else mix(colour, stage.light.haze, row.depth * 0.5),
        )


def _building(
    stage: Stage, chance: random.Random, box: tuple[float, float, float, float], row: _Row
) -> None:
    x, y, wide, tall = box
    canvas, unit, side = stage.canvas, stage.unit, stage.side
    wall = stage.tint("city", chance.choice(_WALLS))
    front = stage.shade(wall, row.depth, 0.25)
    fill = canvas.linear([(0, front), (1, mix(front, stage.light.haze, 0.35 * row.depth + 0.1))])
    canvas.rect((x, y, wide, row.base - y + 2), fill)
    shadow = x if side > 0 else x + wide * 0.68
    canvas.rect((shadow, y, wide * 0.32, row.base - y + 2), stage.shade(wall, row.depth, -0.8))
    roof = chance.random()
    dark = stage.shade(wall, row.depth, -0.9)
    if roof < 0.3:
        canvas.rect((x + wide * 0.24, y - tall * 0.07, wide * 0.52, tall * 0.08), front)
        canvas.rect((x + wide * 0.48, y - tall * 0.24, max(1.0, 2.5 * unit), tall * 0.18), dark)
    elif roof < 0.5:
        canvas.path(
            polyline([(x, y + 1), (x + wide * 0.5, y - wide * 0.42), (x + wide, y + 1)]), dark
        )
    elif roof < 0.75:
        canvas.rect((x + wide * 0.12, y - unit * 12, wide * 0.3, unit * 13), dark)
        canvas.rect((x + wide * 0.58, y - unit * 22, wide * 0.2, unit * 23), front)


def _windows(
    stage: Stage,
    chance: random.Random,
    box: tuple[float, float, float, float],
    shapes: dict[Colour, list[str]],
) -> None:
    x, y, wide, tall = box
    unit, lit = stage.unit, stage.light.lamps
    step = max(11 * unit, wide / max(3, round(wide / (17 * unit))))
    columns, rows = int(wide / step), int(tall / (step * 1.25))
    colours = _NEON[:3] + _WARM if neon(stage) else _WARM
    tone = chance.choice(colours)
    for i in range(columns):
        for j in range(rows):
            draw = chance.random()
            if draw > (0.42 if lit else 0.9):
                continue
            colour = (chance.choice(colours) if draw < 0.1 else tone) if lit else "#4f637e"
            left = x + (i + 0.5) * wide / columns - step * 0.26
            top = y + step * (0.6 + j * 1.25)
            shapes.setdefault(colour, []).append(
                f"M{num(left, 1)} {num(top, 1)}h{num(step * 0.5, 1)}"
                f"v{num(step * 0.7, 1)}h{num(-step * 0.5, 1)}Z"
            )


def _mist(stage: Stage, foot: float, alpha: float) -> None:
    haze = stage.light.haze
    top = foot - 190 * stage.unit
    fill = stage.canvas.linear([(0, haze, 0), (1, haze, alpha)])
    stage.canvas.rect((0, top, stage.width, foot - top + 4), fill)


def _street(stage: Stage) -> None:
    unit, light = stage.unit, stage.light
    road = stage.shade("#4b5060", 0.1)
    wet = stage.weather in {Weather.RAIN, Weather.STORM} or light.lamps
    far = mix(road, light.haze, 0.7 if wet else 0.45)
    near = mix(road, light.sky[0], 0.35 if wet else 0.1)
    stage.floor((0, far), (0.3, mix(road, light.sky[-1], 0.35 if wet else 0.12)), (1, near))
    x, top = stage.width / 2, stage.horizon + 8 * unit
    for i in range(9):
        a, b = (i / 9) ** 1.8, ((i + 0.45) / 9) ** 1.8
        ya, yb = top + a * (stage.height - top), top + b * (stage.height - top)
        wa, wb = unit * (1 + 13 * a), unit * (1 + 13 * b)
        dash = polyline([(x - wa, ya), (x + wa, ya), (x + wb, yb), (x - wb, yb)])
        stage.canvas.path(dash, stage.shade("#e8e2cf", 0.1), alpha=0.75)
    if wet:
        _shine(stage)
        _streaks(stage)


def _shine(stage: Stage) -> None:
    """Lay the lights of the street on its wet ground, drawn long towards the viewer."""
    chance, unit = stage.stream("shine"), stage.unit
    colours = _NEON if neon(stage) else (*_WARM, stage.light.sky[-1])
    for colour in colours:
        streaks = []
        for _ in range(22):
            t = chance.random() ** 1.2
            x = stage.width * (0.5 + chance.uniform(-0.62, 0.62) * (0.25 + t))
            y = stage.ground(0.06 + 0.94 * t)
            streaks.append(
                lens(x, y, unit * (8 + 70 * t) * chance.uniform(0.5, 1.3), unit * (1 + 5 * t))
            )
        stage.canvas.path("".join(streaks), colour, alpha=0.3)


def _streaks(stage: Stage) -> None:
    """Pull the lights of the houses down into the wet road as long soft stripes."""
    chance, unit = stage.stream("streaks"), stage.unit
    colours = _NEON if neon(stage) else _WARM
    for _ in range(15):
        x = stage.width * (0.5 + chance.gauss(0, 0.17))
        wide, top = unit * chance.uniform(7, 26), stage.ground(chance.uniform(0.02, 0.12))
        tall = (stage.height - top) * chance.uniform(0.3, 0.85)
        colour = chance.choice(colours)
        fill = stage.canvas.linear([(0, colour, 0.5), (0.4, colour, 0.26), (1, colour, 0)])
        stage.canvas.ellipse((x, top + tall / 2), (wide, tall / 2), fill)


def _signs(stage: Stage, chance: random.Random, box: tuple[float, float, float, float]) -> None:
    """Hang a neon sign on a house front: a frame and a few strokes that read as letters."""
    x, y, wide, tall = box
    unit, colour = stage.unit, chance.choice(_NEON)
    left, top, w, h = (
        x + wide * chance.uniform(0.1, 0.6),
        y + tall * chance.uniform(0.3, 0.5),
        34 * unit,
        130 * unit,
    )
    stage.canvas.rect((left, top, w, h), "#12081f", radius=5 * unit)
    strokes = "".join(
        f"M{num(left + w * 0.28)} {num(top + h * (0.14 + 0.2 * i))}h{num(w * 0.44)}"
        f"v{num(h * 0.1)}h{num(-w * 0.44 * (i % 2))}"
        for i in range(4)
    )
    border = f"M{num(left)} {num(top)}h{num(w)}v{num(h)}h{num(-w)}Z"
    stage.canvas.line(border + strokes, colour, 3 * unit)
    stage.canvas.line(strokes, "#ffffff", 1.2 * unit)
    stage.before.append(Wash((left + w / 2, top + h / 2), (120 * unit, 150 * unit), colour, 0.5))


def _pavement(stage: Stage) -> None:
    unit = stage.unit
    middle, top = stage.width / 2, stage.horizon + 10 * unit
    for side in (-1, 1):
        edge = [
            (middle + side * 26 * unit, top),
            (middle + side * stage.width * 0.62, stage.height),
        ]
        outer = [
            (middle + side * stage.width, stage.height),
            (middle + side * stage.width, stage.ground(0.16)),
            (middle + side * stage.width * 0.22, stage.ground(0.1)),
        ]
        stage.canvas.path(polyline([*edge, *outer]), stage.shade("#6f7280", 0.08, -0.3))
        kerb = [
            *edge,
            (edge[1][0] - side * 14 * unit, stage.height),
            (edge[0][0] - side * unit, top),
        ]
        stage.canvas.path(polyline(kerb), stage.shade("#b9bac4", 0.05, 0.3))


def _avenue(stage: Stage) -> None:
    """Plant trees along both pavements, in the season's leaves."""
    chance, unit, middle = stage.stream("avenue"), stage.unit, stage.width / 2
    leaves = stage.growth.leaves
    for i in range(6):
        t = ((i + 0.4) / 6) ** 1.7 * 0.8 + 0.02
        depth = 0.45 * (1 - t) ** 3
        for side in (-1, 1):
            x = middle + side * (70 * unit + stage.width * 0.78 * t)
            y = stage.horizon + 10 * unit + (stage.height - stage.horizon) * t * 0.9
            tall = unit * (60 + 470 * t)
            stage.canvas.ellipse(
                (x - stage.side * tall * 0.2, y), (tall * 0.4, tall * 0.05), "#0c0a18", alpha=0.35
            )
            stage.canvas.path(
                polyline(
                    [
                        (x - tall * 0.03, y),
                        (x - tall * 0.018, y - tall * 0.6),
                        (x + tall * 0.018, y - tall * 0.6),
                        (x + tall * 0.03, y),
                    ]
                ),
                stage.shade("#54423c", depth, -0.3),
            )
            for shift, reach, colour, facing in (
                (0, 1.0, leaves[2], -0.6),
                (0.05, 0.8, leaves[0], 0.0),
                (0.1, 0.48, leaves[1], 0.7),
            ):
                discs = crown(
                    chance,
                    (x + stage.side * tall * shift, y - tall * (0.72 + shift)),
                    (tall * 0.24 * reach, tall * 0.26 * reach),
                    16,
                )
                stage.canvas.path(circles(discs), stage.shade(colour, depth, facing))


def _lamps(stage: Stage) -> None:
    """Line the street with lamps that grow towards the viewer, and light the ground under them."""
    unit, middle = stage.unit, stage.width / 2
    lit = stage.light.lamps
    for i in range(5):
        t = (i / 5) ** 1.6 * 0.95 + 0.03
        for side in (-1, 1):
            x = middle + side * (34 * unit + (stage.width * 0.6 - 34 * unit) * t)
            y = stage.horizon + 12 * unit + (stage.height - stage.horizon) * t
            tall = unit * (40 + 520 * t)
            pole = stage.shade("#2c3040", 0.5 * (1 - t) ** 2)
            head = (x - side * tall * 0.16, y - tall)
            arm = (
                f"M{num(x)} {num(y)}V{num(y - tall * 0.9)}Q{num(x)} {num(y - tall)}"
                f" {num(head[0])} {num(head[1])}"
            )
            stage.canvas.line(arm, pole, max(1.2 * unit, tall * 0.018))
            if lit:
                glow = _NEON[i % 2] if neon(stage) else "#ffd48a"
                stage.canvas.path(
                    circles([(head[0], head[1] + tall * 0.015, tall * 0.035)]), "#fff6df"
                )
                stage.before.append(Wash(head, (tall * 0.5, tall * 0.5), glow, 0.5))


SETTING = Setting(
    name="city",
    words=(
        "city",
        "cityscape",
        "skyline",
        "street",
        "urban",
        "downtown",
        "skyscraper",
        "skyscrapers",
        "metropolis",
        "town",
        "tokyo",
        "new york",
        "london",
        "berlin",
        "amsterdam",
        "stadt",
        "straße",
        "stad",
        "straat",
        "街",
        "都市",
        "東京",
        "都会",
    ),
    near=20,
    surface=Surface.LAND,
    horizon=0.64,
    paint=paint,
    backdrop=backdrop,
)
