"""The report: Markdown for people, JSON for machines, goals beside what was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import msgspec

from bench.accept import Results, Work
from bench.contestants import Cores, Name
from bench.startup import Starts, largest, median_seconds

POST_GOAL = Work("POST", 64)
GET_GOAL = Work("GET", 64)


@dataclass(frozen=True, slots=True)
class Goal:
    """What DESIGN promises, and what this run says. `measured` is None where it cannot be told."""

    text: str
    measured: float | None
    met: bool | None


def goals(results: Results, starts: Starts) -> list[Goal]:
    """Judge the run by the goals that it can judge."""
    works = results.works()
    judged: list[Goal] = []
    if POST_GOAL in works:
        to_baseline = results.ratio(POST_GOAL, Name.KETCHUP, Name.BASELINE)
        to_floor = results.ratio(POST_GOAL, Name.KETCHUP, Name.FLOOR)
        judged.append(_at_least(f"{POST_GOAL}: ≥ 25 times the baseline", to_baseline, 25))
        judged.append(_at_least(f"{POST_GOAL}: ≥ 0.45 of the floor", to_floor, 0.45))
    if GET_GOAL in works:
        polls = results.ratio(GET_GOAL, Name.KETCHUP, Name.BASELINE)
        judged.append(_at_least(f"{GET_GOAL}: ≥ 25 times the baseline", polls, 25))
    both = starts.cold + starts.warm
    if both:
        slower = max(median_seconds(starts.cold), median_seconds(starts.warm))
        memory = largest([start.pss_mb for start in both])
        judged.append(_at_most("`ketchup serve` ready: ≤ 1.5 s", slower, 1.5))
        judged.append(_at_most("`ketchup serve` memory (PSS): ≤ 150 MB", memory, 150))
    return judged


def markdown(results: Results, starts: Starts, cores: Cores) -> str:
    """Return the whole report."""
    return "\n".join(
        [
            machine(cores),
            "",
            *_rates(results),
            "",
            *_start_ups(starts),
            "",
            *_goals(goals(results, starts)),
            "",
            *_books(results),
        ]
    )


def json(results: Results, starts: Starts, cores: Cores) -> bytes:
    """Return everything that was measured, round by round."""
    rounds = [
        {
            "work": str(work),
            "contestant": name,
            "rounds": outcomes,
            "cpu_micros": results.cpu_micros.get((work, name)),
        }
        for (work, name), outcomes in results.outcomes.items()
    ]
    report = {
        "machine": machine(cores),
        "load": rounds,
        "acknowledged": results.acknowledged,
        "starts": starts,
        "goals": goals(results, starts),
        "faults": results.faults,
    }
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def machine(cores: Cores) -> str:
    """Return one line on where this ran."""
    pinned = (
        f"servers on core {cores.server}, load on core {cores.load}"
        if cores.server is not None
        else "not pinned"
    )
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {pinned}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def _rates(results: Results) -> Iterator[str]:
    yield (
        "| work | server | req/s median (best) | p50 ms | p99 ms "
        "| to baseline | to floor | CPU µs | load |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for (work, name), outcomes in results.outcomes.items():
        middle = sorted(outcomes, key=lambda outcome: outcome.per_second)[len(outcomes) // 2]
        spent = results.cpu_micros.get((work, name))
        cpu = f"{median(spent):,.0f}" if spent else "unknown"
        best = max(outcome.per_second for outcome in outcomes)
        yield (
            f"| {work} | {name} | {results.rate(work, name):,.0f} ({best:,.0f}) "
            f"| {middle.p50_ms:.2f} | {middle.p99_ms:.2f} "
            f"| {results.ratio(work, name, Name.BASELINE):.1f} "
            f"| {results.ratio(work, name, Name.FLOOR):.2f} | {cpu} | {middle.busy:.0%} |"
        )


def _start_ups(starts: Starts) -> Iterator[str]:
    yield "| `ketchup serve` | ready, median s | largest PSS MB | largest RSS MB |"
    yield "|---|---|---|---|"
    for name, kind in (("empty folder", starts.cold), ("used folder", starts.warm)):
        if kind:
            pss, rss = largest([s.pss_mb for s in kind]), largest([s.rss_mb for s in kind])
            yield f"| {name} | {median_seconds(kind):.2f} | {_number(pss)} | {_number(rss)} |"


def _goals(judged: list[Goal]) -> Iterator[str]:
    yield "| goal | measured | |"
    yield "|---|---|---|"
    for goal in judged:
        word = "unknown" if goal.met is None else "met" if goal.met else "**not met**"
        yield f"| {goal.text} | {_number(goal.measured)} | {word} |"


def _books(results: Results) -> Iterator[str]:
    counts = ", ".join(f"{name} {count:,}" for name, count in results.acknowledged.items())
    yield f"Tasks acknowledged: {counts}."
    if results.faults:
        yield "**The run is void:**"
        yield from (f"- {fault}" for fault in results.faults)
    else:
        yield "Every answer was right, and the databases hold exactly what was acknowledged."


def _at_least(text: str, measured: float, bound: float) -> Goal:
    return Goal(text, measured, measured >= bound)


def _at_most(text: str, measured: float | None, bound: float) -> Goal:
    return Goal(text, measured, None if measured is None else measured <= bound)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f}"
