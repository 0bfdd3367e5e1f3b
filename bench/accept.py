"""Accept and poll: the contestants take turns, and the books are checked when all are down.

A round is every contestant once, in the same order. Ratios are taken within a round and the median
round is reported: what disturbs the machine for longer than a turn disturbs both sides of a ratio.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from sqlalchemy import Connection, func, select
from typing_extensions import override

from bench.contestants import Contestant, Cores, Name, started
from bench.load import Job, Outcome
from bench.prepare import Prepared
from bench.report import Goal, Part, at_least, number
from bench.rows import PRICE
from ketchup import credits
from ketchup.db import engine_of
from ketchup.ids import WorkspaceId
from ketchup.tasks.table import task

POLLED_AT_MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 4.0
    warm_up: float = 1.0
    posts: Sequence[int] = (1, 64, 512)
    """The numbers of connections that tasks are created with."""
    polls: int = 64
    tasks: int = 50_000
    """The ended tasks that every database starts with."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load."""

    kind: str
    connections: int

    @override
    def __str__(self) -> str:
        return f"{self.kind} at {self.connections} connection{'s' * (self.connections != 1)}"


_POSTS: Final = Work("POST", 64)
_POLLS: Final = Work("GET", 64)
_TIMES_THE_BASELINE: Final = {Name.KETCHUP: 25, Name.KETCHUP_POSTGRES: 15}
"""Posts."""


@dataclass(slots=True)
class Results:
    """Every outcome, by work and contestant, in the order of the rounds; and what was wrong."""

    outcomes: dict[tuple[Work, Name], list[Outcome]] = field(default_factory=dict)
    cpu_micros: dict[tuple[Work, Name], list[float]] = field(default_factory=dict)
    """What a request costs the server, in microseconds of its core; empty where that is unknown."""
    acknowledged: dict[Name, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def works(self) -> list[Work]:
        return list(dict.fromkeys(work for work, _ in self.outcomes))

    def rate(self, work: Work, name: Name) -> float:
        """Return the requests per second of the median round."""
        return median(outcome.per_second for outcome in self.outcomes[work, name])

    def ratio(self, work: Work, name: Name, to: Name) -> float:
        """Return how many times as fast one is as another, in the median round."""
        pairs = zip(self.outcomes[work, name], self.outcomes[work, to], strict=True)
        return median(one.per_second / max(other.per_second, 1e-9) for one, other in pairs)


def measure(plan: Plan, folders: dict[Name, Prepared], cores: Cores) -> Results:
    """Run every round, stop the servers, and compare the databases with what was acknowledged."""
    results = Results(acknowledged=dict.fromkeys(folders, 0))
    with contextlib.ExitStack() as stack:
        contestants = [
            stack.enter_context(started(name, prepared, cores.server))
            for name, prepared in folders.items()
        ]
        for _ in range(plan.rounds):
            _round(plan, contestants, cores, results)
    for name, prepared in folders.items():
        if name is not Name.FLOOR:
            results.faults += _book_faults(name, prepared, results.acknowledged[name])
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    counts = ", ".join(f"{name} {count:,}" for name, count in results.acknowledged.items())
    rounds = [
        {
            "work": str(work),
            "contestant": name,
            "rounds": outcomes,
            "cpu_micros": results.cpu_micros.get((work, name)),
        }
        for (work, name), outcomes in results.outcomes.items()
    ]
    return Part(
        name="accept",
        table=list(_table(results)),
        goals=list(_goals(results)),
        notes=[f"Tasks acknowledged over HTTP: {counts}."],
        faults=results.faults,
        figures={"load": rounds, "acknowledged": results.acknowledged},
    )


def _table(results: Results) -> Iterator[str]:
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
            f"| {number(middle.p50_ms)} | {number(middle.p99_ms)} "
            f"| {results.ratio(work, name, Name.BASELINE):.1f} "
            f"| {results.ratio(work, name, Name.FLOOR):.2f} | {cpu} | {middle.busy:.0%} |"
        )


def _goals(results: Results) -> Iterator[Goal]:
    works = results.works()
    for name, times in _TIMES_THE_BASELINE.items():
        if name in results.acknowledged and _POSTS in works:
            to_baseline = results.ratio(_POSTS, name, Name.BASELINE)
            yield at_least(f"{name}, {_POSTS}: ≥ {times} times the baseline", to_baseline, times)
        if name in results.acknowledged and _POLLS in works:
            polls = results.ratio(_POLLS, name, Name.BASELINE)
            yield at_least(f"{name}, {_POLLS}: ≥ 25 times the baseline", polls, 25)
    if _POSTS in works:
        to_floor = results.ratio(_POSTS, Name.KETCHUP, Name.FLOOR)
        yield at_least(f"{Name.KETCHUP}, {_POSTS}: ≥ 0.45 of the floor", to_floor, 0.45)


def _round(plan: Plan, contestants: Sequence[Contestant], cores: Cores, results: Results) -> None:
    created: dict[Name, list[str]] = {one.name: [] for one in contestants}
    for connections in plan.posts:
        job = _job(plan, cores, connections)
        for one in contestants:
            outcome, cpu = one.load(job)
            created[one.name] += outcome.ids
            _keep(results, Work("POST", connections), one.name, outcome, cpu)
    for one in contestants:
        job = _job(plan, cores, plan.polls, _polled(one.prepared.known, created[one.name]))
        _keep(results, Work("GET", plan.polls), one.name, *one.load(job))


def _job(plan: Plan, cores: Cores, connections: int, ids: Sequence[str] = ()) -> Job:
    return Job(
        port=0,
        key="",
        connections=connections,
        warm_up=plan.warm_up,
        seconds=plan.seconds,
        ids=list(ids),
        core=cores.load,
    )


def _polled(ended: Sequence[str], created: Sequence[str]) -> list[str]:
    """Return ids to ask for, in no order: up to half of them pending, the others ended."""
    chance = random.Random(1)
    half = POLLED_AT_MOST // 2
    pending = chance.sample(created, min(half, len(created)))
    polled = pending + chance.sample(ended, min(half, len(ended)))
    chance.shuffle(polled)
    return polled


def _keep(
    results: Results, work: Work, name: Name, outcome: Outcome, cpu_micros: float | None
) -> None:
    results.acknowledged[name] += len(outcome.ids)
    results.faults += [f"{name}, {work}: {fault}" for fault in _faults(outcome)]
    if len(set(outcome.ids)) != len(outcome.ids):
        results.faults.append(f"{name}, {work}: a task id was given twice")
    # The ids have been counted; without them a run's outcomes are small.
    results.outcomes.setdefault((work, name), []).append(outcome.without_ids())
    if cpu_micros is not None:
        results.cpu_micros.setdefault((work, name), []).append(cpu_micros)


def _faults(outcome: Outcome) -> Iterator[str]:
    for status, count in outcome.statuses.items():
        if status != 200:
            yield f"{count} answers of status {status}"
    if outcome.wrong:
        yield f"{outcome.wrong} answers without the right task id"
    if not outcome.statuses:
        yield "no answers"


def _book_faults(name: Name, prepared: Prepared, acknowledged: int) -> list[str]:
    engine = engine_of(prepared.location, read_only=True)
    try:
        with engine.connect() as conn:
            return [f"{name}: {fault}" for fault in _disagreements(conn, prepared, acknowledged)]
    finally:
        engine.dispose()


def _disagreements(conn: Connection, prepared: Prepared, acknowledged: int) -> Iterator[str]:
    workspace = WorkspaceId(prepared.workspace_id)
    tasks = conn.scalar(select(func.count()).select_from(task)) or 0
    holds = conn.scalar(select(func.count()).select_from(credits.hold_table)) or 0
    audit = credits.audit(conn, workspace)
    if tasks - prepared.ended != acknowledged:
        yield f"{acknowledged} tasks acknowledged, {tasks - prepared.ended} stored"
    if holds != acknowledged:
        yield f"{acknowledged} tasks acknowledged, {holds} holds stored"
    if audit.account.held != acknowledged * PRICE:
        yield f"{acknowledged} tasks acknowledged, {audit.account.held} micro-credits held"
    if not audit.consistent:
        yield f"the accounts do not agree with their rows: {audit}"
