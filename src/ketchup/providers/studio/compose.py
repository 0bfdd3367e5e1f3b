"""Puts a scene together: chooses what the prompt leaves open, and says where everything stands.

Back to front: sky, what each setting adds to the horizon, the ground of the nearest setting, the
subjects or references, what stands before them, the weather.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ketchup.providers.studio import catalogue, exhibit
from ketchup.providers.studio.colour import Colour, deeper, turn
from ketchup.providers.studio.cutout import Reference
from ketchup.providers.studio.light import GROWTHS, Season, Time, Weather, light_of
from ketchup.providers.studio.model import Pen, Place, Setting, Stage, Subject, Surface, Wash
from ketchup.providers.studio.prompt import Arrangement, Mention, Scene
from ketchup.providers.studio.sky import paint_sky
from ketchup.providers.studio.svg import Canvas, Point, lens
from ketchup.providers.studio.terrain import blades, height_at, hill_under, swell
from ketchup.providers.studio.weather import paint_lightning, paint_weather

_DIM = 0.4
_DRY = {Place.LAND, Place.TABLE}
_OPEN_AIR = ("mountains", "sea", "countryside", "forest", "city", "garden")


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing at one spot: its foot, and its height in canvas units."""

    subject: Subject
    mention: Mention
    foot: tuple[float, float]
    height: float
    index: int


def compose(
    scene: Scene, references: Sequence[Reference], size: tuple[float, float], seed: str
) -> Stage:
    """Paint the whole scene and return the stage it stands on."""
    if references:
        scene = _around(scene, references)
    order = choose_settings(scene, random.Random(_digest(seed, "place")))
    nearest = order[-1]
    stage = set_stage(scene, nearest, size, seed)
    stage.crowd = _crowd(scene, references)
    if exhibit.fills_picture(scene, references):
        exhibit.fill(stage, references[0])
    else:
        _paint_place(stage, order)
        if references:
            exhibit.place(stage, scene, references, nearest.surface)
        else:
            _stand(stage, scene, nearest)
        if nearest.front:
            nearest.front(stage)
    if nearest.sky or not scene.settings:
        paint_weather(stage)
    return stage


def _crowd(scene: Scene, references: Sequence[Reference]) -> int:
    if scene.arrangement is Arrangement.BASKET and references:
        return 1
    return len(references) or sum(mention.count for mention in scene.subjects)


def _around(scene: Scene, references: Sequence[Reference]) -> Scene:
    """Choose a place and colours for references when the prompt names none."""
    outdoors = scene.time or scene.weather or scene.season
    settings = scene.settings or (() if outdoors else ("studio",))
    palette = scene.palette or tuple(tone for r in references for tone in r.colours())[:3]
    return replace(scene, settings=settings, palette=palette)


def _paint_place(stage: Stage, order: Sequence[Setting]) -> None:
    nearest = order[-1]
    if nearest.sky:
        paint_sky(stage)
    if stage.weather is Weather.STORM and nearest.sky:
        paint_lightning(stage)
    for setting in order:
        if setting.backdrop:
            setting.backdrop(stage)
    nearest.paint(stage)


def choose_settings(scene: Scene, chance: random.Random) -> list[Setting]:
    """Return the settings from the farthest to the nearest; at least one."""
    known = catalogue.settings()
    names = [name for name in scene.settings if name in known]
    if not names and scene.subjects:
        names = [_home(scene)]
    if not names:
        names = ["abstract"] if scene.empty else [chance.choice(_OPEN_AIR)]
    # A set without a sky takes nothing else in: a studio has no mountains in it.
    chosen = sorted(
        {known[name].name: known[name] for name in names}.values(), key=lambda s: s.near
    )
    closed = [setting for setting in chosen if not setting.sky]
    return (
        closed[-1:]
        if closed and chosen[-1] is closed[-1]
        else [s for s in chosen if s.sky] or closed[-1:]
    )


def _home(scene: Scene) -> str:
    homes = [catalogue.subjects()[mention.name].home for mention in scene.subjects]
    conditions = scene.time or scene.weather or scene.season
    if homes[0] == "studio" and conditions and scene.arrangement is not Arrangement.BASKET:
        return "room"
    return homes[0]


def set_stage(scene: Scene, nearest: Setting, size: tuple[float, float], seed: str) -> Stage:
    """Choose light, season and the sun's place, and return the empty stage."""
    chance = random.Random(_digest(seed, "light"))
    weather = scene.weather or Weather.CLEAR
    season = scene.season or (Season.WINTER if weather is Weather.SNOW else Season.SUMMER)
    time = scene.time or _time(nearest, weather, chance)
    if nearest.surface is Surface.TABLE and nearest.name == "studio":
        time = Time.DAY
    light = light_of(time, weather)
    if season is Season.WINTER and light.darkness > _DIM:
        # Snow throws back what little light there is.
        light = replace(light, darkness=light.darkness - 0.14)
    width, height = size
    horizon = nearest.horizon * height
    side = chance.choice((-1, 1))
    sun = (width * (0.5 + side * chance.uniform(0.14, 0.24)), horizon * (1 - light.altitude))
    return Stage(
        canvas=Canvas(width, height),
        light=light,
        weather=weather,
        season=season,
        growth=GROWTHS[season],
        horizon=horizon,
        sun=sun,
        seed=seed,
        tints=dict(scene.tints),
        palette=scene.palette,
        vignette=0.12 + 0.3 * light.darkness,
        bloom=0.22 + 0.3 * light.darkness,
        words=scene.words,
    )


def _time(nearest: Setting, weather: Weather, chance: random.Random) -> Time:
    if weather in {Weather.STORM, Weather.RAIN, Weather.SNOW}:
        return chance.choice((Time.DAY, Time.DUSK) if weather is Weather.SNOW else (Time.DAY,))
    if weather is Weather.FOG:
        return chance.choice((Time.DAWN, Time.DAY))
    del nearest
    return chance.choice((Time.DAY, Time.GOLDEN, Time.DAWN, Time.DAY))


def _stand(stage: Stage, scene: Scene, nearest: Setting) -> None:
    """Place every subject and paint them from back to front."""
    placed = arrange(stage, scene.subjects, nearest)
    if nearest.surface is Surface.WATER and any(p.subject.place in _DRY for p in placed):
        line = _shore(stage)
        placed = [
            replace(p, foot=(p.foot[0], height_at(line, p.foot[0]) + 0.07 * stage.height))
            if p.subject.place in _DRY
            else p
            for p in placed
        ]
    for item in sorted(placed, key=lambda p: (p.subject.place is not Place.SKY, p.foot[1])):
        _paint(stage, item, nearest.surface)


def arrange(stage: Stage, mentions: Sequence[Mention], nearest: Setting) -> list[Placed]:
    """Give each subject a foot and a height: true sizes, gently evened out."""
    subjects = catalogue.subjects()
    pairs = [(subjects[m.name], m) for m in mentions if m.name in subjects]
    low = [(s, m) for s, m in pairs if not _flies(s, nearest)]
    placed = _aloft(stage, [(s, m) for s, m in pairs if _flies(s, nearest)], nearest)
    if nearest.surface is Surface.TABLE:
        return placed + _on_table(stage, low, nearest)
    return placed + _on_ground(stage, low, nearest)


def _flies(subject: Subject, nearest: Setting) -> bool:
    return subject.place is Place.SKY or nearest.surface in {Surface.VOID, Surface.DEEP}


def _aloft(
    stage: Stage, pairs: Sequence[tuple[Subject, Mention]], nearest: Setting
) -> list[Placed]:
    chance, unit = stage.stream("aloft"), stage.unit
    placed = []
    spots = (
        (-0.17, 0.62),
        (0.24, 0.4),
        (-0.36, 0.3),
        (0.06, 0.24),
        (0.38, 0.62),
        (-0.06, 0.42),
        (0.2, 0.16),
        (-0.26, 0.12),
        (0.44, 0.2),
    )
    number = 0
    for subject, mention in pairs:
        for i in range(mention.count):
            x, y = spots[number % len(spots)]
            scale = 1.0 if number == 0 else chance.uniform(0.62, 0.74) * 0.86**number
            height = subject.stature * 1000 * unit * scale * (1.0 if mention.count > 1 else 1.05)
            x = stage.width * (0.5 - stage.side * -x * 1.0) + chance.uniform(-20, 20) * unit
            foot = max(height * 1.02, stage.horizon * y + height * 0.45)
            if nearest.surface is Surface.DEEP:
                foot += 0.12 * stage.height
            placed.append(Placed(subject, mention, (x, foot), height, i))
            number += 1
    return placed


def _on_ground(
    stage: Stage, pairs: Sequence[tuple[Subject, Mention]], nearest: Setting
) -> list[Placed]:
    """Stand them on the land or water: the first one gives the scale, on a line of thirds."""
    if not pairs:
        return []
    chance, unit = stage.stream("ground"), stage.unit
    hero = max((s for s, _ in pairs), key=lambda s: s.metres)
    total = sum(m.count for _, m in pairs)
    spread = min(stage.width * 0.74, 300 * unit * total)
    slots = (
        [0.5 - stage.side * 0.15]
        if total == 1
        else [0.5 + (i - (total - 1) / 2) / total * spread / stage.width for i in range(total)]
    )
    if stage.side > 0:
        slots.reverse()
    placed, number = [], 0
    for subject, mention in pairs:
        for i in range(mention.count):
            share = 0.56 + (0.0, 0.13, -0.07, 0.2, 0.05)[number % 5] + chance.uniform(-0.03, 0.03)
            share += 0.08 if subject.metres < 3 and hero.metres >= 3 else 0
            if subject.place is Place.WATER:
                share = (0.27, 0.46, 0.15, 0.34, 0.6)[number % 5] - (0.04 if total == 1 else 0)
            relative = (subject.metres / hero.metres) ** 0.36
            near = (0.55 + 0.75 * share) if total > 1 else 1.0
            height = hero.stature * 1000 * unit * relative * near / (1 + 0.06 * (total - 1))
            placed.append(
                Placed(
                    subject, mention, (slots[number] * stage.width, stage.ground(share)), height, i
                )
            )
            number += 1
    del nearest
    return placed


def _on_table(
    stage: Stage, pairs: Sequence[tuple[Subject, Mention]], nearest: Setting
) -> list[Placed]:
    total = sum(m.count for _, m in pairs)
    if not total:
        return []
    unit = stage.unit
    hero = max((s for s, _ in pairs), key=lambda s: s.metres)
    shrink = 1 / (1 + 0.22 * (total - 1))
    sizes = [
        hero.stature
        * 1000
        * unit
        * shrink
        * (s.metres / hero.metres) ** 0.3
        * (1.06 if nearest.name == "studio" else 0.85)
        for s, m in pairs
        for _ in range(m.count)
    ]
    widths = [
        size * s.breadth
        for size, (s, m) in zip(
            sizes, [(s, m) for s, m in pairs for _ in range(m.count)], strict=True
        )
    ]
    gap = 26 * unit
    room = sum(widths) + gap * (total - 1)
    limit = (600 if nearest.name == "studio" else 760) * unit
    fit = min(1.0, limit / room)
    x = stage.width / 2 - room * fit / 2
    line = stage.ground(0.37 if nearest.name == "studio" else 0.56)
    placed, number = [], 0
    for subject, mention in pairs:
        for i in range(mention.count):
            wide = widths[number] * fit
            placed.append(
                Placed(
                    subject,
                    mention,
                    (x + wide / 2, line + (number % 2) * 12 * unit),
                    sizes[number] * fit,
                    i,
                )
            )
            x += wide + gap * fit
            number += 1
    return placed


def _paint(stage: Stage, item: Placed, surface: Surface) -> None:
    canvas, scale = stage.canvas, item.height / 100
    pen = _pen(stage, item)
    x, y = item.foot
    grounded = item.subject.place is not Place.SKY and surface not in {Surface.VOID, Surface.DEEP}
    if grounded and surface is Surface.WATER and item.subject.place is Place.WATER:
        _afloat(stage, item, pen)
        return
    if grounded:
        _shadow(stage, item)
    if item.subject.lamp and stage.light.lamps:
        reach = item.subject.lamp * item.height
        stage.before.append(
            Wash((x, y - item.height * 0.12), (reach, reach * 0.6), "#ffb65c", 0.42)
        )
    # In a group every other one is turned round, and all a little: nothing stands in file.
    way = -1 if item.index % 2 else 1
    with canvas.moved(x, y, scale=(way * scale, scale)):
        item.subject.draw(pen)


def _afloat(stage: Stage, item: Placed, pen: Pen) -> None:
    """Paint it once upright and once mirrored, and let the water run over the mirror image."""
    canvas, scale, unit = stage.canvas, item.height / 100, stage.unit
    x, y = item.foot
    own = stage.shade(stage.tint("sea", "#1f7f9c"))
    half = item.height * item.subject.breadth * 0.62
    canvas.soft((x, y + 4 * unit), (half * 1.1, 14 * unit), "#06101f", 0.4)
    # The mirror image is drawn in a light that sinks every colour into the water.
    sunk = replace(stage.light, haze=own, lamps=False)
    mirror = replace(pen, stage=replace(stage, light=sunk), depth=0.62)
    with canvas.moved(x, y + 2 * unit, scale=(scale, -scale * 0.66)):
        item.subject.draw(mirror)
    chance = stage.stream(f"mirror {item.index}")
    bands = []
    for i in range(30):
        t = i / 30
        centre = (x + chance.uniform(-0.7, 0.7) * half, y + (0.04 + 0.66 * t) * item.height)
        bands.append(lens(*centre, half * chance.uniform(0.5, 1.0), unit * (1.4 + 7 * t)))
    canvas.path("".join(bands), own, alpha=0.6)
    with canvas.moved(x, y, scale=(scale, scale)):
        item.subject.draw(pen)
    foam = [
        lens(
            x + chance.uniform(-0.5, 0.5) * half,
            y + chance.uniform(0, 9) * unit,
            half * chance.uniform(0.3, 0.6),
            2.2 * unit,
        )
        for _ in range(6)
    ]
    canvas.path("".join(foam), stage.shade("#ffffff", 0.1, 0.5), alpha=0.55)


def _shadow(stage: Stage, item: Placed) -> None:
    """Lay a shadow that falls away from the light and is darkest where the thing touches."""
    canvas, light = stage.canvas, stage.light
    x, y = item.foot
    half = item.height * item.subject.breadth / 2
    stretch = 0.5 + 1.2 * (1 - light.altitude)
    dark = stage.shade("#14101f", 0, -1)
    canvas.soft(
        (x - stage.side * half * stretch * 0.8, y + half * 0.05),
        (half * (1.0 + stretch * 0.75), half * 0.26),
        dark,
        0.42 * (0.4 + 0.6 * light.glow),
    )
    canvas.soft((x, y), (half * 1.05, half * 0.13 + 2 * stage.unit), dark, 0.7)


def _pen(stage: Stage, item: Placed) -> Pen:
    mention, subject = item.mention, item.subject
    chance = stage.stream(f"{subject.name} {item.index}")
    own = mention.colours or (subject.colour,)
    if item.index and not mention.colours:
        own = (_variation(subject.colour, item.index),)
    depth = 0.0 if subject.place is not Place.SKY else 0.06 * item.index
    return Pen(
        stage.canvas,
        stage,
        own,
        dict(mention.parts),
        chance,
        depth=min(depth, 0.4),
        stated=bool(mention.colours),
    )


def _variation(colour: Colour, index: int) -> Colour:
    return turn(colour, (0, 150, 40, 205, -60, 95, 260, 20, 180)[index % 9])


def _shore(stage: Stage) -> list[Point]:
    """Raise a grassy bank from the lower edge, for those who cannot stand on water."""
    chance, unit, growth = stage.stream("shore"), stage.unit, stage.growth
    line = [
        (x, stage.ground(0.62) + unit * (stage.side * 170 * (x / stage.width - 0.5) - 14 * y))
        for x, y in swell(chance, stage.width, waves=1.4)
    ]
    under = [(x, y + 9 * unit) for x, y in line]
    rock = stage.canvas.vertical(
        [(0, stage.shade("#a08c76", 0.05, 0.3)), (1, stage.shade("#4a3d3c", 0, -0.5))],
        stage.ground(0.5),
        stage.height,
    )
    foam = [(x, y - 7 * unit) for x, y in line]
    stage.canvas.path(hill_under(foam, stage.height), stage.shade("#ffffff", 0.05, 0.4), alpha=0.6)
    stage.canvas.path(hill_under(line, stage.height), rock)
    grass = stage.canvas.vertical(
        [
            (0, stage.shade(growth.grass, 0.03, 0.6)),
            (1, stage.shade(deeper(growth.grass, 0.4), 0, -0.3)),
        ],
        stage.ground(0.55),
        stage.height,
    )
    stage.canvas.path(hill_under(under, stage.height), grass)
    for low, colour, facing in (
        (0.72, growth.conifer, -0.2),
        (0.74, growth.grass, 0.9),
        (0.9, growth.conifer, -0.5),
    ):
        area = (0, stage.ground(low), stage.width, stage.height - stage.ground(low))
        stage.canvas.path(blades(chance, area, 200, 54 * unit), stage.shade(colour, 0, facing))
    return line


def _digest(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}|{name}".encode()).digest()
