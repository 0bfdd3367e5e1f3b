"""Plans: what a workspace may ask for, what share it has, and how long its images are kept.

Every number is an operator's setting. A workspace keeps the name of its plan alone, and what the
plan says is read when it is needed: a change of the settings holds for everybody on the plan, and
for the images that they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ketchup import telemetry
from ketchup.errors import InvalidRequest
from ketchup.money import Credits

log = telemetry.logger(__name__)

_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. 0 is no limit for submits per minute, concurrency and depth."""

    name: str
    title: str
    price: Credits
    """Money for a month; shown and never taken."""
    submits_per_minute: int
    submit_burst: int
    """Tasks that may come at once when submits are limited."""
    concurrency: int
    """Tasks in flight at once."""
    depth: int
    """Tasks that wait or run at once."""
    weight: int
    """The share in the fair order, at least 1."""
    retention_days: int

    @property
    def retention_seconds(self) -> int:
        """How long an image is kept."""
        return self.retention_days * _DAY_SECONDS


class Plans:
    """The plans, in the order in which they were written. Never change once built."""

    def __init__(self, plans: Iterable[Plan], default: str) -> None:
        self._by_name = {plan.name: plan for plan in plans}
        if default not in self._by_name:
            raise ValueError(f"the default plan {default} is not one of the plans")
        self._default = self._by_name[default]
        self._missed: set[str] = set()

    @property
    def default(self) -> Plan:
        """The plan of a workspace that is made without saying one."""
        return self._default

    def find(self, name: str) -> Plan:
        """Return the plan of this name; the default one when it was deleted while in use."""
        plan = self._by_name.get(name)
        if plan is not None:
            return plan
        if name not in self._missed:
            self._missed.add(name)
            log.warning(
                "plan is gone, the default one holds", plan=name, instead=self._default.name
            )
        return self._default

    def get(self, name: str) -> Plan:
        """Return the plan that is asked for. Raises InvalidRequest with the names there are."""
        if name not in self._by_name:
            raise InvalidRequest(f"plan must be one of {', '.join(self._by_name)}")
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


class PlanEntry(Protocol):
    """One plan as plain values: what a table of the settings holds."""

    @property
    def title(self) -> str: ...  # noqa: D102 the attributes of Plan
    @property
    def price(self) -> Credits: ...  # noqa: D102 as above
    @property
    def submits_per_minute(self) -> int: ...  # noqa: D102 as above
    @property
    def submit_burst(self) -> int: ...  # noqa: D102 as above
    @property
    def concurrency(self) -> int: ...  # noqa: D102 as above
    @property
    def depth(self) -> int: ...  # noqa: D102 as above
    @property
    def weight(self) -> int: ...  # noqa: D102 as above
    @property
    def retention_days(self) -> int: ...  # noqa: D102 as above


def plans_from(entries: Mapping[str, PlanEntry], default: str) -> Plans:
    """Build the plans from the settings' tables, by name.

    Raises ValueError for a default that is not among them; the settings have refused that before.
    """
    return Plans((_plan(name, entry) for name, entry in entries.items()), default)


def _plan(name: str, entry: PlanEntry) -> Plan:
    return Plan(
        name=name,
        title=entry.title,
        price=entry.price,
        submits_per_minute=entry.submits_per_minute,
        submit_burst=entry.submit_burst,
        concurrency=entry.concurrency,
        depth=entry.depth,
        weight=entry.weight,
        retention_days=entry.retention_days,
    )
