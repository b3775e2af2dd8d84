"""Records: who releases a legal hold, and whose entries may be erased."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import LegalHold, Recorded
from ledger.kinds.records import LegalHoldPlaced, LegalHoldReleased, PurgeRequested, may_release
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "legal_hold.placed",
    sentences={
        "legal_hold_new.exists": "the number of the hold is taken by entry {subjects}",
    },
)
def legal_hold_new(case: Case, data: LegalHoldPlaced) -> Iterator[Finding]:
    hold = case.facts.get(LegalHold, f"{case.event.contract}/{data.hold}")
    if hold is not None:
        yield broken(case, "legal_hold_new.exists", subjects=(str(hold.placed),))


@rule(
    "legal_hold.released",
    sentences={
        "legal_hold_known.unknown": "no such hold was placed in this contract",
        "legal_hold_known.released": "the hold was released before, by entry {subjects}",
        "legal_hold_known.not_yours": "the hold was placed by {limit}; neither that party nor an authority "
        "releases it here",
    },
)
def legal_hold_known(case: Case, data: LegalHoldReleased) -> Iterator[Finding]:
    hold = case.facts.get(LegalHold, f"{case.event.contract}/{data.hold}")
    if hold is None:
        yield broken(case, "legal_hold_known.unknown")
    elif hold.released is not None:
        yield broken(case, "legal_hold_known.released", subjects=(str(hold.released),))
    elif not may_release(hold, case.event):
        yield broken(
            case, "legal_hold_known.not_yours", observed=case.event.actor.party, limit=hold.placed_by
        )


@rule(
    "purge.requested",
    sentences={
        "purge_entries.unknown": "{shortfall} of {limit} entries are not of this contract: {subjects}",
        "purge_entries.own": "{shortfall} of {limit} entries are the ledger's own: {subjects}",
    },
)
def purge_entries(case: Case, data: PurgeRequested) -> Iterator[Finding]:
    strange: list[str] = []
    own: list[str] = []
    for entry in data.entries:
        recorded = case.facts.get(Recorded, str(entry))
        # Whether there is such an entry in another contract is nobody's business here.
        if recorded is None or recorded.event.contract != case.event.contract:
            strange.append(str(entry))
        elif recorded.event.data.nature == "own":
            own.append(str(entry))
    if strange:
        yield _entries(case, "purge_entries.unknown", len(data.entries), strange)
    if own:
        yield _entries(case, "purge_entries.own", len(data.entries), own)


def _entries(case: Case, code: str, named: int, wrong: list[str]) -> Finding:
    return broken(
        case,
        code,
        observed=named - len(wrong),
        limit=named,
        shortfall=len(wrong),
        unit="entries",
        subjects=tuple(wrong),
    )
