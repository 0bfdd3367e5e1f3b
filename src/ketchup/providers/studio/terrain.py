"""Shapes of land and plants that several settings share. Pure geometry: points and path data."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

from ketchup.providers.studio.svg import Point, num, polyline, smooth

_HEAPED = 0.6


def ridge(
    chance: random.Random, width: float, *, steps: int = 7, rough: float = 0.52
) -> list[Point]:
    """Return a jagged line from x=0 to `width` by midpoint displacement; heights are about ±1."""
    heights, swing = [chance.uniform(-0.4, 0.4), chance.uniform(-0.4, 0.4)], 0.8
    for _ in range(steps):
        split: list[float] = []
        for left, right in pairwise(heights):
            split += [left, (left + right) / 2 + chance.uniform(-swing, swing)]
        heights, swing = [*split, heights[-1]], swing * rough
    return [(i / (len(heights) - 1) * width, value) for i, value in enumerate(heights)]


def swell(
    chance: random.Random, width: float, *, waves: float = 1.6, points: int = 24
) -> list[Point]:
    """Return a soft line of hills from before x=0 to beyond `width`; heights are -1 to 1."""
    phases = [chance.uniform(0, math.tau) for _ in range(3)]
    line = []
    for i in range(-1, points + 2):
        t = i / points
        value = sum(
            math.sin(t * math.tau * waves * factor + phase) * share
            for factor, phase, share in zip((1, 2.3, 4.1), phases, (0.62, 0.27, 0.11), strict=True)
        )
        line.append((t * width, value))
    return line


def ground_under(line: Sequence[Point], bottom: float) -> str:
    """Return path data of the area under a jagged line."""
    return polyline([(line[0][0], bottom), *line, (line[-1][0], bottom)])


def hill_under(line: Sequence[Point], bottom: float) -> str:
    """Return path data of the area under a soft line."""
    first, last = line[0][0], line[-1][0]
    return f"{smooth(line)}L{num(last)} {num(bottom)}L{num(first)} {num(bottom)}Z"


def height_at(line: Sequence[Point], x: float) -> float:
    """Return the line's y at x, straight between its points."""
    for (left, first), (right, second) in pairwise(line):
        if left <= x <= right:
            return first + (second - first) * (x - left) / max(1e-6, right - left)
    return line[-1][1]


def conifer(chance: random.Random, foot: Point, height: float, *, half: int = 0) -> str:
    """Return path data of a fir. `half` of -1 or 1 gives only that side, for the light on it."""
    x, y = foot
    tiers = max(5, min(17, round(height / 15)))
    left: list[Point] = []
    right: list[Point] = []
    for tier in range(tiers):
        t = tier / tiers
        base = y - height * (0.07 + 0.93 * t)
        reach = height * 0.2 * (1 - t) ** 0.85 * chance.uniform(0.82, 1.12)
        droop = height * 0.035 * (1 - t)
        notch = base - height * 0.93 / tiers * 0.55
        for points, way in ((left, -1), (right, 1)):
            jitter = chance.uniform(0.9, 1.1)
            points += [(x + way * reach * jitter, base + droop), (x + way * reach * 0.42, notch)]
    trunk = height * 0.02
    tip = (x, y - height)
    if half:
        side = left if half < 0 else right
        # The light ends in a ragged line, as it does on boughs, not on a drawn axis.
        inner = [
            (
                x - half * chance.uniform(-0.02, 0.035) * height * (1 - i / tiers),
                y - height * (0.07 + 0.93 * i / tiers),
            )
            for i in range(tiers, 0, -1)
        ]
        return polyline([(x, y - height * 0.07), *side, tip, *inner])
    return polyline([(x - trunk, y), *left, tip, *reversed(right), (x + trunk, y)])


def blades(
    chance: random.Random, area: tuple[float, float, float, float], count: int, tall: float
) -> str:
    """Return path data of grass blades whose feet stand in the area (x, y, width, height)."""
    x, y, width, height = area
    parts = []
    for _ in range(count):
        share = chance.random()
        foot_x, foot_y = x + chance.random() * width, y + share * height
        size = tall * (0.45 + 0.55 * share) * chance.uniform(0.55, 1.2)
        lean, thick = size * chance.uniform(-0.4, 0.4), size * 0.055
        parts.append(
            f"M{num(foot_x - thick)} {num(foot_y)}"
            f"Q{num(foot_x + lean * 0.2)} {num(foot_y - size * 0.6)}"
            f" {num(foot_x + lean)} {num(foot_y - size)}"
            f"Q{num(foot_x + lean * 0.4)} {num(foot_y - size * 0.5)}"
            f" {num(foot_x + thick)} {num(foot_y)}Z"
        )
    return "".join(parts)


def cloud(chance: random.Random, centre: Point, width: float) -> list[tuple[float, float, float]]:
    """Return the discs of a heaped cloud that stands on a flat base at the centre's height."""
    discs = []
    lobes = chance.randint(5, 8)
    for i in range(lobes):
        t = (i + 0.5) / lobes
        bulge = math.sin(math.pi * t) ** 0.8
        radius = width * (0.07 + 0.12 * bulge) * chance.uniform(0.75, 1.2)
        x = centre[0] + (t - 0.5) * width + chance.uniform(-0.03, 0.03) * width
        discs.append((x, centre[1] - radius * 0.72, radius))
        if bulge > _HEAPED:
            discs.append(
                (x + width * 0.03, centre[1] - radius * 1.5, radius * chance.uniform(0.6, 0.85))
            )
    return discs


def crown(
    chance: random.Random, centre: Point, radii: Point, count: int
) -> list[tuple[float, float, float]]:
    """Return the discs of a leafy crown, spread evenly by the golden angle and closed inside."""
    discs = [(centre[0], centre[1], min(radii) * 0.8)]
    spacing = (radii[0] + radii[1]) / 2 / math.sqrt(max(1, count))
    for i in range(count):
        t = math.sqrt((i + 0.5) / count)
        angle = i * 2.39996 + chance.uniform(-0.2, 0.2)
        size = spacing * chance.uniform(0.85, 1.35)
        x = centre[0] + math.cos(angle) * radii[0] * t
        discs.append((x, centre[1] + math.sin(angle) * radii[1] * t, size))
    return discs


def leaf(x: float, y: float, length: float, angle: float, wide: float = 0.34) -> str:
    """Return path data of one pointed leaf that starts at (x, y)."""
    dx, dy = math.cos(angle) * length, math.sin(angle) * length
    nx, ny = -dy * wide, dx * wide
    return (
        f"M{num(x)} {num(y)}Q{num(x + dx * 0.45 + nx)} {num(y + dy * 0.45 + ny)}"
        f" {num(x + dx)} {num(y + dy)}"
        f"Q{num(x + dx * 0.45 - nx)} {num(y + dy * 0.45 - ny)} {num(x)} {num(y)}Z"
    )


def fern(chance: random.Random, foot: Point, size: float) -> str:
    """Return path data of a fern: arching fronds of paired leaflets."""
    parts = []
    for frond in range(6):
        spread = (frond - 2.5) / 2.5
        length = size * (1 - 0.25 * abs(spread)) * chance.uniform(0.85, 1.1)
        tip = (foot[0] + spread * length * 0.9, foot[1] - length * (1 - 0.45 * abs(spread)))
        bend = (foot[0] + spread * length * 0.3, foot[1] - length * 0.75)
        for i in range(1, 8):
            t = i / 7.5
            x = foot[0] * (1 - t) ** 2 + 2 * bend[0] * t * (1 - t) + tip[0] * t * t
            y = foot[1] * (1 - t) ** 2 + 2 * bend[1] * t * (1 - t) + tip[1] * t * t
            along = math.atan2(
                (bend[1] - foot[1]) * (1 - t) + (tip[1] - bend[1]) * t,
                (bend[0] - foot[0]) * (1 - t) + (tip[0] - bend[0]) * t,
            )
            reach = length * 0.26 * (1.1 - t)
            parts += [leaf(x, y, reach, along - 1.0), leaf(x, y, reach, along + 1.0)]
    return "".join(parts)
