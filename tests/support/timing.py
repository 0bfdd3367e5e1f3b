"""Whether two questions take the same time to answer: Welch's t-test over interleaved pairs.

As dudect has it (Reparaz, Balasch and Verbauwhede, 2017): both kinds are asked in random order, so
that whatever else the machine does falls on both alike; the slowest answers are cut off by one
limit for both; and the two are told apart when |t| is 4.5 or more.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from random import Random
from statistics import fmean, quantiles, variance
from time import perf_counter_ns

from tests.support.exchange import Connection

TOLD_APART = 4.5
_KEPT_OF_TEN = 7


async def t_of(base_url: str, first: Sequence[bytes], second: Sequence[bytes], pairs: int) -> float:
    """Ask so many of each, over one connection; the requests of a kind take turns."""
    connection = await Connection.to(base_url)
    times: tuple[list[int], list[int]] = ([], [])
    order = Random(pairs)
    gc.collect()
    gc.disable()
    try:
        for number in range(pairs):
            for kind in order.sample((0, 1), 2):
                requests = (first, second)[kind]
                started = perf_counter_ns()
                await connection.send(requests[number % len(requests)])
                await connection.response()
                times[kind].append(perf_counter_ns() - started)
    finally:
        gc.enable()
        await connection.close()
    limit = quantiles([*times[0], *times[1]], n=10)[_KEPT_OF_TEN - 1]
    return welch(*([one for one in kind if one <= limit] for kind in times))


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Welch's t: how far the means are apart, in standard errors of their difference."""
    error = math.sqrt(variance(first) / len(first) + variance(second) / len(second))
    return (fmean(first) - fmean(second)) / error
