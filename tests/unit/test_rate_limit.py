"""The rate limit: a burst at once, then one per interval, and an honest time to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.clock import SECOND, Micros
from ketchup.tasks import RateLimit, TooSoon

T0 = 1_757_499_740 * SECOND


def run(limit: RateLimit, at: list[float]) -> list[float | None]:
    """Return what each submit at these seconds is told: None is yes, a number is seconds to wait."""
    arrival, answers = 0, list[float | None]()
    for seconds in at:
        decided = limit.admit(arrival, Micros(T0 + round(seconds * SECOND)))
        if isinstance(decided, TooSoon):
            answers.append(decided.retry_after)
        else:
            arrival = decided
            answers.append(None)
    return answers


@pytest.mark.parametrize(
    ("limit", "at", "answers"),
    [
        # one a second, no burst
        (RateLimit(60, 1), [0, 0.5, 1, 1, 2.5, 3], [None, 0.5, None, 1.0, None, 0.5]),
        # a burst of three, then one a second
        (RateLimit(60, 3), [0, 0, 0, 0, 0.75, 1, 1], [None, None, None, 1.0, 0.25, None, 1.0]),
        # the burst is there again after a rest, and is not saved up beyond that
        (RateLimit(60, 2), [0, 0, 100, 100, 100], [None, None, None, None, 1.0]),
        # one in two seconds
        (RateLimit(30, 1), [0, 1, 2], [None, 1.0, None]),
        # a wall clock that is set back an hour keeps nobody waiting, and gives no second burst
        (RateLimit(60, 3), [3600, 3600, 3600, 0, 0, 1], [None, None, None, None, 1.0, None]),
        # one that is set back a little keeps the caller waiting no longer than it went back
        (RateLimit(60, 3), [10, 10, 9.5], [None, None, 0.5]),
    ],
)
def test_the_table(limit: RateLimit, at: list[float], answers: list[float | None]) -> None:
    assert run(limit, at) == answers


@given(
    st.integers(1, 6_000),
    st.integers(1, 50),
    st.lists(st.integers(0, 60 * SECOND), min_size=1, max_size=200).map(sorted),
)
def test_no_minute_admits_more_than_the_rate_and_the_burst(
    per_minute: int, burst: int, at: list[int]
) -> None:
    answers = run(RateLimit(per_minute, burst), [moment / SECOND for moment in at])

    assert answers[0] is None
    # An interval is whole microseconds, cut: at most 1 in 10,000 faster than the rate.
    assert answers.count(None) <= per_minute * 1.0001 + burst


@given(st.integers(1, 6_000), st.integers(1, 50))
def test_who_comes_back_when_told_is_admitted_and_not_a_moment_before(
    per_minute: int, burst: int
) -> None:
    limit, arrival, now = RateLimit(per_minute, burst), 0, Micros(T0)
    for _ in range(burst):
        admitted = limit.admit(arrival, now)
        assert isinstance(admitted, int)
        arrival = admitted

    refused = limit.admit(arrival, now)

    assert isinstance(refused, TooSoon)
    back = Micros(now + round(refused.retry_after * SECOND))
    assert isinstance(limit.admit(arrival, back), int)
    assert isinstance(limit.admit(arrival, Micros(back - 1)), TooSoon)
