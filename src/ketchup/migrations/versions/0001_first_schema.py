"""The first schema: workspaces and keys, tasks, credits, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("0 <= held AND held <= balance", name=op.f("account_covers_its_holds")),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("account_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.String(length=4), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.String(length=20), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_key")),
        sa.UniqueConstraint("digest", name=op.f("api_key_digest_unique")),
    )
    op.create_index("api_key_of_workspace", "api_key", ["workspace_id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=40), nullable=False),
        sa.Column("channel", sa.String(length=100), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "number", name=op.f("attempt_key")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "attempt_open",
        "attempt",
        ["worker_id"],
        unique=False,
        sqlite_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("worker_id", sa.String(), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name=op.f("delivery_ended_since")
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (next_at IS NOT NULL OR worker_id IS NOT NULL)",
            name=op.f("delivery_pending_waits_or_is_leased"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')", name=op.f("delivery_state_is_known")
        ),
        sa.CheckConstraint(
            "(worker_id IS NULL) = (claimed_at IS NULL)", name=op.f("delivery_leased_since")
        ),
        sa.CheckConstraint(
            "next_at IS NULL OR worker_id IS NULL", name=op.f("delivery_leased_is_not_due")
        ),
        sa.CheckConstraint(
            "tries >= 0 AND tries <= attempt", name=op.f("delivery_tries_are_attempts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("delivery_key")),
        sa.UniqueConstraint("task_id", name=op.f("delivery_task_id_unique")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "delivery_due",
        "delivery",
        ["next_at", "id", "origin"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index(
        "delivery_leased",
        "delivery",
        ["worker_id", "origin"],
        unique=False,
        sqlite_where=sa.text("worker_id IS NOT NULL"),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=True),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("entry_key")),
        sa.UniqueConstraint("task_id", "kind", name=op.f("entry_task_id_kind_unique")),
    )
    op.create_index("entry_of_workspace", "entry", ["workspace_id", "id"], unique=False)
    op.create_table(
        "hold",
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("hold_is_not_negative")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("hold_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("hold_of_workspace", "hold", ["workspace_id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "key", name=op.f("idempotency_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_at"], unique=False)
    op.create_table(
        "queue_clock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("queue_clock_key")),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("images", sa.Text(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("queue_state", sa.String(length=8), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_at", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=40), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("consumed", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(queue_state = 'delayed') = (run_at IS NOT NULL)", name=op.f("task_delayed_until")
        ),
        sa.CheckConstraint(
            "(queue_state = 'leased') = (worker_id IS NOT NULL)", name=op.f("task_leased_by_one")
        ),
        sa.CheckConstraint(
            "(status = 'success') = (result IS NOT NULL)", name=op.f("task_success_has_images")
        ),
        sa.CheckConstraint(
            "(status IN ('success', 'failed')) = (finished_at IS NOT NULL)",
            name=op.f("task_ends_with_a_time"),
        ),
        sa.CheckConstraint(
            "(status IN ('success', 'failed')) = (queue_state = 'done')",
            name=op.f("task_ends_in_the_queue_too"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'submitted', 'in_progress', 'success', 'failed')",
            name=op.f("task_status"),
        ),
        sa.CheckConstraint(
            "0 <= consumed AND consumed <= price", name=op.f("task_costs_what_was_agreed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("task_key")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "task_delayed",
        "task",
        ["run_at"],
        unique=False,
        sqlite_where=sa.text("queue_state = 'delayed'"),
    )
    op.create_index(
        "task_leased",
        "task",
        ["worker_id"],
        unique=False,
        sqlite_where=sa.text("queue_state = 'leased'"),
    )
    op.create_index(
        "task_ready",
        "task",
        [sa.text("priority DESC"), "vtime", "id"],
        unique=False,
        sqlite_where=sa.text("queue_state = 'ready'"),
    )
    op.create_table(
        "turn",
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.Column("arrival_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("turn_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "workspace",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("old_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("workspace_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("workspace_key")),
        sa.UniqueConstraint("number", name=op.f("workspace_number_unique")),
    )
    op.create_table(
        "delivery_attempt",
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("worker_id", sa.String(), nullable=False),
        sa.CheckConstraint(
            "(status_code IS NULL) <> (error IS NULL)",
            name=op.f("delivery_attempt_answered_or_not"),
        ),
        sa.CheckConstraint(
            "number > 0 AND duration_ms >= 0", name=op.f("delivery_attempt_counts_forward")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
            name=op.f("delivery_attempt_delivery_id_refers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("delivery_attempt_key")),
        sqlite_with_rowid=False,
    )
    # The queue's virtual time starts at nothing.
    op.execute("INSERT INTO queue_clock (id, vtime) VALUES (1, 0)")
