"""A butterfly with open wings, a border and eyespots."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles

_FORE = "M2 -4C8 -36 36 -58 60 -54C70 -52 70 -40 64 -28C56 -12 30 0 3 2Z"
_HIND = "M3 2C26 2 50 8 52 26C53 40 40 46 28 42C14 38 5 22 2 8Z"


def draw(pen: Pen) -> None:
    """Draw both pairs of wings, each half a mirror of the other, then the body."""
    canvas = pen.canvas
    with canvas.moved(0, -50, turn=pen.side * 14 + pen.chance.uniform(-10, 10)):
        for way in (-1, 1):
            # The wing that is turned away is seen narrower.
            with canvas.moved(0, 0, scale=(way * (1 if way == pen.side else 0.84), 1)):
                _wings(pen, lit=way == pen.side)
        _body(pen)


def _wings(pen: Pen, *, lit: bool) -> None:
    canvas = pen.canvas
    tone = pen.tone()
    second = pen.tone(pen.colours[1] if len(pen.colours) > 1 else mix(pen.colour, "#ffd86b", 0.55))
    edge = pen.tone(mix(pen.colour, "#17101c", 0.86))
    inner = [
        (0, second.light),
        (0.5, tone.light if lit else tone.base),
        (1, tone.base if lit else tone.dark),
    ]
    for shape, scale in ((_HIND, 0.84), (_FORE, 0.86)):
        canvas.path(shape, edge.base)
        with canvas.moved(1.5, 0.6 if shape is _HIND else -1.4, scale=(scale, scale)):
            canvas.path(shape, canvas.radial(inner, (0.05, 0.75 if shape is _FORE else 0.2), 1.0))
    canvas.line(
        "M4 -2C18 -20 34 -34 53 -44M4 -1C22 -14 40 -22 56 -30M4 0C22 -6 36 -8 50 -14M4 5"
        "C18 10 30 20 36 34M4 7C12 14 20 26 24 36",
        edge.base,
        0.9,
        alpha=0.75,
    )
    canvas.path(
        circles(
            (
                (61, -46, 1.9),
                (64.4, -39, 1.6),
                (62, -31, 1.7),
                (56, -21.6, 1.5),
                (48, 33, 1.5),
                (41, 39.6, 1.6),
                (32, 40, 1.4),
            )
        ),
        pen.tone("#fff6e6").light,
    )
    canvas.path(circles(((36, 25, 6.4), (45, -36, 5))), edge.base)
    canvas.path(circles(((36, 25, 4.4), (45, -36, 3.2))), pen.tone("#5fb7e8").light)
    canvas.path(circles(((37, 24, 1.5), (46, -37, 1.2))), "#ffffff")


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone("#3a2b28")
    canvas.line("M-1 -20C-4 -32 -12 -40 -16 -44M1 -20C4 -32 12 -40 16 -44", tone.base, 1)
    canvas.path(circles(((-16.4, -44.4, 1.5), (16.4, -44.4, 1.5))), tone.base)
    canvas.path(
        "M0 -22C3.6 -22 4.2 -16 3.4 -12C4.4 -4 3.6 18 0 34C-3.6 18 -4.4 -4 -3.4 -12C-4.2 "
        "-16 -3.6 -22 0 -22Z",
        canvas.linear([(0, tone.light), (1, tone.dark)], (0.2, 0), (1, 0)),
    )


SUBJECT = Subject(
    name="butterfly",
    words=(
        "butterfly",
        "moth",
        "monarch",
        "schmetterling",
        "falter",
        "vlinder",
        "蝶",
        "蝶々",
        "ちょう",
    ),
    place=Place.SKY,
    home="garden",
    colour="#f0862f",
    stature=0.24,
    metres=0.1,
    breadth=1.3,
    draw=draw,
    plurals=("schmetterlinge", "vlinders"),
    varied=True,
    many=5,
)
