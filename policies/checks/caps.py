"""Caps and duties over the same thing: which is never reached, and which can never be met."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import permutations
from typing import NamedTuple

from policies.checks.found import (
    GRAVITY,
    ConditionItem,
    Found,
    ObligationItem,
    conditions_of,
    obligations_of,
    spelled,
    weight_at,
)
from policies.conditions.declared import Cap
from policies.document import PolicyDocument

RELEASE = "shipment.requested"
"""What every cap counts."""


class _Capped(NamedTuple):
    item: ConditionItem
    cap: Cap


def check(document: PolicyDocument) -> Iterator[Found]:
    capped = [
        _Capped(item, cap)
        for item in conditions_of(document)
        if RELEASE in item.bound.at
        for cap in item.parameters.caps()
    ]
    for one, other in permutations(capped, 2):
        yield from _redundant(one, other)
    for item in obligations_of(document):
        for duty in item.parameters.caps():
            for one in capped:
                yield from _unmet(item, duty, one)


def _redundant(one: _Capped, other: _Capped) -> Iterator[Found]:
    """Whether `other` leaves so little that `one` is never reached."""
    lax, strict = one.cap, other.cap
    # Two of one condition with the same window are compared by their parameters.
    if lax.what != strict.what or (one.item.uses == other.item.uses and lax.months == strict.months):
        return
    ours, theirs = (weight_at(capped.item.bound, RELEASE) for capped in (one, other))
    answered = ours in ("deny", "hold") and (other.item.bound.overridden_by or theirs == "hold")
    if GRAVITY[theirs] < GRAVITY[ours] or ours == "shadow" or answered:
        return
    within = _within(strict, lax.months)
    if within is None or within > lax.most:
        return
    words = f"{lax.field} is {spelled(lax.most)} {_each(lax)}, and {other.item.id} leaves {spelled(within)}"
    words = f"{words} at most: it is never reached ({lax.what})"
    yield Found("remark", one.item.at(lax.field), (one.item.id, other.item.id), words)


def _unmet(item: ObligationItem, duty: Cap, capped: _Capped) -> Iterator[Found]:
    cap = capped.cap
    if duty.what != cap.what or duty.months is None:
        return
    refuses = capped.item.use.denies and not capped.item.bound.overridden_by
    path, concerns = item.at(duty.field), (item.id, capped.item.id)
    due = f"{duty.field} is {spelled(duty.most)} {_each(duty)}"
    allowed = f"and {capped.item.id} allows {spelled(cap.most)} {_each(cap)}"
    # In the longer of both windows.
    months = duty.months if cap.months is None else max(duty.months, cap.months)
    asked = duty.most * (months // duty.months)
    most = cap.most if cap.months is None else cap.most * (months // cap.months)
    if asked > most:
        words = f"{due}, {allowed}: {spelled(asked - most)} too many to be released, it cannot be met"
        yield Found("error" if refuses else "remark", path, concerns, words)
    elif cap.months is None and item.use.until is not None:
        begins, until = item.use.begins, item.use.until
        windows = ((until.year - begins.year) * 12 + until.month - begins.month) // duty.months
        if duty.most * windows > cap.most:
            words = f"{due}, {spelled(duty.most * windows)} in the {windows} while the document is in force"
            yield Found("remark", path, concerns, f"{words}, {allowed}")


def _within(cap: Cap, months: int | None) -> int | Decimal | None:
    """The most that the cap leaves in a window of so many months; None: it sets no bound to that."""
    if cap.months is None:
        return cap.most
    if months is None:
        return None
    return cap.most * max(1, months // cap.months)


def _each(cap: Cap) -> str:
    if cap.months is None:
        return "in all"
    return "a month" if cap.months == 1 else f"in {cap.months} months"
