"""Conditions on a shipment: tested, levied, and the same devices at each hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ledger.facts import DeviceTest
from ledger.kinds.delivery import DeliveryReceived
from ledger.kinds.shipment import ShipmentDispatched, ShipmentRequested
from ledger.kinds.transfer import DeviceTransferred
from ledger.kinds.withdrawal import ABROAD
from ledger.values import Country, format_timestamp, later
from policies.conditions.case import NOT_APPLICABLE, Case, Found, Proposes
from policies.conditions.declared import MORE, TIME_TO_REPORT, Allows, Figure, Share
from policies.conditions.money import EXACT, plain, share_of
from policies.conditions.parameters import Duration, Parameters, Rate, Rounding, one_of
from policies.conditions.percent import Percent, needed
from policies.conditions.registry import condition

# --- 12 -------------------------------------------------------------------------------------------


class LaboratoryTest(Parameters):
    coverage: Annotated[
        Literal["every", "sample"],
        one_of("a coverage", ("every", "sample")),
        Field(
            description="`every`: each serial must have passed. `sample`: so many of each release must have, "
            "and none of it may have failed."
        ),
    ]
    percent: Annotated[
        Percent | None,
        Field(
            description='Of the devices of a release, where `coverage` is `sample`: `"5"`. A part of a '
            "device counts as one."
        ),
    ] = None
    at_least: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, description="How many devices a sample has at least, or the whole release."
        ),
    ] = 1
    country: Annotated[
        Country | None,
        Allows("country of the laboratory", none_is_any=True),
        Field(description="ISO 3166-1: a test made elsewhere does not count. Any, if not given."),
    ] = None

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if (self.coverage == "sample") != (self.percent is not None):
            raise ValueError("percent is said where coverage is sample, and only there")
        return self


@condition(
    number=12,
    parameters=LaboratoryTest,
    requests=("shipment.requested",),
    unit="devices",
    sentences={
        "pass": "{observed} of {limit} devices have passed a laboratory test",
        "not_passed": "{observed} of {limit} devices have passed a laboratory test, "
        "{shortfall} without one: {subjects}",
        "sample_short": "{observed} {unit} have passed their test, a sample of the release is {limit}: "
        "{shortfall} too few",
        "sample_failed": "{shortfall} {unit} of the sample have not passed their test: {subjects}",
    },
)
def laboratory_test(case: Case, parameters: LaboratoryTest) -> Found:
    """Every device of the request, or a sample of them, must have passed the test of a laboratory.

    Of a sample all must have: one that was tested and has not passed stops the release. The latest test
    counts, if it was made of the item that is to be shipped and, where the document says so, in that
    country. A laboratory that is not independent passes nothing. For exports of
    H200-class items the test is made in the United States before export (91 FR 1684).
    """
    data = case.data
    if not isinstance(data, ShipmentRequested):
        return NOT_APPLICABLE
    sku, country, asked = data.sku, parameters.country, len(data.serials)
    tests = {d.serial: d.test_for(case.event.contract) for d in case.devices(data.serials)}
    failed = tuple(serial for serial, test in tests.items() if not _passed(test, sku, country))
    if parameters.percent is not None:
        in_sample = tuple(serial for serial in failed if tests[serial] is not None)
        passed, need = asked - len(failed), max(parameters.at_least, needed(asked, parameters.percent))
        if in_sample:
            return Found("fail", "sample_failed", passed, asked, len(in_sample), subjects=in_sample)
        if passed < (need := min(need, asked)):
            return Found("fail", "sample_short", passed, need, need - passed)
        return Found("pass", None, passed, asked)
    if failed:
        return Found("fail", "not_passed", asked - len(failed), asked, len(failed), subjects=failed)
    return Found("pass", None, asked, asked)


def _passed(test: DeviceTest | None, sku: str, country: str | None) -> bool:
    if test is None or test.result != "pass":
        return False
    return test.sku == sku and (country is None or test.country == country)


# --- 16 -------------------------------------------------------------------------------------------


class LevySettled(Parameters):
    rate: Annotated[
        Rate,
        MORE,
        Share(1, beyond="remark"),
        Field(description='Of the value, as a decimal in a string: `"0.25"`.'),
    ]
    rounding: Annotated[
        Rounding, Field(description="`half_up`, `half_even` or `up`, of the whole sum that is due.")
    ]
    digits: Annotated[
        int, Field(ge=0, le=6, description="Digits after the point to which it is rounded.")
    ] = 2


@condition(
    number=16,
    parameters=LevySettled,
    requests=("shipment.requested",),
    unit="currency",
    sentences={
        "pass": "{observed} {unit} of levy settled, {limit} {unit} due",
        "order_unknown": "the order is not one of this contract",
        "currency": "the request is in {observed}, the order in {limit}: "
        "the ledger knows no rate of exchange",
        "short": "{observed} {unit} of levy settled, {limit} {unit} due: {shortfall} {unit} short",
    },
)
def levy_settled(case: Case, parameters: LevySettled) -> Found:
    """The levy on all that the order has released, this request included, must be settled before.

    Due is (value released before + units × unit value) × rate, rounded once. Settled is what has
    been recorded for the order in its own currency.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested):
        return NOT_APPLICABLE
    order = case.order(data.order)
    if order is None:
        return Found("fail", "order_unknown")
    value, currency = data.unit_value, data.unit_value.currency
    if currency != order.currency:
        return Found("fail", "currency", currency, order.currency)
    asked = EXACT.multiply(value.amount, Decimal(len(data.serials)))
    basis = EXACT.add(order.released_value, asked)
    digits = parameters.digits
    due = share_of(basis, parameters.rate, rounding=parameters.rounding, digits=digits)
    observed, limit = plain(order.levied, digits), f"{due:f}"
    if order.levied < due:
        short = plain(EXACT.subtract(due, order.levied), digits)
        return Found("fail", "short", observed, limit, short, unit=currency)
    return Found("pass", None, observed, limit, unit=currency)


# --- 27 -------------------------------------------------------------------------------------------


class CustodyContinuity(Parameters):
    incident_within: Annotated[
        Duration,
        Figure(TIME_TO_REPORT),
        Field(description="How long after it is recorded a loss must be reported."),
    ]


@condition(
    number=27,
    parameters=CustodyContinuity,
    facts=("shipment.dispatched", "delivery.received", "device.transferred"),
    clock="recorded_at",
    unit="devices",
    sentences={
        "pass": "{observed} of {limit} devices are where they must be",
        "shipment_unknown": "the shipment was never released in this contract",
        "not_released": "{observed} of the {limit} devices dispatched were released for this "
        "shipment, {shortfall} not: {subjects}",
        "dispatched_twice": "{shortfall} of the {limit} devices dispatched had been dispatched "
        "before: {subjects}",
        "missing": "{observed} of {limit} devices dispatched have arrived, {shortfall} missing: {subjects}",
        "not_dispatched": "{shortfall} devices arrived that were not dispatched with this "
        "shipment: {subjects}",
        "swapped": "{observed} of {limit} devices dispatched have arrived, {shortfall} "
        "missing, and others came in their place: {subjects}",
        "not_there": "{observed} of {limit} devices were there to be passed on, {shortfall} were not: "
        "{subjects}",
    },
)
def custody_continuity(case: Case, parameters: CustodyContinuity) -> Found:
    """What is dispatched must be what was released, and what arrives what was dispatched.

    Damaged devices have arrived. What was dispatched and has not arrived is missing, until a later
    delivery brings it: a part delivery is flagged too. A device that arrives and was not dispatched
    is flagged as well. What passes on must be there: it has arrived under this contract, is not out of
    use, and stands where the giver says. A break proposes an incident report, due a set time after it is
    recorded.
    """
    data = case.data
    if isinstance(data, ShipmentDispatched):
        return _dispatched(case, data, parameters)
    if isinstance(data, DeliveryReceived):
        return _received(case, data, parameters)
    if isinstance(data, DeviceTransferred):
        return _transferred(case, data, parameters)
    return NOT_APPLICABLE


def _dispatched(case: Case, data: ShipmentDispatched, parameters: CustodyContinuity) -> Found:
    shipment = case.shipment(data.shipment)
    if shipment is None:
        return _break(case, parameters, "shipment_unknown")
    named = len(data.serials)
    # A release that is cancelled or has expired has given its devices back: none of them may leave.
    released = frozenset(shipment.serials if shipment.stands else ())
    strange = tuple(serial for serial in data.serials if serial not in released)
    if strange:
        return _break(case, parameters, "not_released", named - len(strange), named, strange)
    before = frozenset(shipment.dispatched)
    twice = tuple(serial for serial in data.serials if serial in before)
    if twice:
        return _break(case, parameters, "dispatched_twice", named - len(twice), named, twice)
    return Found("pass", None, named, named)


def _received(case: Case, data: DeliveryReceived, parameters: CustodyContinuity) -> Found:
    shipment = case.shipment(data.shipment)
    if shipment is None:
        return _break(case, parameters, "shipment_unknown")
    sent = len(shipment.dispatched)
    dispatched = frozenset(shipment.dispatched)
    now = (*data.received, *data.damaged)
    arrived = frozenset((*shipment.received, *shipment.damaged, *now))
    missing = tuple(serial for serial in shipment.dispatched if serial not in arrived)
    strange = tuple(serial for serial in now if serial not in dispatched)
    if missing and strange:
        return _break(case, parameters, "swapped", sent - len(missing), sent, missing, also=strange)
    if missing:
        return _break(case, parameters, "missing", sent - len(missing), sent, missing)
    if strange:
        return _break(case, parameters, "not_dispatched", sent, sent, strange)
    return Found("pass", None, sent, sent)


def _transferred(case: Case, data: DeviceTransferred, parameters: CustodyContinuity) -> Found:
    named = len(data.serials)
    there = {
        device.serial
        for device in case.facts.devices_of(case.event.contract, data.serials)
        if device.state in ABROAD and device.site in (None, data.from_.site)
    }
    strange = tuple(serial for serial in data.serials if serial not in there)
    if strange:
        return _break(case, parameters, "not_there", len(there), named, strange)
    return Found("pass", None, named, named)


def _break(
    case: Case,
    parameters: CustodyContinuity,
    code: str,
    observed: int | None = None,
    limit: int | None = None,
    serials: tuple[str, ...] = (),
    *,
    also: tuple[str, ...] = (),
) -> Found:
    due = format_timestamp(later(case.at, parameters.incident_within, case.zone))
    return Found(
        "fail",
        code,
        observed,
        limit,
        len(serials) or None,
        subjects=(*serials, *also),
        proposes=(Proposes("incident_report", due=due),),
    )
