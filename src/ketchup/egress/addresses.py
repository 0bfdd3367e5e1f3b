"""Which addresses belong to the public internet.

The table is our own, after the IANA special-purpose registries. The flags of `ipaddress` are not
used: between Python 3.11 and 3.13 they let 7 to 16 of 48 internal addresses through, and a
different set in each version.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from ketchup.openings import Address

_V4_SPECIAL: Final = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this host; connects to loopback on Linux
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent, on a public address
        "169.254.0.0/16",  # link-local; most clouds' metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Outside 2000::/3 lie loopback, link-local, unique local, NAT64 and everything unassigned.
_V6_GLOBAL: Final = IPv6Network("2000::/3")
_V6_SPECIAL: Final = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments, with Teredo: carries an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",
        "3ffe::/16",
        "3fff::/20",
    )
)


def parse(text: str) -> Address | None:
    """Read an address as a resolver returns it; None when it has a scope or is no address.

    An IPv4 address in IPv6 clothes (`::ffff:127.0.0.1`) is connected to as IPv4, and so comes back
    as IPv4.
    """
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Tell whether anybody on the internet may be sent there."""
    if isinstance(address, IPv4Address):
        return not any(address in net for net in _V4_SPECIAL)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    return address in _V6_GLOBAL and not any(address in net for net in _V6_SPECIAL)
