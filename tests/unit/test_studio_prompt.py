import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup.providers.studio.light import Season, Time, Weather
from ketchup.providers.studio.prompt import Arrangement, Mention, parse
from ketchup.providers.studio.vocabulary import COLOURS

RED, BLUE, WHITE, GREEN = COLOURS["red"], COLOURS["blue"], COLOURS["white"], COLOURS["green"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cabin at night", Time.NIGHT),
        ("sunset over the sea", Time.SUNSET),
        ("golden hour in the hills", Time.GOLDEN),
        ("early morning, a lake", Time.DAWN),
        ("a neon city at night", Time.NEON),
        ("blue hour by the sea", Time.DUSK),
        ("Ein Boot bei Sonnenuntergang", Time.SUNSET),
        ("een huis in de nacht", Time.NIGHT),
        ("夜の海", Time.NIGHT),
        ("a boat", None),
    ],
)
def test_the_time_of_day_is_read(prompt: str, expected: Time | None) -> None:
    assert parse(prompt).time is expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a thunderstorm at sea", Weather.STORM),
        ("rain and a storm", Weather.STORM),
        ("a rainy street", Weather.RAIN),
        ("foggy forest", Weather.FOG),
        ("it is snowing", Weather.SNOW),
        ("a windy hill", Weather.WIND),
        ("a street without rain", None),
        ("neblige Berge", None),
        ("neblig in den Bergen", Weather.FOG),
    ],
)
def test_the_weather_is_read_and_the_strongest_wins(prompt: str, expected: Weather | None) -> None:
    assert parse(prompt).weather is expected


def test_snow_brings_winter_unless_a_season_was_named() -> None:
    assert parse("a snowy forest").season is Season.WINTER
    assert parse("late autumn, first snow").season is Season.AUTUMN


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("mountains", ("mountains",)),
        ("a city by the sea", ("city", "sea")),
        ("flower field", ("garden",)),
        ("product shot", ("studio",)),
        ("outer space", ("space",)),
        ("森の中", ("forest",)),
        ("no city, only desert", ("desert",)),
    ],
)
def test_settings_are_read_in_their_order(prompt: str, expected: tuple[str, ...]) -> None:
    assert parse(prompt).settings == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red boat", Mention("boat", 1, (RED,))),
        ("a red, wooden boat", Mention("boat", 1, ())),
        ("a red wooden boat", Mention("boat", 1, (RED,))),
        ("three boats", Mention("boat", 3)),
        ("3 red boats", Mention("boat", 3, (RED,))),
        ("boats", Mention("boat", 3)),
        ("a red and white boat", Mention("boat", 1, (RED, WHITE))),
        ("the boat is red", Mention("boat", 1, (RED,))),
        ("ein rotes Boot", Mention("boat", 1, (RED,))),
        ("een rode zeilboot", Mention("boat", 1, (RED,))),
        ("赤い船", Mention("boat", 1, (RED,))),
        ("ninety-nine balloons", Mention("balloon", 9)),
        ("a hundred cats", Mention("cat", 9)),
        ("children", Mention("person", 3)),
        ("a village", Mention("house", 3)),
    ],
)
def test_count_and_colour_bind_to_the_noun_after_them(prompt: str, expected: Mention) -> None:
    assert parse(prompt).subjects == (expected,)


def test_each_colour_goes_to_its_own_noun() -> None:
    scene = parse("a blue house with a white door and a red roof beside a green tree")
    house, tree = scene.subjects
    assert house == Mention("house", 1, (BLUE,), (("door", WHITE), ("roof", RED)))
    assert tree == Mention("tree", 1, (GREEN,))


def test_a_colour_before_a_place_is_the_colour_of_the_place() -> None:
    scene = parse("a cat under a pink sky by a green sea")
    assert dict(scene.tints) == {"sky": COLOURS["pink"], "sea": GREEN}
    assert scene.subjects == (Mention("cat"),)


def test_a_full_stop_ends_the_reach_of_an_adjective() -> None:
    assert parse("Everything is red. A boat.").subjects == (Mention("boat"),)


def test_what_is_denied_is_absent() -> None:
    scene = parse("a beach with no people, without a boat")
    assert scene.subjects == ()


def test_dark_and_light_change_the_colour_after_them() -> None:
    (boat,) = parse("a dark blue boat").subjects
    (pale,) = parse("a pale blue boat").subjects
    assert boat.colours[0] < BLUE < pale.colours[0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("put them in a basket", Arrangement.BASKET),
        ("side by side", Arrangement.ROW),
        ("Stelle sie nebeneinander", Arrangement.ROW),
        ("lege sie in einen Korb", Arrangement.BASKET),
        ("a nice picture", Arrangement.FREE),
    ],
)
def test_the_arrangement_is_read(prompt: str, expected: Arrangement) -> None:
    assert parse(prompt).arrangement is expected


def test_a_prompt_of_unknown_words_is_empty_but_keeps_its_colours() -> None:
    scene = parse("quiet recursion in indigo and gold")
    assert scene.empty
    assert scene.palette == (COLOURS["indigo"], COLOURS["gold"])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400))
def test_no_text_makes_it_fail(prompt: str) -> None:
    parse(prompt)


@pytest.mark.parametrize(
    "piece", ["a", "red ", "no ", "golden ", "a red boat and ", "赤", ",", "\u0301", " "]
)
def test_twenty_thousand_characters_take_a_moment_only(piece: str) -> None:
    prompt = (piece * 20_000)[:20_000]
    started = time.perf_counter()
    parse(prompt)
    assert time.perf_counter() - started < 1.0
