"""Callbacks through the real egress guard: what a customer can make the service connect to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import select

from ketchup.db import Connection
from ketchup.webhooks import delivery_attempt
from tests.support.receiver import Answer, Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service


async def _first_attempt(service: RunningService) -> tuple[int | None, str | None]:
    """Wait until an attempt is on record, and return its status and error."""

    def read(conn: Connection) -> tuple[int | None, str | None] | None:
        row = conn.execute(select(delivery_attempt)).first()
        return None if row is None else (row.status_code, row.error)

    async with asyncio.timeout(DEADLINE_SECONDS):
        while (found := await service.runtime.database.read(read)) is None:
            await asyncio.sleep(0.01)
    return found


async def test_a_callback_to_a_private_address_never_connects(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        running_service(tmp_path / "data", settings={"egress.allow": ""}) as service,
    ):
        await service.ended(await service.submit(callback_url=receiver.url))

        status, error = await _first_attempt(service)

    assert status is None
    assert error
    assert receiver.requests == []


async def test_a_redirect_of_a_callback_is_a_failure_and_not_followed(tmp_path: Path) -> None:
    async with Receiver() as target:
        redirect = Answer(302, {"location": target.url})
        async with Receiver(redirect) as receiver, running_service(tmp_path / "data") as service:
            await service.ended(await service.submit(callback_url=receiver.url))

            status, _ = await _first_attempt(service)

    assert status == 302
    assert len(receiver.requests) == 1
    assert target.requests == []
