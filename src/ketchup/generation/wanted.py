"""What a task wants of an engine, by what its row keeps. Pure."""

from __future__ import annotations

import zlib

from ketchup.providers.base import (
    AspectRatio,
    ImageFormat,
    ImageRequest,
    ImageSize,
    ReferenceImage,
)
from ketchup.tasks import Lease
from ketchup.workspaces import Environment


def image_request(lease: Lease, model: str, references: tuple[ReferenceImage, ...]) -> ImageRequest:
    """Return what an engine is asked for."""
    options = lease.options
    ratio = options.aspect_ratio
    task_id = lease.attempt.task_id
    return ImageRequest(
        task_id=task_id,
        model=model,
        prompt=lease.prompt,
        references=references,
        aspect_ratio=AspectRatio(ratio) if ratio and ratio != "auto" else None,
        image_size=ImageSize(options.image_size or ImageSize.K1),
        count=options.n,
        # Without a wish, the same task renders the same picture again after a crash.
        seed=zlib.crc32(task_id.encode()) if options.seed is None else options.seed,
        output_format=wished_format(lease),
        is_test=lease.environment == Environment.TEST,
    )


def wished_format(lease: Lease) -> ImageFormat:
    """Return the format that its customer asked for, or PNG."""
    return ImageFormat(lease.options.output_format or ImageFormat.PNG)
