"""What keys in strangers' hands are bound to: networks, spend caps, successors. Only adds.

It leaves older code behind all the same, which would let a key in from everywhere and past its cap.
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
    op.execute("UPDATE schema_support SET oldest_code = '0004'")
