"""What a workspace has used, summed up, as JSON or as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Final, Self

from fastapi import APIRouter, Query, Response, Security
from pydantic import BaseModel, ConfigDict, Field

from ketchup import db, money, usage
from ketchup.api.dependencies import Dependencies
from ketchup.api.keys import CustomerRoute, UsageReader, documented_scheme
from ketchup.api.problems import DOCUMENTED
from ketchup.api.shapes import AmountOut, UsageFilter
from ketchup.clock import SECOND, Micros
from ketchup.db import Connection
from ketchup.errors import InvalidRequest
from ketchup.tasks import Status
from ketchup.usage import Asked, By, Sum
from ketchup.workspaces import Environment

MOST_DAYS: Final = 366
MOST_ROWS: Final = 5_000
_DEFAULT_DAYS: Final = 30
_EPOCH: Final = date(1970, 1, 1).toordinal()

routes: Final = APIRouter(
    prefix="/v1",
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)


class UsageSum(BaseModel):
    """A sum of tasks that have ended. What was not asked to be told apart is null."""

    day: date | None = Field(description="In UTC.")
    model: str | None
    key_id: str | None
    status: Status | None = Field(description="`success` or `failed`.")
    environment: Environment = Field(description="Always told apart: a test costs nothing.")
    tasks: int
    images: int
    credits: AmountOut

    @classmethod
    def of(cls, one: Sum) -> Self:
        """Show a sum."""
        return cls(
            day=None if one.day is None else date.fromordinal(_EPOCH + one.day),
            model=one.model,
            key_id=one.key_id,
            status=None if one.status is None else Status(one.status),
            environment=Environment(one.environment),
            tasks=one.tasks,
            images=one.images,
            credits=one.credits,
        )


class UsageReport(BaseModel):
    """Usage from one day to another, both included."""

    model_config = ConfigDict(validate_by_name=True)

    first_day: date = Field(alias="from")
    last_day: date = Field(alias="to")
    items: list[UsageSum]


_TABLE: Final = {"text/csv": {"schema": {"type": "string"}}}


@routes.get(
    "/usage",
    tags=["usage"],
    responses={200: {"model": UsageReport, "content": _TABLE}},
    response_model=UsageReport,
)
async def get_usage(
    asked: Annotated[UsageFilter, Query()], caller: UsageReader, api: Dependencies
) -> UsageReport | Response:
    """Sum up the tasks that ended in a time, by day, model, key and how they ended.

    A task counts when it ends. `format=csv` answers with a table.
    """

    def work(conn: Connection) -> UsageReport:
        span = _span(asked, db.now(conn, api.clock))
        found = usage.find(conn, caller.workspace_id, span, most=MOST_ROWS + 1)
        if len(found) > MOST_ROWS:
            raise InvalidRequest(f"more than {MOST_ROWS} sums: ask for fewer days or groups")
        return UsageReport(
            first_day=date.fromordinal(_EPOCH + span.first_day),
            last_day=date.fromordinal(_EPOCH + span.last_day),
            items=[UsageSum.of(one) for one in found],
        )

    report = await api.database.read(work)
    if asked.format == "json":
        return report
    return Response(_table(report.items), media_type="text/csv; charset=utf-8")


def _span(asked: UsageFilter, now: Micros) -> Asked:
    today = datetime.fromtimestamp(now // SECOND, UTC).date()
    last = (asked.last_day or today).toordinal()
    default = max(last - _DEFAULT_DAYS + 1, date.min.toordinal())
    first = default if asked.first_day is None else asked.first_day.toordinal()
    if first > last:
        raise InvalidRequest("from must not be after to")
    if last - first >= MOST_DAYS:
        raise InvalidRequest(f"from and to must be at most {MOST_DAYS} days apart")
    return Asked(first - _EPOCH, last - _EPOCH, asked.group_by)


def _table(items: Sequence[UsageSum]) -> str:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow([*_COLUMNS, "environment", "tasks", "images", "credits"])
    for one in items:
        row = [getattr(one, name) for name in _COLUMNS]
        shown = ["" if value is None else _harmless(str(value)) for value in row]
        counts = (one.environment, one.tasks, one.images, money.decimal(one.credits))
        table.writerow([*shown, *counts])
    return out.getvalue()


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


_COLUMNS: Final = tuple("key_id" if by is By.KEY else by.value for by in By)
