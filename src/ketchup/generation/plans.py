"""Plans of workspaces: the one place where a workspace is given another plan."""

from __future__ import annotations

from ketchup import workspaces
from ketchup.db import Connection
from ketchup.ids import WorkspaceId
from ketchup.workspaces import Plans, Workspace


def set_plan(conn: Connection, plans: Plans, workspace_id: WorkspaceId, name: str) -> Workspace:
    """Give a workspace the plan of that name; the same one twice is no error.

    Raises InvalidRequest for a plan that there is not, and NotFound.
    """
    return workspaces.set_plan(conn, workspace_id, plans.get(name).name)
