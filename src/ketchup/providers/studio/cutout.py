"""Reads reference images and frees things from a plain background.

A product shot has one colour all along its border: that colour is removed from the outside inwards.
A picture that is already transparent is taken as it is. Anything else is a photograph and stays
whole. The input was validated before it came here; it is opened as PNG, JPEG or WebP and as nothing
else.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageFilter, ImageOps, ImageStat

from ketchup.providers.studio.colour import Colour, chroma, from_rgb

_LONG_SIDE: Final = 512
_PHOTOGRAPH_SIDE: Final = 1600
_MAP_SIDE: Final = 124
_BORDER_SPREAD: Final = 26
_BORDER_SHARE: Final = 0.88
_OUTSIDE: Final = 1
_SHADOW_SHARE: Final = 0.12
_SHADE: Final = (22, 18, 30)
_SMALLEST_EYE: Final = 60
_SMALLEST_SHARE: Final = 0.02

_Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference image, ready to be placed."""

    image: Image.Image
    """RGBA, cropped to what is visible."""
    free: bool
    """Whether it was cut out; False is a whole photograph."""

    @property
    def breadth(self) -> float:
        """Its width as a share of its height."""
        return self.image.width / self.image.height

    def png_base64(self) -> str:
        """Return it as a PNG in base64, for the canvas."""
        out = io.BytesIO()
        small = self.image.copy()
        small.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.BICUBIC)
        small.save(out, "PNG", compress_level=1)
        return base64.b64encode(out.getvalue()).decode()

    def colours(self) -> tuple[Colour, ...]:
        """Return its two most colourful large tones."""
        small = self.image.copy()
        small.thumbnail((64, 64))
        flat = Image.new("RGB", small.size, (128, 128, 128))
        flat.paste(small, mask=small.getchannel("A"))
        table = flat.quantize(6, Image.Quantize.MEDIANCUT).getpalette() or []
        tones = [from_rgb(*table[i : i + 3]) for i in range(0, min(18, len(table) - 2), 3)]
        return tuple(sorted(tones, key=chroma, reverse=True)[:2])


def read(data: bytes) -> Reference:
    """Decode one reference, shrink it to a useful size and cut it out where that is possible."""
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    image.thumbnail((_PHOTOGRAPH_SIDE, _PHOTOGRAPH_SIDE), Image.Resampling.BICUBIC)
    whole = image.copy()
    image.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.BICUBIC)
    if _transparent(image):
        return _cropped(image, free=True)
    background = _plain_border(image.convert("RGB"))
    if background is None:
        return Reference(whole, free=False)
    matte = _matte(image.convert("RGB"), background)
    if ImageStat.Stat(matte).mean[0] < 255 * _SMALLEST_SHARE:
        return Reference(whole, free=False)
    image.putalpha(matte)
    _free_shadow(image, background)
    return _cropped(image, free=True)


def _transparent(image: Image.Image) -> bool:
    """Say whether a visible part of it can be seen through, and not just a stray pixel."""
    return ImageStat.Stat(image.getchannel("A")).mean[0] < 255 * 0.985


def _cropped(image: Image.Image, *, free: bool) -> Reference:
    visible = image.getchannel("A").point([0] * 24 + [255] * 232)
    return Reference(image.crop(visible.getbbox() or (0, 0, *image.size)), free=free)


def _plain_border(image: Image.Image) -> _Rgb | None:
    """Return the colour of the border, or None when the border has more than one."""
    width, height = image.size
    across = range(0, width, max(1, width // 40))
    along = range(0, height, max(1, height // 40))
    spots = [(x, y) for x in across for y in (0, height - 1)]
    spots += [(x, y) for y in along for x in (0, width - 1)]
    colours = [_pixel(image, spot) for spot in spots]
    red, green, blue = (sorted(channel)[len(spots) // 2] for channel in zip(*colours, strict=True))
    middle = (red, green, blue)
    near = sum(_distance(colour, middle) < _BORDER_SPREAD for colour in colours)
    return middle if near >= _BORDER_SHARE * len(colours) else None


def _pixel(image: Image.Image, spot: tuple[int, int]) -> _Rgb:
    value = image.getpixel(spot)
    if not isinstance(value, tuple):
        raise TypeError("The image is RGB, so a pixel has three channels.")
    return int(value[0]), int(value[1]), int(value[2])


def _distance(first: Sequence[int], second: Sequence[int]) -> int:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _difference(image: Image.Image, background: _Rgb) -> Image.Image:
    """Return how far each pixel is from the background, by its farthest channel."""
    apart = ImageChops.difference(image, Image.new("RGB", image.size, background))
    red, green, blue = apart.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _matte(image: Image.Image, background: _Rgb) -> Image.Image:
    """Return the opacity: 255 inside the thing, 0 outside, and in between along its edge."""
    outside = _outside(image, background)
    apart = _difference(image, background)
    # Only what touches the outside may become transparent: white inside a label stays white.
    soft = apart.point([min(255, max(0, (value - 9) * 11)) for value in range(256)])
    opaque = ImageChops.lighter(soft, ImageChops.invert(outside))
    return opaque.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.7))


def _free_shadow(image: Image.Image, background: _Rgb) -> None:
    """Turn the shadow under a thing into shade: dark and see-through, without the old background.

    A shadow darkens all channels alike, and lies along the foot of the thing.
    """
    matte = image.getchannel("A")
    box = matte.point([0] * 24 + [255] * 232).getbbox()
    if box is None:
        return
    apart = ImageChops.difference(image.convert("RGB"), Image.new("RGB", image.size, background))
    red, green, blue = apart.split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    least = ImageChops.darker(ImageChops.darker(red, green), blue)
    grey = ImageChops.subtract(most, least).point([255] * 14 + [0] * 242)
    faint = most.point([255] * 96 + [0] * 160)
    foot = Image.new("L", image.size, 0)
    top = round(box[3] - (box[3] - box[1]) * _SHADOW_SHARE)
    foot.paste(255, (box[0], top, box[2], box[3]))
    shadow = ImageChops.darker(ImageChops.darker(grey, faint), foot)
    image.paste(_SHADE, (0, 0), shadow)
    image.putalpha(
        Image.composite(most.point([min(255, 2 * v) for v in range(256)]), matte, shadow)
    )


def _outside(image: Image.Image, background: _Rgb) -> Image.Image:
    """Return a mask of the background's region, found on a small copy.

    Pillow fills areas in Python, which takes half a second at full size. On the small copy the
    thing's outline is first closed, so that a highlight at the edge of a cap opens no way inside.
    """
    scale = max(image.size) / _MAP_SIDE
    size = (max(4, round(image.width / scale)), max(4, round(image.height / scale)))
    small = image.resize(size, Image.Resampling.BOX)
    thing = _difference(small, background).point([0] * 14 + [255] * 242)
    framed = ImageOps.expand(thing, border=4, fill=0)
    closed = framed.filter(ImageFilter.MaxFilter(7)).filter(ImageFilter.MinFilter(7))
    closed = _filled(closed, (0, 0), _OUTSIDE)
    outside = closed.point([255 if value == _OUTSIDE else 0 for value in range(256)])
    outside = ImageChops.lighter(outside, _eyes(closed, framed))
    inner = outside.crop((4, 4, 4 + size[0], 4 + size[1])).filter(ImageFilter.MaxFilter(3))
    return inner.resize(image.size, Image.Resampling.NEAREST)


def _filled(image: Image.Image, spot: tuple[int, int], value: int) -> Image.Image:
    """Return a grey image with the area of one value around a spot set to another.

    Pillow's own floodfill compares colours pixel by pixel, and took a tenth of a whole picture.
    """
    width, pixels = image.width, image.tobytes()
    wanted = pixels[spot[1] * width + spot[0]]
    # 1 where the area may still grow; whole runs are found and taken at once.
    free = bytearray(pixels.translate(bytes(v == wanted for v in range(256))))
    taken = bytearray(len(pixels))
    waiting = [spot[1] * width + spot[0]]
    while waiting:
        here = waiting.pop()
        if not free[here]:
            continue
        row = here - here % width
        left = free.rfind(0, row, here) + 1 or row
        right = free.find(0, here, row + width)
        right = row + width if right < 0 else right
        free[left:right] = bytes(right - left)
        taken[left:right] = b"\xff" * (right - left)
        for above_or_below in (-width, width):
            start, stop = left + above_or_below, right + above_or_below
            if start >= 0 and stop <= len(free):
                waiting += _runs(free, start, stop)
    filled = image.copy()
    filled.paste(value, (0, 0), Image.frombytes("L", image.size, bytes(taken)))
    return filled


def _runs(free: bytearray, start: int, stop: int) -> Iterator[int]:
    """Yield where each run of free pixels begins."""
    while (begin := free.find(1, start, stop)) >= 0:
        yield begin
        start = free.find(0, begin, stop)
        if start < 0:
            return


def _eyes(closed: Image.Image, thing: Image.Image) -> Image.Image:
    """Return the holes one can see through, such as the eye of a handle.

    A closed-in patch of the background's colour is a hole when it lies beside the thing's middle.
    On the middle it is a label or a highlight: symmetrical things wear those, and not holes.
    """
    holes = Image.new("L", closed.size, 0)
    box = thing.getbbox()
    if box is None:
        return holes
    middle = (box[0] + box[2]) / 2
    rest = closed
    for x in range(box[0], box[2], 4):
        for y in range(box[1], box[3], 4):
            if rest.getpixel((x, y)) != 0:
                continue
            before, rest = rest, _filled(rest, (x, y), 128)
            patch = ImageChops.difference(rest, before).point([0] + [255] * 255)
            left, top, right, bottom = patch.getbbox() or (0, 0, 0, 0)
            large = (right - left) * (bottom - top) > _SMALLEST_EYE
            if large and not left <= middle <= right:
                holes = ImageChops.lighter(holes, patch)
    return holes
