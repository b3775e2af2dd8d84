"""Who may do what to the tables, asked of PostgreSQL itself: each role, each table, each statement.

Two walls. The roles are granted no more than they need; and for those who are above grants, the owner
and the superuser, triggers refuse every change of what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from api import database
from api.database import Logins
from ledger.errors import RefusesToWrite, Unavailable
from ledger.facts import Chain
from ledger.store import Writer
from tests.conftest import on
from tests.ledger.live_log import denied, in_loop, live

TABLES = (
    "head", "entries", "bodies", "device_links", "facts", "tiles", "api_keys", "key_uses", "witnessed",
    "timestamps", "integrity_runs", "webhook_endpoints", "webhook_deliveries", "webhook_attempts",
    "webhook_cursors",
)  # fmt: skip
LOG = (
    "entries", "bodies", "device_links", "tiles", "timestamps", "integrity_runs", "webhook_attempts",
)  # fmt: skip
"""What is append-only, for everybody."""
COLUMN = {
    "head": "size", "entries": "leaf", "bodies": "event", "device_links": "serial", "facts": "data",
    "tiles": "hashes", "api_keys": "label", "key_uses": "used_at", "witnessed": "note", "timestamps": "note",
    "integrity_runs": "result",
    "webhook_endpoints": "state", "webhook_deliveries": "state", "webhook_attempts": "error",
    "webhook_cursors": "index",
}  # fmt: skip

ON_TABLE: dict[str, str] = {
    "SELECT": "SELECT * FROM {table} LIMIT 1",
    "INSERT": "INSERT INTO {table} SELECT * FROM {empty}",
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "DROP": "DROP TABLE {table} CASCADE",
    "ALTER": "ALTER TABLE {table} ADD COLUMN mine int",
    "ALTER OWNER": "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "DISABLE TRIGGER": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "CREATE TRIGGER": "CREATE TRIGGER mine BEFORE INSERT ON {table}"
    " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE": "CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX": "CREATE INDEX ON {table} ({column})",
    "ENABLE ROW SECURITY": "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "LOCK": "LOCK TABLE {table} IN SHARE MODE",
}
ALLOWED: dict[str, dict[str, set[str]]] = {
    "writer": {
        "SELECT": {*TABLES} - {"api_keys"},
        "INSERT": {*TABLES} - {"api_keys"},
        # Of the webhooks' tables some columns: neither whom an endpoint is of, nor what was sent.
        "UPDATE": {
            "head",
            "facts",
            "key_uses",
            "witnessed",
            "webhook_endpoints",
            "webhook_deliveries",
            "webhook_cursors",
        },
        # PostgreSQL lets whoever may UPDATE every column of a table lock it.
        "LOCK": {"head", "facts", "key_uses", "witnessed"},
    },
    "reader": {"SELECT": {*TABLES} - {"key_uses", "webhook_endpoints"}},
    # By columns alone, of which no statement here makes use: see `tests.ledger.test_erasing_role`.
    "eraser": {},
}
"""All that a role may do; everything else must be refused."""
BY_ITSELF = {
    "DROP TRIGGER": "DROP TRIGGER append_only ON entries",
    "REPLACE FUNCTION": "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "DROP FUNCTION": "DROP FUNCTION refuse_change() CASCADE",
    "SET session_replication_role": "SET session_replication_role = replica",
    "SET ROLE owner": "SET ROLE chipledger_owner",
    "CREATE TABLE": "CREATE TABLE mine (id int)",
    "CREATE SCHEMA": "CREATE SCHEMA mine",
    "CREATE ROLE": "CREATE ROLE chipledger_mine",
    "CREATE DATABASE": "CREATE DATABASE chipledger_mine",
    "ALTER ROLE": "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER SYSTEM": "ALTER SYSTEM SET fsync = off",
    "DROP SCHEMA": "DROP SCHEMA public CASCADE",
    "COPY FROM PROGRAM": "COPY entries FROM PROGRAM 'true'",
    "COPY TO FILE": "COPY entries TO '/tmp/mine'",
    "READ FILE": "SELECT pg_read_file('PG_VERSION')",
    "MIGRATE": "UPDATE alembic_version SET version_num = 'mine'",
}
CHANGES = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "UPDATE of no row": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table}",
    "DELETE in WITH": "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
    "TRUNCATE": "TRUNCATE {table}",
    "TRUNCATE of all": "TRUNCATE head, {table}, facts CASCADE",
    "upsert": "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {column} ="
    " excluded.{column}",
    "MERGE": "MERGE INTO {table} t USING {table} s ON (t.{column} = s.{column}) WHEN MATCHED THEN DELETE",
}
KEY = {
    "timestamps": "authority, size",
    "integrity_runs": "id",
    "webhook_attempts": "delivery, number",
    "entries": "index",
    "bodies": "index",
    "device_links": "serial, index",
    "tiles": "level, n",
}


@pytest.fixture(scope="module")
def written(server: str, template: str) -> Iterator[str]:
    """URL of the superuser of a database with a row in every table."""
    name = f"chipledger_roles_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    url = on(server, name)
    asyncio.run(_write(database.logins_of(url)))
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO device_links VALUES ('SN000001', 1)")
        connection.execute("INSERT INTO tiles VALUES (0, 0, '', '')")
        connection.execute(
            "INSERT INTO integrity_runs VALUES (gen_random_uuid(), 'all', now(), now(), '', 'intact', '{}')"
        )
        connection.execute("INSERT INTO api_keys VALUES ('a', '', 'auditor', NULL, '', now())")
        connection.execute("INSERT INTO key_uses VALUES ('a', now())")
        connection.execute("INSERT INTO witnessed VALUES (1, 1, '')")
        connection.execute("INSERT INTO timestamps VALUES ('tsa.example', 1, '', '', now())")
        connection.execute(
            "INSERT INTO webhook_endpoints VALUES ('we_a', 'auditor', NULL, '{}', '', '', '{}', '{}', '{}',"
            " 'v1', '', NULL, NULL, NULL, 'enabled', NULL, 0, 0, now())"
        )
        connection.execute(
            "INSERT INTO webhook_deliveries VALUES ('msg_a', 'we_a', 1, 'everything', '', '', NULL,"
            " 'waiting', 1, 1, now(), now())"
        )
        connection.execute("INSERT INTO webhook_attempts VALUES ('msg_a', 1, now(), '', 1, '', 1)")
        for table in TABLES:
            connection.execute(f"CREATE TABLE {_empty(table)} (LIKE {table})")
            connection.execute(f"GRANT SELECT ON {_empty(table)} TO PUBLIC")
    yield url
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _write(logins: Logins) -> None:
    async with live(logins) as log:
        await log.commit(denied())


def _empty(table: str) -> str:
    """Where an INSERT that is allowed takes no rows from."""
    return f"empty_{table}"


@contextmanager
def attempt(url: str, *before: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that leaves nothing behind."""
    with psycopg.connect(url) as connection:
        for statement in before:
            connection.execute(statement)
        yield connection
        connection.rollback()


def login_of(url: str, role: str) -> str:
    logins = database.logins_of(url)
    return {"writer": logins.writer, "reader": logins.reader, "eraser": database.let_eraser_in(url)}[role]


def filled_in(statement: str, table: str) -> str:
    empty = _empty(table)
    if table == "facts":  # its last column is generated
        empty = f"(SELECT name, key, data FROM {empty}) AS stored"
    return statement.format(table=table, column=COLUMN[table], empty=empty, key=KEY.get(table))


def rows(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


# --- what is granted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "table", "statement"),
    [
        pytest.param(role, table, statement, id=f"{role}-{table}-{statement}")
        for role, table, statement in itertools.product(ALLOWED, TABLES, ON_TABLE)
    ],
)
def test_a_role_may_do_what_it_was_granted_and_nothing_else(
    written: str, role: str, table: str, statement: str
) -> None:
    act = filled_in(ON_TABLE[statement], table)
    with attempt(login_of(written, role)) as connection:
        if table in ALLOWED[role].get(statement, set()):
            connection.execute(act)
        else:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(act)


@pytest.mark.parametrize("statement", BY_ITSELF)
@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_cannot_get_round_its_grants(written: str, role: str, statement: str) -> None:
    with (
        psycopg.connect(login_of(written, role), autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(BY_ITSELF[statement])


def test_the_matrix_knows_every_table(written: str) -> None:
    with psycopg.connect(written) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = {name for (name,) in found if not name.startswith("empty_")}
    assert names == {*TABLES, "alembic_version"}


@pytest.mark.parametrize("role", ALLOWED)
def test_the_catalogue_grants_no_more_than_the_matrix(written: str, role: str) -> None:
    """Column grants and defaults too: a privilege that no statement here has tried."""
    with psycopg.connect(written) as connection:
        found = connection.execute(
            "SELECT table_name, privilege_type FROM information_schema.column_privileges"
            " WHERE grantee IN (%s, 'PUBLIC') AND table_schema = 'public' AND table_name NOT LIKE 'empty%%'"
            " UNION SELECT table_name, privilege_type FROM information_schema.table_privileges"
            " WHERE grantee IN (%s, 'PUBLIC') AND table_schema = 'public' AND table_name NOT LIKE 'empty%%'",
            [f"chipledger_{role}"] * 2,
        ).fetchall()
    granted = {(table, kind) for kind, names in ALLOWED[role].items() for table in names}
    granted |= {("bodies", "SELECT"), ("bodies", "UPDATE")} if role == "eraser" else set()
    assert set(found) == {(table, kind) for table, kind in granted if kind != "LOCK"}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_cannot_pass_its_grants_on(written: str, role: str, table: str) -> None:
    other = "writer" if role == "reader" else "reader"
    with attempt(login_of(written, role)) as connection:
        # PostgreSQL refuses it to whoever has no right at all, and to others it grants nothing.
        with contextlib.suppress(errors.InsufficientPrivilege), connection.transaction():
            connection.execute(f"GRANT ALL ON {table} TO chipledger_{other}")
        found = connection.execute(
            "SELECT has_table_privilege(%s, %s, 'DELETE, TRUNCATE, REFERENCES, TRIGGER')",
            [f"chipledger_{other}", table],
        ).fetchone()
    assert found == (False,)


# --- what nobody may change -----------------------------------------------------------------------


@pytest.mark.parametrize("replica", [False, True], ids=["origin", "replica"])
@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("table", LOG)
@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_not_even_the_owner_or_a_superuser_changes_what_was_written(
    written: str, role: str, table: str, statement: str, replica: bool
) -> None:
    """`session_replication_role = replica` switches ordinary triggers off; these are ENABLE ALWAYS."""
    before = ["SET session_replication_role = replica"] if replica else []
    before += ["SET ROLE chipledger_owner"] if role == "owner" else []
    stood = rows(written)
    assert stood[table]
    with (
        attempt(written, *before) as connection,
        pytest.raises(errors.InsufficientPrivilege, match="is refused: the ledger is append-only"),
    ):
        connection.execute(filled_in(CHANGES[statement], table))
    assert rows(written) == stood


@pytest.mark.parametrize("table", LOG)
def test_every_trigger_is_enabled_always(written: str, table: str) -> None:
    with psycopg.connect(written) as connection:
        found = connection.execute(
            "SELECT tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", [table]
        ).fetchall()
    assert {enabled for (enabled,) in found} == {"A"}


def test_tables_belong_to_a_role_that_cannot_log_in(written: str) -> None:
    with psycopg.connect(written) as connection:
        found = connection.execute(
            "SELECT DISTINCT rolname, rolcanlogin, rolsuper FROM pg_class c"
            " JOIN pg_roles r ON r.oid = relowner WHERE c.relname = ANY(%s) AND c.relkind = 'r'",
            [list(TABLES)],
        ).fetchall()
    assert found == [("chipledger_owner", False, False)]


# --- the service steps down -----------------------------------------------------------------------


@pytest.fixture
def someone(server: str, written: str) -> Iterator[str]:
    """URL of a login of its own, with the writer's rights."""
    name, password = f"chipledger_someone_{secrets.token_hex(4)}", secrets.token_hex(16)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE chipledger_writer")
    host = written.rpartition("@")[2]
    yield f"postgresql://{name}:{password}@{host}"
    with psycopg.connect(written, autocommit=True) as connection:
        connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


MAY_CHANGE = {
    "a superuser": "ALTER ROLE {name} SUPERUSER",
    "one who sees through row security": "ALTER ROLE {name} BYPASSRLS",
    "a member of the owner": "GRANT chipledger_owner TO {name}",
    "a member who must ask first": "GRANT chipledger_owner TO {name} WITH INHERIT FALSE",
    "the owner of the table": "ALTER TABLE entries OWNER TO {name}",
    "the owner of the schema": "ALTER SCHEMA public OWNER TO {name}",
    "the owner of the database": "ALTER DATABASE {database} OWNER TO {name}",
    "one who writes everything": "GRANT pg_write_all_data TO {name}",
    "one who was granted DELETE": "GRANT DELETE ON entries TO {name}",
    "one who was granted TRIGGER": "GRANT TRIGGER ON entries TO {name}",
}


@in_loop
async def test_the_service_writes_as_a_member_of_the_writer(someone: str) -> None:
    writer = await Writer.connect(someone)
    locked = await writer.begin([], [(Chain.name, "_ledger")])
    assert locked is not None
    assert locked.head.size == 2
    await writer.close()


@pytest.mark.parametrize("who", MAY_CHANGE)
def test_the_service_refuses_a_login_that_may_change_what_was_written(
    written: str, someone: str, who: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(someone)["user"]
    base = psycopg.conninfo.conninfo_to_dict(written)["dbname"]
    with psycopg.connect(written, autocommit=True) as connection:
        (owner,) = connection.execute(
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'"
        ).fetchone() or ("",)
        connection.execute(MAY_CHANGE[who].format(name=name, database=base))
    try:
        with pytest.raises(
            RefusesToWrite, match=rf"would connect as {name}, who may change what was written"
        ):
            asyncio.run(Writer.connect(someone))
    finally:
        with psycopg.connect(written, autocommit=True) as connection:
            connection.execute("ALTER TABLE entries OWNER TO chipledger_owner")
            statement = sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner))
            connection.execute(statement)


def test_the_service_refuses_the_owners_own_url(written: str) -> None:
    with pytest.raises(RefusesToWrite, match="it must connect as a member of chipledger_writer"):
        asyncio.run(Writer.connect(written))


def test_the_service_refuses_a_login_that_cannot_log_in(written: str) -> None:
    host = written.rpartition("@")[2]
    with pytest.raises(Unavailable, match="the database cannot be reached"):
        asyncio.run(Writer.connect(f"postgresql://chipledger_owner@{host}"))
