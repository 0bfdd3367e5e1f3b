"""Plans, caps on what is in flight, leases without clocks: what a fleet of processes needs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _workspaces()
    _queue()
    # Whoever had a row here is not running any more: this file had one process.
    op.drop_table("worker")
    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("ttl_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("secret_check", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("installation_key")),
    )
    op.create_table("schema_support", sa.Column("oldest_code", sa.String(32), nullable=False))
    op.execute("INSERT INTO schema_support (oldest_code) VALUES ('0002')")


def _workspaces() -> None:
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


def _queue() -> None:
    op.drop_index("task_ready", "task")
    op.create_index(
        "task_ready", "task", ["vtime", "id"], sqlite_where=sa.text("queue_state = 'ready'")
    )
    op.create_index(
        "task_waiting",
        "task",
        ["workspace_id", sa.text("priority DESC"), "id"],
        sqlite_where=sa.text("queue_state = 'waiting'"),
    )
    # Nothing looks for attempts by their worker any more.
    op.drop_index("attempt_open", "attempt")
    _turns()


def _turns() -> None:
    # Made anew, because SQLite cannot give a table that is there another CHECK constraint.
    op.execute("CREATE TABLE old_turn AS SELECT workspace_id, vtime, arrival_at FROM turn")
    op.drop_table("turn")
    op.create_table(
        "turn",
        sa.Column("workspace_id", sa.String(length=40), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.Column("arrival_at", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("capacity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("weight", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("active >= 0 AND waiting >= 0", name=op.f("turn_counts_what_is_there")),
        sa.CheckConstraint("capacity >= 0 AND weight > 0", name=op.f("turn_has_a_share")),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("turn_key")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO turn (workspace_id, vtime, arrival_at, active)"
        " SELECT workspace_id, vtime, arrival_at, (SELECT count(*) FROM task"
        " WHERE task.workspace_id = old_turn.workspace_id AND task.queue_state <> 'done')"
        " FROM old_turn"
    )
    op.drop_table("old_turn")
