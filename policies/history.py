"""Every fact of a log in memory, moved on event by event by the code that commits (`ledger.fold.judged`).

Facts grow with what the log is about, entries are not kept: an event that cites an earlier entry is
given that entry again by whoever has the log (`recall`). Pure: nothing is read and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import cast

from ledger.decision import OUTCOMES, Decision, Judge, Outcome
from ledger.due import due_needs, fallen_due
from ledger.erasure import Kept
from ledger.event import Event, Submission
from ledger.facts import (
    LOOKED_UP,
    AllFacts,
    Chain,
    Chains,
    Fact,
    Facts,
    FactT,
    Key,
    Order,
    Recorded,
    Refused,
    Shipment,
    Under,
)
from ledger.fold import extend_chain, judged, missing
from ledger.kinds.ledger import LedgerOpened, LedgerRecovered

_UNKNOWN = len(OUTCOMES)


class History:
    """The facts after the entries taken so far. For each event: `prepare`, then `take`.

    `judge` decides; `origin` is the name of the log, from which the ids of its own events follow.
    """

    def __init__(self, judge: Judge, *, origin: str) -> None:
        self.judge = judge
        self.origin = origin
        self._known: dict[Key, Fact | None] = {}
        self._under: dict[str, dict[Key, None]] = {}
        self._outcomes = bytearray()
        """Of each entry: where its outcome stands in OUTCOMES, or _UNKNOWN."""
        self._refused: dict[str, Refused] = {}
        self._prepared: Facts | None = None
        self._recalled: dict[int, Event | None] = {}
        self._erased: dict[int, Kept] = {}
        self.lost_cause = False
        """The last entry that was not the ledger's own was passed by."""
        self.touched: set[Key] | None = None
        """Facts that have changed, where somebody wants to know and has put a set here."""

    def copy(self) -> History:
        """Another history with the same past; nothing is prepared in it."""
        other = History(self.judge, origin=self.origin)
        other._known = dict(self._known)
        other._under = {license_: dict(keys) for license_, keys in self._under.items()}
        other._outcomes = self._outcomes[:]
        other._refused = dict(self._refused)
        other._erased = dict(self._erased)
        other.lost_cause = self.lost_cause
        return other

    @property
    def size(self) -> int:
        """Entries so far; also the index of the next."""
        return len(self._outcomes)

    def rows(self) -> Iterator[tuple[Key, str]]:
        """Every fact as it is stored."""
        for key, fact in self._known.items():
            if fact is not None:
                yield key, fact.encode().decode()

    @property
    def facts(self) -> int:
        """How many facts there are."""
        return sum(fact is not None for fact in self._known.values())

    def stored(self, key: Key) -> str | None:
        """A fact as it is stored; None where there is none."""
        fact = self._known.get(key)
        return None if fact is None else fact.encode().decode()

    def fact(self, fact: type[FactT], key: str) -> FactT | None:
        return self._known.get((fact.name, key))  # type: ignore[return-value] # of that name is of that type

    # --- what an event reads ----------------------------------------------------------------------

    def prepare(self, event: Event, judge: Judge | None = None) -> list[int]:
        """Load what judging the event looks up, by `judge` if not by our own.

        Gives the entries that must be recalled first, and then it is to be asked again; [] if none.
        """
        facts = self._prepared = self._prepared or AllFacts(self._known)
        if not event.data.looks_up and event.retries is None:
            return []
        while keys := missing(event, facts, judge or self.judge):
            if cited := [index for index in self._cited(keys) if index not in self._recalled]:
                return cited
            facts.load([(key, self._look_up(*key)) for key in keys])
        return []

    def recall(self, index: int, event: Event | None) -> None:
        """Entry `index` again; None if its body is withheld."""
        self._recalled[index] = event

    def erase(self, index: int, kept: Kept | None) -> None:
        """Entry `index`, which was taken, has been erased since: whoever cites it is given what is kept.

        None: nothing is, and it is as if it had been withheld.
        """
        if kept is None:
            self._outcomes[index] = _UNKNOWN
        else:
            self._erased[index] = kept._replace(facts=())

    def _cited(self, keys: list[Key]) -> Iterator[int]:
        return (int(key) for name, key in keys if name == Recorded.name and self._within(int(key)))

    def _within(self, index: int) -> bool:
        return index < self.size and self._outcomes[index] != _UNKNOWN and index not in self._erased

    def erased_by(self, index: int) -> int | None:
        """Which entry says that this one is erased; None: none does."""
        kept = self._erased.get(index)
        return None if kept is None else kept.by

    def _look_up(self, name: str, key: str) -> Fact | None:
        if name == Under.name:
            return self._under_license(key)
        if name == Chains.name:
            return Chains(chains=tuple(f for f in self._known.values() if isinstance(f, Chain)))
        if name == Refused.name:
            return self._refused.get(key)
        if name != Recorded.name:
            assert name not in LOOKED_UP, f"{name} is looked up, and a history does not know how"
            return None
        index = int(key)
        if (kept := self._erased.get(index)) is not None:
            return kept.recorded
        event = self._recalled[index] if self._within(index) else None
        if event is None:
            return None
        return Recorded.of(index, OUTCOMES[self._outcomes[index]], event)

    def _under_license(self, license_: str) -> Under:
        keys = self._under.get(license_, {})
        return Under(
            license=license_,
            orders=tuple(key for name, key in keys if name == Order.name),
            shipments=tuple(key for name, key in keys if name == Shipment.name),
        )

    # --- what it brings about ---------------------------------------------------------------------

    def ask(self, event: Event, *, at: datetime, judge: Judge | None = None) -> Decision:
        """The decision on the prepared event, and nothing changes; it stays prepared."""
        assert self._prepared is not None, "prepare comes first"
        return (judge or self.judge).judge(event, self._prepared, at=at)

    def take(self, submission: Submission, *, at: datetime) -> Iterator[tuple[Submission, Decision, Facts]]:
        """The prepared event as entry `size`, then what the ledger must say because of it.

        Each with its decision, and the facts as they then are; these are kept once all of it has been
        asked for. `note` each entry that comes to stand in the log.
        """
        return self._take(
            lambda facts: judged(submission, facts, self.judge, index=self.size, at=at, origin=self.origin)
        )

    def take_due(
        self, duties: Sequence[str], *, at: datetime
    ) -> Iterator[tuple[Submission, Decision, Facts]]:
        """What the ledger says of duties at an instant: nothing of those that are not due.

        As `take`, but nothing need be prepared: duties cite no entries.
        """
        facts = self._prepared = AllFacts(self._known)
        while keys := facts.missing(due_needs(duties, facts, self.judge)):
            facts.load([(key, self._look_up(*key)) for key in keys])
        return self._take(
            lambda facts: fallen_due(duties, facts, self.judge, index=self.size, at=at, origin=self.origin)
        )

    def _take(
        self, say: Callable[[Facts], Iterator[tuple[Submission, Decision]]]
    ) -> Iterator[tuple[Submission, Decision, Facts]]:
        facts = self._prepared
        assert facts is not None, "prepare comes first"
        for each, decision in say(facts):
            if decision.denied:
                party, event_id = each.event.actor.party, each.event.id
                refused = Refused(party=party, id=event_id, index=self.size)
                self._refused[refused.key] = refused
            yield each, decision, facts
            if isinstance(each.event.data, LedgerOpened | LedgerRecovered):
                self.origin = each.event.data.origin  # the name from which the ids after it follow
        self.keep(facts)

    def note(self, outcome: Outcome | None) -> None:
        """The next entry stands in the log; None: its outcome, or what it says, cannot be known."""
        self._outcomes.append(_UNKNOWN if outcome is None else OUTCOMES.index(outcome))

    def pass_by(
        self, contract: str, *, leaf: bytes, kept: Kept | None = None, outcome: Outcome | None = None
    ) -> None:
        """The next entry stands in the log, and what it says is withheld, or erased: it cannot be judged.

        It folds into its chain, and into what the log has `kept` of it.
        """
        self.lost_cause = True
        facts = AllFacts(self._known)
        for fact in kept.facts if kept is not None else ():
            facts.put(fact)
        extend_chain(contract, facts, leaf=leaf)
        self.keep(facts)
        if kept is not None:
            # Its facts are in place now; what they were made of is not needed again.
            self._erased[self.size] = kept._replace(facts=())
            if kept.recorded.outcome == "denied":
                refused = Refused(party=kept.recorded.party, id=kept.id, index=self.size)
                self._refused[refused.key] = refused
            outcome = cast("Outcome", kept.recorded.outcome)
        self.note(outcome)

    def keep(self, facts: Facts) -> None:
        """What has changed in `facts` is so from here on; what was prepared is forgotten."""
        self._known.update(facts.changed)
        if self.touched is not None:
            self.touched.update(facts.changed)
        for fact in facts.changed.values():
            if type(fact) is Order:
                self._relate(fact, fact.license, counts=fact.reserves)
            elif type(fact) is Shipment:
                self._relate(fact, fact.license, counts=fact.stands)
        self.forget()

    def forget(self) -> None:
        """Drop what was prepared."""
        self._recalled.clear()
        self._prepared = None

    def _relate(self, fact: Fact, license_: str, *, counts: bool) -> None:
        under = self._under.setdefault(license_, {})
        key = fact.name, fact.key
        if counts:
            under[key] = None
        else:
            under.pop(key, None)
