"""What is known of a party before anything is sold to it: owners, statements, lists, outside sources."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Contract,
    Declared,
    Facts,
    Holder,
    Key,
    Observation,
    Observed,
    Ownership,
    Screened,
    ScreenedList,
    Screening,
    Statement,
    Statements,
)
from ledger.facts.screening import OBSERVATIONS_KEPT, SCREENINGS_KEPT, STATEMENTS_ON_FILE
from ledger.values import (
    EVERY_ROLE,
    Amount,
    Any_,
    Country,
    Date,
    Identifier,
    PartyId,
    Sha256,
    Text,
    Timestamp,
    Value,
    day_of,
    unique_by,
)

HOLDERS_MAX = 100
LISTS_MAX = 50
VOUCHING = frozenset({"exporter", "authority"})
"""Roles that may speak of another party's owners and statements."""


def _hundred(percent: Decimal) -> Decimal:
    if percent > 100:
        raise ValueError(f"is {percent}, must not be more than 100")
    return percent


Percent = Annotated[Amount, AfterValidator(_hundred)]
"""A decimal in a string: "55.5" is 55.5 %."""


# --- owners ---------------------------------------------------------------------------------------


class Shareholder(Value):
    name: Text
    country: Country
    percent: Percent
    """Of the party, held directly or through others."""
    listed: bool = False
    """It stands on a list of restricted parties."""


class Parent(Value):
    name: Text
    country: Country
    listed: bool = False


class OwnershipDeclared(Kind, kind="ownership.declared"):
    """Says who owns a party, where it has its headquarters and who stands at the top.

    A party speaks for itself, exporter and authority for any: none of them takes the place of another's.
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "party": "dragon-dc",
        "dated": "2027-02-20",
        "headquarters": "CN",
        "parent": {"name": "Dragon Holding", "country": "CN", "listed": False},
        "holders": [
            {"name": "Dragon Holding", "country": "CN", "percent": "70", "listed": False},
            {"name": "Jade Capital", "country": "SG", "percent": "30", "listed": False},
        ],
        "signatory": "L. Chen, company secretary",
    }

    party: PartyId
    dated: Date
    headquarters: Country
    parent: Parent | None = None
    """The ultimate parent."""
    holders: Annotated[
        tuple[Shareholder, ...], Field(strict=False, max_length=HOLDERS_MAX), unique_by("name")
    ] = ()
    signatory: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Ownership.name, f"{event.contract}/{self.party}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if not may_vouch(event, self.party):
            return
        key = f"{event.contract}/{self.party}"
        ownership = facts.get(Ownership, key) or Ownership(contract=event.contract, party=self.party)
        others = tuple(d for d in ownership.declared if d.by != event.actor.party)
        said = Declared(
            by=event.actor.party,
            index=index,
            # One that is dated ahead is no fresher than the day on which it was recorded.
            dated=min(self.dated, day_of(at, _zone(event, facts))),
            headquarters=self.headquarters,
            parent=self.parent.country if self.parent else None,
            parent_listed=self.parent is not None and self.parent.listed,
            holders=tuple(
                Holder(name=h.name, percent=h.percent, country=h.country, listed=h.listed)
                for h in self.holders
            ),
        )
        facts.update(ownership, declared=(*others, said))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        ownership = facts.get(Ownership, f"{event.contract}/{self.party}")
        if ownership is not None:
            facts.update(ownership, declared=tuple(d for d in ownership.declared if d.index != index))
        return None


# --- statements -----------------------------------------------------------------------------------


class StatementFiled(Kind, kind="statement.filed"):
    """An end user has stated in writing what the goods are for, and to whom they will not go.

    It speaks for itself, or the exporter files what it was handed (15 CFR 748.11).
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "party": "dragon-dc",
        "statement": "EUS-2027-14",
        "expires": "2028-02-19",
        "sha256": "7a" * 32,
        "signatory": "L. Chen, company secretary",
    }

    party: PartyId
    statement: Identifier
    expires: Date
    """The last day; it ends at 24:00 in the contract's zone."""
    sha256: Sha256
    """Of the document."""
    signatory: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Statements.name, f"{event.contract}/{self.party}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if not may_vouch(event, self.party):
            return
        key = f"{event.contract}/{self.party}"
        filed = facts.get(Statements, key) or Statements(contract=event.contract, party=self.party)
        said = Statement(statement=self.statement, index=index, expires=self.expires, sha256=self.sha256)
        facts.update(filed, statements=(*filed.statements, said)[-STATEMENTS_ON_FILE:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        filed = facts.get(Statements, f"{event.contract}/{self.party}")
        if filed is not None:
            facts.update(filed, statements=tuple(s for s in filed.statements if s.index != index))
        return None


# --- lists of restricted parties ------------------------------------------------------------------

Score = Annotated[int, Field(ge=0, le=1_000)]
"""How near a name on a list is: 1,000 is the same."""


class Query(Value):
    name: Text
    country: Country | None = None


class ListUsed(Value):
    list: Identifier
    sha256: Sha256
    """Of the list as it was retrieved."""
    retrieved_at: Timestamp


class Candidate(Value):
    list: Identifier
    entry: Identifier
    """Its number in the list."""
    name: Text
    score: Score


class ScreeningRecorded(Kind, kind="screening.recorded"):
    """A party was compared with lists of restricted parties; that nothing was found is recorded too."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = VOUCHING
    example: ClassVar[dict[str, Any]] = {
        "party": "dragon-dc",
        "query": {"name": "Dragon Data Centres", "country": "CN"},
        "lists": [
            {"list": "US-CSL", "sha256": "c5" * 32, "retrieved_at": "2027-03-01T06:00:00Z"},
        ],
        "algorithm": "jaro-winkler",
        "algorithm_version": "3.1",
        "threshold": 850,
        "candidates": [
            {"list": "US-CSL", "entry": "EL-20114", "name": "Dragon Date Centre", "score": 790},
        ],
        "verdict": "clear",
        "expires": "2027-06-01T00:00:00Z",
    }

    party: PartyId
    query: Query
    lists: Annotated[
        tuple[ListUsed, ...], Field(strict=False, min_length=1, max_length=LISTS_MAX), unique_by("list")
    ]
    algorithm: Identifier
    algorithm_version: Identifier
    threshold: Score
    """From which score on the algorithm calls a candidate a hit."""
    candidates: Any_[Candidate] = ()
    verdict: Literal["clear", "hit", "false_positive"]
    """false_positive: a reviewer found that the candidates are others."""
    reviewer: Text | None = None
    expires: Timestamp | None = None
    """The first instant at which it is worth nothing any more."""

    @model_validator(mode="after")
    def _reviewed(self) -> Self:
        if self.verdict == "false_positive" and self.reviewer is None:
            raise ValueError("a false positive names the reviewer who found it so")
        unknown = {c.list for c in self.candidates} - {used.list for used in self.lists}
        if unknown:
            raise ValueError(f"a candidate is of list {min(unknown)}, which was not used")
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Screening.name, f"{event.contract}/{self.party}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        key = f"{event.contract}/{self.party}"
        screening = facts.get(Screening, key) or Screening(contract=event.contract, party=self.party)
        result = Screened(
            index=index,
            by=event.actor.party,
            verdict=self.verdict,
            score=max((c.score for c in self.candidates), default=0),
            # A list said to be of tomorrow is no fresher than one of now.
            lists=tuple(
                ScreenedList(list=used.list, retrieved_at=min(used.retrieved_at, at)) for used in self.lists
            ),
            expires=self.expires,
        )
        facts.update(screening, results=(*screening.results, result)[-SCREENINGS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        screening = facts.get(Screening, f"{event.contract}/{self.party}")
        if screening is not None:
            facts.update(screening, results=tuple(r for r in screening.results if r.index != index))
        return None


# --- outside sources ------------------------------------------------------------------------------


class ObservationImported(Kind, kind="observation.imported"):
    """Something that the ledger cannot compute, with its date and its source."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "about": "reference-price.H200-SXM",
        "value": "24000.00",
        "unit": "USD",
        "dated": "2027-02-28",
        "source": "trade press, week 9",
    }

    about: Identifier
    value: Text
    unit: Text | None = None
    dated: Date
    source: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Observation.name, f"{event.contract}/{event.actor.party}/{self.about}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        party = event.actor.party
        observation = facts.get(Observation, f"{event.contract}/{party}/{self.about}") or Observation(
            contract=event.contract, party=party, about=self.about
        )
        said = Observed(index=index, value=self.value, unit=self.unit, dated=self.dated, source=self.source)
        facts.update(observation, values=(*observation.values, said)[-OBSERVATIONS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        observation = facts.get(Observation, f"{event.contract}/{event.actor.party}/{self.about}")
        if observation is not None:
            facts.update(observation, values=tuple(v for v in observation.values if v.index != index))
        return None


def may_vouch(event: Event, party: str) -> bool:
    """Whether what is said of a party counts: it speaks of itself, or an exporter or authority does."""
    return event.actor.party == party or event.actor.role in VOUCHING


def _zone(event: Event, facts: Facts) -> str:
    contract = facts.get(Contract, event.contract)
    return contract.zone if contract else "UTC"
