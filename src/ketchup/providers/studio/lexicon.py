"""The lexicon of the studio: every word that it knows, in any language, and what it does.

A prompt is cut into terms: the longest phrases that are known, and single words that are not. Both
are folded alike, so neither case nor width matters. Time is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from functools import cache
from typing import Final, TypeVar

from ketchup.providers.studio import catalogue, vocabulary
from ketchup.providers.studio.light import Season, Time, Weather
from ketchup.providers.studio.wishes import Edit, Style

_LONGEST_PHRASE = 4
_LONGEST_CJK = 8


class Kind(Enum):
    """What a known word does."""

    COLOUR = auto()
    SHADE = auto()
    NUMBER = auto()
    SUBJECT = auto()
    SUBJECTS = auto()
    SETTING = auto()
    PART = auto()
    TIME = auto()
    WEATHER = auto()
    SEASON = auto()
    STYLE = auto()
    EDIT = auto()
    ROW = auto()
    NEGATION = auto()
    JOIN = auto()
    COPULA = auto()
    BREAK = auto()
    UNKNOWN = auto()


Named = TypeVar("Named", Time, Weather, Season, Style, Edit)

Meanings = tuple[tuple[Kind, str], ...]
"""A word can mean two things at once: `snow` is a weather and a season."""


# A sentence's own punctuation ends the reach of an adjective.
_TOKEN: Final = re.compile(r"[^\W_]+|[.,;:!?。、]")
_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def terms(prompt: str) -> Iterator[tuple[str, Meanings]]:
    """Yield each known phrase, longest first, and each unknown word."""
    known, tokens = _lexicon(), list(_tokens(prompt))
    position = 0
    while position < len(tokens):
        for length in range(min(_LONGEST_PHRASE, len(tokens) - position), 0, -1):
            phrase = " ".join(tokens[position : position + length])
            if phrase in known or length == 1:
                yield phrase, known.get(phrase, ((Kind.UNKNOWN, ""),))
                position += length
                break


def _tokens(prompt: str) -> Iterator[str]:
    for match in _TOKEN.finditer(_folded(prompt)):
        token = match[0]
        if _CJK.search(token):
            yield from _cjk_words(token)
        else:
            yield token


def _folded(text: str) -> str:
    """Return a text as both prompts and the lexicon are compared."""
    return unicodedata.normalize("NFKC", text).casefold()


def _cjk_words(run: str) -> Iterator[str]:
    """Yield the known words in a run without spaces, the longest at each place."""
    known, position = _lexicon(), 0
    while position < len(run):
        for length in range(min(_LONGEST_CJK, len(run) - position), 0, -1):
            word = run[position : position + length]
            if word in known:
                yield word
                break
        else:
            length = 1
        position += length


@cache
def _lexicon() -> Mapping[str, Meanings]:
    found: dict[str, list[tuple[Kind, str]]] = {}
    for word, kind, name in _entries():
        meaning = (kind, name)
        slot = found.setdefault(_folded(word), [])
        if meaning not in slot:
            slot.append(meaning)
    return {word: tuple(meanings) for word, meanings in found.items()}


def _entries() -> Iterator[tuple[str, Kind, str]]:
    places = {word for setting in catalogue.settings().values() for word in setting.words}
    for subject in catalogue.subjects().values():
        for word in subject.words:
            yield word, Kind.SUBJECT, subject.name
            # A flower is a thing, flowers are a meadow.
            if plural(word) not in places:
                yield plural(word), Kind.SUBJECTS, subject.name
        yield from ((word, Kind.SUBJECTS, subject.name) for word in subject.plurals)
        yield from ((part, Kind.PART, part) for part in subject.parts)
    for setting in catalogue.settings().values():
        yield from ((word, Kind.SETTING, setting.name) for word in setting.words)
        yield from ((part, Kind.PART, part) for part in setting.parts)
    yield "sky", Kind.PART, "sky"
    yield from _vocabulary_entries()


def _vocabulary_entries() -> Iterator[tuple[str, Kind, str]]:
    yield from ((word, Kind.COLOUR, colour) for word, colour in vocabulary.COLOURS.items())
    yield from ((word, Kind.SHADE, word) for word in vocabulary.SHADES)
    yield from ((word, Kind.NUMBER, str(n)) for word, n in vocabulary.NUMBERS.items())
    yield from _table(Kind.TIME, vocabulary.TIMES)
    yield from _table(Kind.WEATHER, vocabulary.WEATHERS)
    yield from _table(Kind.SEASON, vocabulary.SEASONS)
    yield from _table(Kind.STYLE, vocabulary.STYLES)
    yield from _table(Kind.EDIT, vocabulary.EDITS)
    for kind, table in (
        (Kind.ROW, vocabulary.ROW),
        (Kind.NEGATION, vocabulary.NEGATIONS),
        (Kind.JOIN, vocabulary.JOINS),
        (Kind.COPULA, vocabulary.COPULAS),
        (Kind.BREAK, ". , ; : ! ? 。 、"),
    ):
        yield from ((word, kind, "") for word in vocabulary.words(table))


def _table(kind: Kind, table: Mapping[Named, str]) -> Iterator[tuple[str, Kind, str]]:
    for name, text in table.items():
        yield from ((word, kind, name.value) for word in vocabulary.words(text))


def plural(word: str) -> str:
    """Return the regular English plural; irregular ones stand among a subject's words."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"
