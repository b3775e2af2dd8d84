"""Conditions on chips at work: who uses them, how well they serve, what stands in for the defective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from ledger.facts import Advances, Rma
from ledger.kinds.device import UsageAttested
from ledger.kinds.fleet import FleetAttested
from ledger.kinds.inspection import ReportFiled, SlaReported
from ledger.kinds.rma import RmaReplaced, RmaRequested
from ledger.values import Money, Value, unique_by
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import LESS, MORE, Doubt, Share, Use
from policies.conditions.money import EXACT, plain, share_of
from policies.conditions.parameters import Parameters, Rounding
from policies.conditions.percent import Percent, allowed, needed, percent_of, spelled
from policies.conditions.registry import condition

# --- 20 -------------------------------------------------------------------------------------------


class RemoteTenantKyc(Parameters):
    percent: Annotated[
        Percent,
        MORE,
        Share(100),
        Field(description='Of the remote tenants that must have been checked: `"100"`.'),
    ]
    required: Annotated[
        bool, MORE, Field(description="Whether a statement that does not count its tenants is flagged.")
    ] = True

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if not self.percent and not self.required:
            yield Doubt("error", "percent", "percent is 0 and required is false, so it asks nothing")


@condition(
    number=20,
    parameters=RemoteTenantKyc,
    facts=("usage.attested", "fleet.attested", "report.filed"),
    unit="%",
    sentences={
        "pass": "{observed} % of the remote tenants were checked, {limit} % must be",
        "not_stated": "the statement does not say how many remote tenants there are",
        "short": "{observed} % of the remote tenants were checked, {limit} % must be: {shortfall} tenants "
        "short",
    },
)
def remote_tenant_kyc(case: Case, parameters: RemoteTenantKyc) -> Found:
    """Of the remote users of the devices so many must have been checked (know your customer).

    Who has no remote tenants says so: 0 of 0. Percentages are compared exactly and printed cut off after
    two digits; what is short is counted in tenants. The consignee runs such checks against unauthorised
    remote access, and discloses its remote users (91 FR 1684).
    """
    data = case.data
    if not isinstance(data, UsageAttested | FleetAttested | ReportFiled):
        return NOT_APPLICABLE
    tenants = data.tenants
    if tenants is None:
        return Found("fail", "not_stated") if parameters.required else NOT_APPLICABLE
    observed, limit = percent_of(tenants.covered, tenants.total), spelled(parameters.percent)
    short = needed(tenants.total, parameters.percent) - tenants.covered
    if short > 0:
        return Found("fail", "short", observed, limit, short)
    return Found("pass", None, observed, limit)


# --- 25 -------------------------------------------------------------------------------------------


class Credit(Value):
    """What is owed where a service is available for less than so many percent of the time."""

    below: Percent
    percent: Percent | None = None
    """Of the fee for the period."""
    amount: Money | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.percent is None) == (self.amount is None):
            raise ValueError("a credit is a percent of the fee or an amount, and only one of these")
        return self


class ServiceLevel(Parameters):
    floor: Annotated[
        Percent, MORE, Share(100), Field(description='Of the agreed time, as a decimal: `"99.90"`.')
    ]
    credits: Annotated[
        tuple[Credit, ...],
        Field(
            strict=False,
            max_length=20,
            description="Steps of `below` (percent available) with what is owed then, `percent` (of the "
            "fee) or `amount`; the lowest step that applies counts. None, if not given.",
        ),
        unique_by("below"),
    ] = ()
    rounding: Annotated[Rounding, Field(description="Of a credit: `half_up`, `half_even` or `up`.")] = (
        "half_up"
    )
    digits: Annotated[int, Field(ge=0, le=6, description="Digits after the point of a credit.")] = 2

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if not self.floor:
            yield Doubt("error", "floor", "floor is 0, must be more: no service could be below it")
        # Of all steps from the floor up only the lowest can be the lowest that applies.
        first = min((c.below for c in self.credits if c.below >= self.floor), default=_ALL)
        for number, credit in enumerate(self.credits):
            field, words = f"credits/{number}/below", f"below is {spelled(credit.below)}"
            if not credit.below:
                yield Doubt("error", field, f"{words}, must be more: nothing is available for less")
            elif credit.below > first:
                words = f"{words}: never due, for that below {spelled(first)} comes first"
                yield Doubt("error", field, words)
            elif credit.below > self.floor:
                words = f"{words}, the floor {spelled(self.floor)}: nothing is credited from the floor up"
                yield Doubt("remark", field, words)
        yield from _odd_credits(self.credits)

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        if any(credit.percent is not None for credit in self.credits):
            return {}
        return dict.fromkeys(("rounding", "digits"), "no credit is a percent of the fee")


_ALL = Decimal(100)


def _odd_credits(steps: tuple[Credit, ...]) -> Iterator[Doubt]:
    """Amounts in two currencies; and less owed where more of the service was missing."""
    amounts = [(n, c.amount.currency) for n, c in enumerate(steps) if c.amount is not None]
    for number, currency in amounts[1:]:
        if currency != amounts[0][1]:
            words = f"currency is {currency}, that of another credit is {amounts[0][1]}"
            yield Doubt("remark", f"credits/{number}/amount/currency", words)
    ordered = sorted(enumerate(steps), key=lambda step: step[1].below)
    for (number, lower), (_, higher) in pairwise(ordered):
        (owed, unit), (more, other) = _owed(lower), _owed(higher)
        if unit == other and owed < more:
            words = f"{owed} {unit} is owed below {spelled(lower.below)}, and {more} {unit} below"
            words = f"{words} {spelled(higher.below)}: less where more is missing"
            yield Doubt("remark", f"credits/{number}", words)


def _owed(credit: Credit) -> tuple[Decimal, str]:
    """How much, and of what."""
    if credit.amount is not None:
        return credit.amount.amount, credit.amount.currency
    return credit.percent or Decimal(0), "%"


@condition(
    number=25,
    parameters=ServiceLevel,
    facts=("sla.reported",),
    unit="%",
    sentences={
        "pass": "{observed} % available, {limit} % agreed",
        "below": "{observed} % available, {limit} % agreed: {shortfall} seconds down beyond what is allowed",
        "credit_due": "{observed} % available, {limit} % agreed: {shortfall} seconds down beyond what is "
        "allowed; a credit is due: {subjects}",
    },
)
def service_level(case: Case, parameters: ServiceLevel) -> Found:
    """A service is available for so much of the agreed time, or a credit is due.

    Availability is (agreed seconds - seconds down) / agreed seconds; it is compared exactly, and printed
    cut off after two digits, never rounded up to what was agreed. A credit in percent is reckoned from
    the fee that the report states; where it states none, the percentage is named.
    """
    data = case.data
    if not isinstance(data, SlaReported):
        return NOT_APPLICABLE
    period, down = data.period_seconds, data.down_seconds
    observed, limit = percent_of(period - down, period), spelled(parameters.floor)
    excess = down - allowed(period, parameters.floor)
    if excess <= 0:
        return Found("pass", None, observed, limit)
    steps = [c for c in parameters.credits if down > allowed(period, c.below)]
    if not steps:
        return Found("fail", "below", observed, limit, excess)
    credit = _spelled_credit(min(steps, key=lambda step: step.below), data.fee, parameters)
    return Found("fail", "credit_due", observed, limit, excess, subjects=(credit,))


def _spelled_credit(credit: Credit, fee: Money | None, parameters: ServiceLevel) -> str:
    if credit.amount is not None:
        return f"{plain(credit.amount.amount)} {credit.amount.currency}"
    assert credit.percent is not None, "a credit is one of the two"
    if fee is None:
        return f"{spelled(credit.percent)} % of the fee"
    rate = EXACT.scaleb(credit.percent, -2)
    due = share_of(fee.amount, rate, rounding=parameters.rounding, digits=parameters.digits)
    return f"{due:f} {fee.currency}"


# --- 31 -------------------------------------------------------------------------------------------


class RmaOneForOne(Parameters):
    advance: Annotated[
        int,
        LESS,
        Field(
            ge=0,
            le=1_000_000,
            description="Units that may be abroad beyond the license, because they came before what they "
            "replace went back.",
        ),
    ] = 0

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {} if "rma.requested" in kinds else {"advance": "no request is judged"}


@condition(
    number=31,
    parameters=RmaOneForOne,
    requests=("rma.requested",),
    facts=("rma.replaced",),
    unit="units",
    sentences={
        "pass": "{observed} {unit} abroad or asked for, {limit} allowed with advance replacements",
        "license_unknown": "the license is not one of this contract",
        "case_unknown": "no such case was requested in this contract",
        "not_one_for_one": "{observed} replacements for {limit} defective devices: {shortfall} too many",
        "over": "{observed} {unit} abroad or asked for, {limit} allowed with advance replacements: "
        "{shortfall} too many (headroom {headroom})",
        "advance": "{observed} advance replacements outstanding, {limit} allowed: {shortfall} too many "
        "(headroom {headroom})",
        "more_than_asked": "{observed} devices replaced, {limit} asked for: {shortfall} too many",
        "before_return": "{observed} devices replaced, {limit} gone back or allowed in advance: "
        "{shortfall} too many",
    },
)
def rma_one_for_one(case: Case, parameters: RmaOneForOne) -> Found:
    """For a defective device one takes its place, and it goes back.

    A replacement that comes first is a unit beyond what was exported, so only so many may be outstanding
    under a license: released units and advance replacements together stay within the license's quantity
    and that number. What has come in place of defective devices is flagged where it is more than the case
    asked for, or came before the return of what it replaces without being one of its advance
    replacements. The decision on two requests for the last one falls in one place, and one of them wins.
    """
    data = case.data
    if isinstance(data, RmaRequested):
        return _asked(case, data, parameters)
    if isinstance(data, RmaReplaced):
        return _replaced(case, data)
    return NOT_APPLICABLE


def _asked(case: Case, data: RmaRequested, parameters: RmaOneForOne) -> Found:
    defective = len(data.serials)
    if data.replacements > defective:
        extra = data.replacements - defective
        return Found("fail", "not_one_for_one", data.replacements, defective, extra)
    license_ = case.license(data.license)
    if license_ is None:
        return Found("fail", "license_unknown")
    advances = case.facts.get(Advances, f"{case.event.contract}/{data.license}")
    before = 0 if advances is None else advances.outstanding
    abroad = license_.released + before
    observed, limit = abroad + data.advance, license_.quantity + parameters.advance
    if data.advance and observed > limit:
        return Found("fail", "over", observed, limit, observed - limit, limit - abroad)
    outstanding, most = before + data.advance, parameters.advance
    if data.advance and outstanding > most:
        return Found("fail", "advance", outstanding, most, outstanding - most, most - before)
    return Found("pass", None, observed, limit)


def _replaced(case: Case, data: RmaReplaced) -> Found:
    rma = case.facts.get(Rma, f"{case.event.contract}/{data.rma}")
    if rma is None:
        return Found("fail", "case_unknown")
    done = len({one.defective for one in rma.replaced} | {device.defective for device in data.devices})
    if done > rma.replacements:
        return Found("fail", "more_than_asked", done, rma.replacements, done - rma.replacements)
    open_for = len(rma.returned) + rma.advance
    if done > open_for:
        return Found("fail", "before_return", done, open_for, done - open_for)
    return Found("pass", None, done, min(open_for, rma.replacements))
