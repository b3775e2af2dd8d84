"""Corrections: what may be taken back, and by whom."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.event import Event
from ledger.facts import (
    Baseline,
    Correction,
    Erasure,
    Exports,
    Facts,
    License,
    Order,
    Recorded,
    Supply,
    erasure_key,
)
from ledger.kinds.contract import DeclaredInError, Mistake
from policies.conditions import Case
from policies.rules.rule import broken, finding_of, rule


@rule(
    "event.declared_in_error",
    sentences={
        "correction.unknown": "there is no entry {observed}",
        "correction.id_differs": "entry {observed} has another id",
        "correction.other_contract": "entry {observed} is of another contract",
        "correction.erased": "entry {observed} was erased: what it said can no longer be taken back",
        "correction.was_denied": "entry {observed} was denied: it has changed nothing",
        "correction.twice": "entry {observed} was declared in error before, by entry {subjects}",
        "correction.not_yours": "entry {observed} was said by another party",
        "correction.not_reversible": "entry {observed} is of a kind that cannot be taken back",
        "correction.headroom": "room that has been taken rested on entry {observed}: {subjects}",
        "correction.released": "units have been released on the strength of entry {observed}: {subjects}",
        "correction.dependents": "other events rest on entry {observed}: correct them first",
        "correction.later_movement": "the shipment was dispatched or delivered again after entry {observed}: "
        "correct that first",
        "correction.moved_on": "devices of entry {observed} have moved on: correct first what moved them",
        "correction.cleared": "customs have cleared what left by entry {observed}: correct that first",
        "correction.signed_for": "what arrived by entry {observed} has been accepted: correct that first",
        "correction.license_used": "units are ordered or released under the license of entry {observed}: "
        "correct or cancel that first",
        "correction.license_changed": "the license of entry {observed} was amended or stopped since: "
        "correct that first",
    },
)
def correction(case: Case, data: DeclaredInError) -> Iterator[Finding]:
    wrong = [finding for one in data.mistakes if (finding := _stands(case, one)) is not None]
    if wrong:
        yield from wrong
        return
    # Tried on a layer that nobody keeps: the fold does it again, in earnest.
    after = case.facts.attempt()
    for index, mistaken in data.mistaken(case.facts):
        code = mistaken.data.undo(mistaken, after, index=index)
        if code is not None:
            yield _corrects(case, index, code)
            return
    of_entry = {"observed": data.index, "unit": "entry"}
    if short := _released_on_less(case.facts, after):
        yield finding_of("correction.released", "flag", subjects=short, **of_entry)
    if over := (*_over(case.facts, after), *_measured_by_less(case.facts, after)):
        yield finding_of("correction.headroom", "flag", subjects=over, **of_entry)


def _stands(case: Case, one: Mistake) -> Finding | None:
    """What forbids to take the entry back, whatever it says."""
    recorded = case.facts.get(Recorded, str(one.index))
    if recorded is None:
        return _corrects(case, one.index, "correction.unknown")
    if recorded.contract != case.event.contract:
        # Of another contract not even the id is compared.
        return _corrects(case, one.index, "correction.other_contract")
    erasure = case.facts.get(Erasure, erasure_key(recorded.contract, one.index))
    # Also where its bodies are still to go: judged again, it will be without them.
    if recorded.event is None or (erasure is not None and erasure.erased is not None):
        return _corrects(case, one.index, "correction.erased")
    mistaken: Event = recorded.event
    if mistaken.id != one.id:
        return _corrects(case, one.index, "correction.id_differs")
    if recorded.outcome == "denied":
        return _corrects(case, one.index, "correction.was_denied")
    corrected = case.facts.get(Correction, str(one.index))
    if corrected is not None:
        return _corrects(case, one.index, "correction.twice", subjects=(str(corrected.by),))
    actor = case.event.actor
    of_license = mistaken.kind.startswith("license.") and actor.role == "authority"
    if actor.party != mistaken.actor.party and not of_license:
        return _corrects(case, one.index, "correction.not_yours")
    return None


def _over(before: Facts, after: Facts) -> tuple[str, ...]:
    """Licenses of which more is now taken than they permit, and by more than was before."""
    licenses = (fact for fact in after.changed.values() if isinstance(fact, License))
    return tuple(
        license_.license
        for license_ in licenses
        if (was := before.get(License, license_.license)) is not None
        and license_.ordered - license_.quantity > max(0, was.ordered - was.quantity)
    )


def _measured_by_less(before: Facts, after: Facts) -> tuple[str, ...]:
    """Products that an exporter has released, and whose baseline is now lower, or gone.

    How much may be released against it, a document says: only that there was room is known here.
    """
    supplies = (fact for fact in after.changed.values() if isinstance(fact, Supply))
    return tuple(
        supply.sku
        for supply in supplies
        if (was := before.get(Supply, supply.key)) is not None
        and _less(was.baseline, supply.baseline)
        and (exports := before.get(Exports, supply.key)) is not None
        and exports.countries
    )


def _less(was: Baseline | None, now: Baseline | None) -> bool:
    if was is None or now is None:
        return was is not None
    measured = ((was.units, now.units), (was.tpp, now.tpp))
    return any(old is not None and (new is None or new < old) for old, new in measured)


def _released_on_less(before: Facts, after: Facts) -> tuple[str, ...]:
    """Orders that have released on the strength of a payment that is now taken back."""
    orders = (fact for fact in after.changed.values() if isinstance(fact, Order))
    return tuple(
        order.order
        for order in orders
        if order.released
        and (was := before.get(Order, order.key)) is not None
        and (order.levied < was.levied or order.paid < was.paid)
    )


def _corrects(case: Case, index: int, code: str, *, subjects: tuple[str, ...] = ()) -> Finding:
    return broken(case, code, observed=index, unit="entry", subjects=subjects)
