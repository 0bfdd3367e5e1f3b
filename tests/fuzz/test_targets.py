"""The bytes that were worth keeping, and such as Hypothesis thinks of, to every parser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
KEPT = [
    pytest.param(folder.name, file.read_bytes(), id=f"{folder.name} {file.name}")
    for folder in sorted(CORPUS.iterdir())
    for file in sorted(folder.iterdir())
]


def test_every_target_has_bytes_to_begin_with() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert all(any(folder.iterdir()) for folder in CORPUS.iterdir())


@pytest.mark.parametrize(("target", "data"), KEPT)
def test_what_was_kept(target: str, data: bytes) -> None:
    TARGETS[target](data)


def pieces(target: str) -> st.SearchStrategy[bytes]:
    """Make bytes of what is kept and of what is not: whole, cut, repeated and mixed."""
    known = [one.values[1] for one in KEPT if one.values[0] == target]
    words = sorted({word for one in known if isinstance(one, bytes) for word in _words(one)})
    part = st.one_of(
        st.sampled_from(words),
        st.binary(max_size=20),
        st.text(max_size=10).map(lambda text: text.encode("utf-8", "replace")),
    )
    return st.one_of(st.binary(max_size=200), st.lists(part, max_size=12).map(b"".join))


def _words(data: bytes) -> set[bytes]:
    found = {data}
    for between in (b":", b"/", b" ", b"=", b"-", b",", b"\n", b'"', b"@", b"?"):
        found |= {piece + between for one in found for piece in one.split(between)}
    return {one for one in found if len(one) < 300} | {data}


@pytest.mark.parametrize("target", TARGETS)
def test_what_hypothesis_thinks_of(target: str) -> None:
    @settings(max_examples=150)
    @given(pieces(target))
    def holds(data: bytes) -> None:
        TARGETS[target](data)

    holds()


def test_a_target_whose_parser_lets_an_error_through_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fuzzer that finds nothing may be blind: `[` is where `urlsplit` raises ValueError."""

    def careless(data: bytes) -> None:
        urlsplit(data.decode("latin-1")).port  # noqa: B018 asking for it is what reads it

    monkeypatch.setitem(TARGETS, "url", careless)

    def often() -> None:
        # Each time it thinks of something else.
        for _ in range(20):
            test_what_hypothesis_thinks_of("url")

    with pytest.raises((ValueError, ExceptionGroup)):
        often()
