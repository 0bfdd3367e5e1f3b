"""A snowman with a hat, a scarf in the wind, and a carrot for a nose."""

from __future__ import annotations

from ketchup.providers.studio.light import Season
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw three balls of snow, then what somebody dressed them with."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _balls(pen)
        _arms(pen)
        _face(pen)
        _dress(pen)


def _balls(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone("#eef4fb")
    fill = canvas.radial(
        [(0, tone.glint), (0.4, tone.light), (0.75, tone.base), (1, tone.dark)], (0.68, 0.3), 0.8
    )
    canvas.path("M-34 0C-40 -4 -40 -10 -34 -12H34C40 -10 40 -4 34 0Z", tone.dark)
    canvas.ellipse((0, -20), (29, 22), fill)
    canvas.ellipse((0, -46), (21, 18), fill)
    canvas.ellipse((0, -70), (15.5, 14.5), fill)
    canvas.path("M-20 -44C-12 -32 10 -31 20 -42C16 -28 -14 -28 -20 -44Z", tone.deep, alpha=0.28)
    canvas.path("M-14 -66C-8 -57 8 -57 14 -65C11 -54 -10 -54 -14 -66Z", tone.deep, alpha=0.28)


def _arms(pen: Pen) -> None:
    twig = pen.tone("#6b4a34")
    pen.canvas.line(
        "M-19 -50L-40 -66M-32 -60L-33 -71M-35 -62L-45 -62M19 -50L41 -60M33 -56L38 -67M36 "
        "-58L46 -56",
        twig.base,
        2.2,
    )


def _face(pen: Pen) -> None:
    canvas, coal, carrot = pen.canvas, pen.tone("#26242c"), pen.tone("#ee7a2c")
    for x, y, r in ((-2, -74.5, 1.7), (7, -74.5, 1.7), (3, -50, 1.8), (4, -42, 1.8), (3, -34, 1.8)):
        canvas.circle((x, y), r, coal.base)
    for x, y in ((-4, -64.6), (-1, -62.6), (3, -62), (7, -62.6), (10, -64.6)):
        canvas.circle((x, y), 1, coal.base)
    canvas.path(
        "M2 -71.4C8 -72.4 16 -70.6 21 -68.4C15 -67.4 8 -66.8 3 -67.6Q0.4 -69.6 2 -71.4Z",
        canvas.linear([(0, carrot.light), (1, carrot.dark)]),
    )


def _dress(pen: Pen) -> None:
    canvas = pen.canvas
    scarf, hat = pen.tone(pen.part("scarf", pen.colour)), pen.tone(pen.part("hat", "#2b2b38"))
    canvas.path(
        "M-15 -62C-8 -56 8 -56 15 -61L16 -55C8 -49 -9 -49 -16 -56Z",
        canvas.linear([(0, scarf.dark), (0.6, scarf.base), (1, scarf.light)], (0, 0), (1, 0)),
    )
    canvas.path("M-11 -54C-17 -48 -24 -42 -22 -32L-14 -30C-15 -38 -9 -44 -4 -52Z", scarf.base)
    canvas.line("M-21.6 -35.4L-13.8 -33.4M-19 -42L-11.6 -39", scarf.glint, 1.4, alpha=0.8)
    canvas.path(
        "M-19 -81C-10 -77.6 10 -77.6 19 -81C21 -83.4 19 -85 16 -84H-16C-19 -85 -21 -83.4 -19 -81Z",
        hat.dark,
    )
    canvas.path(
        "M-12 -83L-13 -99C-8 -101.4 8 -101.4 13 -99L12 -83C6 -81 -6 -81 -12 -83Z",
        canvas.linear(
            [(0, hat.deep), (0.5, hat.base), (0.85, hat.light), (1, hat.base)], (0, 0), (1, 0)
        ),
    )
    canvas.path(
        "M-12.2 -86C-6 -84 6 -84 12.2 -86L12.5 -90.4C6 -88.4 -6 -88.4 -12.5 -90.4Z", scarf.base
    )


SUBJECT = Subject(
    name="snowman",
    words=("snowman", "schneemann", "sneeuwpop", "sneeuwman", "雪だるま"),
    place=Place.LAND,
    home="forest",
    colour="#c9342f",
    stature=0.36,
    metres=1.7,
    breadth=0.85,
    draw=draw,
    season=Season.WINTER,
    plurals=("snowmen", "schneemänner", "sneeuwpoppen"),
    parts=("scarf", "hat"),
)
