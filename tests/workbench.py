"""A ledger without a log: events are judged and folded in memory, in order, and nothing is written.

`wire` makes the JSON of an event of any kind from the kind's own example. A `Workbench` judges it
as the sequencer would: facts that nobody has told of are loaded as None, a refused event folds into
nothing, and what the ledger must say follows its cause.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from ledger.decision import Decision, Finding
from ledger.dsse import PrivateKey, sign
from ledger.due import due_needs, fallen_due
from ledger.event import KINDS, Event, parse_event, submission_of, versions_of
from ledger.facts import (
    Duty,
    Fact,
    Facts,
    FactT,
    Key,
    Order,
    Recorded,
    Refused,
    Shipment,
    Under,
    attempt_key,
    decode,
)
from ledger.fold import Entailed, entailed, fold, missing, own_submission
from ledger.values import format_timestamp, parse_timestamp
from policies.conditions import CONDITIONS
from policies.document import digest
from policies.engine import Engine
from policies.recheck import recheck, recheck_all

CONTRACT = "11111111-2222-4333-8444-555555555555"
OTHER_CONTRACT = "99999999-2222-4333-8444-555555555555"
LICENSE = "D-100200"
AUTHORITY, EXPORTER, BUYER, FORWARDER, LABORATORY = (
    "bis", "acme", "dragon-dc", "swift-freight", "test-house",
)  # fmt: skip
PARTIES: list[dict[str, Any]] = [
    {"party": AUTHORITY, "roles": ["authority"], "name": "Authority", "country": "US"},
    {"party": EXPORTER, "roles": ["exporter"], "name": "Acme Accelerators", "country": "US"},
    {
        "party": BUYER,
        "roles": ["buyer", "consignee", "end_user", "data_centre"],
        "name": "Dragon Data Centres",
        "country": "CN",
    },
    {"party": FORWARDER, "roles": ["forwarder"], "name": "Swift Freight", "country": "US"},
    {"party": LABORATORY, "roles": ["laboratory"], "name": "Test House", "country": "US"},
]
SPEAKERS: dict[str, tuple[str, str]] = {
    "contract.opened": (EXPORTER, "exporter"),
    "policy.activated": (AUTHORITY, "authority"),
    "policy.proposed": (AUTHORITY, "authority"),
    "policy.approved": (AUTHORITY, "authority"),
    "hold.released": (AUTHORITY, "authority"),
    "proposal.dismissed": (AUTHORITY, "authority"),
    "override.granted": (AUTHORITY, "authority"),
    "license.granted": (AUTHORITY, "authority"),
    "license.suspended": (AUTHORITY, "authority"),
    "license.revoked": (AUTHORITY, "authority"),
    "conditions.acknowledged": (EXPORTER, "exporter"),
    "revocation.acknowledged": (BUYER, "consignee"),
    "order.placed": (BUYER, "buyer"),
    "order.cancelled": (BUYER, "buyer"),
    "levy.settled": (EXPORTER, "exporter"),
    "lab.tested": (LABORATORY, "laboratory"),
    "shipment.requested": (EXPORTER, "exporter"),
    "shipment.dispatched": (FORWARDER, "forwarder"),
    "delivery.received": (BUYER, "consignee"),
    "device.installed": (BUYER, "data_centre"),
    "usage.attested": (BUYER, "data_centre"),
    "device.enrolled": (EXPORTER, "exporter"),
    "device.lost": (BUYER, "data_centre"),
    "device.found": (BUYER, "data_centre"),
    "device.quarantined": (BUYER, "data_centre"),
    "device.decommissioned": (BUYER, "data_centre"),
    "device.destroyed": (BUYER, "data_centre"),
    "fleet.attested": (BUYER, "data_centre"),
    "rma.requested": (BUYER, "data_centre"),
    "rma.opened": (EXPORTER, "exporter"),
    "rma.replaced": (EXPORTER, "exporter"),
    "rma.returned": (EXPORTER, "exporter"),
    "inspection.requested": (AUTHORITY, "authority"),
    "inspection.completed": (AUTHORITY, "authority"),
    "incident.reported": (BUYER, "consignee"),
    "report.filed": (BUYER, "end_user"),
    "sla.reported": (BUYER, "data_centre"),
    "job.reported": (BUYER, "data_centre"),
    "legal_hold.placed": (AUTHORITY, "authority"),
    "legal_hold.released": (AUTHORITY, "authority"),
    "purge.requested": (EXPORTER, "exporter"),
    "order.amended": (BUYER, "buyer"),
    "shipment.cancelled": (EXPORTER, "exporter"),
    "acceptance.signed": (BUYER, "consignee"),
    "invoice.issued": (EXPORTER, "exporter"),
    "payment.received": (EXPORTER, "exporter"),
    "baseline.declared": (EXPORTER, "exporter"),
    "supply.certified": (EXPORTER, "exporter"),
    "capacity.added": (BUYER, "data_centre"),
    "domestic.purchased": (BUYER, "buyer"),
    "export.filed": (EXPORTER, "exporter"),
    "import.approved": (BUYER, "buyer"),
    "customs.cleared": (BUYER, "consignee"),
    "contract.amended": (AUTHORITY, "authority"),
    "license.applied": (EXPORTER, "exporter"),
    "license.amended": (AUTHORITY, "authority"),
    "license.reinstated": (AUTHORITY, "authority"),
    "key.registered": (EXPORTER, "exporter"),
    "key.retired": (EXPORTER, "exporter"),
    "ownership.declared": (EXPORTER, "exporter"),
    "statement.filed": (BUYER, "end_user"),
    "screening.recorded": (EXPORTER, "exporter"),
    "observation.imported": (EXPORTER, "exporter"),
    "transfer.requested": (BUYER, "end_user"),
    "device.transferred": (BUYER, "end_user"),
    "event.declared_in_error": (EXPORTER, "exporter"),
}
"""Who says each kind, unless a test says otherwise."""
H200 = files("policies").joinpath("documents/us-h200-china.yaml").read_text()
NOON = "2027-03-01T12:00:00Z"
OPENED = "2026-01-15T05:00:00Z"


def serials(units: int, *, first: int = 1) -> list[str]:
    """SN000001 and following."""
    return [f"SN{number:06}" for number in range(first, first + units)]


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def wire(
    kind: str,
    *,
    by: tuple[str, str] | None = None,
    contract: str = CONTRACT,
    event_id: str | None = None,
    occurred_at: str = NOON,
    document: dict[str, Any] | None = None,
    retries: str | None = None,
    **data: Any,
) -> dict[str, Any]:
    """The JSON of an event: the example of its kind, with the fields of `data` replaced."""
    # A policy that carries its text, and a contract that demands no signatures.
    first = "text" in data or (kind == "contract.opened" and "signed" not in data)
    version = 1 if first else versions_of(kind)[-1]
    party, role = by or SPEAKERS[kind]
    value: dict[str, Any] = {
        "id": event_id or str(uuid.uuid4()),
        "kind": kind,
        "version": version,
        "contract": contract,
        "occurred_at": occurred_at,
        "actor": {"party": party, "role": role},
        "data": {**copy.deepcopy(KINDS[kind, version].example), **data},
    }
    if document is not None:
        value["document"] = document
    if retries is not None:
        value["retries"] = retries
    return value


def activation(text: str, *, policy: str = "us-h200-china", version: int = 1) -> dict[str, Any]:
    """The data of a policy.activated that carries `text`."""
    return {"policy": policy, "version": version, "sha256": digest(text), "text": text}


def policy(*conditions: dict[str, Any], **header: Any) -> str:
    """A policy document as JSON, which is YAML 1.2: in force through 2027, but for what is given."""
    return json.dumps(
        {
            "policy": "us-h200-china",
            "version": 1,
            "language": 1,
            "zone": "America/New_York",
            "force": {"from": "2027-01-01", "until": "2028-01-01"},
            "approvals": ["authority"],
            "conditions": list(conditions) or [condition("quantity_cap", limit=10_000)],
            **header,
        }
    )


def condition(uses: str, **fields: Any) -> dict[str, Any]:
    """One condition at all of its kinds, under its own name."""
    at = list(CONDITIONS[uses].kinds)
    return {"id": uses, "uses": uses, "at": at, "action": "deny", "clause": "a test", **fields}


class Workbench:
    """Facts, an engine, a clock that a test sets, and what has been said."""

    def __init__(self, *, at: str = NOON) -> None:
        self.engine = Engine()
        self.facts = Facts()
        self.at = at
        self.log: list[tuple[Event, Decision]] = []
        self._store: dict[Key, bytes] = {}

    def load(self, event: Event) -> None:
        """Load what the event reads, as the sequencer does: entries from the log, else nothing."""
        while keys := missing(event, self.facts, self.engine):
            self.facts.load((key, self._stored(*key)) for key in keys)

    def _stored(self, name: str, key: str) -> Fact | None:
        if name == Recorded.name and int(key) < len(self.log):
            event, decision = self.log[int(key)]
            return Recorded.of(int(key), decision.outcome, event)
        if name == Under.name:
            return self._under(key)
        if name == Refused.name:
            return self._refused(key)
        stored = self._store.get((name, key))
        return None if stored is None else decode(name, stored)

    def _refused(self, attempt: str) -> Refused | None:
        for index, (event, decision) in enumerate(self.log):
            if decision.denied and attempt == attempt_key(event.actor.party, event.id):
                return Refused(party=event.actor.party, id=event.id, index=index)
        return None

    def _under(self, license_: str) -> Under:
        stored = [decode(name, fact) for (name, _), fact in self._store.items()]
        orders = [f for f in stored if isinstance(f, Order) and f.license == license_ and f.reserves]
        shipments = [f for f in stored if isinstance(f, Shipment) and f.license == license_ and f.stands]
        return Under(
            license=license_,
            orders=tuple(order.key for order in orders),
            shipments=tuple(shipment.key for shipment in shipments),
        )

    def restart(self) -> None:
        """Begin a batch in a new process: facts are stored, forgotten, and loaded when asked for."""
        self._store.update((key, fact.encode()) for key, fact in self.facts.changed.items())
        self.facts = Facts()
        self.engine = Engine()

    def submit(self, value: dict[str, Any], *, at: str | None = None) -> Decision:
        """Judge an event and, unless it is denied, fold it; then say what the ledger must."""
        event, now, index = submission_of(value).event, self.now(at), len(self.log)
        self.load(event)
        decision = self.engine.judge(event, self.facts, at=now)
        self.log.append((event, decision))
        assert recheck(decision.value()).faults == ()
        if decision.denied:
            refused = Refused(party=event.actor.party, id=event.id, index=index)
            self.facts.load([((Refused.name, refused.key), refused)])
        else:
            fold(event, self.facts, index=index, at=now, duties=decision.duties)
        for said in entailed(event, decision, self.facts, index=index):
            self._say(said, now)
        return decision

    def _say(self, said: Entailed, now: datetime) -> None:
        index = len(self.log)
        ours = own_submission(said, origin="workbench", index=index, at=now).event
        self.load(ours)
        self.log.append((ours, self.engine.judge(ours, self.facts, at=now)))
        fold(ours, self.facts, index=index, at=now)

    def tick(self, at: str) -> list[Event]:
        """Say what has become of every duty by then, step after step, as a scheduler does."""
        first, now = len(self.log), self.now(at)
        while due := sorted((d.next, d.key) for d in self._duties() if d.next and self.now(d.next) <= now):
            keys = [key for instant, key in due if instant == due[0][0]]
            while lacking := self.facts.missing(due_needs(keys, self.facts, self.engine)):
                self.facts.load((key, self._stored(*key)) for key in lacking)
            said = fallen_due(keys, self.facts, self.engine, index=len(self.log), at=now, origin="workbench")
            self.log.extend((submission.event, decision) for submission, decision in said)
        said = [event for event, _ in self.log[first:]]
        told = {number: event.model_dump(mode="json") for number, event in enumerate(said)}
        assert recheck_all({}, told).faults == ()
        return said

    def _duties(self) -> list[Duty]:
        stored = {key: decode(key[0], fact) for key, fact in self._store.items() if key[0] == Duty.name}
        changed = {key: fact for key, fact in self.facts.changed.items() if key[0] == Duty.name}
        return [fact for fact in (stored | changed).values() if isinstance(fact, Duty)]

    def say(
        self, kind: str, *, at: str | None = None, keys: Sequence[PrivateKey] = (), **said: Any
    ) -> Decision:
        """Submit an event made by `wire`, signed with these keys."""
        value = wire(kind, **said)
        return self.submit(sign(value, *keys) if keys else value, at=at)

    def ask(self, kind: str, *, at: str | None = None, **said: Any) -> Decision:
        """The decision that `say` would give, and nothing changes."""
        event = parse_event(wire(kind, **said))
        self.load(event)
        return self.engine.judge(event, self.facts, at=self.now(at))

    def accepted(self, kind: str, **said: Any) -> Decision:
        """As `say`, for what a test needs to have happened."""
        decision = self.say(kind, **said)
        assert decision.outcome == "accepted", decision.value()
        return decision

    def now(self, at: str | None = None) -> datetime:
        return parse_timestamp(at or self.at)

    def fact(self, fact: type[FactT], key: str) -> FactT:
        if not self.facts.loaded((fact.name, key)):
            self.facts.load([((fact.name, key), self._stored(fact.name, key))])
        found = self.facts.get(fact, key)
        assert found is not None
        return found

    @property
    def spoken(self) -> list[str]:
        return [event.kind for event, _ in self.log]

    # --- what most tests begin with ---------------------------------------------------------------

    def open(self, *, text: str | None = H200, **granted: Any) -> Workbench:
        """A contract with its policy and an active license of 10,000 units, all acknowledged.

        Opened and governed from OPENED on, so that a test may go back behind the bench's own clock.
        """
        self.accepted("contract.opened", at=OPENED, parties=PARTIES, licenses=[LICENSE])
        if text is not None:
            self.accepted("policy.activated", at=OPENED, **activation(text))
        self.accepted("license.granted", at=OPENED, **granted)
        for party, role in ((EXPORTER, "exporter"), (BUYER, "consignee")):
            # Flagged, where no document is in force yet; it counts all the same.
            assert not self.say("conditions.acknowledged", by=(party, role)).denied
        return self

    def order(self, units: int = 1000, *, order: str = "PO-4711", levied: str | None = None) -> None:
        """An order that stands, with its levy settled."""
        self.accepted("order.placed", order=order, units=units)
        if levied is None:
            levied = f"{units * 27000 // 4}.00"
        if levied != "0.00":
            self.accepted("levy.settled", order=order, amount=usd(levied))

    def test(self, devices: Iterable[str], *, failed: Iterable[str] = (), **data: Any) -> None:
        """A laboratory's passes, but for those that `failed`."""
        bad = set(failed)
        results = [
            {
                "serial": serial,
                "tpp": 15832,
                "bandwidth_gb_s": 4800,
                "result": "fail" if serial in bad else "pass",
            }
            for serial in devices
        ]
        self.accepted("lab.tested", results=results, **data)

    def release(self, devices: list[str], *, shipment: str = "SH-1", **data: Any) -> Decision:
        return self.say("shipment.requested", shipment=shipment, serials=devices, **data)

    def dispatch(self, devices: list[str], *, at: str | None = None, **data: Any) -> Decision:
        return self.say("shipment.dispatched", serials=devices, at=at, **data)

    def receive(
        self, devices: list[str], *, lost: Iterable[str] = (), at: str | None = None, **data: Any
    ) -> Decision:
        return self.say("delivery.received", received=devices, missing=list(lost), at=at, **data)


def finding(decision: Decision, name: str) -> Finding:
    """The finding of the condition of that id, which must be there once."""
    [found] = [f for f in decision.findings if f.id == name]
    return found


def codes(decision: Decision) -> list[str | None]:
    """The codes of what failed, in order."""
    return [f.code for f in decision.failed]


def instant(text: str) -> str:
    return format_timestamp(parse_timestamp(text))
