"""Plans of workspaces: what a plan says to the queue, and the one place where it is changed."""

from __future__ import annotations

from functools import cache

from ketchup import tasks, workspaces
from ketchup.db import Connection
from ketchup.ids import WorkspaceId
from ketchup.tasks import Allowance, RateLimit
from ketchup.workspaces import Plan, Plans, Workspace


@cache
def allowance_of(plan: Plan) -> Allowance:
    """Return what the plan allows in the queue."""
    rate = None
    if plan.submits_per_minute:
        rate = RateLimit(plan.submits_per_minute, plan.submit_burst)
    return Allowance(rate, depth=plan.depth, capacity=plan.concurrency, weight=plan.weight)


def set_plan(conn: Connection, plans: Plans, workspace_id: WorkspaceId, name: str) -> Workspace:
    """Give a workspace the plan of that name; the same one twice is no error.

    What it has in the queue moves up at once when more may be in flight. Raises InvalidRequest for
    a plan that there is not, and NotFound.
    """
    plan = plans.get(name)
    workspace = workspaces.set_plan(conn, workspace_id, plan.name)
    tasks.set_share(conn, workspace_id, plan.concurrency, plan.weight)
    return workspace
