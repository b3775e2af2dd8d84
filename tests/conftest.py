"""A real PostgreSQL for every test that asks for one: DATABASE_URL, else Docker, else the embedded one."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api import database
from api.database import Logins
from api.embedded import Embedded
from api.telemetry import configure_logging
from tests.service import Service, running, settings_for


@pytest.fixture(scope="session", autouse=True)
def _logging() -> None:
    configure_logging("error")


def _docker_answers() -> bool:
    """Whether an engine listens; asked without the client library, which leaks a socket on a no."""
    if os.environ.get("DOCKER_HOST"):
        return True
    with socket.socket(socket.AF_UNIX) as engine:
        return engine.connect_ex("/var/run/docker.sock") == 0


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a superuser on a server where databases may be made and dropped."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
    elif _docker_answers():
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()
    else:
        with Embedded(tmp_path_factory.mktemp("postgres")) as embedded:
            embedded.start()
            yield embedded.url("postgres", "postgres")


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """Name of a migrated, empty database."""
    name = f"chipledger_template_{secrets.token_hex(4)}"
    database.create_database(server, name)
    database.prepared(on(server, name))
    yield name
    _drop(server, name)


@pytest.fixture
def owner(server: str, template: str) -> Iterator[str]:
    """URL of the owner of a database of the test's own, migrated and empty."""
    with copied(server, template) as url:
        yield url


@pytest.fixture
def logins(owner: str) -> Logins:
    """The writer's and the reader's login on that database."""
    return database.logins_of(owner)


@pytest.fixture(scope="module")
def service(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on a simulated clock, one for all tests of a file; at the end its log is audited.

    Tests keep apart by contracts, licenses and serials of their own (`tests.api.contract`).
    """
    home = tmp_path_factory.mktemp("home")
    with (
        copied(server, template) as url,
        running(settings_for(url, home, clock="simulated"), url) as service,
    ):
        yield service
        service.audit()


@contextmanager
def copied(server: str, template: str) -> Iterator[str]:
    """URL of the owner of a database copied from the template, dropped at the end."""
    name = f"chipledger_test_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield on(server, name)
    _drop(server, name)


def on(url: str, name: str) -> str:
    """`url` with another database."""
    if "://" not in url:  # a login that follows from another
        return make_conninfo(url, dbname=name)
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
