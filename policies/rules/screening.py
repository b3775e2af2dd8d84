"""What is said of parties: who may vouch for whom, and not of tomorrow."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.kinds.screening import (
    ObservationImported,
    OwnershipDeclared,
    ScreeningRecorded,
    StatementFiled,
    may_vouch,
)
from ledger.values import day_of
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "ownership.declared",
    "statement.filed",
    sentences={
        "vouching.other": "of another party only exporter or authority may say this, so it does not count: "
        "{subjects}",
    },
)
def vouching(case: Case, data: OwnershipDeclared | StatementFiled) -> Iterator[Finding]:
    if not may_vouch(case.event, data.party):
        yield broken(case, "vouching.other", subjects=(data.party,))


@rule(
    "ownership.declared",
    "observation.imported",
    sentences={
        "dated_ahead.day": "dated {observed}, which is after the day of recording, {limit}",
    },
)
def dated_ahead(case: Case, data: OwnershipDeclared | ObservationImported) -> Iterator[Finding]:
    today = day_of(case.at, case.zone)
    if data.dated > today:
        yield broken(
            case,
            "dated_ahead.day",
            observed=data.dated.isoformat(),
            limit=today.isoformat(),
            unit="day",
        )


@rule(
    "screening.recorded",
    sentences={
        "dated_ahead.list": "retrieved after the screening was recorded at {limit}, counted as of then: "
        "{subjects}",
    },
)
def retrieved_ahead(case: Case, data: ScreeningRecorded) -> Iterator[Finding]:
    ahead = tuple(used.list for used in data.lists if used.retrieved_at > case.at)
    if ahead:
        yield broken(case, "dated_ahead.list", limit=case.recorded, unit="time", subjects=ahead)
