"""Provenance: what a stored picture says about itself, and how it is known again without that.

`signer` holds the credential, `mark` signs, `verify` judges, `containers` reads the parts of a file
and writes the mark for readers that know no C2PA. `perception` takes fingerprints, `fingerprint`
says what they are, `log` remembers whose they were.

Only the log is imported here: `mark`, `verify` and `perception` load parsers of images and
manifests, which have no place in a server's memory and cost 40 ms of a start.
"""

from ketchup.provenance.fingerprint import NEAR, Fingerprint, PerceptualHash, distance
from ketchup.provenance.log import (
    Logged,
    find_by_pixels,
    find_by_sha256,
    find_near,
    list_of_task,
    record,
)

__all__ = [
    "NEAR",
    "Fingerprint",
    "Logged",
    "PerceptualHash",
    "distance",
    "find_by_pixels",
    "find_by_sha256",
    "find_near",
    "list_of_task",
    "record",
]
