"""The sequencer: a queue of events becomes entries, one transaction for whatever has arrived.

Any number of processes may each run one on the same database; the head row orders them. There is no
timer: while one batch commits, the next one gathers. An answer is given after the commit, never before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
import structlog

from ledger.answers import Result, answers
from ledger.checkpoint_store import CheckpointStore
from ledger.clock import Clock
from ledger.committer import Committer, Work
from ledger.decision import Judge
from ledger.erasure import Erasing
from ledger.errors import LedgerError, OutcomeUnknown, QueueFull, Unavailable
from ledger.event import Submission
from ledger.genesis import open_log
from ledger.note import Signer
from ledger.rollback import refuse_rollback
from ledger.store import Writer

BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 4 << 20
"""Large events take seconds to judge, and whoever holds the head for too long is cut off."""
QUEUE_EVENTS_MAX = 10_000
QUEUE_BYTES_MAX = 64 << 20

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Item:
    """What one request brought: one event, or a batch that is committed in order, together."""

    work: Work
    answer: asyncio.Future[list[Result]]
    events: int = field(init=False)
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        submissions = self.work.submissions
        self.events = len(submissions)
        self.bytes = sum(len(s.body) + len(s.signatures or b"") for s in submissions)


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
        self._committer = Committer(judge, signer, clock)
        self._writer: Writer | None = None
        self._queue: deque[_Item] = deque()
        self._queued_events = self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
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
                await self._open_log()
            except psycopg.errors.LockNotAvailable:
                await self._evict_frozen()
                await self._open_log()
        except psycopg.Error as error:
            await self._disconnect()
            raise Unavailable("the database went away while the log was opened") from error
        except BaseException:
            await self._disconnect()
            raise
        self._task = asyncio.create_task(self._run(), name="sequencer")

    async def _open_log(self) -> None:
        writer = await self._connected()
        await open_log(writer, judge=self._judge, signer=self._signer, clock=self._clock)

    async def close(self) -> None:
        """Take nothing new, finish what was taken."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    # --- the queue --------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Events that wait."""
        return self._queued_events

    async def append(self, submissions: Sequence[Submission]) -> list[Result]:
        """Commit events in order, in one transaction; a result for each.

        Raises QueueFull or Unavailable: nothing was committed. Raises OutcomeUnknown: ask again.
        """
        return await self._answer_to(Work(submissions))

    async def fall_due(self, duties: Sequence[str]) -> None:
        """Commit what has become of these duties, as far as they have fallen due under the lock.

        Any number of processes may ask, again and again: each step of a duty is said once. Raises as
        `append`.
        """
        await self._answer_to(Work(duties=duties))

    async def erase(self, erasing: Erasing) -> None:
        """Commit that the bodies of an entry are erased, if that may be under the lock.

        It may not be any more if it is said already; or if the request would now be denied, and then
        `erasing.refused` is why. Raises as `append`.
        """
        await self._answer_to(Work(erasures=(erasing,)))

    async def _answer_to(self, work: Work) -> list[Result]:
        item = _Item(work, asyncio.get_running_loop().create_future())
        if self._closing:
            raise Unavailable("the service is shutting down")
        if (
            self._queued_events + item.events > QUEUE_EVENTS_MAX
            or self._queued_bytes + item.bytes > QUEUE_BYTES_MAX
        ):
            raise QueueFull(f"{self._queued_events} events are waiting to be committed")
        self._queue.append(item)
        self._queued_events += item.events
        self._queued_bytes += item.bytes
        self._arrived.set()
        return await item.answer

    def _take(self) -> list[_Item]:
        """Whatever has arrived, up to the size of a batch; a larger item is a batch of its own."""
        items: list[_Item] = []
        events = size = 0
        while self._queue:
            item = self._queue[0]
            events, size = events + item.events, size + item.bytes
            if items and (events > BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX):
                break
            items.append(self._queue.popleft())
            self._queued_events -= item.events
            self._queued_bytes -= item.bytes
        return items

    # --- one batch after another ------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while items := self._take():
                work = Work(
                    [s for item in items for s in item.work.submissions],
                    [key for item in items for key in item.work.duties],
                    [erasing for item in items for erasing in item.work.erasures],
                )
                try:
                    results = await self._commit(work)
                except LedgerError as error:
                    _fail(items, error)
                except Exception as error:
                    # A bug of ours must not end the sequencer: the batch fails, the next may not.
                    log.exception("batch_failed")
                    await self._disconnect()
                    _fail(items, Unavailable(f"the batch failed: {type(error).__name__}"))
                else:
                    _answer(items, results)
            if self._closing:
                return

    async def _commit(self, work: Work) -> list[Result]:
        """Commit a batch and answer for each of its events."""
        try:
            writer = await self._connected()
            with writer.bounded():
                standing = await self._committer.commit(writer, work)
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
        self.batches += standing.growth is not None
        self.size = standing.head.size
        try:
            return await answers(standing, writer, self._signer)
        except LedgerError:
            raise
        except Exception as error:
            log.exception("answer_failed")
            raise OutcomeUnknown("committed, but a receipt could not be made; ask again") from error

    # --- the connection ---------------------------------------------------------------------------

    async def _connected(self) -> Writer:
        if self._writer is None or not self._writer.usable:
            self._committer.forget()
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
            if self._task is None:  # at the start: it is the operator who reads this
                raise
            log.warning("database_unreachable", detail=str(error))
            # A driver names hosts and logins, which are no caller's business.
            raise Unavailable("the database cannot be reached; nothing was committed, try again") from error

    async def _evict_frozen(self) -> None:
        """Somebody holds the head for too long: if it is a process that froze, it must let go."""
        await self._disconnect()
        try:
            writer = await self._connected()
            with writer.bounded():
                evicted = await writer.evict_frozen()
        except (psycopg.Error, Unavailable):
            await self._disconnect()
        else:
            if evicted:
                log.warning("frozen_writer_evicted", connections=evicted)

    async def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        self._committer.forget()
        if writer is not None:
            await writer.close()


def _answer(items: Sequence[_Item], results: Sequence[Result]) -> None:
    at = 0
    for item in items:
        until = at + item.events
        if not item.answer.done():  # its client may have gone away
            item.answer.set_result(list(results[at:until]))
        at = until


def _fail(items: Sequence[_Item], error: LedgerError) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(error)
