import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageStat

from ketchup.providers.studio import catalogue
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.light import Season, Time, Weather
from ketchup.providers.studio.prompt import parse
from ketchup.providers.studio.render import render, stage
from ketchup.providers.studio.wishes import Edit, Style

SIDE = 160


def _picture(prompt: str, *references: bytes) -> Image.Image:
    data = render(Job(prompt, 1, SIDE, SIDE, 1, "png", references))
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture.convert("RGB")


def _share(picture: Image.Image, wanted: Callable[[int, int, int], bool]) -> float:
    data = picture.tobytes()
    return sum(wanted(*data[i : i + 3]) for i in range(0, len(data), 3)) / (len(data) / 3)


def _mean(picture: Image.Image) -> tuple[float, float, float]:
    red, green, blue = ImageStat.Stat(picture).mean
    return red, green, blue


@pytest.fixture(scope="module")
def photograph() -> bytes:
    return render(Job("countryside at golden hour", 1, 320, 320, 1, "jpeg"))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat in watercolour", Style.WATERCOLOUR),
        ("ein Aquarell von einem Hund", Style.WATERCOLOUR),
        ("een kat in waterverf", Style.WATERCOLOUR),
        ("猫の水彩画", Style.WATERCOLOUR),
        ("paper-cut mountains", Style.PAPER),
        ("Berge als Scherenschnitt", Style.PAPER),
        ("切り絵の山", Style.PAPER),
        ("line art of a boat", Style.LINE),
        ("Strichzeichnung eines Bootes", Style.LINE),
        ("een kleurplaat met een boot", Style.LINE),
        ("船の線画", Style.LINE),
        ("a neon sign of a cup", Style.NEON),
        ("a neon cat", Style.NEON),
        ("猫のネオンサイン", Style.NEON),
        ("a neon city at night", Style.PLAIN),
        ("a cat", Style.PLAIN),
    ],
)
def test_the_style_is_read(prompt: str, expected: Style) -> None:
    assert parse(prompt).style is expected


@pytest.mark.parametrize("style", ["watercolour", "paper cut", "line art", "neon sign"])
@pytest.mark.parametrize("name", sorted(catalogue.subjects()))
def test_every_subject_is_drawn_in_every_style(name: str, style: str) -> None:
    prompt = f"{catalogue.subjects()[name].words[0]}, {style}"
    ET.fromstring(stage(Job(prompt, 1, 64, 64, 1, "png")).canvas.document())  # noqa: S314 - ours


@pytest.mark.parametrize("style", ["watercolour", "paper cut", "line art", "neon style"])
@pytest.mark.parametrize("name", sorted(catalogue.settings()))
def test_every_setting_is_drawn_in_every_style(name: str, style: str) -> None:
    prompt = f"{catalogue.settings()[name].words[0]}, {style}"
    assert render(Job(prompt, 1, 64, 64, 1, "png"))


def test_line_art_is_ink_on_paper() -> None:
    picture = _picture("a castle in the mountains at sunset, line art")
    assert _share(picture, lambda r, g, b: max(r, g, b) - min(r, g, b) > 40) < 0.01
    assert _share(picture, lambda r, g, b: min(r, g, b) > 225) > 0.5
    assert _share(picture, lambda r, g, b: max(r, g, b) < 120) > 0.004


def test_neon_glows_in_the_dark() -> None:
    picture = _picture("a neon cat")
    assert _share(picture, lambda r, g, b: max(r, g, b) < 90) > 0.6
    assert _share(picture, lambda r, g, b: max(r, g, b) > 230) > 0.005


def test_cut_paper_has_flat_colours_and_shadows() -> None:
    document = stage(
        Job("a castle in the mountains, paper cut", 1, 64, 64, 1, "png")
    ).canvas.document()
    assert 'fill="url(' not in document
    assert document.count("-opacity") > 100


def test_a_watercolour_ends_before_its_sheet_does() -> None:
    picture = _picture("the sea at night, watercolour")
    corner = picture.crop((0, 0, 5, 5))
    assert min(_mean(corner)) > 225
    assert sum(_mean(picture.crop((60, 60, 100, 100)))) < sum(_mean(corner)) - 60


@pytest.mark.parametrize("style", ["watercolour", "paper cut", "line art", "neon sign"])
def test_a_style_gives_the_same_bytes_again(style: str) -> None:
    job = Job(f'a fish "swim", {style}', 3, 64, 96, 1, "png")
    assert render(job) == render(job)


def test_make_it_blue_makes_the_whole_photograph_blue(photograph: bytes) -> None:
    red, green, blue = _mean(_picture("make it blue", photograph))
    assert blue > red * 1.25
    assert blue > green


@pytest.mark.parametrize(
    "prompt", ["make it warmer", "Mach es wärmer", "maak het warmer", "もっと暖かくして"]
)
def test_warmer_is_read_in_four_languages_and_warms(prompt: str, photograph: bytes) -> None:
    assert parse(prompt).edits == (Edit.WARMER,)
    warm = _mean(_picture(prompt, photograph))
    plain = _mean(Image.open(BytesIO(photograph)))
    assert warm[0] / warm[2] > plain[0] / plain[2] * 1.1


def test_black_and_white_has_no_colour_and_a_black_and_white_cat_does_not_ask_for_it(
    photograph: bytes,
) -> None:
    picture = _picture("make it black and white", photograph)
    assert _share(picture, lambda r, g, b: max(r, g, b) - min(r, g, b) > 16) < 0.01
    assert parse("a black and white cat").edits == ()


def test_a_frame_has_the_colour_that_was_asked_for_and_the_whole_photograph(
    photograph: bytes,
) -> None:
    picture = _picture("put it in a red frame", photograph)
    red, green, blue = _mean(picture.crop((0, 2, SIDE, 7)))
    assert red > green * 1.5
    assert red > blue * 1.5
    assert min(_mean(picture.crop((11, 11, 15, 15)))) > 170


@pytest.mark.parametrize("prompt", ["add a red balloon", "Füge einen roten Ballon hinzu", "voeg een rode luchtballon toe", "赤い気球を追加"])  # fmt: skip
def test_what_is_added_stands_in_the_photograph(prompt: str, photograph: bytes) -> None:
    def reddish(r: int, g: int, b: int) -> bool:
        return r > 110 and r > 1.7 * g and r > 1.7 * b

    before = _share(_picture("make it brighter", photograph), reddish)
    assert _share(_picture(prompt, photograph), reddish) > before + 0.004


def test_a_photograph_that_is_given_a_place_stands_there_as_before(photograph: bytes) -> None:
    assert (
        stage(Job("on the table by the window", 1, 64, 64, 1, "png", (photograph,))).plate is None
    )


@pytest.mark.parametrize("style", ["watercolour", "paper cut", "line art", "neon style"])
def test_a_photograph_is_drawn_in_every_style(style: str, photograph: bytes) -> None:
    assert _picture(f"turn it into {style}", photograph).size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("prompt", "subject", "setting", "time", "weather", "season"),
    [
        ("Ein Pinguin in den Bergen bei Nacht, Schnee", "penguin", "mountains", Time.NIGHT, Weather.SNOW, Season.WINTER),
        ("Eine Eule im Wald bei Nebel", "owl", "forest", None, Weather.FOG, None),
        ("Ein Hase auf der Wiese im Frühling", "rabbit", "garden", None, None, Season.SPRING),
        ("Een olifant in de woestijn bij zonsondergang", "elephant", "desert", Time.SUNSET, None, None),
        ("Een trein door de heuvels in de herfst", "train", "countryside", None, None, Season.AUTUMN),
        ("Een zwaan op de vijver, mistig", "swan", "lake", None, Weather.FOG, None),
        ("夜の砂漠のサボテン", "cactus", "desert", Time.NIGHT, None, None),
        ("雪の森の雪だるま", "snowman", "forest", None, Weather.SNOW, Season.WINTER),
        ("夕焼けの海の船", "boat", "sea", Time.SUNSET, None, None),
    ],
)  # fmt: skip
def test_german_dutch_and_japanese_are_read_as_english_is(
    prompt: str, subject: str, setting: str, time: Time | None, weather: Weather | None, season: Season | None
) -> None:  # fmt: skip
    scene = parse(prompt)
    assert [mention.name for mention in scene.subjects] == [subject]
    assert scene.settings == (setting,)
    assert (scene.time, scene.weather, scene.season) == (time, weather, season)


def test_every_subject_and_setting_has_a_japanese_word() -> None:
    words = {item.name: item.words for item in catalogue.subjects().values()}
    words |= {item.name: item.words for item in catalogue.settings().values()}
    kana = "\u3000"
    assert [name for name, own in words.items() if max("".join(own)) < kana] == []


def test_there_are_as_many_as_the_documents_say() -> None:
    assert len(catalogue.settings()) >= 16
    assert len(catalogue.subjects()) >= 40
