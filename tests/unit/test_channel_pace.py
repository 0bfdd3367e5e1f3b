"""A channel's images per minute: never more in any sixty seconds, and nobody waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ketchup.channels import State
from ketchup.clock import SECOND, Micros

T0 = Micros(1_757_499_740 * SECOND)
MINUTE = 60 * SECOND


@st.composite
def days(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Make a limit, and tasks: how long after the one before each comes, and its images."""
    limit = draw(st.integers(1, 12) | st.integers(1, 2_000))
    pauses = st.sampled_from([0, 1, SECOND, MINUTE // limit, MINUTE - 1, MINUTE])
    pauses |= st.integers(0, 2 * MINUTE // limit) | st.integers(0, MINUTE + 1)
    task = st.tuples(pauses, st.integers(1, min(8, limit)) | st.just(min(8, limit)))
    return limit, draw(st.lists(task, min_size=2, max_size=80))


def sent(limit: int, tasks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Send each as soon as it may be."""
    state, at, log = State(), T0, list[tuple[int, int]]()
    for pause, images in tasks:
        at = Micros(at + pause)
        if (until := state.free_at(images, limit, at)) > at:
            assert until <= at + MINUTE
            at = until
            # Who comes back when it was told to waits no more: nothing else was sent.
            assert state.free_at(images, limit, at) == at
        state = state.sent(images, limit, at)
        log.append((at, images))
    return log


def most_in_a_minute(log: list[tuple[int, int]]) -> int:
    return max(
        sum(images for at, images in log if start <= at < start + MINUTE) for start, _ in log
    )


@given(days())
@example((120, [(0, 1)] * 120 + [(0, 8)]))
def test_no_sixty_seconds_have_more_than_the_limit(day: tuple[int, list[tuple[int, int]]]) -> None:
    limit, tasks = day
    assert most_in_a_minute(sent(limit, tasks)) <= limit


def test_a_start_whose_time_is_from_before_the_last_one_waits_behind_it() -> None:
    assert State().sent(1, 60, T0).free_at(1, 60, Micros(T0 - 5 * SECOND)) == T0 + SECOND


@pytest.mark.parametrize(
    ("limit", "images", "seconds"),
    [
        # Single images are spread evenly, and the whole limit is used.
        (60, [1] * 61, list(range(61))),
        # An idle channel takes any task at once, also one of the whole limit.
        (8, [8, 8, 8], [0, 60, 120]),
        # Eight more fit into the minute at the even pace, and into ten they do not.
        (16, [8, 8, 8], [0, 30, 60]),
        (10, [8, 8, 2, 8], [0, 60, 108, 120]),
        (9, [1, 8, 1], [0, 60 / 9, 60]),
    ],
)
def test_who_is_sent_when(limit: int, images: list[int], seconds: list[float]) -> None:
    log = sent(limit, [(0, count) for count in images])
    assert [(at - T0) / SECOND for at, _ in log] == pytest.approx(seconds, abs=1e-5)


def test_a_busy_channel_loses_no_more_than_a_second_of_a_minute_and_stays_small() -> None:
    state, at, count = State(), T0, 0
    while at < T0 + 10 * MINUTE:
        state = state.sent(1, 6_000, at)
        count += 1
        at = state.free_at(1, 6_000, at)
        assert len(state.recent) <= 67

    assert count >= 60_000 * 59 // 60


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    state = State().sent(8, 8, Micros(T0 + 3600 * SECOND))
    assert state.free_at(8, 8, T0) == T0
    assert state.sent(8, 8, T0).free_at(1, 8, T0) == T0 + MINUTE

    # Less than a minute could as well be another machine's: that is waited for.
    state = State().sent(8, 8, Micros(T0 + 30 * SECOND))
    assert state.free_at(1, 8, T0) == T0 + 90 * SECOND


def test_a_success_forgets_failures_and_not_what_was_sent() -> None:
    state = State().sent(8, 10, T0).failed(T0, None).succeeded()
    assert state.free_at(8, 10, Micros(T0 + 50 * SECOND)) == T0 + MINUTE
