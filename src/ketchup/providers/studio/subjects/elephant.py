"""An elephant on its way, its trunk curled."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it from the side, walking towards the light: far legs, body, near legs, head, ear."""
    with pen.canvas.moved(-4, 0, scale=(pen.side, 1)), pen.canvas.moved(-6, 0):
        _legs(pen, near=False)
        _body(pen)
        _legs(pen, near=True)
        _head(pen)


def _legs(pen: Pen, *, near: bool) -> None:
    canvas, tone = pen.canvas, pen.tone()
    if near:
        fill = canvas.linear([(0, tone.dark), (0.55, tone.base), (1, tone.light)], (0, 0), (1, 0))
        shapes = (
            "M-58 -52C-60 -34 -62 -18 -58 -2Q-58 0 -55 0H-38Q-35 0 -36 -3C-38 -14 -34 -26 -26 -34Z",
            "M16 -44C16 -28 12 -14 12 -3Q12 0 15 0H31Q34 0 34 -3C34 -16 40 -30 42 -48Z",
        )
    else:
        fill = tone.deep
        shapes = (
            (
                "M-40 -44C-36 -30 -30 -16 -28 -3Q-28 -1 -25 -1H-12Q-9 -1 -10 -4C-14 -16 -12 -28 "
                "-8 -40Z"
            ),
            "M24 -44C32 -30 40 -16 44 -4Q44 -1 47 -1H60Q62 -2 61 -4C56 -18 50 -34 46 -48Z",
        )
    for shape in shapes:
        canvas.path(shape, fill)
    nail = pen.tone(mix(pen.colour, "#fff2e0", 0.7))
    if near:
        canvas.path(
            "M-55 0Q-54 -5 -51 -5Q-48 -5 -48 0ZM-47 0Q-46 -5 -43 -5Q-40 -5 -40 0ZM16 0Q17 -5 "
            "20 -5Q23 -5 23 0ZM24 0Q25 -5 28 -5Q31 -5 31 0Z",
            nail.base,
        )


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    canvas.line("M-66 -62C-74 -52 -76 -40 -73 -28", tone.dark, 2.6)
    canvas.path("M-75.6 -30L-70.6 -29L-73 -18Z", tone.deep)
    canvas.path(
        "M-66 -56C-70 -78 -54 -92 -30 -94C-8 -97 16 -94 34 -88C48 -80 52 -62 46 -46C36 "
        "-30 -10 -26 -36 -30C-52 -32 -63 -42 -66 -56Z",
        canvas.linear([(0, tone.light), (0.4, tone.base), (1, tone.deep)], (0.7, 0), (0.35, 1)),
    )


def _head(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    tusk = pen.tone("#fbf1dd")
    canvas.path(
        "M30 -90C44 -100 64 -98 74 -84C82 -74 86 -60 88 -44C90 -30 92 -20 98 -18C103 -17 "
        "105 -22 102 -26"
        "C100 -30 104 -34 108 -31C115 -25 112 -9 99 -8C86 -7 80 -20 78 -36C76 -44 74 -48 "
        "70 -50C60 -46 44 -50 36 -60Z",
        canvas.linear(
            [(0, tone.glint), (0.25, tone.light), (0.6, tone.base), (1, tone.dark)],
            (0.8, 0),
            (0.3, 1),
        ),
    )
    canvas.line(
        "M80 -60Q84 -61 87 -59M81.6 -52Q85 -53 88 -51M82.6 -44Q86 -45 89 -43M84 -36Q87 "
        "-37 90 -35M86 -28Q88.6 -30 91.4 -29",
        tone.deep,
        0.9,
        alpha=0.6,
    )
    canvas.path("M70 -52C72 -42 80 -34 92 -36C86 -40 82 -46 80 -54Z", tusk.base)
    canvas.path("M70 -52C73 -44 80 -38 88 -37C80 -39 76 -46 76 -53Z", tusk.dark, alpha=0.6)
    canvas.circle((68, -75), 2.4, "#1d161a")
    canvas.circle((68.8, -75.8), 0.8, "#ffffff")
    canvas.line("M64 -78.6Q68 -81 72 -78", tone.deep, 0.9)
    ear = (
        "M50 -88C40 -98 18 -98 10 -84C4 -70 12 -50 26 -38C34 -34 40 -42 44 -52C52 -60 58 "
        "-76 50 -88Z"
    )
    canvas.path(
        ear, canvas.linear([(0, tone.base), (0.6, tone.dark), (1, tone.deep)], (0.8, 0), (0.2, 1))
    )
    canvas.path(
        "M47 -84C38 -92 22 -92 15 -82C11 -70 18 -54 27 -45C33 -43 36 -48 39 -55C46 -62 53 "
        "-74 47 -84Z",
        pen.tone(mix(pen.colour, "#d99a94", 0.35)).base,
        alpha=0.75,
    )
    canvas.line(ear, tone.light, 1, alpha=0.7)


SUBJECT = Subject(
    name="elephant",
    words=("elephant", "elefant", "olifant", "象", "ゾウ", "ぞう"),
    place=Place.LAND,
    home="countryside",
    colour="#8d909c",
    stature=0.34,
    metres=3.2,
    breadth=1.75,
    draw=draw,
    plurals=("elefanten", "olifanten"),
)
