"""A glass bottle with a pump or a cap, a label, and light running down its side."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject

_BODY = "M-18 -2Q-18 0 -15 0H15Q18 0 18 -2V-52C18 -62 7.5 -63 7 -71H-7C-7.5 -63 -18 -62 -18 -52Z"


def draw(pen: Pen) -> None:
    """Draw glass, label and cap, then the reflections over all of them."""
    canvas, side = pen.canvas, pen.side
    canvas.path(_BODY, pen.round())
    tone = pen.tone()
    with canvas.clipped(_BODY):
        canvas.rect((-20, -8, 40, 9), canvas.linear([(0, tone.deep, 0), (1, tone.deep, 0.75)]))
        canvas.path(
            "M-19 -52C-12 -57 12 -57 19 -52V-49C12 -54 -12 -54 -19 -49Z", tone.glint, alpha=0.35
        )
    _label(pen)
    metal = pen.part("cap", "#c9a468" if pen.stated else "#2b2b30")
    canvas.rect((-7.6, -74, 15.2, 4.6), pen.round(metal), radius=0.8)
    canvas.rect((-8.4, -98, 16.8, 24.6), pen.round(metal), radius=1.6)
    ridges = "".join(f"M{x} -96V-75.5" for x in range(-7, 8, 2))
    canvas.line(ridges, pen.tone(metal).deep, 0.35, alpha=0.5)
    canvas.ellipse((0, -98), (7.6, 1.1), pen.tone(metal).glint, alpha=0.9)
    x = side * 12.6
    gleam = canvas.linear(
        [(0, "#ffffff", 0.05), (0.3, "#ffffff", 0.75), (0.8, "#ffffff", 0.5), (1, "#ffffff", 0)]
    )
    canvas.path(f"M{x - 1.7} -50Q{x} -57 {x + 1.2} -50V-6Q{x} -3 {x - 1.7} -6Z", gleam)
    canvas.line(f"M{-side * 16.6} -50V-6", tone.glint, 0.9, alpha=0.5)


def _label(pen: Pen) -> None:
    canvas = pen.canvas
    paper = pen.part("label", "#f7f1e6")
    canvas.rect((-18, -44, 36, 28), pen.round(paper))
    ink = mix(pen.colour, "#1b1626", 0.5)
    canvas.circle((0, -36), 3.6, ink)
    canvas.path(
        "M0 -39.2C2.6 -36.6 2.4 -34 0 -32.8C-2.4 -34 -2.6 -36.6 0 -39.2Z", pen.tone(paper).light
    )
    canvas.rect((-9, -29.6, 18, 1.7), ink, radius=0.6)
    canvas.rect((-6, -26, 12, 0.8), ink, alpha=0.7)
    canvas.rect((-7, -23.8, 14, 0.8), ink, alpha=0.7)
    canvas.rect((-4, -20.4, 8, 0.8), ink, alpha=0.7)


SUBJECT = Subject(
    name="bottle",
    words=(
        "bottle",
        "lotion",
        "shampoo",
        "serum",
        "flasche",
        "fles",
        "ボトル",
        "瓶",
    ),
    place=Place.TABLE,
    home="studio",
    colour="#1f7f78",
    stature=0.52,
    metres=0.24,
    breadth=0.36,
    draw=draw,
    varied=True,
    plurals=("flaschen", "flessen"),
    parts=("label", "cap"),
)
