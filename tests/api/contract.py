"""A contract of a test's own on a service that others use too: its ids, license and serials are unique."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from tests.service import Service
from tests.workbench import BUYER, EXPORTER, H200, PARTIES, activation, usd, wire

NOW = "2027-03-01T12:00:00Z"


@dataclass
class LiveContract:
    """Opened, with the H200 policy in force and an active license."""

    service: Service
    quantity: int = 10_000
    contract: str = field(default_factory=lambda: str(uuid.uuid4()))
    tag: str = field(default_factory=lambda: secrets.token_hex(4).upper())

    @property
    def license(self) -> str:
        return f"D-{self.tag}"

    def serials(self, units: int, *, first: int = 1) -> list[str]:
        return [f"S{self.tag}-{number:06}" for number in range(first, first + units)]

    def event(self, kind: str, **said: Any) -> dict[str, Any]:
        """The wire form of an event of this contract."""
        value = wire(kind, contract=self.contract, **said)
        if "license" in value["data"]:
            value["data"]["license"] = self.license
        return value

    def say(self, kind: str, **said: Any) -> httpx.Response:
        return self.service.submit(self.event(kind, **said))

    def accepted(self, kind: str, **said: Any) -> dict[str, Any]:
        """The receipt of an event that must be accepted."""
        answer = self.say(kind, **said)
        assert answer.status_code == 201, answer.text
        receipt: dict[str, Any] = answer.json()
        assert receipt["decision"]["outcome"] == "accepted", receipt["decision"]
        return receipt

    def open(self, *, acknowledged: bool = True) -> LiveContract:
        self.service.set_clock(NOW)
        self.accepted("contract.opened", parties=PARTIES, licenses=[self.license])
        self.accepted("policy.activated", **activation(H200))
        self.accepted("license.granted", quantity=self.quantity)
        if acknowledged:
            for party, role in ((EXPORTER, "exporter"), (BUYER, "consignee")):
                self.accepted("conditions.acknowledged", by=(party, role))
        return self

    def order(self, units: int, *, order: str = "PO-1", **said: Any) -> httpx.Response:
        return self.say("order.placed", order=order, units=units, **said)

    def tested(self, serials: list[str], *, failed: tuple[str, ...] = ()) -> dict[str, Any]:
        results = [
            {
                "serial": serial,
                "tpp": 15832,
                "bandwidth_gb_s": 4800,
                "result": "fail" if serial in failed else "pass",
            }
            for serial in serials
        ]
        return self.accepted("lab.tested", results=results)

    def released(self, serials: list[str], *, order: str = "PO-1", shipment: str = "SH-1") -> dict[str, Any]:
        """Order, levy, tests and release of these devices."""
        units = len(serials)
        assert self.order(units, order=order).status_code == 201
        self.accepted("levy.settled", order=order, amount=usd(f"{units * 27000 / 4:.2f}"))
        self.tested(serials)
        return self.accepted("shipment.requested", order=order, shipment=shipment, serials=serials)
