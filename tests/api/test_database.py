"""The logins that follow from an owner's URL, and those that a service is given."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api import database, keys
from api.database import Logins
from ledger.errors import UnusableInput
from ledger.session import session
from tests.api.contract import LiveContract
from tests.conftest import copied
from tests.faults.harness import wait_for
from tests.service import running, settings_for

PASSWORD = "pw-Zt5Secret"


@contextmanager
def a_role(owner: str, words: str) -> Iterator[str]:
    name = f"chipledger_someone_{secrets.token_hex(4)}"
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} " + words).format(sql.Identifier(name)))
        try:
            yield name
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


# --- of an owner's URL ----------------------------------------------------------------------------

SPELLINGS = [
    "postgresql://me:{}@db.example:5433/log?sslmode=verify-full",
    "postgres://me:{}@db.example:5433/log?sslmode=verify-full",
    "postgresql://db.example:5433/log?user=me&password={}&sslmode=verify-full",
    "postgresql://me@db.example:5433/log?sslmode=verify-full&password={}",
    "host=db.example port=5433 user=me password={} dbname=log sslmode=verify-full",
]


def test_logins_follow_from_the_password_however_the_url_is_spelled() -> None:
    found = [database.logins_of(one.format(PASSWORD)) for one in SPELLINGS]
    for login, role in ((found[0].writer, database.WRITER), (found[0].reader, database.READER)):
        named = conninfo_to_dict(login)
        assert named.pop("password") not in (PASSWORD, None)
        assert named == {
            "host": "db.example", "port": "5433", "user": role, "dbname": "log", "sslmode": "verify-full",
        }  # fmt: skip
    for other in found[1:]:
        assert conninfo_to_dict(other.writer) == conninfo_to_dict(found[0].writer)
        assert conninfo_to_dict(other.reader) == conninfo_to_dict(found[0].reader)
    assert conninfo_to_dict(found[0].writer)["password"] != conninfo_to_dict(found[0].reader)["password"]
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize("password", ["p#w", "p[w", "p%40w", "p'w%20"])
def test_a_login_is_of_the_same_server_whatever_is_in_the_password(password: str) -> None:
    for hosts in ("db.example:5433", "[::1]:5433", "one.example:1,two.example:2"):
        url = f"postgresql://me:{password}@{hosts}/log?sslmode=require"
        (of, login) = (conninfo_to_dict(one) for one in (url, database.logins_of(url).writer))
        assert login == of | {"user": database.WRITER, "password": login["password"]}
        assert login["password"] != of["password"]


def test_options_of_the_url_stay_and_ours_come_after_them() -> None:
    url = "postgresql://db.example/log?options=-c%20search_path%3Daudit%20-c%20jit%3Don"
    options = "-c search_path=audit -c jit=on -c timezone=UTC -c datestyle=ISO -c jit=off"
    assert conninfo_to_dict(session(url, "-c jit=off"))["options"] == options


def test_a_service_and_its_watch_read_the_times_of_any_database(owner: str, tmp_path: Path) -> None:
    name = conninfo_to_dict(owner)["dbname"]
    with psycopg.connect(owner, autocommit=True) as connection:
        for setting in ("datestyle = 'German, DMY'", "timezone = 'Asia/Shanghai'"):
            connection.execute(f"ALTER DATABASE {name} SET {setting}")
    settings = settings_for(owner, tmp_path, clock="simulated").model_copy(
        update={"integrity_head_seconds": 60, "integrity_all_seconds": 60}
    )
    with running(settings, owner) as service:
        LiveContract(service).open()
        with service.client("operator") as client:
            at = "/v1/integrity"
            wait_for("a look", lambda: client.get(at).json()["looks"]["all"] is not None, seconds_max=30)
            assert client.get(at).json()["intact"] is True
        service.audit()
    assert {key.role for key in keys.listed(owner)} == {"operator", "regulator", "submitter"}


def test_the_server_is_never_told_a_password(owner: str) -> None:
    """It logs statements, where somebody set it to. What it is told, it could not have made: it hashes
    what it is given as the database says."""
    with a_role(owner, "NOLOGIN") as role, psycopg.connect(owner, autocommit=True) as connection:
        name = sql.Identifier(str(conninfo_to_dict(owner)["dbname"]))
        connection.execute(sql.SQL("ALTER DATABASE {} SET password_encryption = 'md5'").format(name))
        database._let_in(owner, role, make_conninfo(owner, user=role, password=PASSWORD))
        kept = connection.execute(
            "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = %s", [role]
        ).fetchone()
        assert kept is not None
        assert kept[0]
        assert kept[1].startswith("SCRAM-SHA-256$")


def test_without_a_password_a_role_keeps_the_one_it_has(owner: str) -> None:
    """Other services of the cluster log in with it."""
    with (
        a_role(owner, f"NOLOGIN PASSWORD '{PASSWORD}'") as role,
        psycopg.connect(owner, autocommit=True) as connection,
    ):
        asked = "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = %s"
        before = connection.execute(asked, [role]).fetchone()
        database._let_in(owner, role, make_conninfo(owner, user=role, password=None))
        after = connection.execute(asked, [role]).fetchone()
        assert before is not None
        assert after == (True, before[1])


def test_where_no_login_follows_it_is_said(owner: str) -> None:
    """No role logs in to a database that lets nobody in: as where a password is asked for, and none given."""
    with (
        a_role(owner, "NOLOGIN CONNECTION LIMIT 0") as role,
        pytest.raises(UnusableInput, match=rf"DATABASE_URL holds no password, so none follows for {role}"),
    ):
        database._let_in(owner, role, make_conninfo(owner, user=role))


# --- that a service is given ----------------------------------------------------------------------


def test_a_service_that_can_read_all_it_reads_may_start(logins: Logins) -> None:
    database.refuse_unfit(logins)


def test_a_login_that_cannot_look_keys_up_is_refused_before_every_request_is(logins: Logins) -> None:
    with pytest.raises(
        UnusableInput, match="chipledger_writer may not read api_keys: give CHIPLEDGER_READER_URL"
    ):
        database.refuse_unfit(replace(logins, reader=logins.writer))


def test_an_owner_does_not_read_for_a_service(logins: Logins, owner: str) -> None:
    with pytest.raises(UnusableInput, match="an owner or a superuser; it must be that of a member of"):
        database.refuse_unfit(replace(logins, reader=owner))


def test_a_database_of_an_older_version_is_named_as_that(owner: str, logins: Logins) -> None:
    with psycopg.connect(owner) as connection:
        connection.execute("DROP TABLE webhook_cursors")
    with pytest.raises(UnusableInput, match="has no table webhook_cursors: run `chipledger db upgrade`"):
        database.refuse_unfit(logins)


def test_a_replica_that_is_away_stops_no_start(server: str, template: str) -> None:
    with copied(server, template) as url:
        logins = database.logins_of(url)
    database.refuse_unfit(logins)
