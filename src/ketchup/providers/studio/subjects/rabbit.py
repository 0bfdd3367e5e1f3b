"""A rabbit that sits up and listens."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it from the side, facing the light: tail, haunch, chest, paws, head, ears."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _body(pen)
        _head(pen)


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    pale = pen.tone(mix(pen.colour, "#fffaf2", 0.75))
    canvas.circle(
        (-31, -15),
        8.6,
        canvas.radial([(0, pale.glint), (0.6, pale.light), (1, pale.dark)], (0.4, 0.3), 0.7),
    )
    body = (
        "M-28 0C-38 -12 -34 -34 -18 -43C-8 -49 0 -52 6 -58L22 -52C25 -40 24 -26 19 -14L18 "
        "-2Q16 0 12 0Z"
    )
    canvas.path(
        body, canvas.linear([(0, tone.dark), (0.5, tone.base), (1, tone.light)], (0, 0.5), (1, 0.1))
    )
    canvas.path("M20 -52C24 -42 23 -28 18 -16C12 -22 10 -36 14 -48Z", pale.base)
    canvas.path("M-28 0C-36 -14 -28 -32 -12 -32C2 -31 8 -16 0 -4Q-2 0 -8 0Z", tone.base)
    canvas.line("M-20 -29C-6 -35 6 -24 4 -8", tone.deep, 1, alpha=0.6)
    canvas.path("M-16 0C-14 -5 -4 -6 4 -5C10 -4 12 0 8 0Z", pale.light)
    canvas.path("M12 -20C10 -12 10 -6 11 0H20C22 -2 20 -4 18 -4L20 -20Z", tone.light)
    canvas.line("M12.4 -20C11 -12 11 -6 11.6 -1", tone.dark, 0.9, alpha=0.7)


def _head(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    pale, inner = pen.tone(mix(pen.colour, "#fffaf2", 0.75)), pen.tone("#e9a79f")
    canvas.path("M6 -72C-4 -80 -10 -92 -8 -100C-2 -102 8 -92 13 -76Z", tone.dark)
    head = "M2 -62C0 -72 8 -80 20 -79C30 -78 39 -70 40 -62C40 -56 34 -52 26 -51C14 -49 4 -52 2 -62Z"
    canvas.path(head, canvas.linear([(0, tone.light), (0.6, tone.base), (1, tone.dark)]))
    canvas.path(
        "M28 -66C36 -68 40 -64 40 -61C39 -55 33 -52 26 -52C24 -57 24 -63 28 -66Z", pale.light
    )
    canvas.path(
        "M10 -75C4 -86 4 -98 10 -104C17 -102 22 -88 19 -75Z",
        canvas.linear([(0, tone.light), (1, tone.base)]),
    )
    canvas.path("M11.6 -76C8 -86 8 -95 11 -99.6C15 -96 18 -86 16.6 -76Z", inner.base)
    canvas.path("M37.6 -65C40 -66 41.6 -64.6 41 -62.6C39 -61.6 37 -62.8 37.6 -65Z", inner.dark)
    canvas.line("M39.6 -62C38 -58.6 35 -57.6 32.6 -58.4", tone.deep, 0.8)
    canvas.circle((24, -68.4), 3, "#1d161a")
    canvas.circle((25, -69.6), 1, "#ffffff")
    canvas.line("M34 -60L47 -57M34 -61.6L48 -62.4M33 -58.6L44 -52.6", pale.glint, 0.45, alpha=0.9)
    canvas.line("M8 -56C14 -52 20 -51 26 -52", tone.dark, 0.9, alpha=0.6)


SUBJECT = Subject(
    name="rabbit",
    words=(
        "rabbit",
        "bunny",
        "hare",
        "hase",
        "kaninchen",
        "konijn",
        "haas",
        "うさぎ",
        "ウサギ",
        "兎",
    ),
    place=Place.LAND,
    home="garden",
    colour="#b08d70",
    stature=0.28,
    metres=0.45,
    breadth=0.8,
    draw=draw,
    plurals=("hasen", "konijnen", "hazen"),
)
