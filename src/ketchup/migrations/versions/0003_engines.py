"""Channels and what an attempt cost, fingerprints, what customers see of their tasks. Only adds.

It leaves older code behind all the same. That would render what is for tests on live channels, send
once more what a channel must not be asked twice, leave out what is summed up where tasks end, and
show what its customer has deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ITS_ROWS_CHURN = (
    "ALTER TABLE {table} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
)
_IMAGES = {"sqlite": "json_array_length(result)", "postgresql": "json_array_length(result::json)"}
_USED_BEFORE = """
INSERT INTO usage (workspace_id, day, model, key_id, environment, status, tasks, images, credits)
SELECT workspace_id, finished_at / 86400000000, model, key_id, 'live', status,
    count(*), coalesce(sum({images}), 0), sum(consumed)
FROM task WHERE finished_at IS NOT NULL
GROUP BY workspace_id, finished_at / 86400000000, model, key_id, status
"""


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
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=False),
        sa.Column("out_since", sa.BigInteger(), nullable=False),
        sa.Column("taken_out", sa.Text()),
        sa.CheckConstraint("failures >= 0", name=op.f("channel_counts_failures")),
        sa.PrimaryKeyConstraint("name", name=op.f("channel_key")),
        sqlite_with_rowid=False,
    )
    _add_what_customers_see()
    if op.get_bind().dialect.name == "postgresql":
        for table in ("channel", "usage"):
            op.execute(_ITS_ROWS_CHURN.format(table=table))
    # What was sent before this step has no value for them.
    for column in (
        sa.Column("images", sa.Integer(), server_default="1", nullable=False),
        sa.Column("cost", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("on_unknown", sa.String(16), server_default="resubmit", nullable=False),
        sa.Column("occupies_until", sa.BigInteger()),
    ):
        op.add_column("attempt", column)
    op.create_index(
        "attempt_in_flight",
        "attempt",
        ["channel"],
        sqlite_where=sa.text("occupies_until IS NOT NULL"),
        postgresql_where=sa.text("occupies_until IS NOT NULL"),
    )
    op.execute("UPDATE schema_support SET oldest_code = '0003'")


def _add_what_customers_see() -> None:
    """Make what deletes tasks, knows their environment, sums them up and lists callbacks."""
    op.add_column(
        "task", sa.Column("environment", sa.String(4), server_default="live", nullable=False)
    )
    op.add_column("task", sa.Column("deleted_at", sa.BigInteger()))
    no_way_back = sa.CheckConstraint(
        "cancel_requested_at IS NULL OR queue_state IN ('leased', 'done')",
        name=op.f("task_no_way_back_once_cancelled"),
    )
    op.add_column("task", sa.Column("cancel_requested_at", sa.BigInteger(), no_way_back))
    op.create_table(
        "erasure",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("erasure_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("erasure_of_task", "erasure", ["task_id"])
    op.create_index("delivery_of_workspace", "delivery", ["workspace_id", "id"])
    key = ("workspace_id", "day", "model", "key_id", "environment", "status")
    op.create_table(
        "usage",
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.String(length=4), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("tasks", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("usage_key")),
        sqlite_with_rowid=False,
    )
    images = _IMAGES[op.get_bind().dialect.name]
    op.execute(_USED_BEFORE.format(images=images))
