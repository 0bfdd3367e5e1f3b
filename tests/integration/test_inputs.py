from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typing_extensions import override

from ketchup.clock import FrozenClock, SystemClock
from ketchup.egress import Egress
from ketchup.errors import Unavailable
from ketchup.generation import Inputs
from ketchup.openings import parse
from ketchup.references import DataReference, Decoder, References, UrlReference
from ketchup.storage import REFERENCES, DiskStorage
from tests.support.loopback import Request, response, serving
from tests.support.pictures import encoded, photo
from tests.support.service import DEADLINE_SECONDS


class FillingStorage(DiskStorage):
    """A disk with room for two blobs more."""

    room = 2

    @override
    async def put(self, key: str, data: bytes) -> None:
        if not self.room:
            raise Unavailable("the image store is unavailable")
        self.room -= 1
        await super().put(key, data)


async def test_a_disk_that_fills_up_between_two_references_keeps_neither(tmp_path: Path) -> None:
    clock = FrozenClock()
    store = FillingStorage(tmp_path / "blobs")
    inputs = Inputs(References(Egress(clock), Decoder()), store, clock)
    with pytest.raises(Unavailable):
        await inputs.keep(
            [UrlReference("https://h/a"), *(DataReference(bytes([place])) for place in range(3))]
        )
    assert await store.keys(REFERENCES) == []


async def test_the_references_of_a_task_are_loaded_side_by_side(tmp_path: Path) -> None:
    clock = SystemClock()
    asked = asyncio.Barrier(2)
    picture = encoded(photo(), "PNG")

    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        # Neither is answered before both have been asked for.
        await asked.wait()
        writer.write(response(200, picture, content_type="image/png"))

    async with serving(handle) as server, asyncio.timeout(DEADLINE_SECONDS):
        egress, decoder = Egress(clock, allow=[parse("127.0.0.0/8:1-65535")]), Decoder(processes=1)
        try:
            inputs = Inputs(References(egress, decoder), DiskStorage(tmp_path / "blobs"), clock)
            loaded = await inputs.load_all([f"http://127.0.0.1:{server.port}/{n}" for n in "ab"])
        finally:
            await decoder.close()
            await egress.close()
    assert [(image.width, image.height) for image in loaded] == [(120, 80), (120, 80)]
