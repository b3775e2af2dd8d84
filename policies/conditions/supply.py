"""Conditions on supply at home and at the border: ratio, certification, filing, approval, co-purchase."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ledger.event import Event
from ledger.facts import (
    Baseline,
    Contract,
    Exports,
    Facts,
    Filing,
    ImportApproval,
    Imports,
    Key,
    Order,
    Supply,
)
from ledger.facts.supply import exports_key
from ledger.kinds.customs import CustomsCleared
from ledger.kinds.order import OrderAmended, OrderPlaced
from ledger.kinds.shipment import ShipmentDispatched, ShipmentRequested
from ledger.values import Any_, Country, Identifier, Many, PartyId, Value, day_of, unique_by
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import FURTHER, LESS, MORE, UNIT_TPP, Figure, Scale, Share
from policies.conditions.money import EXACT, plain, whole_units
from policies.conditions.parameters import Days, Parameters, Rate, one_of
from policies.conditions.registry import condition
from policies.conditions.windows import Length, Window

Measure = Annotated[Literal["tpp", "units"], one_of("a measure", ("tpp", "units"))]
UnitTpp = Annotated[int, Field(ge=1, le=10_000_000)]


# --- 10 -------------------------------------------------------------------------------------------


class UsRatioCap(Parameters):
    percent: Annotated[
        Rate,
        LESS,
        Share(100, beyond="remark"),
        Field(description='Of the baseline, as a decimal in a string: `"50"` is half.'),
    ]
    measure: Annotated[
        Measure,
        Scale(),
        Field(description="`tpp`: aggregate total processing performance; or `units`."),
    ]
    countries: Annotated[
        Many[Country],
        FURTHER,
        Field(description="ISO 3166-1: releases to any of these are counted together."),
    ]
    unit_tpp: Annotated[
        UnitTpp | None,
        Scale(),
        Figure(UNIT_TPP),
        Field(description="TPP of one unit of the product, where `measure` is `tpp`."),
    ] = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if (self.measure == "tpp") != (self.unit_tpp is not None):
            raise ValueError("unit_tpp is said where measure is tpp, and only there")
        return self


def _supply_reads(event: Event, facts: Facts, parameters: Parameters) -> Iterable[Key]:
    exporter, sku = _product(event, facts)
    if exporter is not None and sku is not None:
        yield Supply.name, exports_key(exporter, sku)


def _product(event: Event, facts: Facts) -> tuple[str | None, str | None]:
    """Whose supply of what the request is for, as far as that is loaded."""
    data = event.data
    if isinstance(data, ShipmentRequested):
        return event.actor.party, data.sku
    contract = facts.peek(Contract, event.contract)
    exporter = contract.exporter if contract else None
    if isinstance(data, OrderPlaced):
        return exporter, data.sku
    if isinstance(data, OrderAmended):
        order = facts.peek(Order, f"{event.contract}/{data.order}")
        return exporter, order.sku if order else None
    return None, None


@condition(
    number=10,
    parameters=UsRatioCap,
    requests=("shipment.requested",),
    unit="measure",
    sentences={
        "pass": "{observed} {unit} released there, {limit} allowed",
        "no_baseline": "the exporter has declared no baseline of the product",
        "not_measured": "the latest baseline of the product does not say {subjects}",
        "over": "{observed} {unit} released there, {limit} allowed: {shortfall} too many "
        "(headroom {headroom})",
    },
    reads=_supply_reads,
)
def us_ratio_cap(case: Case, parameters: UsRatioCap) -> Found:
    """What an exporter releases of a product to these countries stays within a share of its supply at home.

    Counted are all releases of the product that stand, of that exporter in every contract of the
    log, by the country in which the contract has the site, else by the one that the release states.
    The limit is the percentage of the latest baseline, without its fraction. Aggregate shipments to
    China and Macau may be at most 50 % of those to end users in the United States (91 FR 1684), which
    is read as aggregate TPP.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested) or data.destined(case.contract) not in parameters.countries:
        return NOT_APPLICABLE
    key = exports_key(case.event.actor.party, data.sku)
    supply = case.facts.get(Supply, key)
    baseline = supply.baseline if supply else None
    if baseline is None:
        return Found("fail", "no_baseline")
    base = _measured(baseline, parameters)
    if base is None:
        return Found("fail", "not_measured", subjects=(parameters.measure,))
    exports = case.facts.get(Exports, key)
    each = parameters.unit_tpp or 1
    used = each * (exports.units_to(parameters.countries) if exports else 0)
    observed = used + each * len(data.serials)
    hundredth = EXACT.divide(parameters.percent, Decimal(100))
    limit = whole_units(EXACT.multiply(Decimal(base), hundredth))
    headroom, unit = limit - used, parameters.measure
    if observed > limit:
        return Found("fail", "over", observed, limit, observed - limit, headroom, unit=unit)
    return Found("pass", None, observed, limit, None, headroom, unit=unit)


def _measured(baseline: Baseline, parameters: UsRatioCap) -> int | None:
    return baseline.tpp if parameters.measure == "tpp" else baseline.units


# --- 11 -------------------------------------------------------------------------------------------


class SupplyCertified(Parameters):
    max_age: Annotated[
        Days,
        LESS,
        Field(description="How old the certification may be, in days: the last ends at 24:00."),
    ]
    certifications: Annotated[
        Any_[Identifier],
        FURTHER,
        Field(description="What it must certify, each by name. Nothing, if not given."),
    ] = ()


@condition(
    number=11,
    parameters=SupplyCertified,
    requests=("order.placed", "order.amended", "shipment.requested"),
    clock="recorded_at",
    unit="days",
    sentences={
        "pass": "the certification of supply is {observed} {unit} old, {limit} allowed",
        "none": "the exporter has certified no supply of the product",
        "old": "the certification of supply is {observed} {unit} old, {limit} allowed: {shortfall} too many",
        "incomplete": "{observed} of {limit} statements are certified, missing: {subjects}",
    },
    reads=_supply_reads,
)
def supply_certified(case: Case, parameters: SupplyCertified) -> Found:
    """The exporter must have certified its supply of the product, and not too long ago.

    The latest certification counts, of whichever contract of the log; its age is in days of the
    contract's zone, from the date that it bears (or the day of recording, if that is earlier) to the
    day on which the request is recorded. The exporter certifies that the product is sold in the
    United States, that no order there waits for an export, and that no foundry capacity is turned
    away (91 FR 1684).
    """
    exporter, sku = _product(case.event, case.facts)
    if not isinstance(case.data, OrderPlaced | OrderAmended | ShipmentRequested):
        return NOT_APPLICABLE
    supply = None if exporter is None or sku is None else case.facts.get(Supply, exports_key(exporter, sku))
    certified = supply.certification if supply else None
    if certified is None:
        return Found("fail", "none")
    must = parameters.certifications
    missing = tuple(name for name in must if name not in certified.certifications)
    if missing:
        there = len(must) - len(missing)
        return Found(
            "fail", "incomplete", there, len(must), len(missing), unit="statements", subjects=missing
        )
    age, limit = (day_of(case.at, case.zone) - certified.dated).days, parameters.max_age.days
    if age > limit:
        return Found("fail", "old", age, limit, age - limit)
    return Found("pass", None, age, limit)


# --- 14 -------------------------------------------------------------------------------------------


class ExportFiled(Parameters):
    pass


def _filing_reads(event: Event, facts: Facts, parameters: ExportFiled) -> Iterable[Key]:
    if isinstance(event.data, ShipmentDispatched):
        yield Filing.name, f"{event.contract}/{event.data.shipment}"


@condition(
    number=14,
    parameters=ExportFiled,
    facts=("shipment.dispatched",),
    unit="units",
    sentences={
        "pass": "{observed} {unit} packed, {limit} filed",
        "not_filed": "no export filing is on record for the shipment",
        "license": "filed under license {observed}, released under {limit}",
        "eccn": "filed as {observed}, licensed as {limit}",
        "over": "{observed} {unit} packed, {limit} filed: {shortfall} too many",
        "under": "{observed} {unit} packed, and no more are released, {limit} filed: {shortfall} too few",
        "value": "filed at {observed} {unit}, released at {limit} {unit}",
    },
    reads=_filing_reads,
)
def export_filed(case: Case, parameters: ExportFiled) -> Found:
    """What leaves must be what was filed: license, classification, number of units and value are the same.

    Packed are all units of the shipment that a carrier has taken, this dispatch included. Fewer than
    filed are flagged once nothing of the release is left to pack. The latest filing counts. It
    carries ITN, license code, license number and ECCN (15 CFR part 30); the filing system decrements
    the license's value, not its quantity.
    """
    data = case.data
    if not isinstance(data, ShipmentDispatched):
        return NOT_APPLICABLE
    shipment = case.shipment(data.shipment)
    if shipment is None:
        return NOT_APPLICABLE  # custody_continuity says so
    filing = case.facts.get(Filing, shipment.key)
    filed = filing.latest if filing else None
    if filed is None:
        return Found("fail", "not_filed")
    if filed.license != shipment.license:
        return Found("fail", "license", filed.license, shipment.license, unit="license")
    license_ = case.license(shipment.license)
    if license_ is not None and filed.eccn != license_.eccn:
        return Found("fail", "eccn", filed.eccn, license_.eccn, unit="ECCN")
    gone = set(shipment.dispatched) | set(data.serials)
    packed, quantity = len(gone), filed.quantity
    if packed > quantity:
        return Found("fail", "over", packed, quantity, packed - quantity)
    if gone >= set(shipment.serials):
        if packed < quantity:
            return Found("fail", "under", packed, quantity, quantity - packed)
        # The release is at one unit value, so that of what is packed is its share of the whole.
        value = EXACT.multiply(shipment.value, Decimal(packed))
        stated = EXACT.multiply(filed.value, Decimal(len(shipment.serials)))
        if filed.currency != shipment.currency:
            return Found("fail", "value", filed.currency, shipment.currency, unit="currency")
        if stated != value:
            return Found("fail", "value", plain(filed.value), plain(shipment.value), unit=shipment.currency)
    return Found("pass", None, packed, quantity)


# --- 15 -------------------------------------------------------------------------------------------


class EndUserClass(Value):
    """What sort of end user a party is, as the parties to the document have found."""

    end_user: PartyId
    class_: Annotated[Identifier, Field(alias="class")]


class ImportApproved(Parameters):
    classes: Annotated[
        Any_[EndUserClass],
        unique_by("end_user"),
        Field(
            description="The class of each end user that has one: `{end_user: ..., class: ...}`. An "
            "approval names the classes that it excludes."
        ),
    ] = ()


@condition(
    number=15,
    parameters=ImportApproved,
    requests=("shipment.requested",),
    facts=("customs.cleared",),
    clock="recorded_at",
    unit="units",
    sentences={
        "pass": "{observed} {unit} drawn on approval {subjects}, {limit} approved",
        "none": "no approval to import is named",
        "unknown": "approval {subjects} is not on record in this contract",
        "item": "approval {subjects} is for {limit}, not for {observed}",
        "country": "approval {subjects} is for {limit}, not for {observed}",
        "not_begun": "approval {subjects} is valid from {limit}, recorded on {observed}",
        "ended": "approval {subjects} was valid until {limit}, recorded on {observed}",
        "class": "approval {subjects} does not cover end users of class {observed}",
        "over": "{observed} {unit} drawn on approval {subjects}, {limit} approved: {shortfall} too many "
        "(headroom {headroom})",
    },
)
def import_approved(case: Case, parameters: ImportApproved) -> Found:
    """A release names an approval to import that covers it; what customs clear is covered too.

    The approval is for the item and the country of destination, is valid on the day of recording in
    the contract's zone, does not exclude the end user's class, and its quota has room: for a release
    among the releases that stand, for a clearance among what was cleared. The importing side
    approves by firm and quota, and excludes the military, sensitive agencies, critical
    infrastructure and state-owned firms.
    """
    data = case.data
    if isinstance(data, ShipmentRequested):
        asked = _Import(
            data.approval, data.sku, data.destined(case.contract), data.end_user, len(data.serials)
        )
        return _imported(case, asked, parameters)
    if isinstance(data, CustomsCleared):
        shipment = case.shipment(data.shipment)
        if shipment is None:
            return NOT_APPLICABLE  # the constitution says so
        order = case.order(shipment.order)
        end_user = order.end_user if order else None
        cleared = _Import(data.under(shipment), shipment.sku, data.country, end_user, data.quantity)
        return _imported(case, cleared, parameters)
    return NOT_APPLICABLE


class _Import(NamedTuple):
    approval: str | None
    sku: str
    country: str
    end_user: str | None
    units: int


def _imported(case: Case, wanted: _Import, parameters: ImportApproved) -> Found:
    if wanted.approval is None:
        return Found("fail", "none")
    named = (wanted.approval,)
    approval = case.facts.get(ImportApproval, f"{case.event.contract}/{wanted.approval}")
    if approval is None or approval.withdrawn:
        return Found("fail", "unknown", subjects=named)
    if wanted.sku != approval.sku:
        return Found("fail", "item", wanted.sku, approval.sku, unit="item", subjects=named)
    if wanted.country != approval.country:
        return Found("fail", "country", wanted.country, approval.country, unit="country", subjects=named)
    today = day_of(case.at, case.zone)
    if today < approval.valid_from:
        return Found("fail", "not_begun", str(today), str(approval.valid_from), unit="day", subjects=named)
    if today > approval.valid_until:
        return Found("fail", "ended", str(today), str(approval.valid_until), unit="day", subjects=named)
    class_ = next((c.class_ for c in parameters.classes if c.end_user == wanted.end_user), None)
    if class_ in approval.excluded:
        return Found("fail", "class", class_, subjects=named)
    used = approval.released if isinstance(case.data, ShipmentRequested) else approval.cleared
    observed, limit, headroom = used + wanted.units, approval.quota, approval.quota - used
    if observed > limit:
        return Found("fail", "over", observed, limit, observed - limit, headroom, subjects=named)
    return Found("pass", None, observed, limit, None, headroom, subjects=named)


# --- 21 -------------------------------------------------------------------------------------------


class DomesticCopurchase(Parameters):
    """Its breach is the end of a window: no event is gated by it."""

    ratio: Annotated[
        Rate,
        MORE,
        Field(description='Domestic for each one imported, as a decimal in a string: `"1"` is 1:1.'),
    ]
    measure: Annotated[Measure, Field(description="`units` or `tpp`.")]
    window: Annotated[Length, Field(description="`month`, `quarter` or `year` of the calendar.")]
    unit_tpp: Annotated[
        UnitTpp | None,
        Figure(UNIT_TPP),
        Field(description="TPP of one imported unit, where `measure` is `tpp`."),
    ] = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if (self.measure == "tpp") != (self.unit_tpp is not None):
            raise ValueError("unit_tpp is said where measure is tpp, and only there")
        return self


class Copurchase(NamedTuple):
    """What was bought at home in a window, against what imports in it ask for."""

    bought: int
    due: int

    @property
    def short(self) -> int:
        return max(0, self.due - self.bought)


def copurchase_in(imports: Imports | None, window: Window, parameters: DomesticCopurchase) -> Copurchase:
    """Domestic purchases against ratio × imports, both of the window; a fraction of a unit counts as one.

    Imports are what customs cleared, by the day of recording; purchases are of the last day of the
    period that was told. Late from `window.over` on.
    """
    months = [m for m in imports.months if m.month in window.months] if imports else []
    imported = sum(m.imported for m in months) * (parameters.unit_tpp or 1)
    bought = sum(m.domestic if parameters.measure == "units" else m.domestic_tpp for m in months)
    due = EXACT.multiply(Decimal(imported), parameters.ratio)
    return Copurchase(bought=bought, due=int(due.to_integral_value("ROUND_CEILING", EXACT)))
