"""What exporter and buyer say of supply: at home, certified, free of license, and domestic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Baseline,
    Capacity,
    Certification,
    Contract,
    Counted,
    Exports,
    Facts,
    Imports,
    Key,
    Supply,
)
from ledger.facts.calendar import month_of
from ledger.facts.supply import STATEMENTS_KEPT, exports_key
from ledger.values import Date, Identifier, Many, Text, Units, day_of

Tpp = Annotated[int, Field(ge=1, le=10**15)]
"""Aggregate total processing performance, in the unit of 3A090 (TOPS × bit length)."""


def _in_order(begins: date, ends: date) -> None:
    if ends < begins:
        raise ValueError(f"until is {ends}, must not be before from {begins}")


class BaselineDeclared(Kind, kind="baseline.declared"):
    """An exporter states what it shipped of a product to end users at home over a period.

    Exports of the product are measured against the latest statement.
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {
        "sku": "H200-SXM",
        "units": 800000,
        "tpp": 12665600000,
        "from": "2024-01-01",
        "until": "2026-12-31",
        "signatory": "R. Roe, chief compliance officer",
    }

    sku: Identifier
    units: Units | None = None
    tpp: Tpp | None = None
    from_: Annotated[Date, Field(alias="from")]
    until: Date
    """The last day."""
    signatory: Text

    @model_validator(mode="after")
    def _measured(self) -> Self:
        _in_order(self.from_, self.until)
        if self.units is None and self.tpp is None:
            raise ValueError("a baseline says units or tpp")
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        key = exports_key(event.actor.party, self.sku)
        yield Supply.name, key
        # What has been released against it, where it is taken back.
        yield Exports.name, key

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        supply = _supply(event, self.sku, facts)
        said = Baseline(index=index, units=self.units, tpp=self.tpp, begins=self.from_, ends=self.until)
        facts.update(supply, baselines=(*supply.baselines, said)[-STATEMENTS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        supply = _supply(event, self.sku, facts)
        facts.update(supply, baselines=tuple(b for b in supply.baselines if b.index != index))
        return None


class SupplyCertified(Kind, kind="supply.certified"):
    """An exporter certifies its supply of a product, as the license asks.

    Such as: that it is sold at home, that no order there waits for an export, that no foundry
    capacity is turned away (91 FR 1684).
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {
        "sku": "H200-SXM",
        "dated": "2027-01-20",
        "units": 800000,
        "tpp": 12665600000,
        "from": "2026-10-01",
        "until": "2026-12-31",
        "certifications": ["available_in_us", "no_delay_to_us_orders", "no_foundry_diversion"],
        "signatory": "R. Roe, chief compliance officer",
    }

    sku: Identifier
    dated: Date
    units: Units
    """Shipped to end users at home in the period."""
    tpp: Tpp
    """Of those."""
    from_: Annotated[Date, Field(alias="from")]
    until: Date
    """The last day."""
    certifications: Many[Identifier]
    signatory: Text

    @model_validator(mode="after")
    def _period(self) -> Self:
        _in_order(self.from_, self.until)
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Supply.name, exports_key(event.actor.party, self.sku)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        supply = _supply(event, self.sku, facts)
        # One that is dated ahead is no fresher than the day on which it was recorded.
        dated = min(self.dated, day_of(at, _zone(event, facts)))
        said = Certification(index=index, dated=dated, certifications=self.certifications)
        facts.update(supply, certifications=(*supply.certifications, said)[-STATEMENTS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        supply = _supply(event, self.sku, facts)
        facts.update(supply, certifications=tuple(c for c in supply.certifications if c.index != index))
        return None


class CapacityAdded(Kind, kind="capacity.added"):
    """Chips that need no license stand ready at a site: the base tier."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"buyer", "data_centre", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "site": "SHA-1",
        "sku": "H20-SXM",
        "units": 4000,
        "unit_tpp": 2368,
        "supplier": "domestic distributor",
    }

    site: Identifier
    sku: Identifier
    units: Units
    unit_tpp: Annotated[int, Field(ge=0, le=10_000_000)]
    """Total processing performance of one."""
    supplier: Text | None = None

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Capacity.name, f"{event.contract}/{self.site}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        self._add(event, facts, self.units)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        self._add(event, facts, -self.units)
        return None

    def _add(self, event: Event, facts: Facts, units: int) -> None:
        key = f"{event.contract}/{self.site}"
        capacity = facts.get(Capacity, key) or Capacity(contract=event.contract, site=self.site)
        facts.update(capacity, units=capacity.units + units, tpp=capacity.tpp + units * self.unit_tpp)


class DomesticPurchased(Kind, kind="domestic.purchased"):
    """A buyer has bought domestic chips, as some approvals to import ask."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"buyer", "consignee", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "sku": "DOM-910",
        "units": 8000,
        "tpp": 51200000,
        "from": "2027-01-01",
        "until": "2027-03-31",
        "supplier": "domestic manufacturer",
    }

    sku: Identifier
    units: Units
    tpp: Tpp | None = None
    """Of all of them."""
    from_: Annotated[Date, Field(alias="from")]
    until: Date
    """The last day of the period; it counts in the month of that day."""
    supplier: Text | None = None

    @model_validator(mode="after")
    def _period(self) -> Self:
        _in_order(self.from_, self.until)
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Imports.name, event.contract
        yield Counted.name, counted_key(event)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        # A purchase that is yet to come is counted when it was told, and not before.
        month = month_of(min(self.until, day_of(at, _zone(event, facts))))
        count(event, facts, month=month, index=index)
        self._add(event, facts, month, +1)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        counted = facts.get(Counted, counted_key(event))
        if counted is not None:
            self._add(event, facts, counted.month, -1)
        return None

    def _add(self, event: Event, facts: Facts, month: str, sign: int) -> None:
        imports = facts.get(Imports, event.contract) or Imports(contract=event.contract)
        months = imports.with_month(month, domestic=sign * self.units, domestic_tpp=sign * (self.tpp or 0))
        facts.update(imports, months=months)


def counted_key(event: Event) -> str:
    return f"{event.contract}/{event.actor.party}/{event.id}"


def count(event: Event, facts: Facts, *, month: str, index: int) -> None:
    """Remember the month for a correction."""
    facts.put(
        Counted(contract=event.contract, party=event.actor.party, id=event.id, index=index, month=month)
    )


def _zone(event: Event, facts: Facts) -> str:
    contract = facts.get(Contract, event.contract)
    return contract.zone if contract else "UTC"


def _supply(event: Event, sku: str, facts: Facts) -> Supply:
    """What the speaker has said of the product: of nobody else's supply does it say anything."""
    party = event.actor.party
    return facts.get(Supply, exports_key(party, sku)) or Supply(exporter=party, sku=sku)
