"""Who sent a request: what the socket says, and what a proxy says only where it is trusted."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ketchup.origins import Origins, kept, neighbours, read

PROXIES = Origins([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def scope(peer: str | None, *forwarded: str) -> dict[str, object]:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", one.encode()) for one in forwarded)]
    return {"client": None if peer is None else (peer, 4711), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # nobody is believed who is no proxy of ours
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        # what a proxy has seen stands at the right end
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.0.0.7"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::5, fd00::2"], "2001:db8::5"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        # what cannot be read ends the search at what is known
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", ["198.51.100.1:4711"], "10.0.0.1"),
        ("10.0.0.1", ["\x00"], "10.0.0.1"),
        # only proxies: the first of them
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 5_000)], "10.0.0.2"),
    ],
)
def test_the_table(peer: str, forwarded: list[str], client: str) -> None:
    assert str(PROXIES.of(scope(peer, *forwarded))) == client


@pytest.mark.parametrize("forged", ["127.0.0.1", "10.9.9.9", "198.51.100.1"])
def test_without_proxies_the_header_means_nothing(forged: str) -> None:
    assert str(Origins().of(scope("10.0.0.1", forged))) == "10.0.0.1"


def test_a_long_field_is_not_remembered() -> None:
    read.cache_clear()

    assert str(PROXIES.of(scope("10.0.0.1", "1" * 60_000))) == "10.0.0.1"

    assert read.cache_info().currsize == 1  # the proxy's


def test_who_has_no_address_is_nobody() -> None:
    assert Origins().of(scope(None)) is None
    assert Origins().of(scope("/run/a.socket")) is None
    assert neighbours(None) == neighbours(None)
    assert kept(None) is None


@pytest.mark.parametrize(
    ("address", "counted", "stored"),
    [
        ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ],
)
def test_who_has_a_whole_network_is_counted_once(address: str, counted: str, stored: str) -> None:
    assert neighbours(read(address)) == counted
    assert kept(read(address)) == stored
