"""A role that may erase bodies, where the log says that they are erased, and nothing else; keys that
are not shown everything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ERASER = "chipledger_eraser"


def upgrade() -> None:
    _make_role()
    _let_erase()
    op.add_column("api_keys", sa.Column("withholds", sa.ARRAY(sa.Text), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("api_keys", "withholds")
    for trigger in ("append_only", "erasers_only", "erased_as_said"):
        op.execute(f"DROP TRIGGER {trigger} ON bodies")
    op.execute("DROP FUNCTION refuse_others()")
    op.execute("DROP FUNCTION refuse_unsaid()")
    _trigger("append_only", "BEFORE UPDATE OR DELETE OR TRUNCATE", "STATEMENT", "refuse_change")
    op.execute(f"REVOKE ALL ON bodies FROM {ERASER}")
    op.execute(f"REVOKE ALL ON SCHEMA public FROM {ERASER}")


def _make_role() -> None:
    op.execute(
        f"""
        DO $$ BEGIN
            CREATE ROLE {ERASER} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$
        """
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ERASER}")
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns("bodies")]
    erased = ", ".join(name for name in columns if name != "index")
    # It reads which entries there are, and no body.
    op.execute(f"GRANT SELECT (index), UPDATE ({erased}) ON bodies TO {ERASER}")


def _let_erase() -> None:
    # Grants do not bind an owner or a superuser, who is a member of every role: told apart by name.
    op.execute(
        f"""
        CREATE FUNCTION refuse_others() RETURNS trigger LANGUAGE plpgsql
            SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF NOT pg_has_role(current_user, '{ERASER}', 'USAGE')
                OR pg_has_role(current_user, 'chipledger_owner', 'MEMBER')
                OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
            THEN
                RAISE EXCEPTION '% on % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NULL;
        END
        $$
        """
    )
    # As the owner, so that the role which erases need not be able to read what it erases.
    op.execute(
        """
        CREATE FUNCTION refuse_unsaid() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp AS $$
        DECLARE
            said_by bigint := nullif(current_setting('chipledger.erased_by', true), '')::bigint;
            said json;
            asked json;
        BEGIN
            IF jsonb_strip_nulls(to_jsonb(NEW)) <> jsonb_build_object('index', OLD.index) THEN
                RAISE EXCEPTION 'UPDATE on bodies is refused: all bodies of an entry are erased, or none'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            SELECT convert_from(b.event, 'UTF8')::json -> 'data' INTO said
                FROM public.entries e JOIN public.bodies b USING (index)
                WHERE e.index = said_by AND e.kind = 'value.erased' AND e.party = '_ledger'
                    AND e.outcome <> 'denied';
            SELECT convert_from(b.event, 'UTF8')::json -> 'data' INTO asked
                FROM public.entries e JOIN public.bodies b USING (index)
                WHERE e.index = (said ->> 'request')::bigint AND e.kind = 'purge.requested'
                    AND e.outcome NOT IN ('denied', 'held');
            IF (said ->> 'index')::bigint IS DISTINCT FROM OLD.index
                OR (said ->> 'part') IS DISTINCT FROM (said ->> 'parts')
                OR NOT coalesce(
                    OLD.index::text IN (SELECT json_array_elements_text(asked -> 'entries')), false)
            THEN
                RAISE EXCEPTION 'UPDATE on bodies is refused: no entry says that % is erased', OLD.index
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NEW;
        END
        $$
        """
    )
    for function in ("refuse_others()", "refuse_unsaid()"):
        op.execute(f"ALTER FUNCTION {function} OWNER TO chipledger_owner")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute("DROP TRIGGER append_only ON bodies")
    _trigger("append_only", "BEFORE DELETE OR TRUNCATE", "STATEMENT", "refuse_change")
    _trigger("erasers_only", "BEFORE UPDATE", "STATEMENT", "refuse_others")
    _trigger("erased_as_said", "BEFORE UPDATE", "ROW", "refuse_unsaid")


def _trigger(name: str, when: str, each: str, function: str) -> None:
    op.execute(f"CREATE TRIGGER {name} {when} ON bodies FOR EACH {each} EXECUTE FUNCTION {function}()")
    # ALWAYS: session_replication_role = replica switches ordinary triggers off.
    op.execute(f"ALTER TABLE bodies ENABLE ALWAYS TRIGGER {name}")
