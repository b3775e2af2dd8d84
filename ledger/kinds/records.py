"""The records themselves: what must be kept, and what may be erased."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    HOLDS_NAMED,
    Facts,
    Key,
    LegalHold,
    LegalHolds,
    Recorded,
)
from ledger.values import EVERY_ROLE, Identifier, Text

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


def _ascending(entries: tuple[int, ...]) -> tuple[int, ...]:
    if any(b <= a for a, b in pairwise(entries)):
        raise ValueError("entries must ascend, each named once")
    return entries


class PurgeRequested(Kind, kind="purge.requested"):
    """Asks to erase the bodies of entries; their leaves, and so the proofs of all others, stay."""

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
        for entry in self.entries:
            yield Recorded.name, str(entry)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        return
