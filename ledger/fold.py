"""From an event to the facts it reads, the facts it changes, and what the ledger says because of it.

Pure: the sequencer loads and stores around it, and a rebuild runs the same code over the whole log.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.decision import SUBJECTS_MAX, Decision, DutyChange, Judge
from ledger.event import (
    LEDGER_PARTY,
    Event,
    Kind,
    Submission,
    submission_of,
)
from ledger.facts import (
    Chain,
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
    HoldPlaced,
    ObligationBreached,
    ObligationSatisfied,
    RevocationProposed,
    RevocationScoped,
    SuspensionProposed,
)
from ledger.kinds.license import LicenseRevoked
from ledger.merkle import leaf_hash, root
from ledger.values import format_timestamp


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
