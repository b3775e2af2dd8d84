"""Conditions on money and time of trade: value, prepayment, windows, a share of revenue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from ledger.event import Event
from ledger.facts import Facts, Key, License, Order, Releases, RevenueAccount
from ledger.facts.payment import DAYS_KEPT
from ledger.facts.payment import Revenue as RevenueOf
from ledger.kinds.order import OrderAmended, OrderCancelled
from ledger.kinds.shipment import ShipmentRequested
from ledger.values import Amount, Money, Value, day_of, midnight
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import (
    CURRENCY,
    LESS,
    MORE,
    RELEASED,
    Allows,
    Cap,
    Doubt,
    Figure,
    Includes,
    Share,
    Use,
)
from policies.conditions.money import EXACT, plain, share_of
from policies.conditions.parameters import Days, Parameters, Rate, Rounding, one_of
from policies.conditions.registry import condition
from policies.conditions.windows import LENGTHS, Length, Window, window_at

_NO_EXCHANGE = "the ledger knows no rate of exchange"


# --- 5 --------------------------------------------------------------------------------------------


class FromValue(Value):
    """`{from: license.value}`: what the license states when the event is judged."""

    source: Annotated[
        Literal["license.value"], one_of("a known source", ("license.value",)), Field(alias="from")
    ]


def _shape(limit: object) -> str:
    from_license = isinstance(limit, FromValue) or (isinstance(limit, dict) and "from" in limit)
    return "(from)" if from_license else "(amount)"


ValueLimit = Annotated[
    Annotated[Money, Tag("(amount)")] | Annotated[FromValue, Tag("(from)")], Discriminator(_shape)
]


class ValueCap(Parameters):
    limit: Annotated[
        ValueLimit,
        LESS,
        Allows("currency", by="currency"),
        Figure(CURRENCY, by="currency"),
        Field(
            description="`{amount: ..., currency: ...}`, or `{from: license.value}`: what the license states."
        ),
    ]
    tolerance: Annotated[
        Amount,
        LESS,
        Share(1, beyond="remark"),
        Field(
            description='Beyond the limit, as a decimal in a string: `"0.25"` is 25 %. None, if not given.'
        ),
    ] = Decimal(0)

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if isinstance(self.limit, Money) and not self.limit.amount:
            yield use.fails_always(
                "limit", "amount is 0, must be more: nothing of any value could be released"
            )

    def caps(self) -> Iterator[Cap]:
        if isinstance(self.limit, Money):
            most = EXACT.multiply(self.limit.amount, EXACT.add(Decimal(1), self.tolerance))
            yield Cap(f"{self.limit.currency} of releases under a license", most, None, "limit")


@condition(
    number=5,
    parameters=ValueCap,
    requests=("shipment.requested",),
    unit="currency",
    sentences={
        "pass": "{observed} {unit} released, {limit} {unit} allowed",
        "license_unknown": "the license is not one of this contract",
        "no_value": "the license states no value",
        "currency": f"released in {{observed}}, the limit is in {{limit}}: {_NO_EXCHANGE}",
        "within_tolerance": "{observed} {unit} released, {limit} {unit} licensed: {shortfall} {unit} more, "
        "within the tolerance",
        "over": "{observed} {unit} released, {limit} {unit} allowed: {shortfall} {unit} too much "
        "(headroom {headroom} {unit})",
    },
)
def value_cap(case: Case, parameters: ValueCap) -> Found:
    """The value of all that is released under the license, this request included, stays within the limit.

    The limit grows by the tolerance, which comes from the license: value may be shipped in excess of
    it by up to 25 % where it says so. What lies above the limit and within the tolerance is flagged,
    whatever the document's action; only what lies beyond is refused.
    Values are counted in the limit's currency; a release in any other cannot be compared.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested):
        return NOT_APPLICABLE
    license_ = case.license(data.license)
    if license_ is None:
        return Found("fail", "license_unknown")
    stated = _stated(parameters.limit, license_)
    if stated is None:
        return Found("fail", "no_value")
    amount, currency = stated
    releases = case.facts.get(Releases, f"{case.event.contract}/{data.license}")
    strange = (
        next((s.currency for s in releases.values if s.currency != currency), None) if releases else None
    )
    if data.unit_value.currency != currency:
        strange = data.unit_value.currency
    if strange is not None:
        return Found("fail", "currency", strange, currency)
    used = releases.value_in(currency) if releases else Decimal(0)
    asked = EXACT.multiply(data.unit_value.amount, Decimal(len(data.serials)))
    total = EXACT.add(used, asked)
    limit = EXACT.normalize(EXACT.multiply(amount, EXACT.add(Decimal(1), parameters.tolerance)))
    headroom = plain(EXACT.subtract(limit, used))
    if total > limit:
        over = plain(EXACT.subtract(total, limit))
        return Found("fail", "over", plain(total), plain(limit), over, headroom, unit=currency)
    if total > amount:
        more = plain(EXACT.subtract(total, amount))
        sums = (plain(total), plain(amount), more, headroom)
        return Found("fail", "within_tolerance", *sums, unit=currency, lenient=True)
    return Found("pass", None, plain(total), plain(limit), None, headroom, unit=currency)


def _stated(limit: Money | FromValue, license_: License) -> tuple[Decimal, str] | None:
    if isinstance(limit, Money):
        return limit.amount, limit.currency
    if license_.value is None or license_.currency is None:
        return None
    return license_.value, license_.currency


# --- 22 -------------------------------------------------------------------------------------------


class Prepayment(Parameters):
    share: Annotated[
        Rate,
        MORE,
        Share(1, beyond="error"),
        Field(description='Of the order\'s value, as a decimal in a string: `"1"` is all.'),
    ]
    cancellation: Annotated[
        Literal["never", "until_paid", "allowed"],
        one_of("a term of cancellation", ("never", "until_paid", "allowed")),
        Includes({"never": ("until_paid", "allowed"), "until_paid": ("allowed",)}),
        Field(
            description="`never`; `until_paid`: while nothing has been paid for it; `allowed`: always. "
            "`never`, if not given."
        ),
    ] = "never"
    rounding: Annotated[
        Rounding, Field(description="`half_up`, `half_even` or `up`, of the whole sum that is due.")
    ] = "half_up"
    digits: Annotated[
        int, Field(ge=0, le=6, description="Digits after the point to which it is rounded.")
    ] = 2

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if self.cancellation == "allowed" and use.kinds == ("order.cancelled",):
            yield Doubt("error", "cancellation", "cancellation is always allowed, and nothing else is judged")

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {} if "order.cancelled" in kinds else {"cancellation": "no cancellation is judged"}


@condition(
    number=22,
    parameters=Prepayment,
    requests=("shipment.requested", "order.cancelled", "order.amended"),
    unit="currency",
    sentences={
        "pass": "{observed} {unit} paid before release, {limit} {unit} due",
        "order_unknown": "the order is not one of this contract",
        "short": "{observed} {unit} paid before release, {limit} {unit} due: {shortfall} {unit} short",
        "no_cancellation": "the order cannot be cancelled; {observed} {unit} of {limit} {unit} due is paid",
        "no_reduction": "the order cannot be made less; {observed} {unit} of {limit} {unit} due is paid",
    },
)
def prepayment(case: Case, parameters: Prepayment) -> Found:
    """The buyer pays the stated share of an order before any of it is released, and cannot cancel.

    Nor, where a document asks that of `order.amended`, make the order worth less than it was.
    Due is units × unit value × share of the whole order as it stands, rounded once. Paid is what the
    exporter has recorded as received for the goods, in the order's own currency; a share of revenue
    is not for the goods. A term that some contracts have: nothing in the law asks for it.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested | OrderCancelled | OrderAmended):
        return NOT_APPLICABLE
    order = case.order(data.order)
    if order is None:
        return Found("fail", "order_unknown")
    due = prepayment_due(order, parameters)
    observed, limit = plain(order.paid, parameters.digits), plain(due, parameters.digits)
    if isinstance(data, OrderCancelled | OrderAmended):
        terms = parameters.cancellation
        less = isinstance(data, OrderCancelled) or _amended_value(order, data) < order.value
        if less and (terms == "never" or (terms == "until_paid" and order.paid)):
            code = "no_cancellation" if isinstance(data, OrderCancelled) else "no_reduction"
            return Found("fail", code, observed, limit, unit=order.currency)
        return Found("pass", None, observed, limit, unit=order.currency)
    if order.paid < due:
        short = plain(EXACT.subtract(due, order.paid), parameters.digits)
        return Found("fail", "short", observed, limit, short, unit=order.currency)
    return Found("pass", None, observed, limit, unit=order.currency)


def _amended_value(order: Order, data: OrderAmended) -> Decimal:
    unit_value = order.unit_value if data.unit_value is None else data.unit_value.amount
    return EXACT.multiply(unit_value, Decimal(data.units or order.units))


def prepayment_due(order: Order, parameters: Prepayment) -> Decimal:
    """What must have been paid before the order releases anything."""
    return share_of(order.value, parameters.share, rounding=parameters.rounding, digits=parameters.digits)


# --- 23 -------------------------------------------------------------------------------------------


class WindowCap(Parameters):
    window: Annotated[Length, Field(description="`month`, `quarter` or `year` of the calendar.")]
    cap: Annotated[int, LESS, Field(ge=0, le=1_000_000_000, description="Units in one window.")]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if not self.cap:
            yield use.fails_always("cap", "cap is 0, must be more: not one unit could be released")

    def caps(self) -> Iterator[Cap]:
        yield Cap(RELEASED, self.cap, LENGTHS[self.window], "cap")


@condition(
    number=23,
    parameters=WindowCap,
    requests=("shipment.requested",),
    clock="recorded_at",
    unit="units",
    sentences={
        "pass": "{observed} {unit} released in {subjects}, {limit} allowed",
        "license_unknown": "the license is not one of this contract",
        "over": "{observed} {unit} released in {subjects}, {limit} allowed: {shortfall} too many "
        "(headroom {headroom})",
    },
)
def window_cap(case: Case, parameters: WindowCap) -> Found:
    """The units released under the license in one window of the calendar stay within the cap.

    The window is the one in which the request is recorded, in the contract's zone; a release that is
    taken back is given back to its own. Contracts deliver in batches by month or quarter.
    """
    data = case.data
    if not isinstance(data, ShipmentRequested):
        return NOT_APPLICABLE
    if case.license(data.license) is None:
        return Found("fail", "license_unknown")
    window = window_at(case.at, case.zone, parameters.window)
    used = released_in(case.facts.get(Releases, f"{case.event.contract}/{data.license}"), window)
    observed, limit, headroom = used + len(data.serials), parameters.cap, parameters.cap - used
    if observed > limit:
        over = observed - limit
        return Found("fail", "over", observed, limit, over, headroom, subjects=(window.name,))
    return Found("pass", None, observed, limit, None, headroom, subjects=(window.name,))


def released_in(releases: Releases | None, window: Window) -> int:
    """Units released in the window that stand."""
    return releases.units_in(window.months) if releases else 0


def unmet_in(releases: Releases | None, window: Window, *, due: int) -> int:
    """Units due in the window and not released: late from `window.over` on."""
    return max(0, due - released_in(releases, window))


# --- 36 -------------------------------------------------------------------------------------------


def _soon(duration: timedelta) -> timedelta:
    if duration >= timedelta(days=DAYS_KEPT):
        raise ValueError(f"must be less than {DAYS_KEPT} days")
    return duration


class RevenueShare(Parameters):
    rate: Annotated[
        Rate,
        MORE,
        Share(1, beyond="error"),
        Figure("share of revenue"),
        Field(description='Of what is invoiced, as a decimal in a string: `"0.15"`.'),
    ]
    within: Annotated[
        Days,
        AfterValidator(_soon),
        LESS,
        Figure("time to pay on a share of revenue"),
        Field(description="After the day of the invoice, in days: the last ends at 24:00."),
    ]
    rounding: Annotated[
        Rounding,
        Figure("rounding of a share of revenue"),
        Field(description="`half_up`, `half_even` or `up`, of the whole sum that is due."),
    ]
    digits: Annotated[
        int,
        Figure("digits of a share of revenue"),
        Field(ge=0, le=6, description="Digits after the point to which it is rounded."),
    ] = 2


def _revenue_reads(event: Event, facts: Facts, parameters: RevenueShare) -> Iterable[Key]:
    yield RevenueAccount.name, event.contract


@condition(
    number=36,
    parameters=RevenueShare,
    requests=("shipment.requested",),
    clock="recorded_at",
    unit="currency",
    sentences={
        "pass": "{observed} {unit} of revenue shared, {limit} {unit} due by now",
        "short": "{observed} {unit} of revenue shared, {limit} {unit} due by now: {shortfall} {unit} short",
    },
    reads=_revenue_reads,
)
def revenue_share(case: Case, parameters: RevenueShare) -> Found:
    """The share of every invoice of the contract that has fallen due must have been paid on.

    Due is rate × all that was invoiced so long ago, rounded once, in each currency by itself; paid
    is what has been recorded as paid with that purpose. An invoice is of the day on which it is
    recorded, in the contract's zone. An agreement of exporter and authority; it is not the levy.
    """
    if not isinstance(case.data, ShipmentRequested):
        return NOT_APPLICABLE
    account = case.facts.get(RevenueAccount, case.event.contract)
    found: Found | None = None
    for revenue in account.currencies if account else ():
        judged = _shared(revenue, case, parameters)
        # The first that is short is the finding; else that of the request's own currency.
        if judged.result == "fail":
            return judged
        if revenue.currency == case.data.unit_value.currency:
            found = judged
    nothing = plain(Decimal(0), parameters.digits)
    return found or Found("pass", None, nothing, nothing, unit=case.data.unit_value.currency)


def _shared(revenue: RevenueOf, case: Case, parameters: RevenueShare) -> Found:
    digits, currency = parameters.digits, revenue.currency
    due = share_due(revenue, parameters, at=case.at, zone=case.zone)
    observed, limit = plain(revenue.shared, digits), plain(due, digits)
    if revenue.shared < due:
        short = plain(EXACT.subtract(due, revenue.shared), digits)
        return Found("fail", "short", observed, limit, short, unit=currency)
    return Found("pass", None, observed, limit, unit=currency)


def share_due(revenue: RevenueOf, parameters: RevenueShare, *, at: datetime, zone: str) -> Decimal:
    """What must have been paid on by `at`: the share of all that was invoiced long enough ago."""
    # Late is the instant after the last day's 24:00, so what was invoiced `within` days ago is not yet.
    last = day_of(at, zone) - parameters.within - timedelta(days=1)
    return share_of(
        revenue.until(last), parameters.rate, rounding=parameters.rounding, digits=parameters.digits
    )


def share_late(invoiced_on: date, parameters: RevenueShare, *, zone: str) -> datetime:
    """The first instant at which the share of an invoice of that day is late."""
    return midnight(invoiced_on + parameters.within + timedelta(days=1), zone)
