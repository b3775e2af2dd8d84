"""The log judged again, from its first entry: what was committed must be what the same code decides now.

An entry that is a cause is judged on the facts before it. Its decision must be the committed one to the
byte, and the entries that follow must be those that the ledger must say because of it, to the byte too.
What the clock has brought about is asked again at its own `recorded_at`, and must be what is said; that
the clock was asked soon enough is not looked at.
What the ledger says of what was found outside the log (`ledger.kinds.integrity`) has no cause in it: its
decision is made again, its words are taken as said.
The first difference ends a replay: from there the facts are another log's. A withheld event cannot be
judged; it is counted, it folds into its chain alone, and what rests on it may differ. Neither can an erased
one; but what the log has kept of it stands for it, so everything else comes out as it did.

Time is `recorded_at` of each header. Hashes and signatures are not looked at: `ledger.verify` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from ledger.decision import OUTCOMES, Decision, Judge
from ledger.erasure import kept_in
from ledger.errors import LedgerError, UnusableInput
from ledger.event import LEDGER_PARTY, Event, Submission, committed_event
from ledger.facts import Duty, Erasure, Facts, erasure_key
from ledger.fold import extend_chain
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.records import ValueErased
from ledger.values import parse_timestamp
from policies.difference import Difference
from policies.history import History
from policies.unchecked import member, parsed

WITHHELD_MAX: Final = 20
"""That are named."""
_NONE: Final[Mapping[int, Sequence[int]]] = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a replay came, and what it found."""

    entries: int
    judged: int
    """Causes whose decision was recomputed and compared."""
    entailed: int
    """Entries of the ledger that were recomputed from their cause and compared."""
    withheld: int
    """Entries that cannot be replayed, for their event or decision is not there."""
    withheld_first: tuple[int, ...]
    difference: Difference | None


class Line(NamedTuple):
    """Of an entry, what a replay looks at."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    contract: str
    recorded_at: str
    leaf: bytes
    event: bytes | None
    """None: withheld or erased; likewise the decision."""
    decision: bytes | None
    signatures: bytes | None = None
    """None: nobody signed. Where they are withheld the event is too: it cannot be judged without them."""


class Replay:
    """Takes a log's entries in order, from 0. For each: `wanted` until it wants nothing, then `take`."""

    def __init__(self, judge: Judge, *, origin: str, erased: Mapping[int, Sequence[int]] = _NONE) -> None:
        """`erased`: which entries are erased, each with the later ones that say so, in order."""
        self.history = History(judge, origin=origin)
        self._erased = erased
        self._said: dict[int, bytes | None] = {}
        """Of an entry that is erased: the events that say so."""
        self._gone: list[int] = []
        """Entries that were taken whole, are cited now, and have been erased in between."""
        self.difference: Difference | None = None
        self._judged = self._entailed = self._withheld = 0
        self._withheld_first: list[int] = []
        self._course: Iterator[tuple[Submission, Decision, Facts]] | None = None
        """What follows from the last cause."""
        self._must: tuple[Submission, Decision, Facts] | None = None
        """What the next entry must be, where the last cause calls for more."""
        self._asked: Submission | None = None
        self._at: tuple[str, datetime] | None = None

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            self.history.size,
            self._judged,
            self._entailed,
            self._withheld,
            tuple(self._withheld_first),
            self.difference,
        )

    def wanted(self, entry: Line) -> list[int]:
        """Earlier entries that judging this one looks at: `recall` each, and ask again."""
        if self._must is not None or self.difference is not None:
            return []
        if self._asked is None:
            body = entry.event
            if body is None:
                return [by for by in self._erased.get(entry.index, ()) if by not in self._said]
            try:
                self._asked = Submission(committed_event(body, entry.signatures), body, entry.signatures)
            except (LedgerError, orjson.JSONDecodeError) as error:
                self._differs(entry, "unreadable", why=str(error))
                return []
            if self._cites_erased(self._asked.event, entry.index):
                self._asked = None
                return []
        event = self._asked.event
        while self._gone:
            if lacking := [by for by in self._erased[self._gone[-1]] if by not in self._said]:
                return lacking
            gone = self._gone.pop()
            self.history.erase(gone, kept_in((by, self._said.pop(by)) for by in self._erased[gone]))
            if self._cites_erased(event, entry.index):
                self._asked = None
                self.history.forget()
        return [] if self._asked is None else self.history.prepare(event)

    def recall(self, index: int, entry: Line | None) -> None:
        """Entry `index` as it was when `take` had it, or will have it; `wanted` asks for both."""
        body = entry.event if entry is not None else None
        if index >= self.history.size or (self._gone and index in self._erased[self._gone[-1]]):
            self._said[index] = body
        elif body is None and index in self._erased:
            self._gone.append(index)
        else:
            self.history.recall(index, None if body is None else committed_event(body))

    def take(self, entry: Line) -> Difference | None:
        """Judge the next entry again; the difference, if there is one."""
        if self.difference is None:
            if self._must is not None:
                self._take_entailed(entry, *self._must)
            elif self._asked is not None:
                self._take_cause(entry, self._asked)
            else:
                self._pass_by(entry)
        return self.difference

    def finish(self) -> Outcome:
        """The log has ended."""
        if self.difference is None and self._must is not None:
            submission, _, _ = self._must
            self.difference = Difference(
                self.history.size, submission.event.kind, "missing", recomputed=submission.body
            )
        return self.outcome

    # ----------------------------------------------------------------------------------------------

    def _take_cause(self, entry: Line, submission: Submission) -> None:
        event = submission.event
        self._asked = None
        if event.contract != entry.contract:
            self._differs(
                entry, "unreadable", why=f"it is of {event.contract}, and stands in {entry.contract}"
            )
            return
        # What followed from a cause that is not there is taken as it stands.
        if follows_a_cause(event) and not self.history.lost_cause:
            self.history.forget()
            self._differs(entry, "uncalled", event.kind, committed=submission.body)
            return
        duties, at = duties_in(event), self._instant(entry.recorded_at)
        if duties:
            self._course = self.history.take_due(duties, at=at)
        else:
            self._course = self.history.take(submission, at=at)
        first = self._next(entry, event)
        if self.difference is not None:
            return
        self.history.lost_cause = self.history.lost_cause and event.data.nature == "own"
        if first is None or self._unasked(event, entry.index):  # no step of these duties is due
            self._differs(entry, "uncalled", event.kind, committed=submission.body)
        elif duties:
            self._take_entailed(entry, *first)
        else:
            self._judged += self._enter(entry, event, *first[1:])

    def _unasked(self, event: Event, index: int) -> bool:
        """Whether the ledger says that an entry is erased, and no accepted request stands behind it."""
        data = event.data
        if not isinstance(data, ValueErased):
            return False
        erasure = self.history.fact(Erasure, erasure_key(event.contract, data.index))
        return erasure is None or erasure.request != data.request

    def _take_entailed(self, entry: Line, must: Submission, decision: Decision, facts: Facts) -> None:
        kind, body = must.event.kind, entry.event
        if body is not None and body != must.body and _said_by_ledger(body):
            self._differs(entry, "event", kind, committed=body, recomputed=must.body)
            return
        if entry.contract != must.event.contract or (body is not None and body != must.body):
            self._differs(entry, "missing", kind, recomputed=must.body)
            return
        self._entailed += self._enter(entry, must.event, decision, facts)

    def _enter(self, entry: Line, event: Event, decision: Decision, facts: Facts) -> bool:
        """The entry stands, if its decision is the recomputed one. True if both bodies were compared."""
        body = entry.decision
        if body is not None and body != decision.body:
            self._differs(entry, "decision", event.kind, committed=body, recomputed=decision.body)
            return False
        if body is None or entry.event is None:
            self._is_withheld()
        extend_chain(event.contract, facts, leaf=entry.leaf)
        self.history.note(decision.outcome)
        self._must = self._next(entry, event)
        return body is not None

    def _next(self, entry: Line, event: Event) -> tuple[Submission, Decision, Facts] | None:
        """What comes next of the last cause, and None at its end, or at a difference."""
        assert self._course is not None
        try:
            return next(self._course, None)
        except MemoryError:
            raise
        except Exception as error:
            # Then it could not have been committed either: the sequencer refuses what it cannot judge.
            self._differs(entry, "unreadable", event.kind, why=f"{type(error).__name__}: {error}")
            return None

    def _pass_by(self, entry: Line) -> None:
        self._is_withheld()
        kept = kept_in(sorted(self._said.items())) if self._said else None
        self._said.clear()
        outcome = None if entry.decision is None else member(parsed(entry.decision), "outcome")
        known = outcome if outcome in OUTCOMES else None
        self.history.pass_by(entry.contract, leaf=entry.leaf, kept=kept, outcome=known)

    def _cites_erased(self, event: Event, index: int) -> bool:
        """A correction that was judged by the words of an entry that has been erased since.

        It was refused: one that was accepted is erased before what it corrects.
        """
        if not isinstance(event.data, DeclaredInError):
            return False
        erasures = (self.history.erased_by(one.index) for one in event.data.mistakes)
        return any(by is not None and index < by for by in erasures)

    def _is_withheld(self) -> None:
        self._withheld += 1
        if len(self._withheld_first) < WITHHELD_MAX:
            self._withheld_first.append(self.history.size)

    def _differs(
        self, entry: Line, what: Any, kind: str | None = None, *, why: str = "", **values: bytes
    ) -> None:
        self.difference = Difference(
            entry.index, kind or _kind_of(entry), what, values.get("committed"),
            values.get("recomputed"), why,
        )  # fmt: skip

    def _instant(self, recorded_at: str) -> datetime:
        """Mostly the one before: a batch is recorded at one instant."""
        if self._at is None or self._at[0] != recorded_at:
            try:
                self._at = recorded_at, parse_timestamp(recorded_at)
            except ValueError:
                raise UnusableInput(f"recorded_at is {recorded_at}, which is no time") from None
        return self._at[1]


def follows_a_cause(event: Event) -> bool:
    """True for what the ledger says because of another entry, and never of its own accord."""
    return event.data.nature == "own" and getattr(event.data, "cause", None) is not None


def duties_in(event: Event) -> tuple[str, ...]:
    """The duties of which the ledger says that the clock has asked; () of any other event."""
    data = event.data
    if data.nature != "own" or follows_a_cause(event):
        return ()
    return tuple(key for name, key in data.reads(event, Facts()) if name == Duty.name)


def _said_by_ledger(body: bytes) -> bool:
    return bool(member(member(parsed(body), "actor"), "party") == LEDGER_PARTY)


def _kind_of(entry: Line) -> str:
    kind = member(parsed(entry.event), "kind")
    return kind[:64] if isinstance(kind, str) else "of no known kind"
