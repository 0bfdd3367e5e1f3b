"""No place at all: shapes and colour, for prompts that name nothing this engine knows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from ketchup.providers.studio.colour import Colour, chroma, lightness, mix, turn, with_lightness
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import circles, num, ring, smooth
from ketchup.providers.studio.terrain import hill_under, swell

_FAMILIES: tuple[tuple[Colour, ...], ...] = (
    ("#0f2a43", "#1f6f78", "#f2b263", "#e4572e", "#f7ead6"),
    ("#231942", "#5e548e", "#be95c4", "#f0a6a0", "#fbe8d3"),
    ("#0b3d3a", "#2a9d8f", "#e9c46a", "#f4a261", "#fff3dd"),
    ("#2b193d", "#8f2d56", "#d9576c", "#ffb997", "#ffe9d6"),
    ("#132a13", "#4f772d", "#90a955", "#ecf39e", "#fdf9e3"),
    ("#14213d", "#3a5a98", "#8fb8de", "#fca311", "#f4efe6"),
)


def colours(stage: Stage) -> tuple[Colour, ...]:
    """Return five colours from dark to light: from the prompt's colour words, or a family."""
    named = stage.palette
    if not named:
        return stage.stream("family").choice(_FAMILIES)
    first, last = named[0], named[-1] if len(named) > 1 else turn(named[0], 42)
    five = [
        with_lightness(first, 0.24),
        first,
        between((first, last, last, last, last), 0.34),
        last,
        with_lightness(last, 0.93),
    ]
    return tuple(sorted(five, key=lightness))


def between(five: tuple[Colour, ...], place: float) -> Colour:
    """Return the colour at a place from 0.0 to 4.0; opposite hues do not meet half-way, in grey."""
    low = min(3, int(place))
    first, last, share = five[low], five[low + 1], place - low
    halfway = mix(first, last, 0.5)
    if chroma(halfway) > 0.6 * min(chroma(first), chroma(last)):
        return mix(first, last, share)
    pull = (
        with_lightness(first, lightness(halfway))
        if share < 0.5
        else with_lightness(last, lightness(halfway))
    )
    return mix(first, pull, share * 2) if share < 0.5 else mix(pull, last, share * 2 - 1)


def paint(stage: Stage) -> None:
    """Paint one of the compositions."""
    ways: tuple[Callable[[Stage, random.Random, tuple[Colour, ...]], None], ...] = (
        _paper,
        _discs,
        _ribbons,
    )
    chance = stage.stream("abstract")
    chance.choice(ways)(stage, chance, colours(stage))
    stage.vignette, stage.bloom = 0.2, 0.15


def _paper(stage: Stage, chance: random.Random, five: tuple[Colour, ...]) -> None:
    """Stack sheets of cut paper, each throwing a shadow on the one behind."""
    unit = stage.unit
    stage.column = [(0, five[4]), (stage.height, five[3])]
    x = stage.width * chance.uniform(0.3, 0.7)
    stage.behind.append(Wash((x, stage.height * 0.3), (700 * unit, 600 * unit), "#ffffff", 0.7))
    disc = (x, stage.height * chance.uniform(0.26, 0.36))
    stage.canvas.soft(
        (disc[0] + 10 * unit, disc[1] + 22 * unit), (200 * unit, 200 * unit), five[0], 0.4
    )
    stage.canvas.circle(
        disc,
        150 * unit,
        stage.canvas.linear([(0, mix(five[3], "#ffffff", 0.35)), (1, mix(five[3], five[4], 0.3))]),
    )
    sheets = 8
    for i in range(sheets):
        t = i / (sheets - 1)
        base = stage.height * (0.34 + 0.58 * t)
        line = [
            (px, base - unit * (92 - 34 * t) * y)
            for px, y in swell(chance, stage.width, waves=chance.uniform(0.7, 1.2))
        ]
        place = (1 - t) * 3.4
        tone = between(five, place)
        for drop, alpha in ((-16, 0.1), (-9, 0.12), (-4, 0.14)):
            shadow = [(px, py + drop * unit) for px, py in line]
            stage.canvas.path(hill_under(shadow, base + 120 * unit), five[0], alpha=alpha)
        fill = stage.canvas.vertical(
            [(0, mix(tone, "#ffffff", 0.16)), (1, mix(tone, five[0], 0.22))],
            base - 110 * unit,
            base + 190 * unit,
        )
        stage.canvas.path(
            hill_under(line, base + 240 * unit if i < sheets - 1 else stage.height), fill
        )
        stage.canvas.line(smooth(line), mix(tone, "#ffffff", 0.55), 1.4 * unit, alpha=0.7)


def _discs(stage: Stage, chance: random.Random, five: tuple[Colour, ...]) -> None:
    """Balance circles, half circles and lines on a pale ground."""
    unit, canvas = stage.unit, stage.canvas
    stage.column = [(0, mix(five[4], "#ffffff", 0.3)), (stage.height, mix(five[4], five[3], 0.25))]
    x, y = stage.width * chance.choice((0.38, 0.62)), stage.height * 0.42
    big = 300 * unit
    canvas.soft((x + 16 * unit, y + 40 * unit), (big * 1.16, big * 1.16), five[0], 0.4)
    canvas.circle((x, y), big, canvas.linear([(0, five[3]), (1, five[2])], (0, 0), (1, 1)))
    way = 1 if x < stage.width / 2 else -1
    half = 210 * unit
    hx, hy = x + way * 190 * unit, y + 230 * unit
    bowl = f"M{num(hx - half)} {num(hy)}A{num(half)} {num(half)} 0 0 0 {num(hx + half)} {num(hy)}Z"
    canvas.path(bowl, canvas.linear([(0, five[1]), (1, five[0])]))
    canvas.circle((x + way * 300 * unit, y - 230 * unit), 74 * unit, five[0])
    canvas.path(ring(x - way * 210 * unit, y + 250 * unit, 96 * unit, 96 * unit), five[3])
    for i in range(9):
        radius = big * (0.3 + 0.09 * i)
        canvas.line(
            ring(x - way * 120 * unit, y - 80 * unit, radius, radius),
            mix(five[4], "#ffffff", 0.5),
            1.6 * unit,
            alpha=0.5,
        )
    dots = [
        (hx - half + (i % 9) * 46 * unit, hy + 120 * unit + (i // 9) * 46 * unit, 5 * unit)
        for i in range(36)
    ]
    canvas.path(circles(dots), five[0], alpha=0.75)
    canvas.line(f"M0 {num(hy + 2 * unit)}H{num(stage.width)}", five[0], 2.5 * unit, alpha=0.8)


def _ribbons(stage: Stage, chance: random.Random, five: tuple[Colour, ...]) -> None:
    """Let silk ribbons flow across in parallel, from dark to light."""
    unit = stage.unit
    stage.column = [(0, five[0]), (stage.height, mix(five[0], five[1], 0.6))]
    stage.behind.append(
        Wash((stage.width * 0.7, stage.height * 0.25), (800 * unit, 700 * unit), five[1], 0.8)
    )
    phase, bend = chance.uniform(0, math.tau), chance.uniform(0.8, 1.25)
    count = 26
    for i in range(count):
        t = i / (count - 1)
        tone_at = 0.4 + 3.5 * t
        tone = between(five, tone_at)
        upper, lower = [], []
        for step in range(-1, 15):
            s = step / 13
            y = stage.height * (
                0.06
                + 0.95 * t
                + 0.16 * math.sin(s * 4.4 * bend + phase + t * 1.5) * (1.1 - 0.5 * t)
            )
            thick = unit * (12 + 44 * (0.5 + 0.5 * math.sin(s * 5.2 + t * 7 + phase)))
            upper.append((s * stage.width, y))
            lower.append((s * stage.width, y + thick))
        body = smooth(upper) + "L" + smooth(lower[::-1])[1:] + "Z"
        stage.canvas.path(
            body,
            stage.canvas.linear(
                [
                    (0, mix(tone, five[0], 0.35)),
                    (0.5, mix(tone, "#ffffff", 0.12)),
                    (1, mix(tone, five[0], 0.5)),
                ],
                (0, 0),
                (1, 0.15),
            ),
        )
        stage.canvas.line(smooth(upper), mix(tone, "#ffffff", 0.55), 1.5 * unit, alpha=0.75)


SETTING = Setting(
    name="abstract",
    words=(
        "abstract",
        "geometric",
        "pattern",
        "wallpaper",
        "bauhaus",
        "gradient",
        "abstrakt",
        "muster",
        "abstracte",
        "patroon",
        "抽象",
    ),
    near=1,
    surface=Surface.VOID,
    horizon=0.8,
    paint=paint,
    sky=False,
)
