"""A lighthouse on its rock, banded, with a beam when it is dark."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import polyline


def draw(pen: Pen) -> None:
    """Draw rock, tower, gallery and lantern."""
    canvas, side = pen.canvas, pen.side
    if pen.lamps:
        for way, reach in ((-1, 190), (1, 150)):
            beam = polyline([(0, -88), (way * reach, -112), (way * reach, -74)])
            ends = ((0.0, 0.0), (1.0, 0.0)) if way > 0 else ((1.0, 0.0), (0.0, 0.0))
            canvas.path(beam, canvas.linear([(0, "#fff3c9", 0.75), (1, "#fff3c9", 0)], *ends))
    _rock(pen)
    tower = "M-7 -78H7L11.4 -6H-11.4Z"
    canvas.path(tower, pen.round("#f4efe4"))
    with canvas.clipped(tower):
        for top, tall in ((-68, 12), (-43, 13.5), (-16, 14)):
            canvas.path(
                f"M-14 {top}Q0 {top + 3} 14 {top}V{top + tall}Q0 {top + tall + 3} -14"
                f" {top + tall}Z",
                pen.round(),
            )
    window = "#ffd98c" if pen.lamps else pen.tone("#3d4658").base
    for y in (-60, -36, -12):
        canvas.rect((-1.4, y, 2.8, 5), window, radius=1.2)
    iron = pen.tone("#2f3440")
    canvas.rect((-9.6, -81, 19.2, 3.2), iron.base, radius=0.6)
    canvas.line("M-9 -81V-85M-5 -81V-85M5 -81V-85M9 -81V-85M-9.4 -85H9.4", iron.light, 0.6)
    canvas.rect((-4.8, -92, 9.6, 11), "#fff0b8" if pen.lamps else pen.tone("#bcd3dd").light)
    canvas.line("M-4.8 -92V-81M-1.6 -92V-81M1.6 -92V-81M4.8 -92V-81", iron.dark, 0.7)
    canvas.path("M-6.4 -92Q0 -101 6.4 -92Z", pen.round())
    canvas.line("M0 -97V-102", iron.base, 0.8)
    canvas.line(f"M{side * 6.6} -77L{side * 10.8} -8", pen.tone("#ffffff").glint, 0.6, alpha=0.8)


def _rock(pen: Pen) -> None:
    canvas, side = pen.canvas, pen.side
    stone = pen.tone("#6f6a6c")
    canvas.path(
        polyline(
            [
                (-40, 3),
                (-34, -5),
                (-25, -6),
                (-19, -11),
                (-9, -13),
                (4, -14),
                (14, -11),
                (20, -7),
                (30, -6),
                (36, 0),
                (46, 3),
            ]
        ),
        stone.dark,
    )
    lit = [(-40, 3), (-34, -5), (-25, -6), (-19, -11), (-9, -13), (-12, -6), (-20, 0), (-22, 3)]
    other = [(46, 3), (36, 0), (30, -6), (20, -7), (14, -11), (4, -14), (9, -6), (18, -2), (22, 3)]
    canvas.path(polyline(other if side > 0 else lit), stone.light)
    grass = pen.tone(pen.stage.growth.grass)
    canvas.path(
        "M-19 -11.4Q-12 -14.6 -8 -13.4Q0 -16 6 -14.2Q14 -13 19 -8.4Q12 -10.4 6 -11.6"
        "Q-4 -12.4 -19 -11.4Z",
        grass.dark,
    )
    foam = pen.stage.shade("#ffffff", 0.05, 0.4)
    canvas.path(
        "M-46 3Q-36 -1.5 -26 2Q-14 -2 -2 2Q10 -2 22 2Q36 -2 52 3Q20 6 -46 3Z", foam, alpha=0.75
    )


SUBJECT = Subject(
    name="lighthouse",
    words=("lighthouse", "leuchtturm", "vuurtoren", "灯台"),
    place=Place.WATER,
    home="sea",
    colour="#c8382f",
    stature=0.5,
    metres=24,
    breadth=0.8,
    draw=draw,
    plurals=("leuchttürme", "vuurtorens"),
)
