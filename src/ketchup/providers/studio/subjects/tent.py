"""A tent lit from inside, with a fire before it."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles


def draw(pen: Pen) -> None:
    """Draw the tent's two sides and its open door, then the fire."""
    canvas, tone = pen.canvas, pen.tone()
    far, near = (tone.dark, tone.light) if pen.side < 0 else (tone.light, tone.dark)
    canvas.path("M0 -98L96 -6L52 2Z", far)
    canvas.path("M0 -98L-62 0L52 2Z", near)
    inside = pen.tone("#3a2a2c").base
    door = canvas.linear([(0, "#ffd98a"), (1, "#ff9f4a")]) if pen.lamps else inside
    canvas.path("M0 -92L-26 0.6L20 1.4Z", door)
    canvas.path("M0 -92L-26 0.6L-38 0.2C-24 -26 -8 -60 0 -92Z", tone.base)
    canvas.path("M0 -92L20 1.4L30 1.6C22 -24 8 -60 0 -92Z", tone.base)
    canvas.line("M0 -98L-62 0M0 -98L52 2M0 -98L96 -6", tone.glint, 0.9, alpha=0.7)
    canvas.line("M-60 -3L-84 6M94 -8L112 2M0 -98V-104", pen.tone("#d8d0c0").base, 0.9)
    canvas.line("M30 -66L52 2", tone.deep, 0.6, alpha=0.5)
    with canvas.moved(-100, 8):
        _fire(pen)


def _fire(pen: Pen) -> None:
    canvas = pen.canvas
    stone, wood = pen.tone("#77727a"), pen.tone("#6a4632")
    canvas.path(circles((x, 1 + abs(x) * -0.05, 4.4) for x in range(-18, 19, 9)), stone.dark)
    canvas.line("M-13 -3L11 -9M13 -3L-11 -9", wood.base, 4)
    for half, tall, colour in ((11, 44, "#ff6a2c"), (8, 32, "#ffa53c"), (4.6, 19, "#fff0b0")):
        flame = (
            f"M{-half} -5C{-half * 1.2} {-tall * 0.5} {half * 0.2} {-tall * 0.55} 0"
            f" {-tall}C{half * 1.1} {-tall * 0.6} {half * 1.3} {-tall * 0.3} {half} -5Z"
        )
        canvas.path(flame, canvas.linear([(0, mix(colour, "#ff3d1f", 0.25)), (1, colour)]))
    canvas.soft((0, -16), (34, 30), "#ffb35a", 0.5)


SUBJECT = Subject(
    name="tent",
    words=(
        "tent",
        "campfire",
        "camp",
        "camping",
        "bonfire",
        "zelt",
        "lagerfeuer",
        "kampvuur",
        "テント",
        "焚き火",
    ),
    place=Place.LAND,
    home="lake",
    colour="#d9772e",
    stature=0.2,
    metres=2.2,
    breadth=1.7,
    draw=draw,
    plurals=("zelte", "tenten"),
    varied=True,
    lamp=1.7,
)
