"""`python -m bench`: measure accept and poll, and start-up, against the goals.

Exits with 1 when an answer was wrong or a database does not hold what was acknowledged. A goal that
is missed is told and is no failure: speed depends on the machine, being right does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench import accept, report, startup
from bench.accept import Plan
from bench.contestants import Cores, Name
from bench.prepare import prepare


def main() -> int:
    """Measure, print the report, and return the exit code."""
    options = _options()
    plan = Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=options.seconds / 4,
        posts=options.posts,
        tasks=options.tasks,
    )
    cores = Cores.choose()
    with tempfile.TemporaryDirectory(prefix="ketchup-bench-") as name:
        folder = Path(name)
        starts = startup.measure(folder, options.starts)
        folders = {
            contestant: asyncio.run(prepare(folder / contestant, plan.tasks)) for contestant in Name
        }
        results = accept.measure(plan, folders, cores)
    print(report.markdown(results, starts, cores))
    if options.json is not None:
        options.json.write_bytes(report.json(results, starts, cores))
    return 1 if results.faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about 20 seconds")
    parser.add_argument("--rounds", type=int, help="rounds of every contestant (3)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (4)")
    parser.add_argument("--posts", type=int, nargs="+", help="connections that post (1 64 512)")
    parser.add_argument("--tasks", type=int, help="tasks already in the database (50000)")
    parser.add_argument("--starts", type=int, help="starts of `ketchup serve` of each kind (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to a file")
    options = parser.parse_args()
    defaults = _QUICK if options.quick else _FULL
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


_FULL = {"rounds": 3, "seconds": 4.0, "posts": [1, 64, 512], "tasks": 50_000, "starts": 5}
_QUICK = {"rounds": 1, "seconds": 1.0, "posts": [1, 64], "tasks": 5_000, "starts": 1}


if __name__ == "__main__":
    sys.exit(main())
