"""A cat that sits and looks out at the view, its tail curled around it."""

from __future__ import annotations

from ketchup.providers.studio.colour import lightness
from ketchup.providers.studio.model import Pen, Place, Subject

_STRIPED = 0.42


def draw(pen: Pen) -> None:
    """Draw it from behind, a little from the side, with the light on its rim."""
    canvas, tone, side = pen.canvas, pen.tone(), pen.side
    fill = canvas.radial(
        [(0, tone.light), (0.45, tone.base), (1, tone.deep)], (0.5 + side * 0.2, 0.3), 0.75
    )
    body = (
        "M-6 -61C-16 -56 -25 -40 -27 -22C-29 -8 -26 0 -18 0H20C29 0 31 -9 29 -22C26 -40 "
        "18 -56 9 -61Z"
    )
    head = (
        "M-17 -93Q-19 -99 -15.5 -97L-7 -88.5Q1 -91 9 -88.5L17.5 -97Q21 -99 19 -93L18.6 "
        "-78C18 -66 10 -59 1 -59S-16 -66 -16.6 -78Z"
    )
    canvas.path(
        "M22 -9C38 -8 44 -18 40 -30C38 -37 31 -38 30 -33C29 -29 35 -29 34 -22C33 -15 "
        "26 -14 20 -15Z",
        tone.dark,
    )
    canvas.path(body, fill)
    canvas.path(head, fill)
    canvas.path("M-15.4 -93L-13.6 -83L-8 -87ZM17.4 -93L15.6 -83L10 -87Z", pen.tone("#d98f88").dark)
    canvas.line(
        "M-19 -6C-17 -18 -12 -24 -6 -26M21 -6C19 -18 14 -24 8 -26", tone.deep, 1.2, alpha=0.55
    )
    stripes = (
        "M-5 -84Q1 -81 7 -84M-4 -79Q1 -76 6 -79M-16 -45Q-11 -42 -7 -43M-20 -34Q-13 -31 -9"
        " -32M18 -45Q13 -42 9 -43M22 -34Q15 -31 11 -32"
    )
    canvas.line(stripes, tone.deep, 1.8, alpha=0.4 if lightness(pen.colour) > _STRIPED else 0)
    canvas.line(
        "M-17 -70L-27 -68M-17 -67L-26 -63M19 -70L29 -68M19 -67L28 -63", tone.glint, 0.45, alpha=0.7
    )
    rim = (
        "M9 -88.6L17.5 -97Q21 -99 19 -93L18.6 -78C18 -68 14 -62 10 -60C19 -55 27 -40 29 "
        "-22C30 -12 29 -4 25 -1"
    )
    flipped = (
        "M-7 -88.6L-15.5 -97Q-19 -99 -17 -93L-16.6 -78C-16 -68 -12 -62 -8 -60C-17 -55 -25"
        " -40 -27 -22C-28 -12 -27 -4 -23 -1"
    )
    canvas.line(rim if side > 0 else flipped, tone.glint, 1.1, alpha=0.85)


SUBJECT = Subject(
    name="cat",
    words=(
        "cat",
        "kitten",
        "kitty",
        "katze",
        "kätzchen",
        "kat",
        "poes",
        "猫",
        "子猫",
    ),
    place=Place.LAND,
    home="room",
    colour="#33323c",
    stature=0.3,
    metres=0.5,
    breadth=0.75,
    draw=draw,
    plurals=("katten", "katzen"),
)
