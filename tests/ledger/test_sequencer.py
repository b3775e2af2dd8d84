"""The committer on a real database: order, receipts, replays, faults, several processes on one log."""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.database import Logins
from ledger import tiles
from ledger.canonical import parse
from ledger.checkpoint import open_checkpoint
from ledger.decision import Decision
from ledger.entry import ZERO_HASH, Body, Entry, Header
from ledger.errors import (
    AppendFailed,
    Conflict,
    NotFound,
    OutcomeUnknown,
    QueueFull,
    RefusesToWrite,
    SigningFailed,
    Unavailable,
    VerificationError,
)
from ledger.event import Event, Submission, submission_of
from ledger.facts import Facts, Key, License, Order
from ledger.head import Head
from ledger.kinds.order import LevySettled
from ledger.loading import StoredEntry
from ledger.merkle import EMPTY_ROOT, Frontier, Growth, check_consistency, check_inclusion
from ledger.note import Signer
from ledger.pages import Filter
from ledger.reader import Reader
from ledger.receipt import Receipt
from ledger.sequencer import (
    BATCH_EVENTS_MAX,
    BEFORE_ALL,
    QUEUE_BYTES_MAX,
    QUEUE_EVENTS_MAX,
    Committed,
    Sequencer,
)
from ledger.store import LOCK_TIMEOUT_MS, WRITER_OPTIONS, NewEntry, Writer
from ledger.values import format_timestamp, parse_timestamp
from policies.engine import Engine
from policies.replay import replay_export
from tests.conftest import on
from tests.ledger import rfc9162
from tests.ledger.live_log import LiveLog, audit, denied, exported, in_loop, live, simulated, submitted
from tests.ledger.sample_log import ORIGIN, SIGNER, salt_of, signer_of
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    NOON,
    activation,
    condition,
    policy,
    wire,
)

CAPPED = policy(condition("quantity_cap", limit={"from": "license.quantity"}))


def committed(result: object) -> Committed:
    assert isinstance(result, Committed), result
    return result


def alter(owner: str, statement: str, *parameters: Any) -> None:
    """Do what only a superuser can, behind the service's back."""
    with psycopg.connect(owner) as connection:
        connection.execute(statement, parameters)


async def stands(log: LiveLog) -> list[StoredEntry]:
    return (await log.reader.entries(Filter(limit=10_000))).entries


# --- genesis --------------------------------------------------------------------------------------


@in_loop
async def test_the_first_entry_names_the_log_its_key_and_its_clock(ledger: Logins) -> None:
    async with live(ledger, clock=simulated(NOON)) as log:
        [genesis] = await stands(log)
    assert (genesis.index, genesis.kind, genesis.party) == (0, "ledger.opened", "_ledger")
    assert format_timestamp(genesis.recorded_at) == "2027-03-01T12:00:00.000000Z"
    body = genesis.entry.bodies["event"]
    assert body is not None
    assert orjson.loads(body.value)["data"] == {
        "versions": {"format": 1, "fold": 1, "engine": 1},
        "origin": ORIGIN,
        "key": str(SIGNER.verifier),
        "clock": "simulated",
        "summary_hours": 720,
    }


@in_loop
async def test_sequencers_that_open_at_once_write_one_genesis(ledger: Logins) -> None:
    reader = Reader(ledger.reader)
    await reader.open()
    rivals = [Sequencer(ledger.writer, judge=Engine(), signer=SIGNER) for _ in range(8)]
    await asyncio.gather(*(rival.open() for rival in rivals))
    assert [entry.kind for entry in (await reader.entries(Filter())).entries] == ["ledger.opened"]
    for rival in rivals:
        [result] = await rival.append(submitted(1))
        assert not committed(result).replayed
    assert (await reader.head()).size == 1 + len(rivals)
    await asyncio.gather(*(rival.close() for rival in rivals))
    await reader.close()


@in_loop
async def test_a_log_that_is_opened_again_goes_on(ledger: Logins) -> None:
    for size in (2, 3, 4):
        async with live(ledger) as log:
            receipt = (await log.commit(denied())).receipt
            assert receipt.tree_size == size


@in_loop
async def test_a_head_that_a_crash_left_empty_gets_its_genesis(ledger: Logins) -> None:
    """A crash between the row and the first entry: the next process to open writes the entry."""
    key = str(SIGNER.verifier)
    head = Head(1, 0, EMPTY_ROOT, b"", ZERO_HASH, BEFORE_ALL, 1, 1, 1, ORIGIN, key, "system")
    writer = await Writer.connect(ledger.writer)
    await writer.create_head(head)
    await writer.create_head(replace(head, size=7))  # whoever comes second changes nothing
    await writer.close()
    async with live(ledger) as log:
        assert [entry.kind for entry in await stands(log)] == ["ledger.opened"]


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
        assert len(await stands(log)) == 2


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
        assert len(await stands(log)) == 2
        alter(owner, f"UPDATE head SET {column} = 1")
        assert not (await log.commit(event)).replayed


# --- receipts -------------------------------------------------------------------------------------


@in_loop
async def test_every_receipt_verifies_and_fits_the_next(ledger: Logins) -> None:
    """Batches of every size: each receipt proves its entry, each root continues the one before."""
    async with live(ledger) as log:
        for size in (1, 2, 3, 5, 8, 13, 21, 34):
            submissions = submitted(size)
            results = [committed(r) for r in await log.sequencer.append(submissions)]
            for submission, result in zip(submissions, results, strict=True):
                held = Receipt.parse(result.receipt.encode())
                checkpoint = held.check(SIGNER.verifier, event=submission.body)
                assert checkpoint.size == held.tree_size
                with pytest.raises(VerificationError, match="the event is not the one"):
                    held.check(SIGNER.verifier, event=submission.body + b" ")
            assert [r.receipt.index for r in results] == list(range(checkpoint.size - size, checkpoint.size))
            assert len({r.receipt.checkpoint for r in results}) == 1
        assert (await log.reader.head()).root == checkpoint.root


@in_loop
async def test_requests_that_wait_together_are_committed_together(ledger: Logins) -> None:
    async with live(ledger) as log:
        before = log.sequencer.batches
        results = await asyncio.gather(*(log.commit(denied()) for _ in range(500)))
        assert log.sequencer.batches - before < 50
        assert sorted(r.receipt.index for r in results) == list(range(1, 501))


@in_loop
async def test_a_request_larger_than_a_batch_is_one_transaction(ledger: Logins) -> None:
    async with live(ledger) as log:
        results = await log.sequencer.append(submitted(BATCH_EVENTS_MAX + 1))
        assert len({committed(r).receipt.tree_size for r in results}) == 1


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
        kinds = [(e.index - first, e.kind) for e in (await stands(log))[first:]]
        assert kinds == [
            (0, "order.placed"), (1, "license.revoked"), (2, "revocation.scoped"), (3, "order.cancelled"),
        ]  # fmt: skip
        assert [committed(r).receipt.index - first for r in results] == [0, 1, 3]
        scoped = (await log.reader.entry(first + 2)).entry.bodies["event"]
        assert scoped is not None
        assert orjson.loads(scoped.value)["data"]["orders"] == ["PO-1", "PO-2"]


# --- the same again, and something else under the same id -----------------------------------------


@in_loop
async def test_the_same_event_again_is_the_same_entry(ledger: Logins) -> None:
    async with live(ledger) as log, live(ledger) as other:
        submission = submission_of(denied())
        first = committed((await log.sequencer.append([submission]))[0])
        await log.sequencer.append(submitted(300))
        for process in (log, other, log):
            again = committed((await process.sequencer.append([submission]))[0])
            assert (again.replayed, again.outcome) == (True, first.outcome)
            assert again.receipt.header == first.receipt.header
            assert again.receipt.decision == first.receipt.decision
            assert again.receipt.salts == first.receipt.salts
            assert again.receipt.check(SIGNER.verifier, event=submission.body).size == 302
        assert (await log.reader.head()).size == 302


@in_loop
async def test_the_same_event_twice_in_one_batch_is_one_entry(ledger: Logins) -> None:
    async with live(ledger) as log:
        submission, [other] = submission_of(denied()), submitted(1)
        results = await log.sequencer.append([submission, other, submission, submission])
        found = [committed(r) for r in results]
        assert [(r.receipt.index, r.replayed) for r in found] == [
            (1, False), (2, False), (1, True), (1, True),
        ]  # fmt: skip
        for one in found:
            one.receipt.check(SIGNER.verifier)


@in_loop
async def test_other_bytes_under_a_taken_id_are_a_conflict(ledger: Logins) -> None:
    """Across batches, and within one: the rest of the batch is not touched."""
    async with live(ledger) as log:
        event = denied()
        changed = {**event, "occurred_at": "2027-03-01T12:00:01Z"}
        index = (await log.commit(event)).receipt.index
        for attempt in (changed, {**changed, "contract": "0" * 8 + event["contract"][8:]}):
            [conflict, fine] = await log.append(attempt, denied())
            assert isinstance(conflict, Conflict)
            assert (conflict.party, conflict.event_id, conflict.index) == (EXPORTER, event["id"], index)
            assert str(conflict).startswith(f"id {event['id']} is taken by entry {index} of {EXPORTER}")
            committed(fine)
        once = denied()
        [first, conflict, again] = await log.append(
            once, {**once, "occurred_at": "2027-03-01T12:00:01Z"}, once
        )
        assert isinstance(conflict, Conflict)
        assert conflict.index == committed(first).receipt.index == committed(again).receipt.index


@in_loop
async def test_spelling_does_not_matter_and_meaning_does(ledger: Logins) -> None:
    """What is compared is the canonical value: order of keys and spaces are no other bytes."""
    async with live(ledger) as log:
        event = denied()
        index = (await log.commit(event)).receipt.index
        respelled = parse(orjson.dumps(dict(reversed(event.items())), option=orjson.OPT_INDENT_2))
        again = await log.commit(respelled)
        assert (again.replayed, again.receipt.index) == (True, index)
        [other] = await log.append({**event, "evidence": []})
        assert isinstance(other, Conflict)


@in_loop
async def test_an_id_is_unique_for_its_party_alone(ledger: Logins) -> None:
    """Nobody can squat the id of another."""
    async with live(ledger) as log:
        event = denied()
        theirs = {**event, "actor": {"party": BUYER, "role": "buyer"}}
        assert not (await log.commit(event)).replayed
        assert not (await log.commit(theirs)).replayed


class Statements:
    """What a connection was asked, one after another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        execute = psycopg.AsyncConnection.execute

        async def counted(connection: Any, query: Any, *rest: Any, **options: Any) -> Any:
            self.asked.append(str(query))
            return await execute(connection, query, *rest, **options)

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", counted)


@in_loop
async def test_a_thousand_replays_are_read_at_once(ledger: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the committer reads, nobody commits: one key with an old batch must not stop the rest."""
    async with live(ledger) as log:
        submissions = submitted(1_000)
        await log.sequencer.append(submissions)
        statements = Statements(monkeypatch)
        results = [committed(r) for r in await log.sequencer.append(submissions)]
        assert sum("header" in query for query in statements.asked) == 1
        assert sum("tiles" in query or "string_agg" in query for query in statements.asked) <= 5
        assert all(r.replayed for r in results)
        for result in results[::37]:
            result.receipt.check(SIGNER.verifier)


@in_loop
async def test_a_replay_waits_for_no_replica(logins: Logins, owner: str, server: str) -> None:
    """What is read stands where it was written: readers that lag by the whole log change no answer."""
    submissions = submitted(300)
    name = psycopg.conninfo.conninfo_to_dict(owner)["dbname"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}_behind TEMPLATE {name}")
    try:
        async with live(logins, reader_url=on(logins.reader, f"{name}_behind")) as log:
            first = [committed(r) for r in await log.sequencer.append(submissions)]
            for known in (submissions[:1], submissions[250:], [*submitted(1), submissions[3]]):
                for result in map(committed, await log.sequencer.append(known)):
                    result.receipt.check(SIGNER.verifier)
            [again] = await log.sequencer.append(submissions[:1])
            assert committed(again).replayed
            assert committed(again).receipt.header == first[0].receipt.header
            with pytest.raises(NotFound):
                await log.reader.head()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}_behind WITH (FORCE)")
    await audit(logins)


@in_loop
async def test_a_replay_of_what_the_database_lost_says_so_and_spoils_no_other(
    logins: Logins, owner: str
) -> None:
    """The id is taken and half of the entry is gone: an integrity error, of that event alone."""
    async with live(logins) as log:
        [known] = submitted(1)
        await log.sequencer.append([known])
        alter(
            owner,
            "ALTER TABLE tiles DISABLE TRIGGER ALL; ALTER TABLE entries DISABLE TRIGGER ALL;"
            "UPDATE entries SET leaf = '' WHERE index = 0",
        )
        broken, fine = await log.sequencer.append([known, *submitted(1)])
        assert isinstance(broken, VerificationError)
        assert not committed(fine).replayed


@in_loop
async def test_what_is_appended_while_a_page_is_read_is_on_a_later_one(
    ledger: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a page's look for what matches and its look for where it ends, one more entry matches."""
    monkeypatch.setattr("ledger.pages.SCANNED_MAX", 5)
    execute = psycopg.AsyncConnection.execute
    async with live(ledger) as log:
        await log.sequencer.append(submitted(3))

        async def late(connection: Any, query: Any, *rest: Any, **options: Any) -> Any:
            if "OFFSET" in str(query):
                await log.sequencer.append(submitted(1))
            return await execute(connection, query, *rest, **options)

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", late)
        page = await log.reader.entries(Filter(kind="levy.settled"))
        assert [entry.index for entry in page.entries] == [1, 2, 3]
        assert page.following is None
        assert (await log.reader.head()).size == 5


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
        cited = [(e.index, e.event_id) for e in await stands(log)][-1]
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


# --- the queue ------------------------------------------------------------------------------------


@contextmanager
def held(owner: str) -> Iterator[Callable[[], None]]:
    """The head is locked by somebody else, until the block ends or it is called."""
    with psycopg.connect(owner) as holder:
        holder.execute("SELECT 1 FROM head WHERE id = 1 FOR UPDATE")
        yield holder.rollback


async def taken(log: LiveLog) -> None:
    """Until the committer has taken what was queued."""
    while log.sequencer.queued:  # noqa: ASYNC110 - nobody tells when
        await asyncio.sleep(0.001)


def asked(log: LiveLog, submissions: list[Submission]) -> asyncio.Task[Any]:
    return asyncio.create_task(log.sequencer.append(submissions))


@in_loop
async def test_the_queue_holds_so_many_events_and_no_more(ledger: Logins, owner: str) -> None:
    [one] = submitted(1)
    async with live(ledger) as log:
        with held(owner) as release:
            first = asked(log, submitted(1))
            await asyncio.sleep(0)
            await taken(log)
            full = asked(log, [one] * QUEUE_EVENTS_MAX)
            await asyncio.sleep(0)
            assert log.sequencer.queued == QUEUE_EVENTS_MAX
            with pytest.raises(QueueFull, match=f"{QUEUE_EVENTS_MAX} events are waiting to be committed"):
                await log.sequencer.append(submitted(1))
            release()
            assert len(await first) == 1
            assert len({committed(r).receipt.index for r in await full}) == 1
        await log.commit(denied())
        assert log.sequencer.queued == 0
        assert (await log.reader.head()).size == 4, "what was refused was not taken"


@in_loop
async def test_the_queue_holds_so_many_bytes_and_no_more(ledger: Logins, owner: str) -> None:
    big = submission_of(wire("policy.activated", contract=CONTRACT, **activation("🂡" * 200_000)))
    async with live(ledger) as log:
        with held(owner) as release:
            first = asked(log, submitted(1))
            await asyncio.sleep(0)
            await taken(log)
            full = asked(log, [big] * (QUEUE_BYTES_MAX // len(big.body)))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match="events are waiting"):
                await log.sequencer.append([big])
            release()
            await first
            await full
        assert not committed((await log.sequencer.append(submitted(1)))[0]).replayed


@in_loop
async def test_close_finishes_what_was_taken_and_takes_nothing_new(ledger: Logins, owner: str) -> None:
    async with live(ledger) as log:
        with held(owner) as release:
            waiting = [asked(log, submitted(3)) for _ in range(20)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(log.sequencer.close())
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="the service is shutting down"):
                await log.sequencer.append(submitted(1))
            release()
            await closing
        assert all(task.done() for task in waiting)
        for task in waiting:
            for result in await task:
                committed(result).receipt.check(SIGNER.verifier)
        assert (await log.reader.head()).size == 61


@in_loop
async def test_a_waiter_that_goes_away_disturbs_nobody(ledger: Logins, owner: str) -> None:
    """Its events are committed all the same, or not at all; a client that asks again finds out."""
    async with live(ledger) as log:
        batches = [submitted(3) for _ in range(10)]
        with held(owner) as release:
            tasks = [asked(log, batch) for batch in batches]
            await asyncio.sleep(0.05)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.sleep(0)
            release()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(a, asyncio.CancelledError) for a in answers] == [True, False] * 5
        for batch, answer in zip(batches, answers, strict=True):
            again = [committed(r) for r in await log.sequencer.append(batch)]
            assert len({r.replayed for r in again}) == 1, "half of a request was committed"
            if isinstance(answer, list):
                assert [committed(r).receipt.header for r in answer] == [r.receipt.header for r in again]
        assert (await log.reader.head()).size == 31


@in_loop
async def test_the_head_held_for_too_long_is_said_and_nothing_is_written(
    ledger: Logins, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = WRITER_OPTIONS.replace(f"lock_timeout={LOCK_TIMEOUT_MS}", "lock_timeout=200")
    monkeypatch.setattr("ledger.store.WRITER_OPTIONS", impatient)
    async with live(ledger) as log:
        event = denied()
        with held(owner), pytest.raises(Unavailable, match="another process holds the head for too long"):
            await log.append(event)
        assert not (await log.commit(event)).replayed


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


# --- time -----------------------------------------------------------------------------------------


async def times(log: LiveLog) -> list[datetime]:
    found = [entry.recorded_at for entry in await stands(log)]
    assert found == sorted(found), "recorded_at ran backwards"
    return found


@in_loop
async def test_a_simulated_clock_that_is_set_back_does_not_turn_back_the_log(ledger: Logins) -> None:
    now = [parse_timestamp(NOON)]
    async with live(ledger, clock=lambda: now[0]) as log:
        for hours in (0, 2, -24, 1, 3):
            now[0] = parse_timestamp(NOON) + timedelta(hours=hours)
            await log.commit(denied())
        found = await times(log)
    assert [(t - found[0]) // timedelta(hours=1) for t in found] == [0, 0, 2, 2, 2, 3]


@in_loop
async def test_a_database_clock_that_stepped_back_a_little_is_waited_out(ledger: Logins, owner: str) -> None:
    async with live(ledger) as log:
        alter(owner, "UPDATE head SET recorded_at = clock_timestamp() + interval '4 minutes'")
        head = await log.reader.head()
        await log.commit(denied())
        assert (await times(log))[-1] == head.recorded_at


@in_loop
async def test_a_database_clock_that_is_far_behind_stops_the_log(ledger: Logins, owner: str) -> None:
    async with live(ledger) as log:
        await log.commit(denied())
        alter(owner, "UPDATE head SET recorded_at = recorded_at + interval '1 day'")
        words = (
            r"the database's clock is 23:59:\S+ behind the last entry, must not be more than 0:05:00;"
            " set the clock right"
        )
        event = denied()
        for _ in range(2):
            with pytest.raises(Unavailable, match=words):
                await log.append(event)
        assert len(await stands(log)) == 2
        alter(owner, "UPDATE head SET recorded_at = recorded_at - interval '1 day'")
        assert not (await log.commit(event)).replayed


@in_loop
async def test_a_server_that_takes_no_writes_is_passed_by_and_said(ledger: Logins, owner: str) -> None:
    """A standby, as libpq sees it; where the URL names several hosts, the next one is tried."""
    base = psycopg.conninfo.conninfo_to_dict(owner)["dbname"]
    event = denied()
    async with live(ledger) as log:
        alter(owner, f"ALTER DATABASE {base} SET default_transaction_read_only = on")
        with pytest.raises(Unavailable, match="session is read-only"):
            await Writer.connect(ledger.writer)
        await log.sequencer._disconnect()
        with pytest.raises(Unavailable, match="the database cannot be reached; nothing was committed"):
            await log.append(event)
        with psycopg.connect(owner, options="-c default_transaction_read_only=off") as connection:
            connection.execute(f"ALTER DATABASE {base} RESET default_transaction_read_only")
        assert not (await log.commit(event)).replayed


@pytest.mark.parametrize("jump", ["1 hour", "-1 hour", "1 day", "-1 day"])
@in_loop
async def test_a_database_clock_that_jumps_stops_the_log_until_it_is_right(
    ledger: Logins, owner: str, jump: str
) -> None:
    """Ahead too: what is recorded tomorrow would stand for ever, and stop the log until tomorrow."""
    event = denied()
    async with live(ledger) as log:
        await log.commit(denied())
    base = psycopg.conninfo.conninfo_to_dict(owner)["dbname"]
    alter(owner, "CREATE SCHEMA wrong; GRANT USAGE ON SCHEMA wrong TO PUBLIC")
    alter(
        owner,
        "CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        f" AS $$ SELECT pg_catalog.clock_timestamp() + interval '{jump}' $$",
    )
    alter(owner, f"ALTER DATABASE {base} SET search_path = wrong, pg_catalog, public")
    direction = "behind" if jump.startswith("-") else "ahead of"
    async with live(ledger) as log:
        for _ in range(2):
            with pytest.raises(Unavailable, match=rf"the database's clock is .* {direction} this machine's"):
                await log.append(event)
        assert len(await stands(log)) == 2
    alter(owner, f"ALTER DATABASE {base} RESET search_path")
    async with live(ledger) as log:
        assert not (await log.commit(event)).replayed


# --- the tree -------------------------------------------------------------------------------------


async def proof_of(
    reader: Reader, wanted: set[tiles.Coordinates], prove: Callable[[tiles.Read], list[bytes]]
) -> list[bytes]:
    found = await reader.hashes(wanted)
    return prove(lambda level, n, width: found[tiles.Coordinates(level, n, width)])


@in_loop
async def test_any_old_proof_can_be_read_back(ledger: Logins) -> None:
    """Out of tiles that batches of odd sizes completed; the oracle is the recursion of the RFC."""
    async with live(ledger) as log:
        for size in (1, 253, 1, 1, 1, 250, 5, 2, 260, 9):
            await log.sequencer.append(submitted(size))
        entries = await stands(log)
        leaves = tuple(entry.entry.leaf for entry in entries)
        assert len(leaves) == 784
        edges = {1, 2, 3, 254, 255, 256, 257, 258, 511, 512, 513, 767, 768, 769, 783, 784}
        dice = random.Random(5)
        sizes = sorted(edges | {dice.randrange(1, 785) for _ in range(20)})
        for size in sizes:
            head = rfc9162.mth(leaves[:size])
            for index in {0, size // 2, size - 1, dice.randrange(size)}:
                proof = await proof_of(
                    log.reader,
                    tiles.tiles_for_inclusion(index, size),
                    lambda read, i=index, s=size: tiles.prove_inclusion(i, s, read),  # type: ignore[misc]
                )
                assert proof == rfc9162.path(index, leaves[:size])
                check_inclusion(proof, leaf_hash=leaves[index], index=index, tree_size=size, root=head)
            old = dice.choice([s for s in sizes if s <= size])
            proof = await proof_of(
                log.reader,
                tiles.tiles_for_consistency(old, size),
                lambda read, o=old, s=size: tiles.prove_consistency(o, s, read),  # type: ignore[misc]
            )
            assert proof == ([] if old == size else rfc9162.proof(old, leaves[:size]))
            old_root = rfc9162.mth(leaves[:old])
            check_consistency(proof, old_size=old, old_root=old_root, new_size=size, new_root=head)
    with psycopg.connect(ledger.reader) as connection:
        found = connection.execute("SELECT level, n, hashes, root FROM tiles ORDER BY n").fetchall()
    assert found == [
        (0, n, b"".join(leaves[n * 256 : n * 256 + 256]), rfc9162.mth(leaves[n * 256 : n * 256 + 256]))
        for n in range(3)
    ]


@in_loop
async def test_a_tile_of_the_second_level_is_completed_too(logins: Logins) -> None:
    """65,536 entries, written as the sequencer writes them, without the cost of judging each."""
    async with live(logins):
        pass
    writer = await Writer.connect(logins.writer)
    size, written = 1, 65_536 + 300
    while size < written:
        locked = await writer.begin([], [])
        assert locked is not None
        until, at = min(size + 8_000, written), locked.head.recorded_at
        entries = [_plain(index, at) for index in range(size, until)]
        old = Frontier.from_bytes(size, locked.head.frontier)
        growth = Growth(old, [new.entry.leaf for new in entries])
        completed = [(level, n, growth.node(8 * (level + 1), n)) for level, n in tiles.filled(size, until)]
        frontier = growth.frontier().to_bytes()
        head = replace(locked.head, size=until, root=growth.root, frontier=frontier)
        await writer.write(entries, [], completed, locked=locked.head, head=head)
        await writer.commit()
        size = until
    assert completed[-1][:2] == (1, 0)
    await writer.close()
    reader = Reader(logins.reader)
    await reader.open()
    for index in (0, 255, 65_535, 65_536, growth.size - 1):
        proof = await proof_of(
            reader,
            tiles.tiles_for_inclusion(index, growth.size),
            lambda read, i=index: tiles.prove_inclusion(i, growth.size, read),  # type: ignore[misc]
        )
        leaf = (await reader.entry(index)).entry.leaf
        check_inclusion(proof, leaf_hash=leaf, index=index, tree_size=growth.size, root=growth.root)
    await reader.close()


def _plain(index: int, at: datetime) -> NewEntry:
    """An entry of a log that nobody will verify but for its leaves."""
    body = Body(salt_of(0, "event"), b"{}")
    header = Header(
        index=index,
        previous=ZERO_HASH,
        contract=CONTRACT,
        contract_index=index,
        contract_previous=ZERO_HASH,
        recorded_at=format_timestamp(at),
        decision=ZERO_HASH,
        event=ZERO_HASH,
    )
    return NewEntry(
        entry=Entry.build(header, {"event": body, "decision": body}),
        kind="levy.settled",
        party=EXPORTER,
        event_id=str(UUID(int=index)),
        outcome="denied",
        serials=(),
        at=at,
    )


# --- the signer -----------------------------------------------------------------------------------


class FailingSigner(Signer):
    broken = False

    def sign(self, text: str) -> bytes:
        if self.broken:
            raise ConnectionError("the key is in a module that does not answer")
        return super().sign(text)


@in_loop
async def test_a_signer_that_fails_after_the_commit_loses_nothing(ledger: Logins) -> None:
    signer = FailingSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    submissions = submitted(3)
    async with live(ledger, signer=signer) as log:
        signer.broken = True
        for _ in range(2):  # the second time there is nothing new to commit
            with pytest.raises(SigningFailed, match="committed, but the checkpoint could not be signed"):
                await log.sequencer.append(submissions)
        assert (await log.reader.head()).size == 4
        signer.broken = False
        for submission, result in zip(submissions, await log.sequencer.append(submissions), strict=True):
            assert committed(result).replayed
            committed(result).receipt.check(SIGNER.verifier, event=submission.body)


@in_loop
async def test_a_signed_checkpoint_is_of_a_head_that_stands(ledger: Logins, owner: str) -> None:
    """The connection dies under every other batch: what was signed is always a prefix of the log."""
    signed: list[str] = []

    class Recording(Signer):
        def sign(self, text: str) -> bytes:
            signed.append(text)
            return super().sign(text)

    signer = Recording(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    async with live(ledger, signer=signer) as log:
        for _ in range(20):
            task = asked(log, submitted(5))
            await asyncio.sleep(0.001)
            alter(owner, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                  " 'chipledger-writer' AND datname = current_database()")  # fmt: skip
            with suppress(Unavailable, OutcomeUnknown):
                await task
        # The last connection may die while nobody uses it: then it is noticed by the next who asks.
        with suppress(Unavailable):
            await log.commit(denied())
        await log.commit(denied())
        leaves = tuple(entry.entry.leaf for entry in await stands(log))
    for text in signed:
        origin, size, root = text.splitlines()
        assert (origin, root) == (ORIGIN, b64encode(rfc9162.mth(leaves[: int(size)])).decode())


@in_loop
async def test_the_checkpoint_in_a_receipt_is_of_the_log(ledger: Logins) -> None:
    async with live(ledger) as log:
        receipt = (await log.commit(denied())).receipt
        head = await log.reader.head()
        checkpoint = open_checkpoint(receipt.checkpoint, SIGNER.verifier, ORIGIN)
        assert (checkpoint.size, checkpoint.root) == (head.size, head.root)
