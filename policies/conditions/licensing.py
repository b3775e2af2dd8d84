"""Conditions on the license: that it lives, is valid, has room, and was acknowledged."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from ledger.facts import License
from ledger.kinds.order import OrderPlaced
from ledger.kinds.shipment import DeliveryReceived, ShipmentDispatched, ShipmentRequested
from ledger.values import format_timestamp, midnight
from policies.conditions.case import NOT_APPLICABLE, Case, Found, Proposes
from policies.conditions.parameters import Duration, Limit, Parameters, limit_of
from policies.conditions.registry import condition

_UNKNOWN = "the license is not one of this contract"


# --- 1 --------------------------------------------------------------------------------------------


class LicenseActive(Parameters):
    in_transit_grace: Annotated[
        Duration,
        Field(
            description="How long after a suspension or revocation goods dispatched before it may "
            "still arrive; what arrives later is a breach. No time at all, if not given."
        ),
    ] = timedelta(0)


@condition(
    number=1,
    parameters=LicenseActive,
    requests=("order.placed", "shipment.requested"),
    facts=("shipment.dispatched", "delivery.received"),
    clock="recorded_at",
    unit="state",
    sentences={
        "pass": "the license is {observed}",
        "license_unknown": _UNKNOWN,
        "suspended": "the license is suspended, must be active",
        "revoked": "the license is revoked, must be active",
        "dispatched_after": "dispatched at {observed}, after the license was stopped at {limit}",
        "in_transit": "received at {observed}, in transit when the license was stopped; "
        "such goods may arrive until {limit}",
        "grace_over": "received at {observed}, goods in transit could arrive until {limit}",
        "received_undispatched": "received at {observed} with no dispatch recorded before the "
        "license was stopped at {limit}",
    },
)
def license_active(case: Case, parameters: LicenseActive) -> Found:
    """The license must be one of this contract, and neither suspended nor revoked.

    A license that is granted and not yet acknowledged passes here: `conditions_acknowledged` judges
    that. Goods dispatched before a stop are in transit: their arrival within the grace is flagged,
    and no more. A dispatch after the stop, or an arrival after the grace, also proposes a
    suspension and an incident report. Times are those of recording. A license can be suspended or
    revoked without notice (15 CFR 750.8(a)).
    """
    data = case.data
    if isinstance(data, OrderPlaced | ShipmentRequested):
        license_ = case.license(data.license)
        if license_ is None:
            return Found("fail", "license_unknown", limit="active")
        if license_.state in ("suspended", "revoked"):
            return Found("fail", license_.state, license_.state, "active")
        return Found("pass", None, license_.state, "active")
    if isinstance(data, ShipmentDispatched | DeliveryReceived):
        return _moved(case, data, parameters)
    return NOT_APPLICABLE


def _moved(case: Case, data: ShipmentDispatched | DeliveryReceived, parameters: LicenseActive) -> Found:
    shipment = case.shipment(data.shipment)
    license_ = case.license(shipment.license) if shipment is not None else None
    if shipment is None or license_ is None:
        return NOT_APPLICABLE  # custody_continuity says so
    stopped = _stopped_at(license_)
    if stopped is None:
        return Found("pass", None, license_.state, "active")
    if isinstance(data, ShipmentDispatched):
        return _breach(case, license_, "dispatched_after", stopped)
    # A batch is recorded at one instant: a dispatch at that of the stop may have come before it,
    # and has been flagged already if it did not.
    if shipment.dispatched_at is None or shipment.dispatched_at > stopped:
        return _breach(case, license_, "received_undispatched", stopped)
    over = stopped + parameters.in_transit_grace
    if case.at >= over:
        return _breach(case, license_, "grace_over", over)
    return Found("fail", "in_transit", case.recorded, format_timestamp(over), unit="time")


def _stopped_at(license_: License) -> datetime | None:
    """When supply under the license was stopped: the first time, if suspended and then revoked."""
    if license_.state not in ("suspended", "revoked"):
        return None
    stops = [at for at in (license_.suspended_at, license_.revoked_at) if at is not None]
    return min(stops)


def _breach(case: Case, license_: License, code: str, limit: datetime) -> Found:
    return Found(
        "fail",
        code,
        case.recorded,
        format_timestamp(limit),
        unit="time",
        proposes=(
            Proposes("suspension", license=license_.license),
            Proposes("incident_report", license=license_.license),
        ),
    )


# --- 2 --------------------------------------------------------------------------------------------


class ValidityWindow(Parameters):
    pass


@condition(
    number=2,
    parameters=ValidityWindow,
    requests=("order.placed", "shipment.requested"),
    clock="recorded_at",
    unit="time",
    sentences={
        "pass": "recorded at {observed}, the license is valid until {limit}",
        "license_unknown": _UNKNOWN,
        "not_begun": "recorded at {observed}, the license is valid from {limit}",
        "ended": "recorded at {observed}, the license was valid until {limit}",
    },
)
def validity_window(case: Case, parameters: ValidityWindow) -> Found:
    """The request must be recorded from the first day of the license to the end of its last.

    The last day ends at 24:00 in the contract's zone; that instant is the first one too late.
    """
    data = case.data
    if not isinstance(data, OrderPlaced | ShipmentRequested):
        return NOT_APPLICABLE
    license_ = case.license(data.license)
    if license_ is None:
        return Found("fail", "license_unknown")
    begins, begins_text = _instant(license_.valid_from, license_.zone)
    if case.at < begins:
        return Found("fail", "not_begun", case.recorded, begins_text)
    ends, ends_text = _instant(license_.valid_until + timedelta(days=1), license_.zone)
    if case.at >= ends:
        return Found("fail", "ended", case.recorded, ends_text)
    return Found("pass", None, case.recorded, ends_text)


@lru_cache(maxsize=4096)
def _instant(day: date, zone: str) -> tuple[datetime, str]:
    """The instant at which `day` begins in `zone`, in UTC, and its committed spelling."""
    begins = midnight(day, zone)
    return begins, format_timestamp(begins)


# --- 4 --------------------------------------------------------------------------------------------


class QuantityCap(Parameters):
    limit: Annotated[
        Limit, Field(description="Units, or `{from: license.quantity}`: what the license states.")
    ]


@condition(
    number=4,
    parameters=QuantityCap,
    requests=("order.placed", "shipment.requested"),
    unit="units",
    sentences={
        "pass": "{observed} {unit} asked or released, {limit} allowed",
        "license_unknown": _UNKNOWN,
        "over": "{observed} {unit} asked or released, {limit} allowed: {shortfall} too many "
        "(headroom {headroom})",
    },
)
def quantity_cap(case: Case, parameters: QuantityCap) -> Found:
    """The units ordered, and the units released, must each stay within the limit, tolerance none.

    An order reserves its units, a release consumes its own; each is counted with all that stand
    under the license. Headroom is what the limit left before this request. The export filing system
    decrements value, not quantity, so the ledger must.
    """
    data = case.data
    if isinstance(data, ShipmentRequested):
        license_ = case.license(data.license)
        if license_ is None:
            return Found("fail", "license_unknown")
        used, asked = license_.released, len(data.serials)
    elif isinstance(data, OrderPlaced):
        license_ = case.license(data.license)
        if license_ is None:
            return Found("fail", "license_unknown")
        used, asked = license_.ordered, data.units
    else:
        return NOT_APPLICABLE
    limit = limit_of(parameters.limit, license_)
    observed, headroom = used + asked, limit - used
    if observed > limit:
        return Found("fail", "over", observed, limit, observed - limit, headroom)
    return Found("pass", None, observed, limit, None, headroom)


# --- 7 --------------------------------------------------------------------------------------------


class ConditionsAcknowledged(Parameters):
    pass


@condition(
    number=7,
    parameters=ConditionsAcknowledged,
    requests=("shipment.requested",),
    unit="acknowledgements",
    sentences={
        "pass": "{observed} of {limit} acknowledgements are on record",
        "license_unknown": _UNKNOWN,
        "missing": "{observed} of {limit} acknowledgements are on record, missing: {subjects}",
    },
)
def conditions_acknowledged(case: Case, parameters: ConditionsAcknowledged) -> Found:
    """Every party that the license names must have acknowledged its conditions.

    The conditions are conveyed in writing; an acknowledgement counts if it cites the digest of that
    document and comes from a party that the license names.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested):
        return NOT_APPLICABLE
    license_ = case.license(data.license)
    if license_ is None:
        return Found("fail", "license_unknown")
    must, acknowledged = dict.fromkeys(license_.must_acknowledge), license_.acknowledged
    missing = [party for party in must if party not in acknowledged]
    if missing:
        return Found(
            "fail",
            "missing",
            len(must) - len(missing),
            len(must),
            len(missing),
            subjects=tuple(missing),
        )
    return Found("pass", None, len(must), len(must))
