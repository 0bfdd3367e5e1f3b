"""Puts a scene together: chooses what the prompt leaves open, and says where everything stands.

Back to front: sky, what each setting adds to the horizon, the ground of the nearest setting, the
subjects or references, what stands before them, the weather.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

from ketchup.providers.studio import catalogue, exhibit
from ketchup.providers.studio.arrange import arrange
from ketchup.providers.studio.caption import paint_title
from ketchup.providers.studio.cutout import Reference
from ketchup.providers.studio.finish import WALL, finish, hang, lit_for
from ketchup.providers.studio.light import GROWTHS, Season, Time, Weather, light_of
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.placing import paint_placed
from ketchup.providers.studio.prompt import Arrangement, Mention, Scene
from ketchup.providers.studio.sky import paint_sky
from ketchup.providers.studio.styles import canvas_for
from ketchup.providers.studio.weather import paint_lightning, paint_weather
from ketchup.providers.studio.wishes import Edit, Style

_DIM = 0.4
_OPEN_AIR = ("mountains", "sea", "countryside", "forest", "city", "garden")


def compose(
    scene: Scene, references: Sequence[Reference], size: tuple[float, float], seed: str
) -> Stage:
    """Paint the whole scene and return the stage it stands on."""
    scene = _around(scene, references) if references else lit_for(scene)
    order = choose_settings(scene, random.Random(_digest(seed, "place")))
    nearest = order[-1]
    scene = _boarded(scene, nearest, references)
    stage = set_stage(scene, nearest, size, seed)
    stage.crowd = _crowd(scene, references)
    if exhibit.fills_picture(scene, references):
        _paint_photograph(stage, scene, references[0], nearest)
    else:
        _paint_scene(stage, scene, references, order)
    if nearest.sky or not scene.settings:
        paint_weather(stage)
    finish(stage)
    return stage


def _paint_photograph(stage: Stage, scene: Scene, reference: Reference, nearest: Setting) -> None:
    exhibit.fill(stage, scene, reference)
    if Edit.ADD in scene.edits and scene.subjects:
        exhibit.add(stage, scene, nearest)
    if stage.lettering:
        paint_title(stage)
    if Edit.FRAME in scene.edits:
        exhibit.paint_frame(stage)


def _paint_scene(
    stage: Stage, scene: Scene, references: Sequence[Reference], order: Sequence[Setting]
) -> None:
    nearest = order[-1]
    if stage.style is Style.NEON and nearest.name == WALL:
        nearest = hang(stage, nearest, _stature(scene))
    else:
        _paint_place(stage, order)
    stage.canvas.main = True
    if references:
        exhibit.place(stage, scene, references, nearest)
    else:
        paint_placed(stage, arrange(stage, scene.subjects, nearest), nearest)
    stage.canvas.main = False
    if nearest.front:
        nearest.front(stage)
    if stage.lettering and not _carried(scene):
        stage.canvas.main = True
        paint_title(stage, alone=nearest.name == WALL and not (scene.subjects or references))
        stage.canvas.main = False


def _stature(scene: Scene) -> float:
    known = catalogue.subjects()
    return max((known[mention.name].stature for mention in scene.subjects), default=1.0)


def _boarded(scene: Scene, nearest: Setting, references: Sequence[Reference]) -> Scene:
    """Bring a chalkboard for words that are quoted indoors: there is no sky to letter."""
    indoors = nearest.surface is Surface.TABLE and not references
    if not (indoors and scene.lettering) or _carried(scene):
        return scene
    return replace(scene, subjects=(*scene.subjects, Mention("board")))


def _carried(scene: Scene) -> bool:
    """Say whether something in the scene has the words written on it."""
    known = catalogue.subjects()
    return any(known[mention.name].lettered for mention in scene.subjects)


def _crowd(scene: Scene, references: Sequence[Reference]) -> int:
    if scene.arrangement is Arrangement.BASKET and references:
        return 1
    return len(references) or sum(mention.count for mention in scene.subjects)


def _around(scene: Scene, references: Sequence[Reference]) -> Scene:
    """Choose a place and colours for references when the prompt names none."""
    if exhibit.fills_picture(scene, references) and exhibit.edits(scene):
        return replace(scene, settings=())
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
    if not chosen[-1].sky:
        return chosen[-1:]
    return [setting for setting in chosen if setting.sky]


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
    time = nearest.time or scene.time or _time(weather, chance)
    light = light_of(time, weather)
    if season is Season.WINTER and light.darkness > _DIM:
        # Snow throws back what little light there is.
        light = replace(light, darkness=light.darkness - 0.14)
    width, height = size
    horizon = nearest.horizon * height
    side = chance.choice((-1, 1))
    sun = (width * (0.5 + side * chance.uniform(0.14, 0.24)), horizon * (1 - light.altitude))
    return Stage(
        canvas=canvas_for(scene.style, width, height),
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
        time=time,
        lettering=scene.lettering,
        ink=next(iter(scene.loose), None) if scene.lettering else None,
        style=scene.style,
    )


def _time(weather: Weather, chance: random.Random) -> Time:
    """Choose the time of day that suits the weather."""
    if weather is Weather.SNOW:
        return chance.choice((Time.DAY, Time.DUSK))
    if weather is Weather.FOG:
        return chance.choice((Time.DAWN, Time.DAY))
    if weather in {Weather.RAIN, Weather.STORM}:
        return Time.DAY
    return chance.choice((Time.DAY, Time.GOLDEN, Time.DAWN, Time.DAY))


def _digest(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}|{name}".encode()).digest()
