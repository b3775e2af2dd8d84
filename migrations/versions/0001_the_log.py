"""The log: tables, roles, and triggers that refuse to change what was written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = ("chipledger_owner", "chipledger_writer", "chipledger_reader")
TABLES = ("head", "entries", "bodies", "device_links", "facts", "tiles", "api_keys")
APPEND_ONLY = ("entries", "bodies", "device_links", "tiles")


def upgrade() -> None:
    _create_tables()
    _refuse_changes()
    _grant()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    # Roles belong to the cluster, where another ledger may be using them.


def _create_tables() -> None:
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
        sa.Column("last_leaf", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("fold", sa.Integer, nullable=False),
        sa.Column("engine", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("verifier_key", sa.Text, nullable=False),
        sa.Column("clock", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "entries",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("contract", sa.Text, nullable=False),
        sa.Column("contract_index", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("party", sa.Text, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("header", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("contract", "contract_index", name="entries_contract_chain"),
        sa.UniqueConstraint("party", "event_id", name="entries_party_event"),
        sa.CheckConstraint("outcome IN ('accepted', 'flagged', 'held', 'denied')", name="entries_outcome"),
    )
    op.create_index("entries_recorded_at", "entries", ["recorded_at"], postgresql_using="brin")
    op.create_table(
        "bodies",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_salt", sa.LargeBinary),
        sa.Column("event", sa.LargeBinary),
        sa.Column("decision_salt", sa.LargeBinary),
        sa.Column("decision", sa.LargeBinary),
    )
    op.create_table(
        "device_links",
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        # json keeps the text as it is; jsonb would not.
        sa.Column("data", sa.JSON, nullable=False),
        # The license of an order or shipment that may still be open.
        sa.Column(
            "open_under",
            sa.Text,
            sa.Computed(
                "CASE WHEN name IN ('order', 'shipment')"
                " AND (data ->> 'state') NOT IN ('cancelled', 'received')"
                " THEN data ->> 'license' END",
                persisted=True,
            ),
        ),
        # Room in each page for the next version of a row, so that an update touches no index.
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "facts_open_under", "facts", ["open_under"], postgresql_where=sa.text("open_under IS NOT NULL")
    )
    op.create_table(
        "tiles",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("party", sa.Text),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("role IN ('submitter', 'auditor', 'regulator', 'operator')", name="api_keys_role"),
    )


def _refuse_changes() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% on % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END
        $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
            """
        )
        # ALWAYS: session_replication_role = replica switches ordinary triggers off.
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")


def _grant() -> None:
    for role in ROLES:
        # Roles are the cluster's: another ledger may have made them, or be making them right now.
        op.execute(
            f"""
            DO $$ BEGIN
                CREATE ROLE {role} NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
            """
        )
    # To give a table away one must belong to the new owner; a superuser always does.
    op.execute(
        """
        DO $$ BEGIN
            IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                EXECUTE format('GRANT chipledger_owner TO %I', current_user);
            END IF;
        END $$
        """
    )
    op.execute("GRANT USAGE, CREATE ON SCHEMA public TO chipledger_owner")
    op.execute("GRANT USAGE ON SCHEMA public TO chipledger_writer, chipledger_reader")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} OWNER TO chipledger_owner")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute("ALTER FUNCTION refuse_change() OWNER TO chipledger_owner")
    for table in ("head", "entries", "bodies", "device_links", "facts", "tiles"):
        op.execute(f"GRANT SELECT, INSERT ON {table} TO chipledger_writer")
        op.execute(f"GRANT SELECT ON {table} TO chipledger_reader")
    op.execute("GRANT UPDATE ON head, facts TO chipledger_writer")
    # The service looks keys up and never makes one.
    op.execute("GRANT SELECT ON api_keys TO chipledger_reader")
