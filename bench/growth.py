"""Growth: what an insert, a claim and a query cost when millions of tasks have ended.

Two databases of each kind, one with a thousand ended tasks and one with millions, take turns under
the same load, which goes through the same code as a request's and a worker's does. Queries ask for
the latest thousand tasks, as polls do, and then for any task of the past.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench import books, orders, own
from bench.orders import Order
from bench.prepare import Prepared, prepare, settings_for
from bench.report import Goal, Part, at_least
from bench.servers import Servers
from ketchup import ids, leases, tasks
from ketchup.bootstrap import Runtime, open_folder, open_runtime
from ketchup.db import engine_of
from ketchup.ids import WorkspaceId
from ketchup.service import event_loop_runner

SMALL: Final = 1_000
KINDS: Final = ("inserts", "claims", "queries", "queries of any age")
_GOAL: Final = 0.8
_WORKSPACES: Final = 64
_CALLERS: Final = 64
_CLAIM: Final = 64
_WARM_UP: Final = 500
_BYTES_A_TASK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    ended: int = 5_000_000
    inserts: int = 10_000
    query_seconds: float = 3.0


Rates = dict[str, dict[int, list[float]]]
"""Per second, by kind of work and number of ended tasks, in the order of the rounds."""


@dataclass(slots=True)
class Results:
    """The rates of each database, and what is to be said about them."""

    plan: Plan
    rates: dict[str, Rates] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ratio(self, database: str, kind: str) -> float:
        """Return how much of its rate a kind of work keeps, in the median round."""
        of_size = self.rates[database][kind]
        pairs = zip(of_size[self.plan.ended], of_size[SMALL], strict=True)
        return median(large / small for large, small in pairs)


@dataclass(frozen=True, slots=True)
class _Site:
    prepared: Prepared
    workspaces: list[str]


def measure(plan: Plan, servers: Servers, folder: Path) -> Results:
    """Fill the databases, run every round, and remove them."""
    results = Results(plan)
    needed = plan.ended * _BYTES_A_TASK
    if shutil.disk_usage(folder.parent).free < needed:
        results.notes.append(f"Growth was left out: it needs {needed / 1e9:.0f} GB of disk.")
        return results
    _measure_on("SQLite", results, folder / "sqlite", (None, None))
    if servers.postgres is not None:
        with servers.new_database() as small, servers.new_database() as large:
            _measure_on("PostgreSQL", results, folder / "postgres", (small.url, large.url))
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="growth",
        table=list(_table(results)),
        goals=list(_goals(results)),
        notes=results.notes,
        figures={"per_second": results.rates},
    )


def _measure_on(
    name: str, results: Results, folder: Path, databases: tuple[str | None, str | None]
) -> None:
    plan = results.plan
    folder.mkdir(parents=True)
    sizes = (SMALL, plan.ended)
    began = time.monotonic()
    sites = {
        size: _site(folder / str(size), size, database)
        for size, database in zip(sizes, databases, strict=True)
    }
    results.notes.append(f"{name} was filled in {time.monotonic() - began:.0f} s.")
    kinds: dict[str, dict[int, list[float]]] = {
        kind: {size: [] for size in sizes} for kind in KINDS
    }
    for _ in range(plan.rounds):
        for size, site in sites.items():
            with event_loop_runner() as runner:
                rates = runner.run(_rates(site, plan))
            for kind, rate in zip(KINDS, rates, strict=True):
                kinds[kind][size].append(rate)
    results.rates[name] = kinds
    shutil.rmtree(folder)


def _site(folder: Path, ended: int, database: str | None) -> _Site:
    prepared = asyncio.run(prepare(folder, ended, database))
    engine = engine_of(prepared.location, lasting=True)
    with engine.begin() as conn:
        workspaces = books.open_workspaces(conn, _WORKSPACES)
    engine.dispose()
    return _Site(prepared, workspaces)


async def _rates(site: _Site, plan: Plan) -> list[float]:
    """Return how much is done per second, in the order of KINDS."""
    settings = settings_for(site.prepared.folder, database=site.prepared.database)
    known = site.prepared.known
    with open_folder(settings) as folder:
        async with open_runtime(settings, folder, base_url="http://127.0.0.1") as runtime:
            await _inserts(runtime, site, _WARM_UP)
            rates = [await _inserts(runtime, site, plan.inserts), await _claims(runtime)]
            for asked in (known[-SMALL:], known):
                await _queries(runtime, site, asked, plan.query_seconds / 4)
                rates.append(await _queries(runtime, site, asked, plan.query_seconds))
            return rates


async def _inserts(runtime: Runtime, site: _Site, count: int) -> float:
    began = time.perf_counter()
    order = Order(tasks=count, workspaces=site.workspaces, at_once=_CALLERS)
    await orders.fulfil(order, own.submitter(runtime))
    return count / (time.perf_counter() - began)


async def _claims(runtime: Runtime) -> float:
    """Claim everything that is ready, as a worker does whose tasks end at once."""
    worker_id, now = ids.worker_id(), runtime.clock.now()
    await runtime.database.write(lambda conn: leases.register(conn, worker_id, now))
    claimed = 0
    began = time.perf_counter()
    while found := await runtime.runner.claim(worker_id, _CLAIM):
        claimed += len(found)
    return claimed / (time.perf_counter() - began)


async def _queries(runtime: Runtime, site: _Site, known: Sequence[str], seconds: float) -> float:
    query = runtime.database.read_batcher(tasks.get_many)
    workspace = WorkspaceId(site.prepared.workspace_id)
    chance = random.Random(1)
    until = time.perf_counter() + seconds

    async def poll() -> int:
        asked = 0
        while time.perf_counter() < until:
            task_id = chance.choice(known)
            found = await query((workspace, task_id))
            assert found is not None, task_id
            asked += 1
        return asked

    return sum(await asyncio.gather(*(poll() for _ in range(_CALLERS)))) / seconds


def _table(results: Results) -> Iterator[str]:
    large = results.plan.ended
    yield (f"| growth | per second at {SMALL:,} ended tasks | at {large:,} | keeps, median round |")
    yield "|---|---|---|---|"
    for name, kinds in results.rates.items():
        for kind, rates in kinds.items():
            few, many = median(rates[SMALL]), median(rates[large])
            kept = results.ratio(name, kind)
            yield f"| {name}, {kind} | {few:,.0f} | {many:,.0f} | {kept:.2f} |"


def _goals(results: Results) -> Iterator[Goal]:
    for name, kinds in results.rates.items():
        for kind in kinds:
            text = (
                f"{name}, {kind} at {results.plan.ended:,} tasks: ≥ {_GOAL} of those at {SMALL:,}"
            )
            yield at_least(text, results.ratio(name, kind), _GOAL)
