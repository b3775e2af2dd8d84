"""Orders, and the levy that is settled for them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from ledger.event import Event, Kind, Nature
from ledger.facts import Facts, Key, License, Order
from ledger.values import Amount, Identifier, Incoterm, Money, PartyId, Text, Units


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
    units: Units
    unit_value: Money
    consignee: PartyId
    end_user: PartyId
    incoterm: Incoterm | None = None

    def subject(self) -> str:
        return f"order/{self.order}"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"
        yield License.name, self.license

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
        )
        facts.put(order)
        license_ = facts.get(License, self.license)
        if license_ is not None:
            facts.update(
                license_,
                ordered=license_.ordered + self.units,
            )

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        if order is None or order.state == "cancelled":
            return None
        if order.released:
            return "correction.dependents"
        _close(order, facts)
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


def _close(order: Order, facts: Facts) -> None:
    facts.update(order, state="cancelled")
    license_ = facts.get(License, order.license)
    if license_ is not None:
        facts.update(
            license_,
            ordered=license_.ordered - order.remaining,
        )
