"""Duties about devices: to install them, and to attest that they are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Final

from pydantic import Field

from ledger.decision import Verdict
from ledger.event import Event
from ledger.facts import Contract, Device, Duty, Facts, Key, Shipment
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.delivery import DeliveryReceived
from ledger.kinds.device import UsageAttested
from ledger.values import day_of, later, midnight
from policies.conditions.case import Case
from policies.conditions.declared import LESS, Doubt, Use, WholeDays, late_at_once
from policies.conditions.parameters import Duration, Parameters
from policies.obligations.registry import Change, Meets, Obligation, Opens, verdict_of_items

# --- 24 -------------------------------------------------------------------------------------------


class InstallWithin(Parameters):
    within: Annotated[
        Duration,
        WholeDays(),
        LESS,
        Field(description="Whole days after the day of delivery, in the contract's zone: `P30D`."),
    ]


class InstallDeadline(Obligation[InstallWithin], name="install_deadline"):
    """Devices that have arrived must stand in their racks within a number of days.

    The last day ends at 24:00 in the contract's zone. When it has ended the devices of that delivery
    that are neither installed nor gone elsewhere are idle. Each delivery is a duty of its own.
    """

    number = 24
    watches = ("delivery.received",)
    parameters = InstallWithin
    unit = "devices"
    sentences: ClassVar[Mapping[str, str]] = {
        "late": "{observed} of {limit} devices are installed, {shortfall} idle: {subjects}",
        "met": "{observed} of {limit} devices are installed",
    }

    def touches(self, event: Event, facts: Facts, parameters: InstallWithin) -> Iterable[str]:
        if isinstance(event.data, DeliveryReceived):
            yield _delivery(event)

    def changes(self, case: Case, parameters: InstallWithin) -> Iterable[Change]:
        data = case.data
        if not isinstance(data, DeliveryReceived) or not data.received:
            return
        last = day_of(case.at, case.zone) + timedelta(days=parameters.within.days)
        due = midnight(last + timedelta(days=1), case.zone)
        shipment = case.shipment(data.shipment)
        yield Opens(
            (_delivery(case.event),),
            due,
            items=data.received,
            license=None if shipment is None else shipment.license,
        )

    def due_reads(self, duty: Duty, parameters: InstallWithin) -> Iterable[Key]:
        return ((Device.name, serial) for serial in duty.items)

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: InstallWithin, *, at: datetime
    ) -> Verdict:
        idle = tuple(
            device.serial
            for device in facts.devices_of(contract.contract, duty.items)
            if device.state == "received"
        )
        return verdict_of_items(duty, idle, self.unit)


def _delivery(event: Event) -> str:
    return f"delivery/{event.id}"


# --- 28 -------------------------------------------------------------------------------------------


class Heartbeat(Parameters):
    first: Annotated[
        Duration, LESS, Field(description="After it is installed a device first attests within this.")
    ]
    every: Annotated[
        Duration, LESS, Field(description="Each attestation is due this long after the one before.")
    ]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        yield from late_at_once(self, use, "first", "every")


IN_USE: Final = frozenset({"installed", "attesting"})


class AttestationHeartbeat(Obligation[Heartbeat], name="attestation_heartbeat"):
    """A device that is in use must attest, again and again, for as long as it is.

    Counted from `recorded_at` of its last attestation that passed: a claimed time could be dated back
    and a late one would never show. The grace of the document runs from the due instant. Suspension
    of the license stops new supply and ends no duty to attest; what takes the device out of use ends
    it, and what brings it back, a correction too, begins it anew. A document that comes into force
    finds the devices in use by their next attestation.
    """

    number = 28
    watches = (
        "device.installed", "usage.attested", "device.found", "device.lost", "device.quarantined",
        "device.transferred", "device.decommissioned", "device.destroyed", "rma.opened", "rma.replaced",
        "rma.returned", "event.declared_in_error",
    )  # fmt: skip
    parameters = Heartbeat
    sentences: ClassVar[Mapping[str, str]] = {"late": "no attestation has been recorded in time"}

    def touches(self, event: Event, facts: Facts, parameters: Heartbeat) -> Iterable[str]:
        data = event.data
        if isinstance(data, DeclaredInError):
            return tuple(serial for _, one in data.mistaken(facts) for serial in one.data.speaks_of())
        return data.speaks_of()

    def reads(self, event: Event, facts: Facts, parameters: Heartbeat) -> Iterable[Key]:
        for serial in self.touches(event, facts, parameters):
            yield Device.name, serial
            device = facts.peek(Device, serial)
            if device is not None and device.shipment is not None:
                yield Shipment.name, device.shipment

    def changes(self, case: Case, parameters: Heartbeat) -> Iterable[Change]:
        data, ours = case.data, case.event.contract
        serials = tuple(dict.fromkeys(self.touches(case.event, case.facts, parameters)))
        # What the event will make of the devices, on a layer that nobody keeps.
        after = case.facts.attempt()
        data.fold(case.event, after, index=0, at=case.at)
        before = list(case.facts.devices_of(ours, serials))
        was = {device.serial for device in before if device.state in IN_USE}
        shipments = frozenset(device.shipment for device in before)
        devices = [d for d in after.devices_of(ours, serials) if d.state in IN_USE]
        used = {device.serial for device in devices}
        ended = tuple(serial for serial in serials if serial in was and serial not in used)
        if ended:
            yield Meets(ended)
        passed: frozenset[str] = frozenset()
        if isinstance(data, UsageAttested):
            passed = frozenset(device.serial for device in data.devices if device.outcome == "pass")
        attested = [device for device in devices if device.serial in passed]
        begun = [device for device in devices if device.serial not in passed and device.serial not in was]
        for some, wait, renews in ((attested, parameters.every, True), (begun, parameters.first, False)):
            due = later(case.at, wait, case.zone)
            for license_, numbers in _by_license(case, some, shipments).items():
                yield Opens(numbers, due, license=license_, renews=renews)


def _by_license(
    case: Case, devices: list[Device], known: frozenset[str | None]
) -> dict[str | None, tuple[str, ...]]:
    """By the license that they were released under, in order; `known` are the shipments that are loaded."""
    found: dict[str | None, list[str]] = {}
    for device in devices:
        key = device.shipment if device.shipment in known else None
        shipment = None if key is None else case.facts.get(Shipment, key)
        license_ = None if shipment is None else shipment.license
        found.setdefault(license_, []).append(device.serial)
    return {license_: tuple(serials) for license_, serials in found.items()}
