"""Simulated hours and days: whatever happens in them, no promise is broken.

A seed that fails is replayed by the command in the failure's message, and goes wrong in the same
way each time. The long form takes other seeds in each run; KETCHUP_TEST_SEED repeats one.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Final

import pytest

import ketchup
from tests.simulation.plan import SHORT_DAY
from tests.simulation.world import Outcome, simulate

SEEDS: Final = range(1, 25)
_ROOT: Final = Path(__file__).parents[2]
_MANY: Final = 500
_DAYS: Final = 8
# Without these the seeds would prove nothing.
_TROUBLES: Final = {
    "kill",
    "pause",
    "stop",
    "clock",
    "outage",
    "undone",
    "unheard",
    "echo",
    "trouble",
    "failure",
    "gone",
    "plan",
    "revoked",
    "refused",
    "replayed",
    "cancelled",
    "signalled",
    "Conflicting",
    "InsufficientCredits",
    "TooSoon",
    "TooDeep",
    "Unanswered",
    "Unavailable",
    "lease lost: abandoning what runs",
    "an attempt was not recorded",
}


@cache
def hour(seed: int) -> Outcome:
    return simulate(seed, SHORT_DAY)


def judge(outcomes: Iterable[Outcome], days: float = SHORT_DAY) -> None:
    for outcome in outcomes:
        replay = f"python -m tests.simulation --seed {outcome.seed} --days {days:g} --trace"
        assert not outcome.complaints, f"{outcome.complaints}\nreplay: {replay}"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_hour_of_trouble_breaks_no_promise(seed: int) -> None:
    judge([hour(seed)])


def test_these_hours_have_every_kind_of_trouble_and_much_succeeds() -> None:
    outcomes = [hour(seed) for seed in SEEDS]
    happened: Counter[str] = sum((outcome.happened for outcome in outcomes), Counter())
    ended: Counter[str] = sum((outcome.ended for outcome in outcomes), Counter())

    assert _TROUBLES - happened.keys() == set()
    assert ended["success"] > 20 * len(SEEDS)
    assert ended["failed"] > len(SEEDS)


def test_a_seed_repeats_itself_to_the_last_detail() -> None:
    again = simulate(SEEDS[0], SHORT_DAY)

    assert again == hour(SEEDS[0])


def test_another_process_that_hashes_otherwise_repeats_it_too() -> None:
    replay = [sys.executable, "-m", "tests.simulation", "--seed", str(SEEDS[0])]
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(ketchup.__file__).parents[1]),
        "PYTHONHASHSEED": "4711",
    }

    printed = subprocess.run(
        replay, env=environ, cwd=_ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout

    assert hour(SEEDS[0]).digest in printed


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_many_hours_of_trouble_break_no_promise() -> None:
    judge(_side_by_side(_fresh(_MANY), SHORT_DAY))


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_whole_days_of_trouble_break_no_promise() -> None:
    judge(_side_by_side(_fresh(_DAYS), 1.0), 1.0)


def _fresh(count: int) -> Sequence[int]:
    """Return seeds that nobody has seen yet, or those of a run that is to be repeated."""
    first = int(os.environ.get("KETCHUP_TEST_SEED") or Random().randrange(10**6) * 1000)
    sys.stdout.write(f"KETCHUP_TEST_SEED={first}\n")
    return range(first, first + count)


def _side_by_side(seeds: Sequence[int], days: float) -> Iterable[Outcome]:
    """Simulate on all cores. The processes are new ones: this one may have threads."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=fresh) as pool:
        yield from pool.map(partial(simulate, days=days), seeds)
