"""Plans: each workspace names one, and a counter gives the workspaces their numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those that are there had no limits: they get the plan that comes closest.
    op.add_column(
        "workspace", sa.Column("plan", sa.String(length=40), server_default="scale", nullable=False)
    )
    op.create_table(
        "workspace_number",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workspace_number_key")),
    )
    op.execute(
        "INSERT INTO workspace_number (id, latest)"
        " SELECT 1, COALESCE(MAX(number), 99) FROM workspace"
    )
