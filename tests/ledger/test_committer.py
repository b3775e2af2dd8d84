"""One transaction on a real database: who may not write, what one event may spoil, several processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import orjson
import pytest

from api.database import Logins
from ledger.decision import Decision
from ledger.errors import AppendFailed, RefusesToWrite
from ledger.event import Event
from ledger.facts import Facts, Key, License, Order
from ledger.kinds.order import LevySettled
from policies.engine import Engine
from policies.exported import replay_export
from tests.ledger.live_log import alter, committed, denied, exported, in_loop, live, simulated, submitted
from tests.ledger.sample_log import signer_of
from tests.workbench import BUYER, CONTRACT, EXPORTER, LICENSE, NOON, condition, policy, wire

CAPPED = policy(condition("quantity_cap", limit={"from": "license.quantity"}))


# --- who may not write ----------------------------------------------------------------------------


class OtherEngine(Engine):
    @property
    def engine(self) -> int:
        return 99


STRANGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "origin": (r"the origin of the log is ledger\.example/h200, of this process other\.example/log",
               {"signer": signer_of(1, "other.example/log")}),
    "checkpoint key": (r"the checkpoint key of the log is ", {"signer": signer_of(2)}),
    "engine version": (r"the engine version of the log is 1, of this process 99", {"judge": OtherEngine()}),
    "clock": (r"the clock of the log is system, of this process simulated", {"clock": simulated(NOON)}),
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGERS)
@in_loop
async def test_a_process_that_differs_from_the_log_refuses_to_write(ledger: Logins, what: str) -> None:
    words, given = STRANGERS[what]
    async with live(ledger) as log:
        await log.commit(denied())
        with pytest.raises(RefusesToWrite, match=words):
            async with live(ledger, **given):
                pass
        assert len(await log.stands()) == 2


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("format", "the entry format of the log is 99, of this process 1"),
        ("fold", "the fold version of the log is 99, of this process 1"),
        ("engine", "the engine version of the log is 99, of this process 1"),
    ],
)
@in_loop
async def test_a_process_stops_writing_when_another_upgrades_the_log(
    ledger: Logins, owner: str, column: str, words: str
) -> None:
    """It has slept through the upgrade: found under the lock, before anything is written."""
    async with live(ledger) as log:
        await log.commit(denied())
        alter(owner, f"UPDATE head SET {column} = 99")
        event = denied()
        with pytest.raises(RefusesToWrite, match=words):
            await log.append(event)
        assert len(await log.stands()) == 2
        alter(owner, f"UPDATE head SET {column} = 1")
        assert not (await log.commit(event)).replayed


# --- one event after another ----------------------------------------------------------------------


@in_loop
async def test_an_event_is_judged_on_the_facts_of_those_before_it_in_its_batch(ledger: Logins) -> None:
    async with live(ledger, clock=simulated(NOON)) as log:
        await log.open_contract(CAPPED, quantity=10)
        orders = [wire("order.placed", order=f"PO-{n}", units=4) for n in range(4)]
        outcomes = [committed(r).outcome for r in await log.append(*orders)]
        assert outcomes == ["accepted", "accepted", "denied", "denied"]


@in_loop
async def test_what_the_ledger_says_stands_right_behind_its_cause(ledger: Logins) -> None:
    """A revocation between two other events of one batch, by another process than the orders'."""
    async with live(ledger, clock=simulated(NOON)) as log, live(ledger, clock=simulated(NOON)) as other:
        await log.open_contract(CAPPED)
        await log.accepted("order.placed", order="PO-1", units=3)
        results = await other.append(
            wire("order.placed", order="PO-2", units=4),
            wire("license.revoked"),
            wire("order.cancelled", order="PO-1"),
        )
        first = committed(results[0]).receipt.index
        kinds = [(e.index - first, e.kind) for e in (await log.stands())[first:]]
        assert kinds == [
            (0, "order.placed"), (1, "license.revoked"), (2, "revocation.scoped"), (3, "order.cancelled"),
        ]  # fmt: skip
        assert [committed(r).receipt.index - first for r in results] == [0, 1, 3]
        scoped = (await log.reader.entry(first + 2)).entry.bodies["event"]
        assert scoped is not None
        assert orjson.loads(scoped.value)["data"]["orders"] == ["PO-1", "PO-2"]


# --- one event that breaks something of ours ------------------------------------------------------


class FaultyJudge(Engine):
    """Raises for the events whose id or kind is `bad`, after it has judged them."""

    def __init__(self, bad: Collection[str]) -> None:
        super().__init__()
        self.bad = bad

    def judge(self, event: Event, facts: Facts, *, at: datetime) -> Decision:
        decision = super().judge(event, facts, at=at)
        if event.id in self.bad or event.kind in self.bad:
            raise ZeroDivisionError("a bug of ours")
        return decision


@in_loop
async def test_an_event_that_cannot_be_judged_fails_alone(ledger: Logins) -> None:
    orders = [wire("order.placed", order=f"PO-{n}", units=4) for n in range(4)]
    judge = FaultyJudge([orders[1]["id"]])
    async with live(ledger, judge=judge, clock=simulated(NOON)) as log:
        await log.open_contract(CAPPED, quantity=10)
        results = await log.append(*orders)
        assert isinstance(results[1], AppendFailed)
        assert orders[1]["id"] in str(results[1])
        outcomes = [committed(results[n]).outcome for n in (0, 2, 3)]
        assert outcomes == ["accepted", "accepted", "denied"], "its 4 units count for nothing"
        assert await log.reader.fact(Order, f"{CONTRACT}/PO-1") is None
        license_ = await log.reader.fact(License, LICENSE)
        assert license_ is not None
        assert license_.ordered == 8
        # The id is not taken: once the bug is gone, the same event is judged.
        judge.bad = ()
        assert (await log.commit(orders[1])).outcome == "denied"


class AskingJudge(Engine):
    """Breaks as it is asked what it reads: of an event `at once`, of one `later`, once facts are loaded."""

    def __init__(self, at_once: str, later: str) -> None:
        super().__init__()
        self.at_once, self.later = at_once, later

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        if event.id == self.at_once or (event.id == self.later and facts.loaded((License.name, LICENSE))):
            raise ZeroDivisionError("a bug of ours")
        yield License.name, LICENSE
        yield from super().reads(event, facts)


@in_loop
async def test_an_event_of_which_nobody_knows_what_it_reads_fails_alone(ledger: Logins) -> None:
    fine, at_once, later, also_fine = submitted(4)
    async with live(ledger, judge=AskingJudge(at_once.event.id, later.event.id)) as log:
        for _ in range(2):  # the second time its facts are in the cache
            first, *broken, last = await log.sequencer.append([fine, at_once, later, also_fine])
            assert [type(one) for one in broken] == [AppendFailed, AppendFailed]
            assert [committed(one).receipt.index for one in (first, last)] == [1, 2]
        assert (await log.reader.head()).size == 3
    async with live(ledger) as log:  # once the bug is mended the same ids are free
        results = await log.sequencer.append([at_once, later])
        assert [committed(r).receipt.index for r in results] == [3, 4]


@in_loop
async def test_an_event_that_cannot_be_folded_leaves_no_trace(
    ledger: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails half-way, with facts changed and an entry built: neither may be left."""
    orders = [wire("levy.settled", order="PO-1", amount={"amount": f"{n}.00", "currency": "USD"})
              for n in (1, 20, 300)]  # fmt: skip
    whole = LevySettled.fold

    def half(self: LevySettled, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        whole(self, event, facts, index=index, at=at)
        if event.id == orders[1]["id"]:
            raise KeyError("a bug of ours")

    monkeypatch.setattr(LevySettled, "fold", half)
    async with live(ledger, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        await log.accepted("order.placed", order="PO-1")
        results = await log.append(*orders, denied())
        assert isinstance(results[1], AppendFailed)
        assert [committed(results[n]).receipt.index for n in (0, 2, 3)] == [7, 8, 9]
        order = await log.reader.fact(Order, f"{CONTRACT}/PO-1")
        assert order is not None
        assert str(order.levied) == "301.00"


@in_loop
async def test_an_event_whose_consequence_cannot_be_judged_leaves_no_trace(ledger: Logins) -> None:
    """Its own entry is built when the ledger's word behind it fails: no index, no link of a chain is lost."""
    async with live(ledger, judge=FaultyJudge(["revocation.scoped"]), clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        results = await log.append(denied(), wire("license.revoked"), wire("order.placed", order="PO-1"))
        assert isinstance(results[1], AppendFailed)
        assert [committed(results[n]).receipt.index for n in (0, 2)] == [6, 7]
        assert committed(results[2]).outcome == "accepted"
        license_ = await log.reader.fact(License, LICENSE)
        assert license_ is not None
        assert (license_.state, license_.ordered) == ("active", 1000)


@in_loop
async def test_a_batch_of_which_nothing_can_be_judged_writes_nothing(ledger: Logins) -> None:
    events = [denied() for _ in range(3)]
    async with live(ledger, judge=FaultyJudge([e["id"] for e in events])) as log:
        results = await log.append(*events)
        assert all(isinstance(r, AppendFailed) for r in results)
        assert (await log.reader.head()).size == 1
        assert (await log.commit(denied())).receipt.index == 1


@in_loop
async def test_a_long_chain_of_corrections_stops_nobody(ledger: Logins) -> None:
    """Each cites the correction before it. To walk the chain took a round trip a step under the lock,
    and past Python's depth of recursion it failed every batch that it came in."""
    async with live(ledger, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        cited = [(e.index, e.event_id) for e in await log.stands()][-1]
        chain = []
        for _ in range(1_200):
            said = wire("event.declared_in_error", by=(EXPORTER, "exporter"), index=cited[0], id=cited[1])
            chain.append(said)
            cited = cited[0] + 1, said["id"]
        await log.append(*chain)
    async with live(ledger, clock=simulated(NOON)) as log:
        last = wire("event.declared_in_error", by=(EXPORTER, "exporter"), index=cited[0], id=cited[1])
        results = await log.append(last, denied())
        assert [committed(r).outcome for r in results] == ["denied", "denied"]
        assert b"correction.was_denied" in committed(results[0]).receipt.decision


# --- two processes --------------------------------------------------------------------------------


@in_loop
async def test_processes_take_turns_against_one_cap(ledger: Logins) -> None:
    """Each must see what the other ordered: it forgets its facts whenever the head has moved."""
    clock = simulated(NOON)
    async with live(ledger, clock=clock) as one, live(ledger, clock=clock) as other:
        await one.open_contract(CAPPED, quantity=10)
        outcomes = []
        for n in range(14):
            process = (one, other)[n % 2]
            outcomes.append((await process.say("order.placed", order=f"PO-{n}", units=1)).outcome)
        assert outcomes == ["accepted"] * 10 + ["denied"] * 4


@in_loop
async def test_processes_that_race_do_not_oversell(ledger: Logins) -> None:
    clock = simulated(NOON)
    async with live(ledger, clock=clock) as a, live(ledger, clock=clock) as b, live(ledger, clock=clock) as c:
        await a.open_contract(CAPPED, quantity=40)
        orders = [wire("order.placed", order=f"PO-{n}", units=1) for n in range(100)]
        results = await asyncio.gather(*((a, b, c)[n % 3].commit(o) for n, o in enumerate(orders)))
        assert sorted(r.outcome for r in results) == ["accepted"] * 40 + ["denied"] * 60
        license_ = await a.reader.fact(License, LICENSE)
        assert license_ is not None
        assert license_.ordered == 40


@in_loop
async def test_a_correction_of_what_another_process_wrote_is_found(ledger: Logins) -> None:
    """First asked for when it is not there, then written by somebody else, then asked for again."""
    clock = simulated(NOON)
    async with live(ledger, clock=clock) as one, live(ledger, clock=clock) as other:
        await one.open_contract(policy())
        order = wire("order.placed", order="PO-1", units=3)
        index = (await one.reader.head()).size + 1
        said = {"index": index, "id": order["id"], "by": (BUYER, "buyer")}
        early = await one.say("event.declared_in_error", **said)
        assert b"correction.unknown" in early.receipt.decision
        assert (await other.commit(order)).receipt.index == index
        assert (await one.accepted("event.declared_in_error", **said)).outcome == "accepted"
        license_ = await one.reader.fact(License, LICENSE)
        assert license_ is not None
        assert license_.ordered == 0


# --- what cites an entry of its own batch ---------------------------------------------------------


@in_loop
async def test_a_correction_may_stand_behind_its_mistake_in_one_batch(ledger: Logins) -> None:
    async with live(ledger, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        order = wire("order.placed", order="PO-1", units=3)
        size = (await log.reader.head()).size
        said: dict[str, Any] = {"id": order["id"], "by": (BUYER, "buyer")}
        too_early = wire("event.declared_in_error", index=size + 1, **said)
        results = await log.append(too_early, order, wire("event.declared_in_error", index=size + 1, **said))
        assert [committed(r).outcome for r in results] == ["denied", "accepted", "accepted"]


@in_loop
async def test_an_attempt_is_tried_again_in_its_own_batch_and_after_it(ledger: Logins) -> None:
    async with live(ledger, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        await log.accepted("order.placed", order="PO-1", units=3)
        refused = wire("order.placed", order="PO-1", units=3)
        too_early = wire("order.placed", order="PO-2", units=3, retries=refused["id"])
        again = wire("order.placed", order="PO-2", units=3, retries=refused["id"])
        results = await log.append(too_early, refused, again)
        assert [committed(r).outcome for r in results] == ["denied", "denied", "accepted"]
        later = wire("order.placed", order="PO-3", units=3, retries=refused["id"])
        assert (await log.commit(later)).outcome == "accepted"
        theirs = wire("order.placed", order="PO-4", by=(EXPORTER, "exporter"), retries=refused["id"])
        assert (await log.commit(theirs)).outcome == "denied"
    assert replay_export(await exported(ledger), Engine()).difference is None
