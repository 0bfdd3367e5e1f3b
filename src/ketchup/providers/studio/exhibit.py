"""Places references in a scene: in a basket, in a row on the ground or table, or as a print.

A photograph that could not be cut out is shown as one: alone and without a place to be, it fills
the picture, is edited as the prompt asks (`retouch`), and things may be added to it; otherwise it
stands there as a framed print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageChops

from ketchup.providers.studio import catalogue
from ketchup.providers.studio.arrange import arrange
from ketchup.providers.studio.colour import mix, rgb
from ketchup.providers.studio.cutout import Reference
from ketchup.providers.studio.model import Pen, Place, Setting, Stage, Surface, Wash
from ketchup.providers.studio.placing import paint_placed
from ketchup.providers.studio.prompt import Arrangement, Scene
from ketchup.providers.studio.restyle import restyled
from ketchup.providers.studio.retouch import (
    FRAME,
    framed,
    read_horizon,
    read_light,
    retouched,
    shaped,
    tone_at,
)
from ketchup.providers.studio.subjects import basket
from ketchup.providers.studio.svg import num
from ketchup.providers.studio.wishes import Edit, Style

_BRIGHT = 0.1
"""Darkness below which a reference keeps its own colours."""


def fills_picture(scene: Scene, references: Sequence[Reference]) -> bool:
    """Say whether the only reference is a photograph to be shown from edge to edge.

    It is where no place is named for it to stand in, or where something is to be added to it.
    """
    alone = len(references) == 1 and not references[0].free
    if not alone or scene.arrangement is Arrangement.BASKET:
        return False
    return Edit.ADD in scene.edits or not scene.settings


def edits(scene: Scene) -> bool:
    """Say whether the prompt speaks of the reference as a picture, and not as a thing to place."""
    return bool(scene.edits or scene.loose or scene.lettering or scene.style is not Style.PLAIN)


def fill(stage: Stage, scene: Scene, reference: Reference) -> None:
    """Cover the picture with a photograph, edited and cropped to fit, in the stage's light."""
    width, height = stage.width, stage.height
    colour = None if scene.lettering else next(iter(scene.loose), None)
    photograph = restyled(retouched(reference.image, scene.edits, colour), scene.style)
    if Edit.FRAME in scene.edits:
        stage.plate = framed(photograph, width / height)
    else:
        stage.plate = shaped(photograph, width / height)
    light = stage.light
    if scene.time is None and scene.weather is None:
        return
    if light.darkness > _BRIGHT:
        stage.canvas.rect((0, 0, width, height), light.ambient, alpha=light.darkness * 0.85)
        stage.before.append(Wash(stage.sun, (width * 0.8, width * 0.8), light.sky[-1], 0.5))
    if light.murk:
        stage.canvas.rect((0, 0, width, height), light.haze, alpha=0.3 * light.murk)


def add(stage: Stage, scene: Scene, nearest: Setting) -> None:
    """Stand subjects on the photograph's ground, in its light unless another is asked for."""
    if stage.plate is None:
        return
    stage.horizon = read_horizon(stage.plate) * stage.height
    if scene.time is None:
        stage.light, side = read_light(stage.plate)
        stage.sun = (stage.width * (0.5 + 0.2 * side), stage.horizon * 0.4)
    stage.tints.setdefault("sea", tone_at(stage.plate, 0.4, 0.75))
    afloat = all(catalogue.subjects()[m.name].place is Place.WATER for m in scene.subjects)
    surface = Surface.WATER if afloat else Surface.LAND
    ground = replace(nearest, surface=surface)
    paint_placed(stage, arrange(stage, scene.subjects, ground), ground)


def paint_frame(stage: Stage) -> None:
    """Paint the four bars of a wooden frame, mitred, lit from above."""
    canvas, width, height = stage.canvas, stage.width, stage.height
    bar = FRAME * min(width, height)
    wood = stage.tint(Edit.FRAME, "#7a5238")
    inner = (bar, bar, width - bar, height - bar)
    shades = (
        mix(wood, "#ffffff", 0.22),
        mix(wood, "#000000", 0.3),
        wood,
        mix(wood, "#000000", 0.16),
    )
    top = f"M0 0H{num(width)}L{num(inner[2])} {num(bar)}H{num(bar)}Z"
    bottom = f"M0 {num(height)}H{num(width)}L{num(inner[2])} {num(inner[3])}H{num(bar)}Z"
    left = f"M0 0L{num(bar)} {num(bar)}V{num(inner[3])}L0 {num(height)}Z"
    right = (
        f"M{num(width)} 0L{num(inner[2])} {num(bar)}V{num(inner[3])}L{num(width)} {num(height)}Z"
    )
    for shape, shade in zip((top, bottom, left, right), shades, strict=True):
        canvas.path(shape, shade)
    for share, colour, alpha in (
        (0.3, "#ffffff", 0.22),
        (0.42, "#000000", 0.28),
        (0.86, "#ffffff", 0.3),
    ):
        edge = bar * share
        canvas.line(
            f"M{num(edge)} {num(edge)}H{num(width - edge)}V{num(height - edge)}H{num(edge)}Z",
            colour, bar * 0.05, alpha=alpha,
        )  # fmt: skip
    canvas.line(
        f"M{num(bar)} {num(inner[3])}V{num(bar)}H{num(inner[2])}", "#000000", bar * 0.16, alpha=0.3
    )


def place(stage: Stage, scene: Scene, references: Sequence[Reference], nearest: Setting) -> None:
    """Stand the references in the scene."""
    if scene.arrangement is Arrangement.BASKET:
        _in_basket(stage, scene, references, nearest)
    else:
        _in_row(stage, references, nearest)


def _in_basket(
    stage: Stage, scene: Scene, references: Sequence[Reference], nearest: Setting
) -> None:
    """Paint the basket's back, the references standing in it, then its front."""
    unit = stage.unit
    on_table = nearest.surface is Surface.TABLE
    if nearest.surface is Surface.WATER:
        _boards(stage)
    x, y = stage.width / 2, stage.ground(nearest.stand + 0.03 if on_table else 0.8)
    scale = 6.0 * unit
    colours = next((m.colours for m in scene.subjects if m.name == "basket"), ())
    pen = Pen(stage.canvas, stage, colours or (basket.SUBJECT.colour,), {}, stage.stream("basket"))
    ground_shadow(stage, (x, y), 88 * scale)
    with stage.canvas.moved(x, y, scale=(scale, scale)):
        basket.back(pen)
    count = len(references)
    step = 74 * scale / max(count, 2)
    for i, reference in enumerate(references):
        offset = i - (count - 1) / 2
        tall = min(
            86 * scale,
            1.25 * step / reference.breadth if count > 1 else 56 * scale / reference.breadth,
        )
        foot = (
            x + offset * step,
            y - (46 * scale - min(tall * 0.42, 30 * scale)) + (i % 2) * 3 * scale,
        )
        _upright(stage, reference, (foot, tall), offset * 6)
    with stage.canvas.moved(x, y, scale=(scale, scale)):
        basket.front(pen)


def _in_row(stage: Stage, references: Sequence[Reference], nearest: Setting) -> None:
    """Stand them side by side on one line, at sizes that make a row and not a heap."""
    unit, count = stage.unit, len(references)
    if nearest.surface in {Surface.WATER, Surface.LAND}:
        _boards(stage)
    line = stage.ground(nearest.stand + 0.03 if nearest.surface is Surface.TABLE else 0.66)
    # About equal areas, not equal heights: a bottle beside a bar of soap stays the taller thing.
    area = unit * (440, 400, 350, 310)[min(count, 4) - 1]
    sizes = [min(area / reference.breadth**0.68, unit * 600) for reference in references]
    gap = 34 * unit
    room = sum(size * r.breadth for size, r in zip(sizes, references, strict=True)) + gap * (
        count - 1
    )
    fit = min(1.0, stage.width * 0.8 / room)
    x = stage.width / 2 - room * fit / 2
    for size, reference in zip(sizes, references, strict=True):
        height = size * fit
        wide = height * reference.breadth
        foot = (x + wide / 2, line)
        ground_shadow(stage, foot, wide)
        if reference.free:
            _upright(stage, reference, (foot, height), 0)
        else:
            _print(stage, reference, (foot, height))
        x += wide + gap * fit


def _boards(stage: Stage) -> None:
    """Lay planks into the foreground: small things stand close to the viewer, and need a place."""
    unit, canvas = stage.unit, stage.canvas
    top, middle = stage.ground(0.46), stage.width / 2
    reach, near = stage.width * 0.42, stage.width * 0.68
    wood = "#a97c55"
    deck = (
        f"M{num(middle - reach)} {num(top)}H{num(middle + reach)}L{num(middle + near)}"
        f" {num(stage.height)}H{num(middle - near)}Z"
    )
    canvas.rect((middle - reach, top, 2 * reach, 16 * unit), stage.shade("#4a3226", 0, -0.6))
    canvas.path(
        deck,
        canvas.vertical(
            [(0, stage.shade(wood, 0.08, 0.7)), (1, stage.shade("#7a5238", 0, -0.2))],
            top,
            stage.height,
        ),
    )
    for share in (-0.96, 0.96):
        post = (middle + share * reach - 16 * unit, top - 70 * unit, 32 * unit, 92 * unit)
        canvas.rect(
            post,
            canvas.linear(
                [(0, stage.shade("#8a6446", 0, 0.4)), (1, stage.shade("#4a3226", 0, -0.5))],
                (0, 0),
                (1, 0),
            ),
            radius=6 * unit,
        )
        canvas.ellipse(
            (post[0] + 16 * unit, post[1]), (16 * unit, 5 * unit), stage.shade("#b98d66", 0, 0.6)
        )
    seams, y, step = [], top + 14 * unit, 16 * unit
    while y < stage.height:
        half = reach + (near - reach) * (y - top) / (stage.height - top)
        seams.append(f"M{num(middle - half)} {num(y)}H{num(middle + half)}")
        step *= 1.22
        y += step
    canvas.line("".join(seams), stage.shade("#4a3226", 0, -0.5), 2.4 * unit, alpha=0.8)


def ground_shadow(stage: Stage, foot: tuple[float, float], wide: float) -> None:
    """Lay a contact shadow and a longer one that falls away from the light."""
    x, y = foot
    dark = stage.shade("#191322", 0, -1)
    stage.canvas.soft(
        (x - stage.side * wide * 0.28, y + 4 * stage.unit), (wide * 0.85, wide * 0.13), dark, 0.4
    )
    stage.canvas.soft((x, y), (wide * 0.56, wide * 0.05 + 3 * stage.unit), dark, 0.75)


def _upright(
    stage: Stage, reference: Reference, where: tuple[tuple[float, float], float], turn: float
) -> None:
    """Stand a cut-out thing on its foot and let the scene's light fall on it."""
    (x, y), tall = where
    wide = tall * reference.breadth
    with stage.canvas.moved(x, y, turn=turn):
        stage.canvas.image((-wide / 2, -tall, wide, tall), _in_light(stage, reference).png_base64())


def _in_light(stage: Stage, reference: Reference) -> Reference:
    """Tint a thing a little towards the scene's shadow and light, so that it belongs there."""
    light = stage.light
    if light.darkness < _BRIGHT:
        return reference
    tone = mix("#ffffff", mix(light.ambient, light.sky[-1], 0.55), min(0.6, light.darkness * 0.8))
    tinted = ImageChops.multiply(
        reference.image.convert("RGB"), Image.new("RGB", reference.image.size, rgb(tone))
    )
    tinted.putalpha(reference.image.getchannel("A"))
    return Reference(tinted, free=reference.free)


def _print(stage: Stage, reference: Reference, where: tuple[tuple[float, float], float]) -> None:
    """Show a photograph as a print in a wooden frame with a mat."""
    (x, y), tall = where
    canvas, unit, side = stage.canvas, stage.unit, stage.side
    wide = tall * reference.breadth
    frame, mat = 15 * unit, 30 * unit
    wood = stage.shade("#5b4032", 0, 0.1)
    with canvas.moved(x, y, turn=-side * 1.2):
        canvas.rect(
            (-wide / 2 - frame + side * -7 * unit, -tall + 5 * unit, wide + 2 * frame, tall),
            stage.shade("#191322", 0, -1),
            alpha=0.35,
            radius=3 * unit,
        )
        canvas.rect(
            (-wide / 2, -tall, wide, tall),
            canvas.linear([(0, stage.shade("#8b664e", 0, 0.6)), (1, wood)], (0, 0), (1, 1)),
            radius=3 * unit,
        )
        inner = (-wide / 2 + frame, -tall + frame, wide - 2 * frame, tall - 2 * frame)
        canvas.rect(inner, stage.shade("#f7f2e8", 0, 0.3))
        px, py, pw, ph = inner[0] + mat, inner[1] + mat, inner[2] - 2 * mat, inner[3] - 2 * mat
        canvas.rect(
            (px - 2 * unit, py - 2 * unit, pw + 4 * unit, ph + 4 * unit),
            stage.shade("#cfc6b6", 0, -0.2),
        )
        canvas.image((px, py, pw, ph), _in_light(stage, reference).png_base64())
        shine = (
            f"M{num(px)} {num(py)}h{num(pw * 0.55)}L{num(px + pw * 0.2)} {num(py + ph)}H{num(px)}Z"
        )
        canvas.path(shine, "#ffffff", alpha=0.07)
