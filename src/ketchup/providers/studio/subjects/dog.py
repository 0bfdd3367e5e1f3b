"""A dog that sits and looks towards the light."""

from __future__ import annotations

from ketchup.providers.studio.colour import deeper, mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it from the side: tail, haunch, chest, head, ear."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _dog(pen)


def _dog(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    pale = pen.tone(mix(pen.colour, "#fff6e8", 0.72))
    fill = canvas.linear([(0, tone.dark), (0.55, tone.base), (1, tone.light)], (0, 0.3), (1, 0))
    canvas.path(
        "M-26 -6C-44 -4 -52 -16 -48 -26C-46 -32 -40 -30 -42 -24C-43 -16 -36 -12 -24 -14Z", tone.dark
    )
    body = (
        "M-30 0C-36 -14 -30 -34 -16 -44C-8 -50 -2 -58 2 -68L26 -64C28 -50 26 -34 24 -22"
        "L25 -4Q25 0 20 0H12L11 -16C8 -8 4 -2 0 0Z"
    )
    canvas.path(body, fill)
    canvas.path(
        "M12 -62C20 -56 28 -48 25 -30C24 -24 22 -18 20 -14C14 -26 10 -44 12 -62Z", pale.base
    )
    canvas.path("M-30 0C-34 -16 -24 -30 -10 -28C2 -26 4 -12 -4 0Z", tone.base)
    canvas.line("M-22 -27C-8 -32 4 -24 1 -9", tone.deep, 1, alpha=0.6)
    canvas.path(
        "M-12 0C-12 -4 -6 -5 0 -5C4 -5 6 -2 5 0ZM13 0C13 -4 18 -5 24 -5C29 -5 31 -2 30 0Z",
        pale.light,
    )
    head = (
        "M-4 -80C-4 -94 10 -100 20 -97C27 -95 29 -90 32 -86C40 -84 47 -82 48 -77C48 -71 "
        "42 -69 34 -69C30 -64 22 -61 14 -62C4 -63 -4 -70 -4 -80Z"
    )
    canvas.path(head, canvas.linear([(0, tone.light), (0.6, tone.base), (1, tone.dark)]))
    canvas.path(
        "M30 -84C38 -84 46 -82 48 -77C48 -71 42 -69 34 -69C28 -70 25 -76 30 -84Z", pale.base
    )
    canvas.path("M43 -83C47 -84 50 -82 49 -79C47 -77 43 -78 43 -83Z", pen.tone("#241d22").base)
    canvas.line("M46 -77C44 -72 39 -71 35 -72", pen.tone("#4a3530").base, 0.9)
    canvas.circle((27, -85), 2.1, "#1d161a")
    canvas.circle((27.7, -85.7), 0.7, "#ffffff")
    ear = pen.tone(deeper(pen.colour, 0.25))
    canvas.path("M4 -95C-6 -96 -14 -84 -12 -70C-11 -63 -4 -62 0 -66C6 -72 8 -84 10 -92Z", ear.base)
    collar = pen.tone(pen.part("collar", "#c8402f"))
    canvas.path("M0 -68C8 -61 18 -60 27 -63L27 -58.6C18 -55 7 -56 -2 -63Z", collar.base)
    canvas.circle((19, -55.6), 2.8, pen.tone("#e3b74f").light)
    canvas.line("M26.6 -60C28 -50 26.4 -36 24.6 -22L25.4 -6", tone.glint, 0.9, alpha=0.8)


SUBJECT = Subject(
    name="dog",
    words=("dog", "puppy", "hound", "retriever", "hund", "welpe", "hond", "犬", "子犬"),
    place=Place.LAND,
    home="garden",
    colour="#b9793f",
    stature=0.3,
    metres=0.7,
    breadth=0.85,
    draw=draw,
    parts=("collar",),
    plurals=("hunde", "honden"),
)
