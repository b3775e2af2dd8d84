"""Corrections: what may be taken back, and by whom."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.event import Event
from ledger.facts import Correction, Recorded
from ledger.kinds.contract import DeclaredInError
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "event.declared_in_error",
    sentences={
        "correction.unknown": "there is no entry {observed}",
        "correction.id_differs": "entry {observed} has another id",
        "correction.other_contract": "entry {observed} is of another contract",
        "correction.was_denied": "entry {observed} was denied: it has changed nothing",
        "correction.twice": "entry {observed} was declared in error before, by entry {subjects}",
        "correction.not_yours": "entry {observed} was said by another party",
        "correction.not_reversible": "entry {observed} is of a kind that cannot be taken back",
        "correction.dependents": "other events rest on entry {observed}: correct them first",
    },
)
def correction(case: Case, data: DeclaredInError) -> Iterator[Finding]:
    recorded = case.facts.get(Recorded, str(data.index))
    if recorded is None:
        yield _corrects(case, data, "correction.unknown")
        return
    mistaken: Event = recorded.event
    if mistaken.contract != case.event.contract:
        # Of another contract not even the id is compared.
        yield _corrects(case, data, "correction.other_contract")
        return
    if mistaken.id != data.id:
        yield _corrects(case, data, "correction.id_differs")
        return
    if recorded.outcome == "denied":
        yield _corrects(case, data, "correction.was_denied")
        return
    corrected = case.facts.get(Correction, str(data.index))
    if corrected is not None:
        yield _corrects(case, data, "correction.twice", subjects=(str(corrected.by),))
        return
    actor = case.event.actor
    of_license = mistaken.kind.startswith("license.") and actor.role == "authority"
    if actor.party != mistaken.actor.party and not of_license:
        yield _corrects(case, data, "correction.not_yours")
        return
    # Tried on a layer that nobody keeps: the fold does it again, in earnest.
    code = mistaken.data.undo(mistaken, case.facts.attempt(), index=data.index)
    if code is not None:
        yield _corrects(case, data, code)


def _corrects(case: Case, data: DeclaredInError, code: str, *, subjects: tuple[str, ...] = ()) -> Finding:
    return broken(case, code, observed=data.index, unit="entry", subjects=subjects)
