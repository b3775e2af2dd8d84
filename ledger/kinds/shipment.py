"""A shipment: its release, its dispatch, its arrival, and that it is accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Contract,
    Departure,
    Device,
    Exporter,
    Exports,
    Facts,
    ImportApproval,
    Key,
    License,
    Order,
    Releases,
    Retention,
    Shipment,
)
from ledger.facts.calendar import month_at
from ledger.facts.supply import exports_key
from ledger.facts.trade import EXACT
from ledger.kinds.order import order_and_license, state_of
from ledger.values import (
    SSCC,
    Country,
    Identifier,
    Money,
    PartyId,
    Port,
    Serials,
    SerialsOrNone,
    Text,
    Units,
    Value,
)


def shipment_keys(contract: str, shipment: str, facts: Facts) -> Iterable[Key]:
    """The keys of a shipment and, once it is loaded, of its order, license and devices."""
    key = f"{contract}/{shipment}"
    yield Shipment.name, key
    found = facts.peek(Shipment, key)
    if found is not None:
        yield Order.name, f"{contract}/{found.order}"
        yield License.name, found.license
        for serial in found.serials:
            yield Device.name, serial


def counter_keys(shipment: Shipment, facts: Facts) -> Iterable[Key]:
    """The keys of what a release counts towards, beyond its order and license."""
    yield from exporter_keys(shipment.contract, facts)
    yield Releases.name, f"{shipment.contract}/{shipment.license}"
    if shipment.exporter is not None:
        yield Exports.name, exports_key(shipment.exporter, shipment.sku)
    if shipment.approval is not None:
        yield ImportApproval.name, f"{shipment.contract}/{shipment.approval}"


class Destination(Value):
    country: Country
    site: Identifier
    port: Port | None = None


class ShipmentRequested(Kind, kind="shipment.requested"):
    """Asks for the release of named devices; accepted, it consumes the caps."""

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "order": "PO-4711",
        "license": "D-100200",
        "sku": "H200-SXM",
        "serials": ["SN000001", "SN000002"],
        "unit_value": {"amount": "27000.00", "currency": "USD"},
        "consignee": "dragon-dc",
        "forwarder": "swift-freight",
        "end_user": "dragon-dc",
        "destination": {"country": "CN", "site": "SHA-1", "port": "CNSHA"},
    }

    shipment: Identifier
    order: Identifier
    license: Identifier
    sku: Identifier
    serials: Serials
    unit_value: Money
    consignee: PartyId
    forwarder: PartyId
    end_user: PartyId
    destination: Destination
    approval: Identifier | None = None
    """The approval to import that it draws on."""

    def subject(self) -> str:
        return f"shipment/{self.shipment}"

    def rests_on(self) -> Iterable[str]:
        return (f"order/{self.order}",)

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from order_and_license(event.contract, self.order, facts)
        yield License.name, self.license
        yield Shipment.name, f"{event.contract}/{self.shipment}"
        for serial in self.serials:
            yield Device.name, serial
        yield from exporter_keys(event.contract, facts)
        yield Releases.name, f"{event.contract}/{self.license}"
        yield Exports.name, exports_key(event.actor.party, self.sku)
        if self.approval is not None:
            yield ImportApproval.name, f"{event.contract}/{self.approval}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        units = len(self.serials)
        value = self.unit_value.amount * units
        shipment = Shipment(
            contract=event.contract,
            shipment=self.shipment,
            order=self.order,
            license=self.license,
            sku=self.sku,
            serials=self.serials,
            value=value,
            currency=self.unit_value.currency,
            released=index,
            released_at=at,
            exporter=event.actor.party,
            country=self.destination.country,
            approval=self.approval,
        )
        facts.put(shipment)
        for device in facts.devices(self.serials):
            facts.update(
                device,
                state="released",
                sku=self.sku,
                contract=event.contract,
                shipment=shipment.key,
            )
        _release(shipment, facts, +1)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is None or shipment.state == "cancelled":
            return None
        if shipment.state != "released" or gone_from(shipment, facts):
            return "correction.dependents"
        _take_back(shipment, facts)
        return None


class ShipmentCancelled(Kind, kind="shipment.cancelled"):
    """Takes back what of a release has not left: those devices are free, and their share of the caps is back.

    What has left stays released under it, and keeps its quota.
    """

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = ShipmentRequested.said_by
    example: ClassVar[dict[str, Any]] = {"shipment": "SH-1", "reason": "carrier has no space"}

    shipment: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from shipment_keys(event.contract, self.shipment, facts)
        shipment = facts.peek(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None:
            yield from counter_keys(shipment, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None and shipment.state != "cancelled":
            _take_back(shipment, facts)


class ShipmentDispatched(Kind, kind="shipment.dispatched"):
    """A carrier has taken released devices."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"forwarder", "exporter"})
    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "serials": ["SN000001", "SN000002"],
        "carrier": "Swift Freight",
        "sscc": "003456789012345670",
        "port_of_loading": "USLAX",
    }

    shipment: Identifier
    serials: Serials
    carrier: Text
    sscc: SSCC | None = None
    port_of_loading: Port | None = None

    def rests_on(self) -> Iterable[str]:
        return (f"shipment/{self.shipment}",)

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from shipment_keys(event.contract, self.shipment, facts)
        yield Retention.name, event.contract
        for serial in self.serials:
            yield Device.name, serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None:
            self._count(shipment, facts)
            dispatched = _joined(shipment.dispatched, self.serials)
            earlier = tuple(one for one in shipment.departures if one.at < at)
            facts.update(
                shipment,
                state="dispatched" if shipment.state == "released" else shipment.state,
                dispatched=dispatched,
                departures=(*earlier, Departure(at=at, units=len(dispatched))),
            )
        for device in facts.devices_of(event.contract, self.serials):
            facts.update(device, state="in_transit")
        retention = facts.get(Retention, event.contract) or Retention(contract=event.contract)
        facts.update(retention, exported_at=at)

    def _count(self, shipment: Shipment, facts: Facts) -> None:
        order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
        # What left after its release was taken back, or was never of it, is not of the order.
        if order is not None and shipment.state != "cancelled":
            new = (set(self.serials) & set(shipment.serials)) - set(shipment.dispatched)
            facts.update(order, dispatched=order.dispatched + len(new))


class DeliveryReceived(Kind, kind="delivery.received"):
    """What arrived, what did not, and what arrived broken."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"consignee", "data_centre", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "site": "SHA-1",
        "received": ["SN000001"],
        "missing": ["SN000002"],
        "damaged": [],
    }

    shipment: Identifier
    site: Identifier
    received: SerialsOrNone = ()
    """In good order."""
    missing: SerialsOrNone = ()
    damaged: SerialsOrNone = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        everything = (*self.received, *self.missing, *self.damaged)
        if not everything:
            raise ValueError("a delivery names at least one serial")
        if len(set(everything)) != len(everything):
            raise ValueError("a serial is received, missing or damaged, and only one of these")
        return self

    def speaks_of(self) -> Iterable[str]:
        return (*self.received, *self.missing, *self.damaged)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from shipment_keys(event.contract, self.shipment, facts)
        for serial in self.speaks_of():
            yield Device.name, serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        arrived = (*self.received, *self.damaged)
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None:
            self._fold_shipment(shipment, arrived, facts)
        for serials, state in (
            (self.received, "received"),
            (self.missing, "missing"),
            (self.damaged, "damaged"),
        ):
            for device in facts.devices_of(event.contract, serials):
                facts.update(device, state=state, site=None if state == "missing" else self.site)

    def _fold_shipment(self, shipment: Shipment, arrived: tuple[str, ...], facts: Facts) -> None:
        new = set(arrived) - set(shipment.received) - set(shipment.damaged)
        received = _joined(shipment.received, self.received)
        damaged = _joined(shipment.damaged, self.damaged)
        found = set(received) | set(damaged)
        missing = tuple(s for s in _joined(shipment.missing, self.missing) if s not in found)
        whole = found | set(missing) >= set(shipment.dispatched or shipment.serials)
        facts.update(
            shipment,
            state="received" if whole else "part_received",
            received=received,
            missing=missing,
            damaged=damaged,
        )
        order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
        if order is not None:
            facts.update(order, received=order.received + len(new))


class AcceptanceSigned(Kind, kind="acceptance.signed"):
    """Whoever received goods has tested them and signed for so many."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"buyer", "consignee", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "order": "PO-4711",
        "shipment": "SH-1",
        "units": 1000,
        "signatory": "L. Chen, head of operations",
    }

    order: Identifier
    shipment: Identifier | None = None
    """Where one shipment was accepted by itself."""
    units: Units
    signatory: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"
        if self.shipment is not None:
            yield Shipment.name, f"{event.contract}/{self.shipment}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        if order is not None:
            facts.update(order, accepted=order.accepted + self.units)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        order = facts.get(Order, f"{event.contract}/{self.order}")
        # Signed before the order was placed, it accepted nothing.
        if order is not None and order.placed < index:
            facts.update(order, accepted=order.accepted - self.units)
        return None


def exporter_keys(contract: str, facts: Facts) -> Iterable[Key]:
    found = facts.peek(Contract, contract)
    if found is not None and found.exporter is not None:
        yield Exporter.name, found.exporter


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Both, without repeats, in order."""
    return tuple(dict.fromkeys((*first, *second)))


def gone_from(shipment: Shipment, facts: Facts) -> tuple[str, ...]:
    """The devices of a release that are not where it left them: a dispatch may have named another number.

    Quota comes back only for units that never left.
    """
    return tuple(
        device.serial
        for device in facts.devices(shipment.serials)
        if device.state != "released" or device.shipment != shipment.key
    )


def _take_back(shipment: Shipment, facts: Facts) -> None:
    """Free the devices that have not left: the whole release, or a part of it."""
    gone = frozenset(gone_from(shipment, facts))
    held = tuple(serial for serial in shipment.serials if serial not in gone)
    if not held:
        return
    back = shipment
    if gone:
        # All of a release is at one unit value, so the division is exact.
        each = EXACT.divide(shipment.value, Decimal(len(shipment.serials)))
        left = tuple(serial for serial in shipment.serials if serial in gone)
        facts.update(shipment, serials=left, value=EXACT.multiply(each, Decimal(len(left))))
        back = replace(shipment, serials=held, value=EXACT.multiply(each, Decimal(len(held))))
    else:
        facts.update(shipment, state="cancelled")
    for device in facts.devices(held):
        # Back to what its test says: no policy need have asked for one.
        test = device.test_for(shipment.contract)
        state = "known" if test is None else "tested" if test.result == "pass" else "failed"
        facts.update(device, state=state, contract=None, shipment=None)
    _release(back, facts, -1)


def _release(shipment: Shipment, facts: Facts, sign: int) -> None:
    """Consume (+1) or give back (-1) what the shipment takes of order, license, exporter and approval."""
    units = sign * len(shipment.serials)
    order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
    if order is not None:
        released = order.released + units
        facts.update(
            order,
            released=released,
            released_value=order.released_value + sign * shipment.value,
            state=(
                order.state if order.state == "cancelled" else state_of(released=released, units=order.units)
            ),
        )
    license_ = facts.get(License, shipment.license)
    if license_ is not None:
        facts.update(
            license_,
            # What comes back to a cancelled order is reserved by nobody any more.
            ordered=license_.ordered + (units if order and order.state == "cancelled" else 0),
            released=license_.released + units,
        )
    contract = facts.get(Contract, shipment.contract)
    if contract is not None and contract.exporter is not None:
        exporter = facts.get(Exporter, contract.exporter)
        if exporter is not None:
            facts.update(exporter, released=exporter.released + units)
    _count(shipment, contract.zone if contract else "UTC", facts, sign)


def _count(shipment: Shipment, zone: str, facts: Facts, sign: int) -> None:
    """Add to (+1) or take from (-1) what is counted by value, month, country and approval."""
    units = sign * len(shipment.serials)
    releases = facts.get(Releases, f"{shipment.contract}/{shipment.license}") or Releases(
        contract=shipment.contract, license=shipment.license
    )
    facts.update(
        releases,
        values=releases.with_value(sign * shipment.value, shipment.currency),
        # Given back to the month that it was taken of.
        months=releases.with_units(month_at(shipment.released_at, zone), units),
    )
    if shipment.exporter is not None and shipment.country is not None:
        key = exports_key(shipment.exporter, shipment.sku)
        exports = facts.get(Exports, key) or Exports(exporter=shipment.exporter, sku=shipment.sku)
        facts.update(exports, countries=exports.with_units(shipment.country, units))
    if shipment.approval is not None:
        approval = facts.get(ImportApproval, f"{shipment.contract}/{shipment.approval}")
        if approval is not None and approval.index < shipment.released:
            facts.update(approval, released=approval.released + units)
