"""Looks at the log, and what they found: append-only, like what they look at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "integrity_runs",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said_by", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("report", JSONB, nullable=False),
        sa.CheckConstraint("what IN ('head', 'tail', 'all', 'explanation')", name="integrity_runs_what"),
    )
    op.create_index("integrity_runs_ended_at", "integrity_runs", ["what", "ended_at"])
    op.execute(
        """
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON integrity_runs
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """
    )
    op.execute("ALTER TABLE integrity_runs ENABLE ALWAYS TRIGGER append_only")
    op.execute("ALTER TABLE integrity_runs OWNER TO chipledger_owner")
    op.execute("REVOKE ALL ON integrity_runs FROM PUBLIC")
    op.execute("GRANT SELECT, INSERT ON integrity_runs TO chipledger_writer")
    op.execute("GRANT SELECT ON integrity_runs TO chipledger_reader")


def downgrade() -> None:
    op.drop_table("integrity_runs")
