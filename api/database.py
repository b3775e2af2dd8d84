"""From the settings to two least-privileged logins: start, create, migrate, and step down.

The service never connects as owner. Where it is given an owner's URL, or runs on the embedded server,
that login migrates and then lets the writer and the reader in; nothing keeps it afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
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
def opened(settings: Settings) -> Iterator[Logins]:
    """A migrated database, for as long as it is used."""
    if settings.database_url is not None:
        yield _logins(settings.database_url.get_secret_value(), settings)
        return
    with Embedded(settings.home) as server:
        server.start()
        yield prepared(_embedded_url(server, settings.database))


@contextmanager
def owner_url(settings: Settings) -> Iterator[str]:
    """The URL of an owner's login, for migrations and API keys; the database is there."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
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
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            row = connection.execute(
                "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database of DATABASE_URL cannot be reached: {error}") from error
    if row is not None and row[0]:
        return prepared(url)
    reader = settings.reader_url
    return Logins(url, reader.get_secret_value() if reader is not None else url)


def _login_url(url: str, role: str) -> str:
    """`url` with another user, whose password follows from the owner's.

    Derived, so that every process that is given the owner's URL arrives at the same one.
    """
    parts = urlsplit(url)
    password = ""
    if parts.password:
        secret = hmac.new(parts.password.encode(), role.encode(), hashlib.sha256).hexdigest()
        password = f":{quote(secret, safe='')}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}{password}@{host}"))


def _let_in(url: str, role: str, login: str) -> None:
    """Let `role` log in with the password of `login`, unless it already can."""
    try:
        psycopg.connect(login, connect_timeout=10).close()
    except psycopg.OperationalError:
        password: Any = urlsplit(login).password
        with psycopg.connect(url, autocommit=True) as connection:
            statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(password)
            )
            _alter_role(connection, statement)


def _alter_role(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    for attempt in range(10):
        try:
            connection.execute(statement)
        except psycopg.errors.InternalError_:  # "tuple concurrently updated": another ledger's start
            if attempt == 9:
                raise
        else:
            return
