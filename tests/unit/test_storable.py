"""Texts of others, before they are stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.db import storable


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("zu süß 🍅\n\ttwo lines", "zu süß 🍅\n\ttwo lines"),
        ("a\0b", "a?b"),
        ("\ud83c and \udf45", "? and ?"),
        ("\udcff", "?"),
    ],
)
def test_the_table(text: str, kept: str) -> None:
    assert storable(text) == kept


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_can_be_encoded_and_has_no_nul(text: str) -> None:
    kept = storable(text)

    assert "\0" not in kept.encode().decode()
    assert len(kept) == len(text)
    assert storable(kept) == kept
