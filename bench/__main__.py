"""`python -m bench`: measure what Ketchup promises, beside what others do.

Exits with 1 when an answer was wrong or a database does not hold what was acknowledged. A goal that
is missed is told and is no failure: speed depends on the machine, being right does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import (
    accept,
    arena,
    fair,
    growth,
    latency,
    local,
    pipeline,
    recovery,
    report,
    servers,
    startup,
)
from bench.arena import Queue
from bench.contestants import Cores, Name
from bench.pipeline import Pictures
from bench.prepare import prepare
from bench.report import Part
from bench.servers import Servers


def main() -> int:
    """Measure, print the report, and return the exit code."""
    # Whoever ends us must not leave servers and gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = _options()
    wanted = options.only or list(PARTS)
    cores = Cores.choose()
    with tempfile.TemporaryDirectory(prefix="ketchup-bench-") as name:
        folder = Path(name)
        with servers.running(folder) as up:
            parts = [_measured(part, options, folder, up, cores) for part in wanted]
    where = [report.machine(cores), *up.versions, *arena.left_out(up)]
    print(report.markdown(parts, where))
    if options.json is not None:
        options.json.write_bytes(report.json(parts, where))
    return 1 if report.faults(parts) else 0


def _measured(
    name: str, options: argparse.Namespace, folder: Path, up: Servers, cores: Cores
) -> Part:
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    return PARTS[name](options, folder, up, cores)


def _start(options: argparse.Namespace, folder: Path, _: Servers, __: Cores) -> Part:
    return startup.part(startup.measure(folder / "start", options.starts))


def _accept(options: argparse.Namespace, folder: Path, up: Servers, cores: Cores) -> Part:
    plan = accept.Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=options.seconds / 4,
        posts=options.posts,
        tasks=options.tasks,
    )
    with contextlib.ExitStack() as stack:
        databases: dict[Name, str | None] = dict.fromkeys((Name.KETCHUP, Name.FLOOR, Name.BASELINE))
        if up.postgres is not None:
            stack.enter_context(up.pinned(cores.server))
            databases[Name.KETCHUP_POSTGRES] = stack.enter_context(up.new_database()).url
        folders = {
            name: asyncio.run(prepare(folder / name.name, plan.tasks, database))
            for name, database in databases.items()
        }
        return accept.part(accept.measure(plan, folders, cores))


def _pipeline(options: argparse.Namespace, folder: Path, up: Servers, _: Cores) -> Part:
    plan = pipeline.Plan(
        rounds=options.rounds,
        tasks=options.pipeline,
        warm_up=options.pipeline // 10,
        http_seconds=options.seconds,
        pictures=[Pictures[name.upper()] for name in options.pictures],
    )
    return pipeline.part(pipeline.measure(plan, _queues(options, up), up, folder / "pipeline"))


def _latency(options: argparse.Namespace, folder: Path, up: Servers, _: Cores) -> Part:
    queues = _queues(options, up)
    return latency.part(latency.measure(options.latency, queues, up, folder / "latency"))


def _growth(options: argparse.Namespace, folder: Path, up: Servers, _: Cores) -> Part:
    plan = growth.Plan(
        rounds=options.rounds,
        ended=options.many_tasks,
        inserts=options.inserts,
        query_seconds=options.seconds,
    )
    return growth.part(growth.measure(plan, up, folder / "growth"))


def _fair(options: argparse.Namespace, folder: Path, up: Servers, _: Cores) -> Part:
    plan = fair.Plan(flood=options.flood, singles=options.singles)
    return fair.part(fair.measure(plan, _queues(options, up), up, folder / "fair"))


def _recovery(options: argparse.Namespace, folder: Path, up: Servers, _: Cores) -> Part:
    plan = recovery.Plan(kills=options.kills, lease_seconds=options.lease)
    return recovery.part(recovery.measure(plan, _queues(options, up), up, folder / "recovery"))


def _local(options: argparse.Namespace, _: Path, __: Servers, ___: Cores) -> Part:
    plan = local.Plan(rounds=options.rounds, pictures=options.local)
    return local.part(local.measure(plan))


def _queues(options: argparse.Namespace, up: Servers) -> list[Queue]:
    return [queue for queue in arena.taking_part(up) if queue.short in options.queues]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="the parts to run (all of them)")
    parser.add_argument(
        "--queues", nargs="+", choices=_QUEUES, default=_QUEUES, help="who takes part (all)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--rounds", type=int, help="rounds of every contestant (3)")
    parser.add_argument("--seconds", type=float, help="length of one measurement of accept (4)")
    parser.add_argument("--posts", type=int, nargs="+", help="connections that post (1 64 512)")
    parser.add_argument(
        "--tasks", type=int, help="ended tasks in the databases (50000; to grow to, 5000000)"
    )
    parser.add_argument("--starts", type=int, help="starts of `ketchup serve` of each kind (5)")
    parser.add_argument("--pipeline", type=int, help="tasks from accept to success (5000)")
    parser.add_argument(
        "--pictures", nargs="+", choices=_PLACES, default=_PLACES, help="where pictures go (both)"
    )
    parser.add_argument("--latency", type=int, help="tasks that wait for a worker (400)")
    parser.add_argument("--inserts", type=int, help="tasks to insert and claim there (10000)")
    parser.add_argument("--flood", type=int, help="tasks of the tenant that floods (10000)")
    parser.add_argument("--singles", type=int, help="tasks of the other tenant (20)")
    parser.add_argument("--kills", type=int, help="workers to kill (5)")
    parser.add_argument("--lease", type=float, help="seconds that a worker may be silent (15)")
    parser.add_argument("--local", type=int, help="pictures by local weights in a round (32)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to a file")
    options = parser.parse_args()
    options.many_tasks = options.tasks
    for name, (full, quick) in _AMOUNTS.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


_QUEUES: Final = [queue.short for queue in Queue]
_PLACES: Final = [pictures.name.lower() for pictures in Pictures]
_AMOUNTS: Final[dict[str, tuple[object, object]]] = {
    "rounds": (3, 1),
    "seconds": (4.0, 1.0),
    "posts": ([1, 64, 512], [1, 64]),
    "tasks": (50_000, 5_000),
    "starts": (5, 1),
    "pipeline": (5_000, 500),
    "latency": (400, 40),
    "many_tasks": (5_000_000, 100_000),
    "inserts": (10_000, 2_000),
    "flood": (10_000, 1_000),
    "singles": (20, 5),
    "kills": (5, 1),
    "lease": (15.0, 3.0),
    "local": (32, 8),
}
PARTS: Final[dict[str, Callable[[argparse.Namespace, Path, Servers, Cores], Part]]] = {
    "start": _start,
    "accept": _accept,
    "pipeline": _pipeline,
    "latency": _latency,
    "growth": _growth,
    "fair": _fair,
    "recovery": _recovery,
    "local": _local,
}


if __name__ == "__main__":
    sys.exit(main())
