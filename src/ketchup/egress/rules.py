"""Rules: which ports of which addresses callers may have opened."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from ketchup.egress.addresses import is_public
from ketchup.egress.errors import Blocked
from ketchup.openings import Address, Opening

_WEB_PORTS: Final = (80, 443)


class Rules:
    """The public internet at `ports`, and what `allow` opens; never this service itself.

    Our own address is known by its name and by where we listen. What stands before us is not: a
    stranger's name for our proxy is a name like any other, and carries its own Host.
    """

    def __init__(
        self,
        allow: Collection[Opening],
        ports: Collection[int],
        *,
        own_host: tuple[str, int] | None = None,
        own_ports: Collection[int] = (),
    ) -> None:
        self._allow = allow
        self._ports = ports
        self._own_hosts = (
            {(own_host[0], port) for port in (own_host[1], *_WEB_PORTS)} if own_host else set()
        )
        self._own_ports = own_ports

    def judge_host(self, host: str, port: int) -> None:
        """Raise Blocked for the name by which clients know us."""
        if (host, port) in self._own_hosts:
            raise Blocked(f"{host} port {port} is this service")

    def judge(self, host: str, address: Address, port: int) -> None:
        """Raise Blocked unless this port of this address may be dialled for a caller."""
        if port in self._own_ports and _is_ours(address):
            raise Blocked(f"{host} resolves to {address}, where this service listens at {port}")
        if any(opening.leads_to(address, port, self._ports) for opening in self._allow):
            return
        if not is_public(address):
            raise Blocked(f"{host} resolves to {address}, which is not public")
        if port not in self._ports:
            raise Blocked(f"{host} port {port} is not among those that callers may name")


def _is_ours(address: Address) -> bool:
    """Tell whether this machine has the address: no other can be bound. Nothing is sent."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
