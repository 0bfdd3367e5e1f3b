"""Storage: stored images, which anybody with the address may read, and uploaded references.

    keys     the names of blobs
    base     what a storage is
    disk     one on a folder of this machine
    bucket   one on S3, or on what speaks like it

A storage touches no key but those that `keys` makes, so no text of a caller can name anything else.
A blob is written once and never changed.

Which blob belongs to which task, and how long a workspace keeps its images, is not known here.
"""

from ketchup.storage.base import Storage
from ketchup.storage.bucket import Bucket, BucketStorage, BucketUnusable
from ketchup.storage.disk import DiskStorage
from ketchup.storage.keys import (
    IMAGES,
    REFERENCES,
    BlobNotFound,
    ImageKey,
    image_folder,
    image_key,
    parse_image_key,
    reference_key,
)

__all__ = [
    "IMAGES",
    "REFERENCES",
    "BlobNotFound",
    "Bucket",
    "BucketStorage",
    "BucketUnusable",
    "DiskStorage",
    "ImageKey",
    "Storage",
    "image_folder",
    "image_key",
    "parse_image_key",
    "reference_key",
]
