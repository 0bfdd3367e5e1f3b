"""Provenance: what a stored picture says about itself, and how it is known again without that.

`signer` holds the credential, `certificates` makes one, `mark` signs, `verify` judges, `containers`
reads the parts of a file and writes the mark for readers that know no C2PA. `finisher` has all that
done by `workshop`, in children without rights. `perception` takes fingerprints, `fingerprint` says
what they are, `log` remembers whose they were.

Nothing is imported here but what a fingerprint is. `mark`, `verify` and `perception` load parsers
of images and manifests, which have no place in a server's memory; `log` loads SQL, which has none
in a child that does this work: it took two thirds of a child's start.
"""

from ketchup.provenance.fingerprint import NEAR, Fingerprint, PerceptualHash, distance

__all__ = ["NEAR", "Fingerprint", "PerceptualHash", "distance"]
