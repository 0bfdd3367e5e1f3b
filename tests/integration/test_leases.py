"""The rows of worker processes: who is alive, and who may take over from whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ketchup import leases
from ketchup.clock import Micros, after
from ketchup.leases import Terms
from tests.support.database import temporary_engine
from tests.support.factories import NOW, OTHER_WORKER, WORKER, register


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    with temporary_engine(tmp_path) as engine, engine.begin() as conn:
        yield conn


def test_a_worker_is_reaped_after_its_lease_and_not_a_moment_before(conn: Connection) -> None:
    register(conn, WORKER, OTHER_WORKER)
    terms = Terms(ttl=15.0)
    ends = after(NOW, 15.0)

    assert leases.reap_expired(conn, ends, reaper=OTHER_WORKER) == []
    assert leases.renew_unless_reaped(conn, OTHER_WORKER, terms, ends)
    assert leases.reap_expired(conn, Micros(ends + 1), reaper=OTHER_WORKER) == [WORKER]

    assert not leases.renew_unless_reaped(conn, WORKER, terms, Micros(ends + 1))
    assert leases.list_others(conn, OTHER_WORKER) == []


def test_a_worker_never_reaps_itself_even_when_the_wall_clock_jumps(conn: Connection) -> None:
    register(conn, WORKER)

    assert leases.reap_expired(conn, after(NOW, 86_400), reaper=WORKER) == []
    assert leases.renew_unless_reaped(conn, WORKER, Terms(), after(NOW, 86_400))


def test_a_worker_that_ended_is_off_the_list(conn: Connection) -> None:
    register(conn, WORKER, OTHER_WORKER)
    assert leases.list_others(conn, WORKER) == [OTHER_WORKER]

    leases.remove(conn, [])
    leases.remove(conn, [OTHER_WORKER])

    assert leases.list_others(conn, WORKER) == []
