"""What falls due on a real database: said once, by any number of schedulers, after any outage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from api.database import Logins
from ledger.canonical import parse
from ledger.errors import Unavailable
from ledger.facts import Duty, Facts, Key, License
from ledger.pages import Filter
from ledger.scheduler import Scheduler
from ledger.values import parse_timestamp
from policies.engine import Engine
from tests.ledger.live_log import LiveLog, in_loop, live, simulated
from tests.workbench import CONTRACT, LICENSE, condition, policy, serials

HEARTBEAT = {
    "id": "heartbeat",
    "uses": "attestation_heartbeat",
    "clause": "a test",
    "first": "P14D",
    "every": "PT24H",
    "steps": [{"after": "PT0S", "action": "flag"}, {"after": "P4D", "action": "propose_suspension"}],
}
INSTALL = {"id": "install", "uses": "install_deadline", "clause": "a test", "within": "P30D"}
TEXT = policy(condition("quantity_cap", limit=100), obligations=[HEARTBEAT, INSTALL])
START = "2027-03-01T12:00:00Z"
DUE = "2027-03-15T11:00:00Z"  # fourteen days later, in New York, where the clocks have changed


async def installed(log: LiveLog, devices: list[str], *, standing: int | None = None) -> None:
    await log.open_contract(TEXT)
    await log.accepted("order.placed", units=len(devices))
    await log.accepted("shipment.requested", serials=devices)
    await log.accepted("shipment.dispatched", serials=devices)
    await log.accepted("delivery.received", received=devices, missing=[])
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in devices[:standing]]
    await log.accepted("device.installed", devices=racks)


async def said(log: LiveLog, kind: str) -> list[dict[str, Any]]:
    found, _ = await log.reader.entries(Filter(kind=kind))
    bodies = (entry.entry.bodies["event"] for entry in found)
    return [parse(body.value)["data"] for body in bodies if body is not None]


@in_loop
async def test_what_falls_due_is_an_entry_of_the_log(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await installed(log, serials(3), standing=2)
        scheduler = Scheduler(log.sequencer, log.reader, clock)
        size = log.sequencer.size
        clock.set(parse_timestamp("2027-03-15T10:59:59.999999Z"))
        await scheduler.fall_due()
        assert log.sequencer.size == size
        clock.set(parse_timestamp(DUE))
        await scheduler.fall_due()
        [breach] = await said(log, "obligation.breached")
        assert (breach["about"], breach["step"]) == (serials(2), 1)
        clock.set(parse_timestamp("2027-04-01T04:00:00Z"))
        await scheduler.fall_due()
        kinds = ["obligation.breached", "suspension.proposed"]
        assert [len(await said(log, kind)) for kind in kinds] == [3, 1]
        idle = (await said(log, "obligation.breached"))[-1]
        assert (idle["shortfall"], idle["subjects"]) == (1, ["SN000003"])
        assert scheduler.ran_at == clock()


@in_loop
async def test_several_schedulers_in_several_processes_say_each_step_once(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as one, live(ledger, clock=clock) as two:
        await installed(one, serials(4))
        clock.set(parse_timestamp("2027-06-01T00:00:00Z"))
        schedulers = [Scheduler(log.sequencer, log.reader, clock) for log in (one, two) for _ in range(3)]
        await asyncio.gather(*(scheduler.fall_due() for scheduler in schedulers))
        steps = Counter(
            (b["obligation"], b["due"], b["step"]) for b in await said(one, "obligation.breached")
        )
        assert set(steps.values()) == {1}
        assert [step for _, _, step in sorted(steps)] == [1, 2]
        assert len(await said(one, "suspension.proposed")) == 1
        assert len(await said(one, "obligation.satisfied")) == 1  # all of them stand in their racks


SHORT = policy(condition("quantity_cap", limit=6, at=["shipment.requested"]))


@in_loop
async def test_what_comes_back_of_a_release_is_raced_for_and_never_oversold(ledger: Logins) -> None:
    """Two processes: the end of a release, its late departure, and requests for its share, all at once."""
    clock = simulated(START)
    async with live(ledger, clock=clock) as one, live(ledger, clock=clock) as two:
        await one.open_contract(SHORT)
        await one.accepted("order.placed", units=40)
        over = {"shipment": "ENDS", "serials": serials(3), "valid_until": "2027-03-02"}
        await one.accepted("shipment.requested", **over)
        await one.accepted("shipment.requested", shipment="STAYS", serials=serials(2, first=4))
        clock.set(parse_timestamp("2027-03-05T00:00:00Z"))
        schedulers = [Scheduler(log.sequencer, log.reader, clock) for log in (one, two, one)]
        asked = [{"shipment": f"SH-{n}", "serials": serials(2, first=10 * n)} for n in range(1, 7)]
        requests = [(one, two)[n % 2].say("shipment.requested", **said) for n, said in enumerate(asked)]
        late = two.say("shipment.dispatched", shipment="ENDS", serials=serials(1))
        await asyncio.gather(*(s.fall_due() for s in schedulers), *requests, late)
        await schedulers[0].fall_due()
        found, _ = await one.reader.entries(Filter(contract=CONTRACT))
        standing: dict[str, set[str]] = {}
        expired = 0
        for entry in sorted(found, key=lambda e: e.entry.header.index):
            body = entry.entry.bodies["event"]
            assert body is not None
            event = parse(body.value)
            kind, data = event["kind"], event["data"]
            if kind == "shipment.requested" and entry.outcome != "denied":
                standing[data["shipment"]] = set(data["serials"])
                assert sum(map(len, standing.values())) <= 6
            elif kind == "shipment.expired":
                expired += 1
                standing["ENDS"] -= set(data["serials"])
            elif kind == "shipment.dispatched":
                standing["ENDS"] |= set(data["serials"])
        assert expired == 1
        license_ = await one.reader.fact(License, LICENSE)
        assert license_ is not None
        taken = sum(map(len, standing.values()))
        assert license_.released == taken
        last = await one.say("shipment.requested", shipment="LAST", serials=serials(2, first=90))
        assert last.outcome == ("accepted" if taken + 2 <= 6 else "denied")


@in_loop
async def test_more_releases_than_a_batch_holds_end_in_several(
    ledger: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one midnight: the head is held for so many devices at a time, and all are given back."""
    monkeypatch.setattr("ledger.committer.DUE_FACTS_MAX", 40)
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await log.open_contract(SHORT.replace('"limit": 6', '"limit": 100'))
        await log.accepted("order.placed", units=100)
        for number in range(4):
            devices = serials(25, first=1 + 25 * number)
            asked = {"shipment": f"SH-{number}", "serials": devices, "valid_until": "2027-03-02"}
            await log.accepted("shipment.requested", **asked)
        clock.set(parse_timestamp("2027-03-05T00:00:00Z"))
        batches = log.sequencer.batches
        scheduler = Scheduler(log.sequencer, log.reader, clock)
        await scheduler.fall_due()
        assert len(await said(log, "shipment.expired")) == 4
        assert log.sequencer.batches == batches + 4
        assert scheduler.ran_at == clock()
        license_ = await log.reader.fact(License, LICENSE)
        assert license_ is not None
        assert license_.released == 0


class AskingJudge(Engine):
    """Breaks as it is asked what a duty about SN000002 reads."""

    def due_reads(self, duty: Duty, facts: Facts) -> Iterable[Key]:
        if duty.subject == "SN000002":
            raise ZeroDivisionError("a bug of ours")
        yield from super().due_reads(duty, facts)


@in_loop
async def test_a_duty_of_which_nobody_knows_what_it_reads_keeps_no_other(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock, judge=AskingJudge()) as log:
        await installed(log, serials(3))
        clock.set(parse_timestamp(DUE))
        due = await log.reader.duties_due("2027-03-15T11:00:00.000000Z", 10)
        assert len(due) == 3
        await asyncio.gather(log.sequencer.fall_due(due), log.accepted("order.placed", order="PO-2", units=1))
        [breach] = await said(log, "obligation.breached")
        assert breach["about"] == ["SN000001", "SN000003"]
        assert await log.reader.duties_due("2027-03-15T11:00:00.000000Z", 10) == [due[1]]


@in_loop
async def test_what_is_met_before_the_lock_is_taken_is_not_late(ledger: Logins) -> None:
    """The scheduler saw the duty due; the attestation is committed first, in the same batch."""
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await installed(log, serials(1))
        clock.set(parse_timestamp(DUE))
        due = await log.reader.duties_due("2027-03-15T11:00:00.000000Z", 10)
        assert due == [f"{CONTRACT}/us-h200-china/heartbeat/SN000001"]
        attested = {"devices": [{"serial": "SN000001", "outcome": "pass"}]}
        await asyncio.gather(log.accepted("usage.attested", **attested), log.sequencer.fall_due(due))
        assert await said(log, "obligation.breached") == []
        duty = await log.reader.fact(Duty, due[0])
        assert duty is not None
        assert duty.due == "2027-03-16T11:00:00.000000Z"


@in_loop
async def test_a_simulated_clock_stops_at_every_due_instant(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await installed(log, serials(2), standing=1)
        scheduler = Scheduler(log.sequencer, log.reader, clock)
        to = parse_timestamp("2027-12-31T00:00:00Z")
        await scheduler.advance(to, clock.set)
        assert clock() == to
        found, _ = await log.reader.entries(Filter(kind="obligation.breached"))
        assert [entry.recorded_at for entry in found] == [
            parse_timestamp(at) for at in (DUE, "2027-03-19T11:00:00Z", "2027-04-01T04:00:00Z")
        ]


@in_loop
async def test_a_scheduler_that_stands_still_lets_nothing_through(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await installed(log, serials(1))
        clock.set(parse_timestamp("2030-02-10T05:00:00Z"))  # the last day of the license is over
        late = await log.say("order.placed", order="PO-2", units=1)
        assert late.outcome == "denied"
        assert await said(log, "obligation.breached") == []


@in_loop
async def test_a_scheduler_outlives_a_database_that_is_away(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        await installed(log, serials(1))
        clock.set(parse_timestamp(DUE))
        answered = asyncio.Event()
        scheduler = Scheduler(log.sequencer, _Away(log, answered), clock, interval_s=0.01)  # type: ignore[arg-type]
        scheduler.open()
        await asyncio.wait_for(answered.wait(), 10)
        await scheduler.close()
        assert len(await said(log, "obligation.breached")) == 1


class _Away:
    """A reader whose database is away the first times it is asked."""

    def __init__(self, log: LiveLog, answered: asyncio.Event) -> None:
        self.log, self.answered, self.asked = log, answered, 0

    async def duties_due(self, by: str, limit: int) -> list[str]:
        self.asked += 1
        if self.asked <= 2:
            raise Unavailable("away")
        found = await self.log.reader.duties_due(by, limit)
        if not found:
            self.answered.set()
        return found
