"""From an event to the facts it reads, the facts it changes, and what the ledger says because of it.

Pure: the sequencer loads and stores around it, and a rebuild runs the same code over the whole log.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.decision import SUBJECTS_MAX, Decision, DutyChange, Judge, Verdict
from ledger.event import (
    LEDGER_PARTY,
    Event,
    Kind,
    Submission,
    submission_of,
)
from ledger.facts import (
    Chain,
    Chains,
    Contract,
    Correction,
    Device,
    DocumentSeen,
    Duty,
    DutyStep,
    Facts,
    Hold,
    Key,
    License,
    Order,
    Override,
    Policy,
    Refused,
    Shipment,
    SigningKey,
    Under,
    attempt_key,
    duty_key,
)
from ledger.kinds.keys import signing_key
from ledger.kinds.ledger import (
    SCOPE_MAX,
    SUMMARY,
    ContractsSummarised,
    HoldPlaced,
    ObligationBreached,
    ObligationLapsed,
    ObligationSatisfied,
    RevocationProposed,
    RevocationScoped,
    SuspensionProposed,
)
from ledger.kinds.license import TERM, LicenseExpired, LicenseExpiring, LicenseRevoked
from ledger.kinds.release import TERM as RELEASE_TERM
from ledger.kinds.release import ShipmentExpired, ending_keys, held_of
from ledger.merkle import leaf_hash, root
from ledger.summary import Tail, root_of
from ledger.values import SERIALS_PER_EVENT_MAX, format_timestamp, parse_timestamp


def document_key(event: Event) -> str | None:
    """Key of the document revision that the event cites, if it cites one."""
    cited = event.document
    if cited is None:
        return None
    return f"{event.actor.party}/{cited.system}/{cited.number}/{cited.item}/{cited.revision}"


def needs(event: Event, facts: Facts, judge: Judge | None = None) -> Iterable[Key]:
    """Every fact that folding the event, and judging it where a judge is given, may ask for.

    Call again after loading, until all of them are loaded: some keys stand in other facts.
    """
    yield Chain.name, event.contract
    yield Contract.name, event.contract
    contract = facts.peek(Contract, event.contract)
    for policy in contract.policies if contract else ():
        yield Policy.name, policy.sha256
    if (document := document_key(event)) is not None:
        yield DocumentSeen.name, document
    for fingerprint in event.signed_by:
        yield SigningKey.name, signing_key(event, fingerprint)
    data = event.data
    if (subject := data.subject()) is not None:
        yield Hold.name, f"{event.contract}/{subject}"
        yield Override.name, f"{event.contract}/{subject}"
    for subject in data.rests_on():
        yield Hold.name, f"{event.contract}/{subject}"
    yield from data.reads(event, facts)
    if judge is not None:
        if event.retries is not None:
            yield Refused.name, attempt_key(event.actor.party, event.retries)
        yield from judge.reads(event, facts)


def missing(event: Event, facts: Facts, judge: Judge | None = None) -> list[Key]:
    """The keys that `needs` names and nobody has loaded."""
    return facts.missing(needs(event, facts, judge))


PLAIN = frozenset({Chain.name, Correction.name, Device.name, DocumentSeen.name, Duty.name})
"""The facts that name no others that matter: where any other changes, an event may need more than it did."""


def fold(event: Event, facts: Facts, *, index: int, at: datetime, duties: Iterable[DutyChange] = ()) -> None:
    """Put into `facts` what is true after the accepted event `index`, recorded `at`.

    `duties`: what its decision opens and meets.
    """
    if (document := document_key(event)) is not None:
        facts.put(DocumentSeen(document=document, index=index))
    event.data.fold(event, facts, index=index, at=at)
    for change in duties:
        _fold_duties(event.contract, change, facts, index=index)


def _fold_duties(contract: str, change: DutyChange, facts: Facts, *, index: int) -> None:
    for subject in change.subjects:
        if change.due is not None:
            facts.put(duty_opened(contract, change, subject, index=index))
            continue
        duty = facts.get(Duty, duty_key(contract, change.policy, change.obligation, subject))
        if duty is not None:
            facts.update(duty, state="met", next=None, met=index)


def duty_opened(contract: str, change: DutyChange, subject: str, *, index: int) -> Duty:
    """The duty that a change opens for one of its subjects."""
    assert change.due is not None
    return Duty(
        contract=contract,
        policy=change.policy,
        version=change.version,
        obligation=change.obligation,
        uses=change.uses,
        subject=subject,
        opened=index,
        due=change.due,
        steps=tuple(DutyStep(at=step.at, action=step.action) for step in change.steps),
        items=change.items,
        license=change.license,
        next=change.steps[0].at,
    )


def duties_needed(event: Event, duties: Iterable[DutyChange]) -> Iterable[Key]:
    """The facts that folding the duties of a decision asks for."""
    for change in duties:
        if change.due is None:
            for subject in change.subjects:
                yield Duty.name, duty_key(event.contract, change.policy, change.obligation, subject)


def judged(
    submission: Submission, facts: Facts, judge: Judge, *, index: int, at: datetime, origin: str
) -> Iterator[tuple[Submission, Decision]]:
    """An event that becomes entry `index`, then each thing that the ledger must say because of it.

    Each with its decision, and folded already. Whoever appends enters one before asking for the next.
    """
    event = submission.event
    decision = judge.judge(event, facts, at=at)
    if not decision.denied:
        fold(event, facts, index=index, at=at, duties=decision.duties)
    yield submission, decision
    for number, said in enumerate(entailed(event, decision, facts, index=index), index + 1):
        # What the ledger says entails nothing more, so its own entries are one level deep.
        ours = own_submission(said, origin=origin, index=number, at=at)
        decision = judge.judge(ours.event, facts, at=at)
        fold(ours.event, facts, index=number, at=at)
        yield ours, decision


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


def _outcome(duties: list[Duty], verdict: Verdict) -> Entailed:
    if verdict.lapsed:
        data = {**_of_duty(duties[0], verdict), "subjects": [duties[0].subject], "subjects_count": 1}
        return Entailed(duties[0].contract, ObligationLapsed, data)
    return _met(duties[0], verdict) if verdict.met else _late(duties, verdict)


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


_OURS: dict[str, Callable[[Duty, Facts], Entailed]] = {
    TERM: _term,
    RELEASE_TERM: _release_over,
    SUMMARY: _summary_asked,
}
"""What the ledger says of duties that are its own, by the name of the duty."""


def _summary(facts: Facts) -> dict[str, Any]:
    """How every chain ends: as they were looked up, but for those that this batch has made longer."""
    looked_up = facts.get(Chains, Chains.KEY)
    tails: dict[str, Tail] = {}
    for fact in (*facts.changes(), *(looked_up.chains if looked_up else ())):
        if isinstance(fact, Chain) and fact.contract not in tails:  # its newest state comes first
            tails[fact.contract] = Tail(fact.contract, fact.count, fact.head)
    return {"contracts": len(tails), "root": root_of(tails.values()).hex()}


_LATE = Verdict(met=False)
"""Late, and no more to say."""


def _parts(duties: list[Duty], size: int) -> Iterator[list[Duty]]:
    """In parts that one event can name."""
    return (duties[start : start + size] for start in range(0, len(duties), size))


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


def _met(duty: Duty, verdict: Verdict) -> Entailed:
    data = {**_of_duty(duty, verdict), "subjects": [duty.subject], "subjects_count": 1}
    return Entailed(duty.contract, ObligationSatisfied, data)


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


def extend_chain(contract: str, facts: Facts, *, leaf: bytes) -> None:
    """Every entry, a denied one too, is the new tail of its contract's chain."""
    chain = facts.get(Chain, contract)
    count = chain.count + 1 if chain else 1
    facts.put(Chain(contract=contract, count=count, head=leaf.hex()))


@dataclass(frozen=True, slots=True)
class Entailed:
    """Something the ledger must say; it becomes the next entry."""

    contract: str
    kind: type[Kind]
    data: dict[str, Any]


def entailed(event: Event, decision: Decision, facts: Facts, *, index: int) -> list[Entailed]:
    """What the ledger says because entry `index` was committed with `decision`."""
    contract, data = event.contract, event.data
    said = [
        _proposed(contract, proposal.propose, proposal.license, proposal.condition, index)
        for proposal in decision.proposals
        if proposal.propose in _PROPOSALS and proposal.license is not None
    ]
    if decision.outcome == "held":
        held_by = [awaited.value() for awaited in decision.awaited]
        said.append(
            Entailed(contract, HoldPlaced, {"target": data.subject(), "cause": index, "held_by": held_by})
        )
    said.extend(_cured(contract, change, index) for change in decision.duties if change.cures)
    if isinstance(data, ObligationBreached) and data.license is not None and data.action != "flag":
        proposes = data.action.removeprefix("propose_")
        said.append(_proposed(contract, proposes, data.license, data.obligation, index))
    if isinstance(event.data, LicenseRevoked) and not decision.denied:
        license_ = facts.get(License, event.data.license)
        if license_ is not None:
            said.append(Entailed(event.contract, RevocationScoped, _scope(license_, facts, index)))
    return said


_PROPOSALS: dict[str, type[Kind]] = {"suspension": SuspensionProposed, "revocation": RevocationProposed}


def _proposed(contract: str, proposes: str, license_: str, condition: str, cause: int) -> Entailed:
    data = {"license": license_, "cause": cause, "condition": condition}
    return Entailed(contract, _PROPOSALS[proposes], data)


def _cured(contract: str, change: DutyChange, cause: int) -> Entailed:
    return Entailed(
        contract,
        ObligationSatisfied,
        {
            "policy": change.policy,
            "version": change.version,
            "obligation": change.obligation,
            "uses": change.uses,
            "subjects": list(change.subjects[:SUBJECTS_MAX]),
            "subjects_count": len(change.subjects),
            "cause": cause,
        },
    )


def _scope(license_: License, facts: Facts, cause: int) -> dict[str, Any]:
    stored = facts.peek(Under, license_.license)
    order_keys = set(stored.orders if stored else ())
    shipment_keys = set(stored.shipments if stored else ())
    # What an event before this one in the batch has changed is not in the look-up yet.
    for fact in facts.changes():
        if isinstance(fact, Order) and fact.license == license_.license:
            order_keys.add(fact.key)
        elif isinstance(fact, Shipment) and fact.license == license_.license:
            shipment_keys.add(fact.key)
    found_orders = (facts.get(Order, key) for key in sorted(order_keys))
    found_shipments = (facts.get(Shipment, key) for key in sorted(shipment_keys))
    # A license is of one contract: within it the order's number says enough.
    orders = [order.order for order in found_orders if order is not None and order.reserves]
    made = [s for s in found_shipments if s is not None and s.stands]
    devices = sorted(serial for shipment in made for serial in shipment.serials)
    shipments = [shipment for shipment in made if shipment.open]
    released = [{"shipment": s.shipment, "units": len(s.serials)} for s in shipments if s.state == "released"]
    in_transit = [
        {"shipment": s.shipment, "units": len(s.serials) - len(s.received) - len(s.damaged)}
        for s in shipments
        if s.state != "released"
    ]
    return {
        "license": license_.license,
        "cause": cause,
        "orders": orders[:SCOPE_MAX],
        "orders_count": len(orders),
        "released": released[:SCOPE_MAX],
        "released_count": len(released),
        "in_transit": in_transit[:SCOPE_MAX],
        "in_transit_count": len(in_transit),
        "units_released": license_.released,
        "devices": devices[:SCOPE_MAX],
        "devices_count": len(devices),
        "devices_root": root([leaf_hash(serial.encode()) for serial in devices]).hex(),
    }


def own_submission(said: Entailed, *, origin: str, index: int, at: datetime) -> Submission:
    """The ledger's own event for entry `index`; its id follows from the log's name and the index."""
    return submission_of(
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{origin}#{index}")),
            "kind": said.kind.kind_name,
            "version": said.kind.kind_version,
            "contract": said.contract,
            "occurred_at": format_timestamp(at),
            "actor": {"party": LEDGER_PARTY, "role": "ledger"},
            "data": said.data,
        }
    )
