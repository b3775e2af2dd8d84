"""Duties about devices: to install them, and to attest that they are in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from ledger.decision import SUBJECTS_MAX, Verdict
from ledger.event import Event
from ledger.facts import Contract, Device, Duty, Facts, Key, Shipment
from ledger.kinds.device import DeviceInstalled, UsageAttested
from ledger.kinds.shipment import DeliveryReceived
from ledger.values import day_of, later, midnight
from policies.conditions.case import Case
from policies.conditions.parameters import Duration, Parameters
from policies.obligations.registry import Change, Meets, Obligation, Opens

# --- 24 -------------------------------------------------------------------------------------------


class InstallWithin(Parameters):
    within: Annotated[
        Duration, Field(description="Whole days after the day of delivery, in the contract's zone: `P30D`.")
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
        named = len(duty.items)
        return Verdict(
            not idle,
            named - len(idle),
            named,
            len(idle) or None,
            self.unit,
            idle[:SUBJECTS_MAX],
            len(idle),
        )


def _delivery(event: Event) -> str:
    return f"delivery/{event.id}"


# --- 28 -------------------------------------------------------------------------------------------


class Heartbeat(Parameters):
    first: Annotated[Duration, Field(description="After it is installed a device first attests within this.")]
    every: Annotated[Duration, Field(description="Each attestation is due this long after the one before.")]


class AttestationHeartbeat(Obligation[Heartbeat], name="attestation_heartbeat"):
    """A device that is installed must attest, again and again, until it is withdrawn: lost, sent back,
    decommissioned or destroyed.

    Counted from `recorded_at` of its last attestation that passed: a claimed time could be dated back
    and a late one would never show. The grace of the document runs from the due instant. Suspension
    of the license stops new supply and ends no duty to attest.
    """

    number = 28
    watches = (
        "device.installed", "usage.attested",
        "device.lost", "device.decommissioned", "device.destroyed", "rma.opened", "rma.returned",
    )  # fmt: skip
    parameters = Heartbeat
    sentences: ClassVar[Mapping[str, str]] = {"late": "no attestation has been recorded in time"}

    def touches(self, event: Event, facts: Facts, parameters: Heartbeat) -> Iterable[str]:
        return event.data.speaks_of()

    def reads(self, event: Event, facts: Facts, parameters: Heartbeat) -> Iterable[Key]:
        for serial in event.data.speaks_of():
            device = facts.peek(Device, serial)
            if device is not None and device.shipment is not None:
                yield Shipment.name, device.shipment

    def changes(self, case: Case, parameters: Heartbeat) -> Iterable[Change]:
        data = case.data
        if isinstance(data, DeviceInstalled):
            serials = tuple(device.serial for device in data.devices)
            wait = parameters.first
        elif isinstance(data, UsageAttested):
            serials = tuple(device.serial for device in data.devices if device.outcome == "pass")
            wait = parameters.every
        else:
            ended = tuple(d.serial for d in case.facts.devices_of(case.event.contract, data.speaks_of()))
            if ended:
                yield Meets(ended)
            return
        due = later(case.at, wait, case.zone)
        for license_, ours in self._by_license(case, serials).items():
            yield Opens(ours, due, license=license_)

    def _by_license(self, case: Case, serials: tuple[str, ...]) -> dict[str | None, tuple[str, ...]]:
        """The contract's own devices, by the license that they were released under, in order."""
        found: dict[str | None, list[str]] = {}
        for device in case.facts.devices_of(case.event.contract, serials):
            shipment = None if device.shipment is None else case.facts.get(Shipment, device.shipment)
            license_ = None if shipment is None else shipment.license
            found.setdefault(license_, []).append(device.serial)
        return {license_: tuple(ours) for license_, ours in found.items()}
