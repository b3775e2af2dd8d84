"""Duties that follow from an event: to let inspectors in, to send back, to report, to pay on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from ledger.decision import Verdict
from ledger.event import Event
from ledger.facts import (
    Contract,
    Duty,
    Facts,
    Inspection,
    Invoice,
    Key,
    License,
    RevenueAccount,
    Rma,
    Shipment,
)
from ledger.kinds.delivery import DeliveryReceived
from ledger.kinds.inspection import IncidentReported, InspectionCompleted, InspectionRequested
from ledger.kinds.payment import InvoiceIssued
from ledger.kinds.rma import RmaReplaced
from ledger.kinds.withdrawal import DeviceLost
from ledger.values import day_of, later, parse_timestamp
from policies.conditions.case import Case
from policies.conditions.deadlines import days_after
from policies.conditions.declared import LESS, TIME_TO_REPORT, Doubt, Figure, Use, WholeDays, late_at_once
from policies.conditions.money import EXACT, plain
from policies.conditions.parameters import Duration, Parameters
from policies.conditions.trade import RevenueShare, share_due, share_late
from policies.obligations.registry import NOT_MET, Change, Meets, Obligation, Opens, verdict_of_items


class WithinDays(Parameters):
    within: Annotated[
        Duration,
        WholeDays(),
        LESS,
        Field(description="Whole days, the last of which ends at 24:00 in the contract's zone."),
    ]


# --- 33 -------------------------------------------------------------------------------------------


class InspectionDeadline(Obligation[WithinDays], name="inspection_deadline"):
    """An inspection that was asked for must be completed within a number of days.

    Counted from the day on which the request is recorded. Who asked says that it is complete. A step
    may propose the revocation of the contract's license, of several the first: for end-use checks 60
    days, then 60 more.
    """

    number = 33
    watches = ("inspection.requested", "inspection.completed")
    parameters = WithinDays
    sentences: ClassVar[Mapping[str, str]] = {"late": "the inspection was not completed in time"}

    def touches(self, event: Event, facts: Facts, parameters: WithinDays) -> Iterable[str]:
        if isinstance(event.data, InspectionRequested | InspectionCompleted):
            yield event.data.inspection

    def reads(self, event: Event, facts: Facts, parameters: WithinDays) -> Iterable[Key]:
        contract = facts.peek(Contract, event.contract)
        for license_ in contract.licenses if contract else ():
            yield License.name, license_

    def changes(self, case: Case, parameters: WithinDays) -> Iterable[Change]:
        data = case.data
        if not isinstance(data, InspectionRequested | InspectionCompleted):
            return
        asked = case.facts.get(Inspection, f"{case.event.contract}/{data.inspection}")
        if isinstance(data, InspectionCompleted):
            if asked is not None and asked.asked_by == case.event.actor.party:
                yield Meets((data.inspection,))
        elif asked is None:
            due = days_after(case.at, parameters.within.days, case.zone)
            yield Opens((data.inspection,), due, license=next(iter(case.own_licenses), None))


# --- 31 -------------------------------------------------------------------------------------------


class RmaReturn(Obligation[WithinDays], name="rma_return"):
    """A defective device must go back within a number of days of its replacement's arrival.

    One for one: until it does, there are more devices than were licensed.
    """

    number = 31
    watches = ("rma.replaced",)
    parameters = WithinDays
    unit = "devices"
    sentences: ClassVar[Mapping[str, str]] = {
        "late": "{observed} of {limit} replaced devices went back, {shortfall} did not: {subjects}",
        "met": "{observed} of {limit} replaced devices went back",
    }

    def touches(self, event: Event, facts: Facts, parameters: WithinDays) -> Iterable[str]:
        if isinstance(event.data, RmaReplaced):
            yield f"{event.data.rma}/{event.id}"

    def changes(self, case: Case, parameters: WithinDays) -> Iterable[Change]:
        data = case.data
        if not isinstance(data, RmaReplaced):
            return
        rma = case.facts.get(Rma, f"{case.event.contract}/{data.rma}")
        if rma is None:
            return
        defective = tuple(device.defective for device in data.devices if device.defective in rma.serials)
        due = days_after(case.at, parameters.within.days, case.zone)
        if defective:
            yield Opens((f"{data.rma}/{case.event.id}",), due, items=defective, license=rma.license)

    def due_reads(self, duty: Duty, parameters: WithinDays) -> Iterable[Key]:
        yield Rma.name, _rma_key(duty)

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: WithinDays, *, at: datetime
    ) -> Verdict:
        rma = facts.get(Rma, _rma_key(duty))
        returned = frozenset(rma.returned if rma is not None else ())
        kept = tuple(serial for serial in duty.items if serial not in returned)
        return verdict_of_items(duty, kept, self.unit)


def _rma_key(duty: Duty) -> str:
    return f"{duty.contract}/{duty.subject.partition('/')[0]}"


# --- 34 -------------------------------------------------------------------------------------------


class IncidentWithin(Parameters):
    within: Annotated[
        Duration,
        LESS,
        Figure(TIME_TO_REPORT),
        Field(description="After the loss is recorded: `PT72H`."),
    ]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        yield from late_at_once(self, use, "within")


class IncidentReport(Obligation[IncidentWithin], name="incident_report"):
    """A loss must be reported: what was missing at a delivery, and a device that was lost.

    Missing is what the delivery says is, and what had left and is not among what has come: silence about a
    device is no word that it has arrived. An incident that names the shipment, or the device, meets it;
    of a shipment also the delivery that brings all that was missing.
    """

    number = 34
    of_license = False
    watches = ("delivery.received", "device.lost", "incident.reported")
    parameters = IncidentWithin
    sentences: ClassVar[Mapping[str, str]] = {"late": "no incident was reported in time"}

    def touches(self, event: Event, facts: Facts, parameters: IncidentWithin) -> Iterable[str]:
        return _lost(event)

    def changes(self, case: Case, parameters: IncidentWithin) -> Iterable[Change]:
        subjects = _lost(case.event)
        data = case.data
        if isinstance(data, DeliveryReceived):
            shipment = case.shipment(data.shipment)
            missing = () if shipment is None else _not_come(shipment, data)
            # Of what was missing already, a later part of the shipment says nothing new.
            if data.missing or (missing and shipment is not None and not shipment.delivered):
                yield Opens(subjects, later(case.at, parameters.within, case.zone))
            elif shipment is not None and not missing:
                yield Meets(subjects)
        elif isinstance(data, IncidentReported):
            yield Meets(subjects)
        else:
            yield Opens(subjects, later(case.at, parameters.within, case.zone))


def _lost(event: Event) -> tuple[str, ...]:
    data = event.data
    if isinstance(data, DeliveryReceived):
        return (f"shipment/{data.shipment}",)
    if isinstance(data, DeviceLost):
        return tuple(f"device/{serial}" for serial in data.speaks_of())
    if isinstance(data, IncidentReported):
        shipments = () if data.shipment is None else (f"shipment/{data.shipment}",)
        return (*shipments, *(f"device/{serial}" for serial in data.serials))
    return ()


def _not_come(shipment: Shipment, data: DeliveryReceived) -> frozenset[str]:
    """What had left with the shipment, or was told as missing, and has not arrived by this delivery."""
    arrived = {*shipment.received, *shipment.damaged, *data.received, *data.damaged}
    return frozenset((*shipment.dispatched, *shipment.missing)) - arrived


# --- 36 -------------------------------------------------------------------------------------------


class RevenueShareDue(Obligation[RevenueShare], name="revenue_share_due"):
    """The share of an invoice must have been paid on within a number of days of its recording.

    When they have passed, what was paid on is compared with the share of all that has fallen due by
    then. The condition `revenue_share` gates releases by the same numbers.
    """

    number = 36
    of_license = False
    watches = ("invoice.issued",)
    parameters = RevenueShare
    sentences: ClassVar[Mapping[str, str]] = {
        "late": "{observed} {unit} of revenue shared, {limit} {unit} due: {shortfall} {unit} short",
        "met": "{observed} {unit} of revenue shared, {limit} {unit} due",
    }

    def touches(self, event: Event, facts: Facts, parameters: RevenueShare) -> Iterable[str]:
        if isinstance(event.data, InvoiceIssued):
            yield event.data.invoice

    def changes(self, case: Case, parameters: RevenueShare) -> Iterable[Change]:
        data = case.data
        known = isinstance(data, InvoiceIssued) and case.facts.get(
            Invoice, f"{case.event.contract}/{data.invoice}"
        )
        # A number that is issued again has been due before.
        if isinstance(data, InvoiceIssued) and not known:
            late = share_late(day_of(case.at, case.zone), parameters, zone=case.zone)
            yield Opens((data.invoice,), late)

    def due_reads(self, duty: Duty, parameters: RevenueShare) -> Iterable[Key]:
        yield Invoice.name, f"{duty.contract}/{duty.subject}"
        yield RevenueAccount.name, duty.contract

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: RevenueShare, *, at: datetime
    ) -> Verdict:
        invoice = facts.get(Invoice, f"{duty.contract}/{duty.subject}")
        account = facts.get(RevenueAccount, duty.contract)
        if invoice is None or account is None:
            return NOT_MET
        revenue, digits = account.of(invoice.currency), parameters.digits
        due = share_due(revenue, parameters, at=parse_timestamp(duty.due), zone=contract.zone)
        short = EXACT.subtract(due, revenue.shared)
        return Verdict(
            short <= 0,
            plain(revenue.shared, digits),
            plain(due, digits),
            plain(short, digits) if short > 0 else None,
            invoice.currency,
        )
