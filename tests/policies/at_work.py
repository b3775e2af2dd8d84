"""Devices at work: what most tests of conditions on them begin with."""

from __future__ import annotations

from typing import Any

from ledger.decision import Decision
from tests.workbench import (
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    activation,
    condition,
    policy,
    serials,
)

ALIBI = condition("quantity_cap", limit=1_000_000)
"""Asked of orders and releases alone: where a document must hold something."""


def installed(units: int, *conditions: dict[str, Any], site: str = "SHA-1", **granted: Any) -> Workbench:
    """So many devices are released, delivered and installed, and the conditions bound."""
    bench = Workbench().open(text=policy(ALIBI, *conditions), **granted)
    bench.order(units)
    bench.release(serials(units))
    bench.dispatch(serials(units))
    bench.receive(serials(units))
    assert install(bench, serials(units), site=site).outcome == "accepted"
    return bench


def install(bench: Workbench, chips: list[str], *, site: str = "SHA-1", **said: Any) -> Decision:
    racks = [{"serial": serial, "rack": "R1", "slot": str(n)} for n, serial in enumerate(chips)]
    return bench.say("device.installed", site=site, devices=racks, **said)


def attest(bench: Workbench, chips: list[str], outcome: str = "pass", **said: Any) -> Decision:
    devices = [{"serial": serial, "outcome": outcome} for serial in chips]
    return bench.say("usage.attested", devices=devices, **said)


def fleet(bench: Workbench, leaves: int, expected: int, **said: Any) -> Decision:
    absent = expected - leaves
    counts = {
        "leaf_count": leaves,
        "expected_count": expected,
        "absent_count": absent,
        "absent": serials(min(absent, 1_000)),
        "outcomes": {"passed": leaves},
    }
    return bench.say("fleet.attested", **{**counts, **said})


def second_contract(bench: Workbench, text: str) -> None:
    """Another contract of the same exporter, with a license of its own."""
    there = {"contract": OTHER_CONTRACT}
    bench.accepted("contract.opened", parties=PARTIES, licenses=["D-2"], **there)
    bench.accepted("policy.activated", **activation(text), **there)
    bench.accepted("license.granted", license="D-2", must_acknowledge=[], **there)
    bench.accepted("order.placed", license="D-2", **there)
