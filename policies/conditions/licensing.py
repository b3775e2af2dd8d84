"""Conditions on the license: that it lives, is valid, has room, was acknowledged, and for what item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from ledger.event import Event
from ledger.facts import Contract, Facts, Key, License, Shipment
from ledger.kinds.delivery import DeliveryReceived
from ledger.kinds.device import LabTested
from ledger.kinds.license import LicenseGranted
from ledger.kinds.order import OrderAmended, OrderPlaced
from ledger.kinds.shipment import ShipmentDispatched, ShipmentRequested
from ledger.kinds.transfer import TransferRequested
from ledger.values import day_of, format_timestamp, later, midnight
from policies.conditions.case import NOT_APPLICABLE, Case, Found, Proposes
from policies.conditions.declared import LESS, RELEASED, UNIT_TPP, Below, Cap, Doubt, Use
from policies.conditions.parameters import Days, Duration, Limit, Parameters, limit_of
from policies.conditions.registry import condition

_UNKNOWN = "the license is not one of this contract"


# --- 1 --------------------------------------------------------------------------------------------


_STOPPED: Final = ("suspended", "revoked", "expired")


class LicenseActive(Parameters):
    in_transit_grace: Annotated[
        Duration,
        LESS,
        Field(
            description="How long after a suspension or revocation goods dispatched before it may "
            "still arrive; what arrives later is a breach. No time at all, if not given."
        ),
    ] = timedelta(0)

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {} if "delivery.received" in kinds else {"in_transit_grace": "no delivery is judged"}


@condition(
    number=1,
    parameters=LicenseActive,
    requests=("order.placed", "order.amended", "shipment.requested", "transfer.requested"),
    facts=("shipment.dispatched", "delivery.received"),
    clock="recorded_at",
    unit="state",
    sentences={
        "pass": "the license is {observed}",
        "license_unknown": _UNKNOWN,
        "suspended": "the license is suspended, must be active",
        "revoked": "the license is revoked, must be active",
        "expired": "the license is expired, must be active",
        "dispatched_after": "dispatched at {observed}, after the license was stopped at {limit}",
        "in_transit": "received at {observed}, in transit when the license was stopped; "
        "such goods may arrive until {limit}",
        "grace_over": "received at {observed}, goods in transit could arrive until {limit}",
        "received_undispatched": "received at {observed}, and not all of it was recorded as dispatched "
        "before the license was stopped at {limit}: {subjects}",
    },
)
def license_active(case: Case, parameters: LicenseActive) -> Found:
    """The license must be one of this contract, and neither suspended nor revoked nor expired.

    A license that is granted and not yet acknowledged passes here: `conditions_acknowledged` judges
    that. Goods dispatched before a stop are in transit: their arrival within the grace is flagged,
    and no more. A dispatch after the stop, or an arrival after the grace, also proposes a
    suspension and an incident report. An expired license was stopped when its last day ended, unless
    it was suspended before. Times are those of recording. A license can be suspended or
    revoked without notice (15 CFR 750.8(a)).
    """
    data = case.data
    if isinstance(data, Asked):
        license_ = license_of(case, data)
        if license_ is None:
            return Found("fail", "license_unknown", limit="active")
        if license_.state in _STOPPED:
            return Found("fail", license_.state, license_.state, "active")
        # Orders and releases have their window (`validity_window`). A transfer has none, and a scheduler
        # that is dead, and has not said that the license has ended, must let nothing through.
        if isinstance(data, TransferRequested) and case.at >= license_.ends:
            return Found("fail", "expired", "expired", "active")
        return Found("pass", None, license_.state, "active")
    if isinstance(data, ShipmentDispatched | DeliveryReceived):
        return _moved(case, data, parameters)
    return NOT_APPLICABLE


Asked = OrderPlaced | OrderAmended | ShipmentRequested | TransferRequested


def license_of(case: Case, data: Asked) -> License | None:
    """The license under which something is asked for."""
    if not isinstance(data, OrderAmended):
        return case.license(data.license)
    order = case.order(data.order)
    return None if order is None else case.license(order.license)


def _moved(case: Case, data: ShipmentDispatched | DeliveryReceived, parameters: LicenseActive) -> Found:
    shipment = case.shipment(data.shipment)
    license_ = case.license(shipment.license) if shipment is not None else None
    if shipment is None or license_ is None:
        return NOT_APPLICABLE  # custody_continuity says so
    stopped = _stopped_at(license_, case.at)
    if stopped is None:
        return Found("pass", None, license_.state, "active")
    if isinstance(data, ShipmentDispatched):
        return _breach(case, license_, "dispatched_after", stopped)
    # A batch is recorded at one instant: a dispatch at that of the stop may have come before it,
    # and has been flagged already if it did not.
    late = _left_after(shipment, data, stopped)
    if late or not shipment.dispatched_until(stopped):
        return _breach(case, license_, "received_undispatched", stopped, late or data.missing)
    over = later(stopped, parameters.in_transit_grace, case.zone)
    if case.at >= over:
        return _breach(case, license_, "grace_over", over)
    return Found("fail", "in_transit", case.recorded, format_timestamp(over), unit="time")


def _left_after(shipment: Shipment, data: DeliveryReceived, stopped: datetime) -> tuple[str, ...]:
    """What has arrived and was not dispatched before the stop."""
    before = frozenset(shipment.dispatched_until(stopped))
    return tuple(serial for serial in (*data.received, *data.damaged) if serial not in before)


def _stopped_at(license_: License, at: datetime) -> datetime | None:
    """When supply under the license was stopped: the first time, if suspended and then revoked."""
    ended = license_.ends if at >= license_.ends else None
    if ended is None and license_.state not in _STOPPED:
        return None
    return min(at for at in (license_.suspended_at, license_.revoked_at, ended) if at is not None)


def _breach(
    case: Case, license_: License, code: str, limit: datetime, serials: tuple[str, ...] = ()
) -> Found:
    return Found(
        "fail",
        code,
        case.recorded,
        format_timestamp(limit),
        unit="time",
        subjects=serials,
        proposes=(
            Proposes("suspension", license=license_.license),
            Proposes("incident_report", license=license_.license),
        ),
    )


# --- 2 --------------------------------------------------------------------------------------------


class ValidityWindow(Parameters):
    releases_within: Annotated[
        Days | None,
        LESS,
        Field(
            description="A release must state its last day (`valid_until`), so many days after that of the "
            "request at most. It need not, if not given."
        ),
    ] = None

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {} if "shipment.requested" in kinds else {"releases_within": "no release is judged"}


@condition(
    number=2,
    parameters=ValidityWindow,
    requests=("order.placed", "order.amended", "shipment.requested"),
    clock="recorded_at",
    unit="time",
    sentences={
        "pass": "recorded at {observed}, the license is valid until {limit}",
        "license_unknown": _UNKNOWN,
        "not_begun": "recorded at {observed}, the license is valid from {limit}",
        "ended": "recorded at {observed}, the license was valid until {limit}",
        "release_endless": "the release states no last day, may be valid until {limit} at most",
        "release_too_long": "the release is valid until {observed}, may be until {limit} at most",
    },
)
def validity_window(case: Case, parameters: ValidityWindow) -> Found:
    """The request must be recorded from the first day of the license to the end of its last.

    The last day ends at 24:00 in the contract's zone; that instant is the first one too late. A release
    takes of every cap for as long as it stands, so a document may ask that each states its own last day.
    """
    data = case.data
    if not isinstance(data, OrderPlaced | OrderAmended | ShipmentRequested):
        return NOT_APPLICABLE
    license_ = license_of(case, data)
    if license_ is None:
        return Found("fail", "license_unknown")
    begins, begins_text = _instant(license_.valid_from, license_.zone)
    if case.at < begins:
        return Found("fail", "not_begun", case.recorded, begins_text)
    ends, ends_text = _instant(license_.valid_until + timedelta(days=1), license_.zone)
    if case.at >= ends:
        return Found("fail", "ended", case.recorded, ends_text)
    within = parameters.releases_within
    if within is not None and isinstance(data, ShipmentRequested):
        last = day_of(case.at, case.zone) + within
        if data.valid_until is None:
            return Found("fail", "release_endless", limit=last.isoformat(), unit="day")
        if data.valid_until > last:
            return Found(
                "fail", "release_too_long", data.valid_until.isoformat(), last.isoformat(), unit="day"
            )
    return Found("pass", None, case.recorded, ends_text)


@lru_cache(maxsize=4096)
def _instant(day: date, zone: str) -> tuple[datetime, str]:
    """The instant at which `day` begins in `zone`, in UTC, and its committed spelling."""
    begins = midnight(day, zone)
    return begins, format_timestamp(begins)


# --- 4 --------------------------------------------------------------------------------------------


class QuantityCap(Parameters):
    limit: Annotated[
        Limit, LESS, Field(description="Units, or `{from: license.quantity}`: what the license states.")
    ]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if self.limit == 0:
            yield use.fails_always("limit", "limit is 0, must be more: there is room for not one unit")

    def caps(self) -> Iterator[Cap]:
        if isinstance(self.limit, int):
            yield Cap(RELEASED, self.limit, None, "limit")


@condition(
    number=4,
    parameters=QuantityCap,
    requests=("order.placed", "order.amended", "shipment.requested"),
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

    An order reserves its units, an amendment that asks for more of them the difference, a release
    consumes its own; each is counted with all that stand under the license. Headroom is what the
    limit left before this request. The export filing system decrements value, not quantity, so the
    ledger must.
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
    elif isinstance(data, OrderAmended):
        order = case.order(data.order)
        license_ = None if order is None else case.license(order.license)
        if order is None or license_ is None:
            return Found("fail", "license_unknown")
        # Fewer units than before may be asked for even where too many stand already.
        if data.units is None or data.units <= order.units:
            return NOT_APPLICABLE
        used, asked = license_.ordered - order.units, data.units
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


# --- 9 --------------------------------------------------------------------------------------------


class PerformanceThresholds(Parameters):
    tpp_below: Annotated[
        int,
        LESS,
        Below(UNIT_TPP),
        Field(ge=1, le=10_000_000, description="Total processing performance of one unit must be below it."),
    ]
    bandwidth_below: Annotated[
        int | None,
        LESS,
        Field(ge=1, le=1_000_000, description="Total DRAM bandwidth of one unit, GB/s; any, if not given."),
    ] = None


class _Performance(NamedTuple):
    name: str
    tpp: int
    bandwidth_gb_s: int


def _performance_reads(event: Event, facts: Facts, parameters: PerformanceThresholds) -> Iterator[Key]:
    contract = facts.peek(Contract, event.contract)
    if isinstance(event.data, LabTested) and contract is not None:
        for number in contract.licenses:
            yield License.name, number


@condition(
    number=9,
    parameters=PerformanceThresholds,
    requests=("license.granted", "order.placed"),
    facts=("lab.tested",),
    unit="TPP",
    sentences={
        "pass": "at most {observed} {unit} a unit, the threshold is {limit}",
        "license_unknown": _UNKNOWN,
        "undeclared": "the license does not say how much the item performs: {subjects}",
        "tpp": "{observed} {unit} a unit, must be below {limit}: {subjects}",
        "bandwidth": "{observed} {unit} a unit, must be below {limit}: {subjects}",
    },
    reads=_performance_reads,
)
def performance_thresholds(case: Case, parameters: PerformanceThresholds) -> Found:
    """A unit must stay below the thresholds: total processing performance, and DRAM bandwidth.

    Of a grant and of an order the license is asked, which states both for its item; of a laboratory test
    each device that was measured, and where one is not below, a suspension of the contract's licenses for
    that item is proposed. Review case by case needs a TPP below 21,000 and a bandwidth below 6,500 GB/s
    (91 FR 1684).
    """
    data = case.data
    if isinstance(data, LicenseGranted):
        return _licensed(data, parameters)
    if isinstance(data, OrderPlaced):
        license_ = case.license(data.license)
        return Found("fail", "license_unknown") if license_ is None else _licensed(license_, parameters)
    if isinstance(data, LabTested):
        found = _below([_Performance(r.serial, r.tpp, r.bandwidth_gb_s) for r in data.results], parameters)
        return found if found.result == "pass" else found._replace(proposes=_for_item(case, data.sku))
    return NOT_APPLICABLE


def _licensed(license_: License | LicenseGranted, parameters: PerformanceThresholds) -> Found:
    bandwidth = license_.bandwidth_gb_s
    if license_.tpp is None or (bandwidth is None and parameters.bandwidth_below is not None):
        return Found("fail", "undeclared", limit=parameters.tpp_below, subjects=(license_.license,))
    return _below([_Performance(license_.sku, license_.tpp, bandwidth or 0)], parameters)


def _below(measured: list[_Performance], parameters: PerformanceThresholds) -> Found:
    limit, bandwidth_limit = parameters.tpp_below, parameters.bandwidth_below
    highest = max(one.tpp for one in measured)
    if highest >= limit:
        over = tuple(one.name for one in measured if one.tpp >= limit)
        return Found("fail", "tpp", highest, limit, subjects=over)
    fastest = max(one.bandwidth_gb_s for one in measured)
    if bandwidth_limit is not None and fastest >= bandwidth_limit:
        over = tuple(one.name for one in measured if one.bandwidth_gb_s >= bandwidth_limit)
        return Found("fail", "bandwidth", fastest, bandwidth_limit, unit="GB/s", subjects=over)
    return Found("pass", None, highest, limit)


def _for_item(case: Case, sku: str) -> tuple[Proposes, ...]:
    licenses = (case.license(number) for number in case.contract.licenses)
    return tuple(
        Proposes("suspension", license=one.license) for one in licenses if one is not None and one.sku == sku
    )
