"""What is known of a party: who owns it, what it has stated, what was found on the lists, what it buys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import ClassVar, Literal

from ledger.facts.base import Fact

# Wide enough for any sum that an amount's own limits allow; never the caller's ambient context.
_EXACT = Context(prec=80)

STATEMENTS_ON_FILE = 8
"""End-user statements of one party, the latest."""
SCREENINGS_KEPT = 4
"""Of one party, the latest: one that is taken back leaves the one before it."""
OBSERVATIONS_KEPT = 8
"""Of one thing by one party, the latest."""
PURCHASE_DAYS_KEPT = 92
"""Counted back from the latest: no document may ask for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    name: str
    percent: Decimal
    country: str
    listed: bool
    """It stands on a list of restricted parties, by what the speaker knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What one speaker says of a party's ownership."""

    by: str
    index: int
    dated: date
    """Never after the day on which it was recorded."""
    headquarters: str
    """Country."""
    parent: str | None
    """Country of the ultimate parent, where there is one."""
    parent_listed: bool
    holders: tuple[Holder, ...]

    @property
    def listed_percent(self) -> Decimal:
        """Held by listed holders, all of them together."""
        total = Decimal(0)
        for holder in self.holders:
            if holder.listed:
                total = _EXACT.add(total, holder.percent)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership(Fact):
    """Who owns a party. Its own word does not take the place of an exporter's: each is kept."""

    name: ClassVar[str] = "ownership"
    contract: str
    party: str
    declared: tuple[Declared, ...] = ()
    """Oldest first; the latest of each speaker."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    statement: str
    index: int
    expires: date
    """The last day, which ends at 24:00 in the contract's zone."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements(Fact):
    """The end-user statements of one party."""

    name: ClassVar[str] = "statements"
    contract: str
    party: str
    statements: tuple[Statement, ...] = ()
    """Oldest first; `STATEMENTS_ON_FILE` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenedList:
    list: str
    retrieved_at: datetime
    """Never after the screening was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    index: int
    by: str
    verdict: Literal["clear", "hit", "false_positive"]
    score: int
    """Of the best candidate; 0 where there was none."""
    lists: tuple[ScreenedList, ...]
    expires: datetime | None

    @property
    def retrieved_at(self) -> datetime:
        """When the oldest of its lists was retrieved."""
        return min(one.retrieved_at for one in self.lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening(Fact):
    """How one party compared with the lists of restricted parties."""

    name: ClassVar[str] = "screening"
    contract: str
    party: str
    results: tuple[Screened, ...] = ()
    """Oldest first; `SCREENINGS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}"

    @property
    def latest(self) -> Screened | None:
        return self.results[-1] if self.results else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    index: int
    value: str
    unit: str | None
    dated: date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Fact):
    """Something that the ledger cannot compute, as one party has it from a source outside."""

    name: ClassVar[str] = "observation"
    contract: str
    party: str
    """Who imported it."""
    about: str
    values: tuple[Observed, ...] = ()
    """Oldest first; `OBSERVATIONS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}/{self.about}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDay:
    day: date
    """In the contract's zone, of the recording."""
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchases(Fact):
    """What the orders of one end user are worth, by the day on which they were placed.

    An order that is amended counts with its new value; one that is cancelled, with what it released.
    """

    name: ClassVar[str] = "purchases"
    contract: str
    end_user: str
    days: tuple[OnDay, ...] = ()
    """Earliest first; those of the `PURCHASE_DAYS_KEPT` up to the latest. None twice in a currency."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.end_user}"

    def since(self, day: date, currency: str) -> Decimal:
        """The sum in a currency from `day` on."""
        total = Decimal(0)
        for one in self.days:
            if one.day >= day and one.currency == currency:
                total = _EXACT.add(total, one.amount)
        return total

    def with_amount(self, day: date, amount: Decimal, currency: str) -> tuple[OnDay, ...]:
        """The days once `amount`, which may be less than nothing, is added to one."""
        sums = {(one.day, one.currency): one.amount for one in self.days}
        sums[day, currency] = _EXACT.add(sums.get((day, currency), Decimal(0)), amount)
        latest = max(day for day, _ in sums)
        first = latest - timedelta(days=PURCHASE_DAYS_KEPT - 1)
        # Less than nothing is left of a day that was no longer kept.
        return tuple(
            OnDay(day=day, amount=total, currency=currency)
            for (day, currency), total in sorted(sums.items())
            if day >= first and total > 0
        )
