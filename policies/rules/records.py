"""Records: who releases a legal hold, and whose entries may be erased."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.event import LEDGER_PARTY
from ledger.facts import Correction, Erasure, LegalHold, LegalHolds, Recorded, erasure_key
from ledger.kinds.records import LegalHoldPlaced, LegalHoldReleased, PurgeRequested, is_kept, may_release
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
        "purge_entries.legal_hold": "{observed} legal holds stand over the contract: {subjects}",
        "purge_entries.unknown": "{shortfall} of {limit} entries are not of this contract: {subjects}",
        "purge_entries.own": "{shortfall} of {limit} entries are the ledger's own: {subjects}",
        "purge_entries.kept": "{shortfall} of {limit} entries are of kinds that are never erased: {subjects}",
        "purge_entries.erased": "{shortfall} of {limit} entries were erased before: {subjects}",
        "purge_entries.corrected": "{shortfall} of {limit} entries were declared in error by entries that"
        " stay, which could then not be judged again: {subjects}; erase those with them",
    },
)
def purge_entries(case: Case, data: PurgeRequested) -> Iterator[Finding]:
    holds = case.facts.get(LegalHolds, case.event.contract)
    if holds is not None and holds.standing:
        yield broken(
            case, "purge_entries.legal_hold", observed=holds.standing, limit=0, unit="holds",
            subjects=holds.named,
        )  # fmt: skip
    wrong: dict[str, list[str]] = {}
    for entry in data.entries:
        if (code := _not_erasable(case, data, entry)) is not None:
            wrong.setdefault(code, []).append(str(entry))
    for code, entries in wrong.items():
        yield _entries(case, code, len(data.entries), entries)


def _not_erasable(case: Case, data: PurgeRequested, entry: int) -> str | None:
    """The code of what forbids it."""
    contract = case.event.contract
    recorded = case.facts.get(Recorded, str(entry))
    # Whether there is such an entry in another contract is nobody's business here.
    if recorded is None or recorded.contract != contract:
        return "purge_entries.unknown"
    # By its columns, which an erasure leaves: the request must be judged alike ever after.
    if recorded.party == LEDGER_PARTY:
        return "purge_entries.own"
    if is_kept(recorded.kind):
        return "purge_entries.kept"
    erasure = case.facts.get(Erasure, erasure_key(contract, entry))
    if erasure is not None and erasure.erased is not None:
        return "purge_entries.erased"
    correction = case.facts.get(Correction, str(entry))
    if correction is None or correction.by in data.entries:
        return None
    if case.facts.get(Erasure, erasure_key(contract, correction.by)) is not None:
        return None  # the correction is asked for already, or is gone
    return "purge_entries.corrected"


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
