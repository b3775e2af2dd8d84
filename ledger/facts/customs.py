"""What is filed and cleared at a border, and what a buyer must take at home for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import ClassVar

from ledger.facts.base import Fact
from ledger.facts.calendar import kept

FILINGS_KEPT = 8
"""For one shipment, the latest: an amended filing takes the place of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    index: int
    itn: str
    license: str
    eccn: str
    quantity: int
    value: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing(Fact):
    """The export filings of one shipment; the latest counts."""

    name: ClassVar[str] = "filing"
    contract: str
    shipment: str
    filings: tuple[Filed, ...] = ()
    """Oldest first; `FILINGS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.shipment}"

    @property
    def latest(self) -> Filed | None:
        return self.filings[-1] if self.filings else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportApproval(Fact):
    """An approval to import, and what has been drawn on it."""

    name: ClassVar[str] = "import_approval"
    contract: str
    approval: str
    sku: str
    country: str
    quota: int
    """Units."""
    excluded: tuple[str, ...]
    """Classes of end user that it does not cover."""
    valid_from: date
    valid_until: date
    """The last day, which ends at 24:00 in the contract's zone."""
    index: int
    withdrawn: bool = False
    released: int = 0
    """Units of the releases that name it and stand."""
    cleared: int = 0
    """Units that customs have cleared under it."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.approval}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthOfTrade:
    month: str
    """2027-03."""
    imported: int = 0
    domestic: int = 0
    """Units of domestic chips."""
    domestic_tpp: int = 0
    """Aggregate, of those whose TPP was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imports(Fact):
    """Units imported under a contract, and domestic units bought beside them, by month."""

    name: ClassVar[str] = "imports"
    contract: str
    months: tuple[MonthOfTrade, ...] = ()
    """Earliest first; those of the `MONTHS_KEPT` up to the latest."""

    @property
    def key(self) -> str:
        return self.contract

    def with_month(
        self, month: str, *, imported: int = 0, domestic: int = 0, domestic_tpp: int = 0
    ) -> tuple[MonthOfTrade, ...]:
        """The months once these, which may be less than none, are added to one."""
        by_month = {one.month: one for one in self.months}
        before = by_month.get(month, MonthOfTrade(month=month))
        by_month[month] = MonthOfTrade(
            month=month,
            # Less than none is left of a month that was no longer kept.
            imported=max(0, before.imported + imported),
            domestic=max(0, before.domestic + domestic),
            domestic_tpp=max(0, before.domestic_tpp + domestic_tpp),
        )
        filled = {m: t for m, t in by_month.items() if t.imported or t.domestic or t.domestic_tpp}
        return tuple(filled[m] for m in kept(filled))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Fact):
    """In which month an event was counted: a correction cannot know when it was recorded."""

    name: ClassVar[str] = "counted"
    contract: str
    party: str
    id: str
    """Of the event."""
    index: int
    month: str

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}/{self.id}"
