"""An owl on a stump, looking straight at the viewer."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import ring
from ketchup.providers.studio.terrain import blades

_BODY = (
    "M0 -98C17 -98 28 -88 29 -72C31 -58 30 -36 22 -22C16 -13 8 -10 0 -10C-8 -10 -16 "
    "-13 -22 -22C-30 -36 -31 -58 -29 -72C-28 -88 -17 -98 0 -98Z"
)


def draw(pen: Pen) -> None:
    """Draw the stump it sits on, then tail, body, wings and face."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _stump(pen)
        with pen.canvas.moved(0, -25, scale=(0.76, 0.76)):
            _body(pen)
            _wings(pen)
            _face(pen)
            _feet(pen)


def _stump(pen: Pen) -> None:
    canvas, bark, wood = pen.canvas, pen.tone("#6d4c37"), pen.tone("#d3ac7a")
    canvas.path(
        "M-27 -28C-26 -16 -28 -8 -38 0C-28 -2 -24 -2 -18 1C-10 -3 8 -3 16 1C22 -2 30 -2 "
        "40 0C29 -8 26 -16 27 -28Z",
        canvas.linear(
            [(0, bark.deep), (0.35, bark.dark), (0.8, bark.light), (1, bark.base)], (0, 0), (1, 0)
        ),
    )
    canvas.line(
        "M-16 -22C-15 -14 -17 -8 -20 -3M-4 -20V-6M8 -21C8 -14 10 -8 12 -4M19 -20C19 -14 "
        "21 -9 24 -5",
        bark.deep,
        1.1,
        alpha=0.7,
    )
    canvas.ellipse((0, -28), (27, 6), wood.base)
    canvas.line(ring(0, -28, 27, 6), bark.dark, 1.6)
    canvas.line(ring(0, -28, 18, 3.8) + ring(1, -28, 9, 1.9), wood.dark, 0.8)
    tufts = blades(pen.chance, (-42, -1, 84, 3), 30, 14)
    canvas.path(tufts, pen.stage.shade(pen.stage.growth.grass, pen.depth, 0.2))


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    pale = pen.tone(mix(pen.colour, "#fff1da", 0.68))
    canvas.path(
        _BODY, canvas.radial([(0, tone.light), (0.5, tone.base), (1, tone.dark)], (0.66, 0.3), 0.8)
    )
    canvas.path(
        "M0 -62C12 -62 18 -50 17 -36C16 -22 9 -12 0 -12C-9 -12 -16 -22 -17 -36C-18 -50 "
        "-12 -62 0 -62Z",
        pale.base,
    )
    marks = []
    for row, y in enumerate((-52, -44, -36, -28, -20)):
        for column in range(-2, 3):
            x = column * 6.4 + (3.2 if row % 2 else 0)
            if abs(x) < 15 - row * 1.2:
                marks.append(f"M{x - 2.2:.1f} {y}Q{x:.1f} {y + 4.4} {x + 2.2:.1f} {y}")
    canvas.line("".join(marks), tone.dark, 1.5)


def _wings(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    for way, fill in ((-1, tone.deep), (1, tone.dark)):
        with canvas.moved(0, 0, scale=(way, 1)):
            canvas.path(
                "M25 -68C34 -58 37 -36 27 -12C20 -18 14 -34 17 -50C18 -58 21 -64 25 -68Z", fill
            )
            canvas.line(
                "M30 -52C32 -42 31 -34 28 -24M25 -54C27 -44 26 -34 24 -26M21 -48C22 -42 21 "
                "-36 20 -32",
                tone.light if way > 0 else tone.base,
                1.1,
            )


def _face(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    disc, amber = pen.tone(mix(pen.colour, "#fff1da", 0.78)), pen.tone("#f2a52b")
    canvas.path(
        "M-27 -84C-29 -94 -28 -100 -26 -104C-20 -101 -12 -97 -6 -93L6 -93C12 -97 20 -101 "
        "26 -104C28 -100 29 -94 27 -84Z",
        tone.base,
    )
    canvas.path(
        "M0 -80C4 -92 20 -94 25 -83C28 -72 20 -61 10 -62C5 -62.6 1 -66 0 -70C-1 -66 -5 "
        "-62.6 -10 -62C-20 -61 -28 -72 -25 -83C-20 -94 -4 -92 0 -80Z",
        disc.base,
    )
    canvas.line("M0 -80C4 -92 20 -94 25 -83M0 -80C-4 -92 -20 -94 -25 -83", tone.deep, 1.6)
    for x in (-12, 12):
        canvas.circle((x, -77), 9.4, tone.deep)
        canvas.circle(
            (x, -77),
            8.4,
            canvas.radial([(0, amber.glint), (0.6, amber.light), (1, amber.dark)], (0.5, 0.6), 0.6),
        )
        canvas.circle((x, -77), 4.8, "#17131c")
        canvas.circle((x + 2, -79.4), 1.7, "#ffffff")
    beak = pen.tone("#e39a34")
    canvas.path(
        "M0 -72.6C3.4 -72 4 -67 0 -61C-4 -67 -3.4 -72 0 -72.6Z",
        canvas.linear([(0, beak.light), (1, beak.dark)]),
    )


def _feet(pen: Pen) -> None:
    claw = pen.tone("#d99a3c")
    for x in (-9, 9):
        pen.canvas.line(f"M{x - 4} -10V-5M{x} -10.6V-4.4M{x + 4} -10V-5", claw.base, 3)


SUBJECT = Subject(
    name="owl",
    words=("owl", "barn owl", "eule", "uhu", "kauz", "uil", "フクロウ", "梟", "ふくろう"),
    place=Place.LAND,
    home="forest",
    colour="#8a5f3f",
    stature=0.4,
    metres=0.9,
    breadth=0.8,
    draw=draw,
    plurals=("eulen", "uilen"),
)
