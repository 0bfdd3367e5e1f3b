"""The credential that pictures are signed with: the operator's, or one that is made here.

The profile is C2PA's for signing certificates (`certificates`). One for servers is refused by every
reader, so it is refused here first.

Nothing stamps the time of a signature: there is no time-stamping authority without a network call.
A reader therefore takes a picture for invalid on the day its certificate ends. That is why a made
certificate lasts ten years and signs for the first only: what is signed today reads as valid for
nine years at least.

A made credential is one file of mode 0600, `DATA/provenance.pem`: the certificate, the authority
that issued it, and the keys of both. It is replaced as a whole, under a lock that all who share the
folder take, so nobody ever sees a certificate with another one's key. A renewal keeps the
authority: whoever trusts it goes on doing so.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from typing_extensions import override

from ketchup.clock import Clock
from ketchup.data_folder import DataFolderError
from ketchup.provenance import certificates
from ketchup.provenance.certificates import Key

CREDENTIAL_FILE: Final = "provenance.pem"
LEAF_DAYS: Final = 3650
SIGNING_DAYS: Final = 365
AUTHORITY_DAYS: Final = 3 * LEAF_DAYS

_LOCK_FILE: Final = ".provenance.lock"
_MAX_FILE_BYTES: Final = 256 * 1024
# Machines that share pictures do not share a clock to the second.
_BACKDATED: Final = dt.timedelta(minutes=5)
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "es256": hashes.SHA256(),
    "es384": hashes.SHA384(),
    "es512": hashes.SHA512(),
}
_MIN_RSA_BITS: Final = 2048


class CredentialUnusable(DataFolderError):
    """Pictures cannot be signed with what was given; `str(error)` is one sentence."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What signs: a certificate chain and its key."""

    chain: bytes
    """PEM, the signing certificate first."""
    key: bytes
    """PEM, PKCS#8: the library that signs takes no other."""
    algorithm: str
    """COSE's name in lower case, such as `es256`."""
    signer: str
    """The organisation that a reader shows."""
    ends_at: dt.datetime
    """When readers stop to take its pictures for valid."""

    @property
    def anchor(self) -> str:
        """The last certificate of the chain, PEM: what a reader has to trust."""
        return _certificates(self.chain)[-1].public_bytes(Encoding.PEM).decode()

    @override
    def __repr__(self) -> str:
        """Leave the key out: this may end in a log."""
        return f"Credential({self.algorithm}, {self.signer!r}, until {self.ends_at:%Y-%m-%d})"


class Signing:
    """Signs with a credential's key, for those who must not have it. Safe for concurrent use."""

    def __init__(self, credential: Credential) -> None:
        self.chain = credential.chain.decode()
        self.algorithm = credential.algorithm
        self._key = _private_key(credential.key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, as COSE wants it. Blocks, for RSA up to some milliseconds."""
        match self._key:
            case ec.EllipticCurvePrivateKey() as key:
                width = -(-key.curve.key_size // 8)
                digest = _DIGESTS[self.algorithm]
                numbers = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
                return b"".join(number.to_bytes(width, "big") for number in numbers)
            case ed25519.Ed25519PrivateKey() as key:
                return key.sign(message)
            case rsa.RSAPrivateKey() as key:
                salted = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)
                return key.sign(message, salted, hashes.SHA256())


def rehearsal(clock: Clock) -> Credential:
    """Make a credential in memory, for what nobody will see."""
    now = _now(clock)
    made = _renewed(None, now, "Rehearsal")
    return _credential([made.leaf, made.authority], made.leaf_key, now)


def load(chain_file: Path, key_file: Path, clock: Clock) -> Credential:
    """Read the operator's certificate chain, signing certificate first, and its private key.

    Raises CredentialUnusable: a missing file, a key that others may read or of another certificate,
    one that is over, or one that no reader would accept.
    """
    try:
        if key_file.stat().st_mode & 0o077:
            raise CredentialUnusable(
                f"{key_file} can be read by others; run `chmod 600 {key_file}`, or replace it"
            )
        chain, key = _read(chain_file), _read(key_file)
    except OSError as error:
        raise CredentialUnusable(f"{error.filename} cannot be read: {error.strerror}") from error
    try:
        return _credential(_certificates(chain), _private_key(key), _now(clock))
    except ValueError as error:
        raise CredentialUnusable(f"{chain_file} and {key_file}: {error}") from error


def load_or_make(folder: Path, clock: Clock, organisation: str = "Ketchup") -> Credential:
    """Return the data folder's credential, made at the first call and renewed every year.

    Safe for any number of processes that share the folder. Raises CredentialUnusable.
    """
    path = folder / CREDENTIAL_FILE
    try:
        made = _parse(path)
        if made is None or not made.signs_at(_now(clock)):
            with _locked(folder):
                # Another process may have been first.
                made = _parse(path)
                if made is None or not made.signs_at(_now(clock)):
                    made = _renewed(made, _now(clock), organisation)
                    _replace(path, made.pem())
        return _credential([made.leaf, made.authority], made.leaf_key, _now(clock))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CredentialUnusable(f"{path} cannot be used: {why}") from error
    except ValueError as error:
        raise CredentialUnusable(
            f"{path} is damaged ({error}); restore it from a backup, or remove it for a new one"
        ) from error


@dataclass(frozen=True, slots=True)
class _Made:
    leaf: x509.Certificate
    leaf_key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate
    authority_key: ec.EllipticCurvePrivateKey

    def signs_at(self, now: dt.datetime) -> bool:
        begun = self.leaf.not_valid_before_utc
        return begun <= now < begun + dt.timedelta(days=SIGNING_DAYS)

    def pem(self) -> bytes:
        return b"".join(
            [
                self.leaf.public_bytes(Encoding.PEM),
                self.authority.public_bytes(Encoding.PEM),
                _pkcs8(self.leaf_key),
                _pkcs8(self.authority_key),
            ]
        )


def _parse(path: Path) -> _Made | None:
    try:
        mode, data = path.stat().st_mode, _read(path)
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise CredentialUnusable(
            f"{path} can be read by others; remove it for a new one, or run `chmod 600 {path}`"
        )
    leaf, authority = _certificates(data)
    begin = b"-----BEGIN PRIVATE KEY-----"
    keys = [_private_key(begin + part) for part in data.split(begin)[1:]]
    match keys:
        case [ec.EllipticCurvePrivateKey() as first, ec.EllipticCurvePrivateKey() as second]:
            return _Made(leaf, first, authority, second)
        case _:
            raise ValueError("it does not hold two keys")


def _renewed(old: _Made | None, now: dt.datetime, organisation: str) -> _Made:
    key = ec.generate_private_key(ec.SECP256R1())
    begins, lasts = now - _BACKDATED, now + dt.timedelta(days=LEAF_DAYS)
    if old is None or not old.authority.not_valid_before_utc <= now <= lasts <= (
        old.authority.not_valid_after_utc
    ):
        authority_key = ec.generate_private_key(ec.SECP256R1())
        span = (begins, now + dt.timedelta(days=AUTHORITY_DAYS))
        authority = certificates.authority(authority_key, organisation, span)
    else:
        authority_key, authority = old.authority_key, old.authority
    leaf = certificates.signer(key, authority, authority_key, (begins, lasts))
    return _Made(leaf, key, authority, authority_key)


def _credential(chain: list[x509.Certificate], key: Key, now: dt.datetime) -> Credential:
    """Judge a chain as readers will. Raises ValueError with what is wrong."""
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise ValueError("the key is not that of the first certificate")
    if now < leaf.not_valid_before_utc:
        raise ValueError(f"the certificate begins at {leaf.not_valid_before_utc:%Y-%m-%d}")
    if now >= leaf.not_valid_after_utc:
        raise ValueError(f"the certificate ended at {leaf.not_valid_after_utc:%Y-%m-%d}")
    _check_usage(leaf)
    return Credential(
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        key=_pkcs8(key),
        algorithm=_algorithm(key),
        signer=certificates.organisation_of(leaf),
        ends_at=leaf.not_valid_after_utc,
    )


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise ValueError("the certificate does not say what it is for") from error
    if not usage.digital_signature or ExtendedKeyUsageOID.EMAIL_PROTECTION not in extended:
        raise ValueError("the certificate is not for signatures with emailProtection")


def _algorithm(key: Key) -> str:
    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey() if key.key_size >= _MIN_RSA_BITS:
            return "ps256"
        case _:
            raise ValueError("the key is of a kind that no reader accepts")


def _certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def _private_key(pem: bytes) -> Key:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ValueError("the key is locked by a password") from error
    if isinstance(key, Key):
        return key
    raise ValueError("the key is of a kind that no reader accepts")


def _pkcs8(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _now(clock: Clock) -> dt.datetime:
    return dt.datetime.fromtimestamp(clock.now() / 1_000_000, dt.UTC)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE_BYTES)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 a descriptor, not a path
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
