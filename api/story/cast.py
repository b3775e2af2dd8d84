"""Who plays in the demo, and what a step of it is."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

CONTRACT = "7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01"
LICENSE = "D-700001"
SKU = "H200-SXM"
SITE, OTHER_SITE = "PD-1", "PD-2"
AUTHORITY, EXPORTER, BUYER = "us-authority", "cascade", "lotus-ai"
DATA_CENTRE, FORWARDER, LABORATORY = "pudong-dc", "blueport", "keystone-lab"
CONDITIONS_SHA256 = hashlib.sha256(b"Conditions of license D-700001 (simulated)").hexdigest()

PARTIES: list[dict[str, Any]] = [
    {"party": AUTHORITY, "roles": ["authority"], "name": "Licensing authority", "country": "US"},
    {"party": EXPORTER, "roles": ["exporter"], "name": "Cascade Accelerators", "country": "US"},
    {"party": BUYER, "roles": ["buyer", "consignee", "end_user"], "name": "Lotus AI", "country": "CN"},
    {"party": DATA_CENTRE, "roles": ["data_centre", "consignee"], "name": "Pudong DC", "country": "CN"},
    {"party": FORWARDER, "roles": ["forwarder"], "name": "Blueport Freight", "country": "US"},
    {"party": LABORATORY, "roles": ["laboratory"], "name": "Keystone Test House", "country": "US"},
]  # fmt: skip
NAMES = {party["party"]: (party["name"], party["country"]) for party in PARTIES}
ROLES = {
    AUTHORITY: "authority", EXPORTER: "exporter", BUYER: "buyer", DATA_CENTRE: "data_centre",
    FORWARDER: "forwarder", LABORATORY: "laboratory",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One event, and what the play wants to come of it."""

    at: str
    party: str
    kind: str
    data: dict[str, Any] = field(repr=False)
    says: str
    expected: str = "accepted"
    """The outcome of its decision."""
    before: tuple[str, ...] = ()
    """Kinds that the ledger says by itself, as the clock moves on to this step."""
    after: tuple[str, ...] = ()
    """Kinds that the ledger says because of it."""
    name: str = ""
    retries: str = ""
    """Name of the refused step that this one tries again."""
    corrects: str = ""
    """Name of the step that this one declares in error."""
    answers: bool = False
    """It answers what the ledger has proposed last."""
    version: int = 1
    evidence: tuple[dict[str, str], ...] = ()
    chapter: str = ""

    @property
    def role(self) -> str:
        return ROLES[self.party]


def id_of(name: str) -> str:
    """The id of the event of the step of that name: the same in every play."""
    return str(uuid.uuid5(uuid.UUID(CONTRACT), name))


@dataclass
class Telling:
    """Makes an event of each step; an answer or a correction cites entries that the log has given before."""

    ids: dict[str, str] = field(default_factory=dict)
    """Name of a step → id of its event."""
    entries: dict[str, int] = field(default_factory=dict)
    """Name of a step → index of its entry."""
    proposal: int = -1
    """Index of the proposal that the ledger has made last."""

    def event(self, step: Step) -> dict[str, Any]:
        """The event, as its party submits it."""
        name = step.name or f"{step.at} {step.kind} {step.party} {step.says}"
        self.ids[name] = id_of(name)
        data = dict(step.data)
        if step.corrects:
            data |= {"index": self.entries[step.corrects], "id": self.ids[step.corrects]}
        if step.answers:
            data["proposal"] = self.proposal
        event: dict[str, Any] = {
            "id": self.ids[name],
            "kind": step.kind,
            "version": step.version,
            "contract": CONTRACT,
            "occurred_at": step.at,
            "actor": {"party": step.party, "role": step.role},
            "data": data,
        }
        if step.evidence:
            event["evidence"] = list(step.evidence)
        if step.retries:
            event["retries"] = self.ids[step.retries]
        return event

    def enter(self, step: Step, index: int) -> None:
        """The step has become entry `index`."""
        if step.name:
            self.entries[step.name] = index

    def hear(self, kind: str, index: int) -> None:
        """The ledger has said something by itself, as entry `index`."""
        if kind == "suspension.proposed":
            self.proposal = index
