"""An endpoint of webhooks that is deleted: its row stays, for the record, and its secrets go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


STATES = "'unverified', 'enabled', 'disabled'"


def upgrade() -> None:
    _let_be(f"{STATES}, 'deleted'")
    op.add_column("webhook_endpoints", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_check_constraint(
        "webhook_endpoints_deleted", "webhook_endpoints",
        "CASE WHEN deleted_at IS NULL THEN state <> 'deleted'"
        " ELSE state IN ('disabled', 'deleted') AND secret = '' AND previous IS NULL END",
    )  # fmt: skip
    op.execute("GRANT UPDATE (deleted_at) ON webhook_endpoints TO chipledger_writer")


def downgrade() -> None:
    op.drop_constraint("webhook_endpoints_deleted", "webhook_endpoints")
    op.drop_column("webhook_endpoints", "deleted_at")
    op.execute("UPDATE webhook_endpoints SET state = 'disabled' WHERE state = 'deleted'")
    _let_be(STATES)


def _let_be(states: str) -> None:
    op.drop_constraint("webhook_endpoints_state", "webhook_endpoints")
    op.create_check_constraint("webhook_endpoints_state", "webhook_endpoints", f"state IN ({states})")
