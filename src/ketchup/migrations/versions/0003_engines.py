"""Channels and what an attempt cost, fingerprints, a workspace's own list of tasks. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ITS_ROWS_CHURN = (
    "ALTER TABLE channel SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
)


def upgrade() -> None:
    op.create_table(
        "fingerprint",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("pixels", sa.String(length=64), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("fingerprint_key")),
    )
    op.create_index("fingerprint_of_task", "fingerprint", ["task_id"])
    op.create_index("fingerprint_by_sha256", "fingerprint", ["sha256"])
    op.create_index("fingerprint_by_pixels", "fingerprint", ["pixels"])
    op.create_index("fingerprint_by_phash", "fingerprint", ["phash", "created_at"])
    op.create_table(
        "fingerprint_band",
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("band", "bits", "phash", name=op.f("fingerprint_band_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("task_of_workspace", "task", ["workspace_id", "id"])
    op.create_table(
        "channel",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("arrival_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=False),
        sa.Column("out_since", sa.BigInteger(), nullable=False),
        sa.Column("taken_out", sa.Text()),
        sa.CheckConstraint("failures >= 0", name=op.f("channel_counts_failures")),
        sa.PrimaryKeyConstraint("name", name=op.f("channel_key")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_ITS_ROWS_CHURN)
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
