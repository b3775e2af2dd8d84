"""From an event to the facts it reads, the facts it changes, and what the ledger says because of it.

Pure: the sequencer loads and stores around it, and a rebuild runs the same code over the whole log.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.decision import Decision, Judge
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
    DocumentSeen,
    Facts,
    Key,
    License,
    Order,
    Policy,
    Shipment,
    Under,
)
from ledger.kinds.ledger import SCOPE_MAX, RevocationScoped, SuspensionProposed
from ledger.kinds.license import LicenseRevoked
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
    yield from event.data.reads(event, facts)
    if judge is not None:
        yield from judge.reads(event, facts)


def missing(event: Event, facts: Facts, judge: Judge | None = None) -> list[Key]:
    """The keys that `needs` names and nobody has loaded."""
    return facts.missing(needs(event, facts, judge))


LINKS = frozenset({Contract.name, License.name, Order.name, Shipment.name})
"""The facts that name others: where one of them changes, an event may need more than it did."""


def fold(event: Event, facts: Facts, *, index: int, at: datetime) -> None:
    """Put into `facts` what is true after the accepted event `index`, recorded `at`."""
    if (document := document_key(event)) is not None:
        facts.put(DocumentSeen(document=document, index=index))
    event.data.fold(event, facts, index=index, at=at)


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
    said = [
        Entailed(
            event.contract,
            SuspensionProposed,
            {"license": proposal.license, "cause": index, "condition": proposal.condition},
        )
        for proposal in decision.proposals
        if proposal.propose == "suspension" and proposal.license is not None
    ]
    if isinstance(event.data, LicenseRevoked) and not decision.denied:
        license_ = facts.get(License, event.data.license)
        if license_ is not None:
            said.append(Entailed(event.contract, RevocationScoped, _scope(license_, facts, index)))
    return said


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
    shipments = [shipment for shipment in found_shipments if shipment is not None and shipment.open]
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
