"""Canvases that draw the same shapes in another manner: as cut paper, as ink lines, as neon tubes.

A scene is painted shape by shape from back to front, and each of these decides what becomes of a
shape. Nothing is filtered afterwards: a line drawing has the outlines that its shapes have, and
what stands in front hides what stands behind. Watercolour is the exception; it is what water does
to the finished picture, and so is the work of `watercolour`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from typing_extensions import override

from ketchup.providers.studio.colour import (
    WHITE,
    Colour,
    chroma,
    lightness,
    mix,
    turn,
    with_lightness,
)
from ketchup.providers.studio.svg import Canvas, Fill, Point, Stops, num, ring
from ketchup.providers.studio.wishes import Style

PAPER: Final[Colour] = "#fbf8f1"
INK: Final[Colour] = "#23222c"
DARK: Final[Colour] = "#161019"

_SOLID: Final = 0.42
"""The opacity from which something is a thing and not a gleam on one."""
_BLACK: Final = 0.27
"""The lightness under which a pen fills a shape instead of outlining it."""
_FINE: Final = 14
"""How many pieces a shape has that is a texture: grass, leaves, flakes."""


def canvas_for(style: Style, width: float, height: float) -> Canvas:
    """Return the canvas that draws in a style."""
    kinds = {Style.PAPER: PaperCut, Style.LINE: Inked, Style.NEON: Tubes}
    return kinds.get(style, Canvas)(width, height)


class _Flat(Canvas):
    """A canvas without gradients, gleams and soft edges: every fill is one colour."""

    def __init__(self, width: float, height: float, *, prefix: str = "n") -> None:
        super().__init__(width, height, prefix=prefix)
        self._means: dict[Fill, tuple[Colour, float]] = {}
        self._unit = min(width, height) / 1000

    @override
    def soft(self, centre: Point, radii: Point, colour: Colour, alpha: float) -> None:
        """Leave it out: there are no soft edges here."""

    @override
    def rect(
        self,
        box: tuple[float, float, float, float],
        fill: Fill,
        *,
        radius: float = 0,
        alpha: float = 1,
    ) -> None:
        """Paint a rectangle as the shape it is."""
        x, y, width, height = box
        r = min(radius, width / 2, height / 2)
        arc = f"a{num(r)} {num(r)} 0 0 1 "
        self.path(
            f"M{num(x + r)} {num(y)}h{num(width - 2 * r)}{arc}{num(r)} {num(r)}"
            f"v{num(height - 2 * r)}{arc}{num(-r)} {num(r)}h{num(2 * r - width)}"
            f"{arc}{num(-r)} {num(-r)}v{num(2 * r - height)}{arc}{num(r)} {num(-r)}Z"
            if r
            else f"M{num(x)} {num(y)}h{num(width)}v{num(height)}h{num(-width)}Z",
            fill,
            alpha=alpha,
        )

    @override
    def ellipse(self, centre: Point, radii: Point, fill: Fill, *, alpha: float = 1) -> None:
        """Paint an ellipse as the shape it is."""
        self.path(ring(*centre, *radii), fill, alpha=alpha)

    @override
    def _define(self, head: str, stops: Stops, tail: str) -> Fill:
        fill = super()._define(head, stops, tail)
        if fill not in self._means:
            colour, seen = stops[0][1], 0.0
            for stop in stops:
                alpha = stop[2] if len(stop) == 3 else 1.0  # noqa: PLR2004 - with its opacity
                seen += alpha
                colour = mix(colour, stop[1], alpha / seen if seen else 0)
            self._means[fill] = (colour, seen / len(stops))
        return fill

    def _mean(self, fill: Fill, alpha: float) -> tuple[Colour, float]:
        """Return the one colour of a fill, and how opaque it is."""
        colour, own = self._means.get(fill, (fill, 1.0))
        return colour, own * alpha

    def _filled(self, data: str, colour: Colour, alpha: float = 1) -> None:
        super().path(data, colour, alpha=alpha)

    def _stroked(self, data: str, colour: Colour, width: float, alpha: float = 1) -> None:
        """Stroke in the picture's units, however large the thing is drawn."""
        super().line(data, colour, width * self._unit / self._grown(), alpha=alpha)


class PaperCut(_Flat):
    """Sheets of coloured paper, each casting its shadow on what lies below it."""

    @override
    def path(self, data: str, fill: Fill, *, alpha: float = 1) -> None:
        """Lay a sheet, its shadow first."""
        colour, seen = self._mean(fill, alpha)
        if not data or seen < _SOLID:
            return
        fine = data.count("M") > _FINE
        if fine:
            with self._shifted(3):
                self._filled(data, "#150c1c", 0.2)
        else:
            self._rim(data)
        self._filled(data, self._sheet(colour))
        if not fine:
            self._stroked(data, mix(self._sheet(colour), WHITE, 0.35), 0.9, 0.6)

    def _rim(self, data: str) -> None:
        """Lay a soft shadow as a stroke: only its rim is seen, and to fill it would cost more."""
        for reach, dark in ((4.6, 0.15), (1.8, 0.22)):
            with self._shifted(reach):
                self._stroked(data, "#150c1c", 2 * reach, dark)

    @override
    def line(self, data: str, colour: Fill, width: float, *, alpha: float = 1) -> None:
        """Lay a strip of paper, if it is wide enough to be cut."""
        mean, seen = self._mean(colour, alpha)
        wide = width * self._grown() / self._unit
        if not data or seen < _SOLID or wide < 1.6:  # noqa: PLR2004 - thousandths of the picture
            return
        with self._shifted(3):
            super().line(data, "#150c1c", width, alpha=0.2)
        super().line(data, self._sheet(mean), width)

    def _shifted(self, reach: float) -> AbstractContextManager[None]:
        across, down = self._inside(reach * 0.55 * self._unit, reach * self._unit)
        return self.moved(across, down)

    def _sheet(self, colour: Colour) -> Colour:
        """Return the nearest colour of paper: paper is dyed through and never very dark."""
        return turn(mix(colour, "#fff3e0", 0.06), 0, saturation=1.12)


class Inked(_Flat):
    """Ink on paper: outlines, hidden where something stands before them, and spots of black."""

    @override
    def path(self, data: str, fill: Fill, *, alpha: float = 1) -> None:
        """Outline a shape.

        The line is drawn first and the paper over it, so that pieces which overlap within one shape
        have one common outline.
        """
        colour, seen = self._mean(fill, alpha)
        if not data or seen < _SOLID:
            return
        if lightness(colour) < _BLACK:
            self._filled(data, self._ink())
            return
        fine = data.count("M") > _FINE
        self._stroked(data, self._ink(), 2.0 if fine else self._nib())
        self._filled(data, PAPER)

    @override
    def line(self, data: str, colour: Fill, width: float, *, alpha: float = 1) -> None:
        """Draw a line in ink; a wide one is a band with two edges."""
        mean, seen = self._mean(colour, alpha)
        if not data or seen < 0.3:  # noqa: PLR2004 - hardly there
            return
        wide = width * self._grown() / self._unit
        if wide < self._nib() or lightness(mean) < _BLACK:
            self._stroked(data, self._ink(), min(max(wide * 0.8, 1.4), 9))
            return
        self._stroked(data, self._ink(), wide + self._nib())
        self._stroked(data, PAPER, wide)

    def _nib(self) -> float:
        return 6.2 if self.main else 4.0

    def _ink(self) -> Colour:
        """Return a thinner ink for what is only around."""
        return INK if self.main else mix(INK, PAPER, 0.42)


class Tubes(_Flat):
    """Glass tubes that glow along the edge of each shape, before a dark wall."""

    @override
    def path(self, data: str, fill: Fill, *, alpha: float = 1) -> None:
        """Bend a tube along a shape, and hide what is behind it."""
        colour, seen = self._mean(fill, alpha)
        if not data or seen < _SOLID:
            return
        if data.count("M") > _FINE:
            self._stroked(data, self._gas(colour), 2.4, 0.7)
        else:
            self._tube(data, colour, 2.0)
        self._filled(data, DARK)

    @override
    def line(self, data: str, colour: Fill, width: float, *, alpha: float = 1) -> None:
        """Bend a tube along a line."""
        mean, seen = self._mean(colour, alpha)
        if not data or seen < _SOLID:
            return
        if width * self._grown() / self._unit < 2:  # noqa: PLR2004 - too thin for glass
            self._stroked(data, self._gas(mean), 1.6, 0.8)
            return
        self._tube(data, mean, 1.0)

    def _tube(self, data: str, colour: Colour, share: float) -> None:
        """Draw halo, gas and its white-hot middle; of an edge the outer half is seen."""
        gas = self._gas(colour)
        self._stroked(data, gas, 16 * share, 0.14)
        self._stroked(data, gas, 7 * share)
        self._stroked(data, mix(gas, WHITE, 0.75), 2.6 * share)

    def _gas(self, colour: Colour) -> Colour:
        """Return the light of a tube for a colour: bright, and far from grey."""
        if chroma(colour) < 0.035:  # noqa: PLR2004 - grey
            return "#aee6ff" if lightness(colour) > 0.55 else "#ff5fae"  # noqa: PLR2004 - light grey
        return turn(with_lightness(colour, 0.7), 0, saturation=1.7)
