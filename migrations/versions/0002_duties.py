"""Duties that fall due, found by their instant; what is under a license; keys that sort by their bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UNDER = "CASE WHEN name IN ('order', 'shipment') AND (data ->> 'state') {} THEN data ->> 'license' END"


def upgrade() -> None:
    _drop("open_under")
    # Pages go by the bytes of keys: a language's order would look for some of them in another place.
    for column in ("name", "key"):
        op.alter_column("facts", column, type_=sa.Text(collation="C"))
    _add("under", sa.Text(), UNDER.format("<> 'cancelled'"))
    # The ledger writes instants in one spelling, which sorts by bytes as it does by time.
    _add("due", sa.Text(collation="C"), "CASE WHEN name = 'duty' THEN data ->> 'next' END")


def downgrade() -> None:
    _drop("due")
    _drop("under")
    for column in ("name", "key"):
        op.alter_column("facts", column, type_=sa.Text())
    _add("open_under", sa.Text(), UNDER.format("NOT IN ('cancelled', 'received')"))


def _add(column: str, type_: sa.Text, computed: str) -> None:
    op.add_column("facts", sa.Column(column, type_, sa.Computed(computed, persisted=True)))
    present = sa.text(f"{column} IS NOT NULL")
    op.create_index(f"facts_{column}", "facts", [column], postgresql_where=present)


def _drop(column: str) -> None:
    op.drop_index(f"facts_{column}", "facts")
    op.drop_column("facts", column)
