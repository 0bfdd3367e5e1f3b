"""What `ketchup demo` does: the real service, once through, in a temporary folder.

It does what a customer would do, over HTTP: three pictures from text, then two of them put
together, with a callback whose signature is checked. Its tasks can do what any customer can, and
no more.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx2
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from ketchup import signing
from ketchup.cli.failure import Failure
from ketchup.cli.receiver import Receiver, receiving
from ketchup.clock import SECOND, SystemClock
from ketchup.config import load
from ketchup.data_folder import DataFolder
from ketchup.service import Service, Started, bind

BOAT: Final = "a red sailing boat on a calm sea at sunset"
BOTTLES: Final = tuple(
    f"a {colour} bottle on a plain white background" for colour in ("teal", "pink")
)
REMIX: Final = "put them in a basket in a flower garden on a sunny morning"
MODEL: Final = "google/gempix2"
_DEADLINE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


@dataclass
class Journey:
    """What has happened to one task, for the timeline."""

    name: str
    prompt: str
    task_id: str = ""
    submitted_at: float = 0.0
    seen: list[tuple[str, float]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The latest status that a poll has shown."""
        return self.seen[-1][0] if self.seen else "-"

    def note(self, status: str, at: float) -> None:
        """Remember when a status was first seen."""
        if status != self.status:
            self.seen.append((status, at - self.submitted_at))


async def run(out: Path) -> None:
    """Go through all of it and save the pictures in `out`. Raises Failure at the first fault."""
    began = time.monotonic()
    async with _service() as started, receiving() as receiver:
        print(f"Ketchup is ready at {started.base_url} ({time.monotonic() - began:.1f} s)")
        made = started.first_start
        if made is None:
            raise Failure("the temporary data folder was not empty")
        async with (
            httpx2.AsyncClient(
                base_url=started.base_url, headers=_bearer(made.key), trust_env=False
            ) as client,
            httpx2.AsyncClient(
                base_url=started.base_url,
                headers=_bearer(started.runtime.admin_token),
                trust_env=False,
            ) as admin,
        ):
            tour = _Tour(client, out)
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await tour.take(receiver)
                verdict = await _check_callback(receiver, admin, made.workspace_id, tour)
            await _print_summary(tour, client, admin, made.workspace_id, verdict)


class _Tour:
    """Submits the tasks and follows them, as a customer."""

    def __init__(self, client: httpx2.AsyncClient, out: Path) -> None:
        self._client = client
        self._out = out
        self.journeys = [
            Journey("boat", BOAT),
            Journey("bottle-teal", BOTTLES[0]),
            Journey("bottle-pink", BOTTLES[1]),
        ]
        self.remix = Journey("basket", REMIX)

    async def take(self, receiver: Receiver) -> None:
        """Go through all of it."""
        with _Show([*self.journeys, self.remix]) as show:
            results = await asyncio.gather(*(self._run(j, show) for j in self.journeys))
            references = [image for result in results[1:] for image in result]
            await self._run(self.remix, show, images=references, callback_url=receiver.url)

    async def _run(self, journey: Journey, show: _Show, **fields: object) -> list[str]:
        journey.submitted_at = time.monotonic()
        body = {"model": MODEL, "prompt": journey.prompt, **fields}
        data = _data(await self._client.post("/api/image/gen", json=body))
        journey.task_id = data["task_id"]
        while True:
            data = _data(
                await self._client.get("/api/task/query", params={"task_id": journey.task_id})
            )
            journey.note(data["status"], time.monotonic())
            show.update()
            if data["status"] == "failed":
                raise Failure(f"{journey.name} failed: {data['status_reason']['message']}")
            if data["status"] == "success":
                break
            await asyncio.sleep(_POLL_SECONDS)  # as the guides say, only quicker
        addresses = [image["image"] for image in data["result"]]
        await self._save(journey, addresses)
        return addresses

    async def _save(self, journey: Journey, addresses: list[str]) -> None:
        for address in addresses:
            image = await self._client.get(address)
            if image.status_code != 200:  # noqa: PLR2004 the one good status
                raise Failure(f"{address} answered {image.status_code}")
            path = self._out / f"{journey.name}.{address.rpartition('.')[2]}"
            path.write_bytes(image.content)
            journey.files.append(path)


async def _check_callback(
    receiver: Receiver, admin: httpx2.AsyncClient, workspace_id: str, tour: _Tour
) -> str:
    """Wait for the callback and check it as a careful receiver would."""
    received = await receiver.received.get()
    answer = await admin.get(f"/admin/v1/workspaces/{workspace_id}/webhook-secret")
    try:
        signing.verify(
            answer.json()["secret"], received.headers, received.body, now=_unix_seconds()
        )
    except signing.SignatureInvalid as error:
        raise Failure(f"the callback's signature is wrong: {error}") from error
    body = json.loads(received.body)
    if body["task_id"] != tour.remix.task_id or body["status"] != "success":
        raise Failure(f"the callback tells of something else: {body}")
    return f"for the basket, signature verified ({received.headers['webhook-id']})"


async def _print_summary(
    tour: _Tour,
    client: httpx2.AsyncClient,
    admin: httpx2.AsyncClient,
    workspace_id: str,
    callback: str,
) -> None:
    print("\nTimeline (milliseconds after each task was posted)")
    for journey in (*tour.journeys, tour.remix):
        steps = "  ".join(f"{status} {at * 1000:.0f}" for status, at in journey.seen)
        print(f"  {journey.name:<12} {steps}")
    print(f"\nCallback  {callback}")
    credit = _data(await client.get("/api/user"))["credit"]
    audit = (await admin.get(f"/admin/v1/workspaces/{workspace_id}/audit")).json()
    if not audit["consistent"]:
        raise Failure("the ledger does not add up")
    print(f"Credits   {credit} left of 100, and the ledger adds up")
    print("\nPictures, by the built-in engine: it draws by rules and is not an AI model")
    for journey in (*tour.journeys, tour.remix):
        for path in journey.files:
            print(f"  {path}  {journey.prompt}")
    print("\nNext: `make serve` keeps a server running; README.md goes on there.")


@asynccontextmanager
async def _service() -> AsyncIterator[Started]:
    """Run the real service on a free port, on data that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ketchup-demo-") as temporary:
        data = Path(temporary) / "data"
        # Its receiver and its references are on loopback, which is closed otherwise.
        flags = {"port": 0, "data": data, "egress.allow": "127.0.0.0/8:1-65535"}
        settings = load({}, flags=flags, folder=Path(temporary)).settings
        with DataFolder.open(data, SystemClock()) as folder, bind("127.0.0.1", 0) as listener:
            service = Service(settings, folder, listener)
            ready: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
            async with asyncio.TaskGroup() as group:
                group.create_task(service.run(ready.set_result))
                try:
                    yield await ready
                finally:
                    service.stop()


class _Show:
    """Shows how far the tasks are: a live table on a terminal, a line per change elsewhere."""

    def __init__(self, journeys: list[Journey]) -> None:
        self._journeys = journeys
        self._printed: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._live = Live(self._table(), refresh_per_second=12)
            self._live.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.update()
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Show what has changed."""
        if self._live is not None:
            self._live.update(self._table())
            return
        for journey in self._journeys:
            if journey.seen and self._printed.get(journey.name) != journey.status:
                self._printed[journey.name] = journey.status
                print(f"  {journey.name:<12} {journey.status}")

    def _table(self) -> Table:
        table = Table("", "", "", Column(no_wrap=True), box=None, pad_edge=False, show_header=False)
        for journey in self._journeys:
            colour, mark = _LOOK.get(journey.status, ("yellow", None))
            state = Text(mark, colour) if mark else Spinner("dots", style=colour)
            table.add_row(
                state, Text(journey.name, "bold"), Text(journey.status, colour), journey.prompt
            )
        return table


_LOOK: Final[dict[str, tuple[str, str | None]]] = {
    "-": ("dim", "·"),
    "success": ("green", "✓"),
    "failed": ("red", "✗"),
}


def _data(answer: httpx2.Response) -> Any:  # noqa: ANN401 whatever JSON holds
    body = answer.json()
    if body["code"] != 0:
        raise Failure(f"the server answered {answer.status_code}: {body}")
    return body["data"]


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _unix_seconds() -> int:
    return SystemClock().now() // SECOND
