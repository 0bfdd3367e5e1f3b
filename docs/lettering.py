"""Takes the outlines that the studio letters with out of M PLUS Rounded 1c, an open font.

    python docs/lettering.py MPLUSRounded1c-ExtraBold.ttf

It needs fontTools, which Ketchup does not: the outlines are kept, so this runs only when the choice
of characters changes. Latin is every letter of Latin-1 and Latin Extended-A with the usual
punctuation; Japanese is the kana and the 2965 kanji of the first level of JIS X 0208. The font is
under the SIL Open Font License 1.1, and so are the outlines; the licence lies beside them.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "src/ketchup/providers/studio/letters"
EM: Final = 250
"""Units of the kept outlines: a quarter of the font's own, and finer than a pixel of a caption."""

Spot = tuple[int, int]


def main() -> None:
    """Write `latin.xz` and `japanese.xz`: each line a character, its advance, its outline."""
    from fontTools.ttLib import TTFont  # noqa: PLC0415 - not a requirement of Ketchup

    font = TTFont(sys.argv[1])
    for name, wanted in (("latin", latin()), ("japanese", japanese())):
        lines = "".join(lines_of(font, wanted))
        (FOLDER / f"{name}.xz").write_bytes(lzma.compress(lines.encode(), preset=9))


def latin() -> Iterator[str]:
    """Yield the characters of Latin script, digits and punctuation."""
    ranges = ((0x20, 0x7F), (0xA1, 0x180))
    yield from (chr(code) for first, last in ranges for code in range(first, last))
    yield from "–—‘’‚“”„…•€™♥★♪→←"  # noqa: RUF001 - these very characters


def japanese() -> Iterator[str]:
    """Yield kana, Japanese punctuation, and the kanji of the first level."""
    yield from (chr(code) for code in range(0x3001, 0x3100))
    yield from "！？（）：〜々"  # noqa: RUF001 - these very characters
    for row in range(0xB0, 0xD0):
        for cell in range(0xA1, 0xFF):
            yield from bytes((row, cell)).decode("euc_jp", "ignore")


def lines_of(font: Any, wanted: Iterable[str]) -> Iterator[str]:  # noqa: ANN401 - untyped
    """Yield a line for each character that the font has."""
    glyphs, names = font.getGlyphSet(), font.getBestCmap()
    scale = EM / font["head"].unitsPerEm
    for character in dict.fromkeys(wanted):
        if ord(character) in names:
            glyph = glyphs[names[ord(character)]]
            yield f"{character}\t{round(glyph.width * scale)}\t{_outline(glyphs, glyph, scale)}\n"


def _outline(glyphs: Any, glyph: Any, scale: float) -> str:  # noqa: ANN401 - untyped
    """Return a glyph as path data whose every step is relative, which packs twice as well."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen  # noqa: PLC0415

    pen = DecomposingRecordingPen(glyphs)
    glyph.draw(pen)
    data, at = [], (0, 0)
    for verb, points in pen.value:
        # SVG counts downwards.
        spots = [(round(x * scale), round(-y * scale)) for x, y in filter(None, points)]
        if verb == "closePath":
            data.append("z")
            continue
        if points[-1] is None:
            # A contour of curves only, such as an O, has no point of its own to begin at.
            at = _between(spots[-1], spots[0])
            spots.append(at)
            data.append("M" + _steps((0, 0), (at,)))
        if verb == "qCurveTo":
            for control, end in decomposed(spots):
                data.append("q" + _steps(at, (control, end)))
                at = end
        else:
            data.append({"moveTo": "M", "lineTo": "l"}[verb])
            data.append(_steps((0, 0) if verb == "moveTo" else at, spots))
            at = spots[0]
    return "".join(data)


def decomposed(spots: list[Spot]) -> Iterator[tuple[Spot, Spot]]:
    """Yield control and end of each curve: TrueType leaves the ends between controls out."""
    *controls, last = spots
    for here, following in pairwise(controls):
        yield here, _between(here, following)
    yield controls[-1], last


def _between(first: Spot, second: Spot) -> Spot:
    return (first[0] + second[0]) // 2, (first[1] + second[1]) // 2


def _steps(start: Spot, spots: Iterable[Spot]) -> str:
    text = " ".join(f"{x - start[0]} {y - start[1]}" for x, y in spots)
    return text.replace(" -", "-")


if __name__ == "__main__":
    main()
