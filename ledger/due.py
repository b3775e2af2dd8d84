"""What the ledger says of duties of which a step has fallen due, and the facts that this takes.

Pure, as `ledger.fold` is: whoever has a clock asks, the lock decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from ledger.decision import Decision, Judge, Verdict
from ledger.event import LEDGER_PARTY, Submission
from ledger.facts import Chain, Chains, Duty, Facts, Key, License, Shipment
from ledger.fold import Entailed, judged, own_submission
from ledger.kinds.ledger import (
    SUMMARY,
    ContractsSummarised,
    ObligationBreached,
    ObligationLapsed,
    ObligationSatisfied,
)
from ledger.kinds.license import TERM, LicenseExpired, LicenseExpiring
from ledger.kinds.release import TERM as RELEASE_TERM
from ledger.kinds.release import ShipmentExpired, ending_keys, held_of
from ledger.summary import Tail, root_of
from ledger.values import SERIALS_PER_EVENT_MAX, parse_timestamp


def fallen_due(
    keys: Iterable[str], facts: Facts, judge: Judge, *, index: int, at: datetime, origin: str
) -> Iterator[tuple[Submission, Decision]]:
    """What the ledger says of duties of which a step has fallen due: nothing of the others.

    As `judged`; the first becomes entry `index`. Asked under the lock, so that any number of
    schedulers may ask and one step is said once.
    """
    for said in _said_of(keys, facts, judge, at):
        ours = own_submission(said, origin=origin, index=index, at=at)
        for entry in judged(ours, facts, judge, index=index, at=at, origin=origin):
            index += 1
            yield entry


def due_needs(keys: Iterable[str], facts: Facts, judge: Judge) -> Iterable[Key]:
    """Every fact that `fallen_due` may ask for; ask again once they are loaded."""
    for key in keys:
        yield Duty.name, key
        duty = facts.peek(Duty, key)
        if duty is not None:
            yield Chain.name, duty.contract
            if duty.policy != LEDGER_PARTY:
                yield from judge.due_reads(duty, facts)
            elif duty.obligation == TERM:
                yield License.name, duty.subject
            elif duty.obligation == RELEASE_TERM:
                yield from ending_keys(duty.contract, duty.subject, facts)
            else:
                yield Chains.name, Chains.KEY


def _said_of(keys: Iterable[str], facts: Facts, judge: Judge, at: datetime) -> Iterator[Entailed]:
    """Each on the facts as what was said before it has left them, for a replay knows no others.

    The ledger's own duties come first: a release that ends takes back what a duty of a document counts.
    """
    asked = dict.fromkeys(keys)
    for duty in _due(asked, facts, at):
        if duty.policy == LEDGER_PARTY:
            yield _OURS[duty.obligation](duty, facts)
    yield from _obliged(_due(asked, facts, at), facts, judge, at)


def _due(keys: Iterable[str], facts: Facts, at: datetime) -> Iterator[Duty]:
    for key in keys:
        duty = facts.get(Duty, key)
        if duty is not None and duty.next is not None and parse_timestamp(duty.next) <= at:
            yield duty


# --- the ledger's own -----------------------------------------------------------------------------


def _term(duty: Duty, facts: Facts) -> Entailed:
    """A license nears its end, step by step; the last is the end itself."""
    if duty.taken + 1 < len(duty.steps):
        data = {"license": duty.subject, "ends_at": duty.due, "step": duty.taken + 1}
        return Entailed(duty.contract, LicenseExpiring, data)
    return Entailed(duty.contract, LicenseExpired, {"license": duty.subject, "ended_at": duty.due})


def _release_over(duty: Duty, facts: Facts) -> Entailed:
    """The last day of a release has ended: what is still there is taken back."""
    shipment = facts.get(Shipment, f"{duty.contract}/{duty.subject}")
    held = () if shipment is None or not shipment.stands else held_of(shipment, facts)
    data = {"shipment": duty.subject, "expired_at": duty.due, "serials": list(held)}
    return Entailed(duty.contract, ShipmentExpired, data)


def _summary_asked(duty: Duty, facts: Facts) -> Entailed:
    # As they are now: what was said before it has made chains longer.
    data = {"hours": int(duty.subject.removesuffix("h")), **_summary(facts)}
    return Entailed(duty.contract, ContractsSummarised, data)


def _summary(facts: Facts) -> dict[str, Any]:
    """How every chain ends: as they were looked up, but for those that this batch has made longer."""
    looked_up = facts.get(Chains, Chains.KEY)
    tails: dict[str, Tail] = {}
    for fact in (*facts.changes(), *(looked_up.chains if looked_up else ())):
        if isinstance(fact, Chain) and fact.contract not in tails:  # its newest state comes first
            tails[fact.contract] = Tail(fact.contract, fact.count, fact.head)
    return {"contracts": len(tails), "root": root_of(tails.values()).hex()}


_OURS: dict[str, Callable[[Duty, Facts], Entailed]] = {
    TERM: _term,
    RELEASE_TERM: _release_over,
    SUMMARY: _summary_asked,
}
"""What the ledger says of duties that are its own, by the name of the duty."""


# --- of documents ---------------------------------------------------------------------------------


_LATE = Verdict(met=False)
"""Late, and no more to say."""


def _obliged(duties: Iterable[Duty], facts: Facts, judge: Judge, at: datetime) -> list[Entailed]:
    """Duties that are late alike are said in one breath: a site that falls silent is one entry."""
    alike: dict[tuple[Any, ...], list[Duty]] = {}
    verdicts: dict[tuple[Any, ...], Verdict] = {}
    for duty in duties:
        if duty.policy == LEDGER_PARTY:
            continue  # its next step, which is said by itself
        verdict = judge.due(duty, facts, at=at)
        group: tuple[Any, ...] = (
            duty.contract, duty.policy, duty.version, duty.obligation, duty.license,
            duty.opened, duty.due, duty.taken, None if verdict == _LATE else duty.key,
        )  # fmt: skip
        alike.setdefault(group, []).append(duty)
        verdicts[group] = verdict
    return [
        _outcome(part, verdicts[group])
        for group, duties in alike.items()
        for part in _parts(duties, SERIALS_PER_EVENT_MAX)
    ]


def _parts(duties: list[Duty], size: int) -> Iterator[list[Duty]]:
    """In parts that one event can name."""
    return (duties[start : start + size] for start in range(0, len(duties), size))


def _outcome(duties: list[Duty], verdict: Verdict) -> Entailed:
    if not (verdict.met or verdict.lapsed):
        return _late(duties, verdict)
    duty = duties[0]
    kind = ObligationLapsed if verdict.lapsed else ObligationSatisfied
    data = {**_of_duty(duty, verdict), "subjects": [duty.subject], "subjects_count": 1}
    return Entailed(duty.contract, kind, data)


def _late(duties: list[Duty], verdict: Verdict) -> Entailed:
    duty = duties[0]
    data = _of_duty(duty, verdict)
    data |= {
        "about": [duty.subject for duty in duties],
        "opened": duty.opened,
        "due": duty.due,
        "step": duty.taken + 1,
        "at": duty.step.at,
        "action": duty.step.action,
    }
    if duty.license is not None:
        data["license"] = duty.license
    if verdict.subjects_count:
        data |= {"subjects": list(verdict.subjects), "subjects_count": verdict.subjects_count}
    return Entailed(duty.contract, ObligationBreached, data)


def _of_duty(duty: Duty, verdict: Verdict) -> dict[str, Any]:
    data: dict[str, Any] = {
        "policy": duty.policy,
        "version": duty.version,
        "obligation": duty.obligation,
        "uses": duty.uses,
    }
    for name in ("observed", "limit", "shortfall", "unit"):
        if (found := getattr(verdict, name)) is not None:
            data[name] = found
    # A step beyond the first is of a period whose next has been opened with the first.
    if verdict.next is not None and not duty.taken:
        again = verdict.next
        data["again"] = {
            "version": again.version,
            "subject": again.subjects[0],
            "due": again.due,
            "steps": [step.value() for step in again.steps],
        }
    return data
