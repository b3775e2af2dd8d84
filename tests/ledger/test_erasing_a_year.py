"""Everything of a year that may be erased, erased: the same facts, and what is left is judged alike."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from api import database
from api.erase import erasing_of
from api.replay import replay_database
from api.story import AUTHORITY, CONTRACT
from ledger.checkpoint import Checkpoint, sign
from ledger.eraser import erase_bodies
from ledger.export import write
from ledger.kinds.records import is_kept
from ledger.pages import Filter
from ledger.reader import Reader
from ledger.rebuild import Difference, compare, refold, replace
from ledger.verify import verify_export
from policies.engine import Engine
from policies.exported import replay_export
from tests.conftest import copied
from tests.ledger.live_log import LiveLog, live, quiet, simulated, tell
from tests.ledger.sample_log import SIGNER
from tests.workbench import activation, condition, policy

KEPT = policy(condition("retention_hold", years=5), policy="records", force={"from": "2027-01-01"})
LATE = "2040-01-01T12:00:00Z"


@dataclass(frozen=True)
class Year:
    owner: str
    erased: tuple[int, ...]
    facts: dict[tuple[str, str], str]
    """As they were before."""

    @property
    def reader(self) -> str:
        return database.logins_of(self.owner).reader


@pytest.fixture(scope="module")
def year(server: str, template: str) -> Iterator[Year]:
    with copied(server, template) as url:
        yield asyncio.run(_told_and_erased(url))


async def _told_and_erased(owner: str) -> Year:
    clock = simulated("2027-01-01T00:00:00Z")
    async with live(database.logins_of(owner), clock=clock) as log:
        await tell(log, clock)
        clock.set(simulated(LATE)())
        authority = {"by": (AUTHORITY, "authority"), "contract": CONTRACT}
        await log.accepted("policy.activated", **activation(KEPT, policy="records"), **authority)
        gone = await _erasable(log.reader)
        for start in range(0, len(gone), 100):
            asked = await log.say("purge.requested", entries=gone[start : start + 100], **authority)
            assert asked.outcome == "accepted", asked.receipt.decision
        facts = stored(owner)
        await _say_erased(log)
        undone = await log.reader.erasures_undone()
    assert erase_bodies(database.let_eraser_in(owner), undone) == len(gone)
    return Year(owner, tuple(gone), facts)


async def _erasable(reader: Reader) -> list[int]:
    found, after = [], -1
    while True:
        page, following = await reader.entries(Filter(after=after, contract=CONTRACT, limit=100))
        found += [one.index for one in page if one.party != "_ledger" and not is_kept(one.kind)]
        if following is None:
            return found
        after = following


async def _say_erased(log: LiveLog) -> None:
    asked = await log.reader.erasures_asked()
    refolded = await refold(log.reader, quiet, wanted={one.index for one in asked})
    for one in reversed(asked):
        erasing = erasing_of(one, await log.reader.entry(one.index), refolded.made[one.index])
        await log.sequencer.erase(erasing)
        assert erasing.refused is None


def stored(owner: str) -> dict[tuple[str, str], str]:
    """The facts, but for those that the erasure itself makes."""
    with psycopg.connect(owner) as connection:
        rows = connection.execute(
            "SELECT name, key, data::text FROM facts WHERE name NOT IN ('chain', 'erasure')"
        )
        return {(name, key): data for name, key, data in rows}


def differences(year: Year) -> list[Difference]:
    return asyncio.run(compare(year.reader, quiet))


def test_the_facts_stay_and_are_what_the_log_makes_them(year: Year) -> None:
    assert len(year.erased) > 60
    assert stored(year.owner) == year.facts
    assert differences(year) == []


def test_a_rebuild_makes_the_same_facts(year: Year) -> None:
    assert asyncio.run(replace(year.owner, year.reader, quiet)) > len(year.facts)
    assert stored(year.owner) == year.facts


def test_nothing_else_is_not_replayable(year: Year) -> None:
    outcome, facts = asyncio.run(replay_database(year.reader, quiet))
    assert outcome.difference is None, outcome.difference.lines()
    assert (outcome.withheld, facts) == (len(year.erased), [])


def test_an_export_of_it_holds_and_replays_alike(year: Year) -> None:
    file = io.BytesIO()
    asyncio.run(_export(year, file))
    file.seek(0)
    report = verify_export(file, verifier=SIGNER.verifier)
    assert (report.erased, report.withheld) == (2 * len(year.erased), 0)
    file.seek(0)
    outcome = replay_export(file, Engine())
    assert outcome.difference is None, outcome.difference.lines()
    assert outcome.withheld == len(year.erased)


async def _export(year: Year, file: io.BytesIO) -> None:
    reader = Reader(year.reader)
    await reader.open()
    try:
        head = await reader.head()
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), SIGNER)
        async with reader.stream(size=head.size) as entries:
            await write(entries, checkpoint=checkpoint, verifier=SIGNER.verifier, to=file)
    finally:
        await reader.close()


def test_bodies_that_nobody_erased_are_missed(year: Year) -> None:
    """By somebody above every trigger: the database is not trusted."""
    index = 3
    assert index not in year.erased
    with psycopg.connect(year.owner) as connection:
        connection.execute("ALTER TABLE bodies DISABLE TRIGGER ALL")
        connection.execute(
            "UPDATE bodies SET event = NULL, event_salt = NULL, decision = NULL, decision_salt = NULL"
            f" WHERE index = {index}"
        )
        for trigger in ("append_only", "erasers_only", "erased_as_said"):
            connection.execute(f"ALTER TABLE bodies ENABLE ALWAYS TRIGGER {trigger}")
    first, *_ = differences(year)
    assert str(first) == f"bodies {index}: not stored, must be there: no entry says that they were erased"
