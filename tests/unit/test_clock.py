"""Time: what is shown, what is frozen, and that the two kinds go on together."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.clock import SECOND, FrozenClock, Micros, SystemClock, after, iso


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (1_757_499_740_010_000, "2025-09-10T10:22:20.010Z"),
        (1_757_499_740_010_999, "2025-09-10T10:22:20.010Z"),
        (1_757_499_740_999_999, "2025-09-10T10:22:20.999Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (4_102_444_799_999_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_times_look_as_the_contract_shows_them_and_are_cut_not_rounded(at: int, text: str) -> None:
    assert iso(Micros(at)) == text


@given(st.integers(0, 4_102_444_800 * SECOND))
def test_a_time_reads_back_to_its_millisecond(at: int) -> None:
    shown = datetime.fromisoformat(iso(Micros(at)))

    milliseconds = round(shown.timestamp() * 1000)
    assert milliseconds == at // 1000


def test_a_frozen_clock_moves_only_when_told_and_both_kinds_together() -> None:
    clock = FrozenClock()
    start = clock.now()
    assert (clock.now(), clock.monotonic()) == (start, 0.0)

    clock.advance(1.5)

    assert (clock.now(), clock.monotonic()) == (start + 1_500_000, 1.5)


def test_after_counts_both_ways_in_whole_microseconds() -> None:
    assert after(Micros(10), 0.000_001_4) == 11
    assert after(Micros(2 * SECOND), -1.5) == SECOND // 2
    assert isinstance(after(Micros(0), 0.1), int)


def test_the_system_clock_is_in_microseconds_and_does_not_go_back() -> None:
    clock = SystemClock()

    assert iso(clock.now()) > "2025-01-01"
    assert iso(clock.now()) < "2100-01-01"
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
