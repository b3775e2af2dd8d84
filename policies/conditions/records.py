"""Conditions on the records themselves: how soon they are made, how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import Field

from ledger.event import KINDS, Event, Nature
from ledger.facts import Contract, Facts, Key, License, Retention
from ledger.kinds.records import PurgeRequested
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.deadlines import years_after
from policies.conditions.declared import LESS, MORE, Doubt, Use
from policies.conditions.parameters import Duration, Parameters
from policies.conditions.registry import condition


def _governed(nature: Nature) -> tuple[str, ...]:
    """The kinds of that nature that a policy document is asked about."""
    return tuple(sorted({name for (name, _), k in KINDS.items() if k.nature == nature and not k.setup}))


class MaxBackdating(Parameters):
    within: Annotated[Duration, LESS, Field(description="What has occurred is recorded within this: PT72H.")]


@condition(
    number=38,
    parameters=MaxBackdating,
    requests=_governed("request"),
    facts=_governed("fact"),
    clock="recorded_at",
    unit="time",
    sentences={
        "pass": "said to have occurred at {observed}, must not be before {limit}",
        "backdated": "said to have occurred at {observed}, must not be before {limit}: told too late",
    },
)
def max_backdating(case: Case, parameters: MaxBackdating) -> Found:
    """What has occurred is recorded within a limit, to the microsecond.

    `occurred_at` is a claim. It is held against the time of recording here and believed nowhere: an early
    one can only fail this, and no other condition looks at it. A log in which anything can be told at any
    later day tells of no order of events, so each contract says how late is too late.
    """
    occurred_at, earliest = case.event.occurred_at, case.at - parameters.within
    observed, limit = case.instant(occurred_at), case.instant(earliest)
    if occurred_at < earliest:
        return Found("fail", "backdated", observed, limit)
    return Found("pass", None, observed, limit)


class RetentionHold(Parameters):
    years: Annotated[int, MORE, Field(ge=1, le=100, description="How long records are kept.")]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if use.until is not None:
            words = f"years is {self.years}, and the document ends on {use.until}"
            yield Doubt("remark", "years", f"{words}: from then on nobody asks for it")


class Cause(NamedTuple):
    """What records are kept for, and since when."""

    what: str
    at: datetime


def _kept_reads(event: Event, facts: Facts, parameters: RetentionHold) -> Iterator[Key]:
    yield Retention.name, event.contract
    contract = facts.peek(Contract, event.contract)
    for number in contract.licenses if contract is not None else ():
        yield License.name, number


@condition(
    number=35,
    parameters=RetentionHold,
    requests=("purge.requested",),
    clock="recorded_at",
    unit="time",
    sentences={
        "pass": "recorded at {observed}, records were to be kept until {limit}",
        "retained": "recorded at {observed}, records are kept until {limit}, for the latest {subjects}",
    },
    reads=_kept_reads,
)
def retention_hold(case: Case, parameters: RetentionHold) -> Found:
    """Nothing is erased before the records have been kept for years.

    The years count from the latest of the last dispatch, the last known diversion, and the end of the
    last license of the contract: its last day, or its revocation if that came first. They end with
    their last day, at 24:00 in the contract's zone. Times are those of recording. Records of exports are
    kept for five years from the latest of these (15 CFR 762.6). That nothing is erased while a legal hold
    stands is the constitution's, for every contract.
    """
    if not isinstance(case.data, PurgeRequested):
        return NOT_APPLICABLE
    cause = latest_cause(case)
    if cause is None:
        return Found("pass", None, case.recorded)
    until = years_after(cause.at, parameters.years, case.zone)
    limit = case.instant(until)
    if case.at < until:
        return Found("fail", "retained", case.recorded, limit, subjects=(cause.what,))
    return Found("pass", None, case.recorded, limit)


def latest_cause(case: Case) -> Cause | None:
    """The latest of export, diversion and termination; of two at one instant, the first named here."""
    retention = case.facts.get(Retention, case.event.contract)
    causes: list[Cause] = []
    if retention is not None and retention.exported_at is not None:
        causes.append(Cause("export", retention.exported_at))
    if retention is not None and retention.diversions:
        causes.append(Cause("diversion", max(one.at for one in retention.diversions)))
    for number in case.contract.licenses:
        license_ = case.license(number)
        if license_ is not None:
            ends = license_.ends
            if license_.revoked_at is not None and license_.revoked_at < ends:
                ends = license_.revoked_at
            causes.append(Cause(f"end of license {number}", ends))
    return max(causes, key=lambda cause: cause.at, default=None)
