"""Invoices, and the share of them that is somebody else's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from ledger.facts.base import Fact

DAYS_KEPT = 400
"""What was invoiced on each of the days up to the latest; earlier ones are one sum. A share of
revenue is due sooner than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice(Fact):
    name: ClassVar[str] = "invoice"
    contract: str
    invoice: str
    order: str
    shipment: str | None
    amount: Decimal
    currency: str
    due: date
    """The last day to pay, which ends at 24:00 in the contract's zone."""
    issued_on: date
    """The day on which it was recorded, in the contract's zone."""
    index: int
    void: bool = False
    """It was declared in error; its number stays used."""
    paid: Decimal = Decimal(0)
    paid_at: datetime | None = None
    """When it was recorded that the last of it had been paid."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.invoice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicedOn:
    day: date
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Revenue:
    """What was invoiced in one currency, and the share of it that has been paid on."""

    currency: str
    before: Decimal = Decimal(0)
    """Invoiced before `kept_from`."""
    kept_from: date | None = None
    """The first day that is kept by itself; it only moves on."""
    days: tuple[InvoicedOn, ...] = ()
    """Earliest first."""
    shared: Decimal = Decimal(0)
    """Paid as a share of revenue."""

    def until(self, day: date) -> Decimal:
        """Invoiced on that day and before."""
        return sum((one.amount for one in self.days if one.day <= day), self.before)

    def shared_on(self, amount: Decimal) -> Revenue:
        """Once `amount`, which may be less than nothing, is paid on."""
        return replace(self, shared=self.shared + amount)

    def invoiced(self, day: date, amount: Decimal) -> Revenue:
        """Once `amount`, which may be less than nothing, is invoiced on the day."""
        first = day - timedelta(days=DAYS_KEPT - 1)
        if self.kept_from is not None:
            first = max(first, self.kept_from)
        by_day = {one.day: one.amount for one in self.days}
        by_day[day] = by_day.get(day, Decimal(0)) + amount
        early = sum((a for d, a in by_day.items() if d < first), self.before)
        left = tuple(InvoicedOn(day=d, amount=a) for d, a in sorted(by_day.items()) if d >= first and a)
        return replace(self, before=early, kept_from=first, days=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevenueAccount(Fact):
    """The revenue of one contract, by currency."""

    name: ClassVar[str] = "revenue"
    contract: str
    currencies: tuple[Revenue, ...] = ()
    """By code, none twice."""

    @property
    def key(self) -> str:
        return self.contract

    def of(self, currency: str) -> Revenue:
        return next((r for r in self.currencies if r.currency == currency), Revenue(currency=currency))

    def with_revenue(self, revenue: Revenue) -> tuple[Revenue, ...]:
        others = [r for r in self.currencies if r.currency != revenue.currency]
        return tuple(sorted((*others, revenue), key=lambda r: r.currency))
