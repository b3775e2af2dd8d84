"""Webhooks: who is told of which entries, what they were sent, and every attempt at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BYTES = sa.Text(collation="C")
"""Sorted by bytes: a language's order changes with the server's libraries."""
CHANGES = {
    "webhook_endpoints": "state, reason, since, failures, verified_at, secret, previous, previous_until",
    "webhook_deliveries": "state, attempts, tries, due_at, settled_at",
    "webhook_cursors": "index",
}
"""The columns that the service may change. What was sent, to whom and when is not among them."""


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", BYTES, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("party", BYTES),
        sa.Column("withholds", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("kinds", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("contracts", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("outcomes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("signs", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("previous_until", sa.DateTime(timezone=True)),
        sa.Column("escalates_to", BYTES, sa.ForeignKey("webhook_endpoints.id")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("since", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("state IN ('unverified', 'enabled', 'disabled')", name="webhook_endpoints_state"),
        sa.CheckConstraint("signs IN ('v1', 'v1a')", name="webhook_endpoints_signs"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", BYTES, primary_key=True),
        sa.Column("endpoint", BYTES, sa.ForeignKey("webhook_endpoints.id"), nullable=False),
        sa.Column("index", sa.BigInteger),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("escalated_from", BYTES),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("endpoint", "index", name="webhook_deliveries_entry"),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name="webhook_deliveries_state"),
        sa.CheckConstraint("lane IN ('revocations', 'everything')", name="webhook_deliveries_lane"),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "webhook_deliveries_waiting", "webhook_deliveries", ["lane", "endpoint", "due_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )  # fmt: skip
    op.create_index(
        "webhook_deliveries_dead", "webhook_deliveries", ["lane"], postgresql_where=sa.text("state = 'dead'")
    )
    op.create_index("webhook_deliveries_index", "webhook_deliveries", ["index"])
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery", BYTES, sa.ForeignKey("webhook_deliveries.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("latency_ms", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("response", sa.LargeBinary),
    )
    op.create_table(
        "webhook_cursors",
        sa.Column("lane", BYTES, primary_key=True),
        sa.Column("index", sa.BigInteger, nullable=False),
    )
    # Nobody is told yet: followers of a log that is long already need not walk it.
    op.execute(
        "INSERT INTO webhook_cursors SELECT lane, coalesce((SELECT size FROM head), 0)"
        " FROM unnest(ARRAY['revocations', 'everything']) AS lane"
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_attempts"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute("ALTER TABLE webhook_attempts ENABLE ALWAYS TRIGGER append_only")
    for table in ("webhook_endpoints", "webhook_deliveries", "webhook_attempts", "webhook_cursors"):
        op.execute(f"ALTER TABLE {table} OWNER TO chipledger_owner")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT SELECT, INSERT ON {table} TO chipledger_writer")
    # Not the endpoints: there are secrets in them, if sealed ones.
    op.execute("GRANT SELECT ON webhook_deliveries, webhook_attempts, webhook_cursors TO chipledger_reader")
    for table, columns in CHANGES.items():
        op.execute(f"GRANT UPDATE ({columns}) ON {table} TO chipledger_writer")
    _erase_copies()


def _erase_copies() -> None:
    """What is erased of an entry is erased of what was told of it, and told no more."""
    op.execute(
        """
        CREATE FUNCTION erase_copies() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            UPDATE public.webhook_deliveries SET body = '', settled_at = coalesce(settled_at, now()),
                state = CASE state WHEN 'waiting' THEN 'dead' ELSE state END
                WHERE index = NEW.index;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute("ALTER FUNCTION erase_copies() OWNER TO chipledger_owner")
    op.execute("REVOKE ALL ON FUNCTION erase_copies() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER erased_copies AFTER UPDATE ON bodies FOR EACH ROW EXECUTE FUNCTION erase_copies()"
    )
    op.execute("ALTER TABLE bodies ENABLE ALWAYS TRIGGER erased_copies")


def downgrade() -> None:
    op.execute("DROP TRIGGER erased_copies ON bodies")
    op.execute("DROP FUNCTION erase_copies()")
    for table in ("webhook_cursors", "webhook_attempts", "webhook_deliveries", "webhook_endpoints"):
        op.drop_table(table)
