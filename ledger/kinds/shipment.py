"""A shipment: its release, and its dispatch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Contract,
    Departure,
    Device,
    Duty,
    Exports,
    Facts,
    ImportApproval,
    Key,
    License,
    Movement,
    Order,
    Releases,
    Retention,
    Shipment,
)
from ledger.facts.supply import exports_key
from ledger.kinds.device import AT_HOME
from ledger.kinds.license import Day
from ledger.kinds.movement import (
    Move,
    forget,
    joined,
    latest,
    move,
    move_back,
    moved_on,
    movement_keys,
    remember,
    state_before,
)
from ledger.kinds.order import order_and_license
from ledger.kinds.release import (
    consume,
    counter_keys,
    ending_keys,
    exporter_keys,
    held_of,
    reopen_term,
    retake,
    run_term,
    shipment_keys,
    stop_term,
    take_back,
    term_key,
    term_keys,
)
from ledger.values import (
    SSCC,
    Country,
    Identifier,
    Money,
    PartyId,
    Port,
    Serials,
    Text,
    Value,
    midnight,
)


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
    valid_until: Day | None = None
    """The last day on which it may leave, which ends at 24:00 in the contract's zone: then what has not left
    is taken back. None: it stands until it is cancelled."""

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

    def undo_reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from self.reads(event, facts)
        if self.valid_until is not None:
            yield Duty.name, term_key(event.contract, self.shipment)

    def destined(self, contract: Contract | None) -> str:
        """The country that it goes to: that of the site, where the contract knows it."""
        known = None if contract is None else contract.country_of(self.destination.site)
        return known or self.destination.country

    def ends(self, zone: str) -> datetime | None:
        """The first instant at which it no longer stands, where it says when."""
        return None if self.valid_until is None else midnight(self.valid_until + timedelta(days=1), zone)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        units = len(self.serials)
        value = self.unit_value.amount * units
        contract = facts.get(Contract, event.contract)
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
            country=self.destined(contract),
            approval=self.approval,
            expires_at=self.ends(contract.zone if contract else "UTC"),
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
        consume(shipment, facts)
        run_term(shipment, facts, index=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is None or not shipment.stands:
            return None
        held = held_of(shipment, facts)
        if shipment.state != "released" or len(held) != len(shipment.serials):
            return "correction.dependents"
        take_back(shipment, facts, held, ended="cancelled")
        stop_term(shipment, facts)
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
        yield from ending_keys(event.contract, self.shipment, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None and shipment.stands:
            take_back(shipment, facts, held_of(shipment, facts), ended="cancelled")
            stop_term(shipment, facts, index=index)


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
        yield from movement_keys(event.contract, self.shipment, self.serials, facts)
        yield Retention.name, event.contract
        for serial in self.serials:
            yield Device.name, serial
        shipment = facts.peek(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None and shipment.taken_back:
            yield from counter_keys(shipment, facts)

    def undo_reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from self.reads(event, facts)
        yield from ending_keys(event.contract, self.shipment, facts)
        yield from term_keys(event.contract, self.serials, facts)

    @property
    def _moves(self) -> tuple[Move, ...]:
        return (Move(self.serials, "released", "in_transit"),)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        found = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        retaken = self._retaken(found, facts)
        shipment = retake(found, facts, retaken) if found is not None and retaken else found
        counted = 0 if shipment is None else self._count(shipment, facts)
        moved = move(event.contract, self._moves, facts)
        movement = Movement(
            index=index,
            state=None if found is None else found.state,
            dispatched=0 if shipment is None else len(shipment.dispatched),
            received=0 if shipment is None else len(shipment.received),
            damaged=0 if shipment is None else len(shipment.damaged),
            counted=counted,
            retaken=retaken,
            devices=moved.strange,
        )
        remember(event.contract, self.shipment, movement, moved.holders, facts)
        if shipment is not None:
            dispatched = joined(shipment.dispatched, self.serials)
            departures = shipment.departures
            if len(dispatched) > movement.dispatched:
                earlier = tuple(one for one in departures if one.at < at)
                departures = (*earlier, Departure(at=at, units=len(dispatched)))
            facts.update(
                shipment,
                state="dispatched" if shipment.state == "released" else shipment.state,
                dispatched=dispatched,
                departures=departures,
            )
            if shipment.expires_at is not None and shipment.stands and not held_of(shipment, facts):
                stop_term(shipment, facts, index=index)
        retention = facts.get(Retention, event.contract) or Retention(contract=event.contract)
        facts.update(retention, exported_at=at)

    def _retaken(self, shipment: Shipment | None, facts: Facts) -> tuple[str, ...]:
        """What had been taken back of the release, is free, and has left all the same."""
        if shipment is None or not shipment.taken_back:
            return ()
        taken_back = frozenset(shipment.taken_back)
        free = facts.devices(serial for serial in self.serials if serial in taken_back)
        return tuple(device.serial for device in free if device.contract is None and device.state in AT_HOME)

    def _count(self, shipment: Shipment, facts: Facts) -> int:
        order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
        # What was never of the release, or is taken back and released elsewhere, is not of the order.
        if order is None or not shipment.stands:
            return 0
        new = (set(self.serials) & set(shipment.serials)) - set(shipment.dispatched)
        facts.update(order, dispatched=order.dispatched + len(new))
        return len(new)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        """As if they had not left: they are released still. How long records are kept is not shortened."""
        movement = latest(event.contract, self.shipment, facts, index=index)
        if movement is None:
            return "correction.later_movement"
        if moved_on(event.contract, self._moves, movement, facts):
            return "correction.moved_on"
        key = f"{event.contract}/{self.shipment}"
        shipment = None if movement.state is None else facts.get(Shipment, key)
        if shipment is not None and shipment.cleared > movement.dispatched:
            return "correction.cleared"
        if not forget(event.contract, self.shipment, movement, self._moves, facts):
            return "correction.later_movement"
        move_back(self._moves, movement, facts)
        for device in facts.devices_of(event.contract, self.serials):
            if device.state == "released" and device.shipment is not None:
                reopen_term(facts.get(Shipment, device.shipment), facts)
        if shipment is not None:
            self._move_back(shipment, movement, facts)
        return None

    def _move_back(self, shipment: Shipment, movement: Movement, facts: Facts) -> None:
        gone = movement.dispatched
        departures = tuple(one for one in shipment.departures if one.units <= gone)
        # Another may have left at the same instant.
        if gone and (not departures or departures[-1].units < gone):
            departures = (*departures, Departure(at=shipment.departures[len(departures)].at, units=gone))
        order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
        if order is not None:
            facts.update(order, dispatched=order.dispatched - movement.counted)
        before = facts.update(
            shipment,
            state=state_before(shipment, movement),
            dispatched=shipment.dispatched[:gone],
            departures=departures,
        )
        ended: Literal["cancelled", "expired"] = "expired" if movement.state == "expired" else "cancelled"
        take_back(before, facts, movement.retaken, ended=ended)
        if not held_of(before, facts):
            stop_term(before, facts)
