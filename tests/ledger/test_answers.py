"""What the sequencer answers: receipts that verify, the same again for the same, and a signer that fails."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import suppress
from typing import Any

import orjson
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.database import Logins
from ledger.canonical import parse
from ledger.checkpoint import open_checkpoint
from ledger.errors import Conflict, NotFound, OutcomeUnknown, SigningFailed, Unavailable, VerificationError
from ledger.event import submission_of
from ledger.note import Signer
from ledger.receipt import Receipt
from tests.conftest import on
from tests.ledger import rfc9162
from tests.ledger.live_log import alter, audit, committed, denied, in_loop, live, submitted
from tests.ledger.sample_log import ORIGIN, SIGNER
from tests.workbench import BUYER, EXPORTER

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
            task = asyncio.create_task(log.sequencer.append(submitted(5)))
            await asyncio.sleep(0.001)
            alter(owner, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                  " 'chipledger-writer' AND datname = current_database()")  # fmt: skip
            with suppress(Unavailable, OutcomeUnknown):
                await task
        # The last connection may die while nobody uses it: then it is noticed by the next who asks.
        with suppress(Unavailable):
            await log.commit(denied())
        await log.commit(denied())
        leaves = tuple(entry.entry.leaf for entry in await log.stands())
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
