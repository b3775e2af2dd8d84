"""Duties that fall due: found by their instant, in the order of time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The ledger writes instants in one spelling, which sorts by bytes as it does by time.
    op.add_column(
        "facts",
        sa.Column(
            "due",
            sa.Text(collation="C"),
            sa.Computed("CASE WHEN name = 'duty' THEN data ->> 'next' END", persisted=True),
        ),
    )
    op.create_index("facts_due", "facts", ["due"], postgresql_where=sa.text("due IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("facts_due", "facts")
    op.drop_column("facts", "due")
