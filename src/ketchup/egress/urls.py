"""URLs of callers: read strictly, refused when in doubt, and without asking the network.

Whatever the input, the only exception is BadUrl.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ketchup.egress.errors import BadUrl

MAX_URL_LENGTH: Final = 2048
_MAX_HOST_LENGTH: Final = 253
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
# Control characters and spaces split requests; a backslash is a slash to some parsers only.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")
# Everything printable that may already stand in a path or query, so that only the rest is escaped.
_AS_IT_IS: Final = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~\""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart once and for all."""

    scheme: str
    host: str
    """ASCII, lower case, IPv6 without its brackets."""
    port: int
    path: str
    """Path and query, ASCII."""

    @property
    def origin(self) -> str:
        """The destination as `scheme://host:port`."""
        return f"{self.scheme}://{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return self._bracketed
        return f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def check_url(url: str) -> None:
    """Raise BadUrl unless this is an http(s) URL that we would try to open."""
    parse_url(url)


def origin(url: str) -> str:
    """Return `scheme://host:port` in lower case, the port always written out."""
    return parse_url(url).origin


def parse_url(url: str) -> Target:
    """Take a URL apart. Raises BadUrl."""
    if not 0 < len(url) <= MAX_URL_LENGTH:
        raise BadUrl(f"the URL has {len(url)} characters")
    if _FORBIDDEN.search(url):
        raise BadUrl("the URL holds a control character, a space or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts)
    except ValueError as error:  # UnicodeError is one
        raise BadUrl(f"the URL does not parse: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise BadUrl("the scheme is not http or https")
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    if not 0 < port <= _MAX_PORT:
        raise BadUrl("the port is out of range")
    return Target(scheme=parts.scheme, host=host, port=port, path=_path(parts))


def join(base: Target, location: str) -> Target:
    """Return where a redirect leads. Raises BadUrl."""
    if len(location) > MAX_URL_LENGTH or _FORBIDDEN.search(location):
        raise BadUrl("the redirect's location is too long or holds a forbidden character")
    try:
        url = urljoin(base.origin + base.path, location)
    except ValueError as error:
        raise BadUrl(f"the redirect's location does not parse: {error}") from error
    return parse_url(url)


def _host(parts: SplitResult) -> str:
    if "@" in parts.netloc:
        raise BadUrl("the URL holds a user name")
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc or "]" in parts.netloc:
        return _literal(parts.netloc)
    if not host.isascii():
        host = _ascii(host)
    if len(host) > _MAX_HOST_LENGTH or not _HOST.fullmatch(host):
        raise BadUrl("the URL names no host")
    return host


def _literal(netloc: str) -> str:
    """Read `[::1]:8080`. Brackets around a name once slipped past other guards."""
    inside, closed, after = netloc.removeprefix("[").partition("]")
    if not closed or not netloc.startswith("[") or not re.fullmatch(r"(:\d*)?", after):
        raise BadUrl("the brackets hold no IPv6 address")
    if "%" in inside:
        raise BadUrl("the address has a scope")
    return str(IPv6Address(inside))


def _ascii(host: str) -> str:
    # Longer names are refused before the codec sees them: it is slow on long labels.
    if len(host) > _MAX_HOST_LENGTH:
        raise BadUrl("the host is too long")
    return host.encode("idna").decode("ascii").lower().removesuffix(".")


def _path(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, safe=_AS_IT_IS)
