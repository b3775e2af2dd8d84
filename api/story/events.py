"""What the parties of the demo say, made from the few things that differ from one time to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from importlib.resources import files
from typing import Any

from api.story.cast import (
    BUYER,
    CONDITIONS_SHA256,
    DATA_CENTRE,
    EXPORTER,
    FORWARDER,
    LABORATORY,
    LICENSE,
    NAMES,
    SITE,
    SKU,
    Step,
)

UNIT_VALUE = Decimal("27000.00")
LEVY_RATE = Decimal("0.25")


def serials(first: int, last: int) -> list[str]:
    """H200-000001 and following, both ends included."""
    return [f"H200-{number:06}" for number in range(first, last + 1)]


FAILED = serials(417, 417) + serials(911, 911)
"""In the laboratory."""
MISSING = serials(500, 502)
"""At the first delivery."""
FIRST = [serial for serial in serials(1, 1002) if serial not in FAILED]
"""What the first shipment holds: two replacements at its end."""
AT_WORK = [serial for serial in FIRST if serial not in MISSING]


def usd(amount: Decimal | str) -> dict[str, str]:
    return {"amount": str(amount), "currency": "USD"}


# --- the contract and its rules -------------------------------------------------------------------


def policy_text(name: str) -> str:
    """A policy document that ships with chipledger."""
    return files("policies").joinpath(f"documents/{name}.yaml").read_text()


def hall_text() -> str:
    """The data centre's document, which ships with the demo."""
    return files("api.story").joinpath("pudong-hall.yaml").read_text()


def named(policy: str, version: int, text: str) -> dict[str, Any]:
    """A document, by name and digest."""
    return {"policy": policy, "version": version, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def acknowledged(at: str, party: str) -> Step:
    data = {"license": LICENSE, "conditions_sha256": CONDITIONS_SHA256, "signatory": "General counsel"}
    return Step(at, party, "conditions.acknowledged", data, "takes the conditions on")


# --- orders, levy, shipments ----------------------------------------------------------------------


def order(number: str, units: int, **more: str) -> dict[str, Any]:
    return {
        "order": number, "license": LICENSE, "sku": SKU, "units": units, "consignee": DATA_CENTRE,
        "end_user": BUYER, "unit_value": usd(UNIT_VALUE), "incoterm": "DAP", **more,
    }  # fmt: skip


def levy(number: str, units: int, reference: str, *, amount: str | None = None) -> dict[str, Any]:
    """All of the levy on so many units, or a part of it."""
    basis = UNIT_VALUE * units
    return {
        "order": number, "amount": usd(amount or (basis * LEVY_RATE).quantize(Decimal("0.01"))),
        "basis": usd(basis), "rate": str(LEVY_RATE), "reference": reference,
    }  # fmt: skip


def release(shipment: str, number: str, devices: list[str]) -> dict[str, Any]:
    return {
        "shipment": shipment, "order": number, "license": LICENSE, "sku": SKU, "serials": devices,
        "unit_value": usd(UNIT_VALUE), "consignee": DATA_CENTRE, "forwarder": FORWARDER, "end_user": BUYER,
        "destination": {"country": "CN", "site": SITE, "port": "CNSHA"},
    }  # fmt: skip


def measured(at: str, devices: list[str], bad: Iterable[str]) -> Step:
    failed = set(bad)
    results = [
        {"serial": s, "tpp": 15832, "bandwidth_gb_s": 4800, "result": "fail" if s in failed else "pass"}
        for s in devices
    ]
    data = {
        "laboratory": "Keystone Test House", "country": "US", "accreditation": "ISO/IEC 17025",
        "independent": True, "sku": SKU, "results": results,
    }  # fmt: skip
    says = f"{len(devices):,} chips, {len(failed)} failed" if failed else f"{len(devices):,} chips passed"
    return Step(at, LABORATORY, "lab.tested", data, says)


def filed(at: str, shipment: str, units: int) -> Step:
    data = {
        "shipment": shipment, "itn": "X20270827000004", "hts": "8471.80.4000", "license_code": "C30",
        "license": LICENSE, "eccn": "3A090.a", "quantity": units, "value": usd(UNIT_VALUE * units),
    }  # fmt: skip
    return Step(at, EXPORTER, "export.filed", data, "filed with the customs at home")


def dispatched(at: str, shipment: str, devices: list[str], **more: Any) -> Step:
    data = {"shipment": shipment, "serials": devices, "carrier": "Blueport Air", "port_of_loading": "USLAX"}
    return Step(at, FORWARDER, "shipment.dispatched", data, f"{len(devices):,} chips leave", **more)


def delivered(at: str, shipment: str, devices: list[str], says: str, **more: Any) -> Step:
    missing = more.pop("missing", [])
    data = {"shipment": shipment, "site": SITE, "received": devices, "missing": missing}
    return Step(at, DATA_CENTRE, "delivery.received", data, says, **more)


# --- chips at work --------------------------------------------------------------------------------


def racks(site: str, devices: list[str], *, first: int = 1) -> dict[str, Any]:
    """32 to a rack."""
    placed = [
        {"serial": serial, "rack": f"R{first + n // 32:02}", "slot": f"{n % 32 + 1}"}
        for n, serial in enumerate(devices)
    ]
    return {"site": site, "devices": placed}


def attested(at: str, since: str, devices: list[str], **more: Any) -> Step:
    data = {
        "site": SITE, "from": f"{since}T00:00:00Z", "until": f"{at[:10]}T00:00:00Z", "level": "L1",
        "purpose": "inference", "tenants": {"total": 12, "covered": 12},
        "devices": [{"serial": serial, "outcome": "pass", "busy_seconds": 2000000} for serial in devices],
    }  # fmt: skip
    says = more.pop("says", f"{len(devices):,} chips in use, assurance L1")
    return Step(at, DATA_CENTRE, "usage.attested", data, says, **more)


# --- what is known of the parties -----------------------------------------------------------------


def screened(at: str, party: str, says: str, **more: Any) -> Step:
    """Compared with the list as it was retrieved half an hour ago."""
    name, country = NAMES[party]
    used = {"list": "US-CSL", "sha256": "c5" * 32, "retrieved_at": f"{at[:10]}T12:30:00Z"}
    data = {
        "party": party, "query": {"name": name, "country": country}, "lists": [used],
        "algorithm": "jaro-winkler", "algorithm_version": "3.1", "threshold": 850, "verdict": "clear", **more,
    }  # fmt: skip
    return Step(at, EXPORTER, "screening.recorded", data, says)


NAMESAKE = {"list": "US-CSL", "entry": "EL-20114", "name": "Lotus A.I. Institute", "score": 900}


def owned(at: str, party: str, holder: str) -> Step:
    data = {
        "party": party, "dated": at[:10], "headquarters": "CN",
        "holders": [{"name": holder, "country": "CN", "percent": "100"}], "signatory": "Company secretary",
    }  # fmt: skip
    return Step(at, EXPORTER, "ownership.declared", data, f"who owns {party}: nobody on a list")


def supply() -> tuple[dict[str, Any], dict[str, Any]]:
    """The exporter's baseline, and its certification."""
    shipped = {
        "sku": SKU, "units": 800000, "tpp": 800000 * 15832, "from": "2024-01-01", "until": "2026-12-31",
        "signatory": "Chief compliance officer",
    }  # fmt: skip
    certified = ["available_in_us", "no_delay_to_us_orders", "no_foundry_diversion"]
    return shipped, {**shipped, "dated": "2027-06-10", "certifications": certified}


LETTER = {
    "sha256": hashlib.sha256(b"Letter of the authority, 26 August 2027 (simulated)").hexdigest(),
    "media_type": "application/pdf",
    "uri": "https://authority.example/letters/2027-08-26",
}
REPORT_SHA256 = hashlib.sha256(b"End-use report, first half of 2027 (simulated)").hexdigest()
