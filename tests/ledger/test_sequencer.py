"""The sequencer on a real database: what waits is committed together, the queue, the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from api.database import Logins
from ledger import sequencer
from ledger.errors import QueueFull, Unavailable
from ledger.event import Submission, submission_of
from ledger.sequencer import BATCH_EVENTS_MAX, QUEUE_BYTES_MAX, QUEUE_EVENTS_MAX
from ledger.store import LOCK_TIMEOUT_MS, WRITER_OPTIONS, Writer
from tests.ledger.live_log import LiveLog, alter, committed, denied, in_loop, live, submitted
from tests.ledger.sample_log import SIGNER
from tests.workbench import CONTRACT, activation, wire


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


@pytest.mark.parametrize(("limit", "items"), [("BATCH_EVENTS_MAX", 2), ("BATCH_BYTES_MAX", 3)])
@in_loop
async def test_a_batch_takes_in_order_what_fits(
    ledger: Logins, owner: str, monkeypatch: pytest.MonkeyPatch, limit: str, items: int
) -> None:
    pairs = [submitted(2) for _ in range(7)]
    each = {"BATCH_EVENTS_MAX": 2, "BATCH_BYTES_MAX": sum(len(one.body) for one in pairs[0])}[limit]
    monkeypatch.setattr(sequencer, limit, items * each + 1)
    async with live(ledger) as log:
        with held(owner) as release:
            first = asked(log, submitted(1))
            await asyncio.sleep(0)
            await taken(log)
            waiting = [asked(log, pair) for pair in pairs]
            await asyncio.sleep(0)
            release()
            await first
            results = [committed(result) for answer in await asyncio.gather(*waiting) for result in answer]
    assert [one.receipt.index for one in results] == list(range(2, 16))
    ends = [min((number // items + 1) * items, 7) for number in range(7)]
    assert [one.receipt.tree_size for one in results[::2]] == [2 + 2 * end for end in ends]


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


# --- the connection -------------------------------------------------------------------------------


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
