"""A whale, gliding."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it swimming towards the light: flukes, body, pale grooved belly, fin, eye."""
    with pen.canvas.moved(0, -50, turn=-pen.side * 5, scale=(pen.side, 1)):
        _whale(pen)


def _whale(pen: Pen) -> None:
    canvas, tone, pale = pen.canvas, pen.tone(), pen.tone("#e8eef2")
    canvas.path(
        "M-92 -6C-112 -22 -128 -42 -138 -40C-142 -30 -126 -10 -104 0C-124 4 -140 16 "
        "-138 24C-124 26 -108 12 -90 6Z",
        tone.dark,
    )
    body = (
        "M-98 2C-80 -12 -50 -34 -4 -42C44 -50 92 -40 104 -8C110 8 104 24 84 34C48 48 -10 "
        "40 -48 22C-68 14 -84 8 -98 2Z"
    )
    canvas.path(
        body, canvas.linear([(0, tone.glint), (0.25, tone.light), (0.6, tone.base), (1, tone.dark)])
    )
    with canvas.clipped(body):
        canvas.path(
            "M110 2C84 12 46 10 8 16C-24 20 -50 22 -70 16L-40 60H110Z",
            canvas.linear([(0, pale.light), (1, pale.dark)]),
        )
        grooves = "".join(
            f"M{104 - i * 4} {9 + i * 5}C{70 - i * 5} {16 + i * 5} {30 - i * 6}"
            f" {17 + i * 5} {-8 - i * 3} {22 + i * 4}"
            for i in range(5)
        )
        canvas.line(grooves, pale.deep, 0.9, alpha=0.6)
        canvas.path("M-90 -2C-40 -30 40 -44 100 -20C60 -34 -20 -26 -90 4Z", "#ffffff", alpha=0.2)
    canvas.path(
        "M28 20C20 40 6 56 -12 62C-14 50 -4 30 10 18Z",
        canvas.linear([(0, tone.base), (1, tone.deep)]),
    )
    canvas.path("M-34 -31C-40 -40 -50 -44 -56 -43C-52 -36 -48 -28 -44 -26Z", tone.dark)
    canvas.line("M106 0C88 8 70 8 58 2", tone.deep, 1.2, alpha=0.8)
    canvas.circle((60, -5), 2.8, tone.deep)
    canvas.circle((60.8, -5.8), 0.9, "#ffffff")


SUBJECT = Subject(
    name="whale",
    words=("whale", "blue whale", "humpback", "wal", "walvis", "鯨", "クジラ"),
    place=Place.DEEP,
    home="underwater",
    colour="#3f6f96",
    stature=0.3,
    metres=14,
    breadth=2.4,
    draw=draw,
    plurals=("wale", "walvissen"),
    many=2,
)
