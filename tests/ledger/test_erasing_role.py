"""The one change of what was written that the database lets through: by whom, of what, and when."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from api import database
from api.replay import replay_database
from ledger.answers import Committed
from ledger.eraser import erase_bodies
from ledger.errors import RefusesToWrite
from ledger.store import Writer
from tests.conftest import copied
from tests.ledger.erased_log import Said, erase, said_and_undone
from tests.ledger.live_log import live, quiet, simulated
from tests.ledger.test_roles import attempt
from tests.workbench import BUYER, NOON

ALL = "event = NULL, event_salt = NULL, decision = NULL, decision_salt = NULL"


@pytest.fixture(scope="module")
def said(server: str, template: str) -> Iterator[Said]:
    """A log in which two entries are said to be erased, and both have their bodies."""
    with copied(server, template) as url:
        yield asyncio.run(said_and_undone(url))


def bodies(said: Said) -> list[tuple[object, ...]]:
    with psycopg.connect(said.owner) as connection:
        return connection.execute("SELECT * FROM bodies ORDER BY index").fetchall()


def by(entry: int) -> str:
    return f"SET LOCAL chipledger.erased_by = '{entry}'"


def test_the_eraser_erases_what_is_said_to_be_erased(said: Said) -> None:
    with attempt(said.eraser, by(said.by)) as connection:
        assert connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {said.index}").rowcount == 1


OTHERWISE = {
    "one body": "UPDATE bodies SET event = NULL, event_salt = NULL WHERE index = {index}",
    "a salt alone": "UPDATE bodies SET event_salt = NULL, decision_salt = NULL WHERE index = {index}",
    "a body alone": "UPDATE bodies SET event = NULL WHERE index = {index}",
    "another body": f"UPDATE bodies SET {ALL.replace('event = NULL', 'event = %s')} WHERE index = {{index}}",
    "an entry that nobody says is erased": f"UPDATE bodies SET {ALL} WHERE index = {{other}}",
    "every entry": f"UPDATE bodies SET {ALL}",
}


@pytest.mark.parametrize("statement", OTHERWISE)
def test_the_eraser_makes_no_other_change(said: Said, statement: str) -> None:
    before = bodies(said)
    act = OTHERWISE[statement].format(index=said.index, other=said.other).replace("%s", "'\\x00'")
    with (
        attempt(said.eraser, by(said.by)) as connection,
        pytest.raises(errors.InsufficientPrivilege, match="UPDATE on bodies is refused"),
    ):
        connection.execute(act)
    assert bodies(said) == before


@pytest.mark.parametrize("entry", ["none", "of another entry", "an event of a party", "an earlier part"])
def test_only_the_entry_that_says_so_lets_it_through(said: Said, entry: str) -> None:
    named = {
        "none": "", "of another entry": said.also_by, "an event of a party": said.request,
        "an earlier part": said.by - 1,
    }[entry]  # fmt: skip
    with (
        attempt(said.eraser, f"SET LOCAL chipledger.erased_by = '{named}'") as connection,
        pytest.raises(errors.InsufficientPrivilege, match=f"no entry says that {said.index} is erased"),
    ):
        connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {said.index}")


FORGED = {
    "on no request": {"request": "other"},
    "on a request that names other entries": {"index": "other"},
    "on a request that was denied": {},
    "by a party": {},
    "and denied": {},
}


@pytest.mark.parametrize("how", FORGED)
def test_whoever_writes_the_log_does_not_erase_by_words_alone(said: Said, how: str) -> None:
    """A thief of the writer's login can insert entries, and has nobody to accept a request."""
    forged = {name: getattr(said, value) for name, value in FORGED[how].items()}
    index = forged.get("index", said.index)
    party = "acme" if how == "by a party" else "_ledger"
    outcome = "denied" if how == "and denied" else "accepted"
    copied_entry = (
        "INSERT INTO entries SELECT {to}, contract, {to}, recorded_at, kind, '{party}', gen_random_uuid(),"
        " '{outcome}', leaf, header FROM entries WHERE index = {entry}"
    )
    copied_body = (
        "INSERT INTO bodies (index, event) SELECT {to}, convert_to((convert_from(event, 'UTF8')::jsonb"
        " || jsonb_build_object('data', (convert_from(event, 'UTF8')::jsonb -> 'data')"
        " || '{changes}'::jsonb))::text, 'UTF8') FROM bodies WHERE index = {entry}"
    )
    before = [
        copied_entry.format(to=9001, party="acme", outcome="denied", entry=said.request),
        copied_body.format(to=9001, changes="{}", entry=said.request),
        copied_entry.format(to=9002, party=party, outcome=outcome, entry=said.by),
        copied_body.format(
            to=9002,
            changes=json.dumps({"request": 9001} if how == "on a request that was denied" else forged),
            entry=said.by,
        ),
        "SET LOCAL ROLE chipledger_eraser",
        by(9002),
    ]
    with (
        attempt(said.owner, *before) as connection,
        pytest.raises(errors.InsufficientPrivilege, match=f"no entry says that {index} is erased"),
    ):
        connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {index}")


@pytest.mark.parametrize("statement", [
    "SELECT event FROM bodies", "SELECT decision_salt FROM bodies", "SELECT * FROM entries",
    "SELECT * FROM facts", "UPDATE bodies SET index = 999", "DELETE FROM bodies", "TRUNCATE bodies",
    "INSERT INTO bodies (index) VALUES (999)", "UPDATE bodies SET event = event", "UPDATE head SET size = 0",
    "SELECT * FROM api_keys", "SELECT refuse_unsaid()",
])  # fmt: skip
def test_the_eraser_reads_nothing_and_does_nothing_else(said: Said, statement: str) -> None:
    with attempt(said.eraser, by(said.by)) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize("replica", [False, True], ids=["origin", "replica"])
@pytest.mark.parametrize("who", ["superuser", "owner", "writer", "reader"])
def test_nobody_else_erases_even_what_is_said_to_be_erased(said: Said, who: str, replica: bool) -> None:
    logins = database.logins_of(said.owner)
    url = {"writer": logins.writer, "reader": logins.reader}.get(who, said.owner)
    before = [by(said.by)]
    if who in ("superuser", "owner"):
        before += ["SET session_replication_role = replica"] if replica else []
        before += ["SET ROLE chipledger_owner"] if who == "owner" else []
    with attempt(url, *before) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {said.index}")


def test_a_superuser_who_steps_down_to_the_eraser_is_one(said: Said) -> None:
    """Whoever is above the triggers can be any role; then it may do what that role may."""
    with attempt(said.owner, by(said.by), "SET ROLE chipledger_eraser") as connection:
        assert connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {said.index}").rowcount == 1


def test_the_service_refuses_a_login_that_may_erase(said: Said) -> None:
    name = f"chipledger_both_{secrets.token_hex(4)}"
    with psycopg.connect(said.owner, autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE chipledger_writer, chipledger_eraser"
        )
    host = said.owner.rpartition("@")[2]
    try:
        with pytest.raises(RefusesToWrite, match="who may change what was written"):
            asyncio.run(Writer.connect(f"postgresql://{name}:x@{host}"))
    finally:
        with psycopg.connect(said.owner, autocommit=True) as connection:
            connection.execute(f"DROP ROLE {name}")


def test_a_login_that_may_not_erase_says_so(said: Said) -> None:
    with pytest.raises(RefusesToWrite, match="the database refuses to erase"):
        erase_bodies(said.owner, [(said.index, said.by)])


def test_between_saying_and_erasing_nothing_is_decided_by_the_words(server: str, template: str) -> None:
    """They are still there; a replay will be without them, and must come to the same."""
    with copied(server, template) as url:
        fresh = asyncio.run(said_and_undone(url))

        async def take_back() -> Committed:
            async with live(database.logins_of(url), clock=simulated(NOON)) as log:
                order = {"index": fresh.index, "id": (await log.reader.entry(fresh.index)).event_id}
                return await log.say("event.declared_in_error", by=(BUYER, "buyer"), **order)

        decision = asyncio.run(take_back()).receipt.decision
        assert b'"code":"correction.erased"' in decision
        for _ in range(2):
            outcome, facts = asyncio.run(replay_database(database.logins_of(url).reader, quiet))
            assert (outcome.difference, facts) == (None, [])
            asyncio.run(erase(fresh))


def test_it_is_done_once_and_may_be_tried_again(server: str, template: str) -> None:
    """A crash between saying and erasing leaves it to be done; one behind it leaves nothing."""
    with copied(server, template) as url:
        fresh = asyncio.run(said_and_undone(url))
        assert asyncio.run(erase(fresh)) == [fresh.index, fresh.also]
        assert asyncio.run(erase(fresh)) == []
        gone = [row for row in bodies(fresh) if row[0] in (fresh.index, fresh.also)]
        assert len(gone) == 2
        assert {value for row in gone for value in row[1:]} == {None}


def test_what_webhooks_told_of_the_entry_is_erased_with_it_and_told_no_more(said: Said) -> None:
    with attempt(said.owner) as connection:
        connection.execute(
            "INSERT INTO webhook_endpoints VALUES ('we_e', 'auditor', NULL, '{}', '', '', '{}', '{}', '{}',"
            " 'v1', '', NULL, NULL, NULL, 'enabled', NULL, 0, 0, now())"
        )
        told = "INSERT INTO webhook_deliveries VALUES (%s, 'we_e', %s, 'everything', '', 'told', NULL, %s, 1,"
        for name, index, state in (("a", said.index, "waiting"), ("b", said.other, "waiting")):
            connection.execute(f"{told} 1, now(), now())", [name, index, state])
        connection.execute("SET LOCAL ROLE chipledger_eraser")
        connection.execute(by(said.by))
        connection.execute(f"UPDATE bodies SET {ALL} WHERE index = {said.index}")
        connection.execute("RESET ROLE")
        found = connection.execute("SELECT id, body, state FROM webhook_deliveries ORDER BY id").fetchall()
    assert found == [("a", b"", "dead"), ("b", b"told", "waiting")]
