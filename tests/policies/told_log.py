"""A log judged and folded in memory, with every byte fixed: what a sequencer would have committed.

    python -m tests.policies.told_log > tests/vectors/decisions-1.txt

prints the golden export. Its events are written out in full, so that it stands when examples change.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ledger.canonical import canonical, parse
from ledger.decision import Decision
from ledger.entry import Entry
from ledger.event import LEDGER_CONTRACT, Event, Submission, parse_event, submission_of
from ledger.facts import Facts
from ledger.fold import Entailed, extend_chain, own_submission
from ledger.kinds.ledger import LedgerOpened
from ledger.values import format_timestamp, parse_timestamp
from policies.document import digest
from policies.engine import Engine
from policies.history import History
from tests.ledger.sample_log import ORIGIN, SIGNER, SampleLog

BEGINS = datetime(2027, 1, 1, tzinfo=UTC)
CONTRACT = "3a5d7c10-93c4-4b0e-8d5e-6f1b2a9c0d01"
OTHER = "3a5d7c10-93c4-4b0e-8d5e-6f1b2a9c0d02"
LICENSE = "D-500001"
AUTHORITY, EXPORTER, BUYER, FORWARDER, LABORATORY = "bis", "acme", "dragon-dc", "swift", "test-house"
ROLES = {
    AUTHORITY: "authority", EXPORTER: "exporter", BUYER: "data_centre", FORWARDER: "forwarder",
    LABORATORY: "laboratory",
}  # fmt: skip


class ToldLog:
    """`say` commits an event and what follows from it; `log` can be exported."""

    def __init__(self) -> None:
        self.history = History(Engine(), origin=ORIGIN)
        data = {
            "versions": {"format": 1, "fold": 1, "engine": 1},
            "origin": ORIGIN,
            "key": str(SIGNER.verifier),
            "clock": "simulated",
        }
        opened = Entailed(LEDGER_CONTRACT, LedgerOpened, data)
        self.log: SampleLog | None = None
        self._commit(own_submission(opened, origin=ORIGIN, index=0, at=BEGINS), BEGINS)

    @property
    def entries(self) -> list[Entry]:
        assert self.log is not None
        return self.log.entries

    def submit(self, value: dict[str, Any], *, at: str) -> Decision:
        return self._commit(submission_of(value), parse_timestamp(at))

    def say(self, kind: str, by: str, at: str, contract: str = CONTRACT, **data: Any) -> Decision:
        """Commit an event by a party in its role, or as `party/role`."""
        party, _, role = by.partition("/")
        value = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ORIGIN}/told/{self.history.size}")),
            "kind": kind,
            "version": 1,
            "contract": contract,
            "occurred_at": at,
            "actor": {"party": party, "role": role or ROLES[party]},
            "data": data,
        }
        return self.submit(value, at=at)

    def _commit(self, submission: Submission, at: datetime) -> Decision:
        history = self.history
        while wanted := history.prepare(submission.event):
            for index in wanted:
                history.recall(index, self.event(index))
        return self._enter(history.take(submission, at=at), at)[0]

    def fall_due(self, *duties: str, at: str) -> list[Decision]:
        """Commit what has become of duties, by their keys."""
        now = parse_timestamp(at)
        return self._enter(self.history.take_due(duties, at=now), now)

    def _enter(self, course: Iterator[tuple[Submission, Decision, Facts]], at: datetime) -> list[Decision]:
        decisions = []
        for said, decision, facts in course:
            entry = self._append(said, decision, at)
            extend_chain(said.event.contract, facts, leaf=entry.leaf)
            self.history.note(decision.outcome)
            decisions.append(decision)
        return decisions

    def _append(self, said: Submission, decision: Decision, at: datetime) -> Entry:
        header = {"recorded_at": format_timestamp(at)}
        contract = said.event.contract
        if self.log is None:
            self.log = _Log(genesis=said.body, decision=decision.body)
            return self.log.entries[0]
        return self.log.append(contract, said.body, decision.body, header=header)

    def event(self, index: int) -> Event:
        body = self.entries[index].bodies["event"]
        assert body is not None
        return parse_event(parse(body.value))

    def decision(self, index: int) -> dict[str, Any]:
        body = self.entries[index].bodies["decision"]
        assert body is not None
        value: dict[str, Any] = json.loads(body.value)
        return value

    def export(self) -> bytes:
        assert self.log is not None
        return self.log.export()

    def doctored(self, index: int, name: str, value: dict[str, Any]) -> bytes:
        """The export with one body replaced, by somebody who may sign: every hash fits, no decision
        was recomputed."""
        assert self.log is not None
        log: SampleLog | None = None
        for number, entry in enumerate(self.entries):
            bodies = {n: b.value for n, b in entry.bodies.items() if b is not None}
            if number == index:
                bodies[name] = canonical(value)
            if log is None:
                log = _Log(genesis=bodies["event"], decision=bodies["decision"])
            else:
                at = {"recorded_at": entry.header.recorded_at}
                log.append(entry.header.contract, bodies["event"], bodies["decision"], header=at)
        assert log is not None
        return log.export()


class _Log(SampleLog):
    """A sample log whose opening has a decision of its own."""

    def __init__(self, *, genesis: bytes, decision: bytes) -> None:
        self._first: bytes | None = decision
        super().__init__(genesis=genesis)

    def append(self, contract: str, event: bytes, decision: bytes = b"", **given: Any) -> Entry:
        first, self._first = self._first, None
        if first is None:
            return super().append(contract, event, decision, **given)
        return super().append(contract, event, first, header={"recorded_at": format_timestamp(BEGINS)})


# --- the golden year ------------------------------------------------------------------------------


def policy_text(limit: int | None = None, *, version: int = 1, **header: Any) -> str:
    """A document of every condition that the golden log asks."""
    cap = {"from": "license.quantity"} if limit is None else limit
    return json.dumps(
        {
            "policy": "golden", "version": version, "language": 1, "zone": "America/New_York",
            "force": {"from": "2027-01-01"}, "approvals": ["authority"],
            "conditions": [
                {
                    "id": "live", "uses": "license_active", "clock": "recorded_at", "action": "deny",
                    "at": ["order.placed", "shipment.requested", "shipment.dispatched", "delivery.received"],
                    "clause": "license face", "in_transit_grace": "P7D",
                },
                {
                    "id": "window", "uses": "validity_window", "at": ["order.placed", "shipment.requested"],
                    "action": "deny", "clause": "license face, dates",
                },
                {
                    "id": "quantity", "uses": "quantity_cap", "at": ["order.placed", "shipment.requested"],
                    "action": "deny", "clause": "license face, quantity", "limit": cap,
                },
                {
                    "id": "acknowledged", "uses": "conditions_acknowledged", "at": ["shipment.requested"],
                    "action": "deny", "clause": "license conditions",
                },
                {
                    "id": "laboratory", "uses": "laboratory_test", "at": ["shipment.requested"],
                    "action": "deny", "clause": "license conditions, test", "coverage": "every",
                    "country": "US",
                },
                {
                    "id": "levy", "uses": "levy_settled", "at": ["shipment.requested"], "action": "deny",
                    "clause": "tariff of 25 %", "rate": "0.25", "rounding": "half_up", "digits": 2,
                },
                {
                    "id": "custody", "uses": "custody_continuity", "action": "flag",
                    "at": ["shipment.dispatched", "delivery.received"], "clause": "license conditions",
                    "incident_within": "PT72H",
                },
            ],
            **header,
        }
    )  # fmt: skip


def serials(first: int, last: int) -> list[str]:
    return [f"GX{number:05}" for number in range(first, last + 1)]


def money(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def told() -> ToldLog:
    """A year in small: denials and their cure, a flag, a correction, a suspension, a revocation."""
    log = ToldLog()
    parties = [
        {"party": party, "roles": [role], "name": party.title(), "country": "CN" if party == BUYER else "US"}
        for party, role in ROLES.items()
    ]
    parties[2]["roles"] = ["buyer", "consignee", "end_user", "data_centre"]
    opened = {
        "title": "Golden contract №1", "zone": "America/New_York", "parties": parties, "licenses": [LICENSE],
        "sites": [{"site": "SHA-1", "name": "Shanghai hall 1", "country": "CN"}],
    }  # fmt: skip
    log.say("contract.opened", EXPORTER, "2027-01-12T15:00:00Z", **opened)
    log.say("order.placed", f"{BUYER}/buyer", "2027-01-13T15:00:00Z", **order("PO-0", 5))
    text = policy_text()
    activated = {"policy": "golden", "version": 1, "text": text, "sha256": digest(text)}
    log.say("policy.activated", AUTHORITY, "2027-01-20T15:00:00Z", **activated)
    granted = {
        "license": LICENSE, "sku": "H200-SXM", "eccn": "3A090.a", "quantity": 20, "valid_from": "2027-02-15",
        "valid_until": "2027-12-15", "conditions_sha256": "5e" * 32, "must_acknowledge": [EXPORTER, BUYER],
    }  # fmt: skip
    log.say("license.granted", AUTHORITY, "2027-02-10T15:00:00Z", **granted)
    log.say("conditions.acknowledged", EXPORTER, "2027-02-11T15:00:00Z", **acknowledged())
    log.say("order.placed", f"{BUYER}/buyer", "2027-02-12T15:00:00Z", **order("PO-1", 12))  # too early
    log.say("order.placed", f"{BUYER}/buyer", "2027-02-16T15:00:00Z", **order("PO-1", 12))
    log.say("order.placed", f"{BUYER}/buyer", "2027-02-17T15:00:00Z", **order("PO-2", 9))  # over by 1
    log.say("order.placed", f"{BUYER}/buyer", "2027-02-17T16:00:00Z", **order("PO-2", 8))
    log.say("lab.tested", LABORATORY, "2027-02-20T15:00:00Z", **tested(serials(1, 20)))
    first = release("SH-1", "PO-1", serials(1, 10))
    log.say("shipment.requested", EXPORTER, "2027-02-22T15:00:00Z", **first)  # not acknowledged, no levy
    log.say("conditions.acknowledged", f"{BUYER}/consignee", "2027-02-23T15:00:00Z", **acknowledged())
    log.say("levy.settled", EXPORTER, "2027-02-24T15:00:00Z", **levy("PO-1", "67500.00", 1))
    log.say("shipment.requested", EXPORTER, "2027-02-25T15:00:00Z", **first)
    log.say("levy.settled", EXPORTER, "2027-02-26T15:00:00Z", **levy("PO-2", "40500.00", 2))
    log.say("levy.settled", EXPORTER, "2027-02-26T15:01:00Z", **levy("PO-2", "40500.00", 3))  # keyed twice
    twice = log.history.size - 1
    corrects = {"index": twice, "id": log.event(twice).id, "reason": "keyed twice"}
    log.say("event.declared_in_error", EXPORTER, "2027-02-27T15:00:00Z", **corrects)
    log.say("shipment.dispatched", FORWARDER, "2027-03-01T15:00:00Z", **dispatched("SH-1", serials(1, 10)))
    received = {
        "shipment": "SH-1", "site": "SHA-1", "received": serials(1, 9), "missing": serials(10, 10),
        "damaged": [],
    }  # fmt: skip
    log.say("delivery.received", f"{BUYER}/consignee", "2027-03-09T15:00:00Z", **received)  # flagged
    for shipment, devices in (("SH-2", serials(11, 14)), ("SH-3", serials(15, 16))):
        log.say("shipment.requested", EXPORTER, "2027-08-26T15:00:00Z", **release(shipment, "PO-2", devices))
    log.say("shipment.dispatched", FORWARDER, "2027-08-28T15:00:00Z", **dispatched("SH-2", serials(11, 14)))
    stopped = {"license": LICENSE, "reason": "end-use check refused"}
    log.say("license.suspended", AUTHORITY, "2027-08-30T15:00:00Z", **stopped)
    log.say(
        "shipment.requested", EXPORTER, "2027-08-31T15:00:00Z", **release("SH-4", "PO-2", serials(17, 18))
    )
    log.say("license.revoked", AUTHORITY, "2027-09-02T15:00:00Z", license=LICENSE, reason="diversion")
    late = {**received, "shipment": "SH-2", "received": serials(11, 14), "missing": []}
    log.say("delivery.received", f"{BUYER}/consignee", "2027-09-04T15:00:00Z", **late)
    log.say("shipment.dispatched", FORWARDER, "2027-09-06T15:00:00Z", **dispatched("SH-3", serials(15, 16)))
    log.say("order.placed", f"{BUYER}/buyer", "2027-09-10T15:00:00Z", **order("PO-3", 1))
    log.say("levy.settled", EXPORTER, "2027-09-11T15:00:00Z", OTHER, **levy("PO-3", "1.00", 4))  # unopened
    return log


def order(number: str, units: int) -> dict[str, Any]:
    return {
        "order": number, "license": LICENSE, "sku": "H200-SXM", "units": units, "incoterm": "DAP",
        "unit_value": money("27000.00"), "consignee": BUYER, "end_user": BUYER,
    }  # fmt: skip


def release(shipment: str, number: str, devices: list[str]) -> dict[str, Any]:
    return {
        "shipment": shipment, "order": number, "license": LICENSE, "sku": "H200-SXM", "serials": devices,
        "unit_value": money("27000.00"), "consignee": BUYER, "forwarder": FORWARDER, "end_user": BUYER,
        "destination": {"country": "CN", "site": "SHA-1", "port": "CNSHA"},
    }  # fmt: skip


def acknowledged() -> dict[str, Any]:
    return {"license": LICENSE, "conditions_sha256": "5e" * 32, "signatory": "General counsel"}


def tested(devices: list[str]) -> dict[str, Any]:
    return {
        "laboratory": "Test House", "country": "US", "accreditation": "ISO/IEC 17025", "independent": True,
        "sku": "H200-SXM",
        "results": [
            {"serial": serial, "tpp": 15832, "bandwidth_gb_s": 4800, "result": "pass"} for serial in devices
        ],
    }  # fmt: skip


def levy(number: str, amount: str, reference: int) -> dict[str, Any]:
    return {
        "order": number, "amount": money(amount), "basis": money("270000.00"), "rate": "0.25",
        "reference": f"CBP-{reference:04}",
    }  # fmt: skip


def dispatched(shipment: str, devices: list[str]) -> dict[str, Any]:
    return {
        "shipment": shipment, "serials": devices, "carrier": "Swift Air", "port_of_loading": "USLAX",
        "sscc": "003456789012345670",
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.buffer.write(told().export())
