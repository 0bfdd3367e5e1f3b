"""Origins: the address that a request came from, and how it is counted and remembered.

It is what the socket says. Behind a proxy that would be the proxy, so where the peer is in one of
`trusted` networks, `X-Forwarded-For` is read from its right end: each proxy appends the address
that it saw, so the first address from the right that is no trusted proxy is the client, and what
stands to the left of it was written by whoever sent the request. A field that cannot be read ends
the search at the last address that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

# A longer list of hops is an attempt to make us work.
_MAX_HOPS: Final = 32
_LONGEST: Final = 64


class Origins:
    """Tells who sent a request, given the networks of the proxies in front."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Mapping[str, Any]) -> Address | None:
        """Return the address of an ASGI request's client; None where nothing is known of it."""
        peer = scope.get("client")
        address = None if peer is None else read(peer[0])
        if address is None or not self._trusted or not self._is_proxy(address):
            return address
        hops = b",".join(v for name, v in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(hops.rsplit(b",", _MAX_HOPS)):
            # What is remembered of strangers' fields is short.
            said = read(hop.decode("latin-1").strip()) if len(hop) <= _LONGEST else None
            if said is None:
                return address
            address = said
            if not self._is_proxy(address):
                return address
        return address

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def read(text: str) -> Address | None:
    """Read an address; None for what is none. IPv4 inside IPv6 is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def neighbours(address: Address | None) -> str:
    """Return what one sender can change its address within: itself, or /64 for IPv6.

    All whose address is not known are counted together.
    """
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def kept(address: Address | None) -> str | None:
    """Return what is kept of an address: /24, or /48 for IPv6; it names a network, no person."""
    if address is None:
        return None
    bits = 24 if isinstance(address, IPv4Address) else 48
    return str(ip_network((address, bits), strict=False))
