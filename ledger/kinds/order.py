"""Orders, and the levy that is settled for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Amendments, Before, Contract, Facts, Key, License, Order, Purchases
from ledger.facts.trade import AMENDMENTS_KEPT
from ledger.values import GTIN, Amount, Identifier, Incoterm, Money, PartyId, Text, Units, day_of


class OrderPlaced(Kind, kind="order.placed"):
    """Asks for units under a license; accepted, it reserves them."""

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = frozenset({"buyer", "consignee", "end_user", "exporter"})
    example: ClassVar[dict[str, Any]] = {
        "order": "PO-4711",
        "license": "D-100200",
        "sku": "H200-SXM",
        "units": 1000,
        "unit_value": {"amount": "27000.00", "currency": "USD"},
        "consignee": "dragon-dc",
        "end_user": "dragon-dc",
        "incoterm": "DAP",
    }

    order: Identifier
    license: Identifier
    sku: Identifier
    gtin: GTIN | None = None
    """Of the item, where the trade numbers it (GS1)."""
    units: Units
    unit_value: Money
    consignee: PartyId
    end_user: PartyId
    incoterm: Incoterm | None = None
    end_use: Identifier | None = None
    """What the goods are for, in the words of the document that governs it."""

    def subject(self) -> str:
        return f"order/{self.order}"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"
        yield License.name, self.license
        yield Purchases.name, f"{event.contract}/{self.end_user}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        order = Order(
            contract=event.contract,
            order=self.order,
            license=self.license,
            sku=self.sku,
            units=self.units,
            unit_value=self.unit_value.amount,
            currency=self.unit_value.currency,
            consignee=self.consignee,
            end_user=self.end_user,
            placed=index,
            placed_at=at,
        )
        facts.put(order)
        license_ = facts.get(License, self.license)
        if license_ is not None:
            facts.update(
                license_,
                ordered=license_.ordered + self.units,
            )
        _purchase(order, order.value, facts)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        if order is None:
            return None
        if order.released:
            return "correction.dependents"
        if order.state != "cancelled":
            _close(order, facts)
        return None


class OrderAmended(Kind, kind="order.amended"):
    """Asks for other units, another unit value or another consignee of an order that stands.

    What is not said stays. Accepted, it reserves the difference or gives it back; fewer units than
    are released cannot be asked for.
    """

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = OrderPlaced.said_by
    example: ClassVar[dict[str, Any]] = {
        "order": "PO-4711",
        "units": 1200,
        "unit_value": {"amount": "26500.00", "currency": "USD"},
        "reason": "second hall is ready early",
    }

    order: Identifier
    units: Units | None = None
    unit_value: Money | None = None
    """In the order's own currency."""
    consignee: PartyId | None = None
    reason: Text

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.units is None and self.unit_value is None and self.consignee is None:
            raise ValueError("an amendment says units, unit_value or consignee")
        return self

    def subject(self) -> str:
        return f"order/{self.order}"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from order_and_license(event.contract, self.order, facts)
        yield from _purchases_of(event.contract, self.order, facts)
        yield Amendments.name, f"{event.contract}/{self.order}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        if order is None or order.state == "cancelled":
            return
        past = facts.get(Amendments, order.key) or Amendments(contract=order.contract, order=order.order)
        before = Before(
            index=index, units=order.units, unit_value=order.unit_value, consignee=order.consignee
        )
        facts.update(past, before=(*past.before, before)[-AMENDMENTS_KEPT:])
        amended = replace(
            before,
            units=self.units or order.units,
            unit_value=order.unit_value if self.unit_value is None else self.unit_value.amount,
            consignee=self.consignee or order.consignee,
        )
        _amend(order, amended, facts)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        past = facts.get(Amendments, f"{event.contract}/{self.order}")
        if order is None or past is None:
            return None
        latest = past.before[-1] if past.before else None
        rested_upon = order.state == "cancelled" or latest is None or latest.index != index
        if latest is None or rested_upon or order.released > latest.units:
            return "correction.dependents"
        facts.update(past, before=past.before[:-1])
        _amend(order, latest, facts)
        return None


class OrderCancelled(Kind, kind="order.cancelled"):
    """Gives back what an order reserved and has not released."""

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = OrderPlaced.said_by
    example: ClassVar[dict[str, Any]] = {"order": "PO-4711", "reason": "project postponed"}

    order: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from order_and_license(event.contract, self.order, facts)
        yield from _purchases_of(event.contract, self.order, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        if order is not None and order.state != "cancelled":
            _close(order, facts)


class LevySettled(Kind, kind="levy.settled"):
    """A levy on an order's goods has been paid, in part or whole."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "buyer", "consignee", "authority"})
    example: ClassVar[dict[str, Any]] = {
        "order": "PO-4711",
        "amount": {"amount": "6750000.00", "currency": "USD"},
        "basis": {"amount": "27000000.00", "currency": "USD"},
        "rate": "0.25",
        "reference": "CBP-7501-0001",
    }

    order: Identifier
    amount: Money
    basis: Money
    rate: Amount
    reference: Identifier

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        self._settle(event, facts, self.amount.amount)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        # Paid before the order was placed, it was settled for nothing: there is nothing to take back.
        if order is not None and order.placed < index:
            self._settle(event, facts, -self.amount.amount)
        return None

    def _settle(self, event: Event, facts: Facts, amount: Decimal) -> None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        # An amount in another currency settles nothing: the ledger knows no rate of exchange.
        if order is not None and order.currency == self.amount.currency:
            facts.update(order, levied=order.levied + amount)


def order_and_license(contract: str, order: str, facts: Facts) -> Iterable[Key]:
    """The keys of an order and, once it is loaded, of its license."""
    key = f"{contract}/{order}"
    yield Order.name, key
    found = facts.peek(Order, key)
    if found is not None:
        yield License.name, found.license


def _purchases_of(contract: str, order: str, facts: Facts) -> Iterable[Key]:
    """The key of what the end user of an order buys, once the order is loaded."""
    found = facts.peek(Order, f"{contract}/{order}")
    if found is not None:
        yield Purchases.name, f"{contract}/{found.end_user}"


def _purchase(order: Order, amount: Decimal, facts: Facts) -> None:
    """Add to what the end user buys, or take from it, on the day on which the order was placed."""
    key = f"{order.contract}/{order.end_user}"
    purchases = facts.get(Purchases, key) or Purchases(contract=order.contract, end_user=order.end_user)
    contract = facts.get(Contract, order.contract)
    day = day_of(order.placed_at, contract.zone if contract else "UTC")
    facts.update(purchases, days=purchases.with_amount(day, amount, order.currency))


def state_of(*, released: int, units: int) -> Literal["placed", "part_released", "released"]:
    """The state of an order that stands."""
    return "released" if released >= units else "part_released" if released else "placed"


def _amend(order: Order, said: Before, facts: Facts) -> None:
    """Put what is `said` in the order's place, and reserve the difference."""
    amended = facts.update(
        order,
        units=said.units,
        unit_value=said.unit_value,
        consignee=said.consignee,
        state=state_of(released=order.released, units=said.units),
    )
    _purchase(order, order.value.copy_negate(), facts)
    _purchase(amended, amended.value, facts)
    license_ = facts.get(License, order.license)
    if license_ is not None:
        facts.update(license_, ordered=license_.ordered + said.units - order.units)


def _close(order: Order, facts: Facts) -> None:
    facts.update(order, state="cancelled")
    _purchase(order, replace(order, units=order.remaining).value.copy_negate(), facts)
    license_ = facts.get(License, order.license)
    if license_ is not None:
        facts.update(
            license_,
            ordered=license_.ordered - order.remaining,
        )
