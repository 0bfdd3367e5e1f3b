"""An egress that may open one address of loopback, at every port."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Sequence

from ketchup import openings
from ketchup.clock import SystemClock
from ketchup.egress import Bounds, Egress, Resolver

FRIEND = "127.0.0.2"
"""The one address that may be opened; every other one of loopback is internal."""


def egress_for(
    resolver: Resolver | None = None,
    *,
    allow: Sequence[str] = (f"{FRIEND}/32",),
    ports: Collection[int] = range(1, 65536),
    tls: ssl.SSLContext | None = None,
    bounds: Bounds | None = None,
    own_url: str | None = None,
    own_ports: Collection[int] = (),
) -> Egress:
    """Every port is open: what keeps an internal service safe here is its address alone."""
    return Egress(
        SystemClock(),
        allow=[openings.parse(text) for text in allow],
        ports=ports,
        resolver=resolver,
        tls=tls,
        bounds=bounds,
        own_url=own_url,
        own_ports=own_ports,
    )


def resolving(*answers: str) -> Resolver:
    async def resolve(*_: object) -> Sequence[str]:
        return answers

    return resolve


async def read(egress: Egress, url: str, *, max_redirects: int = 3) -> bytes:
    fetched = await egress.get(url, max_bytes=1000, deadline_seconds=5, max_redirects=max_redirects)
    return fetched.data
