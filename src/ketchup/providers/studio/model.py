"""What a setting, a subject and the stage between them are.

A `Setting` is a place: it paints what is far away, the ground near by, and sometimes what stands in
front of everything. A `Subject` is a thing: it paints itself with a `Pen` in a box of its own, 100
units high, standing on (0, 0). Each lives in one small file under `settings/` or `subjects/`, which
`catalogue` finds by itself.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from PIL import Image

from ketchup.providers.studio.colour import Colour, deeper, lightness, mix
from ketchup.providers.studio.light import Growth, Light, Season, Time, Weather
from ketchup.providers.studio.svg import Canvas, Fill, Point
from ketchup.providers.studio.wishes import Style


class Surface(StrEnum):
    """What lies under a subject's feet."""

    LAND = "land"
    WATER = "water"
    TABLE = "table"
    VOID = "void"
    DEEP = "deep"


class Place(StrEnum):
    """Where a subject belongs."""

    LAND = "land"
    WATER = "water"
    SKY = "sky"
    TABLE = "table"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Wash:
    """A large soft ellipse of light or shade, laid down by `raster` and not by the SVG."""

    centre: Point
    radii: Point
    colour: Colour
    alpha: float


@dataclass(slots=True)
class Stage:
    """The picture being painted: its light, its measures, and its layers.

    `behind` washes lie on the sky column under the SVG, `before` washes lie over it.
    """

    canvas: Canvas
    light: Light
    weather: Weather
    season: Season
    growth: Growth
    horizon: float
    sun: Point
    seed: str
    tints: dict[str, Colour]
    """Colours that the prompt binds to a setting or to a part of it: `sea`, `sky`, `sand`."""
    palette: tuple[Colour, ...]
    column: list[tuple[float, Colour]] = field(default_factory=list)
    behind: list[Wash] = field(default_factory=list)
    before: list[Wash] = field(default_factory=list)
    bloom: float = 0.3
    vignette: float = 0.3
    words: frozenset[str] = frozenset()
    crowd: int = 1
    """How many things will stand here."""
    plate: Image.Image | None = None
    """A photograph that takes the place of the column."""
    time: Time = Time.DAY
    lettering: str = ""
    """Words to be drawn as letters."""
    ink: Colour | None = None
    """The colour that the prompt gives to the letters."""
    style: Style = Style.PLAIN

    @property
    def width(self) -> float:
        """The width of the canvas."""
        return self.canvas.width

    @property
    def height(self) -> float:
        """The height of the canvas."""
        return self.canvas.height

    @property
    def unit(self) -> float:
        """A thousandth of the short side: the measure of everything."""
        return min(self.canvas.width, self.canvas.height) / 1000

    @property
    def side(self) -> int:
        """-1 when the light comes from the left, 1 from the right."""
        return -1 if self.sun[0] < self.width / 2 else 1

    def stream(self, name: str) -> random.Random:
        """Return the random numbers of one layer: changing a layer leaves the others alone."""
        digest = hashlib.sha256(f"{self.seed}|{name}".encode()).digest()
        return random.Random(digest)

    def shade(self, colour: Colour, depth: float = 0.0, facing: float = 0.0) -> Colour:
        """See `Light.shade`."""
        return self.light.shade(colour, depth, facing)

    def tint(self, name: str, default: Colour) -> Colour:
        """Return the colour that the prompt gives to `name`, or the default."""
        return self.tints.get(name, default)

    def floor(self, *stops: tuple[float, Colour]) -> None:
        """Lay the ground's colours under the horizon; offsets as in `ground`."""
        self.column = [stop for stop in self.column if stop[0] <= self.horizon]
        self.column.append((self.horizon + 0.5, stops[0][1]))
        self.column += [(self.ground(share) + 0.6, colour) for share, colour in stops]

    def ground(self, share: float) -> float:
        """Return the height of a line on the ground: 0.0 is the horizon, 1.0 the lower edge."""
        return self.horizon + (self.height - self.horizon) * share


@dataclass(frozen=True, slots=True)
class Setting:
    """A place. `near` orders several settings in one prompt: the nearest gives the ground."""

    name: str
    words: tuple[str, ...]
    near: int
    surface: Surface
    horizon: float
    """The horizon's height as a share of the picture, from the top."""
    paint: Callable[[Stage], None]
    """The ground, when this setting is the nearest."""
    backdrop: Callable[[Stage], None] | None = None
    """What it adds on the horizon, also when another setting is nearer."""
    front: Callable[[Stage], None] | None = None
    """What stands before the subjects."""
    sky: bool = True
    """Whether there is a sky to paint behind it."""
    stand: float = 0.56
    """Where on the ground things stand, when it is a table."""
    scale: float = 0.85
    """How large things are on a table."""
    hung: bool = False
    """Whether everything hangs on its wall, and nothing stands or flies."""
    time: Time | None = None
    """The light it has whatever the prompt says."""
    parts: tuple[str, ...] = ()
    """Words for pieces of it that can have a colour of their own."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing."""

    name: str
    words: tuple[str, ...]
    place: Place
    home: str
    """The setting it brings along when the prompt names none."""
    colour: Colour
    stature: float
    """Its height as the only subject, as a share of the short side."""
    metres: float
    """Its true height, which decides its size beside other subjects."""
    breadth: float
    """Its width as a share of its height."""
    draw: Callable[[Pen], None]
    plurals: tuple[str, ...] = ()
    """Plurals that do not end in s."""
    parts: tuple[str, ...] = ()
    many: int = 3
    """How many a plural without a number means."""
    varied: bool = False
    """Whether several of them come in several hues."""
    lamp: float = 0.0
    """How far its own light reaches in the dark, as a share of its height."""
    season: Season | None = None
    """The season it brings along when the prompt names none."""
    lettered: bool = False
    """Whether words that the prompt quotes are written on it."""


@dataclass(frozen=True, slots=True)
class Tone:
    """One colour in light: from its deepest shadow to its highlight."""

    deep: Colour
    dark: Colour
    base: Colour
    light: Colour
    glint: Colour


@dataclass(slots=True)
class Pen:
    """What a subject paints with, in its own box: 100 high, x from the middle, up is minus."""

    canvas: Canvas
    stage: Stage
    colours: tuple[Colour, ...]
    """The subject's colours: what the prompt says, else its own."""
    parts: dict[str, Colour]
    chance: random.Random
    depth: float = 0.0
    stated: bool = False
    """Whether the prompt gave the colour."""

    @property
    def colour(self) -> Colour:
        """The main colour, as named, before any light."""
        return self.colours[0]

    @property
    def side(self) -> int:
        """-1 when the light comes from the left, 1 from the right."""
        return self.stage.side

    @property
    def lamps(self) -> bool:
        """Whether windows are lit."""
        return self.stage.light.lamps

    def part(self, name: str, default: Colour) -> Colour:
        """Return the colour the prompt binds to a part, or the default."""
        return self.parts.get(name, default)

    def tone(self, colour: Colour | None = None) -> Tone:
        """Return a colour's five values in this light."""
        shade = self.stage.light.shade
        base = colour or self.colour
        # A dark thing keeps its highlights faint, or black would read as grey.
        lift = 0.16 + 0.24 * lightness(base)
        return Tone(
            deep=shade(deeper(base, 0.5), self.depth, -0.6),
            dark=shade(deeper(base, 0.24), self.depth, -0.35),
            base=shade(base, self.depth),
            light=shade(mix(base, "#ffffff", lift), self.depth, 0.6),
            glint=shade(mix(base, "#ffffff", lift + 0.4), self.depth, 1),
        )

    def round(self, colour: Colour | None = None) -> Fill:
        """Return the fill of an upright round body lit from the light's side."""
        tone = self.tone(colour)
        stops = [(0, tone.dark), (0.1, tone.base), (0.28, tone.light), (0.36, tone.glint)]
        stops += [(0.46, tone.light), (0.66, tone.base), (0.9, tone.dark), (1, tone.base)]
        ends = ((0.0, 0.0), (1.0, 0.0)) if self.side < 0 else ((1.0, 0.0), (0.0, 0.0))
        return self.canvas.linear(stops, *ends)

    def across(self, colour: Colour | None = None) -> Fill:
        """Return a flat body's fill: light on the light's side, darker on the other."""
        tone = self.tone(colour)
        ends = ((0.0, 0.0), (1.0, 0.3)) if self.side < 0 else ((1.0, 0.0), (0.0, 0.3))
        return self.canvas.linear([(0, tone.light), (0.45, tone.base), (1, tone.dark)], *ends)

    def down(self, colour: Colour | None = None) -> Fill:
        """Return a fill that is light on top and dark below."""
        tone = self.tone(colour)
        return self.canvas.linear([(0, tone.light), (0.5, tone.base), (1, tone.dark)])
