"""Text that sorts by its bytes on every server; refusals by index; quotas of keys, and when one was used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UNDER = (
    "CASE WHEN name IN ('order', 'shipment')"
    " AND (data ->> 'state') <> 'cancelled' THEN data ->> 'license' END"
)
BY_BYTES = (
    ("entries", "contract"),
    ("entries", "kind"),
    ("entries", "party"),
    ("entries", "outcome"),
    ("device_links", "serial"),
    ("api_keys", "id"),
)
QUOTAS = ("events_per_minute", "denials_per_hour")


def upgrade() -> None:
    # A language's order changes with the library that knows it, and an index in the old order then
    # misses rows: unseen, and on each standby by itself.
    for table, column in BY_BYTES:
        op.alter_column(table, column, type_=sa.Text(collation="C"))
    _under(sa.Text(collation="C"))
    # Few entries are not accepted, so these cost the rest nothing.
    op.create_index(
        "entries_not_accepted",
        "entries",
        ["outcome", "index"],
        postgresql_where=sa.text("outcome <> 'accepted'"),
    )
    op.execute("ALTER INDEX entries_recorded_at SET (autosummarize = on)")
    for column in QUOTAS:
        op.add_column("api_keys", sa.Column(column, sa.BigInteger))
    op.create_check_constraint(
        "api_keys_quotas", "api_keys", "events_per_minute >= 1 AND denials_per_hour >= 1"
    )
    # A table of its own: the writer, who is on the primary, tells when a key was used, and may neither
    # read a key nor change one.
    op.create_table(
        "key_uses",
        sa.Column("key_id", sa.Text(collation="C"), sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("ALTER TABLE key_uses OWNER TO chipledger_owner")
    op.execute("REVOKE ALL ON key_uses FROM PUBLIC")
    op.execute("GRANT SELECT, INSERT, UPDATE ON key_uses TO chipledger_writer")


def downgrade() -> None:
    op.drop_table("key_uses")
    op.drop_constraint("api_keys_quotas", "api_keys")
    for column in QUOTAS:
        op.drop_column("api_keys", column)
    op.execute("ALTER INDEX entries_recorded_at RESET (autosummarize)")
    op.drop_index("entries_not_accepted", "entries")
    _under(sa.Text())
    for table, column in BY_BYTES:
        op.alter_column(table, column, type_=sa.Text())


def _under(type_: sa.Text) -> None:
    """Make the generated column anew: the type of one cannot be changed."""
    op.drop_index("facts_under", "facts")
    op.drop_column("facts", "under")
    op.add_column("facts", sa.Column("under", type_, sa.Computed(UNDER, persisted=True)))
    op.create_index("facts_under", "facts", ["under"], postgresql_where=sa.text("under IS NOT NULL"))
