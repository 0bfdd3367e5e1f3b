"""A friendly robot with a round head and glowing eyes."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw feet, legs, body, arms, head."""
    canvas, tone = pen.canvas, pen.tone()
    steel = "#c3c9d2"
    metal = pen.tone(steel)
    for x in (-11, 11):
        canvas.rect((x - 4, -22, 8, 16), pen.round("#8d95a2"), radius=2)
        canvas.line(f"M{x - 4} -18h8M{x - 4} -14h8M{x - 4} -10h8", metal.deep, 0.6, alpha=0.6)
        canvas.path(f"M{x - 9} 0Q{x - 9} -8 {x} -8T{x + 9} 0Z", pen.round())
    for way in (-1, 1):
        arm = (
            f"M{way * 20} -47C{way * 32} -46 {way * 33} -36 {way * 30} "
            f"-{26 if way * pen.side < 0 else 62}"
        )
        canvas.line(arm, metal.dark, 6)
        canvas.line(arm, metal.light, 3.6)
        hand = (way * 30, -24.0 if way * pen.side < 0 else -64.0)
        canvas.circle(hand, 5, tone.base)
        canvas.circle((way * 20, -47), 5, tone.dark)
    canvas.rect((-20, -56, 40, 36), pen.round(), radius=9)
    canvas.rect((-12, -49, 24, 17), pen.tone("#22304a").base, radius=3)
    canvas.line("M-9 -40L-5 -40L-3 -45L1 -36L4 -42L9 -42", "#6ff0d0", 1.2)
    for i, colour in enumerate(("#ff6b57", "#ffd166", "#5ad1a4")):
        canvas.circle((-7 + i * 7, -26), 2, colour)
    canvas.rect((-5, -61, 10, 6), metal.dark)
    canvas.rect((-23, -91, 46, 31), pen.round(steel), radius=13)
    canvas.rect((-18, -86, 36, 21), pen.tone("#1b2438").base, radius=9)
    for x in (-8, 8):
        canvas.circle((x, -76), 4.4, "#7ff3ff")
        canvas.circle((x + 1.2, -77.2), 1.4, "#ffffff")
    canvas.line("M-4 -69.4Q0 -67 4 -69.4", "#7ff3ff", 1.2)
    canvas.rect((-26, -80, 4, 10), tone.base, radius=2)
    canvas.rect((22, -80, 4, 10), tone.base, radius=2)
    canvas.line("M0 -91V-97", metal.dark, 1.4)
    canvas.circle((0, -98), 2.4, "#ff6b57")


SUBJECT = Subject(
    name="robot",
    words=("robot", "android", "roboter", "ロボット"),
    place=Place.LAND,
    home="city",
    colour="#f0a23b",
    stature=0.32,
    metres=1.6,
    breadth=0.7,
    draw=draw,
    varied=True,
    plurals=("roboter",),
)
