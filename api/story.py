"""What happens in the demo: the parties, their chips, and a year of events. Nothing here is real."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

CONTRACT = "7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01"
LICENSE = "D-700001"
SKU = "H200-SXM"
SITE = "PD-1"
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
ROLES = {
    AUTHORITY: "authority", EXPORTER: "exporter", BUYER: "buyer", DATA_CENTRE: "data_centre",
    FORWARDER: "forwarder", LABORATORY: "laboratory",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One event, and the outcome that the play wants for it."""

    at: str
    party: str
    kind: str
    data: dict[str, Any] = field(repr=False)
    says: str
    expected: str = "accepted"
    name: str = ""
    retries: str = ""
    """Name of the refused step that this one tries again."""
    corrects: str = ""
    """Name of the step that this one declares in error."""
    chapter: str = ""

    @property
    def role(self) -> str:
        return ROLES[self.party]


def serials(first: int, last: int) -> list[str]:
    """H200-000001 and following, both ends included."""
    return [f"H200-{number:06}" for number in range(first, last + 1)]


def story() -> Iterator[Step]:
    """The year, in order."""
    yield from _opening()
    yield from _first_order()
    yield from _in_use()
    yield from _second_order()
    yield from _revocation()


def _opening() -> Iterator[Step]:
    opened = {
        "title": "H200 supply 2027 (simulated)", "zone": "America/New_York", "parties": PARTIES,
        "licenses": [LICENSE],
        "sites": [{"site": SITE, "name": "Pudong hall 1", "country": "CN"}],
    }  # fmt: skip
    yield Step(
        "2027-01-12T15:00:00Z", EXPORTER, "contract.opened", opened, "six parties, one license, one site",
        chapter="Opening",
    )  # fmt: skip
    yield Step(
        "2027-01-13T15:00:00Z", BUYER, "order.placed", _order("PO-0", 10), "an order before any policy",
        expected="denied",
    )  # fmt: skip
    text = files("policies").joinpath("documents/us-h200-china.yaml").read_text()
    policy = {
        "policy": "us-h200-china", "version": 1, "text": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }  # fmt: skip
    yield Step("2027-01-20T15:00:00Z", AUTHORITY, "policy.activated", policy, "the H200 rule, carried whole")
    grant = {
        "license": LICENSE, "sku": SKU, "eccn": "3A090.a", "quantity": 1200,
        "valid_from": "2027-02-15", "valid_until": "2027-12-15",
        "conditions_sha256": CONDITIONS_SHA256, "must_acknowledge": [EXPORTER, BUYER, DATA_CENTRE],
    }  # fmt: skip
    yield Step(
        "2027-02-10T15:00:00Z", AUTHORITY, "license.granted", grant,
        "1,200 units, from 15 February to 15 December",
    )  # fmt: skip
    yield _acknowledged("2027-02-11T15:00:00Z", EXPORTER)
    yield _acknowledged("2027-02-12T03:00:00Z", BUYER)
    yield Step(
        "2027-02-12T04:00:00Z", BUYER, "order.placed", _order("PO-1", 1000), "three days too early",
        expected="denied", name="PO-1 early",
    )  # fmt: skip


def _first_order() -> Iterator[Step]:
    yield Step(
        "2027-02-16T03:00:00Z", BUYER, "order.placed", _order("PO-1", 1000), "1,000 units",
        retries="PO-1 early", chapter="The first order",
    )  # fmt: skip
    yield Step(
        "2027-02-17T03:00:00Z", BUYER, "order.placed", _order("PO-2", 400), "400 more",
        expected="denied", name="PO-2 at 400",
    )  # fmt: skip
    yield Step(
        "2027-02-17T05:00:00Z", BUYER, "order.placed", _order("PO-2", 200), "200, what is left",
        retries="PO-2 at 400",
    )  # fmt: skip
    yield _tested("2027-02-20T18:00:00Z", serials(1, 1000), failed=("H200-000417", "H200-000911"))
    first = _release("SH-1", "PO-1", serials(1, 1000))
    yield Step(
        "2027-02-22T15:00:00Z", EXPORTER, "shipment.requested", first, "1,000 units, much too soon",
        expected="denied", name="SH-1 too soon",
    )  # fmt: skip
    yield _acknowledged("2027-02-23T03:00:00Z", DATA_CENTRE)
    yield _levy("2027-02-24T15:00:00Z", "PO-1", "6000000.00", "27000000.00", "6.0 of 6.75 million")
    yield Step(
        "2027-02-25T15:00:00Z", EXPORTER, "shipment.requested", first, "two chips failed, levy short",
        expected="denied", name="SH-1 again", retries="SH-1 too soon",
    )  # fmt: skip
    yield _tested("2027-02-26T18:00:00Z", serials(1001, 1002), failed=())
    good = [s for s in serials(1, 1002) if s not in ("H200-000417", "H200-000911")]
    first = _release("SH-1", "PO-1", good)
    yield Step(
        "2027-02-27T15:00:00Z", EXPORTER, "shipment.requested", first, "with two replacements, levy short",
        expected="denied", name="SH-1 short", retries="SH-1 again",
    )  # fmt: skip
    yield _levy("2027-03-01T15:00:00Z", "PO-1", "750000.00", "27000000.00", "the rest")
    yield Step(
        "2027-03-01T16:00:00Z", EXPORTER, "shipment.requested", first, "1,000 units", retries="SH-1 short"
    )
    yield _dispatched("2027-03-02T20:00:00Z", "SH-1", good)
    missing = ["H200-000500", "H200-000501", "H200-000502"]
    arrived = [s for s in good if s not in missing]
    yield Step(
        "2027-03-09T06:00:00Z", DATA_CENTRE, "delivery.received",
        {"shipment": "SH-1", "site": SITE, "received": arrived, "missing": missing},
        "997 arrived, 3 did not", expected="flagged",
    )  # fmt: skip


def _in_use() -> Iterator[Step]:
    missing = {"H200-000417", "H200-000911", "H200-000500", "H200-000501", "H200-000502"}
    ours = [s for s in serials(1, 1002) if s not in missing]
    racks = [
        {"serial": serial, "rack": f"R{n // 32 + 1:02}", "slot": f"{n % 32 + 1}"}
        for n, serial in enumerate(ours)
    ]
    yield Step(
        "2027-03-15T06:00:00Z", DATA_CENTRE, "device.installed", {"site": SITE, "devices": racks},
        "997 chips in 32 racks", chapter="In use",
    )  # fmt: skip
    for month in (4, 5, 6, 7):
        yield _attested(f"2027-{month:02}-01T06:00:00Z", month, ours)


def _second_order() -> Iterator[Step]:
    yield Step(
        "2027-08-10T15:00:00Z", EXPORTER, "levy.settled", _levy_data("PO-2", "1350000.00", "5400000.00", 2),
        "for 200 units", name="levy PO-2", chapter="The second order",
    )  # fmt: skip
    yield Step(
        "2027-08-10T15:05:00Z", EXPORTER, "levy.settled", _levy_data("PO-2", "1350000.00", "5400000.00", 3),
        "the same payment, keyed twice", name="levy twice",
    )  # fmt: skip
    yield Step(
        "2027-08-11T15:00:00Z", EXPORTER, "event.declared_in_error", {"reason": "keyed twice"},
        "the second is taken back", corrects="levy twice",
    )  # fmt: skip
    yield _tested("2027-08-16T18:00:00Z", serials(2001, 2200), failed=())
    for shipment, first, last in (("SH-2", 2001, 2100), ("SH-3", 2101, 2150)):
        yield Step(
            "2027-08-26T15:00:00Z", EXPORTER, "shipment.requested",
            _release(shipment, "PO-2", serials(first, last)), f"{last - first + 1} units",
        )  # fmt: skip
    yield _dispatched("2027-08-28T20:00:00Z", "SH-2", serials(2001, 2100))


def _revocation() -> Iterator[Step]:
    yield Step(
        "2027-08-30T14:00:00Z", AUTHORITY, "license.suspended",
        {"license": LICENSE, "reason": "end-use check refused"}, "no new supply",
        chapter="Suspension and revocation, with goods in transit",
    )  # fmt: skip
    fourth = _release("SH-4", "PO-2", serials(2151, 2200))
    yield Step(
        "2027-08-31T15:00:00Z", EXPORTER, "shipment.requested", fourth, "the last 50 units",
        expected="denied", name="SH-4",
    )  # fmt: skip
    yield Step(
        "2027-09-02T14:00:00Z", AUTHORITY, "license.revoked",
        {"license": LICENSE, "reason": "diversion of three chips confirmed"},
        "for good; the ledger records what it touches",
    )  # fmt: skip
    yield Step(
        "2027-09-04T06:00:00Z", DATA_CENTRE, "delivery.received",
        {"shipment": "SH-2", "site": SITE, "received": serials(2001, 2100)},
        "100 chips that were in transit", expected="flagged",
    )  # fmt: skip
    yield _dispatched("2027-09-06T20:00:00Z", "SH-3", serials(2101, 2150), expected="flagged")
    yield Step(
        "2027-09-10T03:00:00Z", BUYER, "order.placed", _order("PO-3", 10), "ten more, after the revocation",
        expected="denied",
    )  # fmt: skip
    missing = {"H200-000417", "H200-000911", "H200-000500", "H200-000501", "H200-000502"}
    ours = [s for s in serials(1, 1002) if s not in missing]
    yield _attested("2027-12-01T06:00:00Z", 12, ours)
    yield Step(
        "2027-12-20T15:00:00Z", EXPORTER, "shipment.requested", fourth, "a last attempt, past the last day",
        expected="denied", retries="SH-4",
    )  # fmt: skip


def _order(order: str, units: int) -> dict[str, Any]:
    return {
        "order": order, "license": LICENSE, "sku": SKU, "units": units, "consignee": DATA_CENTRE,
        "end_user": BUYER, "unit_value": {"amount": "27000.00", "currency": "USD"}, "incoterm": "DAP",
    }  # fmt: skip


def _release(shipment: str, order: str, devices: list[str]) -> dict[str, Any]:
    return {
        "shipment": shipment, "order": order, "license": LICENSE, "sku": SKU, "serials": devices,
        "unit_value": {"amount": "27000.00", "currency": "USD"}, "consignee": DATA_CENTRE,
        "forwarder": FORWARDER, "end_user": BUYER,
        "destination": {"country": "CN", "site": SITE, "port": "CNSHA"},
    }  # fmt: skip


def _acknowledged(at: str, party: str) -> Step:
    data = {"license": LICENSE, "conditions_sha256": CONDITIONS_SHA256, "signatory": "General counsel"}
    return Step(at, party, "conditions.acknowledged", data, "takes the conditions on")


def _tested(at: str, devices: list[str], *, failed: tuple[str, ...]) -> Step:
    results = [
        {
            "serial": serial, "tpp": 15832, "bandwidth_gb_s": 4800,
            "result": "fail" if serial in failed else "pass",
        }
        for serial in devices
    ]  # fmt: skip
    data = {
        "laboratory": "Keystone Test House", "country": "US", "accreditation": "ISO/IEC 17025",
        "independent": True, "sku": SKU, "results": results,
    }  # fmt: skip
    says = f"{len(devices):,} chips, {len(failed)} failed" if failed else f"{len(devices):,} chips passed"
    return Step(at, LABORATORY, "lab.tested", data, says)


def _levy_data(order: str, amount: str, basis: str, number: int) -> dict[str, Any]:
    return {
        "order": order, "amount": {"amount": amount, "currency": "USD"},
        "basis": {"amount": basis, "currency": "USD"}, "rate": "0.25", "reference": f"CBP-{number:04}",
    }  # fmt: skip


def _levy(at: str, order: str, amount: str, basis: str, says: str) -> Step:
    return Step(at, EXPORTER, "levy.settled", _levy_data(order, amount, basis, 1), says)


def _dispatched(at: str, shipment: str, devices: list[str], *, expected: str = "accepted") -> Step:
    data = {"shipment": shipment, "serials": devices, "carrier": "Blueport Air", "port_of_loading": "USLAX"}
    says = f"{len(devices):,} chips leave"
    if expected != "accepted":
        says += " after the revocation"
    return Step(at, FORWARDER, "shipment.dispatched", data, says, expected=expected)


def _attested(at: str, month: int, devices: list[str]) -> Step:
    data = {
        "site": SITE, "from": f"2027-{month - 1:02}-01T00:00:00Z", "until": f"2027-{month:02}-01T00:00:00Z",
        "level": "L1", "purpose": "inference",
        "devices": [{"serial": serial, "outcome": "pass", "busy_seconds": 2000000} for serial in devices],
    }  # fmt: skip
    return Step(at, DATA_CENTRE, "usage.attested", data, f"{len(devices)} chips in use, assurance L1")
