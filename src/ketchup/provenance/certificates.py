"""Certificates of C2PA's profile: an authority, and signers of pictures that it issues.

Version 3, `digitalSignature`, extended usage `emailProtection`, an organisation in the subject. Who
may have one and where it is kept is `signer`'s matter.
"""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Span = tuple[dt.datetime, dt.datetime]
"""When a certificate begins and when it ends."""


def authority(key: ec.EllipticCurvePrivateKey, organisation: str, span: Span) -> x509.Certificate:
    """Return the certificate of an authority, which vouches for itself."""
    name = _name(f"{organisation} provenance authority", organisation)
    return (
        _begun(name, name, key, span)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def signer(
    key: Key, issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey, span: Span
) -> x509.Certificate:
    """Return the certificate of a signer, of the organisation of its issuer."""
    organisation = organisation_of(issuer)
    name = _name(f"{organisation} image signer", organisation)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    email = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return (
        _begun(name, issuer.subject, key, span)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(email, critical=False)
        .add_extension(issued_by, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def organisation_of(certificate: x509.Certificate) -> str:
    """Return whom a reader shows as the signer. Raises ValueError."""
    named = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if not named:
        raise ValueError("the certificate names no organisation")
    return str(named[0].value)


def _begun(subject: x509.Name, issuer: x509.Name, key: Key, span: Span) -> x509.CertificateBuilder:
    begins, ends = span
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
