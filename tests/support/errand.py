"""A fixed small piece of work, for tests that repeat it with a fault in each place in turn."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

from PIL import Image

from tests.support.busy_customers import UNREACHABLE, Customers, Order
from tests.support.invariants import Promises, violations
from tests.support.pictures import encoded
from tests.support.postgres import PostgresServer
from tests.support.receiver import Receiver
from tests.support.zygote import Zygote

_MODEL: Final = "google/gempix2"


@dataclass(frozen=True)
class Place:
    """A data folder, and the URL of its database where that is on PostgreSQL."""

    data: Path
    database: str | None = None

    @property
    def settings(self) -> dict[str, object]:
        """What a service needs to be told of it."""
        if self.database is None:
            return {}
        # Who comes after a kill waits until the lease of the one before has run out.
        return {"database": self.database, "worker.lease_seconds": 2}

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    def violations(self, promises: Promises, *, at_the_end: bool = False) -> list[str]:
        return violations(self.data, promises, at_the_end=at_the_end, database=self.database)


@dataclass(frozen=True)
class Home:
    """A place where a service was started once in peace, and a key to it. Each fault gets a copy."""

    place: Place
    key: str
    server: PostgresServer | None

    @classmethod
    async def made_by(
        cls, zygote: Zygote, folder: Path, server: PostgresServer | None = None
    ) -> Home:
        place = Place(folder / "data", server.create_database("home") if server else None)
        async with zygote.fork(place.data, **place.settings) as service:
            ready = await service.live()
            assert ready is not None, (folder / "data.log").read_text()
            assert await service.stop() == 0
        return cls(place, ready.key, server)

    @contextmanager
    def copied_to(self, folder: Path) -> Iterator[Place]:
        """Lend a copy in this folder, for the body. After a failure it is left for who looks."""
        data = shutil.copytree(self.place.data, folder / "data")
        if self.server is None:
            yield Place(data)
        else:
            name = f"copy_{uuid4().hex}"
            yield Place(data, self.server.create_database(name, template="home"))
            self.server.drop_database(name)
        shutil.rmtree(folder)

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
