"""Says where subjects stand and how large they are. Pure measure; nothing is painted here.

True sizes rule, evened out: a cat beside a house is small, but never a dot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ketchup.providers.studio import catalogue
from ketchup.providers.studio.model import Place, Setting, Stage, Subject, Surface
from ketchup.providers.studio.prompt import Mention
from ketchup.providers.studio.svg import Point

_ALOFT: Final = (
    (-0.17, 0.62), (0.24, 0.4), (-0.36, 0.3), (0.06, 0.24), (0.38, 0.62),
    (-0.06, 0.42), (0.2, 0.16), (-0.26, 0.12), (0.44, 0.2),
)  # fmt: skip
"""Places in the air: sideways from the middle towards the light, and down the sky."""
_ON_LAND: Final = (0.56, 0.69, 0.49, 0.76, 0.61)
_ON_WATER: Final = (0.25, 0.46, 0.15, 0.34, 0.6)
_ROOM: Final = 0.9
"""The share of the width that things standing together may take."""
_BORDER: Final = 0.06
"""The share of the short side at each edge where none of them stands."""
_PAIR: Final = 2
_SMALL: Final = 3.0
"""Metres under which a thing steps nearer when it stands beside large ones."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing at one spot: its foot, and its height in canvas units."""

    subject: Subject
    mention: Mention
    foot: Point
    height: float
    index: int
    """Which of its kind it is, from 0."""


@dataclass(frozen=True, slots=True)
class _Single:
    """One of the things that a mention counts."""

    subject: Subject
    mention: Mention
    index: int

    def at(self, foot: Point, height: float) -> Placed:
        return Placed(self.subject, self.mention, foot, height, self.index)


def arrange(stage: Stage, mentions: Sequence[Mention], nearest: Setting) -> list[Placed]:
    """Give each subject a foot and a height."""
    known = catalogue.subjects()
    singles = [_Single(known[m.name], m, i) for m in mentions for i in range(m.count)]
    high = [one for one in singles if _flies(one.subject, nearest)]
    low = [one for one in singles if not _flies(one.subject, nearest)]
    stand = _on_table if nearest.surface is Surface.TABLE else _on_ground
    return _aloft(stage, high, nearest) + (stand(stage, low, nearest) if low else [])


def _measure(stage: Stage) -> float:
    """Return what a stature of 1.0 is: the short side, and more in long pictures, to fill them."""
    short, long = sorted((stage.width, stage.height))
    return short * min(1.3, math.pow(long / short, 0.35))


def _flies(subject: Subject, nearest: Setting) -> bool:
    if nearest.hung:
        return False
    return subject.place is Place.SKY or nearest.surface in {Surface.VOID, Surface.DEEP}


def _aloft(stage: Stage, singles: Sequence[_Single], nearest: Setting) -> list[Placed]:
    """Hang them in the air or water, the first one large, the others ever farther away."""
    chance, unit, placed = stage.stream("aloft"), stage.unit, []
    sink = 0.12 * stage.height if nearest.surface is Surface.DEEP else 0.0
    # A title takes the uppermost part of the sky.
    sink += 0.16 * stage.height if stage.lettering else 0.0
    for number, one in enumerate(singles):
        aside, down = _ALOFT[number % len(_ALOFT)]
        scale = chance.uniform(0.62, 0.74) * 0.86**number if number else 1.0
        height = one.subject.stature * _measure(stage) * scale
        x = stage.width * (0.5 + stage.side * aside) + chance.uniform(-20, 20) * unit
        foot = max(height * 1.02, stage.horizon * down + height * 0.45) + sink
        placed.append(one.at((x, foot), height))
    return placed


def _on_ground(stage: Stage, singles: Sequence[_Single], nearest: Setting) -> list[Placed]:
    """Stand them on land or water: the largest gives the scale, a lone one stands aside."""
    del nearest
    chance, total = stage.stream("ground"), len(singles)
    hero = max((one.subject for one in singles), key=lambda subject: subject.metres)
    shares = [
        _line(one.subject, hero, i) + chance.uniform(-0.03, 0.03) for i, one in enumerate(singles)
    ]
    heights = []
    for one, share in zip(singles, shares, strict=True):
        near = 0.55 + 0.75 * share if total > 1 else 1.0
        relative = (one.subject.metres / hero.metres) ** 0.36 / (1 + 0.06 * (total - 1))
        heights.append(hero.stature * _measure(stage) * relative * near)
    widths = [h * one.subject.breadth for h, one in zip(heights, singles, strict=True)]
    # Two elephants are wider than the picture; what stands alone may reach beyond its edge.
    fit = min(1.0, stage.width * _ROOM / sum(widths)) if total > 1 else 1.0
    slots = _slots(stage, singles, sum(widths) * fit)
    if total > 1:
        slots = [_inside(stage, x, width * fit) for x, width in zip(slots, widths, strict=True)]
    return [
        one.at((x, stage.ground(share)), height * fit)
        for one, x, share, height in zip(singles, slots, shares, heights, strict=True)
    ]


def _inside(stage: Stage, x: float, width: float) -> float:
    """Move what would be cut off into the picture, and off the bare border of a watercolour."""
    border = _BORDER * min(stage.width, stage.height) + width / 2
    return min(max(x, border), max(stage.width - border, border))


def _slots(stage: Stage, singles: Sequence[_Single], room: float) -> list[float]:
    """Return where they stand from side to side, away from the light when there is one only."""
    total = len(singles)
    if total == 1:
        return [stage.width * (0.5 - stage.side * 0.15)]
    spread = max(min(stage.width * 0.74, 300 * stage.unit * total), room * 1.06)
    slots = [stage.width / 2 + (i - (total - 1) / 2) / total * spread for i in range(total)]
    # The second of two of a kind is turned round: so they look at each other.
    pair = singles[0].mention is singles[-1].mention and total == _PAIR
    return slots[::-1] if (stage.side > 0) is not pair else slots


def _line(subject: Subject, hero: Subject, number: int) -> float:
    if subject.place is Place.WATER:
        return _ON_WATER[number % len(_ON_WATER)]
    step = 0.08 if subject.metres < _SMALL <= hero.metres else 0.0
    return _ON_LAND[number % len(_ON_LAND)] + step


def _on_table(stage: Stage, singles: Sequence[_Single], nearest: Setting) -> list[Placed]:
    """Stand them in a row, closer and smaller the more there are."""
    unit, total = stage.unit, len(singles)
    hero = max((one.subject for one in singles), key=lambda subject: subject.metres)
    tallest = hero.stature * 1000 * unit * nearest.scale / (1 + 0.22 * (total - 1))
    sizes = [tallest * (one.subject.metres / hero.metres) ** 0.3 for one in singles]
    gap = 26 * unit
    widths = [size * one.subject.breadth for size, one in zip(sizes, singles, strict=True)]
    room = sum(widths) + gap * (total - 1)
    fit = min(1.0, 640 * unit / room)
    x, placed = stage.width / 2 - room * fit / 2, []
    for number, (one, size, width) in enumerate(zip(singles, sizes, widths, strict=True)):
        foot = (x + width * fit / 2, stage.ground(nearest.stand) + number % 2 * 12 * unit)
        placed.append(one.at(foot, size * fit))
        x += (width + gap) * fit
    return placed
