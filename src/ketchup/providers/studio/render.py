"""One picture, from a job to the bytes of a file. The same job gives the same bytes."""

from __future__ import annotations

import hashlib

from ketchup.providers.studio import cutout
from ketchup.providers.studio.compose import compose
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.model import Stage
from ketchup.providers.studio.prompt import parse
from ketchup.providers.studio.raster import rasterise
from ketchup.providers.studio.stamp import stamp


def render(job: Job) -> bytes:
    """Draw the job and return the encoded file."""
    caption = stamp if job.is_test else None
    return rasterise(stage(job), (job.width, job.height), job.format, caption)


def stage(job: Job) -> Stage:
    """Draw the job as far as the SVG and the washes."""
    references = [cutout.read(data) for data in job.references]
    size = (job.width / job.scale, job.height / job.scale)
    return compose(parse(job.prompt), references, size, _key(job))


def _key(job: Job) -> str:
    """Return what every random choice starts from. Spaces in the prompt make no difference."""
    text = " ".join(job.prompt.split())
    return hashlib.sha256(f"{job.seed}|{text}".encode(errors="replace")).hexdigest()
