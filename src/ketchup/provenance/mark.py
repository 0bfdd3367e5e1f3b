"""Signing: a picture goes in, the same picture with a manifest and the IPTC mark comes out.

The manifest says that the picture was made by an algorithm, which model made it and when it was
signed. It says nothing about whoever asked for it: no prompt, no ids, no address. Not a pixel is
touched, and nothing is fetched.

A picture that comes with a manifest of its engine keeps it: ours then *opens* that picture as its
parent, and the engine's is carried along word for word, with what was found out about it. So it
does when the picture was encoded anew, which leaves every manifest behind.

`sign` blocks for 2 to 20 ms. It parses a file of somebody else's making in native code, which may
end its process: it belongs into one that does nothing else and has given up its rights. It opens no
file after the `Marker` was made and one picture of each format was signed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from c2pa import Builder, C2paError, C2paSignerInfo, C2paSigningAlg, Context, Settings, Signer

from ketchup.provenance import containers, verify
from ketchup.provenance.containers import SCHEMA, Source
from ketchup.providers.base import ImageFormat

if TYPE_CHECKING:
    # It loads a library of cryptography, which a process without the key does not need.
    from ketchup.provenance.signer import Credential

_UPSTREAM: Final = "upstream"
_SETTINGS: Final = {
    # A thumbnail is a second picture: 0.6 to 1.3 MB and 50 to 90 ms for 1024 pixels.
    "builder": {"thumbnail": {"enabled": False}},
    # What was signed is read back by tests; a reader per picture would double the time.
    "verify": {"verify_after_sign": False, **verify.OFFLINE},
}
Ask = Callable[[bytes], bytes]
"""Signs what is to be signed, in the format that COSE wants."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said about a picture. Everybody who has it can read this."""

    source: Source
    model: str
    version: str
    """Of Ketchup, which signs."""


@dataclass(frozen=True, slots=True)
class File:
    """A picture's file."""

    data: bytes
    format: ImageFormat


class NotSigned(Exception):
    """The picture's file does not add up; `str(error)` is for the operator."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A credential for a process that must not have its key: it asks for each signature."""

    chain: str
    algorithm: str
    ask: Ask


class Marker:
    """Signs pictures with one credential. Safe for concurrent use."""

    def __init__(self, held: Credential | Remote) -> None:
        if isinstance(held, Remote):
            self._make_signer = partial(_with_question, held)
        else:
            self._make_signer = partial(_with_key, held)
        self._context = Context(Settings.from_dict(_SETTINGS))

    def sign(
        self, data: bytes, image_format: ImageFormat, claim: Claim, original: File | None = None
    ) -> bytes:
        """Return the picture with its mark and manifest. Raises NotSigned.

        `original` is the file as the engine gave it, when the picture was encoded anew.
        """
        parent = original or File(data, image_format)
        marked = containers.marked(data, image_format, claim.source)
        # One that does not verify proves nothing, and could carry anything into our file.
        is_signed = containers.has_manifest(parent.data, parent.format) and (
            verify.verify(parent.data).state is not verify.State.INVALID
        )
        try:
            try:
                return self._signed(marked, parent if is_signed else None, image_format, claim)
            except C2paError:
                if not is_signed:
                    raise
                # A manifest that nobody can read proves nothing; the picture is still paid for.
                return self._signed(marked, None, image_format, claim)
        except C2paError as error:
            raise NotSigned(f"{type(error).__name__}: {error}") from error

    def _signed(
        self, marked: bytes, parent: File | None, image_format: ImageFormat, claim: Claim
    ) -> bytes:
        mime, out = image_format.mime_type, io.BytesIO()
        manifest = _manifest(claim, parent, image_format)
        with Builder(manifest, self._context) as builder, self._make_signer() as signer:
            if parent is not None:
                # The original bytes: the mark would break the engine's own signature.
                its_mime, file = parent.format.mime_type, io.BytesIO(parent.data)
                builder.add_ingredient(json.dumps(_PARENT), its_mime, file)
            builder.sign(signer, mime, io.BytesIO(marked), out)
        return out.getvalue()


# The library gives no word that one signer may be used by two threads at once: each has its own.


def _with_key(held: Credential) -> Signer:
    return Signer.from_info(C2paSignerInfo(held.algorithm.encode(), held.chain, held.key, None))


def _with_question(held: Remote) -> Signer:
    return Signer.from_callback(held.ask, C2paSigningAlg[held.algorithm.upper()], held.chain)


_PARENT: Final = {
    "title": "the engine's image",
    "relationship": "parentOf",
    "label": _UPSTREAM,
    "instance_id": _UPSTREAM,
}


def _manifest(claim: Claim, parent: File | None, image_format: ImageFormat) -> dict[str, Any]:
    action: dict[str, Any] = {
        "action": "c2pa.created" if parent is None else "c2pa.opened",
        "digitalSourceType": SCHEMA.decode() + claim.source,
        "softwareAgent": {"name": claim.model},
    }
    actions = [action]
    if parent is not None:
        action["parameters"] = {"ingredientIds": [_UPSTREAM]}
        if parent.format is not image_format:
            actions.append({"action": "c2pa.transcoded"})
    return {
        "claim_generator_info": [{"name": "Ketchup", "version": claim.version}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }
