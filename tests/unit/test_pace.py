"""How often: the pace in memory, and the headers in which every limit is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.clock import FrozenClock
from ketchup.errors import RateLimited
from ketchup.pace import Pace, Quota, standing


def told(pace: Pace, key: str = "one") -> str:
    """Return what the answer to one more says."""
    try:
        return dict(pace.check(key).headers())[b"ratelimit"].decode()
    except RateLimited as refused:
        return f"{dict(refused.headers)[b'ratelimit'].decode()} after {refused.retry_after:.3f}"


def test_each_answer_says_what_is_left_and_when_there_is_more() -> None:
    clock = FrozenClock()
    pace = Pace("poll", 1.0, 3, clock)

    assert [told(pace) for _ in range(4)] == [
        '"poll";r=2;t=1',
        '"poll";r=1;t=1',
        '"poll";r=0;t=1',
        '"poll";r=0;t=1 after 1.000',
    ]
    clock.advance(0.25)
    assert told(pace) == '"poll";r=0;t=1 after 0.750'
    assert told(pace, "another") == '"poll";r=2;t=1'
    clock.advance(1.75)
    assert told(pace) == '"poll";r=1;t=1'


@pytest.mark.parametrize(
    ("per_second", "burst", "policy"),
    [(1.0, 5, '"poll";q=5;w=5'), (20 / 60, 20, '"poll";q=20;w=60'), (100.0, 5, '"poll";q=5;w=1')],
)
def test_the_policy_is_the_burst_and_the_time_in_which_it_comes_back(
    per_second: float, burst: int, policy: str
) -> None:
    (name, value), _ = Pace("poll", per_second, burst, FrozenClock()).check("one").headers()

    assert (name, value.decode()) == (b"ratelimit-policy", policy)


@given(
    st.integers(1, 6_000),
    st.integers(1, 50),
    st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_what_is_told_is_kept(per_minute: int, burst: int, pauses: list[float]) -> None:
    """As many as are said to be left come in at once, and the next one as soon as it is said."""
    for pause in pauses:
        clock = FrozenClock()
        pace = Pace("p", per_minute / 60, burst, clock)
        pace.check("another")
        clock.advance(pause)
        now = pace.check(0)
        for _ in range(now.left):
            pace.check(0)
        with pytest.raises(RateLimited) as refused:
            pace.check(0)
        clock.advance(refused.value.retry_after)
        pace.check(0)


@pytest.mark.parametrize(("ahead", "left", "seconds"), [(1.0, 2, 1.0), (2.5, 0, 0.5), (3.0, 0, 1)])
def test_a_standing_is_read_from_how_far_ahead_a_caller_is(
    ahead: float, left: int, seconds: float
) -> None:
    found = standing(Quota("submit", interval=1.0, burst=3), ahead)

    assert found.left == left
    assert found.seconds == pytest.approx(seconds)


def test_a_steady_flood_does_not_make_each_request_look_through_all() -> None:
    clock = FrozenClock()
    pace = Pace("failure", 1.0, 1, clock)
    for number in range(99_999):
        clock.advance(1e-5)
        pace.check(number)
    clock.advance(2e-5)
    looked = 0
    for number in range(1_000):
        clock.advance(1e-5)  # and one of the first has come to its end
        before = pace._arrivals
        pace.check(f"new {number}")
        looked += pace._arrivals is not before

    assert looked <= 1


def test_what_is_remembered_is_bounded_and_a_flood_of_addresses_does_not_free_all() -> None:
    pace = Pace("failure", 1.0, 1, FrozenClock())
    for number in range(60_000):
        pace.check(number)
    pace.check("the one")
    for number in range(60_000, 120_000):
        pace.check(number)

    assert len(pace._arrivals) <= 100_000
    with pytest.raises(RateLimited):
        pace.check("the one")
