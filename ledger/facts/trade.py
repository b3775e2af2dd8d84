"""Orders, shipments, and what has been released under a license."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import ClassVar, Literal

from ledger.facts.base import Fact
from ledger.facts.calendar import kept
from ledger.facts.device import DeviceState

# Wide enough for any sum that an amount's own limits allow; never the caller's ambient context.
EXACT = Context(prec=80)

AMENDMENTS_KEPT = 16

Stage = Literal[
    "placed", "funded", "part_released", "released", "part_shipped", "shipped", "part_received",
    "received", "accepted", "settled", "cancelled", "closed_short", "window_lapsed",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Fact):
    name: ClassVar[str] = "order"
    contract: str
    order: str
    license: str
    sku: str
    units: int
    unit_value: Decimal
    currency: str
    consignee: str
    end_user: str
    state: Literal["placed", "part_released", "released", "cancelled"] = "placed"
    placed: int
    placed_at: datetime
    released: int = 0
    """Units."""
    released_value: Decimal = Decimal(0)
    levied: Decimal = Decimal(0)
    """Levy settled for it."""
    received: int = 0
    """Units that arrived, damaged ones included."""
    dispatched: int = 0
    """Units of its releases that a carrier has taken."""
    accepted: int = 0
    """Units that whoever received them has signed for."""
    paid: Decimal = Decimal(0)
    """For the goods, in the order's own currency: before delivery or after."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.order}"

    @property
    def remaining(self) -> int:
        return self.units - self.released

    @property
    def value(self) -> Decimal:
        return EXACT.multiply(self.unit_value, Decimal(self.units))

    @property
    def stage(self) -> Stage:
        """How far it has come: of goods the furthest that some, or all, of its units are.

        `state` says what the order still reserves; this is the whole course from placing to
        settlement, and follows from the counters.
        """
        if self.state == "cancelled":
            return "closed_short" if self.released else "cancelled"
        paid = self.paid >= self.value
        if self.accepted >= self.units:
            return "settled" if paid else "accepted"
        if self.received:
            return "received" if self.received >= self.units else "part_received"
        if self.dispatched:
            return "shipped" if self.dispatched >= self.units else "part_shipped"
        if self.released:
            return "released" if self.released >= self.units else "part_released"
        return "funded" if paid and self.paid else "placed"

    def stage_at(self, at: datetime, *, license_ends: datetime) -> Stage:
        """`stage`, and whether its license ended before it could release all of its units."""
        return "window_lapsed" if self.reserves and at >= license_ends else self.stage

    @property
    def reserves(self) -> bool:
        """It stands, and has not released all of its units."""
        return self.state in ("placed", "part_released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    at: datetime
    units: int
    """That have left by then, of all that ever have."""


ShipmentState = Literal["released", "dispatched", "part_received", "received", "cancelled", "expired"]
OVER: frozenset[ShipmentState] = frozenset({"cancelled", "expired"})
"""Nothing of it is released any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment(Fact):
    name: ClassVar[str] = "shipment"
    contract: str
    shipment: str
    order: str
    license: str
    sku: str
    serials: tuple[str, ...]
    value: Decimal
    currency: str
    state: ShipmentState = "released"
    released: int
    released_at: datetime
    dispatched: tuple[str, ...] = ()
    departures: tuple[Departure, ...] = ()
    """When how many of `dispatched` had left, earliest first; none twice at one instant."""
    received: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    exporter: str | None = None
    """Who asked for the release."""
    country: str | None = None
    """Where it is destined, as the contract has the site."""
    approval: str | None = None
    """The approval to import that it draws on."""
    cleared: int = 0
    """Units of it that customs have cleared."""
    expires_at: datetime | None = None
    """The first instant at which what has not left is no longer released; None: until it is cancelled."""
    taken_back: tuple[str, ...] = ()
    """Devices that were released under it, and given back."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.shipment}"

    @property
    def dispatched_at(self) -> datetime | None:
        """When the first of it left."""
        return self.departures[0].at if self.departures else None

    def dispatched_until(self, at: datetime) -> tuple[str, ...]:
        """What had left by then."""
        return self.dispatched[: max((d.units for d in self.departures if d.at <= at), default=0)]

    @property
    def stands(self) -> bool:
        """It was neither cancelled nor has it expired: its devices were released."""
        return self.state not in OVER

    @property
    def delivered(self) -> bool:
        """A delivery has told of some of it."""
        return bool(self.received or self.damaged or self.missing)

    @property
    def open(self) -> bool:
        """It is released or on its way."""
        return self.state in ("released", "dispatched", "part_received")


MOVEMENTS_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Was:
    """What a device was before it was moved, where that was not what the movement begins with."""

    serial: str
    state: DeviceState | None
    """None: it was not of the contract, and did not move."""
    site: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """How a shipment stood until entry `index`, a dispatch or a delivery."""

    index: int
    state: ShipmentState | None
    """None: there was no such shipment."""
    dispatched: int
    """Units, as those below."""
    received: int
    damaged: int
    counted: int
    """That it added to the order's own count."""
    missing: tuple[str, ...] = ()
    retaken: tuple[str, ...] = ()
    """Devices that had been taken back, and left all the same."""
    devices: tuple[Was, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Movements(Fact):
    """What dispatches and deliveries of a shipment replaced: the last one can be taken back."""

    name: ClassVar[str] = "movements"
    contract: str
    shipment: str
    """As it was named: there need be none of that number."""
    movements: tuple[Movement, ...] = ()
    """Oldest first; `MOVEMENTS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.shipment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What an order said until entry `index` amended it."""

    index: int
    units: int
    unit_value: Decimal
    consignee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendments(Fact):
    """What the amendments of an order replaced: the last one can be taken back."""

    name: ClassVar[str] = "amendments"
    contract: str
    order: str
    before: tuple[Before, ...] = ()
    """Oldest first; `AMENDMENTS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InMonth:
    month: str
    """2027-03, in the contract's zone, of the recording."""
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases(Fact):
    """What the releases that stand under one license are worth, and in which month each was made."""

    name: ClassVar[str] = "releases"
    contract: str
    license: str
    values: tuple[Sum, ...] = ()
    """By currency, none twice."""
    months: tuple[InMonth, ...] = ()
    """Earliest first; those of the `MONTHS_KEPT` up to the latest."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.license}"

    def value_in(self, currency: str) -> Decimal:
        return next((s.amount for s in self.values if s.currency == currency), Decimal(0))

    def units_in(self, months: tuple[str, ...]) -> int:
        return sum(one.units for one in self.months if one.month in months)

    def with_value(self, amount: Decimal, currency: str) -> tuple[Sum, ...]:
        """The values once `amount`, which may be less than nothing, is added to one."""
        values = {s.currency: s.amount for s in self.values}
        values[currency] = EXACT.add(values.get(currency, Decimal(0)), amount)
        return tuple(Sum(amount=a, currency=c) for c, a in sorted(values.items()) if a)

    def with_units(self, month: str, units: int) -> tuple[InMonth, ...]:
        """The months once `units`, which may be less than none, are added to one."""
        by_month = {one.month: one.units for one in self.months}
        by_month[month] = by_month.get(month, 0) + units
        # Less than none is left of a month that was no longer kept.
        filled = {m: u for m, u in by_month.items() if u > 0}
        return tuple(InMonth(month=m, units=filled[m]) for m in kept(filled))
