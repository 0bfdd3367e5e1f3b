"""Openings: the private networks, and the ports there, that an operator lets callers reach.

Written `10.0.0.0/8:8080`, `fd00::/8:8000-8999`, or without ports for those that are open on the
public internet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Behind the slash there is no other colon: an IPv6 network needs no brackets.
_WITH_PORTS = re.compile(r"([^/]+/\d{1,3}):(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Opening:
    """A network that may be reached at these ports; None stands for the public ones."""

    network: Network
    ports: tuple[int, int] | None = None
    """The first and the last."""

    def leads_to(self, address: Address, port: int, public: Iterable[int]) -> bool:
        """Tell whether this lets somebody reach a port of an address."""
        if address not in self.network:
            return False
        return port in public if self.ports is None else self.ports[0] <= port <= self.ports[1]


def parse(text: str) -> Opening:
    """Read one. Raises ValueError."""
    match = _WITH_PORTS.fullmatch(text)
    if match is None:
        return Opening(ip_network(text))
    first, last = int(match[2]), int(match[3] or match[2])
    if not 0 < first <= last <= _MAX_PORT:
        raise ValueError("ports are from 1 to 65535, the lower first")
    return Opening(ip_network(match[1]), (first, last))
