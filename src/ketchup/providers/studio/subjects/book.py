"""A closed book standing up, its title on the cover."""

from __future__ import annotations

from ketchup.providers.studio.colour import lightness, mix
from ketchup.providers.studio.lettering import block
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import ring

_WORDS_FROM = 0.72
"""The lightness of a cover on which dark letters are read best."""


def draw(pen: Pen) -> None:
    """Draw the pages, the cover, the spine, and what stands on it."""
    with pen.canvas.moved(0, 0, scale=(1, 1)):
        _pages(pen)
        _cover(pen)
        _title(pen)


def _pages(pen: Pen) -> None:
    canvas, paper, tone = pen.canvas, pen.tone("#f4ead6"), pen.tone()
    canvas.path("M32 -97L42 -92V3L32 0Z", tone.deep)
    canvas.path("M32 -94L40 -90V1L32 -2Z", canvas.linear([(0, paper.light), (1, paper.dark)]))
    edges = "".join(
        f"M{x} {-93.4 + (x - 32) * 0.5:.1f}V{-2 + (x - 32) * 0.36:.1f}"
        for x in (33.6, 35.2, 36.8, 38.4)
    )
    canvas.line(edges, paper.deep, 0.4, alpha=0.6)
    canvas.path("M-34 -98L32 -98L42 -93L-24 -93Z", tone.deep)


def _cover(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    canvas.rect((-36, -98, 70, 98), pen.across(), radius=2)
    canvas.rect(
        (-36, -98, 9, 98),
        canvas.linear([(0, tone.deep), (0.6, tone.base), (1, tone.dark)], (0, 0), (1, 0)),
        radius=2,
    )
    canvas.line("M-25.4 -97V-1", tone.deep, 0.8, alpha=0.7)
    foil = pen.tone(_foil(pen))
    frame = "M-20 -91H27V-7H-20Z"
    canvas.line(frame, foil.base, 1)
    canvas.line("M-17.6 -88.6H24.6V-9.4H-17.6Z", foil.base, 0.4)
    canvas.line("M-35 -86H-28M-35 -83H-28M-35 -14H-28M-35 -11H-28", foil.base, 0.9)


def _title(pen: Pen) -> None:
    canvas, foil = pen.canvas, pen.tone(_foil(pen))
    letters = block(pen.stage.lettering, 36, 40) if pen.stage.lettering else None
    with canvas.moved(3.5, -60 if letters else -49):
        if letters:
            canvas.path(letters.data, foil.base)
        else:
            canvas.line(ring(0, 0, 13, 13), foil.base, 1)
            canvas.path("M0 -10L2.6 -2.6L10 0L2.6 2.6L0 10L-2.6 2.6L-10 0L-2.6 -2.6Z", foil.base)
    if letters:
        canvas.line("M-6 -22H13", foil.base, 0.8)
        canvas.path("M3.5 -20L6 -16.5L3.5 -13L1 -16.5Z", foil.base)


def _foil(pen: Pen) -> str:
    return mix(pen.colour, "#1d1428", 0.75) if lightness(pen.colour) > _WORDS_FROM else "#f0d28a"


SUBJECT = Subject(
    name="book",
    words=(
        "book",
        "novel",
        "notebook",
        "diary",
        "buch",
        "roman",
        "tagebuch",
        "boek",
        "dagboek",
        "本",
        "絵本",
    ),
    place=Place.TABLE,
    home="room",
    colour="#8c2f39",
    stature=0.44,
    metres=0.26,
    breadth=0.76,
    draw=draw,
    plurals=("bücher", "boeken"),
    varied=True,
    lettered=True,
)
