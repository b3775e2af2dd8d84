"""A batch: events judged one after another into entries, in memory, under a locked head.

Nothing here reads or writes: the sequencer loads what `missing` names, and stores what a batch holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ledger.canonical import parse
from ledger.decision import Decision, Judge
from ledger.entry import SALT_BYTES, ZERO_HASH, Body, Entry, Header
from ledger.errors import AppendFailed
from ledger.event import Submission, parse_event
from ledger.facts import Chain, Facts, Recorded
from ledger.fold import LINKS, Entailed, entailed, extend_chain, fold, own_submission
from ledger.merkle import Frontier, Growth
from ledger.store import Head, NewEntry
from ledger.values import format_timestamp

Salt = Callable[[int], bytes]


class Batch:
    def __init__(
        self, head: Head, facts: Facts, judge: Judge, *, at: datetime, salt: Salt = os.urandom
    ) -> None:
        self.locked = head
        self.facts = facts
        self.entries: list[NewEntry] = []
        self.relinked = False
        """A fact that names others has changed: what an event needs must be asked anew."""
        self._judge = judge
        self._at = at
        self._recorded_at = format_timestamp(at)
        self._salt = salt
        self._last_leaf = head.last_leaf

    def append(self, submission: Submission) -> NewEntry:
        """Judge an event and add its entry, and those that the ledger must say because of it.

        Raises AppendFailed if judging or folding broke an assumption: then the batch is as before.
        """
        layer = self.facts.attempt()
        before, last_leaf = len(self.entries), self._last_leaf
        try:
            entry = self._add(submission, layer)
        except Exception as error:
            del self.entries[before:]
            self._last_leaf = last_leaf
            raise AppendFailed(
                f"event {submission.event.id} could not be judged and was not committed"
            ) from error
        layer.keep()
        self.relinked = self.relinked or any(name in LINKS for name, _ in layer.changed)
        for new in self.entries[before:]:
            self._record(new)
        return entry

    def _add(self, submission: Submission, facts: Facts) -> NewEntry:
        event = submission.event
        index = self.locked.size + len(self.entries)
        decision = self._judge.judge(event, facts, at=self._at)
        if not decision.denied:
            fold(event, facts, index=index, at=self._at)
        new = self._enter(submission, decision, facts, index)
        for said in entailed(event, decision, facts, index=index):
            self._say(said, facts)
        return new

    def _record(self, new: NewEntry) -> None:
        """Let an event that was loaded as citing no entry, because it came too early, cite this one.

        A replay of the log finds the entry there, so must every judgement after it.
        """
        index, event = new.entry.header.index, new.entry.bodies["event"]
        if self.facts.loaded((Recorded.name, str(index))):
            assert event is not None
            recorded = Recorded(index=index, outcome=new.outcome, event=parse_event(parse(event.value)))
            self.facts.load([((Recorded.name, str(index)), recorded)])
            self.relinked = True

    def _say(self, said: Entailed, facts: Facts) -> None:
        index = self.locked.size + len(self.entries)
        ours = own_submission(said, origin=self.locked.origin, index=index, at=self._at)
        decision = self._judge.judge(ours.event, facts, at=self._at)
        self._enter(ours, decision, facts, index)

    def _enter(self, submission: Submission, decision: Decision, facts: Facts, index: int) -> NewEntry:
        event = submission.event
        chain = facts.get(Chain, event.contract)
        event_body = Body(self._salt(SALT_BYTES), submission.body)
        decision_body = Body(self._salt(SALT_BYTES), decision.body)
        header = Header(
            index=index,
            previous=self._last_leaf,
            contract=event.contract,
            contract_index=chain.count if chain else 0,
            contract_previous=bytes.fromhex(chain.head) if chain else ZERO_HASH,
            recorded_at=self._recorded_at,
            decision=decision_body.commitment,
            event=event_body.commitment,
        )
        entry = Entry.build(header, {"event": event_body, "decision": decision_body})
        extend_chain(event.contract, facts, leaf=entry.leaf)
        self._last_leaf = entry.leaf
        new = NewEntry(
            entry=entry,
            kind=event.kind,
            party=event.actor.party,
            event_id=event.id,
            outcome=decision.outcome,
            serials=tuple(event.data.speaks_of()),
            at=self._at,
        )
        self.entries.append(new)
        return new

    def grow(self) -> tuple[Head, Growth]:
        """The head after this batch, and the tree that proves its entries."""
        old = Frontier.from_bytes(self.locked.size, self.locked.frontier)
        growth = Growth(old, [new.entry.leaf for new in self.entries])
        head = replace(
            self.locked,
            size=growth.size,
            root=growth.root,
            frontier=growth.frontier().to_bytes(),
            last_leaf=self._last_leaf,
            recorded_at=self._at,
        )
        return head, growth
