"""What an event does to duties, and what a duty comes to: a document's obligations over the facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ledger.decision import DutyChange, Step, Verdict
from ledger.event import Event
from ledger.facts import Contract, Duty, Facts, Key, NotLoaded, duty_key
from ledger.values import format_timestamp, later
from policies.conditions import Case
from policies.document import BoundObligation, PolicyDocument
from policies.obligations import NOT_MET, Opens


def reads(bound: BoundObligation, policy: str, event: Event, facts: Facts) -> Iterable[Key]:
    """The facts that `changes` looks at."""
    yield from bound.obligation.reads(event, facts, bound.parameters)
    for subject in bound.obligation.touches(event, facts, bound.parameters):
        yield Duty.name, duty_key(event.contract, policy, bound.id, subject)


def begun(bound: BoundObligation, document: PolicyDocument, case: Case) -> Iterator[DutyChange]:
    """What the activation of its own document opens, in place of what an earlier version had opened."""
    for change in bound.obligation.changes(case, bound.parameters):
        if isinstance(change, Opens):
            yield _opened(bound, document, change, case.zone)


def changes(bound: BoundObligation, document: PolicyDocument, case: Case) -> Iterator[DutyChange]:
    """What an accepted event opens and meets of one obligation of a document."""
    for change in bound.obligation.changes(case, bound.parameters):
        standing = [_standing(bound, document, case, subject) for subject in change.subjects]
        open_, late = _met(standing, "open"), _met(standing, "breached")
        if late:
            yield _change(bound, document, late, cures=True)
        if isinstance(change, Opens):
            yield _opened(bound, document, change, case.zone)
        elif open_:
            yield _change(bound, document, open_)


def _standing(bound: BoundObligation, document: PolicyDocument, case: Case, subject: str) -> Duty | None:
    return case.facts.get(Duty, duty_key(case.event.contract, document.policy, bound.id, subject))


def _met(duties: Iterable[Duty | None], state: str) -> tuple[str, ...]:
    return tuple(duty.subject for duty in duties if duty is not None and duty.state == state)


def _change(
    bound: BoundObligation, document: PolicyDocument, subjects: tuple[str, ...], *, cures: bool = False
) -> DutyChange:
    uses = bound.obligation.name
    return DutyChange(document.policy, document.version, bound.id, uses, subjects, cures=cures)


def _opened(bound: BoundObligation, document: PolicyDocument, opens: Opens, zone: str) -> DutyChange:
    return _change(bound, document, opens.subjects)._replace(
        due=format_timestamp(opens.due),
        steps=_steps(bound, opens.due, zone),
        items=opens.items,
        license=opens.license,
    )


def _steps(bound: BoundObligation, due: datetime, zone: str) -> tuple[Step, ...]:
    late = later(due, bound.grace, zone)
    return tuple(Step(format_timestamp(later(late, s.after, zone)), s.action) for s in bound.steps)


def verdict(
    bound: BoundObligation,
    document: PolicyDocument,
    duty: Duty,
    facts: Facts,
    contract: Contract,
    *,
    at: datetime,
) -> Verdict:
    """What the duty comes to, with the duty of the next period where one comes again."""
    obligation = bound.obligation
    try:
        found = obligation.verdict(duty, facts, contract, bound.parameters, at=at)
    except (MemoryError, NotLoaded):
        raise
    except Exception:
        found = NOT_MET  # what cannot be judged has not been met
    again = obligation.again(duty, contract, bound.parameters)
    return found if again is None else found._replace(next=_opened(bound, document, again, contract.zone))
