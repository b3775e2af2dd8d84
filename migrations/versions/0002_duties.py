"""Duties that fall due, found by their instant; and what is under a license, delivered shipments too."""

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
    _drop_under("open_under")
    _add_under("under", "(data ->> 'state') <> 'cancelled'")


def downgrade() -> None:
    _drop_under("under")
    _add_under("open_under", "(data ->> 'state') NOT IN ('cancelled', 'received')")
    op.drop_index("facts_due", "facts")
    op.drop_column("facts", "due")


def _drop_under(column: str) -> None:
    op.drop_index(f"facts_{column}", "facts")
    op.drop_column("facts", column)


def _add_under(column: str, counts: str) -> None:
    under = f"CASE WHEN name IN ('order', 'shipment') AND {counts} THEN data ->> 'license' END"
    op.add_column("facts", sa.Column(column, sa.Text, sa.Computed(under, persisted=True)))
    present = sa.text(f"{column} IS NOT NULL")
    op.create_index(f"facts_{column}", "facts", [column], postgresql_where=present)
