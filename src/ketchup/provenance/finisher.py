"""The finisher: an engine's picture in, the picture to store out, by way of a confined child.

One trip does it all: the picture is decoded to its last row, encoded anew from its pixels, signed
and marked, and its fingerprints are taken. A second kind of
trip judges a stranger's picture for `POST /v1/provenance/verify`.

The signing key stays here. A child has the certificate, and asks for the signature of what it is
working on, once per picture: code that took it over can have something else signed in that place,
but cannot carry the key away, for it can open no connection and read no file either.

What a child does is written in `workshop`, which is never imported here: it loads parsers.
"""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from ketchup.confined.children import Child, ChildLost, Children
from ketchup.errors import Unavailable
from ketchup.provenance.containers import Source
from ketchup.provenance.fingerprint import Fingerprint, PerceptualHash
from ketchup.providers.base import GeneratedImage, ImageFormat

if TYPE_CHECKING:
    from ketchup.provenance.signer import Credential, Signing

MEMORY_BYTES: Final = 1024 * 1024 * 1024
CPU_SECONDS: Final = 10

_WORKSHOP: Final = Path(__file__).with_name("workshop.py")
_LENGTHS: Final = struct.Struct(">cII")
_SIGN: Final = b"S"
_DONE: Final = b"D"
_FAILED: Final = b"F"
_MAX_HEAD: Final = 64 * 1024
_MAX_BYTES: Final = 128 * 1024 * 1024
_MAX_SIDE: Final = 16_384


class NotAPicture(Exception):
    """The bytes cannot be decoded to the end. `str(error)` is for the log."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is said about a picture in its manifest."""

    source: Source
    model: str
    version: str
    """Of Ketchup."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture as it is stored."""

    image: GeneratedImage
    fingerprint: Fingerprint | None
    """None without a credential: what is not signed is not remembered."""
    is_signed: bool
    problem: str
    """Why it is not signed, for the log."""


class _Prints(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    pixels: str
    phash: int

    def taken(self) -> Fingerprint:
        digests = len(self.sha256) == len(self.pixels) == 64  # noqa: PLR2004 hexadecimal
        if not digests or not 0 <= self.phash < 2**64:
            raise EOFError("the child answers nonsense")
        return Fingerprint(self.sha256, self.pixels, PerceptualHash(self.phash))


class _Picture(msgspec.Struct, forbid_unknown_fields=True):
    format: ImageFormat
    width: int
    height: int
    signed: bool
    problem: str
    prints: _Prints | None


class Judged(msgspec.Struct, forbid_unknown_fields=True):
    """What a stranger's picture says. Texts are its own: never trust them."""

    state: str
    signer: str
    generator: str
    model: str
    source: str
    mark: str
    upstream: list[str]
    problems: list[str]
    is_ours: bool
    """Whether the credential's own authority signed it."""
    prints: _Prints | None

    @property
    def fingerprint(self) -> Fingerprint | None:
        """What it is looked up by; None for what is no picture."""
        return self.prints.taken() if self.prints else None


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    reason: str


_Answer = TypeVar("_Answer", bound=msgspec.Struct)


def _signing(credential: Credential) -> Signing:
    from ketchup.provenance.signer import Signing  # noqa: PLC0415 loaded where pictures are signed

    return Signing(credential)


class Finisher:
    """Finishes pictures in at most `processes` children. Safe for concurrent use.

    Without a credential nothing is signed; everything else is done all the same.
    """

    def __init__(
        self,
        credential: Credential | None,
        *,
        processes: int = 2,
        jobs_per_process: int = 100,
        seconds: float = 30.0,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._signing = _signing(credential) if credential else None
        self._seconds = seconds
        # Certificates are for everybody to see, so they may stand on a command line.
        arguments = (self._signing.algorithm, self._signing.chain) if self._signing else ()
        self._children = Children(
            _WORKSHOP,
            processes=processes,
            jobs_per_process=jobs_per_process,
            memory_bytes=memory_bytes,
            cpu_seconds=CPU_SECONDS,
            arguments=arguments,
        )
        # Strangers' pictures have one of their own: they never wait in front of paid ones.
        self._judge = Children(
            _WORKSHOP,
            processes=1,
            jobs_per_process=jobs_per_process,
            memory_bytes=memory_bytes,
            cpu_seconds=CPU_SECONDS,
            arguments=arguments,
        )

    @property
    def signs(self) -> bool:
        """Whether there is a credential."""
        return self._signing is not None

    async def warm(self) -> None:
        """Start a child ahead of the first picture. Raises nothing: that one tries again."""
        with suppress(Unavailable):
            await self._children.warm()

    async def finish(self, image: GeneratedImage, wished: ImageFormat, origin: Origin) -> Finished:
        """Make a picture what it is stored as. Raises NotAPicture, ChildLost or Unavailable."""
        asked = {"do": "finish", "format": image.format, "wished": wished}
        asked |= {"source": origin.source, "model": origin.model, "version": origin.version}
        head, data = await self._run(self._children, asked, image.data, _Picture)
        if not 1 <= min(head.width, head.height) <= max(head.width, head.height) <= _MAX_SIDE:
            raise ChildLost("answers nonsense")
        made = GeneratedImage(data, head.format, head.width, head.height)
        prints = head.prints.taken() if head.prints else None
        return Finished(made, prints, head.signed, head.problem)

    async def judge(self, data: bytes) -> Judged:
        """Read what a stranger's picture says. Raises ChildLost or Unavailable."""
        head, _ = await self._run(self._judge, {"do": "judge"}, data, Judged)
        return head

    async def close(self) -> None:
        """End the idle children. May be called twice; a job under way ends its child itself."""
        await self._children.close()
        await self._judge.close()

    async def _run(
        self, children: Children, asked: dict[str, str], data: bytes, kind: type[_Answer]
    ) -> tuple[_Answer, bytes]:
        return await children.run(
            partial(self._exchange, head=json.dumps(asked).encode(), data=data, kind=kind),
            seconds=self._seconds,
            answers=(NotAPicture,),
        )

    async def _exchange(
        self, child: Child, head: bytes, data: bytes, kind: type[_Answer]
    ) -> tuple[_Answer, bytes]:
        await child.send(_LENGTHS.pack(_DONE, len(head), len(data)), head, data)
        verdict, said, made = await _received(child)
        # A manifest with a broken parent is written a second time, without it.
        for _ in range(2):
            if verdict != _SIGN or self._signing is None:
                break
            signature = await asyncio.to_thread(self._signing.sign, said)
            await child.send(_LENGTHS.pack(_SIGN, len(signature), 0), signature)
            verdict, said, made = await _received(child)
        try:
            if verdict == _FAILED:
                raise NotAPicture(msgspec.json.decode(said, type=_Failure).reason[:200])
            if verdict == _DONE:
                return msgspec.json.decode(said, type=kind), made
        except msgspec.MsgspecError as error:
            raise EOFError("the child answers nonsense") from error
        raise EOFError("the child answers nonsense")


async def _received(child: Child) -> tuple[bytes, bytes, bytes]:
    verdict, head, data = _LENGTHS.unpack(await child.receive(_LENGTHS.size))
    if head > _MAX_HEAD or data > _MAX_BYTES:
        raise EOFError("the child answers nonsense")
    return verdict, await child.receive(head), await child.receive(data)
