from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, UnidentifiedImageError

from ketchup.providers.studio import cutout
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.render import render

TEAL = (16, 140, 145)


def _bytes(image: Image.Image, image_format: str = "PNG") -> bytes:
    out = BytesIO()
    image.save(out, image_format)
    return out.getvalue()


def _product(background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """A teal bottle with a label and a cap that both have the colour of the background."""
    image = Image.new("RGB", (400, 600), background)
    draw = ImageDraw.Draw(image)
    draw.rectangle((120, 180, 280, 560), fill=TEAL)
    draw.rectangle((121, 300, 279, 420), fill=background)
    draw.rectangle((165, 60, 235, 180), fill=(190, 150, 80))
    return image


def _mug() -> Image.Image:
    image = Image.new("RGB", (500, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 80, 320, 340), fill=(200, 60, 50))
    draw.ellipse((270, 120, 440, 300), outline=(200, 60, 50), width=30)
    return image


def _photograph() -> Image.Image:
    down = Image.linear_gradient("L")
    across = down.transpose(Image.Transpose.TRANSPOSE).resize((300, 200))
    image = down.resize((300, 200))
    return Image.merge("RGB", (image, across, image.transpose(Image.Transpose.ROTATE_180)))


def _alpha(reference: cutout.Reference, x: float, y: float) -> int:
    spot = (int(x * (reference.image.width - 1)), int(y * (reference.image.height - 1)))
    value = reference.image.getchannel("A").getpixel(spot)
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize(
    "background", [(255, 255, 255), (230, 232, 236), (20, 22, 30), (120, 190, 90)]
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_a_plain_background_is_cut_away(
    background: tuple[int, int, int], image_format: str
) -> None:
    reference = cutout.read(_bytes(_product(background), image_format))
    assert reference.free
    assert _alpha(reference, 0.02, 0.02) < 20
    assert _alpha(reference, 0.5, 0.9) > 240
    assert reference.breadth == pytest.approx(160 / 500, abs=0.03)


def test_a_label_of_the_backgrounds_colour_stays() -> None:
    reference = cutout.read(_bytes(_product()))
    assert _alpha(reference, 0.5, (360 - 60) / 500) > 240


def test_a_highlight_that_reaches_the_edge_opens_no_way_inside() -> None:
    image = _product()
    ImageDraw.Draw(image).rectangle((110, 470, 290, 484), fill="white")
    reference = cutout.read(_bytes(image))
    assert _alpha(reference, 0.5, (477 - 60) / 500) > 240


def test_the_shadow_under_a_thing_becomes_shade_without_the_old_background() -> None:
    image = _product()
    shade = Image.new("RGB", image.size, "white")
    ImageDraw.Draw(shade).ellipse((90, 546, 310, 584), fill=(205, 205, 205))
    thing = image.crop((120, 60, 281, 561))
    shade.paste(thing, (120, 60))
    reference = cutout.read(_bytes(shade))
    x, y = reference.image.width // 2, reference.image.height - 8
    pixel = reference.image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    assert max(pixel[:3]) < 60
    assert 40 < pixel[3] < 200


def test_one_can_see_through_the_eye_of_a_handle() -> None:
    reference = cutout.read(_bytes(_mug()))
    assert reference.free
    assert _alpha(reference, (370 - 80) / 360, 0.5) < 30


def test_a_transparent_picture_is_taken_as_it_is() -> None:
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((100, 100, 200, 220), fill=(*TEAL, 255))
    reference = cutout.read(_bytes(image))
    assert reference.free
    assert reference.image.size == (101, 121)


def test_a_photograph_stays_whole() -> None:
    reference = cutout.read(_bytes(_photograph(), "JPEG"))
    assert not reference.free
    assert reference.image.size == (300, 200)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2)])
def test_odd_shapes_are_read(size: tuple[int, int]) -> None:
    data = _bytes(Image.new("RGB", size, TEAL))
    assert cutout.read(data).image.width >= 1
    assert render(Job("side by side", 1, 96, 96, 1, "png", (data, data)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_png_is_read(mode: str) -> None:
    image = (
        Image.new("L", (40, 30), 90).convert("I").convert(mode)
        if mode == "I;16"
        else Image.new("L", (40, 30), 90).convert(mode)
    )
    assert cutout.read(_bytes(image)).image.mode == "RGBA"


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_not_opened(image_format: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        cutout.read(_bytes(Image.new("RGB", (8, 8)), image_format))


@pytest.mark.parametrize(
    "prompt", ["", "put them in a basket", "side by side at the sea", "in a forest at night"]
)
def test_the_references_own_colour_appears_in_the_picture(prompt: str) -> None:
    data = render(Job(prompt, 1, 256, 256, 1, "png", (_bytes(_product()),) * 2))
    pixels = Image.open(BytesIO(data)).convert("RGB").tobytes()
    teal = sum(
        g > r * 1.6 and b > r * 1.6 and g > 40 and abs(g - b) < 45
        for r, g, b in zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True)
    )
    assert teal > 900


def test_a_photograph_alone_fills_the_picture() -> None:
    data = render(Job("make it sunny", 1, 240, 160, 1, "png", (_bytes(_photograph()),)))
    picture = Image.open(BytesIO(data)).convert("RGB")
    left, right = picture.getpixel((12, 80)), picture.getpixel((228, 80))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    # The photograph's second channel runs from side to side, and so does the picture's.
    assert abs(left[1] - right[1]) > 120


def test_a_basket_holds_what_it_is_given() -> None:
    empty = render(Job("a basket", 1, 256, 256, 1, "png"))
    full = render(
        Job("put them in a basket", 1, 256, 256, 1, "png", (_bytes(_product()), _bytes(_mug())))
    )
    pixels = Image.open(BytesIO(full)).convert("RGB").tobytes()
    wicker = sum(
        r > g > b and 90 < r < 225 and r - b > 40 and r - g < 75
        for r, g, b in zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True)
    )
    assert wicker > 1500
    assert full != empty


@given(st.data())
def test_an_area_is_filled_as_pillow_fills_it(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    pixels = data.draw(st.lists(st.sampled_from([0, 255]), min_size=144, max_size=144))
    image = Image.frombytes("L", (width, height), bytes(pixels[: width * height]))
    spot = (data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1)))
    expected = image.copy()
    ImageDraw.floodfill(expected, spot, 128)

    assert cutout._filled(image, spot, 128).tobytes() == expected.tobytes()
