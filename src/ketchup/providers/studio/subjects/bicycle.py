"""A city bicycle with a basket on its handlebars."""

from __future__ import annotations

import math

from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import num, ring


def draw(pen: Pen) -> None:
    """Draw wheels, frame, saddle and basket."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _bicycle(pen)


def _bicycle(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    tyre, steel, leather = pen.tone("#2a2a31"), pen.tone("#b9c0c8"), pen.tone("#8a5532")
    for x in (-50, 50):
        spokes = "".join(
            f"M{x} -34L{num(x + math.cos(a) * 31)} {num(-34 + math.sin(a) * 31)}"
            for a in (i * math.pi / 9 for i in range(18))
        )
        canvas.line(spokes, steel.base, 0.6, alpha=0.8)
        canvas.line(ring(x, -34, 32.4, 32.4), tyre.base, 3.6)
        canvas.line(ring(x, -34, 29.6, 29.6), steel.light, 1.2)
        canvas.circle((x, -34), 3, steel.dark)
    canvas.line("M-84 -36A35 35 0 0 1 -34 -66M24 -58A35 35 0 0 1 82 -52", tone.dark, 3)
    frame = "M-50 -34L-8 -30L-20 -74M-8 -30L36 -72M-50 -34L-18 -70M-16 -62C0 -46 18 -52 34 -66"
    canvas.line(frame, tone.dark, 5)
    canvas.line(frame, tone.light, 2.8)
    canvas.line("M50 -34L33 -84", tone.base, 4)
    canvas.line("M-20 -74L-23 -84M33 -84L30 -93C24 -97 14 -96 10 -92", steel.base, 2.6)
    canvas.line("M14 -93L6 -90", leather.base, 4)
    canvas.path("M-38 -88C-30 -92 -16 -90 -8 -87C-14 -82 -30 -80 -37 -83Z", leather.base)
    canvas.circle((-8, -30), 8, steel.dark)
    canvas.line(ring(-8, -30, 8, 8), steel.light, 1)
    canvas.line("M-8 -30L2 -18M-1 -17H7", tyre.base, 2.4)
    canvas.line("M-8 -38L-50 -37M-8 -22L-50 -31", tyre.base, 0.9)
    wicker = pen.tone("#b98348")
    canvas.path("M34 -92H70L65 -66H40Z", canvas.linear([(0, wicker.light), (1, wicker.dark)]))
    weave = "".join(f"M{36 + i * 0.9} {-88 + i * 5.4}H{68 - i * 0.9}" for i in range(4)) + "".join(
        f"M{40 + i * 6} -92L{42.6 + i * 4.6} -66" for i in range(5)
    )
    canvas.line(weave, wicker.deep, 0.9, alpha=0.7)
    canvas.line("M33 -92H71", wicker.dark, 3)
    flowers = ("#f28ab0", "#f6cf52", "#ffffff", "#e8604a", "#b48ae0")
    for i, colour in enumerate(flowers * 2):
        left, top = 37 + i * 3.5, -96 - (i * 7) % 9
        canvas.line(f"M{left} -90L{left} {top}", pen.tone("#4f8a4a").base, 1)
        canvas.circle((left, top), 3.6, pen.tone(colour).light)
        canvas.circle((left, top), 1.2, pen.tone("#d98f2e").base)


SUBJECT = Subject(
    name="bicycle",
    words=("bicycle", "bike", "fahrrad", "rad", "fiets", "自転車"),
    place=Place.LAND,
    home="countryside",
    colour="#2f8f83",
    stature=0.26,
    metres=1.1,
    breadth=1.7,
    draw=draw,
    varied=True,
    plurals=("fahrräder", "räder", "fietsen"),
)
