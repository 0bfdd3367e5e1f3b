"""What the bounds of keys and the headers of limits cost a request: `python -m bench.limits_cost`.

Each part is timed in turn with what it replaces or adds to, in one process, many times: read the
ratios, not the microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_network
from statistics import median
from typing import Any, Final

from ketchup.clock import SystemClock
from ketchup.ids import KeyId, WorkspaceId
from ketchup.origins import Origins, read
from ketchup.pace import Pace, Quota, standing
from ketchup.workspaces import Authenticator, Caller, Environment, Pepper

TIMES: Final = 20_000
ROUNDS: Final = 15
HEADER: Final = b"Bearer dk-live_0123456789ABCDEFGHIJKLMNOPQRSTUV05H69u"
SCOPE: Final[dict[str, Any]] = {"client": ("203.0.113.9", 4711), "headers": []}


def main() -> None:
    """Print the median microseconds of each part."""
    clock = SystemClock()
    pace, quota = Pace("poll", 1e6, 10**6, clock), Quota("submit", interval=0.5, burst=30)
    free, bound = _door(clock), _door(clock, networks=(ip_network("203.0.113.0/24"),))
    origins = Origins()
    parts: dict[str, Callable[[], object]] = {
        "a key that is remembered, looked up alone": lambda: free.recall(HEADER),
        "the same through the door": lambda: _run(free.authenticate([HEADER], origins.of, SCOPE)),
        "the same, bound to a network": lambda: _run(
            bound.authenticate([HEADER], origins.of, SCOPE)
        ),
        "an address, read": lambda: read("203.0.113.9"),
        "a poll, counted": lambda: pace.check("key"),
        "a poll, counted and told": lambda: pace.check("key").headers(),
        "a submit, told": lambda: standing(quota, 1.0).headers(),
    }
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            began = time.perf_counter()
            for _ in range(TIMES):
                part()
            found[name].append((time.perf_counter() - began) / TIMES * 1e6)
    for name, times in found.items():
        print(f"{median(times):6.2f} us  {name}")


def _run(coroutine: Any) -> object:  # noqa: ANN401 any coroutine that waits for nothing
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


class _NoDatabase:
    def read_batcher(self, _work: object) -> None:
        return None


def _door(clock: SystemClock, **bounds: Any) -> Authenticator:  # noqa: ANN401 the fields of Caller
    caller = Caller(
        WorkspaceId("ws"), KeyId("key"), Environment.LIVE, None, None, None, "scale", **bounds
    )
    door = Authenticator(_NoDatabase(), Pepper(b"x" * 32), clock)  # type: ignore[arg-type]  # not asked
    door._known[HEADER] = (caller, clock.monotonic() + 3600)  # noqa: SLF001 as if found
    return door


if __name__ == "__main__":
    main()
