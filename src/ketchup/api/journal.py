"""The operator's look at a task: where it was sent, what came of that, and what it cost.

The prompt and the pictures are the customer's, and not here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Self

from fastapi import APIRouter, Security
from pydantic import BaseModel, Field

from ketchup import tasks
from ketchup.api.access import AdminRoute, documented_scheme
from ketchup.api.customers import NO_TASK, TaskIdIn, checked
from ketchup.api.dependencies import Dependencies
from ketchup.api.problems import DOCUMENTED, documented
from ketchup.api.shapes import AmountOut, TimeOut
from ketchup.errors import NotFound
from ketchup.tasks import Journal, Status
from ketchup.workspaces import Environment

routes: Final = APIRouter(
    prefix="/admin/v1",
    route_class=AdminRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)


class AttemptView(BaseModel):
    """A task was sent to a channel."""

    number: int
    channel: str
    worker_id: str
    sent_at: TimeOut
    finished_at: TimeOut | None
    outcome: str | None = Field(description="Null while it runs.")
    detail: str | None = Field(description="Why it failed, as the log says it.")
    images: int = Field(description="How many were asked for.")
    cost: AmountOut = Field(description="What you were charged for it, or may have been.")


class JournalView(BaseModel):
    """A task, what its customer pays, and each time that it was sent."""

    id: str
    workspace_id: str
    model: str
    environment: Environment
    status: Status
    cancel_requested_at: TimeOut | None = Field(
        description="When its customer asked to cancel it while it was being charged for."
    )
    price: AmountOut
    consumed: AmountOut
    attempts: list[AttemptView] = Field(description="Oldest first.")

    @classmethod
    def of(cls, journal: Journal) -> Self:
        """Show a task's journal."""
        return cls.model_validate(journal, from_attributes=True)


@routes.get(
    "/tasks/{task_id}",
    tags=["tasks"],
    responses=documented({HTTPStatus.NOT_FOUND: "There is no such task."}),
)
async def get_journal(task_id: TaskIdIn, api: Dependencies) -> JournalView:
    """Show where a task was sent, what came of it and what that cost."""
    checked(task_id)
    found = await api.database.read(lambda conn: tasks.find_journal(conn, task_id))
    if found is None:
        raise NotFound(NO_TASK)
    return JournalView.of(found)
