"""Fairness: what a workspace may have in the queue, and which place a task of it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.clock import SECOND, Micros
from ketchup.ids import TaskId, WorkspaceId
from ketchup.tasks import UNLIMITED, Allowance, Priority, RateLimit, TooDeep, TooSoon, Turns
from ketchup.tasks.fairness import IMAGE_COST, LEAD, Entrant, Turn

NOW = Micros(1_757_499_740 * SECOND)
ACME, OTHER = WorkspaceId("ws_acme"), WorkspaceId("ws_other")
NUMBERS = count()


def entrant(
    workspace: WorkspaceId = ACME, *, images: int = 1, priority: Priority = Priority.NORMAL
) -> Entrant:
    return Entrant(TaskId(f"ta{next(NUMBERS):08}"), workspace, images, priority)


def admitted(turn: Turn, allowance: Allowance, now: Micros = NOW) -> Turn:
    after = turn.admit(allowance, now)
    assert isinstance(after, Turn)
    return after


def order(turns: Turns, tasks: Sequence[Entrant], shares: dict[WorkspaceId, int]) -> list[Entrant]:
    """Let tasks in, and return them in the order in which they are served."""
    placed = []
    for task in tasks:
        place = turns.admit(task, Allowance(weight=shares[task.workspace_id]), NOW)
        assert place is not None
        placed.append((place, task.task_id, task))
    return [task for _, _, task in sorted(placed, key=lambda one: one[:2])]


# -- what may come in -----------------------------------------------------------------------------


def test_a_task_comes_in_until_the_depth_is_reached() -> None:
    turn = Turn(active=2, waiting=1)

    assert turn.admit(Allowance(depth=3), NOW) == TooDeep(3)
    assert admitted(turn, Allowance(depth=4)).waiting == 2
    assert admitted(turn, UNLIMITED).waiting == 2


def test_a_task_that_is_too_soon_is_told_when_to_come_back() -> None:
    allowance = Allowance(RateLimit(60, 1), depth=1)
    hasty = admitted(Turn(), allowance)

    # Both forbid it; waiting a second helps against one of them.
    assert hasty.admit(allowance, NOW) == TooSoon(1.0)
    assert hasty.admit(allowance, Micros(NOW + SECOND)) == TooDeep(1)


def test_a_submit_says_what_its_plan_allows_now() -> None:
    turn = admitted(Turn(capacity=2, weight=1), Allowance(capacity=16, weight=4))

    assert (turn.capacity, turn.weight) == (16, 4)


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))
def test_there_is_room_for_no_more_than_wait_and_no_more_than_fit(
    active: int, waiting: int, capacity: int
) -> None:
    room = Turn(active=active, waiting=waiting, capacity=capacity).room

    assert 0 <= room <= waiting
    if capacity:
        assert room == 0 or active + room <= capacity
        assert room == waiting or active + room >= capacity
    else:
        assert room == waiting


def test_refusals_count_those_that_came_before_in_the_same_batch() -> None:
    turns = Turns({ACME: Turn(active=1, is_first=False)}, 0)
    deep, free = Allowance(depth=3), UNLIMITED

    refusals = turns.refusals([(ACME, deep), (OTHER, free), (ACME, deep), (ACME, deep)], NOW)

    assert refusals == [None, None, None, TooDeep(3)]
    # Deciding has changed nothing.
    assert turns.refusals([(ACME, deep)], NOW) == [None]
    assert turns.of(ACME) == Turn(active=1, is_first=False)
    assert turns.of(OTHER) == Turn()


def test_what_is_refused_cannot_come_in() -> None:
    turns = Turns({ACME: Turn(active=1)}, 0)

    with pytest.raises(TypeError, match="TooDeep"):
        turns.admit(entrant(), Allowance(depth=1), NOW)


def test_a_task_waits_when_its_workspace_is_full_or_others_of_it_wait() -> None:
    cap = Allowance(capacity=1)
    turns = Turns({}, 0)

    assert turns.admit(entrant(), cap, NOW) == 0
    assert turns.admit(entrant(), cap, NOW) is None
    # There is room again, and the one that waits goes first.
    turns.leave({ACME: 1})
    assert turns.admit(entrant(), cap, NOW) is None

    assert turns.with_room() == {ACME: 1}
    turns.enter(entrant())
    assert turns.with_room() == {}
    assert (turns.of(ACME).active, turns.of(ACME).waiting) == (1, 1)


def test_another_share_holds_at_once() -> None:
    turns = Turns({ACME: Turn(active=2, waiting=9, capacity=2)}, 0)

    turns.set_share(ACME, 5, 4)
    assert turns.with_room() == {ACME: 3}
    turns.set_share(ACME, 1, 1)
    assert turns.with_room() == {}
    turns.set_share(ACME, 0, 1)
    assert turns.with_room() == {ACME: 9}


# -- the fair order -------------------------------------------------------------------------------


def test_a_workspace_moves_on_by_what_its_images_cost_divided_by_its_weight() -> None:
    turn = Turn(vtime=100, waiting=2, weight=4)

    place, turn = turn.enter(3, Priority.NORMAL, floor=0)
    assert (place, turn.vtime, turn.active, turn.waiting) == (100, 100 + 3 * IMAGE_COST // 4, 1, 1)
    place, turn = turn.enter(1, Priority.NORMAL, floor=0)
    assert (place, turn.vtime) == (100 + 3 * IMAGE_COST // 4, 100 + IMAGE_COST)


def test_who_was_away_starts_where_the_queue_is_and_has_saved_up_nothing() -> None:
    floor = 1_000 * IMAGE_COST
    turn = Turn(vtime=5, waiting=2)

    first, turn = turn.enter(1, Priority.NORMAL, floor)
    second, turn = turn.enter(1, Priority.NORMAL, floor)

    assert (first, second) == (floor, floor + IMAGE_COST)


@pytest.mark.parametrize("weight", range(1, 17))
def test_no_weight_of_the_usual_ones_loses_anything_to_rounding(weight: int) -> None:
    assert IMAGE_COST % weight == 0


@given(
    shares=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    images=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    served=st.integers(1, 200),
)
def test_two_that_always_want_more_get_images_in_proportion_to_their_weights(
    shares: tuple[int, int], images: tuple[int, int], served: int
) -> None:
    weights = dict(zip((ACME, OTHER), shares, strict=True))
    sizes = dict(zip((ACME, OTHER), images, strict=True))
    wanted = [entrant(who, images=sizes[who]) for _ in range(served) for who in (ACME, OTHER)]

    first = order(Turns({}, 0), wanted, weights)[:served]

    got = Counter[WorkspaceId]()
    for task in first:
        got[task.workspace_id] += task.images
    # The bound of start-time fair queueing: each is at most one of its own tasks off.
    ahead = got[ACME] / weights[ACME] - got[OTHER] / weights[OTHER]
    assert abs(ahead) <= sizes[ACME] / weights[ACME] + sizes[OTHER] / weights[OTHER]


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("images", [1, 8])
def test_a_newcomer_waits_for_a_bounded_number_of_tasks_however_urgent_a_flood_is(
    priority: Priority, images: int
) -> None:
    turns, shares = Turns({}, 0), {ACME: 1, OTHER: 1}
    flood = [entrant(images=images, priority=priority) for _ in range(10_000)]
    newcomer = entrant(OTHER)

    served = order(turns, [*flood, newcomer], shares)

    assert served.index(newcomer) <= LEAD + 1


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 8)), min_size=1, max_size=60))
def test_priority_never_puts_a_workspace_ahead_by_more_than_its_lead(
    wanted: list[tuple[Priority, int]],
) -> None:
    turns, time = Turns({}, 0), 0
    for priority, images in wanted:
        place = turns.admit(entrant(images=images, priority=priority), UNLIMITED, NOW)
        assert place is not None
        assert place >= 0
        assert abs(place - time) <= LEAD * images * IMAGE_COST
        time += images * IMAGE_COST
        # What it pays is the same, whatever the priority.
        assert turns.of(ACME).vtime == time


def test_an_urgent_task_goes_before_its_workspaces_own_and_a_patient_one_behind() -> None:
    ordinary = [entrant() for _ in range(10)]
    patient, urgent = entrant(priority=Priority.LOW), entrant(priority=Priority.HIGH)
    later = [entrant() for _ in range(10)]

    served = order(Turns({}, 0), [*ordinary, patient, urgent, *later], {ACME: 1})

    assert served.index(urgent) <= 1
    assert served.index(patient) == len(ordinary) + 1 + 8
    assert [task for task in served if task.priority is Priority.NORMAL] == [*ordinary, *later]


def test_nothing_is_placed_before_what_the_queue_has_passed() -> None:
    floor = 50 * IMAGE_COST
    turns = Turns({ACME: Turn(vtime=floor, active=3)}, floor)

    assert turns.admit(entrant(priority=Priority.HIGH), UNLIMITED, NOW) == floor


def test_who_takes_another_ones_place_pays_for_its_own_images() -> None:
    paid = Turn(vtime=10 * IMAGE_COST, weight=2)

    assert paid.exchange(8, 1).vtime == 10 * IMAGE_COST + 7 * IMAGE_COST // 2
    assert paid.exchange(8, 1).exchange(1, 8) == paid
