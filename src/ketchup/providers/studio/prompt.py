"""Reads a prompt: text in, a `Scene` out.

It looks for words it knows (`lexicon`) and for the few relations that change a picture: how many,
which colour belongs to which noun, what is absent. Everything else is left out; this is a word
list, not a language model. Time is linear in the length of the text, and no text makes it fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from ketchup.providers.studio import catalogue, vocabulary
from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.lexicon import Kind, Meanings, terms
from ketchup.providers.studio.light import Season, Time, Weather
from ketchup.providers.studio.quotation import parted
from ketchup.providers.studio.wishes import Edit, Style

_MOST = 9
_PATIENCE = 2


class Arrangement(Enum):
    """How subjects and references stand together."""

    FREE = auto()
    ROW = auto()
    BASKET = auto()


@dataclass(frozen=True, slots=True)
class Mention:
    """A subject as the prompt speaks of it."""

    name: str
    count: int = 1
    colours: tuple[Colour, ...] = ()
    parts: tuple[tuple[str, Colour], ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """What a prompt asks for. None and empty mean that it does not say."""

    time: Time | None = None
    weather: Weather | None = None
    season: Season | None = None
    settings: tuple[str, ...] = ()
    subjects: tuple[Mention, ...] = ()
    arrangement: Arrangement = Arrangement.FREE
    tints: tuple[tuple[str, Colour], ...] = ()
    """Colours of settings and of parts such as the sky."""
    palette: tuple[Colour, ...] = ()
    """Every colour named, in order, once each."""
    words: frozenset[str] = frozenset()
    lettering: str = ""
    """What the prompt quotes, as far as there are letters for it."""
    style: Style = Style.PLAIN
    edits: tuple[Edit, ...] = ()

    @property
    def loose(self) -> tuple[Colour, ...]:
        """Return the colours that belong to no noun and no part: those of the whole picture."""
        owned = {colour for _, colour in self.tints}
        for mention in self.subjects:
            owned |= {*mention.colours, *(colour for _, colour in mention.parts)}
        return tuple(colour for colour in self.palette if colour not in owned)

    @property
    def empty(self) -> bool:
        """Whether nothing but colours was understood."""
        return not (self.settings or self.subjects or self.time or self.weather or self.season)


def parse(prompt: str) -> Scene:
    """Return the scene that the prompt describes."""
    reader = _Reader()
    told, quoted = parted(prompt)
    for text, meanings in terms(told):
        reader.read(text, meanings)
    return replace(reader.scene(), lettering=quoted)


@dataclass(slots=True)
class _Noun:
    """A mention in the making."""

    name: str
    count: int
    colours: list[Colour]
    parts: dict[str, Colour] = field(default_factory=dict)


class _Reader:
    """Folds terms into a scene. Adjectives wait in `_pending` for the noun they belong to."""

    def __init__(self) -> None:
        self._pending: list[Colour] = []
        self._shade: tuple[Colour, float] | None = None
        self._count: int | None = None
        self._age = 0
        self._negated = 0
        self._bind_back = False
        self._nouns: list[_Noun] = []
        self._last: _Noun | None = None
        self._settings: list[str] = []
        self._tints: dict[str, Colour] = {}
        self._palette: list[Colour] = []
        self._times: list[Time] = []
        self._weathers: list[Weather] = []
        self._seasons: list[Season] = []
        self._styles: list[Style] = []
        self._edits: list[Edit] = []
        self._row = False
        self._words: set[str] = set()

    def read(self, text: str, meanings: Meanings) -> None:
        """Take in one term."""
        if self._negated:
            self._negated -= 1
            if _names_something(meanings):
                self._negated = 0
                self._drop()
                return
        for kind, name in meanings:
            self._take(kind, name, text)
        if meanings[0][0] is not Kind.UNKNOWN:
            self._words.add(text)

    def scene(self) -> Scene:
        """Return what was read."""
        self._drop()
        names = [noun.name for noun in self._nouns]
        arrangement = Arrangement.ROW if self._row else Arrangement.FREE
        return Scene(
            time=_first(self._times, Time.NEON),
            weather=min(self._weathers, key=list(vocabulary.WEATHERS).index, default=None),
            season=self._season(),
            settings=tuple(dict.fromkeys(self._settings)),
            subjects=tuple(_mention(noun) for noun in self._nouns),
            arrangement=Arrangement.BASKET if "basket" in names else arrangement,
            tints=tuple(self._tints.items()),
            palette=tuple(dict.fromkeys(self._palette)),
            words=frozenset(self._words),
            style=self._style(),
            edits=tuple(dict.fromkeys(self._edits)),
        )

    def _season(self) -> Season | None:
        """Return the season named first, or what a subject brings along: a snowman, snow."""
        known = catalogue.subjects()
        brought = (known[noun.name].season for noun in self._nouns)
        return next(filter(None, (*self._seasons, *brought)), None)

    def _style(self) -> Style:
        """Return the style named first; a "neon cat" is made of tubes, a neon city lit by them."""
        if self._styles:
            return self._styles[0]
        tubes = Time.NEON in self._times and self._nouns and not self._settings
        return Style.NEON if tubes else Style.PLAIN

    def _take(self, kind: Kind, name: str, text: str) -> None:
        match kind:
            case Kind.COLOUR | Kind.SHADE | Kind.NUMBER:
                self._adjective(kind, name)
            case Kind.SUBJECT | Kind.SUBJECTS:
                self._subject(kind, name)
            case Kind.SETTING | Kind.PART:
                self._tint(kind, name)
            case Kind.TIME | Kind.WEATHER | Kind.SEASON | Kind.ROW:
                self._condition(kind, name)
            case Kind.STYLE | Kind.EDIT:
                self._wish(kind, name)
            case _:
                self._glue(kind, text)

    def _adjective(self, kind: Kind, name: str) -> None:
        if kind is Kind.NUMBER:
            self._count = int(name)
        elif kind is Kind.SHADE:
            self._shade = vocabulary.SHADES[name]
        else:
            colour = mix(name, *self._shade) if self._shade else name
            self._shade = None
            self._pending.append(colour)
            self._palette.append(colour)
        self._age = 0

    def _subject(self, kind: Kind, name: str) -> None:
        usual = catalogue.subjects()[name].many if kind is Kind.SUBJECTS else 1
        # "A village" and "a flock of birds" are one word for several things.
        asked = self._count if kind is Kind.SUBJECT or self._count != 1 else None
        count = min(_MOST, asked or usual)
        same = next((noun for noun in self._nouns if noun.name == name), None)
        if same is None:
            same = _Noun(name, count, [])
            self._nouns.append(same)
        same.colours.extend(self._pending)
        self._last = same
        self._settle()

    def _tint(self, kind: Kind, name: str) -> None:
        if kind is Kind.SETTING:
            self._settings.append(name)
            if self._pending:
                self._tints[name] = self._pending[0]
            # After "a blue house by the sea" a colour that trails belongs to nothing.
            self._last = None if self._pending else self._last
        elif self._pending:
            owner = self._owner(name)
            (self._tints if owner is None else owner.parts)[name] = self._pending[0]
        self._settle()

    def _owner(self, part: str) -> _Noun | None:
        """Return the nearest noun before it that has such a part."""
        has = (n for n in reversed(self._nouns) if part in catalogue.subjects()[n.name].parts)
        return next(has, None)

    def _condition(self, kind: Kind, name: str) -> None:
        if kind is Kind.TIME:
            self._times.append(Time(name))
        elif kind is Kind.WEATHER:
            self._weathers.append(Weather(name))
        elif kind is Kind.SEASON:
            self._seasons.append(Season(name))
        else:
            self._row = True

    def _wish(self, kind: Kind, name: str) -> None:
        if kind is Kind.STYLE:
            self._styles.append(Style(name))
            return
        self._edits.append(Edit(name))
        if name == Edit.FRAME and self._pending:
            self._tints[name] = self._pending[0]
            self._settle()

    def _glue(self, kind: Kind, text: str) -> None:
        if kind is Kind.NEGATION:
            self._negated = _PATIENCE + 1
        elif kind is Kind.COPULA:
            self._drop()
            self._bind_back = self._last is not None
        elif kind is Kind.BREAK:
            self._drop()
        elif kind is Kind.UNKNOWN:
            self._age += 1
            if self._age > _PATIENCE and text:
                self._drop()

    def _drop(self) -> None:
        """Let go of adjectives that found no noun after them."""
        last = self._last
        # "The boat is red", and also "a boat, red and white" where nothing else could be meant.
        alone = last is not None and len(self._nouns) == 1 and not last.colours
        if last is not None and (self._bind_back or alone):
            last.colours.extend(self._pending)
        self._settle()

    def _settle(self) -> None:
        self._pending, self._shade, self._count = [], None, None
        self._age, self._bind_back = 0, False


def _names_something(meanings: Iterable[tuple[Kind, str]]) -> bool:
    things = {Kind.SUBJECT, Kind.SUBJECTS, Kind.SETTING, Kind.PART}
    return any(kind in things | {Kind.TIME, Kind.WEATHER, Kind.SEASON} for kind, _ in meanings)


def _first(times: list[Time], strongest: Time) -> Time | None:
    if strongest in times:
        return strongest
    return times[0] if times else None


def _mention(noun: _Noun) -> Mention:
    colours = tuple(dict.fromkeys(noun.colours))
    return Mention(noun.name, noun.count, colours, tuple(noun.parts.items()))
