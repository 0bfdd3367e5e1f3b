from __future__ import annotations

import base64
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.errors import InvalidRequest
from ketchup.providers.base import ImageFormat
from ketchup.references import DataReference, UrlReference, decoder, parse, sandbox, sniff

PNG = b"\x89PNG\r\n\x1a\nrest"
LIMIT = 20 * 1024 * 1024


def uri(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "media_type", ["image/png", "image/jpeg", "image/jpg", "image/webp", "IMAGE/PNG"]
)
def test_a_data_uri_is_decoded(media_type: str) -> None:
    assert parse(uri(PNG, media_type), index=0) == DataReference(PNG)


def test_a_url_is_kept_for_the_worker() -> None:
    assert parse("https://example.com/a.png", index=0) == UrlReference("https://example.com/a.png")


@pytest.mark.parametrize("text", ["", "a.png", "/etc/passwd", "file:///a.png", "http://u@h/a.png"])
def test_what_is_neither_a_url_nor_a_data_uri_is_named_by_its_index(text: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("images[2] must be an http or https URL")):
        parse(text, index=2)


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "data:,hello",
        "data:image/png,hello",
        "data:image/gif;base64,R0lGODlhAQ==",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html;base64,PHA+",
        "DATA:application/pdf;base64,AAAA",
    ],
)
def test_a_data_uri_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidRequest,
        match=re.escape("images[0] must be a base64 data URI of a PNG, JPEG or WebP image"),
    ):
        parse(text, index=0)


@pytest.mark.parametrize(
    "payload", ["iVBORw0KGgo", "iVBORw0KGgo =", "iVBO\nRw0KGgo=", "iVBORw0KGgo=é", "_-_-", "\ud800"]
)
def test_base64_is_read_strictly(payload: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("images[0] is not a valid base64 image")):
        parse(f"data:image/png;base64,{payload}", index=0)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg/>", b"<html>", b"%PDF-1.7", b"RIFF1234WAVE"]
)
def test_content_that_is_no_image_is_refused_whatever_it_claims(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("images[0] is not a PNG, JPEG or WebP")):
        parse(uri(data), index=0)


def test_an_image_of_exactly_20_mib_is_read() -> None:
    data = PNG.ljust(LIMIT, b"\0")
    assert parse(uri(data), index=0) == DataReference(data)


def test_a_larger_image_is_refused_by_its_length_before_it_is_decoded() -> None:
    # Not base64 at all: a decoder that saw it would say so instead.
    text = "data:image/png;base64," + "!" * (LIMIT // 3 * 4 + 8)
    with pytest.raises(InvalidRequest, match=re.escape("images[0] must not be larger than 20 MiB")):
        parse(text, index=0)


@given(st.text() | st.text().map("data:image/png;base64,{}".format))
def test_no_text_raises_anything_but_invalid_request(text: str) -> None:
    try:
        parse(text, index=1)
        sentence = ""
    except InvalidRequest as error:
        sentence = str(error)
    assert sentence == "" or sentence.startswith("images[1] ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PNG, ImageFormat.PNG),
        (b"\xff\xd8\xff\xe0", ImageFormat.JPEG),
        (b"RIFF\0\0\0\0WEBPVP8 ", ImageFormat.WEBP),
        (b"RIFF\0\0\0\0WAVE", None),
        (b" \x89PNG\r\n\x1a\n", None),
        (b"", None),
    ],
)
def test_the_format_is_told_by_the_first_bytes(data: bytes, expected: ImageFormat | None) -> None:
    assert sniff(data) is expected


def test_both_ends_of_the_decoders_pipe_use_the_same_words() -> None:
    assert decoder._REQUEST.format == sandbox.REQUEST.format
    assert decoder._ANSWER.format == sandbox.ANSWER.format
    assert {code: name.value.upper() for name, code in decoder._CODES.items()} == sandbox._NAMES
    assert set(decoder._FORMATS) == {sandbox.PNG, sandbox.JPEG}
    assert set(decoder._REFUSALS) == {sandbox.TOO_LARGE, sandbox.ANIMATED, sandbox.UNDECODABLE}
    assert (sandbox.MAX_SIDE_OUT, sandbox.MAX_BYTES_OUT) == (decoder._MAX_SIDE, decoder._MAX_BYTES)


def test_the_server_does_not_load_an_image_parser() -> None:
    program = "import sys, ketchup.references, ketchup.storage; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
