"""Facts from the log again: equal after a rich history, and every difference found, named and put right."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from api import database
from api.database import Logins
from api.story import CONTRACT, LICENSE
from ledger.errors import Unavailable
from ledger.facts import Chain, Device, License, Order
from ledger.rebuild import Difference, compare, replace
from tests.conftest import on
from tests.ledger.live_log import LiveLog, audit, in_loop, live, quiet, simulated, tell
from tests.workbench import NOON, condition, policy, wire


@pytest.fixture(scope="module")
def told(server: str, template: str) -> Iterator[str]:
    """Name of a database that holds the year."""
    name = f"chipledger_told_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    async def write() -> None:
        clock = simulated("2027-01-01T00:00:00Z")
        async with live(database.logins_of(on(server, name)), clock=clock) as log:
            await tell(log, clock)

    asyncio.run(write())
    yield name
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def year(server: str, told: str) -> Iterator[str]:
    """URL of the owner of a copy of the year, for a test of its own."""
    name = f"{told}_copy"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {told}")
    yield on(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def differences(url: str) -> list[Difference]:
    return asyncio.run(compare(database.logins_of(url).reader, quiet))


def alter(url: str, statement: str, *parameters: Any) -> None:
    with psycopg.connect(url) as connection:
        assert connection.execute(statement, parameters).rowcount == 1


def stored(url: str) -> dict[tuple[str, str], str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT name, key, data::text FROM facts").fetchall()
    return {(name, key): data for name, key, data in found}


# --- what is found --------------------------------------------------------------------------------


def test_after_a_year_the_facts_are_what_the_log_makes_them(year: str) -> None:
    facts = stored(year)
    assert {name for name, _ in facts} == {
        "chain", "contract", "policy", "license", "order", "shipment", "device", "exporter", "correction",
        "draft", "duty", "exports", "filing", "hold", "interruptions", "license_changes", "movements",
        "override", "ownership", "proposed", "purchases", "releases", "report", "retention", "screening",
        "statements", "supply",
    }  # fmt: skip
    assert len(facts) > 1_000
    assert differences(year) == []


def test_progress_is_told_to_the_end(year: str) -> None:
    said: list[tuple[int, int]] = []
    asyncio.run(compare(database.logins_of(year).reader, lambda done, total: said.append((done, total))))
    assert said[0][0] == 1
    assert said[-1][0] == said[-1][1] == said[0][1]


DEVICE = "H200-000500"


def test_an_altered_fact_is_found_and_named(year: str) -> None:
    """The three chips that never arrived, made to have arrived."""
    right = stored(year)["device", DEVICE]
    assert '"state":"missing"' in right
    wrong = right.replace('"missing"', '"received"')
    alter(year, "UPDATE facts SET data = %s WHERE name = 'device' AND key = %s", wrong, DEVICE)
    assert differences(year) == [Difference(("device", DEVICE), wrong, right)]
    assert str(differences(year)[0]) == f"device {DEVICE}: stored as {wrong}, must be {right}"


def test_a_fact_that_means_the_same_in_other_bytes_is_found(year: str) -> None:
    right = stored(year)["device", DEVICE]
    alter(
        year, "UPDATE facts SET data = %s WHERE name = 'device' AND key = %s",
        right.replace(",", ", ", 1), DEVICE,
    )  # fmt: skip
    assert [one.key for one in differences(year)] == [("device", DEVICE)]


def test_a_deleted_fact_is_found_and_named(year: str) -> None:
    right = stored(year)["license", LICENSE]
    alter(year, "DELETE FROM facts WHERE name = 'license' AND key = %s", LICENSE)
    [found] = differences(year)
    assert found == Difference(("license", LICENSE), None, right)
    assert str(found) == f"license {LICENSE}: not stored, must be {right}"


def test_an_invented_fact_is_found_and_named(year: str) -> None:
    invented = Order(
        contract=CONTRACT, order="PO-0", license=LICENSE, sku="H200-SXM", units=1,
        unit_value=Decimal(0),
        currency="USD", consignee="a", end_user="b", placed=3,
        placed_at=datetime(2027, 3, 1, tzinfo=UTC),
    ).encode().decode()  # fmt: skip
    alter(year, "INSERT INTO facts VALUES ('order', %s, %s)", f"{CONTRACT}/PO-0", invented)
    [found] = differences(year)
    assert found == Difference(("order", f"{CONTRACT}/PO-0"), invented, None)
    assert str(found).endswith("but the log does not make it")


def test_every_difference_is_found_in_order(year: str) -> None:
    alter(year, "DELETE FROM facts WHERE name = 'license' AND key = %s", LICENSE)
    alter(year, "INSERT INTO facts VALUES ('mine', 'x', '{}')")
    alter(year, "UPDATE facts SET data = '{}' WHERE name = 'chain' AND key = '_ledger'")
    keys = [one.key for one in differences(year)]
    assert keys == [("chain", "_ledger"), ("license", LICENSE), ("mine", "x")]


# --- and put right --------------------------------------------------------------------------------


def test_replace_puts_everything_right_and_moves_the_epoch(year: str) -> None:
    before = stored(year)
    for statement in (
        "DELETE FROM facts WHERE name = 'license'",
        "INSERT INTO facts VALUES ('mine', 'x', '{}')",
        "UPDATE facts SET data = '{}' WHERE name = 'chain' AND key = '_ledger'",
    ):
        alter(year, statement)
    number = asyncio.run(replace(year, database.logins_of(year).reader, quiet))
    assert stored(year) == before
    assert number == len(before)
    assert differences(year) == []
    with psycopg.connect(year) as connection:
        assert connection.execute("SELECT epoch FROM head").fetchone() == (2,)


@in_loop
async def test_a_running_sequencer_drops_what_it_remembers_and_goes_on(logins: Logins, owner: str) -> None:
    """It had cached the altered facts; the epoch tells it, and no restart is needed."""
    text = policy(condition("quantity_cap", limit={"from": "license.quantity"}))
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(text, quantity=10)
        await log.accepted("order.placed", order="PO-1", units=8)
        alter(
            owner,
            "UPDATE facts SET data = replace(data::text, '\"ordered\":8', '\"ordered\":0')::json"
            " WHERE name = 'license'",
        )
        async with live(logins, clock=simulated(NOON)) as other:  # loads what is wrong
            await other.say("order.cancelled", order="PO-9")
            assert (await other.say("order.placed", order="PO-2", units=1)).outcome == "accepted"
            [wrong] = await compare(logins.reader, quiet)
            assert wrong.key == ("license", "D-100200")
            await replace(owner, logins.reader, quiet)
            for process, outcome in ((other, "denied"), (log, "denied"), (other, "denied")):
                late = await process.say("order.placed", order=f"PO-{uuid.uuid4()}", units=2)
                assert late.outcome == outcome
            assert (await other.say("order.placed", order="PO-3", units=1)).outcome == "accepted"
    await audit(logins)


@in_loop
async def test_nobody_appends_while_the_facts_are_replaced(logins: Logins, owner: str) -> None:
    """What is committed meanwhile would be missing from them: it waits, and then is judged on them."""
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        waiting: list[asyncio.Task[Any]] = []

        def meanwhile(done: int, total: int) -> None:
            if not waiting:
                order = wire("order.placed", order="PO-1", units=3)
                waiting.append(asyncio.create_task(log.commit(order)))

        await replace(owner, logins.reader, meanwhile)
        assert (await waiting[0]).outcome == "accepted"
        license_ = await log.reader.fact(License, "D-100200")
        assert license_ is not None
        assert license_.ordered == 3
    await audit(logins)


@in_loop
async def test_a_rebuild_that_fails_changes_nothing(logins: Logins, owner: str) -> None:
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(policy())

    def fail(done: int, total: int) -> None:
        raise Unavailable("the disk went away")

    before = stored(owner)
    with pytest.raises(Unavailable, match="the disk went away"):
        await replace(owner, logins.reader, fail)
    assert stored(owner) == before
    with psycopg.connect(owner) as connection:
        assert connection.execute("SELECT epoch FROM head").fetchone() == (1,)


def test_a_replica_that_lags_is_not_rebuilt_from(server: str, year: str, logins: Logins) -> None:
    """Its facts are those of an earlier day: put in place, they would sell the same chips again."""

    async def open_log() -> None:
        async with live(logins):
            pass

    asyncio.run(open_log())
    before = stored(year)
    with pytest.raises(Unavailable, match="what is read is not the log that is locked"):
        asyncio.run(replace(year, logins.reader, quiet))
    assert stored(year) == before


@in_loop
async def test_neither_writer_nor_reader_may_replace_facts(logins: Logins) -> None:
    async with live(logins):
        pass
    for url in (logins.writer, logins.reader):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await replace(url, logins.reader, quiet)


@in_loop
async def test_a_refusal_folds_into_nothing_but_its_chain(logins: Logins) -> None:
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        before = await _facts(log)
        denied = await log.say("shipment.requested", serials=["SN1", "SN2"])
        assert denied.outcome == "denied"
        after = await _facts(log)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        contract = "11111111-2222-4333-8444-555555555555"
        assert changed == {("chain", contract)}
        chain = await log.reader.fact(Chain, contract)
        assert chain is not None
        assert chain.count == 6
        assert await log.reader.fact(Device, "SN1") is None
    await audit(logins)


async def _facts(log: LiveLog) -> dict[tuple[str, str], str]:
    async with log.reader.every_fact() as rows:
        return {(name, key): data async for name, key, data in rows}
