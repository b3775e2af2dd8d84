"""An endpoint of webhooks that is deleted: its row stays, for the record, and its secrets go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_check_constraint(
        "webhook_endpoints_deleted", "webhook_endpoints",
        "deleted_at IS NULL OR (state = 'disabled' AND secret = '' AND previous IS NULL)",
    )  # fmt: skip
    op.execute("GRANT UPDATE (deleted_at) ON webhook_endpoints TO chipledger_writer")


def downgrade() -> None:
    op.drop_constraint("webhook_endpoints_deleted", "webhook_endpoints")
    op.drop_column("webhook_endpoints", "deleted_at")
