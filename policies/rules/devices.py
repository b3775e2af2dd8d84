"""Devices out of use, enrolments and fleets: what a statement about them may rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ledger.decision import Finding
from ledger.facts import AWAY, Fleet
from ledger.kinds.device import DeviceEnrolled, DeviceInstalled, UsageAttested
from ledger.kinds.fleet import FleetAttested
from ledger.kinds.inspection import InspectionRequested, JobReported, ReportFiled, SlaReported
from ledger.kinds.rma import RmaReplaced
from ledger.kinds.withdrawal import DeviceFound, Withdrawal
from ledger.values import format_timestamp, midnight
from policies.conditions import Case
from policies.rules.rule import broken, broken_by_devices, rule


@rule(
    "device.enrolled",
    sentences={
        "devices_held.elsewhere": "{shortfall} of {limit} devices are held by another contract: {subjects}",
    },
)
def devices_held(case: Case, data: DeviceEnrolled) -> Iterator[Finding]:
    ours = (None, case.event.contract)
    held = tuple(d.serial for d in case.devices(tuple(data.speaks_of())) if d.contract not in ours)
    if held:
        yield broken_by_devices(case, "devices_held.elsewhere", len(data.devices), held)


@rule(
    "device.installed",
    "usage.attested",
    sentences={
        "devices_here.away": "{shortfall} of {limit} devices are lost, in repair or gone: {subjects}",
    },
)
def devices_here(case: Case, data: DeviceInstalled | UsageAttested) -> Iterator[Finding]:
    """What is out of use comes back by the event that says so, not by working all the same."""
    ours = case.event.contract
    if away := [d.serial for d in case.spoken if d.state in AWAY and d.contract == ours]:
        yield broken_by_devices(case, "devices_here.away", len(data.devices), tuple(away))


@rule(
    "device.lost",
    "device.found",
    "device.quarantined",
    "device.decommissioned",
    "device.destroyed",
    sentences={
        "device_state.wrong": "{shortfall} of {limit} devices are in a state that this does not follow "
        "from: {subjects}",
    },
)
def withdrawable(case: Case, data: Withdrawal) -> Iterator[Finding]:
    yield from not_ours(case, data.serials)
    yield from in_no_state_of(case, data.serials, data.moves_from)


def not_ours(case: Case, serials: tuple[str, ...]) -> Iterator[Finding]:
    """A finding on the devices that were not released under this contract."""
    ours = {device.serial for device in case.facts.devices_of(case.event.contract, serials)}
    strange = tuple(serial for serial in serials if serial not in ours)
    if strange:
        yield broken_by_devices(case, "devices_known.unknown", len(serials), strange)


def in_no_state_of(case: Case, serials: tuple[str, ...], states: Iterable[str]) -> Iterator[Finding]:
    """A finding on the devices of this contract that are in none of the states."""
    devices = case.facts.devices_of(case.event.contract, serials)
    wrong = tuple(device.serial for device in devices if device.state not in states)
    if wrong:
        yield broken_by_devices(case, "device_state.wrong", len(serials), wrong)


@rule(
    "device.found",
    "fleet.attested",
    "rma.replaced",
    "inspection.requested",
    "job.reported",
    sentences={
        "site_known.unknown": "the contract has no site {observed}",
    },
)
def site_known(
    case: Case, data: DeviceFound | FleetAttested | RmaReplaced | InspectionRequested | JobReported
) -> Iterator[Finding]:
    if data.site not in case.contract.sites:
        yield broken(case, "site_known.unknown", observed=data.site)


@rule(
    "fleet.attested",
    sentences={
        "fleet_hour.taken": "entry {subjects} has reported some of that time already",
    },
)
def fleet_hour(case: Case, data: FleetAttested) -> Iterator[Finding]:
    fleet = case.facts.get(Fleet, data.key(case.event))
    taken = None if fleet is None else fleet.overlapping(data.from_, data.until)
    if taken is not None:
        yield broken(case, "fleet_hour.taken", subjects=(str(taken.index),))


@rule(
    "fleet.attested",
    "sla.reported",
    "job.reported",
    "report.filed",
    sentences={
        "period_over.not_yet": "recorded at {observed}, the period ends at {limit}",
    },
)
def period_over(
    case: Case, data: FleetAttested | SlaReported | JobReported | ReportFiled
) -> Iterator[Finding]:
    """Nobody knows how a period went before it is over."""
    ends = _end_of(data, case.zone)
    if ends > case.at:
        yield broken(
            case, "period_over.not_yet", observed=case.recorded, limit=format_timestamp(ends), unit="time"
        )


def _end_of(data: FleetAttested | SlaReported | JobReported | ReportFiled, zone: str) -> datetime:
    if isinstance(data, ReportFiled):
        return midnight(data.until + timedelta(days=1), zone)
    return data.until
