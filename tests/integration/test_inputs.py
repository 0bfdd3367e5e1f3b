from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import override

from ketchup.clock import FrozenClock
from ketchup.egress import Egress
from ketchup.errors import Unavailable
from ketchup.generation import Inputs
from ketchup.references import DataReference, Decoder, References, UrlReference
from ketchup.storage import REFERENCES, Storage


class FillingStorage(Storage):
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
