from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ketchup.egress import BadUrl, EgressError, check_url, origin
from ketchup.egress.urls import join, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Example.COM", "http://example.com:80"),
        ("https://example.com./x?y#z", "https://example.com:443"),
        ("HTTP://example.com:8080/", "http://example.com:8080"),
        ("https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]:443"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example:443"),
        ("http://127.1/", "http://127.1:80"),
    ],
)
def test_an_origin_is_written_in_one_way(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:word@example.com/",
        "http://@example.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:x/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: other",
        "http://example.com/\x00",
        "http://example.com\\@other/",
        "http://exam\ud800ple.com/",
        "http://[example.com]/",
        "http://[::1%25eth0]/",
        "http://[::1]x/",
        "http://[::1/",
        "http://::1/",
        "http://a..b/",
        "http://.a/",
        "http://a%2eb/",
        "http://[]@",
        "http://" + "a" * 64 + ".example/",
        "http://" + "ü" * 300 + "/",
        "http://example.com/" + "x" * 2048,
    ],
)
def test_what_is_not_a_plain_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        check_url(url)


@given(st.text() | st.text().map("http://{}".format) | st.text().map("https://[{}]:1/".format))
@example("http://[]@")
@example("http://\u2100/")
@example("http://[::ffff:1.1.1.1%٣]/")
def test_no_text_raises_anything_but_bad_url(text: str) -> None:
    try:
        target = parse_url(text)
    except BadUrl:
        return
    assert target.host.isascii()
    assert target.path.isascii()
    assert " " not in target.path
    assert 0 < target.port < 65536


@given(st.text())
def test_no_redirect_raises_anything_but_bad_url(location: str) -> None:
    try:
        target = join(parse_url("https://example.com/a/b?c"), location)
    except BadUrl:
        return
    assert target.scheme in ("http", "https")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/x", "https://example.com:443"),
        ("c?d", "https://example.com:443"),
        ("//other.example/x", "https://other.example:443"),
        ("http://127.0.0.1:81/", "http://127.0.0.1:81"),
    ],
)
def test_a_redirect_is_read_relative_to_where_it_came_from(location: str, expected: str) -> None:
    assert join(parse_url("https://example.com/a/b"), location).origin == expected


def test_non_ascii_in_a_path_is_escaped_and_escapes_are_kept() -> None:
    assert parse_url("http://example.com/ü/%20?q=ä&r=%C3#f").path == "/%C3%BC/%20?q=%C3%A4&r=%C3"


def test_every_error_says_the_same_to_the_outside() -> None:
    kinds: list[type[EgressError]] = [EgressError, *EgressError.__subclasses__()]
    assert len(kinds) == 8
    assert {str(kind("10.0.0.1 is open")) for kind in kinds} == {"the address could not be reached"}
