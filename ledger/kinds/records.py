"""The records themselves: what must be kept, and what may be erased."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    HOLDS_NAMED,
    Correction,
    Erasure,
    Facts,
    Key,
    LegalHold,
    LegalHolds,
    Recorded,
    erasure_key,
)
from ledger.kinds.ledger import Own
from ledger.values import EVERY_ROLE, EventId, Identifier, Sha256, Text, Value

ENTRIES_MAX = 100


class LegalHoldPlaced(Kind, kind="legal_hold.placed"):
    """A dispute or an inquiry: every record of the contract is kept until the hold is released."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {"hold": "LH-3", "reason": "arbitration ICC 28114"}

    hold: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield LegalHold.name, f"{event.contract}/{self.hold}"
        yield LegalHolds.name, event.contract

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if facts.get(LegalHold, f"{event.contract}/{self.hold}") is not None:
            return
        facts.put(
            LegalHold(contract=event.contract, hold=self.hold, placed_by=event.actor.party, placed=index)
        )
        holds = facts.get(LegalHolds, event.contract) or LegalHolds(contract=event.contract)
        named = (*holds.named, self.hold)[:HOLDS_NAMED]
        facts.update(holds, standing=holds.standing + 1, named=named)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        hold = facts.get(LegalHold, f"{event.contract}/{self.hold}")
        if hold is not None and hold.placed == index and hold.released is None:
            _release(hold, facts, index)
        return None


class LegalHoldReleased(Kind, kind="legal_hold.released"):
    """Ends a legal hold; who placed it says so, or an authority."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {"hold": "LH-3", "reason": "award of 2029-03-01"}

    hold: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield LegalHold.name, f"{event.contract}/{self.hold}"
        yield LegalHolds.name, event.contract

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        hold = facts.get(LegalHold, f"{event.contract}/{self.hold}")
        if hold is not None and hold.released is None and may_release(hold, event):
            _release(hold, facts, index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        hold = facts.get(LegalHold, f"{event.contract}/{self.hold}")
        if hold is None or hold.released != index:
            return None
        facts.update(hold, released=None)
        holds = facts.get(LegalHolds, event.contract)
        if holds is not None:
            named = (*holds.named, hold.hold)[:HOLDS_NAMED]
            facts.update(holds, standing=holds.standing + 1, named=named)
        return None


def may_release(hold: LegalHold, event: Event) -> bool:
    return event.actor.role == "authority" or event.actor.party == hold.placed_by


def _release(hold: LegalHold, facts: Facts, index: int) -> None:
    facts.update(hold, released=index)
    holds = facts.get(LegalHolds, hold.contract)
    if holds is not None:
        named = tuple(name for name in holds.named if name != hold.hold)
        facts.update(holds, standing=holds.standing - 1, named=named)


KEPT = ("contract.", "key.", "legal_hold.", "license.", "policy.", "purge.")
"""Kinds that are never erased: by whom a contract was made, under what right and rules, who signed, and
what became of its records. Whoever reads what is left reads it by these."""


def is_kept(kind: str) -> bool:
    """Whether entries of this kind must stay as long as the log does."""
    return kind.startswith(KEPT)


def _ascending(entries: tuple[int, ...]) -> tuple[int, ...]:
    if any(b <= a for a, b in pairwise(entries)):
        raise ValueError("entries must ascend, each named once")
    return entries


class PurgeRequested(Kind, kind="purge.requested"):
    """Asks to erase the bodies of entries, with their salts; their leaves, and so every proof, stay.

    What is erased is the words: event, decision and signatures. The facts that followed from them stay,
    for later decisions rest on them.
    """

    nature: ClassVar[Nature] = "request"
    looks_up: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "authority"})
    example: ClassVar[dict[str, Any]] = {"entries": [17, 18], "reason": "retention is over"}

    entries: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(strict=False, min_length=1, max_length=ENTRIES_MAX),
        AfterValidator(_ascending),
    ]
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield LegalHolds.name, event.contract
        for entry in self.entries:
            yield Recorded.name, str(entry)
            yield Erasure.name, erasure_key(event.contract, entry)
            yield Correction.name, str(entry)
            correction = facts.peek(Correction, str(entry))
            if correction is not None:
                yield Erasure.name, erasure_key(event.contract, correction.by)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for entry in self.entries:
            facts.put(Erasure(contract=event.contract, index=entry, request=index))


class FactKept(Value):
    """A fact as it was right behind the erased entry, in the JSON in which it is stored."""

    name: Text
    data: dict[str, Any]


class Commitments(Value):
    """What the header of the erased entry commits to, and nobody can open any more."""

    decision: Sha256
    event: Sha256
    signatures: Sha256 | None = None


class ValueErased(Own, kind="value.erased"):
    """The bodies of an entry are erased with their salts: this is committed, then they are.

    `request` says who asked and why. `facts` are those that the entry changed, as they were right behind
    it: from here on they stand for it wherever the log is folded or judged again.
    """

    example: ClassVar[dict[str, Any]] = {
        "index": 17,
        "id": "8d5f6a52-6a70-4a2c-9f0b-6a4ab55c7f01",
        "kind": "invoice.issued",
        "party": "acme",
        "outcome": "accepted",
        "bodies": {"decision": "1f" * 32, "event": "7a" * 32},
        "request": 912,
        "facts": [],
        "part": 1,
        "parts": 1,
    }

    index: Annotated[int, Field(ge=0)]
    """Of the erased entry, as are those that follow: an event names a refused one by its id."""
    id: EventId
    kind: Text
    party: Text
    outcome: Literal["accepted", "flagged", "held", "denied"]
    bodies: Commitments
    request: Annotated[int, Field(ge=0)]
    """Index of the `purge.requested`."""
    facts: Annotated[tuple[FactKept, ...], Field(strict=False)]
    part: Annotated[int, Field(ge=1)]
    """Facts that are more than one event can carry are said in several, one right behind the other."""
    parts: Annotated[int, Field(ge=1)]

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Erasure.name, erasure_key(event.contract, self.index)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        erasure = facts.get(Erasure, erasure_key(event.contract, self.index))
        if erasure is not None and self.part == self.parts:
            facts.update(erasure, erased=index)
