"""Lists of tasks: bounded, by an index, and a workspace's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from ketchup import ids, tasks
from ketchup.db import Location
from ketchup.tasks import Status, Wanted
from tests.support.database import open_engine
from tests.support.factories import enqueue, new_workspace
from tests.support.plans import recorded_plans


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        yield opened


def test_a_list_is_read_by_its_index_whatever_is_asked_for(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    [old, new] = enqueue(conn, workspace, 2)
    for wanted in (
        Wanted(10),
        Wanted(10, before=new),
        Wanted(10, before=new, since=old),
        Wanted(10, status=Status.PENDING, model="google/gempix2"),
    ):
        with recorded_plans(conn) as plans:
            tasks.list_page(conn, workspace, wanted)
        assert plans.indexes == {"task_of_workspace"}
        assert "task" not in plans.scans


def test_a_page_that_fits_nothing_looks_at_so_many_and_says_where_to_go_on(
    conn: Connection,
) -> None:
    workspace = new_workspace(conn).id
    made = enqueue(conn, workspace, 5)

    page = tasks.list_page(conn, workspace, Wanted(2, status=Status.FAILED), look_at_most=3)
    assert (page.tasks, page.following) == ((), made[2])
    page = tasks.list_page(
        conn, workspace, Wanted(2, page.following, status=Status.FAILED), look_at_most=3
    )
    assert (page.tasks, page.following) == ((), None)


def test_where_ids_of_a_time_begin() -> None:
    now = 1_757_499_740_010_000
    floor = ids.task_id_floor(now, now)
    assert ids.task_id(now - 1000) < floor < ids.task_id(now)
    assert ids.task_id_floor(0, now) < ids.task_id(now)
    assert ids.task_id_floor(now * 3, now) > ids.task_id(now)


def test_a_task_is_found_by_its_id_alone_and_not_among_its_workspaces(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    (mine,) = enqueue(conn, workspace, 1)
    for find in (tasks.get_many, tasks.find_summaries):
        with recorded_plans(conn) as plans:
            find(conn, [(workspace, mine)])
        assert (plans.indexes, plans.scans) == (set(), set())
