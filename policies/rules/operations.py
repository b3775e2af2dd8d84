"""Repairs, inspections, incidents and reports: what is new, open and whose."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Device, Incident, Inspection, Report, Rma
from ledger.kinds.inspection import (
    IncidentReported,
    InspectionCompleted,
    InspectionRequested,
    ReportFiled,
)
from ledger.kinds.rma import RmaOpened, RmaReplaced, RmaRequested, RmaReturned, is_free
from ledger.kinds.withdrawal import ABROAD
from policies.conditions import Case
from policies.rules.devices import in_no_state_of, not_ours
from policies.rules.rule import broken, broken_by_devices, rule


@rule(
    "rma.requested",
    sentences={
        "rma_new.exists": "the number of the case is taken",
    },
)
def rma_new(case: Case, data: RmaRequested) -> Iterator[Finding]:
    if case.facts.get(Rma, f"{case.event.contract}/{data.rma}") is not None:
        yield broken(case, "rma_new.exists")
    if case.license(data.license) is None:
        yield broken(case, "license_known.unknown")
    yield from not_ours(case, data.serials)
    yield from in_no_state_of(case, data.serials, ABROAD)


@rule(
    "rma.opened",
    "rma.replaced",
    "rma.returned",
    sentences={
        "rma_known.unknown": "no such case was requested in this contract",
        "rma_known.withdrawn": "the request for this case was declared in error",
        "rma_known.not_of_case": "{shortfall} of {limit} devices are not of this case: {subjects}",
    },
)
def rma_known(case: Case, data: RmaOpened | RmaReplaced | RmaReturned) -> Iterator[Finding]:
    rma = case.facts.get(Rma, f"{case.event.contract}/{data.rma}")
    if rma is None:
        yield broken(case, "rma_known.unknown")
        return
    if rma.state == "cancelled":
        yield broken(case, "rma_known.withdrawn")
        return
    defective = (
        tuple(device.defective for device in data.devices) if isinstance(data, RmaReplaced) else data.serials
    )
    named = frozenset(rma.serials)
    strange = tuple(serial for serial in defective if serial not in named)
    if strange:
        yield broken_by_devices(case, "rma_known.not_of_case", len(defective), strange)
    if not isinstance(data, RmaReplaced):
        out = {"rma_out", "replaced"} if isinstance(data, RmaReturned) else set()
        yield from in_no_state_of(case, defective, ABROAD | out)


@rule(
    "rma.replaced",
    sentences={
        "rma_replacement.twice": "{shortfall} of {limit} devices have been replaced before: {subjects}",
        "rma_replacement.taken": "{observed} of {limit} replacements are free, {shortfall} taken: {subjects}",
    },
)
def rma_replacement(case: Case, data: RmaReplaced) -> Iterator[Finding]:
    rma = case.facts.get(Rma, f"{case.event.contract}/{data.rma}")
    if rma is None:
        return
    before = {one.defective for one in rma.replaced}
    twice = tuple(device.defective for device in data.devices if device.defective in before)
    if twice:
        yield broken_by_devices(case, "rma_replacement.twice", len(data.devices), twice)
    taken = tuple(
        device.replacement
        for device in data.devices
        if not is_free(case.facts.get(Device, device.replacement) or Device(serial=device.replacement))
    )
    if taken:
        yield broken_by_devices(case, "rma_replacement.taken", len(data.devices), taken)


@rule(
    "inspection.requested",
    sentences={
        "inspection_new.exists": "the number of the inspection is taken",
    },
)
def inspection_new(case: Case, data: InspectionRequested) -> Iterator[Finding]:
    if case.facts.get(Inspection, f"{case.event.contract}/{data.inspection}") is not None:
        yield broken(case, "inspection_new.exists")


@rule(
    "inspection.completed",
    sentences={
        "inspection_known.unknown": "no such inspection was asked for in this contract",
        "inspection_known.not_yours": "the inspection was asked for by {limit}, not by {observed}",
        "inspection_known.completed": "the inspection was completed before, by entry {subjects}",
    },
)
def inspection_known(case: Case, data: InspectionCompleted) -> Iterator[Finding]:
    inspection = case.facts.get(Inspection, f"{case.event.contract}/{data.inspection}")
    party = case.event.actor.party
    if inspection is None:
        yield broken(case, "inspection_known.unknown")
    elif inspection.asked_by != party:
        yield broken(case, "inspection_known.not_yours", observed=party, limit=inspection.asked_by)
    elif inspection.completed is not None:
        yield broken(case, "inspection_known.completed", subjects=(str(inspection.completed),))


@rule(
    "incident.reported",
    sentences={
        "incident_new.exists": "the number of the incident is taken by entry {subjects}",
    },
)
def incident_new(case: Case, data: IncidentReported) -> Iterator[Finding]:
    known = case.facts.get(Incident, f"{case.event.contract}/{data.incident}")
    if known is not None and not known.withdrawn:
        yield broken(case, "incident_new.exists", subjects=(str(known.index),))


@rule(
    "report.filed",
    sentences={
        "report_new.filed": "the report for that period was filed before, by entry {subjects}",
    },
)
def report_new(case: Case, data: ReportFiled) -> Iterator[Finding]:
    known = case.facts.get(Report, data.key(case.event))
    if known is not None and not known.withdrawn:
        yield broken(case, "report_new.filed", subjects=(str(known.index),))
