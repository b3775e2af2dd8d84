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
    yield from touched(bound, policy, event, facts)


def touched(bound: BoundObligation, policy: str, event: Event, facts: Facts) -> Iterable[Key]:
    """The duties that the event may open or meet."""
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
        standing = {s: _standing(bound, document, case, s) for s in change.subjects}
        late = tuple(s for s, duty in standing.items() if duty is not None and duty.state == "breached")
        open_ = tuple(s for s, duty in standing.items() if duty is not None and duty.state == "open")
        if isinstance(change, Opens) and not change.renews:
            new = tuple(s for s in change.subjects if s not in late and s not in open_)
            if new:
                yield _opened(bound, document, change._replace(subjects=new), case.zone)
            continue
        if late:
            yield _change(bound, document, late)._replace(cures=True)
        if isinstance(change, Opens):
            yield _opened(bound, document, change, case.zone)
        elif open_ and not bound.obligation.comes_again:
            yield _change(bound, document, open_)


def corrected(
    bound: BoundObligation, document: PolicyDocument, mistaken: Event, index: int, case: Case
) -> Iterator[DutyChange]:
    """What becomes of duties when the event of entry `index` is taken back.

    What it had opened is no duty any more; what it had met is due again, as it was.
    """
    for name, key in touched(bound, document.policy, mistaken, case.facts):
        assert name == Duty.name
        duty = case.facts.get(Duty, key)
        if duty is None:
            continue
        if duty.opened == index and duty.state in ("open", "breached"):
            yield _change(bound, document, (duty.subject,))
        elif duty.met == index:
            yield _change(bound, document, (duty.subject,))._replace(
                due=duty.due,
                steps=tuple(Step(step.at, step.action) for step in duty.steps),
                items=duty.items,
                license=duty.license,
            )


def _standing(bound: BoundObligation, document: PolicyDocument, case: Case, subject: str) -> Duty | None:
    return case.facts.get(Duty, duty_key(case.event.contract, document.policy, bound.id, subject))


def _change(bound: BoundObligation, document: PolicyDocument, subjects: tuple[str, ...]) -> DutyChange:
    return DutyChange(document.policy, document.version, bound.id, bound.obligation.name, subjects)


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


# --- what falls due -------------------------------------------------------------------------------


def verdict(bound: BoundObligation, duty: Duty, facts: Facts, contract: Contract, *, at: datetime) -> Verdict:
    """What the duty comes to."""
    try:
        return bound.obligation.verdict(duty, facts, contract, bound.parameters, at=at)
    except (MemoryError, NotLoaded):
        raise
    except Exception:
        return NOT_MET  # what cannot be judged has not been met


def following(
    bound: BoundObligation, document: PolicyDocument, duty: Duty, facts: Facts, contract: Contract
) -> DutyChange | None:
    """The duty of the next period, as the document that is in force asks for it."""
    try:
        again = bound.obligation.again(duty, facts, contract, bound.parameters)
    except (MemoryError, NotLoaded):
        raise
    except Exception:
        return None
    return None if again is None else _opened(bound, document, again, contract.zone)
