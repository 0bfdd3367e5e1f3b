"""Simulate from the command line, and replay what went wrong.

python -m tests.simulation --seed 7 --trace            one seed, everything that happens in it
python -m tests.simulation --seed 1 --seeds 100        a hundred of them, and how fast it went
python -m tests.simulation --seed 3 --days 1           a whole day
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.plan import DAY, SHORT_DAY
from tests.simulation.world import Outcome, simulate


def main() -> int:
    arguments = _parse()
    show = _print if arguments.trace else None
    outcomes: list[Outcome] = []
    started = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        outcome = simulate(seed, arguments.days, show)
        outcomes.append(outcome)
        _print(f"seed {seed}: {outcome.digest} {dict(outcome.ended)}")
        if outcome.complaints:
            _print("\n".join(f"  {complaint}" for complaint in outcome.complaints))
            return 1
    _summarise(outcomes, time.perf_counter() - started)
    return 0


def _summarise(outcomes: list[Outcome], seconds: float) -> None:
    days = sum(outcome.seconds for outcome in outcomes) / DAY
    ended: Counter[str] = sum((outcome.ended for outcome in outcomes), Counter())
    happened: Counter[str] = sum((outcome.happened for outcome in outcomes), Counter())
    for what, times in happened.most_common():
        _print(f"{times:8} {what}")
    minutes = seconds / 60
    _print(
        f"{len(outcomes)} seeds with {dict(ended)} in {seconds:.1f} s: "
        f"{len(outcomes) / minutes:.0f} seeds and {days / minutes:.1f} simulated days per minute"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many (1)")
    parser.add_argument("--days", type=float, default=SHORT_DAY, help="how long each is (an hour)")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
