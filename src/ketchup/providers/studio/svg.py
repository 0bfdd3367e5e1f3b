"""A canvas that collects SVG shapes, and helpers that turn points into path data.

Everything written here is a number or a colour of ours. Text from a prompt never reaches it.

What is dear and what is cheap in resvg decides how the pictures are drawn: an opaque flat fill
costs almost nothing, a see-through one 20 ns a pixel, a gradient 45 to 80 ns a pixel, and group
opacity or a blur a whole extra layer. So there is no group opacity and no blur, large soft washes
are left to `raster`, and many small shapes of one colour become one path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from ketchup.providers.studio.colour import Colour

Point = tuple[float, float]
Fill = str
"""A colour, or the `url(#…)` of a gradient made by the same canvas."""
Matrix = tuple[float, float, float, float]
"""What `moved` has done to directions so far: how (1, 0) and (0, 1) come to lie."""
Stops = Sequence[tuple[float, Colour] | tuple[float, Colour, float]]
"""Offset, colour, and opacity when it is not 1."""


class Canvas:
    """An SVG document in the making. Shapes paint in the order of the calls."""

    def __init__(self, width: float, height: float, *, prefix: str = "n") -> None:
        self.width = width
        self.height = height
        self.main = False
        """Whether what is painted now is what the picture is of, and not around it."""
        self._shapes: list[str] = []
        self._definitions: dict[str, str] = {}
        self._gradients: dict[str, str] = {}
        self._names = 0
        self._prefix = prefix
        self._matrix: Matrix = (1, 0, 0, 1)

    def linear(self, stops: Stops, start: Point = (0, 0), end: Point = (0, 1)) -> Fill:
        """Return a linear gradient; the ends are shares of the box of what it fills."""
        ends = f'x1="{num(start[0])}" y1="{num(start[1])}" x2="{num(end[0])}" y2="{num(end[1])}"'
        return self._define(f"<linearGradient {ends}", stops, "</linearGradient>")

    def vertical(self, stops: Stops, top: float, bottom: float) -> Fill:
        """Return a gradient between two heights of the picture, whatever shape it fills."""
        ends = f'x1="0" x2="0" y1="{num(top)}" y2="{num(bottom)}" gradientUnits="userSpaceOnUse"'
        return self._define(f"<linearGradient {ends}", stops, "</linearGradient>")

    def radial(self, stops: Stops, centre: Point = (0.5, 0.5), radius: float = 0.5) -> Fill:
        """Return a radial gradient in shares of the box of what it fills."""
        where = f'cx="{num(centre[0])}" cy="{num(centre[1])}" r="{num(radius)}"'
        return self._define(f"<radialGradient {where}", stops, "</radialGradient>")

    def rect(
        self,
        box: tuple[float, float, float, float],
        fill: Fill,
        *,
        radius: float = 0,
        alpha: float = 1,
    ) -> None:
        """Paint a rectangle given as x, y, width, height."""
        x, y, width, height = box
        corner = f' rx="{num(radius)}"' if radius else ""
        size = f'width="{num(width)}" height="{num(height)}"'
        self._add(f'<rect x="{num(x)}" y="{num(y)}" {size}{corner} {_paint(fill, alpha)}/>')

    def ellipse(self, centre: Point, radii: Point, fill: Fill, *, alpha: float = 1) -> None:
        """Paint an ellipse."""
        where = f'cx="{num(centre[0])}" cy="{num(centre[1])}"'
        size = f'rx="{num(radii[0])}" ry="{num(radii[1])}"'
        self._add(f"<ellipse {where} {size} {_paint(fill, alpha)}/>")

    def circle(self, centre: Point, radius: float, fill: Fill, *, alpha: float = 1) -> None:
        """Paint a circle."""
        self.ellipse(centre, (radius, radius), fill, alpha=alpha)

    def path(self, data: str, fill: Fill, *, alpha: float = 1) -> None:
        """Fill path data."""
        if data:
            self._add(f'<path d="{data}" {_paint(fill, alpha)}/>')

    def line(self, data: str, colour: Fill, width: float, *, alpha: float = 1) -> None:
        """Stroke path data with round ends."""
        if not data:
            return
        opacity = f' stroke-opacity="{num(alpha)}"' if alpha < 1 else ""
        style = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
        self._add(
            f'<path d="{data}" {style} stroke="{colour}" stroke-width="{num(width)}"{opacity}/>'
        )

    def soft(self, centre: Point, radii: Point, colour: Colour, alpha: float) -> None:
        """Paint an ellipse that fades out towards its rim: shadows, mist, light."""
        stops = [(0, colour, alpha), (0.4, colour, alpha * 0.7), (0.7, colour, alpha * 0.25)]
        self.ellipse(centre, radii, self.radial([*stops, (1, colour, 0)]))

    def image(self, box: tuple[float, float, float, float], png_base64: str) -> None:
        """Place a PNG, given as base64, into a box."""
        x, y, width, height = box
        size = f'width="{num(width)}" height="{num(height)}" preserveAspectRatio="none"'
        href = f'href="data:image/png;base64,{png_base64}"'
        self._add(f'<image x="{num(x)}" y="{num(y)}" {size} {href}/>')

    @contextmanager
    def moved(
        self, x: float, y: float, *, scale: Point = (1, 1), turn: float = 0
    ) -> Iterator[None]:
        """Paint what follows moved to (x, y), turned by degrees, and scaled."""
        spin = f" rotate({num(turn)})" if turn else ""
        size = f" scale({num(scale[0], 4)} {num(scale[1], 4)})" if scale != (1, 1) else ""
        self._add(f'<g transform="translate({num(x)} {num(y)}){spin}{size}">')
        outer, self._matrix = self._matrix, _turned(self._matrix, scale, math.radians(turn))
        yield
        self._matrix = outer
        self._add("</g>")

    @contextmanager
    def clipped(self, data: str) -> Iterator[None]:
        """Paint what follows only inside the path."""
        name = self._name()
        self._definitions[name] = f'<clipPath id="{name}"><path d="{data}"/></clipPath>'
        self._add(f'<g clip-path="url(#{name})">')
        yield
        self._add("</g>")

    @contextmanager
    def named(self) -> Iterator[str]:
        """Paint what follows and give its name, for `again`."""
        name = self._name()
        self._add(f'<g id="{name}">')
        yield name
        self._add("</g>")

    def again(self, name: str) -> None:
        """Paint a named group once more: a reflection is the group, mirrored by `moved`."""
        self._add(f'<use href="#{name}"/>')

    def lay_over(self, under: Canvas) -> None:
        """Put everything here on top of what another canvas holds, which has another prefix."""
        self._shapes = [*under._shapes, *self._shapes]
        self._definitions |= under._definitions

    def document(self) -> str:
        """Return the whole SVG."""
        size = f'width="{num(self.width)}" height="{num(self.height)}"'
        view = f'viewBox="0 0 {num(self.width)} {num(self.height)}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view}>'
        definitions = "".join(self._definitions.values())
        return f"{head}<defs>{definitions}</defs>{''.join(self._shapes)}</svg>"

    def _grown(self) -> float:
        """Return how much larger than in the picture's units things are painted now."""
        a, b, c, d = self._matrix
        return math.sqrt(abs(a * d - b * c)) or 1.0

    def _inside(self, across: float, down: float) -> Point:
        """Return a direction in the picture's units as one in those that hold now."""
        a, b, c, d = self._matrix
        whole = a * d - b * c or 1.0
        return (across * d - down * c) / whole, (down * a - across * b) / whole

    def _add(self, shape: str) -> None:
        self._shapes.append(shape)

    def _name(self) -> str:
        self._names += 1
        return f"{self._prefix}{self._names}"

    def _define(self, head: str, stops: Stops, tail: str) -> Fill:
        body = "".join(_stop(*stop) for stop in stops)
        key = head + body
        if key not in self._gradients:
            name = self._gradients[key] = self._name()
            kind, attributes = head.split(" ", 1)
            self._definitions[name] = f'{kind} id="{name}" {attributes}>{body}{tail}'
        return f"url(#{self._gradients[key]})"


def _turned(matrix: Matrix, scale: Point, angle: float) -> Matrix:
    a, b, c, d = matrix
    cosine, sine = math.cos(angle), math.sin(angle)
    right, down = (cosine * scale[0], sine * scale[0]), (-sine * scale[1], cosine * scale[1])
    return (
        a * right[0] + c * right[1],
        b * right[0] + d * right[1],
        a * down[0] + c * down[1],
        b * down[0] + d * down[1],
    )


def num(value: float, digits: int = 2) -> str:
    """Write a number shortly; never `-0` and never an exponent."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def polyline(points: Iterable[Point], *, closed: bool = True) -> str:
    """Return path data with straight edges."""
    body = "L".join(f"{num(x, 1)} {num(y, 1)}" for x, y in points)
    return f"M{body}Z" if closed else f"M{body}"


def smooth(points: Sequence[Point], *, closed: bool = False, tension: float = 1.0) -> str:
    """Return path data of a soft curve through the points (Catmull-Rom as Bézier)."""
    count = len(points)
    if closed:
        spans = [
            (points[i - 1], points[i], points[(i + 1) % count], points[(i + 2) % count])
            for i in range(count)
        ]
    else:
        ends = [points[0], *points, points[-1]]
        spans = [(ends[i], ends[i + 1], ends[i + 2], ends[i + 3]) for i in range(count - 1)]
    body = "".join(_bezier(span, tension / 6) for span in spans)
    return f"M{num(points[0][0])} {num(points[0][1])}{body}{'Z' if closed else ''}"


def _bezier(span: tuple[Point, Point, Point, Point], k: float) -> str:
    a, b, c, d = span
    first = (b[0] + (c[0] - a[0]) * k, b[1] + (c[1] - a[1]) * k)
    second = (c[0] - (d[0] - b[0]) * k, c[1] - (d[1] - b[1]) * k)
    return "C" + " ".join(f"{num(x)} {num(y)}" for x, y in (first, second, c))


def circles(discs: Iterable[tuple[float, float, float]]) -> str:
    """Return path data of many discs (x, y, radius); where they overlap they are one shape."""
    return "".join(ring(x, y, r, r) for x, y, r in discs)


def ring(x: float, y: float, rx: float, ry: float) -> str:
    """Return path data of one ellipse."""
    half = f"a{num(rx)} {num(ry)} 0 1 0"
    return f"M{num(x - rx)} {num(y)}{half} {num(2 * rx)} 0{half} {num(-2 * rx)} 0Z"


def lens(x: float, y: float, length: float, thickness: float) -> str:
    """Return path data of a thin shape that ends in points: a glint on water, a wisp."""
    return (
        f"M{num(x - length)} {num(y)}Q{num(x)} {num(y - thickness)} {num(x + length)} {num(y)}"
        f"Q{num(x)} {num(y + thickness)} {num(x - length)} {num(y)}Z"
    )


def star(x: float, y: float, radius: float, *, points: int = 4, waist: float = 0.18) -> str:
    """Return path data of a sparkle."""
    corners = [
        (
            x + math.sin(math.pi * i / points) * radius * (waist if i % 2 else 1),
            y - math.cos(math.pi * i / points) * radius * (waist if i % 2 else 1),
        )
        for i in range(2 * points)
    ]
    return polyline(corners)


def _paint(fill: Fill, alpha: float) -> str:
    return f'fill="{fill}" fill-opacity="{num(alpha, 3)}"' if alpha < 1 else f'fill="{fill}"'


def _stop(offset: float, colour: Colour, alpha: float = 1) -> str:
    opacity = f' stop-opacity="{num(alpha, 3)}"' if alpha < 1 else ""
    return f'<stop offset="{num(offset, 3)}" stop-color="{colour}"{opacity}/>'
