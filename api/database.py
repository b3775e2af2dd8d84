"""From the settings to two least-privileged logins: start, create, migrate, and step down.

The service never connects as owner. Where it is given an owner's URL, or runs on the embedded server,
that login migrates and then lets the writer and the reader in; nothing keeps it afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import NullPool, create_engine, text

import migrations
from api.embedded import Embedded
from api.settings import Settings
from ledger.errors import Unavailable, UnusableInput

WRITER, READER, ERASER = "chipledger_writer", "chipledger_reader", "chipledger_eraser"
_MIGRATION_LOCK = 0x6368697001
"""Key of the advisory lock that lets one process migrate at a time."""


@dataclass(frozen=True, slots=True)
class Logins:
    """URLs of the two logins that the service uses. They may hold passwords: never shown."""

    writer: str = field(repr=False)
    reader: str = field(repr=False)


@contextmanager
def opened(settings: Settings, *, begin: bool = False) -> Iterator[Logins]:
    """A migrated database, for as long as it is used; `begin`: made if need be.

    Raises UnusableInput where there is no embedded one in the home, and none is to be made.
    """
    if settings.database_url is not None:
        yield _logins(settings.database_url.get_secret_value(), settings)
        return
    if not begin:
        _refuse_nothing(settings)
    with Embedded(settings.home) as server:
        server.start()
        yield prepared(_embedded_url(server, settings.database))


@contextmanager
def untouched(settings: Settings) -> Iterator[Logins]:
    """The logins of a database that is there already: nothing is made, migrated or let in.

    Raises UnusableInput where there is no embedded one in the home.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield logins_of(url) if _is_owner(url) else _given(url, settings)
        return
    _refuse_nothing(settings)
    with Embedded(settings.home) as server:
        server.start()
        yield logins_of(server.url(settings.database, "postgres"))


def _refuse_nothing(settings: Settings) -> None:
    if not (settings.home / "postgres.lock").exists():
        raise UnusableInput(
            f"there is no ledger in {settings.home}: name its home (--home, CHIPLEDGER_HOME) or its server"
            " (DATABASE_URL); `chipledger serve` begins one"
        )


@contextmanager
def owner_url(settings: Settings, *, begin: bool = False) -> Iterator[str]:
    """The URL of an owner's login, for migrations and API keys; the database is there, or as in `opened`."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    if not begin:
        _refuse_nothing(settings)
    with Embedded(settings.home) as server:
        server.start()
        yield _embedded_url(server, settings.database)


def prepared(url: str) -> Logins:
    """Migrate the database of an owner's `url`, and let the two roles log in."""
    upgrade(url)
    logins = logins_of(url)
    for role, login in ((WRITER, logins.writer), (READER, logins.reader)):
        _let_in(url, role, login)
    return logins


@contextmanager
def eraser_url(settings: Settings) -> Iterator[str]:
    """The URL of the login that erases, which the service never has.

    Raises UnusableInput, if it is not given and `database_url` is none from which it follows.
    """
    if settings.eraser_url is not None:
        yield settings.eraser_url.get_secret_value()
        return
    with owner_url(settings) as url:
        try:
            login = let_eraser_in(url)
        except psycopg.errors.InsufficientPrivilege:
            raise UnusableInput(
                "DATABASE_URL is not an owner's: give CHIPLEDGER_ERASER_URL, the login of a member of"
                f" {ERASER}"
            ) from None
        yield login


def let_eraser_in(url: str) -> str:
    """The login of `chipledger_eraser`, which may log in from now on; `url` is an owner's."""
    login = _login_url(url, ERASER)
    _let_in(url, ERASER, login)
    return login


def logins_of(url: str) -> Logins:
    """The logins that `prepared` lets in, of an owner's `url`."""
    return Logins(_login_url(url, WRITER), _login_url(url, READER))


def refuse_unfit(logins: Logins) -> None:
    """Raise UnusableInput if what the service reads is not there, or not for the login that reads.

    A replica that is away is none of that: it may come back.
    """
    from ledger import tables  # the service itself speaks SQL, and has no use for models

    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(logins.reader, connect_timeout=10) as connection,
    ):
        found = connection.execute(
            "SELECT current_user, name, to_regclass(name) IS NULL FROM unnest(%s::text[]) AS name"
            " WHERE to_regclass(name) IS NULL"
            " OR name = 'api_keys' AND NOT has_table_privilege(to_regclass(name), 'SELECT')",
            [sorted(tables.EntryRow.metadata.tables)],
        ).fetchone()
        if found is not None and found[2]:
            raise UnusableInput(
                f"the database has no table {found[1]}: run `chipledger db upgrade` with the owner's URL"
            )
        if found is not None:
            raise UnusableInput(
                f"{found[0]} may not read {found[1]}: give CHIPLEDGER_READER_URL, the login of a member of"
                f" {READER}"
            )
        (whose,) = connection.execute(
            "SELECT CASE WHEN rolsuper OR pg_has_role(current_user, 'chipledger_owner', 'MEMBER')"
            " THEN current_user END FROM pg_roles WHERE rolname = current_user"
        ).fetchone() or ("nobody",)
        if whose is not None:
            raise UnusableInput(
                f"CHIPLEDGER_READER_URL is the login of {whose}, an owner or a superuser; it must be that of"
                f" a member of {READER}"
            )


def upgrade(url: str) -> None:
    """Bring the schema to the newest version. `url` is an owner's."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    # By psycopg itself, which also takes postgres://.
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def create_database(url: str, name: str) -> None:
    """Make the database unless it is there. `url` is of another database of the same server."""
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return


def _embedded_url(server: Embedded, name: str) -> str:
    create_database(server.url("postgres", "postgres"), name)
    return server.url(name, "postgres")


def _logins(url: str, settings: Settings) -> Logins:
    return prepared(url) if _is_owner(url) else _given(url, settings)


def _given(url: str, settings: Settings) -> Logins:
    reader = settings.reader_url
    return Logins(url, reader.get_secret_value() if reader is not None else url)


def _is_owner(url: str) -> bool:
    """Whether the login may migrate. Raises Unavailable."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            row = connection.execute(
                "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database of DATABASE_URL cannot be reached: {error}") from error
    return row is not None and bool(row[0])


def _login_url(url: str, role: str) -> str:
    """The login of another user, whose password follows from the owner's.

    Derived, so that every process that is given the owner's URL arrives at the same one.
    """
    given = conninfo_to_dict(url).get("password")  # wherever it stands
    password = hmac.new(str(given).encode(), role.encode(), hashlib.sha256).hexdigest() if given else None
    # As libpq reads it: to others a # or a [ in a password ends it, and the rest would be told as a host.
    return make_conninfo(url, user=role, password=password)


def _let_in(url: str, role: str, login: str) -> None:
    """Let `role` log in with the password of `login`, unless it already can.

    Raises UnusableInput where `login` has none and the server asks for one.
    """
    with suppress(psycopg.OperationalError):
        psycopg.connect(login, connect_timeout=10).close()
        return
    password = conninfo_to_dict(login).get("password")
    statement = sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role))
    with psycopg.connect(url, autocommit=True) as connection:
        if password is not None:
            # What the server keeps, made here: it logs statements, and must not be told the password.
            kept = connection.pgconn.encrypt_password(str(password).encode(), role.encode(), b"scram-sha-256")
            statement += sql.SQL(" PASSWORD {}").format(sql.Literal(kept.decode()))
        _alter_role(connection, statement)
    if password is None:
        try:
            psycopg.connect(login, connect_timeout=10).close()
        except psycopg.OperationalError:
            raise UnusableInput(
                f"DATABASE_URL holds no password, so none follows for {role}, and the server asks for one:"
                " put the owner's into the URL, or give the service logins of its own"
            ) from None


def _alter_role(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    for attempt in range(10):
        try:
            connection.execute(statement)
        except psycopg.errors.InternalError_:  # "tuple concurrently updated": another ledger's start
            if attempt == 9:
                raise
        else:
            return
