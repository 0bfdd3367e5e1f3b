"""Simulated machines do what real ones do: wait, stand still, go on, and die."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.machines import Machine
from tests.simulation.schedule import Schedule
from tests.simulation.store import Store, Undone


class Diary:
    """What happened when, on a machine of its own."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.machine = Machine(self.schedule, "one", seed="a test's")
        self.outside = Machine(self.schedule, "outside", seed="a test's")
        self.entries: list[tuple[float, str]] = []

    def write(self, what: str) -> None:
        self.entries.append((self.schedule.now, what))

    def live(self, until: float) -> None:
        self.outside.loop.call_at(until, self.write, "end")
        while "end" not in [what for _, what in self.entries]:
            self.schedule.step()


async def ticks(diary: Diary, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        diary.write("tick")


def test_hours_pass_at_once_and_in_order() -> None:
    diary = Diary()

    async def waits() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        diary.write("an hour later")

    diary.machine.start(waits())
    diary.machine.start(ticks(diary, 1500))
    diary.live(5000)

    expected = [(1500, "tick"), (3000, "tick"), (3600, "an hour later"), (4500, "tick")]
    assert diary.entries == [*expected, (5000, "end")]


def test_a_paused_machine_does_what_fell_due_when_it_wakes_up() -> None:
    diary = Diary()
    diary.machine.start(ticks(diary, 10))
    diary.outside.loop.call_at(15, diary.machine.pause)
    diary.outside.loop.call_at(47, diary.machine.resume)
    diary.live(60)

    assert diary.entries == [(10, "tick"), (47, "tick"), (57, "tick"), (60, "end")]


def test_a_killed_machine_does_nothing_more_and_leaves_nothing_unfinished() -> None:
    diary = Diary()
    unwound: list[str] = []

    async def works() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            unwound.append("once")
            await asyncio.sleep(100)

    diary.machine.start(works())
    diary.machine.start(ticks(diary, 10))
    diary.machine.mourn(lambda: diary.write("mourned"))
    diary.outside.loop.call_at(25, diary.machine.kill, diary.outside.loop)
    diary.live(200)

    assert diary.entries == [(10, "tick"), (20, "tick"), (25, "mourned"), (200, "end")]
    assert unwound == ["once"]
    assert [task for task in asyncio.all_tasks(diary.machine.loop) if not task.done()] == []


def test_a_machine_that_is_killed_by_its_own_act_finishes_that_and_no_more() -> None:
    diary = Diary()

    async def works() -> None:
        diary.machine.kill(diary.outside.loop)
        diary.write("still here")
        await asyncio.sleep(0)
        diary.write("too late")

    diary.machine.start(works())
    diary.live(1)

    assert diary.entries == [(0, "still here"), (1, "end")]


def test_the_wall_clock_jumps_and_the_other_goes_on() -> None:
    diary = Diary()
    before = diary.machine.clock.now()

    diary.machine.clock.off_by = -3600.0
    diary.live(10)

    assert diary.machine.clock.now() == before + (10 - 3600) * 1_000_000
    assert diary.machine.clock.monotonic() == 10


def test_nothing_real_can_be_reached_from_a_simulated_machine() -> None:
    diary = Diary()
    refused: list[str] = []

    async def reaches_out() -> None:
        for attempt in (asyncio.to_thread(print), asyncio.open_connection("127.0.0.1", 9)):
            with pytest.raises(NotImplementedError):
                await attempt
            refused.append("refused")

    diary.machine.start(reaches_out())
    diary.live(1)

    assert refused == ["refused", "refused"]


def test_the_store_shows_each_change_and_an_undone_transaction_leaves_none() -> None:
    store = Store(reverse=False)
    insert = "INSERT INTO queue_clock (id, vtime) VALUES (2, 7)"

    with pytest.raises(Undone):
        store.transact(lambda conn: conn.exec_driver_sql(insert), undo=True)
    assert store.query("SELECT id FROM queue_clock") == [(1,)]

    store.transact(lambda conn: conn.exec_driver_sql(insert))
    store.transact(
        lambda conn: conn.exec_driver_sql("UPDATE queue_clock SET vtime = 8 WHERE id = 2")
    )
    (change,) = store.take_changes()
    assert (change.table, change.old, change.new) == (
        "queue_clock",
        {"id": 2, "vtime": 7},
        {"id": 2, "vtime": 8},
    )
    store.close()
