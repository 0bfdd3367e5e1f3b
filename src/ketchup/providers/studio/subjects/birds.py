"""A bird on the wing, seen from far away."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw one gull; its wings stand as its place in the flock says."""
    canvas, tone = pen.canvas, pen.tone()
    beat = pen.chance.uniform(-14, 16)
    tip = -64 - beat
    with canvas.moved(0, -40, turn=-pen.side * 6, scale=(pen.side, 1)):
        canvas.path(
            f"M4 4C-20 -26 -58 {tip * 0.9} -96 {tip}C-66 {tip * 0.66} -44 -10 -22 12Z", tone.base
        )
        canvas.path(f"M4 4C24 -28 56 {tip} 92 {tip - 6}C66 {tip * 0.66} 44 -12 22 10Z", tone.light)
        canvas.path(
            f"M-70 {tip * 0.8}C-80 {tip * 0.94} -88 {tip} -96 {tip}C-88 {tip * 0.9} "
            f"-80 {tip * 0.76} -70 {tip * 0.6}ZM68 {tip * 0.86}C78 {tip} 86 {tip - 6} "
            f"92 {tip - 6}C86 {tip * 0.9} 78 {tip * 0.74} 68 {tip * 0.62}Z",
            pen.tone("#3b4354").base,
        )
        canvas.path(
            "M-40 20C-20 2 22 -4 44 4C50 6 54 9 52 11C30 22 -10 26 -40 20ZM-40 20L-58 18L-52 26Z",
            tone.light,
        )
        canvas.path("M-36 20C-10 26 26 22 50 12C30 24 -10 30 -36 20Z", tone.dark)
        canvas.path("M51 7L62 10L50 12Z", pen.tone("#f0a63c").base)
        canvas.circle((45, 6.4), 1.6, "#20222c")


SUBJECT = Subject(
    name="birds",
    words=("bird", "seagull", "gull", "swallow", "vogel", "möwe", "meeuw", "鳥", "カモメ"),
    place=Place.SKY,
    home="sea",
    colour="#f4f6f8",
    stature=0.1,
    metres=0.8,
    breadth=1.9,
    draw=draw,
    plurals=("flock of birds", "vögel", "möwen", "vogels", "meeuwen"),
    many=6,
)
