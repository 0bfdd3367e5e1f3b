import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ketchup
from ketchup.providers.base import AspectRatio, ImageSize, dimensions
from ketchup.providers.studio import catalogue, cutout, placing
from ketchup.providers.studio.arrange import Placed, arrange
from ketchup.providers.studio.colour import rgb
from ketchup.providers.studio.compose import compose
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.model import Stage
from ketchup.providers.studio.prompt import Mention, parse
from ketchup.providers.studio.render import render, stage

SIDE = 256


def _job(
    prompt: str, *, seed: int = 1, side: int = SIDE, references: tuple[bytes, ...] = ()
) -> Job:
    return Job(prompt, seed, side, side, 1, "png", references)


def _picture(job: Job) -> Image.Image:
    picture = Image.open(BytesIO(render(job)))
    picture.load()
    return picture


def _document(job: Job) -> str:
    return stage(job).canvas.document()


def _count(picture: Image.Image, wanted: Callable[[int, int, int], bool]) -> int:
    data = picture.convert("RGB").tobytes()
    return sum(wanted(*data[i : i + 3]) for i in range(0, len(data), 3))


def _reddish(red: int, green: int, blue: int) -> bool:
    return red > 110 and red > green * 1.7 and red > blue * 1.7


def _bluish(red: int, green: int, blue: int) -> bool:
    return blue > 80 and blue > red * 1.5 and blue > green * 1.15


@pytest.mark.parametrize("ratio", AspectRatio)
def test_every_ratio_is_composed_and_rendered_at_its_size(ratio: AspectRatio) -> None:
    width, height = (side // 8 for side in dimensions(ratio, ImageSize.K1))
    data = render(Job("a boat at sunset", 1, width, height, 1, "png"))
    assert Image.open(BytesIO(data)).size == (width, height)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_each_format_is_what_it_says(image_format: str) -> None:
    picture = Image.open(BytesIO(render(Job("a cat", 1, 128, 128, 1, image_format))))
    assert picture.format == image_format.upper()
    assert picture.size == (128, 128)


def test_a_larger_size_is_the_same_scene_in_more_detail() -> None:
    small = _picture(Job("a red boat at sunset", 3, 256, 256, 1, "png"))
    large = _picture(Job("a red boat at sunset", 3, 512, 512, 2, "png"))
    assert large.size == (512, 512)
    pairs = zip(small.reduce(32).tobytes(), large.reduce(64).tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) < 14


def test_the_same_job_gives_the_same_bytes_in_another_process() -> None:
    source = (
        "import hashlib; from ketchup.providers.studio.job import Job;"
        "from ketchup.providers.studio.render import render;"
        "print(hashlib.sha256(render(Job('three red boats, fog, a cat', 5, 200, 120, 1, 'webp'))).hexdigest())"
    )
    package_root = str(Path(ketchup.__file__).parents[1])
    digests = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "PYTHONPATH": package_root, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(digests) == 1


def test_another_seed_or_prompt_gives_another_picture() -> None:
    pictures = {
        render(_job("mountains", seed=1, side=64)),
        render(_job("mountains", seed=2, side=64)),
        render(_job("snowy mountains", seed=1, side=64)),
    }
    assert len(pictures) == 3


def test_spaces_in_a_prompt_change_nothing() -> None:
    assert render(_job("a  red\n boat ", side=64)) == render(_job("a red boat", side=64))


@pytest.mark.parametrize("name", sorted(catalogue.settings()))
def test_every_setting_draws_well_formed_svg(name: str) -> None:
    ET.fromstring(_document(_job(catalogue.settings()[name].words[0])))  # noqa: S314 - our own output


@pytest.mark.parametrize("name", sorted(catalogue.subjects()))
def test_every_subject_is_seen_at_home(name: str) -> None:
    subject = catalogue.subjects()[name]
    home = catalogue.settings()[subject.home]
    document = _document(_job(f"{subject.words[0]} in {home.words[0]}"))
    ET.fromstring(document)  # noqa: S314 - our own output
    # The same prompt, understood without the subject: only the subject's own shapes are missing.
    scene = replace(parse(f"{subject.words[0]} in {home.words[0]}"), subjects=())
    alone = compose(scene, (), (SIDE, SIDE), "seed").canvas.document()
    with_it = compose(
        replace(scene, subjects=(Mention(name),)), (), (SIDE, SIDE), "seed"
    ).canvas.document()
    assert with_it.count("<path") > alone.count("<path") + 4


def test_settings_and_subjects_are_named_and_ordered_by_their_files() -> None:
    for package, items in (("settings", catalogue.settings()), ("subjects", catalogue.subjects())):
        folder = Path(catalogue.__file__).parent / package
        assert list(items) == sorted(p.stem for p in folder.glob("[!_]*.py"))


@pytest.mark.parametrize("weather", ["rain", "thunderstorm", "snow", "fog", "wind", "cloudy"])
def test_weather_changes_the_picture(weather: str) -> None:
    assert render(_job(f"mountains, {weather}", side=64)) != render(_job("mountains", side=64))


def test_a_thunderstorm_is_darker_than_a_sunny_day() -> None:
    storm = _picture(_job("the sea in a thunderstorm")).convert("L").resize((1, 1)).getpixel((0, 0))
    sunny = _picture(_job("the sea on a sunny day")).convert("L").resize((1, 1)).getpixel((0, 0))
    assert isinstance(storm, int)
    assert isinstance(sunny, int)
    assert storm < sunny - 30


def test_a_red_boat_is_red_and_a_blue_boat_is_blue() -> None:
    red = _picture(_job("a red boat on the sea by day"))
    blue = _picture(_job("a blue boat on the sea by day"))
    assert _count(red, _reddish) > 150
    assert _count(blue, _reddish) == 0


def test_a_colour_colours_only_its_own_noun() -> None:
    picture = _picture(_job("a red cat beside a green tree in the countryside by day"))
    leafless = _picture(_job("a red cat beside a red tree in the countryside by day"))
    assert 0 < _count(picture, _reddish) < _count(leafless, _reddish) / 3


@pytest.mark.parametrize("index", range(9))
def test_every_one_of_several_dogs_has_the_colour_of_a_dog(index: int) -> None:
    dog = catalogue.subjects()["dog"]
    one = Placed(dog, Mention("dog", 9), (0, 0), 100, index)
    red, green, blue = rgb(placing._variation(one))
    assert red > green > blue


def test_a_tree_is_green_whatever_else_has_a_colour() -> None:
    picture = _picture(_job("a tree beside a blue car, summer day, countryside"))
    crown = picture.crop((0, 0, SIDE, SIDE // 2))
    assert _count(crown, lambda r, g, b: g > r and g > b and g > 60) > 800


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=300))
def test_any_text_draws_well_formed_svg(prompt: str) -> None:
    ET.fromstring(_document(_job(prompt, side=64)))  # noqa: S314 - our own output


@pytest.mark.parametrize(
    "prompt",
    [
        '"/><script>alert(1)</script>',
        "<image href='file:///etc/passwd'/>",
        "]]>&xxe;",
        "\udc80",
        "\x00",
    ],
)
def test_nothing_of_a_prompt_reaches_the_svg(prompt: str) -> None:
    document = _document(_job(f"a cat {prompt}"))
    assert prompt not in document
    assert "script" not in document
    assert 'href="file' not in document
    ET.fromstring(document)  # noqa: S314 - our own output


def test_a_prompt_of_twenty_thousand_characters_is_drawn() -> None:
    prompt = ("nine red boats, nine cats, nine houses and nine trees; " * 400)[:20_000]
    assert _picture(_job(prompt)).size == (SIDE, SIDE)


def test_every_layer_draws_inside_a_bounded_document() -> None:
    crowd = ", ".join(f"nine {subject.words[0]}s" for subject in catalogue.subjects().values())
    assert len(_document(_job(crowd))) < 8_000_000


def _stage(prompt: str) -> Stage:
    return stage(_job(prompt))


def test_night_has_stars_and_lit_windows_and_day_has_not() -> None:
    assert _stage("a house at night").light.lamps
    assert _stage("a house at night").light.stars
    assert not _stage("a house at noon").light.lamps


def test_a_snowman_brings_its_snow_unless_a_season_was_named() -> None:
    assert _stage("a snowman").growth.snow
    assert not _stage("a snowman in summer").growth.snow


@pytest.mark.parametrize("prompt", ["two elephants", "a wooden sign and three penguins"])
def test_things_that_stand_together_do_not_reach_beyond_the_picture(prompt: str) -> None:
    for seed in range(5):
        scene = stage(_job(prompt, seed=seed))
        placed = arrange(scene, parse(prompt).subjects, catalogue.settings()["desert"])

        for one in placed:
            half = one.height * one.subject.breadth / 2
            assert half < one.foot[0] < SIDE - half


@pytest.mark.parametrize("place", ["countryside", "desert", "mountains"])
@pytest.mark.parametrize("things", list(permutations(["cat", "house", "castle"])))
def test_a_cat_is_lower_than_a_house_and_a_house_than_a_castle(
    things: tuple[str, ...], place: str
) -> None:
    prompt = "a {}, a {} and a {}".format(*things)
    for seed in range(5):
        scene = stage(_job(prompt, seed=seed))
        placed = arrange(scene, parse(prompt).subjects, catalogue.settings()[place])
        height = {one.subject.name: one.height for one in placed}

        assert 1.3 * height["cat"] < height["house"] < height["castle"]


@pytest.mark.parametrize("prompt", ["a teal bottle on a plain white background", "a cup, isolated"])
def test_a_thing_on_a_plain_background_can_be_cut_out_of_it(prompt: str) -> None:
    reference = cutout.read(render(_job(prompt)))

    assert reference.free
    assert reference.image.width < SIDE * 0.7
