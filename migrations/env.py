"""Runs migrations on the connection that `api.database.upgrade` hands over."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import ledger.tables  # noqa: F401 - declares the tables on SQLModel.metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with: chipledger db upgrade")

context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
