"""How often one caller may do something: a burst, then an even pace; and the headers that say so.

The generic cell rate algorithm over any key, in memory: each process counts by itself. What the
database must decide, submits, is decided in `tasks`, and only told here.

The headers are those of the IETF's draft "RateLimit header fields for HTTP", version 11:
`RateLimit-Policy: "poll";q=5;w=5` says that 5 are allowed in 5 seconds, `RateLimit: "poll";r=4;t=1`
that 4 are left and that there is one more in 1 second. For a refusal `t` is `Retry-After`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, NamedTuple

from ketchup.clock import Clock
from ketchup.errors import RateLimited

Header = tuple[bytes, bytes]
Headers = tuple[Header, Header]

_REMEMBER_AT_MOST: Final = 100_000
_KEPT: Final = 4_096


class Quota:
    """A limit with a name: so many at once, and one more every `interval` seconds."""

    __slots__ = ("_said", "burst", "interval", "name", "policy")

    def __init__(self, name: str, *, interval: float, burst: int) -> None:
        self.name = name
        self.interval = interval
        self.burst = burst
        window = max(1, math.ceil(round(interval * burst, 6)))
        self.policy: Header = (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (_b(name), burst, window))
        self._said: dict[tuple[int, int], Headers] = {}

    def headers(self, left: int, seconds: int) -> Headers:
        """Return the two headers. Kept, because a poll has time for little more than a look-up."""
        said = self._said.get((left, seconds))
        if said is None:
            value = b'"%s";r=%d;t=%d' % (_b(self.name), left, seconds)
            said = self.policy, (b"ratelimit", value)
            if len(self._said) < _KEPT:
                self._said[left, seconds] = said
        return said


class Standing(NamedTuple):
    """Where a caller stands: how many are left of a quota, and in how many seconds is one more."""

    quota: Quota
    left: int
    seconds: float

    def headers(self) -> Headers:
        """Return the two headers."""
        return self.quota.headers(self.left, -int(-self.seconds // 1))


def limited(quota: Quota | None, seconds: float) -> RateLimited:
    """Return the refusal of one too many: none are left, and one more is there in `seconds`."""
    headers = () if quota is None else Standing(quota, 0, max(1.0, seconds)).headers()
    return RateLimited("rate limit exceeded", retry_after=seconds, headers=headers)


class Pace:
    """The generic cell rate algorithm over any key."""

    def __init__(self, name: str, per_second: float, burst: int, clock: Clock) -> None:
        self._quota = Quota(name, interval=1.0 / per_second, burst=burst)
        self._interval = 1.0 / per_second
        self._tolerance = self._interval * burst
        self._clock = clock
        self._arrivals: dict[Hashable, float] = {}

    def check(self, key: Hashable) -> Standing:
        """Count one more and say what is left. Raises RateLimited with the seconds to wait."""
        now = self._clock.monotonic()
        arrival = max(self._arrivals.get(key, now), now) + self._interval
        early = arrival - now - self._tolerance
        # A float's rounding must not refuse the last poll of a burst.
        if early > self._interval * 1e-6:
            raise limited(self._quota, early)
        if len(self._arrivals) >= _REMEMBER_AT_MOST:
            self._make_room(now)
        self._arrivals[key] = arrival
        return standing(self._quota, arrival - now)

    def _make_room(self, now: float) -> None:
        self._arrivals = {key: at for key, at in self._arrivals.items() if at > now}
        if len(self._arrivals) > _REMEMBER_AT_MOST * 3 // 4:
            # Half of them, those that came first: who sends from ever new addresses must neither
            # make us forget all others nor look through all of them at each request.
            kept = list(self._arrivals.items())[_REMEMBER_AT_MOST // 2 :]
            self._arrivals = dict(kept)


def standing(quota: Quota, ahead: float) -> Standing:
    """Say what is left when the next arrival is expected `ahead` seconds from now."""
    interval, burst = quota.interval, quota.burst
    left = int(burst - ahead / interval + 1e-6)
    left = max(left, 0)
    # One more is there as soon as what is ahead fits the burst with one to spare.
    return Standing(quota, left, ahead - (burst - left - 1) * interval)


def _b(name: str) -> bytes:
    return name.encode("ascii")
