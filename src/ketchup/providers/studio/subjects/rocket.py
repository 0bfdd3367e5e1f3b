"""A rocket under way, with portholes, fins and a long flame."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it leaning into its flight, the flame first."""
    canvas = pen.canvas
    body = pen.part("body", "#eef0f4")
    with canvas.moved(0, -50, turn=24), canvas.moved(0, 50):
        _flame(pen)
        fin = pen.tone()
        canvas.path(
            "M-10 -34C-22 -28 -24 -16 -23 -4L-9 -14ZM10 -34C22 -28 24 -16 23 -4L9 -14Z",
            canvas.linear([(0, fin.light), (1, fin.dark)]),
        )
        canvas.path("M-7 -12L-9.4 -6H9.4L7 -12Z", pen.round("#4a4f5e"))
        hull = (
            "M0 -100C10 -88 14.4 -70 13.6 -50C13 -34 10.6 -20 8.4 -11H-8.4C-10.6 -20 -13 "
            "-34 -13.6 -50C-14.4 -70 -10 -88 0 -100Z"
        )
        canvas.path(hull, pen.round(body))
        with canvas.clipped(hull):
            canvas.rect((-16, -101, 32, 24), pen.round())
            canvas.path("M-16 -78Q0 -74 16 -78V-75Q0 -71 -16 -75Z", pen.tone("#2f3347").base)
            canvas.path("M-16 -25Q0 -21 16 -25V-19Q0 -15 -16 -19Z", pen.round())
        for y, size in ((-60, 6.4), (-41, 4.4)):
            canvas.circle((0, y), size, pen.round("#8b93a5"))
            canvas.circle((0, y), size * 0.74, canvas.linear([(0, "#1a2c52"), (1, "#7fd0ff")]))
            canvas.ellipse(
                (pen.side * size * 0.24, y - size * 0.3),
                (size * 0.26, size * 0.16),
                "#ffffff",
                alpha=0.85,
            )
        canvas.path("M-2 -34H2V-2Q0 1 -2 -2Z", canvas.linear([(0, fin.light), (1, fin.deep)]))


def _flame(pen: Pen) -> None:
    canvas = pen.canvas
    for half, length, colour, alpha in (
        (15, 64, "#ff5a2a", 0.3),
        (10, 48, "#ff8a3a", 0.75),
        (7, 34, "#ffc45a", 0.95),
        (3.6, 20, "#fffbe8", 1.0),
    ):
        shape = (
            f"M{-half * 0.72} -9C{-half * 1.3} 6 {-half * 0.5} {length * 0.55} 0 {length}"
            f"C{half * 0.5} {length * 0.55} {half * 1.3} 6 {half * 0.72} -9Z"
        )
        canvas.path(shape, canvas.linear([(0, colour, alpha), (1, mix(colour, "#ff3d3d", 0.5), 0)]))


SUBJECT = Subject(
    name="rocket",
    words=(
        "rocket",
        "spaceship",
        "spacecraft",
        "rocket ship",
        "rakete",
        "raumschiff",
        "raket",
        "ruimteschip",
        "ロケット",
        "宇宙船",
    ),
    place=Place.SKY,
    home="space",
    colour="#e0483e",
    stature=0.42,
    metres=40,
    breadth=0.6,
    draw=draw,
    plurals=("raketen", "raketten"),
    parts=("body",),
    many=2,
)
