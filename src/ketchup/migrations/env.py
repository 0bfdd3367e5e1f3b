"""Alembic's entry: runs the steps on the connection that `upgrade` passes in."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
# No transaction here: `upgrade` owns it, so that a crash leaves the old schema or the new one.
context.run_migrations()
