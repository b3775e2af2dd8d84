"""The last checkpoint that enough witnesses have cosigned; timestamps of checkpoints by third parties."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "witnessed",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="witnessed_one_row"),
    )
    op.create_table(
        "timestamps",
        sa.Column("authority", sa.Text(collation="C"), primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON timestamps"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute("ALTER TABLE timestamps ENABLE ALWAYS TRIGGER append_only")
    for table in ("witnessed", "timestamps"):
        op.execute(f"ALTER TABLE {table} OWNER TO chipledger_owner")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT SELECT ON {table} TO chipledger_reader, chipledger_writer")
        op.execute(f"GRANT INSERT ON {table} TO chipledger_writer")
    op.execute("GRANT UPDATE ON witnessed TO chipledger_writer")


def downgrade() -> None:
    op.drop_table("timestamps")
    op.drop_table("witnessed")
