"""Simulate from the command line: `python -m tests.simulation --seed 7 --trace`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.world import simulate


def main() -> int:
    arguments = _parse()
    started, simulated, ended = time.perf_counter(), 0.0, Counter[str]()
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        outcome = simulate(seed, arguments.days, print if arguments.trace else None)
        simulated += outcome.seconds
        ended.update(outcome.ended)
        if arguments.seeds <= 20 or outcome.complaints:
            print(
                f"seed {seed}: {outcome.digest} {outcome.ended} {outcome.commits} commits {outcome.seconds:.0f} s {outcome.delivered} told"
            )
        for complaint in outcome.complaints:
            print(f"  {complaint}")
        if outcome.complaints and not arguments.keep_on:
            return 1
    took = time.perf_counter() - started
    print(
        f"{arguments.seeds} seeds, {simulated / 86400:.2f} days, {dict(ended)} in {took:.1f} s: {arguments.seeds / took * 60:.0f} seeds and {simulated / 86400 / took * 60:.1f} days per minute"
    )
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--days", type=float, default=1 / 24)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--keep-on", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
