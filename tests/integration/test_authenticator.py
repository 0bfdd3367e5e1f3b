"""The one door for API keys: who gets in, for how long, and that all refusals look alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, event

from ketchup import workspaces
from ketchup.clock import FrozenClock, after
from ketchup.db import Batcher, Database, Location
from ketchup.errors import Unauthenticated
from ketchup.ids import KeyId, WorkspaceId
from ketchup.workspaces import Authenticator, NewKey, WorkspaceStatus, mint_secret
from ketchup.workspaces.keys import Environment
from tests.support.database import open_database
from tests.support.factories import PEPPER, VAULT, new_workspace
from tests.support.gate import DEADLINE

SAMPLE_OF_THE_GUIDES = "dk-1234567890abcdef"


@dataclass
class Door:
    database: Database
    clock: FrozenClock
    authenticator: Authenticator
    workspace_id: WorkspaceId
    key_id: KeyId
    secret: str
    queries: list[str]

    @property
    def header(self) -> bytes:
        return f"Bearer {self.secret}".encode()

    async def opens(self) -> bool:
        try:
            caller = await self.authenticator.authenticate([self.header])
        except Unauthenticated:
            return False
        assert (caller.workspace_id, caller.key_id) == (self.workspace_id, self.key_id)
        return True

    async def revoke(self) -> None:
        now = self.clock.now()
        await self.database.write(lambda conn: workspaces.revoke_key(conn, self.key_id, now))

    async def set_status(self, status: WorkspaceStatus) -> None:
        await self.database.write(
            lambda conn: workspaces.set_status(conn, self.workspace_id, status)
        )

    async def key(self) -> workspaces.ApiKey:
        (key,) = await self.database.read(
            lambda conn: workspaces.list_keys(conn, self.workspace_id)
        )
        return key


@pytest.fixture
async def door(location: Location, clock: FrozenClock) -> AsyncIterator[Door]:
    queries = list[str]()
    async with open_database(location) as database:
        workspace = await database.write(new_workspace)
        new = NewKey("k", expires_at=after(clock.now(), 3600))
        key, secret = await database.write(
            lambda conn: workspaces.create_key(conn, PEPPER, workspace.id, new, clock.now())
        )

        def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("SELECT") and "api_key" in statement:
                queries.append(statement)

        event.listen(database._lanes.hot_reader._engine, "before_cursor_execute", note)
        authenticator = Authenticator(database, VAULT, clock)
        yield Door(database, clock, authenticator, workspace.id, key.id, secret, queries)


async def test_a_good_key_opens_and_is_asked_about_once_in_half_a_second(door: Door) -> None:
    for _ in range(5):
        assert await door.opens()
        door.clock.advance(0.099)
    assert len(door.queries) == 1

    door.clock.advance(0.005)
    assert await door.opens()
    assert len(door.queries) == 2


async def test_many_callers_at_once_share_their_queries(door: Door) -> None:
    assert all(await asyncio.gather(*(door.opens() for _ in range(200))))

    assert len(door.queries) <= 2


async def test_a_revoked_key_stops_within_a_second(door: Door) -> None:
    assert await door.opens()

    await door.revoke()
    door.clock.advance(1.0)

    assert not await door.opens()


async def test_a_suspended_workspace_stops_within_a_second_and_comes_back(door: Door) -> None:
    assert await door.opens()

    await door.set_status(WorkspaceStatus.SUSPENDED)
    door.clock.advance(1.0)
    assert not await door.opens()

    # A refusal is not remembered.
    await door.set_status(WorkspaceStatus.ACTIVE)
    assert await door.opens()


async def test_a_key_stops_at_the_moment_it_expires_even_if_it_was_just_used(door: Door) -> None:
    door.clock.advance(3599.9)
    assert await door.opens()

    door.clock.advance(0.099_999)
    assert await door.opens()
    door.clock.advance(0.000_001)

    assert not await door.opens()
    assert door.authenticator.recall(door.header) is None


async def test_what_is_revoked_here_stops_at_once(door: Door) -> None:
    assert await door.opens()
    assert door.authenticator.recall(door.header) is not None

    await door.revoke()
    door.authenticator.forget_all()

    assert door.authenticator.recall(door.header) is None
    assert not await door.opens()


async def test_an_answer_from_before_the_revocation_is_not_remembered_after_it(
    door: Door,
) -> None:
    asked, revoked = threading.Event(), threading.Event()

    def note(_conn: Connection, items: Sequence[None]) -> Sequence[None]:
        asked.set()
        return items

    def revoke() -> None:
        door.database._lanes.writer().attempt(
            lambda conn: workspaces.revoke_key(conn, door.key_id, door.clock.now())
        )
        revoked.set()

    behind_it: Batcher[None, None] = door.database.read_batcher(note)
    waiting = asyncio.create_task(door.opens())
    await asyncio.sleep(0)  # the question is asked
    behind = behind_it(None)
    await asyncio.sleep(0)  # both are in the reader's queue
    # The loop stands still here: the answer is known, but nobody has seen it yet.
    assert asked.wait(DEADLINE)
    door.database._lanes.writer().put(revoke)
    assert revoked.wait(DEADLINE)
    door.authenticator.forget_all()

    assert await waiting  # this one was asked before
    await behind
    assert not await door.opens()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_the_scheme_may_be_written_in_any_case(door: Door, scheme: str) -> None:
    caller = await door.authenticator.authenticate([f"{scheme} {door.secret}".encode()])

    assert caller.key_id == door.key_id


async def refusal(door: Door, *headers: bytes) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await door.authenticator.authenticate(headers)
    return f"{type(refused.value).__name__}: {refused.value}"


async def test_there_must_be_exactly_one_header(door: Door) -> None:
    for headers in ([], [door.header] * 2, [door.header, b"Bearer x"], [b"", door.header]):
        assert await refusal(door, *headers) == "Unauthenticated: Invalid API key"
    assert await door.opens()
    # Not even when the key is still remembered.
    assert await refusal(door, door.header, door.header) == "Unauthenticated: Invalid API key"


@pytest.mark.parametrize(
    "form",
    [
        "",
        "Bearer",
        "Bearer ",
        "{secret}",
        "Basic {secret}",
        "Bearer  {secret}",
        "Bearer {secret} ",
        "Bearer\t{secret}",
        "Bearer {secret}\n",
        "Bearer {secret},{secret}",
        "Bearer " + SAMPLE_OF_THE_GUIDES,
        "Bearer {secret}" + "x" * 300,
        "Bearer \xff{secret}",
        "Bearer {typo}",
    ],
)
async def test_what_cannot_be_a_key_of_ours_never_reaches_the_database(
    door: Door, form: str
) -> None:
    typo = door.secret[:20] + ("a" if door.secret[20] != "a" else "b") + door.secret[21:]
    header = form.format(secret=door.secret, typo=typo).encode("latin-1")

    assert await refusal(door, header) == "Unauthenticated: Invalid API key"

    assert door.queries == []


async def test_unknown_revoked_expired_and_suspended_are_refused_in_the_same_words(
    door: Door,
) -> None:
    said = {await refusal(door, f"Bearer {mint_secret(Environment.LIVE)}".encode())}
    await door.set_status(WorkspaceStatus.SUSPENDED)
    said.add(await refusal(door, door.header))
    await door.set_status(WorkspaceStatus.ACTIVE)
    door.clock.advance(3600)
    said.add(await refusal(door, door.header))
    await door.revoke()
    said.add(await refusal(door, door.header))
    said.add(await refusal(door))

    assert said == {"Unauthenticated: Invalid API key"}
    assert len(door.queries) == 4


async def test_the_last_use_is_written_down_and_only_when_there_was_one(door: Door) -> None:
    await door.authenticator.write_uses()
    assert (await door.key()).last_used_at is None

    door.clock.advance(5)
    assert await door.opens()
    used_at = door.clock.now()
    door.clock.advance(60)
    await door.authenticator.write_uses()
    assert (await door.key()).last_used_at == used_at

    await door.authenticator.write_uses()
    assert (await door.key()).last_used_at == used_at


async def test_a_refused_key_counts_as_no_use(door: Door) -> None:
    await door.revoke()
    assert not await door.opens()
    await door.authenticator.write_uses()

    assert (await door.key()).last_used_at is None


async def test_what_is_remembered_is_bounded(door: Door) -> None:
    for i in range(10_500):
        door.authenticator._known[f"header {i}".encode()] = (None, 0.0)  # type: ignore[assignment]  # only counted

    assert await door.opens()

    assert list(door.authenticator._known) == [door.header]
