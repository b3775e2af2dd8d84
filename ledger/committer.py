"""One transaction: what is asked becomes entries under the locked head, all of it or nothing.

Each step of it is for the whole batch: one lock, one reading of facts, one writing, one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from ledger.batch import Batch
from ledger.clock import Clock, clock_name, recorded_at
from ledger.decision import Judge
from ledger.due import due_needs
from ledger.erasure import Erasing
from ledger.errors import AppendFailed, Conflict, Erased, LedgerError, RefusesToWrite
from ledger.event import Submission
from ledger.facts import LOOKED_UP, Erasure, Fact, Facts, Key, Recorded, erasure_key
from ledger.fold import missing
from ledger.head import Head
from ledger.merkle import Growth
from ledger.note import Signer
from ledger.statements import NewEntry
from ledger.store import Locked, Writer

WRITTEN_AHEAD = 64
"""Entries that are worth a message of their own: the database inserts them while the next are judged."""
DUE_FACTS_MAX = 50_000
"""Of the duties of one batch: releases of a million devices may end at one midnight."""
CACHED_FACTS_MAX = 200_000

log = structlog.get_logger(__name__)


class Work(NamedTuple):
    """What is asked of one transaction, in order: events, then duties, then erasures."""

    submissions: Sequence[Submission] = ()
    duties: Sequence[str] = ()
    """Keys of duties that may have fallen due."""
    erasures: Sequence[Erasing] = ()


Placed = NewEntry | int | LedgerError
"""Where an event went: a new entry, the index of the entry it is a replay of, or why nowhere."""


class Standing(NamedTuple):
    """What a transaction has left."""

    placed: Sequence[Placed]
    """One for each event."""
    head: Head
    growth: Growth | None
    """None: nothing was appended."""


class Committer:
    """Commits one batch after another. Remembers facts, for as long as nobody else moves the head."""

    def __init__(self, judge: Judge, signer: Signer, clock: Clock | None) -> None:
        self._judge = judge
        self._signer = signer
        self._clock = clock
        self._cache: dict[Key, Fact | None] = {}
        self._cache_state: tuple[int, int, bytes] | None = None
        """The head for which the cached facts hold."""

    def forget(self) -> None:
        """Of what an earlier transaction wrote nobody knows whether it stands."""
        self._cache.clear()
        self._cache_state = None

    async def commit(self, writer: Writer, work: Work) -> Standing:
        """Lock, read, judge, write, commit. A crash before COMMIT leaves nothing; after it, everything.

        Raises RefusesToWrite, Unavailable, OutcomeUnknown or psycopg.Error; then `forget`.
        """
        submissions = work.submissions
        cached, needs = Facts(self._cache), _Needs(self._judge)
        lacked = [(s, needs.missing(s, cached)) for s in submissions]
        lacking = [s for s, keys in lacked if keys or needs.failed(s)]
        keys = {key for _, keys in lacked for key in keys}
        ids = list({(s.event.actor.party, s.event.id) for s in submissions})
        locked = await writer.begin(ids, sorted(key for key in keys if key[0] not in LOOKED_UP))
        if locked is None:
            raise RefusesToWrite("the database holds no ledger any more: its head row is gone")
        locked.head.check(engine=self._judge.engine, signer=self._signer, clock=clock_name(self._clock))
        if self._cache_state != locked.head.state:
            # Somebody else wrote since, or we lost sight of what we wrote.
            self._cache.clear()
            lacking = list(submissions)
        needs = _Needs(self._judge)  # anew: what was asked of facts that may have been old counts for nothing
        facts = await self._facts(writer, locked, lacking, needs)
        batch = Batch(locked.head, facts, self._judge, at=recorded_at(locked, self._clock))
        placed = await _place(writer, submissions, locked, batch, needs)
        await self._fall_due(writer, work.duties, batch)
        for erasing in work.erasures:
            await self._erase(writer, erasing, batch)
        if not batch.entries:
            await writer.commit_unchanged()
            return Standing(placed, locked.head, None)
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
        return Standing(placed, head, growth)

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

    def _remember(self, facts: Facts, head: Head) -> None:
        """Keep what the batch knew, for as long as nobody else moves the head."""
        self._cache.update(facts.changed)
        if len(self._cache) > CACHED_FACTS_MAX:
            self._cache.clear()
        self._cache_state = head.state


async def _place(
    writer: Writer,
    submissions: Sequence[Submission],
    locked: Locked,
    batch: Batch,
    needs: _Needs,
) -> list[Placed]:
    """Judge each event in order, unless its id is taken."""
    placed: list[Placed] = []
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
