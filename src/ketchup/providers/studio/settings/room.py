"""Indoors: a window with the weather outside it, a curtain, a plant, a wooden table."""

from __future__ import annotations

from dataclasses import replace

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.light import Weather
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.sky import paint_clouds, paint_stars, paint_sun
from ketchup.providers.studio.svg import circles, num, polyline
from ketchup.providers.studio.terrain import cloud, ridge
from ketchup.providers.studio.weather import paint_weather

_GLOOM = {Weather.RAIN, Weather.STORM, Weather.SNOW}


def paint(stage: Stage) -> None:
    """Paint the view, the wall around it, and the table before it."""
    left, top, wide, tall = window(stage)
    _view(stage)
    lit = stage.light.lamps or stage.weather in _GLOOM
    if lit:
        _switch_on(stage)
    _wall(stage, (left, top, wide, tall))
    _frame(stage, (left, top, wide, tall))
    _curtains(stage, (left, top, wide, tall))
    _table(stage, (left, wide))
    _plant(stage)
    if lit:
        _lamp(stage)
    stage.bloom = 0.25


def _switch_on(stage: Stage) -> None:
    """Light the room by a lamp once it is dark outside; the view keeps its own light."""
    unit, side = stage.unit, stage.side
    stage.light = replace(
        stage.light,
        sun="#ffcf8f",
        ambient="#3b2436",
        haze="#6b4a4a",
        darkness=0.3,
        warmth=0.42,
        glow=0.3,
    )
    lamp = (stage.width * (0.5 - side * 0.34), stage.ground(-0.22))
    stage.before.append(Wash(lamp, (620 * unit, 560 * unit), "#ffb25e", 0.36))


def window(stage: Stage) -> tuple[float, float, float, float]:
    """Return the window as x, y, width, height."""
    unit = stage.unit
    wide = min(stage.width * 0.62, 700 * unit)
    x = stage.width * (0.5 + stage.side * 0.04) - wide / 2
    return x, stage.height * 0.08, wide, stage.ground(0.0) - stage.height * 0.08 - 18 * unit


def _view(stage: Stage) -> None:
    chance, unit, light = stage.stream("view"), stage.unit, stage.light
    left, top, wide, tall = window(stage)
    last = len(light.sky) - 1
    stage.column = [(top + tall * 0.95 * i / last, colour) for i, colour in enumerate(light.sky)]
    stage.column += [(stage.height, light.haze)]
    if light.stars:
        paint_stars(stage, top + tall, 130)
    stage.sun = (left + wide * (0.5 + stage.side * 0.24), top + tall * 0.3)
    horizon, stage.horizon = stage.horizon, top + tall * 0.8
    paint_sun(stage)
    paint_clouds(stage)
    stage.horizon = horizon
    base = top + tall
    for depth, lift in ((0.75, 0.3), (0.5, 0.17)):
        line = [
            (x, base - tall * (lift + 0.05 * y)) for x, y in ridge(chance, stage.width, steps=6)
        ]
        shape = polyline([(0, base), *line, (stage.width, base)])
        stage.canvas.path(shape, stage.shade(mix(stage.growth.conifer, "#52708a", 0.4), depth))
    if stage.weather in _GLOOM:
        paint_weather(stage)
    discs = [
        d
        for i in range(7)
        for d in cloud(chance, (left + wide * i / 6, base + 10 * unit), wide * 0.3)
    ]
    stage.canvas.path(circles(discs), stage.shade(stage.growth.leaves[2], 0.3, -0.2))


def _wall(stage: Stage, opening: tuple[float, float, float, float]) -> None:
    x, y, wide, tall = opening
    wall = stage.tint("wall", stage.tint("room", "#d9c3ad"))
    shaded = stage.shade(mix(wall, "#6a5566", 0.3), 0, -0.3)
    bright = stage.shade(wall, 0, 0.4)
    edge = stage.ground(0.06)
    hole = (
        f"M-2 -2H{num(stage.width + 2)}V{num(edge)}H-2ZM{num(x)} {num(y)}V{num(y + tall)}"
        f"H{num(x + wide)}V{num(y)}Z"
    )
    ends = ((1.0, 0.0), (0.0, 0.4)) if stage.side > 0 else ((0.0, 0.0), (1.0, 0.4))
    stage.canvas.path(hole, stage.canvas.linear([(0, bright), (1, shaded)], *ends))
    stage.before.append(
        Wash((x + wide / 2, y + tall * 0.5), (wide * 0.95, tall * 1.0), stage.light.sun, 0.08)
    )


def _frame(stage: Stage, opening: tuple[float, float, float, float]) -> None:
    x, y, wide, tall = opening
    unit, canvas = stage.unit, stage.canvas
    wood, dark = stage.shade("#f4ede2", 0, 0.2), stage.shade("#b3a596", 0, -0.4)
    for ox, oy, w, h in (
        (-22, -22, wide / unit + 44, 22),
        (-22, 0, 22, tall / unit),
        (wide / unit, 0, 22, tall / unit),
    ):
        canvas.rect((x + ox * unit, y + oy * unit, w * unit, h * unit), wood)
    for share in (1 / 3, 2 / 3):
        canvas.rect((x + wide * share - 6 * unit, y, 12 * unit, tall), wood)
        canvas.rect((x + wide * share + stage.side * -6 * unit, y, 3 * unit, tall), dark)
    canvas.rect((x, y + tall * 0.42, wide, 11 * unit), wood)
    canvas.rect((x, y, wide, 7 * unit), dark, alpha=0.6)
    canvas.rect((x - 46 * unit, y + tall, wide + 92 * unit, 22 * unit), wood)
    canvas.rect((x - 46 * unit, y + tall + 22 * unit, wide + 92 * unit, 7 * unit), dark)


def _curtains(stage: Stage, opening: tuple[float, float, float, float]) -> None:
    x, y, wide, _tall = opening
    unit = stage.unit
    cloth = stage.tint("curtain", "#efe3d4")
    rod = y - 46 * unit
    for way in (-1, 1):
        edge = x if way < 0 else x + wide
        for i in range(6):
            a = edge + way * (130 - 37 * i) * unit
            b = a - way * 34 * unit
            sway = way * unit * (26 + 7 * i)
            fold = (
                f"M{num(a)} {num(rod)}C{num(a)} {num(rod + 260 * unit)}"
                f" {num(a + sway * 0.2)} {num(rod + 420 * unit)} {num(a + sway)}"
                f" {num(stage.ground(0.2))}H{num(b + sway)}C{num(b + sway * 0.2)}"
                f" {num(rod + 420 * unit)} {num(b)} {num(rod + 260 * unit)} {num(b)}"
                f" {num(rod)}Z"
            )
            tone = stage.shade(cloth, 0, 0.35 if i % 2 else -0.2)
            stage.canvas.path(
                fold,
                stage.canvas.linear(
                    [(0, tone), (1, stage.shade(mix(cloth, "#8a7380", 0.3), 0, -0.3))]
                ),
            )
    stage.canvas.rect(
        (x - 170 * unit, rod - 8 * unit, wide + 340 * unit, 9 * unit),
        stage.shade("#6b5344", 0, -0.2),
        radius=4 * unit,
    )


def _table(stage: Stage, opening: tuple[float, float]) -> None:
    left, wide = opening
    unit, canvas = stage.unit, stage.canvas
    chance = stage.stream("table")
    top = stage.ground(0.2)
    wood = stage.tint("table", "#a8734a")
    canvas.path(
        polyline(
            [
                (0, stage.ground(0.05)),
                (stage.width, stage.ground(0.05)),
                (stage.width, top + 4),
                (0, top + 4),
            ]
        ),
        stage.shade("#7d675f", 0, -0.6),
    )
    fill = canvas.vertical(
        [
            (0, stage.shade(wood, 0, 0.7)),
            (0.3, stage.shade(wood, 0, 0.1)),
            (1, stage.shade(mix(wood, "#3a2018", 0.5), 0, -0.3)),
        ],
        top,
        stage.height,
    )
    canvas.rect((-2, top, stage.width + 4, stage.height - top + 2), fill)
    for i in range(-5, 7):
        x0, x1 = stage.width / 2 + i * 130 * unit, stage.width / 2 + i * 300 * unit
        canvas.line(
            f"M{num(x0)} {num(top)}L{num(x1)} {num(stage.height)}",
            stage.shade("#5a3524", 0, -0.3),
            1.6 * unit,
            alpha=0.5,
        )
    grain = []
    for _ in range(46):
        t = chance.random()
        y = top + t * (stage.height - top)
        x, length = chance.random() * stage.width, unit * chance.uniform(60, 260)
        grain.append(
            f"M{num(x)} {num(y)}q{num(length / 2)} {num(chance.uniform(-5, 5) * unit)}"
            f" {num(length)} 0"
        )
    canvas.line("".join(grain), stage.shade("#5f3a26", 0, -0.2), 1.5 * unit, alpha=0.22)
    sun = stage.light.sun
    slant = -stage.side * 130 * unit
    for share in (0.04, 0.37, 0.7):
        a, b = left + wide * share, left + wide * (share + 0.26)
        pane = [
            (a + slant, top + 6 * unit),
            (b + slant, top + 6 * unit),
            (b + slant * 2.6, stage.ground(0.85)),
            (a + slant * 2.6, stage.ground(0.85)),
        ]
        canvas.path(
            polyline(pane), canvas.linear([(0, sun, 0.42 * stage.light.glow + 0.1), (1, sun, 0.0)])
        )


def _plant(stage: Stage) -> None:
    """Stand a plant at the shaded side, to balance the light."""
    unit, canvas, side = stage.unit, stage.canvas, stage.side
    x, y = stage.width * (0.5 - side * 0.4), stage.ground(0.42)
    leaf = stage.growth.leaves[2] if not stage.growth.snow else "#4f8a5c"
    for i in range(11):
        lean = (i - 5) / 5
        length = unit * (210 - 60 * abs(lean)) * (0.85 + 0.15 * (i % 3))
        tip = (x + lean * 150 * unit, y - 90 * unit - length * (1 - 0.35 * abs(lean)))
        root, bend = (x, y - 90 * unit), (x + lean * 30 * unit, y - 90 * unit - length * 0.7)
        half = 17 * unit
        blade = (
            f"M{num(root[0])} {num(root[1])}Q{num(bend[0] - half)} {num(bend[1])}"
            f" {num(tip[0])} {num(tip[1])}Q{num(bend[0] + half * 1.6)}"
            f" {num(bend[1] + half)} {num(root[0])} {num(root[1])}Z"
        )
        canvas.path(blade, stage.shade(mix(leaf, "#0f3a2c", 0.25 * (i % 3)), 0, 0.5 * side * lean))
    pot = polyline(
        [
            (x - 62 * unit, y - 104 * unit),
            (x + 62 * unit, y - 104 * unit),
            (x + 46 * unit, y),
            (x - 46 * unit, y),
        ]
    )
    ends = ((0.0, 0.0), (1.0, 0.0)) if side < 0 else ((1.0, 0.0), (0.0, 0.0))
    canvas.soft(
        (x - side * 40 * unit, y), (100 * unit, 18 * unit), stage.shade("#2a1a1c", 0, -0.5), 0.6
    )
    canvas.path(
        pot,
        canvas.linear(
            [(0, stage.shade("#c9775a", 0, 0.6)), (1, stage.shade("#8a4534", 0, -0.5))], *ends
        ),
    )
    canvas.rect(
        (x - 68 * unit, y - 112 * unit, 136 * unit, 20 * unit),
        stage.shade("#b8664a", 0, 0.2),
        radius=4 * unit,
    )


def _lamp(stage: Stage) -> None:
    """Hang a lamp over the shaded end of the table."""
    unit, canvas = stage.unit, stage.canvas
    x, y = stage.width * (0.5 - stage.side * 0.34), stage.ground(-0.3)
    canvas.line(f"M{num(x)} 0V{num(y)}", "#2a1d22", 4 * unit)
    canvas.path(
        polyline(
            [
                (x - 34 * unit, y),
                (x + 34 * unit, y),
                (x + 110 * unit, y + 92 * unit),
                (x - 110 * unit, y + 92 * unit),
            ]
        ),
        canvas.linear([(0, "#c9743f"), (1, "#ffc879")]),
    )
    canvas.ellipse((x, y + 92 * unit), (110 * unit, 16 * unit), "#fff0c4")


SETTING = Setting(
    name="room",
    words=(
        "room",
        "kitchen",
        "window",
        "windowsill",
        "table",
        "desk",
        "cafe",
        "café",
        "living room",
        "bedroom",
        "indoors",
        "interior",
        "zimmer",
        "fenster",
        "tisch",
        "küche",
        "kamer",
        "raam",
        "tafel",
        "keuken",
        "部屋",
        "窓",
        "テーブル",
        "机",
    ),
    near=45,
    surface=Surface.TABLE,
    horizon=0.66,
    paint=paint,
    sky=False,
    parts=("wall", "curtain", "table"),
)
