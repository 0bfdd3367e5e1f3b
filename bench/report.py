"""The report: Markdown for people, JSON for machines, goals beside what was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.contestants import Cores


@dataclass(frozen=True, slots=True)
class Goal:
    """What DESIGN promises, and what this run says. `measured` is None where it cannot be told."""

    text: str
    measured: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the run, as it is told."""

    name: str
    table: Sequence[str]
    """Lines of Markdown."""
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    faults: Sequence[str] = ()
    """What was wrong; a run with any is void."""
    figures: Mapping[str, object] = field(default_factory=dict)
    """Everything that was measured, for machines."""


def markdown(parts: Sequence[Part], where: Sequence[str]) -> str:
    """Return the whole report; `where` says where it was made and what was missing."""
    tables = [line for part in parts for line in (*part.table, "")]
    notes = [note for part in parts for note in part.notes]
    return "\n".join([*where, "", *tables, *_goals(parts), "", *notes, *_verdict(parts)])


def json(parts: Sequence[Part], where: Sequence[str]) -> bytes:
    """Return everything that was measured, round by round."""
    report = {
        "where": where,
        "parts": {part.name: part.figures for part in parts},
        "goals": [goal for part in parts for goal in part.goals],
        "faults": faults(parts),
    }
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def faults(parts: Sequence[Part]) -> list[str]:
    """Return everything that was wrong."""
    return [fault for part in parts for fault in part.faults]


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


def at_least(text: str, measured: float, bound: float) -> Goal:
    """Judge what must not be smaller."""
    return Goal(text, measured, measured >= bound)


def at_most(text: str, measured: float | None, bound: float) -> Goal:
    """Judge what must not be larger."""
    return Goal(text, measured, None if measured is None else measured <= bound)


def number(value: float | None) -> str:
    """Write a figure of a table."""
    return "unknown" if value is None else f"{value:,.2f}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the others lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _goals(parts: Sequence[Part]) -> Iterator[str]:
    yield "| goal | measured | |"
    yield "|---|---|---|"
    for goal in (goal for part in parts for goal in part.goals):
        word = "unknown" if goal.met is None else "met" if goal.met else "**not met**"
        yield f"| {goal.text} | {number(goal.measured)} | {word} |"


def _verdict(parts: Sequence[Part]) -> Iterator[str]:
    if found := faults(parts):
        yield "**The run is void:**"
        yield from (f"- {fault}" for fault in found)
    else:
        yield "Every answer was right, and the databases hold exactly what was acknowledged."
