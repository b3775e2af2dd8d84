"""The life of a policy document: proposed, approved, activated now or later, superseded, watched."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.facts import Contract, Draft
from policies.document import digest, parse_document
from policies.tree import PolicyDocumentError
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    Workbench,
    activation,
    codes,
    condition,
    policy,
)

COUNSEL = {"approvals": ["exporter.counsel", "authority"]}
CAP_5 = policy(condition("quantity_cap", limit=5), version=2, **COUNSEL)


def cap(limit: int, version: int, **header: Any) -> str:
    return policy(condition("quantity_cap", limit=limit), version=version, **header)


def named(text: str, version: int) -> dict[str, Any]:
    return {"policy": "us-h200-china", "version": version, "sha256": digest(text)}


def propose(bench: Workbench, text: str, version: int, *, approved: bool = True) -> None:
    bench.accepted("policy.proposed", **activation(text, version=version))
    if approved:
        bench.accepted("policy.approved", **named(text, version), office="authority")


def activate(bench: Workbench, text: str, version: int, **said: Any) -> list[str | None]:
    fields = {"begins": None, "mode": "enforce", **said.pop("fields", {})}
    return codes(bench.say("policy.activated", **named(text, version), **fields, **said))


@pytest.fixture
def bench() -> Workbench:
    return Workbench().open(text=cap(10, 1))


def test_all_whom_a_document_names_approve_it_before_it_is_activated(bench: Workbench) -> None:
    bench.accepted("policy.proposed", by=(BUYER, "buyer"), **activation(CAP_5, version=2))
    assert activate(bench, CAP_5, 2) == ["policy_activation.approval"]
    bench.accepted("policy.approved", **named(CAP_5, 2), office="authority")
    decision = bench.say("policy.activated", **named(CAP_5, 2), begins=None)
    [finding] = decision.failed
    assert (finding.limit, finding.shortfall, finding.subjects) == (2, 1, ("exporter.counsel",))
    by = (EXPORTER, "exporter")
    bench.accepted("policy.approved", by=by, **named(CAP_5, 2), office="exporter.counsel")
    draft = bench.fact(Draft, f"{CONTRACT}/{digest(CAP_5)}")
    assert [(a.office, a.party) for a in draft.approvals] == [
        ("authority", AUTHORITY), ("exporter.counsel", EXPORTER),
    ]  # fmt: skip
    assert activate(bench, CAP_5, 2) == []
    assert codes(bench.ask("order.placed", units=6)) == ["quantity_cap.over"]


def test_an_approval_is_asked_for_and_is_given_once_by_its_own_role(bench: Workbench) -> None:
    propose(bench, CAP_5, 2)
    again = bench.say("policy.approved", **named(CAP_5, 2), office="authority")
    assert codes(again) == ["approval_due.given"]
    for office, by, code in (
        ("authority.counsel", (AUTHORITY, "authority"), "approval_due.not_asked"),
        ("exporter.counsel", (AUTHORITY, "authority"), "approval_due.role"),
    ):
        assert codes(bench.say("policy.approved", by=by, **named(CAP_5, 2), office=office)) == [code]


@pytest.mark.parametrize(
    ("kind", "fields"), [("policy.approved", {"office": "authority"}), ("policy.activated", {"begins": None})]
)
def test_what_was_not_proposed_here_is_neither_approved_nor_activated(
    bench: Workbench, kind: str, fields: dict[str, Any]
) -> None:
    assert codes(bench.say(kind, **named(CAP_5, 2), **fields)) == ["draft_known.unknown"]
    propose(bench, CAP_5, 2)
    other = {**named(CAP_5, 2), "version": 3}
    assert "draft_known.named" in codes(bench.say(kind, **other, **fields))


def test_a_document_is_proposed_once_and_must_be_one(bench: Workbench) -> None:
    propose(bench, CAP_5, 2)
    assert codes(bench.say("policy.proposed", **activation(CAP_5, version=2))) == ["draft_new.exists"]
    for text, version, code in (
        ("policy: x\n", 1, "policy_document.malformed"),
        (cap(7, 3), 4, "policy_document.version"),
    ):
        assert codes(bench.say("policy.proposed", **activation(text, version=version))) == [code]


def test_whom_the_document_does_not_name_does_not_activate_it(bench: Workbench) -> None:
    propose(bench, cap(5, 2), 2)
    assert activate(bench, cap(5, 2), 2, by=(BUYER, "buyer")) == ["policy_activation.role"]


def test_an_activation_names_a_later_instant_and_until_then_the_version_before_holds(
    bench: Workbench,
) -> None:
    text = cap(5, 2)
    propose(bench, text, 2)
    assert activate(bench, text, 2, fields={"begins": "2027-06-01T00:00:00Z"}) == []
    for at, wanted in (
        ("2027-05-31T23:59:59.999999Z", []),
        ("2027-06-01T00:00:00Z", ["quantity_cap.over"]),
    ):
        assert codes(bench.ask("order.placed", units=6, at=at)) == wanted


def test_no_version_reaches_back(bench: Workbench) -> None:
    text = cap(5, 2)
    propose(bench, text, 2)
    begins = {"begins": "2027-03-01T11:59:59.999999Z"}
    assert activate(bench, text, 2, fields=begins) == ["policy_activation.retroactive"]
    assert activate(bench, text, 2, fields={"begins": "2027-03-01T12:00:00Z"}) == []


def test_what_was_superseded_before_it_began_never_comes_into_force(bench: Workbench) -> None:
    propose(bench, cap(5, 2), 2)
    activate(bench, cap(5, 2), 2, fields={"begins": "2027-06-01T00:00:00Z"})
    propose(bench, cap(7, 3), 3)
    assert activate(bench, cap(7, 3), 3) == []
    assert bench.ask("order.placed", units=6, at="2027-07-01T00:00:00Z").outcome == "accepted"
    assert codes(bench.ask("order.placed", units=8, at="2027-07-01T00:00:00Z")) == ["quantity_cap.over"]


def test_an_amendment_of_the_license_moves_a_limit_that_is_read_from_it() -> None:
    text = policy(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench = Workbench().open(text=text, quantity=5)
    assert codes(bench.ask("order.placed", units=6)) == ["quantity_cap.over"]
    bench.accepted("license.amended", quantity=6)
    assert bench.ask("order.placed", units=6).outcome == "accepted"
    assert codes(bench.ask("order.placed", units=7)) == ["quantity_cap.over"]


# --- open orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_orders", "wanted"),
    [
        ("keep_version", []),
        ("new_version", ["quantity_cap.over"]),
        (None, ["quantity_cap.over"]),
    ],
)
def test_an_order_that_is_open_keeps_its_version_where_the_new_one_says_so(
    bench: Workbench, open_orders: str | None, wanted: list[str]
) -> None:
    bench.accepted("order.placed", units=8)
    transition = {} if open_orders is None else {"transition": {"open_orders": open_orders}}
    text = cap(5, 2, **transition)
    propose(bench, text, 2)
    assert activate(bench, text, 2, at="2027-04-01T00:00:00Z") == []
    serials = [f"SN{n:06}" for n in range(8)]
    decision = bench.ask("shipment.requested", serials=serials, at="2027-04-02T00:00:00Z")
    assert codes(decision) == wanted
    late = bench.ask("order.placed", order="PO-2", units=6, at="2027-04-02T00:00:00Z")
    assert codes(late) == ["quantity_cap.over"]


# --- shadows --------------------------------------------------------------------------------------


def test_a_shadow_is_judged_beside_and_recorded_where_it_differs(bench: Workbench) -> None:
    text = cap(5, 2)
    propose(bench, text, 2, approved=False)
    assert activate(bench, text, 2, fields={"mode": "shadow"}) == []
    same, other = bench.ask("order.placed", units=5), bench.ask("order.placed", units=6)
    assert same.outcome == other.outcome == "accepted"
    assert same.shadows == ()
    [shadow] = other.shadows
    assert (shadow.policy, shadow.version, shadow.outcome) == ("us-h200-china", 2, "denied")
    [failed] = shadow.failed
    assert (failed.code, failed.observed, failed.limit) == ("quantity_cap.over", 6, 5)
    assert other.value()["shadows"][0]["conditions"][0]["shortfall"] == 1
    assert [p["version"] for p in other.policies] == [1, 1]


def test_a_shadow_that_would_let_pass_what_is_refused_is_recorded_too() -> None:
    bench = Workbench().open(text=cap(5, 1))
    propose(bench, cap(10, 2), 2)
    activate(bench, cap(10, 2), 2, fields={"mode": "shadow"})
    decision = bench.ask("order.placed", units=6)
    assert decision.outcome == "denied"
    assert [(s.outcome, s.failed) for s in decision.shadows] == [("accepted", ())]


def test_a_shadow_ends_when_a_version_of_its_policy_is_enforced(bench: Workbench) -> None:
    text = cap(5, 2)
    propose(bench, text, 2)
    activate(bench, text, 2, fields={"mode": "shadow"})
    assert activate(bench, text, 2) == []
    decision = bench.ask("order.placed", units=6)
    assert (decision.outcome, decision.shadows) == ("denied", ())
    assert [p.mode for p in bench.fact(Contract, CONTRACT).policies] == ["enforce", "shadow", "enforce"]


# --- acknowledging anew ---------------------------------------------------------------------------


def acknowledged(bench: Workbench, sha256: str, by: tuple[str, str], at: str) -> str:
    return bench.say("conditions.acknowledged", by=by, conditions_sha256=sha256, at=at).outcome


def test_whoever_took_on_the_conditions_takes_on_the_new_version_in_time(bench: Workbench) -> None:
    text = cap(5, 2, transition={"reacknowledge": "P14D"})
    propose(bench, text, 2)
    assert activate(bench, text, 2) == []
    [change] = bench.log[-1][1].duties
    assert change.subjects == (EXPORTER, BUYER)
    assert acknowledged(bench, digest(text), (EXPORTER, "exporter"), "2027-03-15T10:59:59Z") == "accepted"
    assert bench.tick("2027-03-15T10:59:59Z") == []
    [late] = bench.tick("2027-03-15T11:00:00Z")  # fourteen days, and the clocks have changed
    assert late.data.model_dump()["about"] == (BUYER,)
    assert acknowledged(bench, digest(text), (BUYER, "consignee"), "2027-03-16T00:00:00Z") == "accepted"
    assert bench.log[-1][0].kind == "obligation.satisfied"


def test_an_acknowledgement_of_something_else_is_flagged(bench: Workbench) -> None:
    assert acknowledged(bench, "00" * 32, (EXPORTER, "exporter"), "2027-03-15T00:00:00Z") == "flagged"


# --- who is written out ---------------------------------------------------------------------------


def test_whoever_had_to_approve_the_version_in_force_approves_what_takes_its_place(bench: Workbench) -> None:
    """Otherwise a party could write the authority out of the document that binds it."""
    own = cap(1_000_000, 2, approvals=["exporter"])
    carried = bench.say("policy.activated", by=(EXPORTER, "exporter"), **activation(own, version=2))
    assert codes(carried) == ["policy_activation.approval"]
    assert carried.failed[0].subjects == ("authority",)
    by = (EXPORTER, "exporter")
    bench.accepted("policy.proposed", by=by, **activation(own, version=2))
    bench.accepted("policy.approved", by=by, **named(own, 2), office="exporter")
    assert activate(bench, own, 2, by=by) == ["policy_activation.approval"]
    bench.accepted("policy.approved", **named(own, 2), office="authority")
    assert activate(bench, own, 2, by=by) == []


def test_a_shadow_is_bound_once(bench: Workbench) -> None:
    text = cap(5, 2)
    propose(bench, text, 2, approved=False)
    assert activate(bench, text, 2, fields={"mode": "shadow"}) == []
    assert activate(bench, text, 2, fields={"mode": "shadow"}) == ["policy_activation.watched"]


def test_an_order_that_was_kept_falls_to_the_new_version_once_the_old_has_ended() -> None:
    bench = Workbench().open(text=cap(10, 1, force={"from": "2026-01-01", "until": "2027-06-01"}))
    bench.accepted("order.placed", units=4, at="2027-02-20T00:00:00Z")
    text = cap(3, 2, transition={"open_orders": "keep_version"}, force={"from": "2027-01-01"})
    propose(bench, text, 2)
    assert activate(bench, text, 2) == []
    four = [f"SN{n:06}" for n in range(4)]
    assert codes(bench.ask("shipment.requested", serials=four, at="2027-05-31T00:00:00Z")) == []
    assert codes(bench.ask("shipment.requested", serials=four, at="2027-06-02T00:00:00Z")) == [
        "quantity_cap.over"
    ]


def test_an_amendment_of_a_kept_order_is_judged_as_a_new_one(bench: Workbench) -> None:
    bench.accepted("order.placed", units=4)
    text = cap(5, 2, transition={"open_orders": "keep_version"})
    propose(bench, text, 2)
    assert activate(bench, text, 2, at="2027-04-01T00:00:00Z") == []
    amended = {"order": "PO-4711", "units": 9, "at": "2027-04-02T00:00:00Z"}
    assert "quantity_cap.over" in codes(bench.ask("order.amended", **amended))


def test_the_name_of_what_a_transition_asks_for_is_taken() -> None:
    beat = {"id": "reacknowledge", "uses": "batch_due", "clause": "x", "window": "month", "due": 1}
    with pytest.raises(PolicyDocumentError, match="reacknowledge is what transition asks for"):
        parse_document(policy(obligations=[beat]))
