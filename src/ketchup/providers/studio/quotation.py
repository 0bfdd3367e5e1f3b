"""Finds what a prompt quotes: the words that are to be drawn as letters.

The marks of English, German, Dutch, French and Japanese are known. A quotation never reaches over
another, and time is linear in the length of the prompt.
"""

from __future__ import annotations

import re
from typing import Final

from ketchup.providers.studio.lettering import legible

_DOUBLE: Final = '"\u201c\u201d\u201e\u00ab\u00bb'
_SINGLE: Final = "'\u2018\u2019\u201a"
_QUOTED: Final = re.compile(
    f"[{_DOUBLE}]([^{_DOUBLE}]{{1,400}})[{_DOUBLE}]"
    "|\u300c([^\u300c\u300d]{1,400})\u300d"
    "|\u300e([^\u300e\u300f]{1,400})\u300f"
    # A single mark inside a word is an apostrophe.
    rf"|(?<!\w)[{_SINGLE}]([^{_SINGLE}]{{1,400}})[{_SINGLE}](?!\w)"
)


def parted(prompt: str) -> tuple[str, str]:
    """Part a prompt into what describes the picture and what is to be lettered in it.

    A prompt that is one quotation from end to end was only copied with its marks.
    """
    whole = _QUOTED.fullmatch(prompt.strip())
    if whole:
        return _inside(whole), ""
    lettering = next(filter(None, (legible(_inside(m)) for m in _QUOTED.finditer(prompt))), "")
    return _QUOTED.sub(" , ", prompt), lettering


def _inside(match: re.Match[str]) -> str:
    return next(filter(None, match.groups()), "")
