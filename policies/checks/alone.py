"""What is wrong with one condition or obligation by itself: its values, its action, its steps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from policies.checks.found import (
    ConditionItem,
    Found,
    Item,
    ObligationItem,
    conditions_of,
    declared,
    obligations_of,
    spelled,
)
from policies.conditions.declared import Share, WholeDays
from policies.document import HOLDABLE, PolicyDocument


def check(document: PolicyDocument) -> Iterator[Found]:
    yield from _twice(document.approvals, ("approvals",), ())
    # A name without a place is one offset for ever, or a country's of long ago.
    if "/" not in document.zone and document.zone != "UTC":
        words = f"zone is {document.zone}, which may know no daylight saving: name a place, America/New_York"
        yield Found("remark", ("zone",), (), words)
    transition = document.transition
    if transition is not None and transition.open_orders is None and transition.reacknowledge is None:
        yield Found("remark", ("transition",), (), "transition is empty, so it says nothing")
    conditions = tuple(conditions_of(document))
    for condition in conditions:
        yield from _values(condition)
        yield from _action(condition)
        yield from _unread(condition, conditions)
    for obligation in obligations_of(document):
        yield from _values(obligation)
        yield from _steps(obligation)


def _values(item: Item[Any]) -> Iterator[Found]:
    for doubt in item.parameters.doubts(item.use):
        yield Found(doubt.severity, item.at(doubt.field), (item.id,), doubt.words)
    for name, value, share in declared(item.parameters, Share):
        if value is None:
            continue
        half = '"0.5"' if share.one == 1 else '"50"'
        if share.one == 100 and 0 < value < 1:
            words = f"{name} is {spelled(value)}, less than one in a hundred: half of the whole is {half}"
            yield Found("remark", item.at(name), (item.id,), words)
        elif share.beyond is not None and value > share.one:
            words = f"{name} is {spelled(value)}, more than the whole, {share.one}: half of it is {half}"
            yield Found(share.beyond, item.at(name), (item.id,), words)
    for name, value, _ in declared(item.parameters, WholeDays):
        if value != timedelta(days=value.days):
            words = f"{name} is {spelled(value)}, must be whole days: it would count as {value.days}"
            yield Found("error", item.at(name), (item.id,), words)


def _action(item: ConditionItem) -> Iterator[Found]:
    bound = item.bound
    facts = not set(bound.at).intersection(bound.condition.requests)
    if bound.action == "deny" and facts:
        words = f"{', '.join(bound.at)} has happened when it is told and is never refused: deny flags it"
        yield Found("remark", item.at("action"), (item.id,), words)
    if bound.overridden_by and not set(bound.at).intersection(HOLDABLE):
        words = f"nothing can be overridden at {', '.join(bound.at)}; where it can be: {', '.join(HOLDABLE)}"
        yield Found("error", item.at("overridden_by"), (item.id,), words)
    yield from _twice(bound.released_by, item.at("released_by"), (item.id,))
    yield from _twice(bound.overridden_by, item.at("overridden_by"), (item.id,))


def _unread(item: ConditionItem, others: tuple[ConditionItem, ...]) -> Iterator[Found]:
    """Parameters that are written and that nobody reads.

    One that must be written may say what another condition of the name, which reads it, says.
    """
    parameters = item.parameters
    for name, why in parameters.unread(item.bound.at).items():
        if name not in parameters.model_fields_set:
            continue
        value = getattr(parameters, name)
        required = type(parameters).model_fields[name].is_required()
        if required and any(
            other.uses == item.uses
            and getattr(other.parameters, name) == value
            and name not in other.parameters.unread(other.bound.at)
            for other in others
        ):
            continue
        words = f"{name} is {spelled(value)}, and nobody reads it: {why}"
        yield Found("remark", item.at(name), (item.id,), words)


_GRAVITY: Final = {"flag": 0, "propose_suspension": 1, "propose_revocation": 2}


def _steps(item: ObligationItem) -> Iterator[Found]:
    bound = item.bound
    for number, step in enumerate(bound.steps):
        if step.action != "flag" and not bound.obligation.of_license:
            words = f"{step.action} never proposes anything: {item.uses} is of no license"
            yield Found("error", item.at(f"steps/{number}/action"), (item.id,), words)
    for number, (step, following) in enumerate(pairwise(bound.steps), 1):
        if _GRAVITY[following.action] < _GRAVITY[step.action]:
            words = f"{following.action} follows {step.action}, which is graver"
            yield Found("remark", item.at(f"steps/{number}/action"), (item.id,), words)


def _twice(names: tuple[str, ...], path: tuple[str | int, ...], concerns: tuple[str, ...]) -> Iterator[Found]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Found("remark", (*path, number), concerns, f"{name} stands twice")
