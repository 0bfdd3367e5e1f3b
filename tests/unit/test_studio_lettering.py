import lzma
import time
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup.providers.studio import lettering
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.lettering import block, legible
from ketchup.providers.studio.prompt import Mention, parse
from ketchup.providers.studio.render import render, stage


def _document(prompt: str) -> str:
    return stage(Job(prompt, 1, 128, 128, 1, "png")).canvas.document()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ('a sign that says "OPEN"', "OPEN"),
        ("ein Schild mit der Aufschrift „Grüß Gott“", "Grüß Gott"),
        ("ein Schild mit »Straße«", "Straße"),
        ("een bord met \u2018Welkom\u2019", "Welkom"),
        ("a boat 'Ahoy'", "Ahoy"),
        ("城と「ようこそ」", "ようこそ"),
        ("『海へ』という本", "海へ"),
        ("the dog's bowl and the cat's bed", ""),
        ('a boat with no words ""', ""),
        ('a 6" pipe', ""),
        ('"a red boat at sunset"', ""),
    ],
)
def test_what_is_quoted_is_lettered(prompt: str, expected: str) -> None:
    assert parse(prompt).lettering == expected


def test_quoted_words_are_not_drawn_as_things() -> None:
    assert parse('a sign that says "dogs and cats"').subjects == (Mention("sign"),)


def test_a_prompt_in_quotation_marks_is_still_a_prompt() -> None:
    assert parse('"a red boat"').subjects == parse("a red boat").subjects


def test_lettering_is_seen() -> None:
    with_words = render(Job('a boat on the sea "AHOY"', 1, 128, 128, 1, "png"))
    assert with_words != render(Job('a boat on the sea "HELLO"', 1, 128, 128, 1, "png"))


@pytest.mark.parametrize(
    "quoted",
    [
        "</svg><script>alert(1)</script>",
        "<image href='file:///etc/passwd'/>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
        "]]>&lt;&#x41;&xxe;",
        "url(#n1) M0 0L9 9",
    ],
)
def test_nothing_of_a_quotation_reaches_the_svg_as_text(quoted: str) -> None:
    document = _document(f'a lighthouse by the sea "{quoted}"')
    ET.fromstring(document)  # noqa: S314 - our own output
    for word in ("script", "file:", "ENTITY", "DOCTYPE", "&", "<text"):
        assert word not in document


@pytest.mark.parametrize(
    "quoted",
    ["\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\U0001f600\U0001f680", "\ud800", "\x00\x07", "\u202e\u2066"],
    ids=["arabic", "hebrew", "emoji", "surrogate", "control", "direction"],
)  # fmt: skip
def test_what_has_no_outline_is_not_drawn_at_all(quoted: str) -> None:
    scene = parse(f'a boat "{quoted}"')
    assert scene.lettering == ""
    assert scene.subjects == (Mention("boat"),)


def test_unseen_characters_fall_out_of_what_is_drawn() -> None:
    assert legible("O\u202eP\x00E\u200bN\n\tnow") == "OPEN now"


def test_a_quotation_of_which_little_could_be_drawn_is_not_drawn() -> None:
    assert legible("ok \u0645\u0631\u062d\u0628\u0627") == ""


def test_a_long_quotation_is_cut_at_a_word() -> None:
    text = legible("all work and no play makes jack a dull boy " * 4000)
    assert len(text) <= 61
    assert f"{text[:-1]} " in "all work and no play makes jack a dull boy " * 2


def test_an_accent_of_two_characters_is_one_letter() -> None:
    assert legible(unicodedata.normalize("NFD", "Grüße")) == "Grüße"


def test_letters_stay_in_their_box() -> None:
    letters = block("The quiet sea at night", 300, 100)
    assert letters is not None
    assert letters.width <= 300.01
    assert letters.height <= 100.01


def test_japanese_is_broken_without_spaces() -> None:
    one, two = block("山の城へようこそ", 400, 60), block("山の城へようこそ", 100, 100)
    assert one is not None
    assert two is not None
    assert two.size > 100 / 8


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120))
def test_any_quotation_draws_well_formed_svg(quoted: str) -> None:
    text = legible(quoted)
    letters = block(text, 100, 40) if text else None
    if letters:
        ET.fromstring(f'<svg><path d="{letters.data}"/></svg>')  # noqa: S314 - our own output
        assert set(letters.data) <= set("0123456789.- MQLmqlzhvcZ")


@pytest.mark.parametrize("piece", ['"', "'", "„a", '"a', " 'a", "「", "「a」", '"x" '])
def test_twenty_thousand_quotation_marks_take_a_moment_only(piece: str) -> None:
    prompt = (piece * 20_000)[:20_000]
    started = time.perf_counter()
    parse(prompt)
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    ("name", "text"), [("latin", "ÄÖÜäöüßéèñŁőěij€&?"), ("japanese", "あアー。「夢森駅")]
)
def test_the_font_has_the_letters_of_its_languages(name: str, text: str) -> None:
    assert set(text) <= set(lettering._table(name))


def test_the_fonts_licence_lies_beside_its_outlines_and_both_are_small() -> None:
    folder = Path(lettering.__file__).parent / "letters"
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text()
    assert (folder / "latin.xz").stat().st_size < 300_000
    assert (folder / "japanese.xz").stat().st_size < 1_500_000
    assert len(lzma.decompress((folder / "japanese.xz").read_bytes())) < 5_000_000
