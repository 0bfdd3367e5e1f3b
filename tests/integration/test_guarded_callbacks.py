"""Callbacks through the real egress guard: what a customer can make the service connect to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import select

from ketchup.db import Connection
from ketchup.webhooks import delivery_attempt
from tests.support.engines import ScriptedProvider
from tests.support.receiver import Answer, Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service

_NOT_FETCHED = {"message": "a reference image could not be fetched"}


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


async def test_the_service_is_closed_to_its_own_callbacks_and_references(tmp_path: Path) -> None:
    # The tests' settings open every port of loopback.
    async with running_service(tmp_path / "data") as service:
        own = f"{service.base_url}/api/task/query"
        ended = await service.ended(await service.submit(images=[own], callback_url=own))
        status, error = await _first_attempt(service)

    assert ended["status_reason"] == _NOT_FETCHED
    assert status is None
    assert error is not None
    assert "this service" in error


async def test_a_picture_of_ours_is_a_reference_by_its_address(tmp_path: Path) -> None:
    engine = ScriptedProvider()
    async with running_service(tmp_path / "data", providers={"studio": engine}) as service:
        first = await service.ended(await service.submit())
        address = first["result"][0]["image"]
        second = await service.ended(await service.submit(images=[address]))
        gone = await service.ended(await service.submit(images=[_another(address)]))

    assert second["status"] == "success"
    assert len(engine.requests[1].references) == 1
    assert gone["status_reason"] == _NOT_FETCHED


def _another(address: str) -> str:
    name, dot, suffix = address.rpartition(".")
    return name[:-1] + ("0" if name[-1] != "0" else "1") + dot + suffix
