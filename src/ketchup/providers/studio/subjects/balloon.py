"""A hot-air balloon: gores in alternating colours, ropes, a wicker basket."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import num


def draw(pen: Pen) -> None:
    """Draw the envelope as gores that narrow towards its sides, then shade it as one round body."""
    canvas = pen.canvas
    first = pen.colour
    second = pen.colours[1] if len(pen.colours) > 1 else mix(first, "#fff3dc", 0.82)
    outline = (
        "M0 -100C24 -100 34 -82 33.4 -67C32.8 -50 16 -36 8.6 -25H-8.6C-16 -36 -32.8 -50 "
        "-33.4 -67C-34 -82 -24 -100 0 -100Z"
    )
    canvas.path(outline, pen.tone(first).base)
    with canvas.clipped(outline):
        edges = [math.sin(math.pi * (i / 10 - 0.5)) for i in range(11)]
        for i in range(10):
            left, right = edges[i], edges[i + 1]
            shape = (
                f"M{num(left * 4)} -100C{num(left * 26)} -98 {num(left * 35)} -80"
                f" {num(left * 34)} -66C{num(left * 33)} -50 {num(left * 17)} -36"
                f" {num(left * 8.6)} -25"
            )
            shape += (
                f"H{num(right * 8.6)}C{num(right * 17)} -36 {num(right * 33)} -50"
                f" {num(right * 34)} -66C{num(right * 35)} -80 {num(right * 26)} -98"
                f" {num(right * 4)} -100Z"
            )
            canvas.path(shape, pen.tone(first if i % 2 else second).base)
        band = pen.tone(mix(first, "#2a1b3d", 0.35))
        canvas.path("M-36 -64Q0 -54 36 -64V-58.5Q0 -48.5 -36 -58.5Z", band.base)
        glow = canvas.radial(
            [
                (0, "#fffaf0", 0.5),
                (0.4, "#fffaf0", 0.06),
                (0.62, "#1c1238", 0.08),
                (1, "#1c1238", 0.62),
            ],
            (0.5 + pen.side * 0.22, 0.3),
            0.78,
        )
        canvas.path(outline, glow)
    rope = pen.tone("#5b4334").dark
    canvas.line("M-8 -25L-5.4 -11M8 -25L5.4 -11M-3 -25L-2.4 -11M3 -25L2.4 -11", rope, 0.5)
    canvas.path("M-8.6 -25H8.6L7.4 -22H-7.4Z", pen.tone(first).deep)
    if pen.lamps:
        canvas.path("M-1.6 -18Q0 -26 1.6 -18Z", "#ffd27a")
    canvas.path("M-6.2 -11H6.2L5.4 -1.4Q5.2 0 3.8 0H-3.8Q-5.2 0 -5.4 -1.4Z", pen.across("#9a6a3c"))
    canvas.rect((-6.8, -12, 13.6, 2.2), pen.tone("#6d4526").base, radius=1)
    canvas.line(
        "M-5.8 -7.4H5.8M-5.6 -4.4H5.6M-2 -10V0M2 -10V0", pen.tone("#5d3a1f").dark, 0.4, alpha=0.6
    )


SUBJECT = Subject(
    name="balloon",
    words=(
        "balloon",
        "hot air balloon",
        "hot-air balloon",
        "heißluftballon",
        "ballon",
        "luchtballon",
        "気球",
        "風船",
    ),
    place=Place.SKY,
    home="countryside",
    colour="#d8503f",
    stature=0.36,
    metres=18,
    breadth=0.7,
    draw=draw,
    varied=True,
    plurals=("heißluftballons", "ballons", "luchtballonnen", "ballonnen"),
    many=5,
)
