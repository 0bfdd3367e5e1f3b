from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.backoff import MAX_RETRY_AFTER_SECONDS, exponential, jittered, scheduled

SEEDS = st.integers(min_value=0, max_value=2**32)
SCHEDULE = (0.0, 5.0, 300.0)


@given(seconds=st.floats(min_value=0, max_value=1e6), seed=SEEDS)
def test_jitter_stays_within_a_fifth(seconds: float, seed: int) -> None:
    assert seconds * 0.8 <= jittered(seconds, Random(seed)) <= seconds * 1.2


def test_jitter_spreads_over_the_whole_fifth() -> None:
    random = Random(7)
    delays = [jittered(100.0, random) for _ in range(1000)]
    assert min(delays) < 81
    assert max(delays) > 119


@pytest.mark.parametrize(
    ("tries", "middle"), [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)]
)
def test_exponential_doubles_up_to_the_ceiling(tries: int, middle: float) -> None:
    delay = exponential(tries, Random(1))
    assert middle * 0.8 <= delay <= middle * 1.2


@pytest.mark.parametrize(("attempts", "middle"), [(0, 0.0), (1, 5.0), (2, 300.0)])
@given(seed=SEEDS)
def test_each_attempt_waits_for_its_own_step(attempts: int, middle: float, seed: int) -> None:
    delay = scheduled(SCHEDULE, attempts, Random(seed))
    assert delay is not None
    assert middle * 0.8 <= delay <= middle * 1.2


@pytest.mark.parametrize("attempts", [3, 4, 100])
def test_a_schedule_that_is_used_up_gives_no_delay(attempts: int) -> None:
    assert scheduled(SCHEDULE, attempts, Random(1)) is None
    assert scheduled(SCHEDULE, attempts, Random(1), retry_after=5.0) is None


@given(wish=st.floats(), seed=SEEDS)
def test_a_receiver_can_only_lengthen_the_pause_and_only_to_a_day(wish: float, seed: int) -> None:
    without = scheduled(SCHEDULE, 1, Random(seed))
    with_wish = scheduled(SCHEDULE, 1, Random(seed), retry_after=wish)
    assert without is not None
    assert with_wish is not None
    assert without <= with_wish <= MAX_RETRY_AFTER_SECONDS
    if without <= wish <= MAX_RETRY_AFTER_SECONDS:
        assert with_wish == wish


def test_a_wish_that_is_not_a_number_is_ignored() -> None:
    assert scheduled(SCHEDULE, 1, Random(3), retry_after=math.nan) == scheduled(
        SCHEDULE, 1, Random(3)
    )
