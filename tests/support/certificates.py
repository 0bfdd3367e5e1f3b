"""Certificates as an operator buys them: a signer of any kind, issued by an authority."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ketchup.clock import SystemClock
from ketchup.provenance import certificates
from ketchup.provenance.certificates import Key

_MAKERS: Final[Mapping[str, Callable[[], Key]]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
KINDS: Final = tuple(_MAKERS)
_DAY: Final = dt.timedelta(days=1)


def operators_certificate(
    folder: Path, kind: str = "es256", *, begins: int = -1, ends: int = 365
) -> tuple[Path, Path]:
    """Write a chain and its key, and return both paths; `begins` and `ends` are days from now."""
    now = dt.datetime.fromtimestamp(SystemClock().now() / 1_000_000, dt.UTC)
    span = (now + begins * _DAY, now + ends * _DAY)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), _MAKERS[kind]()
    authority = certificates.authority(authority_key, "Acme", (now - 999 * _DAY, now + 999 * _DAY))
    leaf = certificates.signer(key, authority, authority_key, span)
    chain_file, key_file = folder / "chain.pem", folder / "key.pem"
    chain_file.write_bytes(leaf.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o600)
    return chain_file, key_file
