"""A fixed small piece of work, for tests that repeat it with a fault in each place in turn."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from PIL import Image

from tests.support.busy_customers import UNREACHABLE, Customers, Order
from tests.support.pictures import encoded
from tests.support.receiver import Receiver
from tests.support.zygote import Zygote

_MODEL: Final = "google/gempix2"


@dataclass(frozen=True)
class Home:
    """A data folder that was started once in peace, and a key to it. Each fault gets a copy."""

    data: Path
    key: str

    @classmethod
    async def made_by(cls, zygote: Zygote, folder: Path) -> Home:
        async with zygote.fork(folder / "data") as service:
            ready = await service.live()
            assert ready is not None, (folder / "data.log").read_text()
            assert await service.stop() == 0
        return cls(folder / "data", ready.key)

    def copied_to(self, folder: Path) -> Path:
        return shutil.copytree(self.data, folder / "data")

    def customers(self, receiver: Receiver, *refusals: int) -> Customers:
        return Customers(self.key, receiver.url, Random(0), 0, refusals=frozenset(refusals))


def errand(callback_url: str) -> Sequence[Order]:
    """Return six orders: of every kind one, and the second once more."""
    callback = {"callback_url": callback_url}
    told = _order("told", **callback)
    return (
        Order(_order("without a key", **callback).body, None),
        told,
        _order("with a picture of its own", images=[_data_uri()], **callback),
        _order("with a picture that is not there", images=[UNREACHABLE], **callback),
        _order("two at once, not told", n=2),
        told,
    )


def _order(prompt: str, **fields: object) -> Order:
    body: dict[str, Any] = {"model": _MODEL, "prompt": prompt, **fields}
    return Order(body, f"order {prompt}".replace(" ", "-"))


def _data_uri() -> str:
    picture = encoded(Image.new("RGB", (16, 16), "teal"), "PNG")
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
