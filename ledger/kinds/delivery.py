"""The arrival of a shipment, and that it is accepted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Device,
    Facts,
    Key,
    Movement,
    Order,
    Shipment,
    ShipmentState,
)
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
from ledger.kinds.release import (
    shipment_keys,
)
from ledger.values import (
    Identifier,
    SerialsOrNone,
    Text,
    Units,
)


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
        yield from movement_keys(event.contract, self.shipment, self.speaks_of(), facts)

    @property
    def _moves(self) -> tuple[Move, ...]:
        return (
            Move(self.received, "in_transit", "received", self.site),
            Move(self.missing, "in_transit", "missing"),
            Move(self.damaged, "in_transit", "damaged", self.site),
        )

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        counted = 0 if shipment is None else self._fold_shipment(shipment, facts)
        moved = move(event.contract, self._moves, facts)
        movement = Movement(
            index=index,
            state=None if shipment is None else shipment.state,
            dispatched=0 if shipment is None else len(shipment.dispatched),
            received=0 if shipment is None else len(shipment.received),
            damaged=0 if shipment is None else len(shipment.damaged),
            counted=counted,
            missing=() if shipment is None else shipment.missing,
            devices=moved.strange,
        )
        remember(event.contract, self.shipment, movement, moved.holders, facts)

    def _fold_shipment(self, shipment: Shipment, facts: Facts) -> int:
        """Gives the units that have arrived, and had not before."""
        new = {*self.received, *self.damaged} - set(shipment.received) - set(shipment.damaged)
        received = joined(shipment.received, self.received)
        damaged = joined(shipment.damaged, self.damaged)
        found = set(received) | set(damaged)
        missing = tuple(s for s in joined(shipment.missing, self.missing) if s not in found)
        whole = found | set(missing) >= set(shipment.dispatched or shipment.serials)
        arrived: ShipmentState = "received" if whole else "part_received"
        facts.update(
            shipment,
            # What is said to have arrived of a release that is over makes it no release again.
            state=arrived if shipment.stands else shipment.state,
            received=received,
            missing=missing,
            damaged=damaged,
        )
        order = facts.get(Order, f"{shipment.contract}/{shipment.order}")
        if order is None:
            return 0
        facts.update(order, received=order.received + len(new))
        return len(new)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        movement = latest(event.contract, self.shipment, facts, index=index)
        if movement is None:
            return "correction.later_movement"
        if moved_on(event.contract, self._moves, movement, facts):
            return "correction.moved_on"
        key = f"{event.contract}/{self.shipment}"
        shipment = None if movement.state is None else facts.get(Shipment, key)
        order = None if shipment is None else facts.get(Order, f"{shipment.contract}/{shipment.order}")
        # Somebody has signed for what would not have arrived.
        if order is not None and movement.counted and order.accepted > order.received - movement.counted:
            return "correction.signed_for"
        if not forget(event.contract, self.shipment, movement, self._moves, facts):
            return "correction.later_movement"
        move_back(self._moves, movement, facts)
        if order is not None:
            facts.update(order, received=order.received - movement.counted)
        if shipment is not None:
            facts.update(
                shipment,
                state=state_before(shipment, movement),
                received=shipment.received[: movement.received],
                missing=movement.missing,
                damaged=shipment.damaged[: movement.damaged],
            )
        return None


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
