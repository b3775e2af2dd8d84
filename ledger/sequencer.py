"""The committer: a queue of events becomes entries, one transaction for whatever has arrived.

Any number of processes may each run one on the same database; the head row orders them. There is no
timer: while one batch commits, the next one gathers. An answer is given after the commit, never before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg
import structlog

from ledger import tiles
from ledger.batch import Batch
from ledger.checkpoint_store import CheckpointStore
from ledger.decision import Judge
from ledger.entry import FORMAT, ZERO_HASH
from ledger.erasure import Erasing
from ledger.errors import (
    AppendFailed,
    Conflict,
    Erased,
    LedgerError,
    OutcomeUnknown,
    QueueFull,
    RefusesToWrite,
    SigningFailed,
    Unavailable,
    VerificationError,
)
from ledger.event import LEDGER_CONTRACT, Submission
from ledger.facts import (
    FOLD_VERSION,
    LOOKED_UP,
    Chain,
    Contract,
    Erasure,
    Fact,
    Facts,
    Key,
    Recorded,
    erasure_key,
)
from ledger.fold import Entailed, due_needs, missing, own_submission
from ledger.head import Head
from ledger.kinds.ledger import LedgerOpened
from ledger.loading import StoredEntry, entries_at, load_tiles
from ledger.merkle import EMPTY_ROOT, Growth
from ledger.note import Signer
from ledger.receipt import Receipt
from ledger.store import Locked, NewEntry, Writer

BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 4 << 20
"""Large events take seconds to judge, and whoever holds the head for too long is cut off."""
QUEUE_EVENTS_MAX = 10_000
QUEUE_BYTES_MAX = 64 << 20
WRITTEN_AHEAD = 64
"""Entries that are worth a message of their own: the database inserts them while the next are judged."""
DUE_FACTS_MAX = 50_000
"""Of the duties of one batch: releases of a million devices may end at one midnight."""
CACHED_FACTS_MAX = 200_000
TRANSACTION_S_MAX = 30.0
"""After the database's own limits, which are shorter: for when it does not keep them."""
CLOCK_STEP_BACK_MAX = timedelta(minutes=5)
CLOCK_SKEW_MAX = timedelta(minutes=5)
"""Between the database's clock and ours. An entry from the future stands for ever, makes duties late that
are not, and stops the log until that time has come."""
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""Time of the empty log: the first entry takes its time from the clock, under the lock."""

SUMMARY_HOURS = 24
SUMMARY_HOURS_SIMULATED = 30 * 24
"""How often the ledger says how every chain ends. A simulation has years, and few entries in them."""

Clock = Callable[[], datetime]
log = structlog.get_logger(__name__)


class Committed(NamedTuple):
    """An event stands in the log: as a new entry, or since an earlier request (`replayed`)."""

    receipt: Receipt
    outcome: str
    replayed: bool


Result = Committed | LedgerError
"""Of one event: Conflict, AppendFailed, or why what stands cannot be read. Others fail the whole batch."""


@dataclass(slots=True)
class _Item:
    """What one request brought: one event, or a batch that is committed in order, together."""

    submissions: Sequence[Submission]
    answer: asyncio.Future[list[Result]]
    duties: Sequence[str] = ()
    """Keys of duties that may have fallen due."""
    erasures: Sequence[Erasing] = ()
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(len(s.body) + len(s.signatures or b"") for s in self.submissions)


class Sequencer:
    """Appends events. `open`, then `append` from any task, then `close`.

    `clock` is for a simulated ledger alone: without it, the database's clock is read under the lock.
    `store` keeps the last checkpoint elsewhere: nothing is written to a log that has lost what it knows.
    """

    def __init__(
        self,
        writer_url: str,
        *,
        judge: Judge,
        signer: Signer,
        clock: Clock | None = None,
        store: CheckpointStore | None = None,
    ) -> None:
        self._url = writer_url
        self._store = store
        self._judge = judge
        self._signer = signer
        self._clock = clock
        self._writer: Writer | None = None
        self._queue: deque[_Item] = deque()
        self._queued_events = self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._closing = False
        self._committer: asyncio.Task[None] | None = None
        self._cache: dict[Key, Fact | None] = {}
        self._cache_state: tuple[int, int, bytes] | None = None
        """The head for which the cached facts hold."""
        self.batches = 0
        """Transactions that appended."""
        self.size = 0
        """Entries in the log, as this process last saw it."""

    # --- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Write genesis if the log is empty, and check that this process may write to it.

        Raises Unavailable, or RefusesToWrite.
        """
        try:
            try:
                await self._open_log(await self._connected())
            except psycopg.errors.LockNotAvailable:
                await self._evict_frozen()
                await self._open_log(await self._connected())
        except psycopg.Error as error:
            await self._disconnect()
            raise Unavailable("the database went away while the log was opened") from error
        except BaseException:
            await self._disconnect()
            raise
        self._committer = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Take nothing new, finish what was taken."""
        self._closing = True
        self._arrived.set()
        if self._committer is not None:
            await self._committer
        await self._disconnect()

    @property
    def queued(self) -> int:
        """Events that wait."""
        return self._queued_events

    async def append(self, submissions: Sequence[Submission]) -> list[Result]:
        """Commit events in order, in one transaction; a result for each.

        Raises QueueFull or Unavailable: nothing was committed. Raises OutcomeUnknown: ask again.
        """
        item = _Item(submissions, asyncio.get_running_loop().create_future())
        return await self._queued(item)

    async def fall_due(self, duties: Sequence[str]) -> None:
        """Commit what has become of these duties, as far as they have fallen due under the lock.

        Any number of processes may ask, again and again: each step of a duty is said once. Raises as
        `append`.
        """
        await self._queued(_Item((), asyncio.get_running_loop().create_future(), duties))

    async def erase(self, erasing: Erasing) -> None:
        """Commit that the bodies of an entry are erased, if that may be under the lock.

        It may not be any more if it is said already; or if the request would now be denied, and then
        `erasing.refused` is why. Raises as `append`.
        """
        await self._queued(_Item((), asyncio.get_running_loop().create_future(), (), (erasing,)))

    async def _queued(self, item: _Item) -> list[Result]:
        if self._closing:
            raise Unavailable("the service is shutting down")
        if (
            self._queued_events + len(item.submissions) > QUEUE_EVENTS_MAX
            or self._queued_bytes + item.bytes > QUEUE_BYTES_MAX
        ):
            raise QueueFull(f"{self._queued_events} events are waiting to be committed")
        self._queue.append(item)
        self._queued_events += len(item.submissions)
        self._queued_bytes += item.bytes
        self._arrived.set()
        return await item.answer

    # --- the committer ----------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while items := self._take():
                try:
                    results = await self._commit(
                        [s for item in items for s in item.submissions],
                        [key for item in items for key in item.duties],
                        [erasing for item in items for erasing in item.erasures],
                    )
                except LedgerError as error:
                    _fail(items, error)
                except Exception as error:
                    # A bug of ours must not end the committer: the batch fails, the next may not.
                    log.exception("batch_failed")
                    await self._disconnect()
                    _fail(items, Unavailable(f"the batch failed: {type(error).__name__}"))
                else:
                    _answer(items, results)
            if self._closing:
                return

    def _take(self) -> list[_Item]:
        """Whatever has arrived, up to the size of a batch; a larger item is a batch of its own."""
        items: list[_Item] = []
        events = size = 0
        while self._queue:
            item = self._queue[0]
            events, size = events + len(item.submissions), size + item.bytes
            if items and (events > BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX):
                break
            items.append(self._queue.popleft())
            self._queued_events -= len(item.submissions)
            self._queued_bytes -= item.bytes
        return items

    async def _commit(
        self, submissions: Sequence[Submission], duties: Sequence[str], erasures: Sequence[Erasing]
    ) -> list[Result]:
        """Commit a batch and answer for each of its events.

        A crash before COMMIT leaves nothing; a crash after it leaves everything, and whoever asks
        again with the same id finds it.
        """
        try:
            writer = await self._connected()
            with _bounded(writer):
                placed, head, growth = await self._transact(writer, submissions, duties, erasures)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
            await self._evict_frozen()
            raise Unavailable("another process holds the head for too long; try again") from error
        except psycopg.Error as error:
            await self._disconnect()
            log.warning("batch_rolled_back", error=type(error).__name__, sqlstate=error.sqlstate)
            raise Unavailable("the database is away; nothing was committed, try again") from error
        except BaseException:
            await self._disconnect()
            raise
        self.batches += growth is not None
        self.size = head.size
        try:
            return await self._answers(writer, placed, head, growth)
        except LedgerError:
            raise
        except Exception as error:
            log.exception("answer_failed")
            raise OutcomeUnknown("committed, but a receipt could not be made; ask again") from error

    async def _transact(
        self,
        writer: Writer,
        submissions: Sequence[Submission],
        duties: Sequence[str],
        erasures: Sequence[Erasing],
    ) -> tuple[list[_Placed], Head, Growth | None]:
        """One transaction: lock, read, judge, write, commit."""
        cached, needs = Facts(self._cache), _Needs(self._judge)
        lacked = [(s, needs.missing(s, cached)) for s in submissions]
        lacking = [s for s, keys in lacked if keys or needs.failed(s)]
        keys = {key for _, keys in lacked for key in keys}
        ids = list({(s.event.actor.party, s.event.id) for s in submissions})
        locked = await writer.begin(ids, sorted(key for key in keys if key[0] not in LOOKED_UP))
        if locked is None:
            raise RefusesToWrite("the database holds no ledger any more: its head row is gone")
        self._check_head(locked.head)
        if self._cache_state != locked.head.state:
            # Somebody else wrote since, or we lost sight of what we wrote.
            self._cache.clear()
            lacking = list(submissions)
        needs = _Needs(self._judge)  # anew: what was asked of facts that may have been old counts for nothing
        facts = await self._facts(writer, locked, lacking, needs)
        batch = Batch(locked.head, facts, self._judge, at=self._now(locked))
        placed = await self._place(writer, submissions, locked, batch, needs)
        await self._fall_due(writer, duties, batch)
        for erasing in erasures:
            await self._erase(writer, erasing, batch)
        if not batch.entries:
            await writer.commit_unchanged()
            return placed, locked.head, None
        head, growth = batch.grow()
        await writer.write(
            batch.hand_over(),
            list(facts.changed.values()),
            batch.completed(growth),
            locked=locked.head,
            head=head,
        )
        self._cache_state = None  # from here the cache is ahead of the database, until the commit
        await writer.commit()
        self._remember(facts, head)
        return placed, head, growth

    async def _facts(
        self, writer: Writer, locked: Locked, lacking: Sequence[Submission], needs: _Needs
    ) -> Facts:
        """The facts that the batch touches, as of the locked head."""
        self._cache_state = None
        facts = Facts(self._cache)
        facts.load(locked.facts)
        # A fact may name further ones: ask again, until nobody lacks anything.
        while keys := {key for s in lacking for key in needs.missing(s, facts)}:
            facts.load(await writer.load(sorted(keys)))
        self._cache_state = locked.head.state
        return facts

    async def _place(
        self,
        writer: Writer,
        submissions: Sequence[Submission],
        locked: Locked,
        batch: Batch,
        needs: _Needs,
    ) -> list[_Placed]:
        """Judge each event in order, unless its id is taken."""
        placed: list[_Placed] = []
        taken = dict(locked.taken)
        bodies = await writer.bodies_of(list(taken.values())) if taken else {}
        for submission in submissions:
            event = submission.event
            name = event.actor.party, event.id
            index = taken.get(name)
            if index is not None:
                body = bodies[index]
                same = body == submission.body
                conflict = Erased if body is None else Conflict
                placed.append(index if same else conflict(party=name[0], event_id=name[1], index=index))
                continue
            # An event before it in the batch may have made a fact that names another.
            while batch.relinked and (keys := needs.missing(submission, batch.facts)):
                batch.facts.load(await writer.load(keys))
            try:
                needs.check(submission)
                new = batch.append(submission)
            except AppendFailed as error:
                log.exception("append_failed", kind=event.kind)
                placed.append(error)
                continue
            taken[name] = new.entry.header.index
            bodies[new.entry.header.index] = submission.body
            placed.append(new)
            if batch.waiting >= WRITTEN_AHEAD:
                writer.insert(batch.hand_over())
        return placed

    async def _fall_due(self, writer: Writer, duties: Sequence[str], batch: Batch) -> None:
        """After the events of the batch: what one of these has met is not late."""
        facts, failed = batch.facts, []
        asked = list(dict.fromkeys(duties))
        while True:
            keys: set[Key] = set()
            named = 0
            for key in tuple(asked):
                try:
                    needed = list(due_needs([key], facts, self._judge))
                except Exception:
                    asked.remove(key)
                    failed.append(key)
                    continue
                if named and named + len(needed) > DUE_FACTS_MAX:
                    asked.remove(key)  # it stays due, and the scheduler asks again
                    continue
                named += len(needed)
                keys.update(facts.missing(needed))
            if not keys:
                break
            facts.load(await writer.load(sorted(keys)))
        if failed := failed + batch.fall_due(asked):
            log.error("duties_failed", duties=failed)

    async def _erase(self, writer: Writer, erasing: Erasing, batch: Batch) -> None:
        facts = batch.facts
        named = [
            (Recorded.name, str(erasing.request)),
            (Erasure.name, erasure_key(erasing.contract, erasing.index)),
        ]
        facts.load(await writer.load(facts.missing(named)))
        asked = erasing.asked_again(facts)
        if asked is None:
            return
        while keys := missing(asked, facts, self._judge):
            facts.load(await writer.load(keys))
        batch.erase(erasing, asked)

    def _now(self, locked: Locked) -> datetime:
        """`recorded_at` of the batch: read under the lock, never earlier than the last entry's."""
        now = self._clock() if self._clock is not None else locked.now
        last = locked.head.recorded_at
        if self._clock is None and abs(skew := now - datetime.now(UTC)) > CLOCK_SKEW_MAX:
            raise Unavailable(
                f"the database's clock is {abs(skew)} {'behind' if skew < timedelta() else 'ahead of'} this"
                f" machine's, must not differ by more than {CLOCK_SKEW_MAX}; set right which of them is wrong"
            )
        if self._clock is None and last - now > CLOCK_STEP_BACK_MAX:
            raise Unavailable(
                f"the database's clock is {last - now} behind the last entry, must not be more than"
                f" {CLOCK_STEP_BACK_MAX}; set the clock right"
            )
        return max(now, last)

    def _remember(self, facts: Facts, head: Head) -> None:
        """Keep what the batch knew, for as long as nobody else moves the head."""
        self._cache.update(facts.changed)
        if len(self._cache) > CACHED_FACTS_MAX:
            self._cache.clear()
        self._cache_state = head.state

    # --- answers ----------------------------------------------------------------------------------

    async def _answers(
        self, writer: Writer, placed: Sequence[_Placed], head: Head, growth: Growth | None
    ) -> list[Result]:
        # Sign after COMMIT: a signed head that the database then lost would be equivocation.
        try:
            checkpoint = head.checkpoint(self._signer)
        except Exception as error:
            raise SigningFailed("committed, but the checkpoint could not be signed; ask again") from error
        again = sorted({one for one in placed if isinstance(one, int)})
        replayed = await self._replayed(writer, again, head, checkpoint) if again else {}
        results: list[Result] = []
        for one in placed:
            if isinstance(one, LedgerError):
                results.append(one)
            elif isinstance(one, NewEntry):
                assert growth is not None
                results.append(Committed(_receipt_of(one, growth, checkpoint), one.outcome, False))
            else:
                results.append(replayed[one])
        return results

    async def _replayed(
        self, writer: Writer, indexes: Sequence[int], head: Head, checkpoint: str
    ) -> Mapping[int, Result]:
        """Of entries that stand already, all read at once: while the committer reads, it commits nothing.

        From where they are written, for a replica may not have them yet; and after the commit, which
        waited for the standbys and let the head go: what is read never changes.
        """
        try:
            with _bounded(writer):
                return await _read_again(writer, indexes, head, checkpoint)
        except VerificationError as error:
            return dict.fromkeys(indexes, error)
        except psycopg.Error:
            await self._disconnect()
            return dict.fromkeys(indexes, OutcomeUnknown("it stands, and cannot be read now; ask again"))

    # --- the head ---------------------------------------------------------------------------------

    def _check_head(self, head: Head) -> None:
        head.check(engine=self._judge.engine, signer=self._signer, clock=self._clock_name)

    @property
    def _clock_name(self) -> str:
        return "system" if self._clock is None else "simulated"

    async def _open_log(self, writer: Writer) -> None:
        """Check the head; on an empty database, make it and write the first entry under its lock."""
        versions = {"format": FORMAT, "fold": FOLD_VERSION, "engine": self._judge.engine}
        await writer.create_head(
            Head(
                epoch=1,
                size=0,
                root=EMPTY_ROOT,
                frontier=b"",
                last_leaf=ZERO_HASH,
                recorded_at=BEFORE_ALL,
                **versions,
                origin=self._signer.name,
                verifier_key=str(self._signer.verifier),
                clock=self._clock_name,
            )
        )
        locked = await writer.begin([], [(Chain.name, LEDGER_CONTRACT), (Contract.name, LEDGER_CONTRACT)])
        assert locked is not None
        self._check_head(locked.head)
        if locked.head.size:
            await writer.rollback()
            return
        data = {
            "versions": versions,
            "origin": self._signer.name,
            "key": str(self._signer.verifier),
            "clock": self._clock_name,
            "summary_hours": SUMMARY_HOURS if self._clock is None else SUMMARY_HOURS_SIMULATED,
        }
        facts = Facts(dict(locked.facts))
        at = self._now(locked)
        batch = Batch(locked.head, facts, self._judge, at=at)
        opened = Entailed(LEDGER_CONTRACT, LedgerOpened, data)
        batch.append(own_submission(opened, origin=self._signer.name, index=0, at=at))
        head, _ = batch.grow()
        await writer.write(batch.entries, list(facts.changed.values()), [], locked=locked.head, head=head)
        await writer.commit()

    # --- the connection ---------------------------------------------------------------------------

    async def _connected(self) -> Writer:
        if self._writer is None or not self._writer.usable:
            self._forget()
            writer = await self._connect()
            try:
                await refuse_rollback(writer, self._store, self._signer)
            except BaseException:
                await writer.close()
                raise
            self._writer = writer
        return self._writer

    async def _connect(self) -> Writer:
        try:
            return await Writer.connect(self._url)
        except Unavailable as error:
            if self._committer is None:  # at the start: it is the operator who reads this
                raise
            log.warning("database_unreachable", detail=str(error))
            # A driver names hosts and logins, which are no caller's business.
            raise Unavailable("the database cannot be reached; nothing was committed, try again") from error

    async def _evict_frozen(self) -> None:
        """Somebody holds the head for too long: if it is a process that froze, it must let go."""
        await self._disconnect()
        try:
            with _bounded(await self._connected()) as writer:
                evicted = await writer.evict_frozen()
        except (psycopg.Error, Unavailable):
            await self._disconnect()
        else:
            if evicted:
                log.warning("frozen_writer_evicted", connections=evicted)

    async def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        self._forget()
        if writer is not None:
            await writer.close()

    def _forget(self) -> None:
        self._cache.clear()
        self._cache_state = None


async def refuse_rollback(writer: Writer, store: CheckpointStore | None, signer: Signer) -> None:
    """Raise RefusesToWrite if the log is not a continuation of the checkpoint that was kept elsewhere."""
    if store is None:
        return
    # By whichever of its keys signed last. The store comes before the head: what it keeps was durable
    # before what is read then.
    keys = await writer.keys_of(signer.verifier)
    kept = await asyncio.to_thread(store.latest, *keys)
    head = await writer.head()
    size = 0 if head is None else head.size
    if kept is None:
        if size > 1:
            # The first time that a store is named, or one that is not mounted: nobody can tell.
            log.warning("checkpoint_store_empty", store=str(store), entries=size)
        return
    if size < kept.size:
        raise RefusesToWrite(
            f"the database holds {size} entries, and a checkpoint that is kept outside it was signed for"
            f" {kept.size}: the last {kept.size - size} are lost, by a restored backup, a failover, or by"
            " somebody's hand. Restore a newer state; or, if there is none, see `chipledger recover`"
        )
    root = await writer.root(kept.size)
    if root != kept.root:
        raise RefusesToWrite(
            f"the first {kept.size} entries of the database have root {root.hex()}, and a checkpoint that is"
            f" kept outside it was signed for {kept.root.hex()}: the log was rewritten. Export and verify"
            " it, keep the disk"
        )


class _Needs:
    """What events need. One that breaks an assumption of ours as it is asked fails alone."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._failed: dict[int, Exception] = {}

    def missing(self, submission: Submission, facts: Facts) -> list[Key]:
        try:
            return missing(submission.event, facts, self._judge)
        except Exception as error:
            self._failed[id(submission)] = error
            return []

    def failed(self, submission: Submission) -> bool:
        return id(submission) in self._failed

    def check(self, submission: Submission) -> None:
        """Raises AppendFailed: on facts of which some may not be loaded nothing is judged."""
        if (error := self._failed.get(id(submission))) is not None:
            raise AppendFailed(
                f"event {submission.event.id} could not be judged and was not committed"
            ) from error


@contextmanager
def _bounded(writer: Writer) -> Iterator[Writer]:
    """A server that neither answers nor goes away must not hold the committer for ever."""
    alarm = asyncio.get_running_loop().call_later(TRANSACTION_S_MAX, writer.abort)
    try:
        yield writer
    finally:
        alarm.cancel()


_Placed = NewEntry | int | LedgerError
"""Where an event went: a new entry, the index of the entry it is a replay of, or why nowhere."""


def _receipt_of(new: NewEntry, growth: Growth, checkpoint: str) -> Receipt:
    entry = new.entry
    decision = entry.bodies["decision"]
    assert decision is not None
    return Receipt(
        index=entry.header.index,
        header=entry.raw,
        decision=decision.value,
        salts={name: body.salt for name, body in entry.bodies.items() if body is not None},
        tree_size=growth.size,
        hashes=growth.prove_inclusion(entry.header.index),
        checkpoint=checkpoint,
    )


async def _read_again(
    writer: Writer, indexes: Sequence[int], head: Head, checkpoint: str
) -> dict[int, Result]:
    entries = await entries_at(writer.connection, indexes)
    if len(entries) != len(indexes):
        raise VerificationError(f"{len(indexes) - len(entries)} entries whose ids are taken are not there")
    wanted = {at for index in indexes for at in tiles.tiles_for_inclusion(index, head.size)}
    found = await load_tiles(writer.connection, wanted)
    return {
        stored.index: Committed(
            _receipt_again(stored, head, found, checkpoint), stored.outcome, replayed=True
        )
        for stored in entries
    }


def _receipt_again(
    stored: StoredEntry, head: Head, found: Mapping[tiles.Coordinates, bytes], checkpoint: str
) -> Receipt:
    """The receipt of an entry that was read back, with a proof out of tiles."""
    proof = tiles.prove_inclusion(stored.index, head.size, lambda *at: found[tiles.Coordinates(*at)])
    return Receipt.of(stored.entry, tree_size=head.size, hashes=proof, checkpoint=checkpoint)


def _answer(items: Sequence[_Item], results: Sequence[Result]) -> None:
    at = 0
    for item in items:
        until = at + len(item.submissions)
        if not item.answer.done():  # its client may have gone away
            item.answer.set_result(list(results[at:until]))
        at = until


def _fail(items: Sequence[_Item], error: LedgerError) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(error)
