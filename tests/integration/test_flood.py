"""One workspace floods the queue; another one's single task starts within two rounds of the places.

Rounds are counted, not seconds: every place works on a task until the test lets all of them end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ketchup.providers.base import GeneratedImage, ImageRequest, Progress
from tests.support.customers import customer
from tests.support.engines import plain_image
from tests.support.service import DEADLINE_SECONDS, running_service

PLACES = 4
ROUNDS = 2
SINGLES = 5


class RoundByRound:
    """An engine that holds what it is given until the round is over."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._held: list[asyncio.Event] = []
        self._changed = asyncio.Condition()

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        over = asyncio.Event()
        async with self._changed:
            self.started.append(request.prompt)
            self._held.append(over)
            self._changed.notify_all()
        await over.wait()
        progress(1.0)
        assert not cancelled.is_set()
        return [plain_image(request, request.seed)]

    async def full(self) -> None:
        """Wait until every place has a task."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self._held) == PLACES)

    async def round(self) -> None:
        """End what every place has, and wait until each has another."""
        await self.full()
        held, self._held = self._held, []
        for one in held:
            one.set()
        await self.full()

    def let_go(self) -> None:
        for one in self._held:
            one.set()

    async def close(self) -> None:
        pass


async def test_a_flood_keeps_nobody_waiting_for_more_than_two_rounds(
    tmp_path: Path, database_url: str | None
) -> None:
    engine = RoundByRound()
    settings = {"concurrency": PLACES}
    async with (
        running_service(
            tmp_path / "data",
            database=database_url,
            providers={"studio": engine},
            settings=settings,
        ) as service,
        customer(service) as loud,
        customer(service) as quiet,
    ):
        flood = [await loud.submit(prompt="flood") for _ in range(SINGLES * ROUNDS * PLACES * 2)]
        try:
            for number in range(SINGLES):
                await engine.full()
                prompt = f"single {number}"
                await quiet.submit(prompt=prompt)
                for _ in range(ROUNDS):
                    await engine.round()
                assert prompt in engine.started
            # Places were never short of the flood's own tasks: there was something to wait for.
            assert engine.started.count("flood") < len(flood)
            assert (await loud.query(flood[-1]))["status"] == "pending"
        finally:
            for one in flood:
                await loud.client.post(f"/v1/tasks/{one}/cancel")
            engine.let_go()
