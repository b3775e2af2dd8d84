"""How findings become a decision, and that it is the same decision for ever."""

from __future__ import annotations

import decimal
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ledger.canonical import canonical
from ledger.decision import Decision
from ledger.event import KINDS, parse_event
from policies import compiled, document
from policies.conditions import CONDITIONS, Found, Proposes
from policies.engine import ENGINE_VERSION, Engine
from tests.workbench import (
    CONTRACT,
    H200,
    LICENSE,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
    wire,
)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes `quantity_cap` do something else, in documents that are compiled from here on."""

    def use(check: Any) -> None:
        used = replace(CONDITIONS["quantity_cap"], check=check)
        monkeypatch.setitem(CONDITIONS, "quantity_cap", used)
        document._parse.cache_clear()

    yield use
    document._parse.cache_clear()


def fails(*_: object) -> Found:
    return Found("fail", "over", 2, 1, 1, proposes=(Proposes("suspension", license=LICENSE),))


def breaks(*_: object) -> Found:
    raise ZeroDivisionError("a secret")


def decided(action: str, kind: str = "order.placed") -> Decision:
    return Workbench().open(text=policy(condition("quantity_cap", limit=1, action=action))).say(kind)


@pytest.mark.parametrize(
    ("action", "outcome"), [("deny", "denied"), ("flag", "flagged"), ("shadow", "accepted")]
)
def test_the_outcome_is_the_action_of_what_failed(answer: Any, action: str, outcome: str) -> None:
    answer(fails)
    decision = decided(action)
    assert decision.outcome == outcome
    found = finding(decision, "quantity_cap")
    assert (found.result, found.action, found.code) == ("fail", action, "quantity_cap.over")
    assert len(decision.proposals) == (0 if action == "shadow" else 1)


@pytest.mark.parametrize(
    ("action", "outcome"), [("deny", "denied"), ("flag", "flagged"), ("shadow", "accepted")]
)
def test_an_error_in_a_condition_counts_as_its_failure(answer: Any, action: str, outcome: str) -> None:
    answer(breaks)
    decision = decided(action)
    assert decision.outcome == outcome
    found = finding(decision, "quantity_cap")
    assert (found.result, found.code) == ("error", "quantity_cap.error")
    assert b"secret" not in decision.body


def test_running_out_of_memory_decides_nothing(answer: Any) -> None:
    def exhausted(*_: object) -> Found:
        raise MemoryError

    answer(exhausted)
    with pytest.raises(MemoryError):
        decided("shadow")


def test_the_gravest_action_wins() -> None:
    over = condition("quantity_cap", limit=1)
    text = policy(
        {**over, "id": "one", "action": "flag"},
        {**over, "id": "two", "action": "deny"},
        {**over, "id": "three", "action": "shadow"},
    )
    decision = Workbench().open(text=text).say("order.placed")
    assert decision.outcome == "denied"
    assert [f.id for f in decision.findings] == ["one", "two", "three"]


def test_what_passes_is_recorded_with_its_numbers() -> None:
    decision = Workbench().open().say("order.placed")
    assert decision.value()["conditions"] == [
        {
            "id": "live", "uses": "license_active", "policy": 1, "result": "pass",
            "action": "deny", "clock": "recorded_at", "observed": "active", "limit": "active",
            "unit": "state",
        },
        {
            "id": "window", "uses": "validity_window", "policy": 1, "result": "pass",
            "action": "deny", "clock": "recorded_at", "observed": "2027-03-01T12:00:00.000000Z",
            "limit": "2030-02-10T05:00:00.000000Z", "unit": "time",
        },
        {
            "id": "quantity", "uses": "quantity_cap", "policy": 1, "result": "pass",
            "action": "deny", "clock": "none", "observed": 1000, "limit": 10000,
            "headroom": 10000, "unit": "units",
        },
    ]  # fmt: skip


def test_a_fact_is_never_denied_by_a_document() -> None:
    custody = condition("custody_continuity", incident_within="PT72H", action="deny")
    bench = Workbench().open(text=policy(custody))
    bench.order(2)
    bench.release(serials(2))
    bench.dispatch(serials(2))
    decision = bench.receive(serials(1))
    assert decision.outcome == "flagged"
    assert finding(decision, "custody_continuity").action == "flag"


@pytest.mark.parametrize("kind", sorted({n for (n, _), k in KINDS.items() if k.nature == "fact"}))
def test_a_fact_of_whoever_may_say_it_is_never_denied(kind: str) -> None:
    """Of nothing that exists, under every condition there is, or under no document at all."""
    parameters: dict[str, dict[str, Any]] = {
        "quantity_cap": {"limit": 0},
        "laboratory_test": {"coverage": "every"},
        "levy_settled": {"rate": "1", "rounding": "up"},
        "custody_continuity": {"incident_within": "PT0S"},
        "value_cap": {"limit": {"from": "license.value"}},
        "prepayment": {"share": "1"},
        "window_cap": {"window": "month", "cap": 0},
        "revenue_share": {"rate": "1", "within": "P0D", "rounding": "up"},
        "us_ratio_cap": {"percent": "50", "measure": "units", "countries": ["CN"]},
        "supply_certified": {"max_age": "P0D"},
        "remote_tenant_kyc": {"percent": "100"},
        "service_level": {"floor": "100"},
        "fleet_coverage": {"percent": "100"},
        "location_consistency": {
            "km_per_ms": "150",
            "sites": [{"site": "SHA-1", "latitude_e6": 31_230_000, "longitude_e6": 121_470_000}],
        },
        "retention_hold": {"years": 5},
        "custom": {"expression": "contract.zone == 'UTC'"},
        "max_backdating": {"within": "PT0S"},
        "performance_thresholds": {"tpp_below": 1, "bandwidth_below": 1},
        "end_user_statement": {"above": {"amount": "0", "currency": "USD"}},
        "screening_clear": {"score": 1, "list_age": "PT0S"},
        "ownership": {"percent": "1"},
        "prohibited_end_use": {"projects": ["x"], "end_uses": ["inference"]},
    }
    everything = [condition(name, **parameters.get(name, {})) for name in CONDITIONS]
    for bench in (Workbench().open(text=policy(*everything)), Workbench().open(text=None)):
        bench.accepted("license.revoked")
        assert bench.say(kind).outcome in ("accepted", "flagged")


def test_every_document_in_force_is_asked_in_the_order_of_binding() -> None:
    bench = Workbench().open()
    second = policy(condition("quantity_cap", limit=5, action="flag"), policy="house-rules")
    later = policy(policy="not-yet", force={"from": "2029-01-01"})
    for name, text in (("house-rules", second), ("not-yet", later)):
        bench.accepted("policy.activated", **activation(text, policy=name))
    decision = bench.say("order.placed", units=6)
    assert [p["policy"] for p in decision.policies] == [
        "constitution", "us-h200-china", "house-rules",
    ]  # fmt: skip
    assert [(f.policy, f.id) for f in decision.findings] == [
        (1, "live"), (1, "window"), (1, "quantity"), (2, "quantity_cap"),
    ]  # fmt: skip
    assert decision.outcome == "flagged"


def test_a_document_in_force_is_cited_even_where_it_asks_nothing() -> None:
    decision = Workbench().open().say("lab.tested")
    assert decision.outcome == "accepted"
    assert [p["policy"] for p in decision.policies] == ["constitution", "us-h200-china"]
    assert decision.findings == ()


def test_setup_is_judged_by_the_constitution_alone() -> None:
    decision = Workbench().open().say("license.suspended")
    assert decision.policies == ({"policy": "constitution", "version": 1},)


def test_what_the_constitution_denies_no_document_is_asked() -> None:
    decision = Workbench().open().say("order.placed", license="D-999", units=20_000)
    assert codes(decision) == ["license_known.unknown"]
    assert len(decision.policies) == 1


def test_what_the_constitution_flags_the_documents_judge_all_the_same() -> None:
    decision = Workbench().open().dispatch(serials(2))
    assert codes(decision) == ["shipment_known.unknown", "custody_continuity.shipment_unknown"]


def test_a_full_library_answers_as_an_empty_one() -> None:
    library = compiled.Library(cached_max=1)
    bench = Workbench().open()
    house = policy(condition("quantity_cap", limit=5), policy="house-rules")
    bench.accepted("policy.activated", **activation(house, policy="house-rules"))
    event = parse_event(wire("order.placed"))
    bench.load(event)
    expected = bench.engine.judge(event, bench.facts, at=bench.now()).body
    bench.engine._library = library
    for _ in range(3):
        assert bench.engine.judge(event, bench.facts, at=bench.now()).body == expected


def test_the_engine_has_a_version() -> None:
    assert Engine().engine == ENGINE_VERSION == Workbench().open().say("order.placed").engine


# --- for ever the same ----------------------------------------------------------------------------


def _ids() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"00000000-0000-4000-8000-{number:012}"


def story() -> bytes:
    """The decisions of a short life, with refusals, flags and proposals, as they are committed."""
    bench = Workbench().open(text=H200)
    ids = _ids()
    bench.order(1000, levied="6000000.00")
    bench.test(serials(1000), failed=serials(2))
    bench.release(serials(1000))
    bench.accepted("levy.settled", event_id=next(ids), amount={"amount": "750000.00", "currency": "USD"})
    bench.release(serials(998, first=3), shipment="SH-2")
    bench.dispatch(serials(998, first=3), shipment="SH-2")
    bench.say("license.revoked", at="2027-05-01T00:00:00Z")
    bench.receive(serials(990, first=3), shipment="SH-2", at="2027-05-09T00:00:00Z")
    bench.say("order.placed", order="PO-9", license="D-999", sku="H20", consignee="stranger")
    bench.say("order.placed", by=("stranger", "buyer"))
    return b"\n".join(decision.body for _, decision in bench.log)


def test_the_same_events_are_decided_alike_under_every_hash_seed() -> None:
    program = "import sys; from tests.policies.test_engine import story; sys.stdout.buffer.write(story())"
    decided = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True, capture_output=True, timeout=120,
        ).stdout
        for seed, zone in (("0", "UTC"), ("1", "Asia/Shanghai"), ("4242", "America/New_York"))
    }  # fmt: skip
    assert decided == {story()}


def test_judging_twice_gives_the_same_bytes_and_changes_nothing() -> None:
    bench = Workbench().open()
    bench.order(2)
    event = parse_event(wire("shipment.requested"))
    bench.load(event)
    before = dict(bench.facts.changed)
    first = bench.engine.judge(event, bench.facts, at=bench.now())
    assert bench.engine.judge(event, bench.facts, at=bench.now()).body == first.body
    assert Engine().judge(event, bench.facts, at=bench.now()).body == first.body
    assert bench.facts.changed == before


def test_every_decision_is_in_the_profile_of_what_may_be_hashed() -> None:
    bench = Workbench().open()
    bench.order(2)
    for kind in ("shipment.requested", "shipment.dispatched", "delivery.received"):
        decision = bench.say(kind)
        assert canonical(decision.value()) == decision.body


def test_the_ambient_decimal_context_decides_nothing() -> None:
    bench = Workbench().open()
    bench.order(2)
    event = parse_event(wire("shipment.requested"))
    bench.load(event)
    expected = bench.engine.judge(event, bench.facts, at=bench.now()).body
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        assert bench.engine.judge(event, bench.facts, at=bench.now()).body == expected


def test_a_fact_that_was_not_loaded_is_a_bug_and_denies() -> None:
    bench = Workbench().open()
    event = parse_event(wire("order.placed"))
    with pytest.raises(KeyError):  # the constitution asks for the order first
        bench.engine.judge(event, bench.facts, at=bench.now())
    assert bench.facts.loaded(("contract", CONTRACT))
