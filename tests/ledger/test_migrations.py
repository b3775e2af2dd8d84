"""The migrations make exactly the tables that the models declare, from nothing, and back."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import NullPool, create_engine
from sqlmodel import SQLModel

import migrations
from api import database
from api.replay import replay_database
from ledger.tables import EntryRow
from tests.conftest import on
from tests.ledger.live_log import audit, in_loop, live, simulated
from tests.workbench import H200, NOON, wire

VERSION = "alembic_version"
REVISIONS = [one.revision for one in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()][
    1:
]
"""All but the newest."""
SHAPE = """
    SELECT c.relname, 'column', a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
        || coalesce(' ' || (SELECT collname FROM pg_collation o WHERE o.oid = a.attcollation), '')
        || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') || ' ' || a.attidentity::text
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  UNION ALL
    SELECT c.relname, 'options', coalesce(array_to_string(c.reloptions, ','), '')
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  UNION ALL
    SELECT conrelid::regclass::text, 'constraint', conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL
    SELECT tablename, 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
"""
"""What a table is, down to what Alembic does not compare: checks, options, kinds of index."""


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    """URL of a database in which nothing has been made."""
    name = f"chipledger_bare_{secrets.token_hex(4)}"
    database.create_database(server, name)
    yield on(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def alembic(url: str, act: str, revision: str) -> None:
    """Run a command of Alembic as `chipledger db upgrade` runs its own."""
    with engine_of(url).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        getattr(command, act)(config, revision)


def engine_of(url: str) -> Any:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)


def shape(url: str) -> set[tuple[str, str, str]]:
    with psycopg.connect(url) as connection:
        return {row for row in connection.execute(SHAPE) if row[0] != VERSION}


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in found} - {VERSION}


# PostgreSQL spells a generated column's expression in its own way; the next test compares those.
@pytest.mark.filterwarnings("ignore:Computed default on facts")
def test_models_and_migrations_agree(owner: str) -> None:
    options = {"compare_type": True, "compare_server_default": True}
    with engine_of(owner).connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, SQLModel.metadata) == []


def test_models_and_migrations_make_the_same_database(owner: str, empty: str) -> None:
    """Alembic compares neither checks nor options nor kinds of index; PostgreSQL's own catalogue has them."""
    engine = engine_of(empty)
    SQLModel.metadata.create_all(engine)
    assert shape(empty) == shape(owner)


def test_a_fresh_database_goes_up_and_down_and_up(empty: str) -> None:
    database.upgrade(empty)
    first = shape(empty)
    assert tables(empty) == set(SQLModel.metadata.tables)
    alembic(empty, "downgrade", "base")
    assert tables(empty) == set()
    with psycopg.connect(empty) as connection, pytest.raises(errors.UndefinedFunction):
        connection.execute("SELECT refuse_change()")
    database.upgrade(empty)
    assert shape(empty) == first


GRANTS = """
    SELECT c.relname, a.attname, x.grantee::regrole::text, x.privilege_type
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL,
        aclexplode(coalesce(a.attacl, c.relacl)) x
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  UNION ALL
    SELECT c.relname, t.tgname, t.tgenabled::text, pg_get_triggerdef(t.oid)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
"""


def grants(url: str) -> set[tuple[Any, ...]]:
    """Who may do what, and which triggers stand in the way."""
    with psycopg.connect(url) as connection:
        return set(connection.execute(GRANTS))


@pytest.mark.parametrize("revision", REVISIONS)
@in_loop
async def test_a_log_of_any_older_version_is_upgraded_and_holds(owner: str, revision: str) -> None:
    """Entries, proofs, facts and decisions are those of before; roles and triggers those of a new log."""
    logins, fresh = database.logins_of(owner), grants(owner)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        before = await log.commit(wire("order.placed", units=1))
    alembic(owner, "downgrade", revision)
    database.upgrade(owner)
    assert grants(owner) == fresh
    async with live(logins, clock=simulated(NOON)) as log:
        assert (await log.reader.entry(before.receipt.index)).entry.raw == before.receipt.header
        await log.commit(wire("order.placed", order="PO-2", units=1))
    await audit(logins)
    outcome, facts = await replay_database(logins.reader, lambda done, of: None)
    assert outcome.difference is None
    assert facts == []


def test_an_upgrade_of_what_is_new_already_changes_nothing(owner: str) -> None:
    before = shape(owner)
    database.upgrade(owner)
    assert shape(owner) == before


def test_there_is_one_head_and_one_way_to_it() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert len(script.get_heads()) == 1
    revisions = list(script.walk_revisions())
    assert all(not revision.is_merge_point and not revision.is_branch_point for revision in revisions)
    assert revisions[-1].down_revision is None


def test_processes_that_upgrade_at_once_all_succeed(empty: str) -> None:
    """Two services start on one empty server: the second finds the first one's tables."""
    start, faults = threading.Barrier(4), []

    def upgrade() -> None:
        start.wait()
        try:
            database.prepared(empty)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert tables(empty) == set(SQLModel.metadata.tables)
    with psycopg.connect(empty) as connection:
        assert connection.execute(f"SELECT count(*) FROM {VERSION}").fetchone() == (1,)


def test_ledgers_that_begin_on_one_server_at_once_all_succeed(server: str) -> None:
    """Roles are the cluster's: each may be making them, and giving them a login, at the same moment."""
    names = [f"chipledger_bare_{secrets.token_hex(4)}" for _ in range(3)]
    begin = "import sys; from api import database; database.prepared(sys.argv[1])"
    try:
        for name in names:
            database.create_database(server, name)
        # Processes: Alembic's context is one for a whole process.
        started = [subprocess.Popen([sys.executable, "-c", begin, on(server, name)]) for name in names]
        assert [process.wait(60) for process in started] == [0, 0, 0]
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            for name in names:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize("url", ["the writer's", "the reader's"])
def test_only_an_owner_may_migrate(owner: str, url: str) -> None:
    """A service that is given the writer's URL cannot change the schema, not even by accident."""
    logins = database.logins_of(owner)
    with psycopg.connect(logins.writer if url == "the writer's" else logins.reader) as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (id int)")
        connection.rollback()
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"ALTER TABLE {EntryRow.__tablename__} ADD COLUMN mine int")
        connection.rollback()
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"SELECT * FROM {VERSION}")
