from __future__ import annotations

from ipaddress import ip_network

import pytest

from ketchup.config import Settings, SettingsError, load
from ketchup.edge import MAX_HEAD_BYTES, Head, Hosts, Peers, Refused, host_name, judge

OWN = ("images.example.com", "192.0.2.7", "::1")


def refusal(*headers: tuple[bytes, bytes], **other: object) -> tuple[int, str] | None:
    """Judge a head with these headers, and say how it was refused."""
    fields = {"method": b"GET", "target": b"/", "version": "1.1", **other}
    try:
        judge(Head(headers=headers, **fields), Hosts(OWN))  # type: ignore[arg-type] # as given
    except Refused as refused:
        return refused.status, refused.detail
    return None


HOST = (b"host", b"images.example.com")


# -- the names that are served ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "images.example.com", "IMAGES.example.COM", "images.example.com.", "images.example.com:443",
        "images.example.com:", "192.0.2.7:8000", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]",
    ],
)  # fmt: skip
def test_its_own_names_are_served_however_they_are_written(host: str) -> None:
    assert Hosts(OWN, ["other.example"]).serves(host.encode())


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[2001:db8::7]", "ketchup", "a.localhost"])
def test_what_cannot_be_a_strangers_page_is_served_until_names_are_listed(host: str) -> None:
    assert Hosts(OWN).serves(host.encode())
    assert not Hosts(OWN, ["other.example"]).serves(host.encode())


@pytest.mark.parametrize(
    "host", ["evil.example", "images.example.com.evil.example", "127.0.0.1.nip.io", "1.2.3.4.5"]
)
def test_a_strangers_name_is_not_served(host: str) -> None:
    assert not Hosts(OWN).serves(host.encode())
    assert Hosts(OWN, ["*"]).serves(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "", " ", "x/admin?y=", "x@images.example.com", "images.example.com:80:80", "x y", "x,y",
        "images.example.com#", "[::1", "::1", "[::1]x", "x:8a", "x:123456", "..", "\xe9.example",
        "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_whatever_is_listed(host: str) -> None:
    for hosts in (Hosts(OWN), Hosts(OWN, ["*"])):
        with pytest.raises(Refused, match="request must name one host") as refused:
            hosts.serves(host.encode("latin-1"))
        assert refused.value.status == 400


def test_the_names_that_were_asked_for_do_not_fill_the_memory() -> None:
    hosts = Hosts(OWN)
    for number in range(1000):
        assert not hosts.serves(b"%d.evil.example" % number)
    assert hosts.serves(b"images.example.com")
    assert len(hosts._served) <= 256


def test_names_are_read_from_the_settings() -> None:
    environ = {"KETCHUP_SERVER_HOSTS": "a.example, ::1,*"}
    assert load(environ, flags={}).settings.server.hosts == ("a.example", "::1", "*")
    assert Settings().server.hosts == ()
    for wrong in ("http://a.example", "a.example:80", "a/b", "a b"):
        with pytest.raises(SettingsError, match=r"host names and addresses without ports"):
            load({"KETCHUP_SERVER_HOSTS": wrong}, flags={})
        with pytest.raises(ValueError, match=r"."):
            host_name(wrong)


# -- heads -----------------------------------------------------------------------------------------


def test_a_head_that_is_let_in() -> None:
    assert refusal(HOST) is None
    assert refusal(HOST, (b"content-length", b"2"), method=b"POST", version="1.0") is None
    assert refusal(HOST, (b"transfer-encoding", b"Chunked"), method=b"POST") is None


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"PURGE", b"get", b""])
def test_a_method_that_no_surface_could_know(method: bytes) -> None:
    assert refusal(HOST, method=method) == (405, "method not allowed")


TE = (b"transfer-encoding", b"chunked")
CL = (b"content-length", b"0")


@pytest.mark.parametrize(
    ("framing", "version"),
    [
        ((CL, TE), "1.1"), ((TE, CL), "1.1"), ((CL, CL), "1.1"), ((TE, TE), "1.1"), ((TE,), "1.0"),
        (((b"transfer-encoding", b"identity"),), "1.1"), (((b"transfer-encoding", b""),), "1.1"),
        ((), "0.9"), ((), "2.0"),
    ],
)  # fmt: skip
def test_a_length_that_could_be_read_in_two_ways(
    framing: tuple[tuple[bytes, bytes], ...], version: str
) -> None:
    """Whatever the parser in front lets through: it is another library's, and has leniencies."""
    refused = refusal(HOST, *framing, method=b"POST", version=version)
    assert refused == (400, "request is not valid HTTP")


@pytest.mark.parametrize("length", [MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1])
def test_the_size_of_a_head_is_that_of_its_lines(length: int) -> None:
    """The parser does not tell how many bytes it read: a line's worth is counted for each."""
    name, value = HOST
    rest = length - 32 - 1 - len(name) - len(value) - 4 - len(b"x") - 4
    found = refusal(HOST, (b"x", b"y" * rest))
    assert (found is None) == (length == MAX_HEAD_BYTES)


# -- connections of one address --------------------------------------------------------------------


def test_an_address_holds_so_many_and_no_more() -> None:
    peers = Peers(2)
    held = [peers.take("192.0.2.1") for _ in range(3)]
    assert held == ["192.0.2.1", "192.0.2.1", None]
    assert peers.take("192.0.2.2") is not None
    peers.release("192.0.2.1")
    assert peers.take("192.0.2.1") is not None


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_of_ipv6_a_network_is_one_client(one: str, other: str, are_one: bool) -> None:
    peers = Peers(1)
    assert peers.take(one) is not None
    assert (peers.take(other) is None) == are_one


def test_what_is_uncapped_is_not_counted() -> None:
    peers = Peers(1, [ip_network("10.0.0.0/8")])
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert [peers.take(address) for _ in range(3)] == [""] * 3
    assert [Peers(0).take("192.0.2.1") for _ in range(3)] == [""] * 3
    peers.release("")
    assert len(peers) == 0


def test_a_client_that_went_away_is_forgotten() -> None:
    peers = Peers(1)
    for number in range(1000):
        client = peers.take(f"2001:db8:0:{number:x}::1")
        assert client is not None
        peers.release(client)
    assert len(peers) == 0


def test_by_default_proxies_of_private_networks_are_uncapped_and_strangers_are_not() -> None:
    rules = Settings().server
    peers = Peers(1, rules.uncapped)
    for address in ("127.0.0.1", "::1", "172.17.0.1", "10.0.0.1", "192.168.1.1", "fd00::1"):
        assert [peers.take(address) for _ in range(2)] == ["", ""]
    for address in ("203.0.113.1", "2001:db8::1", "100.64.0.1"):
        assert peers.take(address)
        assert peers.take(address) is None
    assert rules.connections_per_address == 256
