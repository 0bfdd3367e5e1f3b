"""The stamp on a picture that was drawn for a test: the word TEST in a band along its foot.

Drawn from small squares, so that it needs no font and looks the same everywhere.
"""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageDraw

_LETTERS: Final = {
    "T": ("#####", "  #  ", "  #  ", "  #  ", "  #  "),
    "E": ("#####", "#    ", "#### ", "#    ", "#####"),
    "S": (" ####", "#    ", " ### ", "    #", "#### "),
}
_WORD: Final = "TEST"
_ROWS: Final = 5
_STEP: Final = _ROWS + 1
# Of the picture's shorter side.
_BAND: Final = 12
_BACK: Final = (20, 20, 20)
_FRONT: Final = (255, 221, 64)


def stamp(picture: Image.Image) -> None:
    """Paint the stamp over the foot of a picture."""
    height = max(_ROWS + 2, min(picture.size) // _BAND)
    square = height // (_ROWS + 2)
    top = picture.height - height
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, top, picture.width, picture.height), fill=_BACK)
    left = (picture.width - square * (_STEP * len(_WORD) - 1)) // 2
    for place, letter in enumerate(_WORD):
        for row, line in enumerate(_LETTERS[letter]):
            for column, dot in enumerate(line):
                if dot != " ":
                    x = left + (place * _STEP + column) * square
                    y = top + (row + 1) * square
                    pen.rectangle((x, y, x + square - 1, y + square - 1), fill=_FRONT)
