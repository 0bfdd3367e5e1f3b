"""Letters for the words that a prompt quotes: outlines of an open font, laid out in a box.

The text itself never enters the picture's SVG. Each character is looked up in a table of outlines
that were taken from M PLUS Rounded 1c beforehand (`letters/`, under the SIL Open Font License), and
one without an outline is left out. So a quotation can hold anything and draws letters or nothing.

There is no shaping: scripts whose letters join or run to the left are not drawn.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from ketchup.providers.studio.svg import num

_FOLDER: Final = Path(__file__).parent / "letters"
_EM: Final = 250.0
"""Units of an outline to the em; see `docs/lettering.py`."""
_CAPITAL: Final = 0.73
"""The height of a capital, in em."""
_LEADING: Final = 1.12
"""From line to line, in em."""
_LONGEST: Final = 60
_MOST_LINES: Final = 4
_WORTH_A_LINE: Final = 1.3
_KNOWN_SHARE: Final = 0.6
_START: Final = re.compile(r"M(-?\d+)([ -])(\d+)")
_WIDE: Final = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of letters as one shape: drawn at (0, 0) its middle is there."""

    data: str
    size: float
    """How many canvas units an em is."""
    width: float
    height: float


def legible(text: str) -> str:
    """Return what of a quotation can be lettered: at most 60 characters, and nothing unseen.

    Empty when more than a few of its characters have no outline: half a word says nothing.
    """
    wanted = " ".join(unicodedata.normalize("NFC", text[: 4 * _LONGEST]).split())
    known = "".join(character for character in wanted if _glyph(character))
    visible = [character for character in wanted if character.isprintable()]
    if len(known) < _KNOWN_SHARE * len(visible) or not known.strip():
        return ""
    known = " ".join(known.split())
    if len(known) <= _LONGEST:
        return known
    kept, _, _ = known[:_LONGEST].rpartition(" ")
    return (kept or known[:_LONGEST]).rstrip() + "…"


def block(text: str, width: float, height: float) -> Block | None:
    """Fit the text into a box; it is broken only where that makes the letters much larger."""
    best: Block | None = None
    for lines in _breaks(text):
        option = _fitted(lines, width, height)
        if best is None or option.size > best.size * _WORTH_A_LINE:
            best = option
    return best


def _fitted(lines: Sequence[str], width: float, height: float) -> Block:
    widest = max(_advance(line) for line in lines)
    tall = _LEADING * (len(lines) - 1) + _CAPITAL
    size = min(width / widest, height / tall)
    data = []
    for index, line in enumerate(lines):
        base = (index * _LEADING + _CAPITAL - tall / 2) * size
        data.append(_line(line, (-_advance(line) * size / 2, base), size))
    return Block("".join(data), size, widest * size, tall * size)


def _line(text: str, start: tuple[float, float], size: float) -> str:
    """Return one line's outlines, scaled: only their first point is absolute."""
    x, data = start[0], []
    for character in text:
        advance, outline = _glyph(character) or (0, "")
        data.append(_placed(outline, (x, start[1]), size / _EM))
        x += advance / _EM * size
    return "".join(data)


_NUMBER: Final = re.compile(r"-?\d+")


def _placed(outline: str, where: tuple[float, float], scale: float) -> str:
    def moved(match: re.Match[str]) -> str:
        first = num(where[0] + int(match[1]) * scale)
        sign = -1 if match[2] == "-" else 1
        return f"@{first} {num(where[1] + sign * int(match[3]) * scale)}@"

    parts = _START.sub(moved, outline).split("@")
    # Every second part is a start that has been moved already.
    return "".join(
        "M" + part
        if index % 2
        else _NUMBER.sub(lambda match: " " + num(int(match[0]) * scale), part)
        for index, part in enumerate(parts)
    )


def _advance(text: str) -> float:
    return sum((_glyph(character) or (0, ""))[0] for character in text) / _EM


def _breaks(text: str) -> Iterator[list[str]]:
    """Yield the text in one line, in two, and so on, each as even as its words allow."""
    pieces, joint = (list(text), "") if _WIDE.search(text) else (text.split(), " ")
    for count in range(1, min(_MOST_LINES, len(pieces)) + 1):
        lines: list[str] = []
        aim, line = _advance(text) / count, pieces[0]
        for piece in pieces[1:]:
            longer = line + joint + piece
            if len(lines) < count - 1 and _advance(longer) - aim > aim - _advance(line):
                lines.append(line)
                line = piece
            else:
                line = longer
        yield [*lines, line]


def _glyph(character: str) -> tuple[int, str] | None:
    """Return a character's advance and outline; a space has no outline."""
    found = _table("latin").get(character)
    if found is None and _WIDE.match(character):
        found = _table("japanese").get(character)
    return found


@cache
def _table(name: str) -> dict[str, tuple[int, str]]:
    text = lzma.decompress((_FOLDER / f"{name}.xz").read_bytes()).decode()
    table = {}
    # A line break is no character of the table, but other separators of lines might be.
    for line in text.split("\n")[:-1]:
        character, advance, outline = line.split("\t")
        table[character] = (int(advance), outline)
    return table
