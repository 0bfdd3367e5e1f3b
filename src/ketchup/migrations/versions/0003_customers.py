"""A workspace's own list of tasks."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("task_of_workspace", "task", ["workspace_id", "id"])
