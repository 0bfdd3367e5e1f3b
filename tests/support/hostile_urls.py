"""URLs that lead inside: every notation of every address that must not be reached.

Each is made for one port, where a canary may listen. Names end in `.test` and are resolved by
`InternalNames`; what looks like a number is left to the machine's resolver, which reads most of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import cycle
from typing import Final

from ketchup.egress.lookup import SystemResolver

INTERNAL_V4: Final = (
    "127.0.0.1", "127.0.0.3", "0.0.0.0", "10.1.1.1", "100.64.0.1", "100.100.100.200",
    "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.168.0.1", "198.18.0.1", "168.63.129.16",
    "224.0.0.1", "255.255.255.255",
)  # fmt: skip
INTERNAL_V6: Final = (
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1",
    "2001:db8::1", "3fff::1", "5f00::1", "100::1", "64:ff9b:1::1", "3ffe::1",
)  # fmt: skip
FRIENDLY: Final = "127.0.0.2"
"""The one address that may be reached."""


def hostile_urls(port: int) -> list[str]:
    """Return all of them, each once."""
    hosts = [*_v4_hosts(), *_v6_hosts(), *_names()]
    urls = [f"http://{host}:{port}/" for host in hosts]
    return list(dict.fromkeys([*urls, *_whole_urls(port)]))


def _v4_hosts() -> Iterator[str]:
    for text in INTERNAL_V4:
        address = IPv4Address(text)
        number, parts = int(address), [int(part) for part in text.split(".")]
        tail = (parts[1] << 16) + (parts[2] << 8) + parts[3]
        high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
        yield from (
            text,
            f"{text}.",
            str(number),
            f"{number:#x}",
            f"{number:#X}",
            f"0{number:o}",
            ".".join(f"{part:#x}" for part in parts),
            ".".join(f"0{part:o}" for part in parts),
            ".".join(f"0{part:03o}" for part in parts),
            f"{parts[0]}.{tail}",
            f"{parts[0]}.{parts[1]}.{(parts[2] << 8) + parts[3]}",
            f"{parts[0]:#x}.0{tail:o}",
            "".join(chr(0xFF10 + int(c)) if c.isdigit() else c for c in text),
            text.replace(".", "。"),
            text.replace(".", "%2e"),
            f"[::ffff:{text}]",
            f"[::ffff:{high}:{low}]",
            f"[::{text}]",
            f"[::ffff:0:{text}]",
            f"[64:ff9b::{text}]",
            f"[2002:{high}:{low}::1]",
            f"[2001:0:{high}:{low}::1]",
            f"[2001:0:4136:e378:8000:63bf:{~number >> 16 & 0xFFFF:x}:{~number & 0xFFFF:x}]",
            f"[fe80::5efe:{text}]",
            f"[{text}]",
        )


def _v6_hosts() -> Iterator[str]:
    for text in INTERNAL_V6:
        yield f"[{text}]"
        yield f"[{IPv6Address(text).exploded.upper()}]"
        yield f"[{text}%25eth0]"
        yield f"[{text}%lo]"
        yield text


def _names() -> Iterator[str]:
    for number in range(len(INTERNAL_V4) + len(INTERNAL_V6)):
        yield f"only{number}.test"
        yield f"ONLY{number}.TEST."
        yield f"mixed{number}.test"
        yield f"mixed-last{number}.test"
        yield f"alias{number}.test"
    yield from ("localhost", "LOCALHOST.", "ⓛocalhost", "①②⑦.⓪.⓪.①", "scoped.test", "0", "127.1")


def _whole_urls(port: int) -> Iterator[str]:
    inside = f"127.0.0.1:{port}"
    yield from (
        f"http://{FRIENDLY}@{inside}/",
        f"http://{FRIENDLY}:80@{inside}/",
        f"http://{FRIENDLY}%40{inside}/",
        f"http://{inside}#@{FRIENDLY}/",
        f"http://{inside}?@{FRIENDLY}/",
        f"http://{inside}\\@{FRIENDLY}/",
        f"http:\\\\{inside}\\",
        f"http:/{inside}/",
        f"http:{inside}/",
        f"http:///{inside}/",
        f"//{inside}/",
        f" http://{inside}/",
        f"http://{inside}/ HTTP/1.1\r\nHost: x",
        f"http://\t{inside}/",
        f"http://[{FRIENDLY}]@{inside}/",
        f"http://[::1]{FRIENDLY}:{port}/",
        f"http://[localhost]:{port}/",
        f"http://{inside}:80/",
        f"http://{FRIENDLY},{inside}/",
        f"http://127.0.0.1:+{port}/",
        f"http://127.0.0.1:{port + 65536}/",
        f"HTTP://{inside}/",
        f"https://{inside}/",
        f"ftp://{inside}/",
        f"gopher://{inside}/_x",
        f"file://127.0.0.1:{port}/etc/passwd",
        f"jar:http://{inside}!/",
        f"dict://{inside}/x",
        f"unix://{inside}/",
        "file:///etc/passwd",
        "javascript:alert(1)",
    )


class InternalNames:
    """Resolves `.test` as an attacker's name server would, and the rest as the machine does.

    `only`, `alias`: one bad address. `mixed`: a good one and a bad one. `rebind`: a good one first,
    and bad ones from the second time on. `later`: a good one until `turn`.
    """

    def __init__(self) -> None:
        self._machine = SystemResolver()
        self._bad = (*INTERNAL_V4, *INTERNAL_V6)
        self._asked: dict[str, Iterator[str]] = {}
        self.has_turned = False

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host; the bad one is chosen by the number in its name."""
        if not host.endswith(".test"):
            return await self._machine(host, port)
        number = int("".join(c for c in host if c.isdigit()) or 0)
        bad = self._bad[number % len(self._bad)]
        match host.removesuffix(".test").rstrip("0123456789"):
            case "mixed":
                return [bad, FRIENDLY]
            case "mixed-last":
                return [FRIENDLY, bad]
            case "rebind":
                flips = self._asked.setdefault(host, cycle([FRIENDLY, bad]))
                return [next(flips)]
            case "later":
                return [bad if self.has_turned else FRIENDLY]
            case other:
                return ["fe80::1%lo" if other == "scoped" else bad]
