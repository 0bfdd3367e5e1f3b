"""The rows of worker processes: who is alive, and who may take over from whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from ketchup import leases
from ketchup.clock import FrozenClock
from ketchup.db import Location
from ketchup.ids import WorkerId
from ketchup.leases import Terms, Watch
from tests.support.database import open_engine
from tests.support.factories import OTHER_WORKER, WORKER, register


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as conn:
        yield conn


def reap(conn: Connection, watch: Watch, reaper: WorkerId = OTHER_WORKER) -> int:
    return leases.reap_silent(conn, watch.find_silent(leases.beats_of_others(conn, reaper)))


def test_a_worker_is_reaped_a_whole_lease_after_its_beat_was_seen(conn: Connection) -> None:
    clock = FrozenClock()
    watch = Watch(clock)
    register(conn, WORKER, OTHER_WORKER)

    assert reap(conn, watch) == 0
    clock.advance(14.9)
    assert reap(conn, watch) == 0
    clock.advance(0.1)
    assert reap(conn, watch) == 1

    assert not leases.renew_unless_reaped(conn, WORKER)
    assert not leases.lock_alive(conn, WORKER)
    assert leases.list_others(conn, OTHER_WORKER) == []


def test_a_worker_that_renews_is_never_reaped(conn: Connection) -> None:
    clock = FrozenClock()
    watch = Watch(clock)
    register(conn, WORKER, OTHER_WORKER)

    for _ in range(100):
        assert reap(conn, watch) == 0
        clock.advance(14.0)
        assert leases.renew_unless_reaped(conn, WORKER)

    assert leases.lock_alive(conn, WORKER)


def test_a_wall_clock_that_jumps_reaps_nobody(conn: Connection) -> None:
    clock = FrozenClock()
    watch = Watch(clock)
    register(conn, WORKER, OTHER_WORKER)

    for jump in (3600, -7200, 86_400):
        assert reap(conn, watch) == 0
        clock.at = type(clock.at)(clock.at + jump * 1_000_000)

    assert leases.lock_alive(conn, WORKER)


def test_a_watcher_that_slept_does_not_reap_who_has_renewed_since(conn: Connection) -> None:
    clock = FrozenClock()
    watch = Watch(clock)
    register(conn, WORKER, OTHER_WORKER)
    assert reap(conn, watch) == 0
    silent = leases.beats_of_others(conn, OTHER_WORKER)
    clock.advance(3600)
    assert leases.renew_unless_reaped(conn, WORKER)

    # It had found the worker silent before it fell asleep, and acts on it only now.
    assert leases.reap_silent(conn, silent) == 0
    assert reap(conn, watch) == 0

    assert leases.lock_alive(conn, WORKER)


def test_a_worker_never_reaps_itself(conn: Connection) -> None:
    register(conn, WORKER)

    assert leases.beats_of_others(conn, WORKER) == {}


def test_a_worker_that_ended_is_off_the_list(conn: Connection) -> None:
    register(conn, WORKER, OTHER_WORKER)
    assert leases.list_others(conn, WORKER) == [OTHER_WORKER]

    leases.remove(conn, [])
    leases.remove(conn, [OTHER_WORKER])

    assert leases.list_others(conn, WORKER) == []


def test_each_worker_has_as_long_as_its_own_settings_say(conn: Connection) -> None:
    clock = FrozenClock()
    watch = Watch(clock)
    leases.register(conn, WORKER, clock.now(), Terms(ttl=60.0))
    leases.register(conn, OTHER_WORKER, clock.now(), Terms(ttl=2.0))

    assert reap(conn, watch) == 0
    clock.advance(59.9)
    assert reap(conn, watch) == 0
    clock.advance(0.1)
    assert reap(conn, watch) == 1
