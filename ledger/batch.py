"""A batch: events judged one after another into entries, in memory, under a locked head.

Nothing here reads or writes: the committer loads what `missing` names, and stores what a batch holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from os import urandom

from ledger import tiles
from ledger.decision import Decision, Judge
from ledger.due import fallen_due
from ledger.entry import SALT_BYTES, ZERO_HASH, Body, Entry, Header
from ledger.erasure import Erasing
from ledger.errors import AppendFailed
from ledger.event import Event, Submission, committed_event
from ledger.facts import Chain, Facts, Recorded, Refused, attempt_key
from ledger.fold import PLAIN, extend_chain, judged, own_submission
from ledger.head import Head
from ledger.merkle import Frontier, Growth
from ledger.statements import NewEntry
from ledger.values import format_timestamp


class Batch:
    def __init__(self, head: Head, facts: Facts, judge: Judge, *, at: datetime) -> None:
        self.locked = head
        self.facts = facts
        self.entries: list[NewEntry] = []
        self.relinked = False
        """A fact that names others has changed: what an event needs must be asked anew."""
        self._judge = judge
        self._at = at
        self._recorded_at = format_timestamp(at)
        self._last_leaf = head.last_leaf
        self._handed_over = 0

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
        self.relinked = self.relinked or any(name not in PLAIN for name, _ in layer.changed)
        for new in self.entries[before:]:
            self._record(new)
        return entry

    def _add(self, submission: Submission, facts: Facts) -> NewEntry:
        first = len(self.entries)
        index = self.locked.size + first
        origin = self.locked.origin
        for said, decision in judged(submission, facts, self._judge, index=index, at=self._at, origin=origin):
            self._enter(said, decision, facts)
        return self.entries[first]

    def fall_due(self, keys: Sequence[str]) -> list[str]:
        """Say what has become of duties that have fallen due; nothing of those that have not.

        Gives the keys of those that broke an assumption: they stay due, and keep nobody else's.
        """
        try:
            self._fall_due(keys)
        except Exception:
            if len(keys) == 1:
                return list(keys)
            return [key for one in keys for key in self.fall_due([one])]
        return []

    def _fall_due(self, keys: Sequence[str]) -> None:
        layer, index, origin = self.facts.attempt(), self.size, self.locked.origin
        self._say(fallen_due(keys, layer, self._judge, index=index, at=self._at, origin=origin), layer)

    def erase(self, erasing: Erasing, asked: Event) -> None:
        """Say that the bodies of an entry are erased, if the request, `asked` again, is accepted now."""
        decision = self._judge.judge(asked, self.facts, at=self._at)
        if decision.outcome in ("denied", "held"):
            erasing.refused = decision
            return
        layer = self.facts.attempt()
        self._say(self._erased(erasing, layer), layer)

    def _erased(self, erasing: Erasing, facts: Facts) -> Iterator[tuple[Submission, Decision]]:
        origin = self.locked.origin
        for said in erasing.said():
            ours = own_submission(said, origin=origin, index=self.size, at=self._at)
            yield from judged(ours, facts, self._judge, index=self.size, at=self._at, origin=origin)

    def _say(self, course: Iterable[tuple[Submission, Decision]], layer: Facts) -> None:
        """Enter what the ledger says of its own accord: all of it, or nothing."""
        before, last_leaf = len(self.entries), self._last_leaf
        try:
            for said, decision in course:
                self._enter(said, decision, layer)
        except Exception:
            del self.entries[before:]
            self._last_leaf = last_leaf
            raise
        layer.keep()

    @property
    def size(self) -> int:
        """Of the log with this batch; also the index of its next entry."""
        return self.locked.size + len(self.entries)

    def _record(self, new: NewEntry) -> None:
        """Let an event that was loaded as citing no entry, or no attempt, because it came too early, cite it.

        A replay of the log finds the entry there, so must every judgement after it.
        """
        index, event = new.entry.header.index, new.entry.bodies["event"]
        attempt = attempt_key(new.party, new.event_id)
        if new.outcome == "denied" and self.facts.loaded((Refused.name, attempt)):
            refused = Refused(party=new.party, id=new.event_id, index=index)
            self.facts.load([((Refused.name, attempt), refused)])
        if self.facts.loaded((Recorded.name, str(index))):
            assert event is not None
            recorded = Recorded.of(index, new.outcome, committed_event(event.value))
            self.facts.load([((Recorded.name, str(index)), recorded)])
            self.relinked = True

    def _enter(self, submission: Submission, decision: Decision, facts: Facts) -> None:
        event, index = submission.event, self.locked.size + len(self.entries)
        chain = facts.get(Chain, event.contract)
        event_body = Body(urandom(SALT_BYTES), submission.body)
        decision_body = Body(urandom(SALT_BYTES), decision.body)
        bodies = {"event": event_body, "decision": decision_body}
        signatures = None
        if submission.signatures is not None:
            bodies["signatures"] = Body(urandom(SALT_BYTES), submission.signatures)
            signatures = bodies["signatures"].commitment
        header = Header(
            index=index,
            previous=self._last_leaf,
            contract=event.contract,
            contract_index=chain.count if chain else 0,
            contract_previous=bytes.fromhex(chain.head) if chain else ZERO_HASH,
            recorded_at=self._recorded_at,
            decision=decision_body.commitment,
            event=event_body.commitment,
            signatures=signatures,
        )
        entry = Entry.build(header, bodies)
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

    @property
    def waiting(self) -> int:
        """Entries that have not been handed over."""
        return len(self.entries) - self._handed_over

    def hand_over(self) -> list[NewEntry]:
        """The entries since the last call, to be written: they stay, unless the whole batch fails."""
        handed, self._handed_over = self._handed_over, len(self.entries)
        return self.entries[handed:]

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

    def completed(self, growth: Growth) -> list[tuple[int, int, bytes]]:
        """The (level, n, root) of the tiles that this batch has filled, lower levels first."""
        return [
            (level, n, growth.node(8 * (level + 1), n))
            for level, n in tiles.filled(self.locked.size, growth.size)
        ]
