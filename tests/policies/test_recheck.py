"""A decision held against itself. That every decision of the engine holds is asserted by the workbench."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.canonical import parse
from policies.comparisons import CUT_OFF, IN_PART, RELATIONS, STRICT
from policies.conditions import CONDITIONS
from policies.obligations import OBLIGATIONS
from policies.recheck import Fault, Recheck, recheck, recheck_all
from policies.rules import SENTENCES
from policies.words import ENGLISH
from tests.policies.test_replay import GOLDEN

UNCOMPARED = {
    # It rests on more than the two numbers.
    "end_user_statement.pass", "prepayment.pass", "rma_one_for_one.pass", "license_active.pass",
    "prepayment.no_cancellation", "prepayment.no_reduction",
    "laboratory_test.pass", "attestation_validity.in_a_row",
    # Its numbers are names, or say how much and not too much.
    "party_item_match.item", "hold_open.role", "standing.role", "override_allowed.over",
    "shipment_held.dispatched",
    "approval_due.not_asked", "approval_due.role", "policy_activation.over", "policy_activation.role",
    "dated_ahead.day", "period_past.ahead", "period_past.dated_ahead", "policy_activation.too_many",
    "proposal_open.kind", "proposal_open.license", "contract_amendment.too_many",
}  # fmt: skip


def decisions() -> Iterator[Any]:
    for line in GOLDEN.read_bytes().split(b"\n")[1:-1]:
        yield parse(line.split(b"\t")[4])


def finding(uses: str, result: str, **found: Any) -> dict[str, Any]:
    value = {"id": "one", "uses": uses, "policy": 1, "result": result, "action": "deny", "clock": "none"}
    return value | found


def decided(*findings: dict[str, Any], outcome: str = "accepted", **more: Any) -> dict[str, Any]:
    policies = [
        {"policy": "constitution", "version": 1},
        {"policy": "h200", "version": 1, "sha256": "0" * 64},
    ]
    return {
        "outcome": outcome, "engine": 1, "policies": policies, "conditions": list(findings), "proposals": [],
        **more,
    }  # fmt: skip


def told(decision: dict[str, Any]) -> str:
    return "; ".join(map(str, recheck(decision).faults))


def test_every_decision_of_the_golden_log_follows_from_its_numbers() -> None:
    found = [recheck(decision) for decision in decisions()]
    assert [one.faults for one in found if one.faults] == []
    assert sum(one.compared for one in found) == 39


def test_every_code_that_is_said_of_two_numbers_is_compared_or_said_not_to_be() -> None:
    codes = {
        f"{name}.{code}": words for name, used in CONDITIONS.items() for code, words in used.sentences.items()
    }
    late = {f"{name}.late": used.sentences.get("late", "") for name, used in OBLIGATIONS.items()}
    codes |= late
    said = {
        code
        for code, words in {**codes, **SENTENCES}.items()
        if {"{observed}", "{limit}"} <= set(re.findall(r"\{\w+\}", words))
    }
    assert said - RELATIONS.keys() - UNCOMPARED == set()
    assert RELATIONS.keys() - codes.keys() - SENTENCES.keys() == set()
    assert CONDITIONS.keys() >= CUT_OFF
    assert RELATIONS.keys() >= STRICT | IN_PART
    assert ENGLISH.rules is SENTENCES


def altered(decision: Any) -> Iterator[tuple[str, Any]]:
    """The decision with one thing in it changed that its other numbers contradict."""
    for place, one in enumerate(decision["conditions"]):
        code = one.get("code") or f"{one['uses']}.pass"
        if RELATIONS.get(code) not in ("<", "<=", ">", ">=") or "limit" not in one:
            continue
        for name in ("shortfall", "headroom"):
            if isinstance(one.get(name), int):
                changed = copy.deepcopy(decision)
                changed["conditions"][place][name] += 1_000 if name == "shortfall" else -1_000
                yield f"{code} {name}", changed
        changed = copy.deepcopy(decision)
        result = "fail" if one["result"] == "pass" else "pass"
        changed["conditions"][place]["result"] = result
        yield f"{code} {result}", changed


def test_an_altered_result_shortfall_or_headroom_is_found() -> None:
    tried = [case for decision in decisions() for case in altered(decision)]
    assert len(tried) > 40
    assert [name for name, decision in tried if not recheck(decision).faults] == []


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (finding("quantity_cap", "pass", observed=11, limit=10, headroom=5), "states that 11 <= 10"),
        (finding("levy_settled", "pass", observed="9.99", limit="10.00"), "states that 9.99 >= 10.00"),
        (finding("validity_window", "pass", observed="2027-03-01T00:00:00.000000Z",
                 limit="2027-02-01T00:00:00.000000Z"), "states that 2027-03"),
        # 98.99 is what 98.996 % is cut off to.
        (finding("fleet_coverage", "pass", observed="98.99", limit="98.995"), ""),
        (finding("fleet_coverage", "pass", observed="98.98", limit="99.00"), "states that 98.98 >= 99.00"),
        (finding("quantity_cap", "pass", observed="many", limit=10), "which have no order"),
        (finding("quantity_cap", "pass", observed=True, limit=10), "which have no order"),
        (finding("quantity_cap", "pass", observed=3, limit=10, headroom=6), "more stood before"),
        (finding("quantity_cap", "pass", observed=3, limit=10, headroom=10), ""),
        (finding("quantity_cap", "pass", code="quantity_cap.over"), "result is 'pass' under code"),
        (finding("unheard_of", "pass", observed=3, limit=10), ""),
        (finding("quantity_cap", "perhaps"), "result is 'perhaps'"),
        (finding("quantity_cap", "pass", subjects=["a", "b"], subjects_count=1), "names more than it counts"),
        (finding("quantity_cap", "pass", policy=2), "stands in policy 2 of 2"),
    ],
)  # fmt: skip
def test_a_comparison_is_made_again(one: dict[str, Any], words: str) -> None:
    found = told(decided(one))
    assert re.search(words, found) if words else not found


def test_the_outcome_is_the_gravest_of_what_failed() -> None:
    over = finding("quantity_cap", "fail", code="quantity_cap.over", observed=11, limit=10, shortfall=1)
    assert told(decided(over)) == "the outcome is 'accepted', its conditions make it 'denied'"
    assert told(decided(over, outcome="denied")) == ""
    assert told(decided(over | {"override": 3}, outcome="flagged")) == ""
    assert told(decided(over | {"override": 3}, outcome="denied")) != ""
    assert told(decided(over | {"action": "shadow"})) == ""
    assert told(decided(over | {"action": "hold"}, over | {"action": "flag"}, outcome="held")) == ""
    watched = {"policy": "h200", "version": 2, "sha256": "1" * 64, "outcome": "denied", "conditions": [over]}
    assert told(decided(shadows=[watched])) == ""
    assert told(decided(shadows=[watched | {"outcome": "held"}])) != ""
    held = {"policy": "h200", "condition": "one", "released_by": ["authority"]}
    assert told(decided(over | {"action": "hold"}, outcome="held", awaited=[held])) == ""
    assert "said to hold" in told(decided(over, outcome="denied", awaited=[held]))


def test_an_override_is_one_before_it_that_names_the_condition_and_stood() -> None:
    over = finding("quantity_cap", "fail", code="quantity_cap.over", override=3)
    decision = decided(over, outcome="flagged")
    granted = {"kind": "override.granted", "data": {"conditions": ["one"]}}

    def faults(events: Any, outcome: str = "accepted", index: int = 5) -> tuple[Fault, ...]:
        return recheck_all(
            {
                3: decided(outcome=outcome)
                if outcome == "accepted"
                else {**decided(finding("x", "fail", code="x.y"), outcome="denied")},
                index: decision,
            },
            events,
        ).faults

    assert faults({3: granted}) == faults({}) == ()
    assert "no override of it" in faults({3: {**granted, "data": {"conditions": ["two"]}}})[0].what
    assert "no override of it" in faults({3: {**granted, "kind": "order.placed"}})[0].what
    assert "no override of it" in faults({3: {**granted, "data": ["one"]}})[0].what
    assert "was refused" in faults({3: granted}, "denied")[0].what
    assert "must be one before it" in recheck_all({2: decision}, {}).faults[0].what


def test_a_breach_states_what_was_short() -> None:
    data = {"obligation": "install", "uses": "install_deadline", "observed": 7, "limit": 10, "shortfall": 3}

    def found(**changes: Any) -> Recheck:
        return recheck_all({}, {9: {"kind": "obligation.breached", "data": {**data, **changes}}})

    assert found() == Recheck(compared=1)
    assert found(observed=None) == Recheck()
    assert "states that 10 < 10" in str(found(observed=10).faults[0])
    assert "entry 9: shortfall is 4" in str(found(shortfall=4).faults[0])
    assert recheck_all({}, {9: {"kind": "obligation.breached", "data": [1]}}).faults


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"engine": 1}, decided() | {"conditions": 7}, decided() | {"conditions": [7]},
        decided(finding("quantity_cap", "pass")) | {"policies": 7},
        decided(finding("quantity_cap", "fail", code="a.b") | {"action": "burn"}), decided() | {"shadows": 1},
        decided(finding("quantity_cap", "fail", code=["a"], observed=1, limit=1)), decided(awaited=[1]),
    ],
)  # fmt: skip
def test_what_no_ledger_commits_is_a_fault_and_never_a_crash(broken: dict[str, Any]) -> None:
    assert "not of the form" in recheck_all({1: broken}, {}).faults[0].what


def test_of_another_engine_nothing_is_claimed() -> None:
    found = recheck(decided(finding("quantity_cap", "pass", observed=11, limit=10)) | {"engine": 2})
    assert (found.compared, found.faults, found.uncompared) == (0, (), frozenset({"engine 2"}))
    assert recheck_all({1: {"engine": 2, "conditions": ["of another form"]}}, {}).faults == ()
