"""A cat that sits and looks out at the view, its tail curled beside it."""

from __future__ import annotations

from ketchup.providers.studio.colour import lightness
from ketchup.providers.studio.model import Pen, Place, Subject

_BODY = (
    "M-13 -71C-19 -62 -29 -45 -30 -25C-31 -8 -27 0 -17 0H19C29 0 33 -9 32 -25C31 -45 21 -62 15 -71Z"
)
_HEAD = (
    "M-17 -76C-17 -85 -17 -92 -16 -99C-12 -98 -8 -94 -5 -90Q1 -91.6 7 -90C10 -94 14 -98 18 -99"
    "C19 -92 19 -85 19 -76C19 -66 11 -61 1 -61C-9 -61 -17 -66 -17 -76Z"
)
_RIM = (
    "M19 -97C19 -90 19.6 -83 19 -75C18.6 -70 17 -67 15.6 -65C23 -54 31 -42 31.6 -25C32 "
    "-14 31 -5 26 -1.4"
)
_TAIL = "M23 -6C42 -2 52 -14 46 -25C42 -32 35 -29 37 -23"
_STRIPED_FROM = 0.42
"""The lightness from which stripes can be seen."""


def draw(pen: Pen) -> None:
    """Draw it from behind, with the light on its rim."""
    canvas, tone, side = pen.canvas, pen.tone(), pen.side
    fill = canvas.radial(
        [(0, tone.light), (0.42, tone.base), (1, tone.deep)], (0.5 + side * 0.3, 0.3), 0.85
    )
    canvas.line(_TAIL, tone.dark, 7)
    canvas.line(_TAIL, tone.base, 4.6)
    canvas.path(_BODY, fill)
    canvas.path("M-13 -69C-8 -60 10 -60 15 -69C10 -64 -8 -64 -13 -69Z", tone.deep, alpha=0.5)
    canvas.path(_HEAD, fill)
    canvas.path(
        "M-14.6 -96L-13.6 -84L-7.6 -89.4ZM16.6 -96L15.6 -84L9.6 -89.4Z", tone.deep, alpha=0.6
    )
    canvas.line(
        "M-23 -4C-22 -18 -16 -26 -8 -29M25 -4C24 -18 18 -26 10 -29", tone.deep, 1.3, alpha=0.5
    )
    if lightness(pen.colour) > _STRIPED_FROM:
        back = "M-3 -54Q1 -51 5 -54M-5 -46Q1 -42.6 7 -46M-6 -38Q1 -34.4 8 -38"
        flanks = (
            "M-27 -36Q-20 -36 -17 -40M-29 -27Q-21 -26 -18 -30M29 -36Q22 -36 19 -40M31 -27"
            "Q23 -26 20 -30"
        )
        canvas.line(back + flanks, tone.dark, 2.2, alpha=0.8)
    canvas.line(
        "M-16 -73L-27 -71M-16 -70L-26 -66M18 -73L29 -71M18 -70L28 -66", tone.glint, 0.4, alpha=0.7
    )
    with canvas.moved(1, 0, scale=(side, 1)), canvas.moved(-1, 0):
        canvas.line(_RIM, tone.glint, 1.1, alpha=0.85)


SUBJECT = Subject(
    name="cat",
    words=("cat", "kitten", "kitty", "katze", "kätzchen", "kat", "poes", "猫", "子猫"),
    place=Place.LAND,
    home="room",
    colour="#33323c",
    stature=0.3,
    metres=0.5,
    breadth=0.75,
    draw=draw,
    plurals=("katten", "katzen"),
)
