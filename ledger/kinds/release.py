"""What a release consumes while it stands, how long it does, and what comes back of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from ledger.event import LEDGER_PARTY, Event
from ledger.facts import (
    Contract,
    Device,
    Duty,
    DutyStep,
    Exporter,
    Exports,
    Facts,
    ImportApproval,
    Key,
    License,
    Order,
    Releases,
    Shipment,
    duty_key,
)
from ledger.facts.calendar import month_at
from ledger.facts.supply import exports_key
from ledger.facts.trade import EXACT
from ledger.kinds.ledger import Own
from ledger.kinds.order import state_of
from ledger.values import SERIALS_PER_EVENT_MAX, Any_, Identifier, Serial, Timestamp, format_timestamp


def shipment_keys(contract: str, shipment: str, facts: Facts) -> Iterable[Key]:
    """The keys of a shipment and, once it is loaded, of its order, license and devices."""
    key = f"{contract}/{shipment}"
    yield Shipment.name, key
    found = facts.peek(Shipment, key)
    if found is not None:
        if found.expires_at is not None:
            yield Duty.name, term_key(contract, shipment)
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


def exporter_keys(contract: str, facts: Facts) -> Iterable[Key]:
    found = facts.peek(Contract, contract)
    if found is not None and found.exporter is not None:
        yield Exporter.name, found.exporter


def gone_from(shipment: Shipment, facts: Facts) -> tuple[str, ...]:
    """The devices of a release that are not where it left them: a dispatch may have named another number.

    Quota comes back only for units that never left.
    """
    return tuple(
        device.serial
        for device in facts.devices(shipment.serials)
        if device.state != "released" or device.shipment != shipment.key
    )


def held_of(shipment: Shipment, facts: Facts) -> tuple[str, ...]:
    """The devices of a release that are still where it left them."""
    gone = frozenset(gone_from(shipment, facts))
    return tuple(serial for serial in shipment.serials if serial not in gone)


def take_back(
    shipment: Shipment, facts: Facts, serials: tuple[str, ...], *, ended: Literal["cancelled", "expired"]
) -> None:
    """Free these devices of a release, and give back what they consumed; without them all it has `ended`."""
    if not serials:
        return
    freed = frozenset(serials)
    left = tuple(serial for serial in shipment.serials if serial not in freed)
    taken_back = tuple(dict.fromkeys((*shipment.taken_back, *serials)))
    back = _part(shipment, serials)
    if left:
        facts.update(shipment, serials=left, value=_part(shipment, left).value, taken_back=taken_back)
    else:
        facts.update(shipment, state=ended, taken_back=taken_back)
    for device in facts.devices(serials):
        # Back to what its test says: no policy need have asked for one.
        test = device.test_for(shipment.contract)
        state = "known" if test is None else "tested" if test.result == "pass" else "failed"
        facts.update(device, state=state, contract=None, shipment=None)
    _release(back, facts, -1)


def retake(shipment: Shipment, facts: Facts, serials: tuple[str, ...]) -> Shipment:
    """Release again what had been taken back and has left all the same: quota is for what never left."""
    again, left = _part(shipment, serials), frozenset(serials)
    kept = shipment.serials if shipment.stands else ()
    facts.update(
        shipment,
        state=shipment.state if shipment.stands else "released",
        serials=(*kept, *serials),
        value=_part(shipment, (*kept, *serials)).value,
        taken_back=tuple(serial for serial in shipment.taken_back if serial not in left),
    )
    for device in facts.devices(serials):
        facts.update(
            device, state="released", sku=shipment.sku, contract=shipment.contract, shipment=shipment.key
        )
    _release(again, facts, +1)
    released = facts.get(Shipment, shipment.key)
    assert released is not None, "it was put just now"
    return released


def _part(shipment: Shipment, serials: tuple[str, ...]) -> Shipment:
    """The release as if it were of these devices alone."""
    # All of a release is at one unit value, so the division is exact.
    each = EXACT.divide(shipment.value, Decimal(len(shipment.serials)))
    return replace(shipment, serials=serials, value=EXACT.multiply(each, Decimal(len(serials))))


def consume(shipment: Shipment, facts: Facts) -> None:
    """Count a new release towards every cap that it takes of."""
    _release(shipment, facts, +1)


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
    # One that was granted since under the number of one in error has nothing to do with it.
    if license_ is not None and license_.granted < shipment.released:
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


# --- how long it stands ---------------------------------------------------------------------------

TERM: Final = "release_term"


def term_key(contract: str, shipment: str) -> str:
    """Of the duty that says when a release ends; it is the ledger's own."""
    return duty_key(contract, LEDGER_PARTY, TERM, shipment)


def term_keys(contract: str, serials: Iterable[str], facts: Facts) -> Iterable[Key]:
    """The keys of the releases that hold these devices, and of when each ends."""
    for serial in serials:
        device = facts.peek(Device, serial)
        if device is None or device.contract != contract or device.shipment is None:
            continue
        yield Shipment.name, device.shipment
        shipment = facts.peek(Shipment, device.shipment)
        if shipment is not None and shipment.expires_at is not None:
            yield Duty.name, term_key(contract, shipment.shipment)


def run_term(shipment: Shipment, facts: Facts, *, index: int) -> None:
    """Let the clock take back what has not left by the end of the release, where it has one."""
    if shipment.expires_at is None:
        return
    due = format_timestamp(shipment.expires_at)
    facts.put(
        Duty(
            contract=shipment.contract,
            policy=LEDGER_PARTY,
            version=1,
            obligation=TERM,
            uses=TERM,
            subject=shipment.shipment,
            opened=index,
            due=due,
            steps=(DutyStep(at=due, action="flag"),),
            license=shipment.license,
            next=due,
        )
    )


def stop_term(shipment: Shipment, facts: Facts, *, index: int | None = None) -> None:
    """Nothing is left for the clock to take back."""
    duty = None if shipment.expires_at is None else facts.get(Duty, term_key(*_names(shipment)))
    if duty is not None:
        facts.update(duty, state="met", next=None, met=index)


def reopen_term(shipment: Shipment | None, facts: Facts) -> None:
    """Something is there again that the clock must take back: at once, where its last day is over."""
    if shipment is None or shipment.expires_at is None or not shipment.stands:
        return
    duty = facts.get(Duty, term_key(*_names(shipment)))
    if duty is not None:
        facts.update(duty, state="open", next=duty.due, met=None)


def _names(shipment: Shipment) -> tuple[str, str]:
    return shipment.contract, shipment.shipment


class ShipmentExpired(Own, kind="shipment.expired"):
    """The last day of a release has ended: what had not left is free, and its share of the caps is back.

    What has left stays released under it, and keeps its quota.
    """

    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "expired_at": "2027-04-01T04:00:00.000000Z",
        "serials": ["SN000002"],
    }

    shipment: Identifier
    expired_at: Timestamp
    """The first instant at which it no longer stood."""
    serials: Annotated[Any_[Serial], Field(max_length=SERIALS_PER_EVENT_MAX)] = ()
    """What had not left."""

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        # First, and without a fact: a replay asks which duty the clock has spoken of.
        yield Duty.name, term_key(event.contract, self.shipment)
        yield from ending_keys(event.contract, self.shipment, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        if shipment is not None:
            take_back(shipment, facts, self.serials, ended="expired")
            stop_term(shipment, facts, index=index)


def ending_keys(contract: str, shipment: str, facts: Facts) -> Iterable[Key]:
    """The keys of all that changes when a release, or a part of it, is taken back."""
    yield Contract.name, contract
    yield from shipment_keys(contract, shipment, facts)
    found = facts.peek(Shipment, f"{contract}/{shipment}")
    if found is not None:
        yield from counter_keys(found, facts)
