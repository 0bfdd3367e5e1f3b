"""A cottage seen over its corner: gable, lit windows, chimney with smoke."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject, Tone
from ketchup.providers.studio.svg import polyline


def draw(pen: Pen) -> None:
    """Draw the two walls, the roof over them, then doors and windows."""
    canvas, side = pen.canvas, pen.side
    wall = pen.tone(pen.part("walls", pen.part("wall", pen.colour if pen.stated else "#e9d3ae")))
    roof = pen.tone(pen.part("roof", "#8d4438" if pen.stated else pen.colour))
    trim = pen.tone("#f6eee0")
    gable, flank = (wall.light, wall.dark) if side < 0 else (wall.dark, wall.light)
    _chimney(pen)
    canvas.path("M-2 0V-48L54 -44V0Z", flank)
    canvas.path("M-44 0V-46L-22 -80L-2 -48V0Z", gable)
    for y in range(-42, 0, 6):
        canvas.line(f"M-44 {y}H-2L54 {y * 0.93:.1f}", wall.deep, 0.3, alpha=0.35)
    lit, shade = (roof.light, roof.dark) if side > 0 else (roof.base, roof.dark)
    canvas.path(
        "M-22.5 -85L40 -79L61 -41.5L-1.5 -45.5Z",
        canvas.linear([(0, lit), (1, mix(lit, shade, 0.7))]),
    )
    for i in range(1, 6):
        t = i / 6
        a, b = (-22.5 + 21 * t, -85 + 39.5 * t), (40 + 21 * t, -79 + 37.5 * t)
        canvas.line(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}", roof.deep, 0.45, alpha=0.5)
    canvas.line("M-49 -41L-22.5 -84L-0.5 -45", roof.deep if side > 0 else roof.base, 3.4)
    canvas.line("M-49 -42.6L-22.5 -85.6", roof.light, 0.9)
    if pen.stage.growth.snow:
        snow = pen.tone("#f5faff")
        canvas.path(
            "M-24 -87.5Q8 -86.5 41 -81.5L60 -46Q50 -50 44 -46Q36 -52 28 -47.5Q18 -54 "
            "10 -48.5Q4 -52 0 -48Q-12 -68 -22 -82Z",
            canvas.linear([(0, snow.glint), (1, snow.base)]),
        )
        canvas.line("M-48 -43.5L-22.5 -86.5", snow.glint, 3)
    _openings(pen, trim)
    canvas.path(
        polyline([(-46, 1), (-46, -4), (-2, -4), (56, -3.6), (56, 1)]), pen.tone("#7d776f").dark
    )


def _chimney(pen: Pen) -> None:
    brick = pen.tone("#9a5a48")
    pen.canvas.path("M24 -76V-98H34V-75Z", brick.base if pen.side < 0 else brick.dark)
    pen.canvas.path("M29 -76V-98H34V-75Z", brick.light if pen.side > 0 else brick.dark)
    pen.canvas.rect((22.5, -100, 13, 3), brick.light)
    smoke = pen.stage.shade("#e9edf2", 0.35)
    for i in range(5):
        x, y, size = 29 + 5 * i + i * i * 0.9, -105 - 7.5 * i, 3.4 + 2.3 * i
        pen.canvas.soft((x, y), (size * 1.5, size), smoke, 0.55 - 0.08 * i)


def _openings(pen: Pen, trim: Tone) -> None:
    canvas = pen.canvas
    glow = "#ffd27a" if pen.lamps or pen.stage.growth.snow else pen.stage.shade("#6d8aa6", 0, 0.3)
    door = pen.tone(pen.part("door", "#6d4a35"))
    canvas.rect((-19, -24, 12.4, 24), trim.base, radius=0.8)
    canvas.rect((-17.6, -22.6, 9.6, 22.6), door.base)
    canvas.rect((-16, -20.5, 6.4, 7), glow if pen.lamps else door.light, radius=0.5)
    canvas.circle((-9.6, -10.5), 0.8, "#f1d28a")
    for x, y, w, h in (
        (-39, -33, 13, 14),
        (-28.5, -62, 11, 11),
        (12, -31, 13, 14),
        (34, -30, 12, 13.4),
    ):
        canvas.rect((x - 1.2, y - 1.2, w + 2.4, h + 2.4), trim.light)
        canvas.rect(
            (x, y, w, h),
            canvas.linear([(0, glow), (1, mix(glow, "#ff9d4d", 0.45 if pen.lamps else 0.0))]),
        )
        canvas.line(f"M{x + w / 2} {y}V{y + h}M{x} {y + h / 2}H{x + w}", trim.base, 0.9)
        canvas.rect((x - 2, y + h + 1, w + 4, 1.8), trim.base)


SUBJECT = Subject(
    name="house",
    words=(
        "house",
        "cottage",
        "cabin",
        "home",
        "hut",
        "barn",
        "chalet",
        "haus",
        "hütte",
        "huis",
        "huisje",
        "hut",
        "家",
        "小屋",
    ),
    place=Place.LAND,
    home="countryside",
    colour="#a8483c",
    stature=0.33,
    metres=7,
    breadth=1.1,
    draw=draw,
    varied=True,
    lamp=1.1,
    plurals=("häuser", "huizen", "village", "dorf", "dorp", "村"),
    parts=("roof", "door", "wall", "walls"),
)
