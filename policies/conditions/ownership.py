"""The condition on who owns a party, and from where it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ledger.event import Event
from ledger.facts import Declared, Facts, Key, Ownership
from ledger.values import Country, Date, Many, Value, day_of, midnight
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import FURTHER, LESS, Doubt, Severity, Share, Use
from policies.conditions.parameters import Duration, Parameters
from policies.conditions.percent import Percent, spelled
from policies.conditions.registry import condition
from policies.conditions.screening import parties_of

# --- 18 -------------------------------------------------------------------------------------------


class InForce(Value):
    from_: Annotated[Date, Field(alias="from")]
    until: Date | None = None

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.until is not None and self.until <= self.from_:
            raise ValueError(f"until is {self.until}, must be after from {self.from_}")
        return self


def _more_than_none(percent: Decimal) -> Decimal:
    if not percent:
        raise ValueError("is 0, must be more")
    return percent


class OwnershipLimits(Parameters):
    percent: Annotated[
        Percent | None,
        AfterValidator(lambda percent: percent if percent is None else _more_than_none(percent)),
        LESS,
        Share(100),
        Field(
            description="Share that listed holders may not reach together, as a decimal in a string: "
            '`"50"`. No such rule, if not given.'
        ),
    ] = None
    in_force: Annotated[
        Many[InForce] | None,
        Field(
            description="When the rule on listed holders is in force: `{from, until}`, days of the "
            "contract's zone, `until` the first day on which it is not. Always, if not given."
        ),
    ] = None
    countries: Annotated[
        tuple[Country, ...],
        FURTHER,
        Field(
            strict=False,
            max_length=250,
            description="Where neither headquarters nor ultimate parent may be. Anywhere, if not given.",
        ),
    ] = ()
    max_age: Annotated[
        Duration | None,
        LESS,
        Field(description="How long ago a declaration may be dated. Any time, if not given."),
    ] = None

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if self.percent is None and not self.countries:
            yield Doubt("error", "", "neither percent nor countries is given, so it asks nothing")
        windows = self.in_force or () if self.percent is not None else ()
        outside = [w for w in windows if not _meets(w, use)]
        severity: Severity = "error" if len(outside) == len(windows) else "remark"
        for window in outside:
            words = f"{_spelled_window(window)} never meets the document, in force {_spelled_force(use)}"
            yield Doubt(severity, f"in_force/{windows.index(window)}", words)
        ordered = sorted(windows, key=lambda w: w.from_)
        for before, after in pairwise(ordered):
            if before.until is None or after.from_ < before.until:
                words = f"{_spelled_window(after)} overlaps {_spelled_window(before)}"
                yield Doubt("remark", f"in_force/{windows.index(after)}", words)

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {"in_force": "no percent is given"} if self.percent is None else {}


def _meets(window: InForce, use: Use) -> bool:
    begun = use.until is None or window.from_ < use.until
    return begun and (window.until is None or use.begins < window.until)


def _spelled_window(window: InForce) -> str:
    return f"from {window.from_}" + (f" until {window.until}" if window.until else "")


def _spelled_force(use: Use) -> str:
    return f"from {use.begins}" + (f" until {use.until}" if use.until else "")


def _ownership_reads(event: Event, facts: Facts, parameters: OwnershipLimits) -> Iterator[Key]:
    for party in parties_of(event, facts):
        yield Ownership.name, f"{event.contract}/{party}"


@condition(
    number=18,
    parameters=OwnershipLimits,
    requests=("order.placed", "order.amended", "transfer.requested"),
    clock="recorded_at",
    unit="percent",
    sentences={
        "pass": "listed holders own {observed} {unit}, the limit is {limit} {unit}",
        "missing": "nobody has declared who owns: {subjects}",
        "stale": "the declaration was dated {observed}, must not be before {limit}: {subjects}",
        "country": "headquarters or ultimate parent in {observed}, which must not be: {subjects}",
        "parent": "the ultimate parent is listed: {subjects}",
        "holders": "listed holders own {observed} {unit}, must be below {limit} {unit}: {subjects}",
    },
    reads=_ownership_reads,
)
def ownership(case: Case, parameters: OwnershipLimits) -> Found:
    """Listed holders must not own a party together, nor may it be run from where it must not be.

    Asked of consignee and end user and every buyer of the contract, and of the receiver of a transfer. The
    shares of all listed holders add up. What the party says of itself and what the exporter or an authority
    says are each looked at, and the gravest counts. The rule on listed holders can be in force at some times
    and suspended at others: that of 50 % was suspended from 2025-11-10 to 2026-11-09. Headquarters and
    ultimate parent count wherever the entity itself is (guidance of 2026-05-31).
    """
    parties = parties_of(case.event, case.facts)
    affiliates = parameters.percent is not None and _in_force(case, parameters)
    if not parties or not (affiliates or parameters.countries):
        return NOT_APPLICABLE
    said = {party: _declared(case, party) for party in parties}
    if undeclared := tuple(party for party, declared in said.items() if not declared):
        return Found("fail", "missing", subjects=undeclared)
    every = [(party, one) for party, declared in said.items() for one in declared]
    for found in (_stale(case, said, parameters), _run_from(every, parameters)):
        if found is not None:
            return found
    return _owned(every, parameters.percent if affiliates else None)


def _declared(case: Case, party: str) -> tuple[Declared, ...]:
    ownership = case.facts.get(Ownership, f"{case.event.contract}/{party}")
    return () if ownership is None else ownership.declared


def _in_force(case: Case, parameters: OwnershipLimits) -> bool:
    if parameters.in_force is None:
        return True
    return any(
        _begins(case, w.from_) and not (w.until and _begins(case, w.until)) for w in parameters.in_force
    )


def _begins(case: Case, day: date) -> bool:
    return case.at >= midnight(day, case.zone)


def _stale(case: Case, said: dict[str, tuple[Declared, ...]], parameters: OwnershipLimits) -> Found | None:
    if parameters.max_age is None:
        return None
    first = day_of(case.at - parameters.max_age, case.zone)
    newest = {party: max(one.dated for one in declared) for party, declared in said.items()}
    old = {party: dated for party, dated in newest.items() if dated < first}
    if not old:
        return None
    return Found(
        "fail", "stale", min(old.values()).isoformat(), first.isoformat(), unit="day", subjects=tuple(old)
    )


def _run_from(every: list[tuple[str, Declared]], parameters: OwnershipLimits) -> Found | None:
    for party, one in every:
        for country in (one.headquarters, one.parent):
            if country is not None and country in parameters.countries:
                return Found("fail", "country", country, unit="country", subjects=(party,))
    return None


def _owned(every: list[tuple[str, Declared]], limit: Decimal | None) -> Found:
    gravest = max(one.listed_percent for _, one in every)
    if limit is None:
        return Found("pass", None, spelled(gravest), "100.00")
    if parents := tuple(dict.fromkeys(party for party, one in every if one.parent_listed)):
        return Found("fail", "parent", subjects=parents)
    if gravest >= limit:
        owned = tuple(dict.fromkeys(party for party, one in every if one.listed_percent >= limit))
        return Found("fail", "holders", spelled(gravest), spelled(limit), subjects=owned)
    return Found("pass", None, spelled(gravest), spelled(limit))
