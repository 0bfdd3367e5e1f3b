"""An astronaut adrift, the world mirrored in the visor."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it floating at a slant: pack, limbs, body, helmet."""
    with pen.canvas.moved(0, -50, turn=pen.side * 14, scale=(pen.side, 1)):
        _figure(pen)


def _figure(pen: Pen) -> None:
    canvas = pen.canvas
    suit, joint = pen.tone("#e9ebf0"), pen.tone("#8f97a8")
    trim = pen.tone()
    body = canvas.linear([(0, suit.dark), (0.5, suit.light), (1, suit.glint)], (0, 0.4), (1, 0))
    canvas.rect((-22, -26, 18, 38), joint.dark, radius=5)
    for limb, wide in (
        ("M-9 18C-16 28 -22 34 -24 46", 12),
        ("M8 19C10 30 18 36 16 48", 12),
        ("M-12 -14C-26 -10 -32 0 -36 10", 10),
        ("M13 -14C24 -16 30 -24 38 -32", 10),
    ):
        canvas.line(limb, suit.dark, wide + 1.4)
        canvas.line(limb, suit.light, wide - 1.6)
    for x, y in ((-24, 45), (16, 47)):
        canvas.ellipse((x + 1, y + 3), (8, 5.4), joint.base)
    for x, y in ((-36, 11), (38, -33)):
        canvas.circle((x, y), 5.2, trim.base)
    canvas.line("M-30 -1L-35 -6M29 -27L33 -20M-20 31L-29 36M12 33L21 31", trim.base, 2.2)
    canvas.path(
        "M-15 -20C-16 -26 16 -26 15 -20C18 -4 16 12 12 22C4 26 -6 26 -12 22C-17 12 -17 -4 -15 -20Z",
        body,
    )
    canvas.rect((-8, -9, 16, 11), joint.base, radius=2)
    for i, colour in enumerate(("#e2533f", "#f2c14a", "#52b788")):
        canvas.circle((-4.6 + i * 4.6, -5), 1.5, colour)
    canvas.line("M-6 -0.6H6", joint.deep, 0.8)
    canvas.line("M-15 12Q0 17 14.6 12", trim.base, 2.4)
    canvas.circle(
        (1, -35),
        17.6,
        canvas.radial([(0, suit.glint), (0.7, suit.light), (1, suit.dark)], (0.66, 0.3), 0.75),
    )
    canvas.ellipse((4, -35), (13, 11.4), joint.deep)
    visor = canvas.linear(
        [
            (0, "#0d1638"),
            (0.45, mix(pen.colour, "#3a59b8", 0.55)),
            (0.8, "#f3b06a"),
            (1, "#2a1a4a"),
        ],
        (0, 0),
        (0.6, 1),
    )
    canvas.ellipse((4.4, -35), (11.6, 10), visor)
    canvas.path("M8 -43C13 -41 15 -37 15 -33C13 -37 11 -40 6 -42Z", "#ffffff", alpha=0.85)
    canvas.line("M-17 4C-50 20 -52 54 -96 50", suit.base, 1.5)


SUBJECT = Subject(
    name="astronaut",
    words=("astronaut", "spaceman", "cosmonaut", "raumfahrer", "ruimtevaarder", "宇宙飛行士"),
    place=Place.SKY,
    home="space",
    colour="#e2663f",
    stature=0.4,
    metres=1.9,
    breadth=0.9,
    draw=draw,
    plurals=("astronauten", "raumfahrer", "ruimtevaarders"),
    many=2,
)
