"""Egress: the only way to open an address that a caller gave us.

A caller may name any host, and a host may answer with any address: our database, the cloud's
metadata service, the machine next door. Text tells nothing, because a resolver reads `2130706433`
and `①②⑦.⓪.⓪.①` as loopback, and an answer checked earlier may differ from the one dialled later. So
the guard stands at the connection:

  parse the URL → resolve the name, every time → judge EVERY answer → dial a judged address itself

One bad answer refuses the name. TLS still verifies the certificate against the name. Redirects are
followed by hand, for reads only, and each hop starts over at the first step. There are no proxies,
cookies, credentials, kept connections or decompression.

Every failure is an EgressError with one and the same sentence; what happened is in `detail`, for
the log alone. Otherwise the error text would be a port scanner for whoever sends us URLs.

EgressError
├── BadUrl        not an http(s) URL that we would open
├── Blocked       resolves to an address, or names a port, that is not for callers
├── Unreachable   no usable answer
├── TimedOut      no complete answer within the deadline
├── Crowded       not tried: it did not come to its turn
├── TooLarge      the answer is over its limit
└── WrongType     the answer is of a media type that was not asked for
"""

from ketchup.egress.addresses import is_public
from ketchup.egress.client import Egress, Fetched, Reply
from ketchup.egress.connect import Resolver
from ketchup.egress.errors import (
    BadUrl,
    Blocked,
    Crowded,
    EgressError,
    TimedOut,
    TooLarge,
    Unreachable,
    WrongType,
)
from ketchup.egress.turns import Bounds
from ketchup.egress.urls import check_url, origin

__all__ = [
    "BadUrl",
    "Blocked",
    "Bounds",
    "Crowded",
    "Egress",
    "EgressError",
    "Fetched",
    "Reply",
    "Resolver",
    "TimedOut",
    "TooLarge",
    "Unreachable",
    "WrongType",
    "check_url",
    "is_public",
    "origin",
]
