"""Channels: how each is, and what every attempt may have cost."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "channel",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("arrival_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=False),
        sa.Column("taken_out", sa.Text()),
        sa.CheckConstraint("failures >= 0", name=op.f("channel_counts_failures")),
        sa.PrimaryKeyConstraint("name", name=op.f("channel_key")),
        sqlite_with_rowid=False,
    )
    # What the code before this step writes no value for.
    for column in (
        sa.Column("images", sa.Integer(), server_default="1", nullable=False),
        sa.Column("cost", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("on_unknown", sa.String(16), server_default="resubmit", nullable=False),
    ):
        op.add_column("attempt", column)
    op.create_index(
        "attempt_open",
        "attempt",
        ["channel"],
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.execute("UPDATE schema_support SET oldest_code = '0002'")
