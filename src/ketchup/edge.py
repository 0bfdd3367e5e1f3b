"""The edge: which requests are answered at all, and how many connections a client may hold.

Judged by the head of a request alone, before any surface sees it. What comes later decides by the
path and by nothing else that stands in a head: no address is ever built from `Host`.

- Exactly one `Host`, of a name that is served here. A page of a stranger whose name leads to this
  machine (DNS rebinding) is refused by that; so is what would poison a cache in front.
- The target is a path, the method one that a surface could know, the version 1.0 or 1.1.
- One way to tell how long a body is: `Content-Length`, or `Transfer-Encoding: chunked` in HTTP/1.1.
  Whatever could be read in two ways is refused (RFC 9112, section 6.3, and request smuggling).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

MAX_HEADERS: Final = 100
MAX_HEAD_BYTES: Final = 32 * 1024
METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
ANY_HOST: Final = "*"

Header = tuple[bytes, bytes]

_JUDGED: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_HOST: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-][A-Za-z0-9._-]{0,252})(?::[0-9]{0,5})?"
)
# Of a header: `: ` and the end of its line. Of the first line: method, version and spaces.
_PER_HEADER: Final = 4
_PER_HEAD: Final = 32
_REMEMBERED: Final = 256


class Refused(Exception):
    """The request is not let in. The status and the envelope that say so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class NotHttp(Refused):
    """What came is not HTTP as anybody has a reason to speak it."""

    def __init__(self) -> None:
        super().__init__(400, "request is not valid HTTP")


class Head(NamedTuple):
    """The head of a request as it was read; the names of the headers in lower case."""

    method: bytes
    target: bytes
    version: str
    headers: Sequence[Header]


class Hosts:
    """The names by which clients may ask for this service.

    `own` are always among them. What is `listed` is besides; where nothing is, every address is,
    and every name without a dot: neither can be the name of a stranger's page.
    """

    def __init__(self, own: Iterable[str] = (), listed: Iterable[str] = ()) -> None:
        named = list(listed)
        self._names = {_plain(name) for name in (*own, *named)}
        self._is_any = ANY_HOST in named
        self._is_open = not named
        self._served: dict[bytes, bool] = {}

    def serves(self, header: bytes) -> bool:
        """Tell whether a `Host` names this service. Raises Refused when it names nothing."""
        served = self._served.get(header)
        if served is None:
            served = self._judge(header)
            if len(self._served) < _REMEMBERED:
                self._served[header] = served
        return served

    def _judge(self, header: bytes) -> bool:
        match = _HOST.fullmatch(header)
        if match is None:
            raise Refused(400, "request must name one host")
        name = _plain(match[1].decode("ascii"))
        return self._is_any or name in self._names or (self._is_open and _is_nobodys(name))


class Peers:
    """How many connections each client address holds. Of IPv6, a /64 is one client.

    The addresses of `uncapped` networks are not counted: behind a reverse proxy's are all clients.
    """

    def __init__(self, most: int, uncapped: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        """Take the most connections that one may hold; 0 for no limit."""
        self._most = most
        self._uncapped = tuple(uncapped)
        self._held: Counter[str] = Counter()

    def take(self, address: str) -> str | None:
        """Count a connection and return whose it is, for `release`; empty when it is not counted.

        None when that client has enough.
        """
        client = self._client(address)
        if not client:
            return client
        if self._held[client] >= self._most:
            return None
        self._held[client] += 1
        return client

    def release(self, client: str) -> None:
        """Forget a connection that was taken."""
        if not client:
            return
        self._held[client] -= 1
        if self._held[client] <= 0:
            del self._held[client]

    def __len__(self) -> int:
        """Return how many clients are counted."""
        return len(self._held)

    def _client(self, address: str) -> str:
        if not self._most:
            return ""
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if any(parsed in network for network in self._uncapped):
            return ""
        if isinstance(parsed, IPv6Address):
            return str(ip_network((int(parsed), 64), strict=False))
        return str(parsed)


def judge(head: Head, hosts: Hosts) -> None:
    """Raise Refused unless the head is one that is let in."""
    if head.version not in _VERSIONS or len(head.headers) > MAX_HEADERS:
        raise NotHttp
    if _size(head) > MAX_HEAD_BYTES:
        raise NotHttp
    if head.method not in METHODS:
        raise Refused(405, "method not allowed")
    if not head.target.startswith(b"/"):
        # `GET http://other/` and `OPTIONS *` are for proxies; this is none.
        raise NotHttp
    # Every request pays for this: the rest looks at these few alone.
    judged = [header for header in head.headers if header[0] in _JUDGED]
    _judge_framing(judged, head.version)
    _judge_host(judged, hosts)


def host_name(text: str) -> str:
    """Return a name or an address that `Host` may have, or `*`. Raises ValueError."""
    match = _HOST.fullmatch(text.encode("ascii", "replace"))
    if text != ANY_HOST and (match is None or match[1].decode("ascii") != text):
        # An address of IPv6 may be written without its brackets.
        return str(ip_address(text))
    return text


def _size(head: Head) -> int:
    headers = sum(len(name) + len(value) + _PER_HEADER for name, value in head.headers)
    return _PER_HEAD + len(head.target) + headers


def _judge_framing(headers: Sequence[Header], version: str) -> None:
    encodings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) > 1 or len(encodings) > 1:
        raise NotHttp
    if encodings and (lengths or version == "1.0" or encodings[0].lower() != b"chunked"):
        raise NotHttp


def _judge_host(headers: Sequence[Header], hosts: Hosts) -> None:
    named = [value for name, value in headers if name == b"host"]
    if len(named) != 1:
        raise Refused(400, "request must name one host")
    if not hosts.serves(named[0]):
        raise Refused(421, "host is not served here")


def _plain(name: str) -> str:
    """Write a name in the one way in which it is compared."""
    name = name.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def _is_nobodys(name: str) -> bool:
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
