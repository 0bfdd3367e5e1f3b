"""What holds in hostile hands: bounds on keys, secrets sealed at rest, receivers that only fail.

Only adds. It leaves older code behind all the same: that would let a key in from everywhere and
past its cap, and sign by a secret that a row has replaced.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ITS_ROWS_CHURN = (
    "ALTER TABLE {table} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
)


def upgrade() -> None:
    # Keys: where they may be used, what they may spend, and what has replaced them.
    for column in (
        sa.Column("last_used_from", sa.String(50)),
        sa.Column("networks", sa.Text()),
        sa.Column("day_cap", sa.BigInteger()),
        sa.Column("month_cap", sa.BigInteger()),
        sa.Column("purse", sa.String(40)),
        sa.Column("replaced_by", sa.String(40)),
    ):
        op.add_column("api_key", column)
    # Holds: whose cap they are counted against.
    op.add_column("hold", sa.Column("purse", sa.String(40)))
    # What keys with a cap have spent, by day.
    op.create_table(
        "key_spend",
        sa.Column("purse", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("spent >= 0", name=op.f("key_spend_is_not_negative")),
        sa.PrimaryKeyConstraint("purse", "day", name=op.f("key_spend_key")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_ITS_ROWS_CHURN.format(table="key_spend"))
    # key_ring: what the secret key opens, sealed once for each key that may.
    op.create_table(
        "key_ring",
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("key_ring_key")),
    )
    # provider_key: the engines' keys that a fleet shares, sealed.
    op.create_table(
        "provider_key",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("provider_key_key")),
    )
    # workspace: webhook secrets; null is one that is derived, as all were before.
    op.add_column("workspace", sa.Column("sealed_secret", sa.LargeBinary()))
    op.add_column("workspace", sa.Column("old_sealed_secret", sa.LargeBinary()))
    # api_key: which pepper the digest was made with; null is the first.
    op.add_column("api_key", sa.Column("pepper_id", sa.String(length=16)))
    # destination: the receivers of a workspace that fail, or were disabled.
    op.create_table(
        "destination",
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("counted_since", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("last_failure_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger()),
        sa.Column("reason", sa.String(length=12)),
        sa.CheckConstraint("failures >= 0", name=op.f("destination_counts_failures")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (reason IS NULL)", name=op.f("destination_disabled_by")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "origin", name=op.f("destination_key")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_ITS_ROWS_CHURN.format(table="destination"))
    # delivery: a test, or what was not sent because its destination was disabled.
    known = sa.CheckConstraint(
        "note IS NULL OR note = 'test' OR (note = 'disabled' AND state = 'dead')",
        name=op.f("delivery_note_is_known"),
    )
    op.add_column("delivery", sa.Column("note", sa.String(length=12), known))
    op.execute("UPDATE schema_support SET oldest_code = '0004'")
