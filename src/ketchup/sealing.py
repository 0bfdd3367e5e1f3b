"""Sealing: secrets that lie in the database, by AES-256-GCM.

A sealed value is `0x01 | generation, 4 bytes | nonce, 12 bytes | ciphertext and tag`. The place it
lies at, `table/row/column`, is its associated data: moved to another row or column, it does not
open. `generation` says which key of a ring it was sealed by; see `workspaces.vault`.

The library is loaded at the first use: a start that seals and opens nothing does not pay for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

KEY_BYTES: Final = 32
_FORM: Final = b"\x01"
_GENERATION_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEAD: Final = len(_FORM) + _GENERATION_BYTES


class Unsealable(Exception):
    """It was sealed by another key, for another place, or was changed. Says nothing of it."""


def seal(key: bytes, generation: int, plain: bytes, place: str) -> bytes:
    """Return `plain` sealed for its place, by the key of this generation."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 see above

    head = _FORM + generation.to_bytes(_GENERATION_BYTES, "big")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return head + nonce + AESGCM(key).encrypt(nonce, plain, head + place.encode())


def unseal(keys: Mapping[int, bytes], sealed: bytes, place: str) -> bytes:
    """Return what was sealed for this place; `keys` are by their generation. Raises Unsealable."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 see above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 see above

    head, nonce = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE_BYTES]
    key = keys.get(generation_of(sealed))
    if key is None or not sealed.startswith(_FORM):
        raise Unsealable("sealed by a key that is not here")
    try:
        return AESGCM(key).decrypt(nonce, sealed[_HEAD + _NONCE_BYTES :], head + place.encode())
    except (InvalidTag, ValueError) as error:
        raise Unsealable("sealed for another place, or changed") from error


def generation_of(sealed: bytes) -> int:
    """Return which generation of keys a value was sealed by."""
    return int.from_bytes(sealed[len(_FORM) : _HEAD], "big")


def subkey(root: bytes, purpose: str) -> bytes:
    """Derive a key for one purpose: HKDF-SHA-256 (RFC 5869) without salt, 32 bytes."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 see above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 see above

    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(root)
