"""Asking the decoder."""

from __future__ import annotations

import pytest

from ketchup.providers.base import ReferenceImage
from ketchup.references import Decoder, Problem, ReferenceFailed, sniff


async def decode(decoder: Decoder, data: bytes) -> ReferenceImage:
    image_format = sniff(data)
    assert image_format is not None
    return await decoder.decode(data, image_format)


async def problem_with(decoder: Decoder, data: bytes) -> Problem:
    with pytest.raises(ReferenceFailed) as failed:
        await decode(decoder, data)
    return failed.value.problem
