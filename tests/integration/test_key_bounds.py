"""What a key in a stranger's hands is bound to: networks, a number, an end, a successor, a leak."""

from __future__ import annotations

import asyncio
import random
import string
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from statistics import fmean, variance
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert

from ketchup import workspaces
from ketchup.clock import FrozenClock, Micros, SystemClock, after
from ketchup.db import Database, Location
from ketchup.errors import Conflict, InvalidRequest, NotFound, RateLimited, Unauthenticated
from ketchup.ids import KeyId, WorkspaceId
from ketchup.money import Credits
from ketchup.origins import Origins
from ketchup.pace import Pace
from ketchup.workspaces import Authenticator, NewKey, Overlap, Scope, digest, keys, mint_secret
from ketchup.workspaces.keys import EXAMPLES, MAX_ACTIVE, Environment, api_key
from tests.support.database import open_database, open_engine
from tests.support.factories import NOW, PEPPER, VAULT, new_workspace
from tests.support.gate import DEADLINE

HOUR = 3600.0
ORIGINS = Origins([ip_network("10.0.0.0/8")])


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn


def works(conn: Connection, secret: str, now: Micros = NOW) -> bool:
    return workspaces.find_callers(conn, [digest(PEPPER, secret)], now) != [None]


def sent_from(peer: str, forwarded: str | None = None) -> dict[str, Any]:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    return {"client": (peer, 1), "headers": headers}


# -- how many -------------------------------------------------------------------------------------


def test_a_workspace_has_twenty_keys_that_work_and_no_more(conn: Connection) -> None:
    mine, other = new_workspace(conn).id, new_workspace(conn).id
    made = [
        workspaces.create_key(conn, PEPPER, mine, NewKey("k", expires_at=after(NOW, HOUR)), NOW)
        for _ in range(MAX_ACTIVE)
    ]
    assert MAX_ACTIVE == 20

    with pytest.raises(Conflict, match="20 active keys, as many as it may"):
        workspaces.create_key(conn, PEPPER, mine, NewKey("one more"), NOW)
    workspaces.create_key(conn, PEPPER, other, NewKey("another's"), NOW)

    # One that was revoked makes room, and so do those that have expired.
    workspaces.revoke_key(conn, made[0][0].id, NOW)
    workspaces.create_key(conn, PEPPER, mine, NewKey("one more"), NOW)
    for _ in range(MAX_ACTIVE - 1):
        workspaces.create_key(conn, PEPPER, mine, NewKey("later"), after(NOW, HOUR))


def test_of_keys_made_at_once_no_more_than_twenty_work(location: Location) -> None:
    with open_engine(location) as engine:
        with engine.begin() as conn:
            workspace = new_workspace(conn).id
        made = list[str]()
        start = threading.Barrier(4)

        def make() -> None:
            with open_engine(location) as own:
                start.wait(DEADLINE)
                for _ in range(10):
                    try:
                        with own.begin() as conn:
                            new = NewKey("k")
                            made.append(workspaces.create_key(conn, PEPPER, workspace, new, NOW)[1])
                    except Conflict:
                        return

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(made) == MAX_ACTIVE


# -- rotating -------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", list(Overlap))
def test_both_keys_work_until_the_overlap_is_over(conn: Connection, overlap: Overlap) -> None:
    workspace = new_workspace(conn).id
    old, first = workspaces.create_key(conn, PEPPER, workspace, NewKey("k"), NOW)

    new, second = workspaces.rotate_key(conn, PEPPER, old.id, overlap, NOW)

    until = after(NOW, overlap * HOUR)
    if overlap:
        assert works(conn, first, Micros(until - 1))
    assert not works(conn, first, until)
    assert works(conn, second)
    assert works(conn, second, until)
    (shown,) = [key for key in workspaces.list_keys(conn, workspace) if key.id == old.id]
    assert (shown.replaced_by, shown.expires_at) == (new.id, until)


def test_the_successor_may_what_the_key_might_and_lives_as_long(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    new = NewKey(
        "ci",
        Environment.TEST,
        after(NOW, 10 * HOUR),
        scopes=(Scope.READ_TASKS,),
        models=("google/gempix2",),
        networks=("203.0.113.0/24",),
        day_cap=Credits(5),
        month_cap=Credits(6),
    )
    old, _ = workspaces.create_key(conn, PEPPER, workspace, new, NOW)

    later = after(NOW, HOUR)
    key, secret = workspaces.rotate_key(conn, PEPPER, old.id, Overlap.WEEK, later)

    assert secret.startswith("dk-test_")
    assert key.id != old.id
    assert key.expires_at == after(later, 10 * HOUR)
    same = ("name", "environment", "scopes", "models", "networks", "day_cap", "month_cap")
    assert [getattr(key, name) for name in same] == [getattr(old, name) for name in same]
    # The overlap makes no key live longer than it would have.
    (shown,) = [one for one in workspaces.list_keys(conn, workspace) if one.id == old.id]
    assert shown.expires_at == old.expires_at


def test_a_key_has_one_successor_and_a_dead_one_has_none(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    old, _ = workspaces.create_key(conn, PEPPER, workspace, NewKey("k"), NOW)
    dead, _ = workspaces.create_key(conn, PEPPER, workspace, NewKey("k"), NOW)
    workspaces.rotate_key(conn, PEPPER, old.id, Overlap.DAY, NOW)
    workspaces.revoke_key(conn, dead.id, NOW)

    for key in (old, dead):
        with pytest.raises(Conflict, match="revoked, has expired or was replaced"):
            workspaces.rotate_key(conn, PEPPER, key.id, Overlap.DAY, NOW)
    with pytest.raises(NotFound):
        workspaces.rotate_key(conn, PEPPER, KeyId("key_nobody"), Overlap.DAY, NOW)
    assert len(workspaces.list_keys(conn, workspace)) == 3


def test_a_full_workspace_can_still_rotate(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    made = [
        workspaces.create_key(conn, PEPPER, workspace, NewKey("k"), NOW) for _ in range(MAX_ACTIVE)
    ]

    workspaces.rotate_key(conn, PEPPER, made[0][0].id, Overlap.NONE, NOW)

    with pytest.raises(Conflict):
        workspaces.create_key(conn, PEPPER, workspace, NewKey("one more"), NOW)


def test_a_key_that_ends_with_the_calendar_can_be_rotated(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    last = Micros(253_402_300_799 * 1_000_000)
    old, _ = workspaces.create_key(conn, PEPPER, workspace, NewKey("k", expires_at=last), NOW)

    key, _ = workspaces.rotate_key(conn, PEPPER, old.id, Overlap.DAY, after(NOW, HOUR))

    assert key.expires_at == last


# -- bounds that are no bounds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "networks", [("300.0.0.1",), ("10.0.0.1/8",), ("here",), (), ("::1",) * 0, ("1.1.1.1",) * 51]
)
def test_networks_that_say_nothing_are_refused(conn: Connection, networks: tuple[str, ...]) -> None:
    workspace = new_workspace(conn).id
    with pytest.raises(InvalidRequest, match="networks must"):
        workspaces.create_key(conn, PEPPER, workspace, NewKey("k", networks=networks), NOW)


@pytest.mark.parametrize("cap", [-1, 10**18 + 1])
def test_a_cap_that_is_no_amount_is_refused(conn: Connection, cap: int) -> None:
    workspace = new_workspace(conn).id
    for new in (NewKey("k", day_cap=Credits(cap)), NewKey("k", month_cap=Credits(cap))):
        with pytest.raises(InvalidRequest, match="a cap must be"):
            workspaces.create_key(conn, PEPPER, workspace, new, NOW)


# -- documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", sorted(EXAMPLES))
async def test_a_key_of_the_documents_is_refused_even_if_it_is_in_the_database(
    location: Location, example: str
) -> None:
    # The modern ones have a right checksum, or this would prove nothing.
    assert example[-6:] == keys._checksum(example[:-6]) or len(example) < 46
    async with open_database(location) as database:
        await database.write(lambda conn: _plant(conn, example))
        authenticator = Authenticator(database, VAULT, FrozenClock())

        with pytest.raises(Unauthenticated):
            await authenticator.authenticate([f"Bearer {example}".encode()])


def _plant(conn: Connection, secret: str) -> KeyId:
    """Write a key's row by hand, as whoever has the pepper could."""
    row = {
        "id": "key_planted",
        "workspace_id": new_workspace(conn).id,
        "environment": "live",
        "name": "planted",
        "digest": digest(PEPPER, secret),
        "hint": "",
        "created_at": NOW,
    }
    conn.execute(insert(api_key), row)
    assert works(conn, secret)
    return KeyId("key_planted")


# -- leaks ------------------------------------------------------------------------------------------


def test_a_leaked_key_is_revoked_once_by_whoever_has_it(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    key, secret = workspaces.create_key(conn, PEPPER, workspace, NewKey("k"), NOW)
    _, other = workspaces.create_key(conn, PEPPER, workspace, NewKey("other"), NOW)

    for wrong in ("", "dk-live_", mint_secret(Environment.LIVE), key.id, secret[:-1], f"{secret}x"):
        assert workspaces.revoke_leaked(conn, [PEPPER], wrong, NOW) is None
    assert works(conn, secret)

    assert workspaces.revoke_leaked(conn, [PEPPER], secret, NOW) == key.id
    assert workspaces.revoke_leaked(conn, [PEPPER], secret, after(NOW, 9)) is None
    assert not works(conn, secret)
    assert works(conn, other)
    revoked = {one.id: one.revoked_at for one in workspaces.list_keys(conn, workspace)}
    assert revoked.pop(key.id) == NOW
    assert list(revoked.values()) == [None]


# -- the door -----------------------------------------------------------------------------------


@dataclass
class Door:
    database: Database
    clock: FrozenClock
    authenticator: Authenticator
    workspace_id: WorkspaceId

    async def key(self, **fields: Any) -> bytes:  # noqa: ANN401 the fields of NewKey
        """Make a key and return its header."""
        new = NewKey("k", **fields)
        _, secret = await self.database.write(
            lambda conn: workspaces.create_key(conn, PEPPER, self.workspace_id, new, NOW)
        )
        return f"Bearer {secret}".encode()

    async def said(self, header: bytes, scope: Mapping[str, Any]) -> str:
        try:
            await self.authenticator.authenticate([header], ORIGINS.of, scope)
        except (Unauthenticated, RateLimited) as error:
            return f"{type(error).__name__}: {error}"
        return "in"


@pytest.fixture
async def door(location: Location, clock: FrozenClock) -> AsyncIterator[Door]:
    async with open_database(location) as database:
        workspace = await database.write(new_workspace)
        failures = Pace("failure", 20 / 60, 20, clock)
        authenticator = Authenticator(database, VAULT, clock, failures)
        yield Door(database, clock, authenticator, workspace.id)


REFUSED = "Unauthenticated: Invalid API key"


async def test_a_key_is_let_in_from_its_networks_alone(door: Door) -> None:
    header = await door.key(networks=("203.0.113.0/24", "2001:db8::/48"))

    for peer in ("203.0.113.9", "2001:db8::7", "::ffff:203.0.113.9"):
        assert await door.said(header, sent_from(peer)) == "in"
    # Not even while it is remembered as good.
    for peer in ("203.0.114.9", "2001:db9::7", "127.0.0.1"):
        assert await door.said(header, sent_from(peer)) == REFUSED
    # Behind a proxy that is trusted, what it says counts, and what a client claims does not.
    assert await door.said(header, sent_from("10.0.0.1", "203.0.113.9")) == "in"
    assert await door.said(header, sent_from("10.0.0.1", "203.0.113.9, 6.6.6.6")) == REFUSED
    assert await door.said(header, sent_from("6.6.6.6", "203.0.113.9")) == REFUSED
    assert await door.said(header, {"client": None, "headers": []}) == REFUSED


async def test_a_key_that_came_from_elsewhere_was_not_used(door: Door) -> None:
    header = await door.key(networks=("203.0.113.0/24",))
    assert await door.said(header, sent_from("6.6.6.6")) == REFUSED
    await door.authenticator.write_uses()
    assert await last_uses(door) == [(None, None)]

    assert await door.said(header, sent_from("203.0.113.77")) == "in"
    await door.authenticator.write_uses()
    assert await last_uses(door) == [(door.clock.now(), "203.0.113.0/24")]


async def last_uses(door: Door) -> list[tuple[int | None, str | None]]:
    listed = await door.database.read(lambda conn: workspaces.list_keys(conn, door.workspace_id))
    return [(key.last_used_at, key.last_used_from) for key in listed]


async def test_an_address_is_told_of_twenty_wrong_keys_a_minute(door: Door) -> None:
    good = await door.key()
    wrong = [f"Bearer {mint_secret(Environment.LIVE)}".encode(), b"Bearer dk-live_x", b""]
    here, there = sent_from("203.0.113.9"), sent_from("203.0.113.10")

    told = [await door.said(wrong[n % 3], here) for n in range(25)]

    limited = "RateLimited: rate limit exceeded"
    assert told == [REFUSED] * 20 + [limited] * 5
    # Others, and who has a good key at the same address, notice nothing.
    assert await door.said(wrong[0], there) == REFUSED
    assert await door.said(good, here) == "in"
    door.clock.advance(3.0)
    assert [await door.said(wrong[0], here) for _ in range(2)] == [REFUSED, limited]
    with pytest.raises(RateLimited) as refused:
        await door.authenticator.authenticate([wrong[0]], ORIGINS.of, here)
    assert refused.value.retry_after == pytest.approx(3.0)
    assert dict(refused.value.headers)[b"ratelimit"] == b'"failure";r=0;t=3'


async def test_who_has_a_whole_network_of_ipv6_is_one_address(door: Door) -> None:
    told = [await door.said(b"x", sent_from(f"2001:db8::{n:x}")) for n in range(21)]

    assert told == [REFUSED] * 20 + ["RateLimited: rate limit exceeded"]
    assert await door.said(b"x", sent_from("2001:db8:0:1::1")) == REFUSED


# -- what malformed keys cost, and what time tells ---------------------------------------------------


def _is_right(secret: str) -> bool:
    """Whether it is a key by its form, asked of its parts: the gate itself is on trial."""
    return bool(keys._KEY.fullmatch(secret)) and secret[-6:] == keys._checksum(secret[:-6])


def malformed(count: int, rng: random.Random) -> Iterator[bytes]:
    """Make headers that are nearly keys: typos, other lengths, other alphabets, right forms."""
    letters = string.ascii_letters + string.digits
    for number in range(count):
        secret = mint_secret(Environment.LIVE) if number % 97 == 0 else ""
        match number % 4:
            case 0 if secret:
                at = rng.randrange(8, 46)
                secret = secret[:at] + rng.choice("-_é." + letters) + secret[at + 1 :]
                if _is_right(secret):
                    continue  # the letter that was there
            case 1:
                secret = "dk-live_" + "".join(rng.choices(letters, k=rng.randrange(60)))
                if len(secret) == 46 and _is_right(secret):
                    continue
            case 2:
                secret = secret[:-1] or "dk-test_" + "".join(rng.choices(letters, k=38))
                if _is_right(secret):
                    continue  # one in 57 thousand million
            case _:
                secret = "".join(rng.choices(string.printable, k=rng.randrange(80)))
        yield f"Bearer {secret}".encode("latin-1", "replace")


async def _asked_by(location: Location, count: int) -> tuple[int, int]:
    """Try so many malformed keys; return how many there were, and how often the database was asked."""
    async with open_database(location) as database:
        asked = list[str]()

        def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
            asked.append(statement)

        event.listen(database._lanes.hot_reader._engine, "before_cursor_execute", note)
        authenticator = Authenticator(database, VAULT, FrozenClock())
        tried = 0
        for header in malformed(count, random.Random(7)):
            with pytest.raises(Unauthenticated):
                await authenticator.authenticate([header])
            tried += 1
        silent = len(asked)
        # A key of good form is asked about: the listener hears.
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate([f"Bearer {mint_secret(Environment.LIVE)}".encode()])
        assert len(asked) > silent
        return tried, silent


async def test_malformed_keys_never_reach_the_database(location: Location) -> None:
    tried, asked = await _asked_by(location, 5_000)

    assert tried > 4_900
    assert asked == 0


@pytest.mark.torture
async def test_of_a_million_malformed_keys_none_reaches_the_database(location: Location) -> None:
    tried, asked = await _asked_by(location, 1_010_000)

    assert tried >= 1_000_000
    assert asked == 0


async def _times(location: Location, pairs: int) -> dict[str, list[float]]:
    """Time the refusals of interleaved kinds of keys, in a random order."""
    async with open_database(location) as database:
        authenticator = Authenticator(database, VAULT, SystemClock())
        workspace = (await database.write(new_workspace)).id

        def make(conn: Connection) -> dict[str, str]:
            dead, revoked = workspaces.create_key(conn, PEPPER, workspace, NewKey("r"), NOW)
            workspaces.revoke_key(conn, dead.id, NOW)
            bound = NewKey("b", networks=("203.0.113.0/24",))
            _, elsewhere = workspaces.create_key(conn, PEPPER, workspace, bound, NOW)
            ended = NewKey("e", expires_at=after(NOW, 1))
            _, expired = workspaces.create_key(conn, PEPPER, workspace, ended, NOW)
            # One letter off a good key, with its checksum made right.
            head = revoked[:20] + ("a" if revoked[20] != "a" else "b") + revoked[21:40]
            return {
                "unknown": mint_secret(Environment.LIVE),
                "wrong": head + keys._checksum(head),
                "revoked": revoked,
                "expired": expired,
                "elsewhere": elsewhere,
            }

        secrets = await database.write(make)
        times: dict[str, list[float]] = {kind: [] for kind in secrets}
        kinds = list(secrets)
        rng = random.Random(11)
        for _ in range(pairs):
            rng.shuffle(kinds)
            for kind in kinds:
                header = f"Bearer {secrets[kind]}".encode()
                began = time.perf_counter()
                with pytest.raises(Unauthenticated):
                    await authenticator.authenticate([header])
                times[kind].append(time.perf_counter() - began)
        return times


def welch(one: list[float], other: list[float]) -> float:
    """Return Welch's t of two samples without their slowest tenth, as dudect crops them."""
    limit = sorted([*one, *other])[int(0.9 * (len(one) + len(other)))]
    a, b = [x for x in one if x <= limit], [x for x in other if x <= limit]
    return float((fmean(a) - fmean(b)) / (variance(a) / len(a) + variance(b) / len(b)) ** 0.5)


async def _largest_t(location: Location, pairs: int) -> float:
    times = await _times(location, pairs)
    found = {kind: welch(times["unknown"], of) for kind, of in times.items() if kind != "unknown"}
    print({kind: round(t, 2) for kind, t in found.items()})  # noqa: T201 what the run measured
    return max(map(abs, found.values()))


async def test_a_refusal_takes_its_time_whatever_was_found(location: Location) -> None:
    """The short form: no refusal is told before the moment that was set for it."""
    times = await _times(location, 10)

    soonest = min(min(of) for of in times.values())
    # The loop's clock counts milliseconds.
    assert soonest > workspaces.REFUSAL_SECONDS - 0.002


@pytest.mark.torture
async def test_time_does_not_tell_a_revoked_key_from_one_that_never_was(location: Location) -> None:
    assert await _largest_t(location, 1_500) < 4.5


async def test_refusals_wait_side_by_side(location: Location) -> None:
    async with open_database(location) as database:
        authenticator = Authenticator(database, VAULT, SystemClock())
        headers = [f"Bearer {mint_secret(Environment.LIVE)}".encode() for _ in range(200)]
        began = time.perf_counter()
        await asyncio.gather(
            *(authenticator.authenticate([one]) for one in headers), return_exceptions=True
        )
        assert time.perf_counter() - began < 200 * workspaces.REFUSAL_SECONDS / 2
