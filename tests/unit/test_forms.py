"""Forms: the one file is taken out as it is, and what is no form or a broken one is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.api.forms import FORM, file_of
from ketchup.errors import InvalidRequest

TYPE = f"{FORM}; boundary=abc"
PICTURE = b"\x89PNG\r\n\x1a\n--abc\r\n\r\n"


def form(*parts: tuple[str, bytes], end: bytes = b"--abc--\r\n") -> bytes:
    head = b'--abc\r\nContent-Disposition: form-data; name="%s"; filename="x.png"\r\n\r\n'
    return b"".join(head % name.encode() + content + b"\r\n" for name, content in parts) + end


def test_a_body_of_another_type_is_the_file() -> None:
    assert file_of("image/png", PICTURE) == PICTURE
    assert file_of("", PICTURE) == PICTURE


def test_the_field_named_file_is_taken_as_it_is() -> None:
    assert file_of(TYPE, form(("note", b"x"), ("file", PICTURE))) == PICTURE
    assert file_of('multipart/form-data; boundary="abc"', form(("file", b""))) == b""


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        (FORM, form(("file", PICTURE)), "names no boundary"),
        (f"{FORM}; boundary={'x' * 71}", b"", "names no boundary"),
        (TYPE, b"", "cut off"),
        (TYPE, PICTURE, "cut off"),
        (TYPE, form(("file", PICTURE), end=b""), "cut off"),
        (TYPE, form(*[("file", b"x")] * 17), "more than 16"),
        (TYPE, b"--abc\r\nx--abc--", "cut off"),
        (TYPE, b"--abc\r\nx\r\n--abc--", "no head"),
        (TYPE, form(("other", PICTURE)), "one file"),
        (TYPE, form(("file", PICTURE), ("file", PICTURE)), "one file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(
    content_type: str, body: bytes, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        file_of(content_type, body)


@given(st.text(max_size=80), st.binary(max_size=200))
def test_nothing_else_is_raised(parameters: str, rest: bytes) -> None:
    for body in (rest, b"--abc" + rest, form(("file", rest)), b"--abc\r\n" + rest + b"\r\n--abc--"):
        try:
            file_of(TYPE, body)
            file_of(f"{FORM}; {parameters}", body)
        except InvalidRequest:
            continue


ODD = [
    "*=idna'en'abc",
    "*0=a; {name}*=b",
    "*=punycode'en'%FFa",
    f"*{'9' * 5000}=a",
    "*0*=a'b; {name}*1=c",
]


@pytest.mark.parametrize("parameter", ODD)
def test_odd_parameters_are_refused(parameter: str) -> None:
    odd = "{name}" + parameter
    with pytest.raises(InvalidRequest):
        file_of(f"{FORM}; {odd.format(name='boundary')}", form(("file", PICTURE)))
    head = f"--abc\r\nContent-Disposition: form-data; {odd.format(name='name')}\r\n\r\n"
    with pytest.raises(InvalidRequest):
        file_of(TYPE, head.encode() + b"x\r\n--abc--\r\n")


_STARS = st.sampled_from(["", "*", "*0", "*1", "*0*", "*" + "9" * 5000])
_CHARSETS = st.sampled_from(["", "idna'en'", "punycode'en'", "utf-7''", "hex''", "'", '"'])
_VALUES = st.text(st.sampled_from("abc%F0';= \0ä"), max_size=6)
_PARAMETERS = st.lists(st.tuples(_STARS, _CHARSETS, _VALUES), max_size=3)


@given(_PARAMETERS)
def test_no_parameters_raise_anything_else(parameters: list[tuple[str, str, str]]) -> None:
    def named(name: str) -> str:
        return "".join(f"; {name}{star}={said}{value}" for star, said, value in parameters)

    head = f"--abc\r\nContent-Disposition: form-data{named('name')}\r\n\r\n".encode()
    for content_type, body in (
        (f"{FORM}{named('boundary')}", form(("file", PICTURE))),
        (TYPE, head + b"x\r\n--abc--\r\n"),
    ):
        with suppress(InvalidRequest):
            file_of(content_type, body)
