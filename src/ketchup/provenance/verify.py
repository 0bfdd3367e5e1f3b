"""Verification: what a picture says about itself, and whether that can be believed.

Nothing here raises for what is in the bytes, and nothing is fetched: a manifest can name an address
for the rest of itself, and to follow it would be a request that a stranger chooses.

*Valid* means that neither the picture nor what is said about it changed since it was signed (of the
manifest's own envelope, a kilobyte of padding and labels may change unseen: the format does not
cover it, and nothing in a report comes from there); *trusted*, that the signer is also one
whom the reader knows. Anybody can make a certificate with any name in it, so a name in a report
that is valid only is a claim, not a fact.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from c2pa import Context, Reader, Settings

from ketchup.provenance import containers
from ketchup.providers.base import sniff

OFFLINE: Final = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_TEXT: Final = 200
_MAX_PROBLEMS: Final = 20
_MAX_INGREDIENTS: Final = 20


class State(StrEnum):
    """What a manifest is worth."""

    TRUSTED = "trusted"  # unchanged, and signed by somebody whom the reader trusts
    VALID = "valid"  # unchanged, and signed by somebody
    INVALID = "invalid"  # changed, damaged, or signed by a certificate that is over
    NONE = "none"  # there is no manifest


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. Texts are the picture's own, cut to 200 characters: never trust them."""

    state: State
    signer: str = ""
    signed_at: str = ""
    """By the clock of a time-stamping authority; empty where none was asked."""
    generator: str = ""
    model: str = ""
    source: str = ""
    """The last word of the digital source type that was signed."""
    mark: str = ""
    """The same in IPTC's field, which anybody can write."""
    upstream: Sequence[str] = ()
    """The signers of the pictures that it was made from."""
    problems: Sequence[str] = ()
    """C2PA's codes of what is wrong, or one sentence."""


def verify(data: bytes, anchors: Sequence[str] = ()) -> Report:
    """Read and judge the manifest of a PNG, JPEG or WebP. `anchors` are PEM certificates.

    Blocks for 1 to 5 ms.
    """
    image_format = sniff(data)
    if image_format is None:
        return Report(State.NONE, problems=("not a PNG, JPEG or WebP image",))
    if len(data) > _MAX_BYTES:
        return Report(State.NONE, problems=("larger than 64 MB",))
    mark, mime = containers.read_mark(data, image_format), image_format.mime_type
    try:
        made = Reader.try_create(mime, io.BytesIO(data), context=_context(anchors))
        if made is None:
            return Report(State.NONE, mark=mark)
        with made as reader:
            return _report(json.loads(reader.json()), reader.get_validation_state(), mark)
    except Exception as error:  # noqa: BLE001 a stranger's manifest may break anything in any way
        what = f"{type(error).__name__.removeprefix('_C2pa')}: {error}"
        return Report(State.INVALID, mark=mark, problems=(_text(what),))


def last_certificate(chain: str) -> str:
    """Return what a reader has to trust of a chain in PEM."""
    begin = "-----BEGIN CERTIFICATE-----"
    return begin + chain.rpartition(begin)[2]


def _context(anchors: Sequence[str]) -> Context:
    verifying: dict[str, Any] = {**OFFLINE, "verify_trust": True}
    settings: dict[str, Any] = {"verify": verifying}
    if anchors:
        settings["trust"] = {"trust_anchors": "".join(anchors)}
    return Context(Settings.from_dict(settings))


_STATES: Final = {"Trusted": State.TRUSTED, "Valid": State.VALID, "Invalid": State.INVALID}


def _report(found: Mapping[str, Any], state: str, mark: str) -> Report:
    manifest = found["manifests"][found["active_manifest"]]
    signed = manifest.get("signature_info") or {}
    action = _first_action(manifest)
    generators = manifest.get("claim_generator_info") or [{}]
    codes = dict.fromkeys(status["code"] for status in found.get("validation_status") or [])
    return Report(
        state=_STATES.get(state, State.INVALID),
        signer=_text(signed.get("issuer")),
        signed_at=_text(signed.get("time")),
        generator=_text(f"{generators[0].get('name', '')} {generators[0].get('version', '')}"),
        model=_text((action.get("softwareAgent") or {}).get("name")),
        source=_text(str(action.get("digitalSourceType") or "").rpartition("/")[2]),
        mark=mark,
        upstream=tuple(_signers(found["manifests"], manifest)),
        problems=tuple(_text(code) for code in list(codes)[:_MAX_PROBLEMS]),
    )


def _first_action(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    for assertion in manifest.get("assertions") or []:
        if str(assertion["label"]).startswith("c2pa.actions"):
            first: Mapping[str, Any] = assertion["data"]["actions"][0]
            return first
    return {}


def _signers(manifests: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    named = []
    for ingredient in (manifest.get("ingredients") or [])[:_MAX_INGREDIENTS]:
        below = manifests.get(ingredient.get("active_manifest")) or {}
        if signed := below.get("signature_info"):
            named.append(_text(signed.get("issuer")))
    return named


def _text(value: object) -> str:
    return str(value or "").strip()[:_MAX_TEXT]
