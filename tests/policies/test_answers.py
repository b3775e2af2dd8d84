"""What a person decides: holds and their release, overrides, proposals confirmed or dismissed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.facts import Device, Hold, License, Order, Override, Proposed, Releases, Shipment
from ledger.merkle import leaf_hash, root
from policies.explain import explain
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    PARTIES,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    instant,
    policy,
    serials,
    wire,
)

HELD = policy(
    condition("quantity_cap", limit=5, action="hold", released_by=["authority", "exporter"], id="cap"),
    condition("validity_window", action="hold", released_by=["authority"], id="window"),
    condition("quantity_cap", limit=8, at=["order.placed"], id="more", overridden_by=["authority"]),
)
LATE = "2027-08-01T00:00:00Z"
EVIDENCE = {"sha256": "ab" * 32, "media_type": "application/pdf", "uri": "https://example.com/letter.pdf"}


@pytest.fixture
def bench() -> Workbench:
    return Workbench().open(text=HELD, valid_until="2027-06-30")


def override(
    bench: Workbench, *, evidence: bool = True, at: str | None = None, **data: Any
) -> list[str | None]:
    value = wire(
        "override.granted",
        by=data.pop("by", None),
        **{"conditions": ["more"], "target": "order/PO-4711", **data},
    )
    if evidence:
        value["evidence"] = [EVIDENCE]
    return codes(bench.submit(value, at=at))


# --- holds ----------------------------------------------------------------------------------------


def test_what_is_held_stands_and_the_ledger_says_who_may_release_it(bench: Workbench) -> None:
    decision = bench.say("order.placed", units=6)
    assert decision.outcome == "held"
    assert [a.value() for a in decision.awaited] == [
        {"policy": "us-h200-china", "condition": "cap", "released_by": ["authority", "exporter"]}
    ]
    event, _ = bench.log[-1]
    assert event.kind == "hold.placed"
    hold = bench.fact(Hold, f"{CONTRACT}/order/PO-4711")
    assert hold.placed == len(bench.log) - 1
    assert [h.condition for h in hold.held_by] == ["cap"]
    assert bench.fact(License, LICENSE).ordered == 6


def test_nothing_is_released_from_an_order_that_is_held(bench: Workbench) -> None:
    bench.say("order.placed", units=6)
    decision = bench.release(serials(2))
    assert codes(decision) == ["not_held.held"]
    assert explain(decision.value()) == ["not_held: order/PO-4711 is held by us-h200-china: cap."]
    bench.accepted("hold.released")
    assert bench.release(serials(2)).outcome == "accepted"


def test_each_role_releases_what_it_may_and_the_last_ends_the_hold(bench: Workbench) -> None:
    bench.say("order.placed", units=6, at=LATE)
    assert codes(bench.say("hold.released", by=(BUYER, "buyer"))) == ["hold_open.role"]
    bench.accepted("hold.released", by=(EXPORTER, "exporter"))
    hold = bench.fact(Hold, f"{CONTRACT}/order/PO-4711")
    assert [h.condition for h in hold.held_by] == ["window"]
    assert codes(bench.say("hold.released", by=(EXPORTER, "exporter"))) == ["hold_open.role"]
    bench.accepted("hold.released", by=(AUTHORITY, "authority"))
    assert codes(bench.say("hold.released")) == ["hold_open.none"]


def test_a_release_that_is_held_is_flagged_when_it_leaves_all_the_same(bench: Workbench) -> None:
    bench.say("order.placed", units=5)
    decision = bench.release(serials(1), at=LATE)
    assert decision.outcome == "held"
    assert "not_held.held" in codes(bench.dispatch(serials(1)))


def test_a_denial_weighs_more_than_a_hold_and_holds_nothing(bench: Workbench) -> None:
    decision = bench.say("order.placed", units=9)
    assert (decision.outcome, decision.awaited) == ("denied", ())
    assert bench.log[-1][0].kind == "order.placed"


# --- overrides ------------------------------------------------------------------------------------


def test_an_override_lets_one_condition_count_as_a_flag_for_one_order_until_it_ends(
    bench: Workbench,
) -> None:
    assert "more" in [f.id for f in bench.ask("order.placed", units=9).failed]
    assert override(bench, until="2027-04-01T00:00:00Z") == []
    granted = len(bench.log) - 1
    decision = bench.ask("order.placed", units=9)
    assert finding(decision, "more").override == granted
    assert finding(decision, "cap").override is None
    assert decision.outcome == "held"  # the other condition holds as before
    assert decision.value()["conditions"][2]["override"] == granted
    for asked in ({"order": "PO-1", "units": 9}, {"units": 9, "at": "2027-04-01T00:00:00Z"}):
        assert bench.ask("order.placed", **asked).outcome == "denied"
    assert f"Overridden by entry {granted}." in explain(decision.value())[2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"evidence": False}, "override_allowed.evidence"),
        ({"until": "2027-03-01T12:00:00Z"}, "override_allowed.over"),
        ({"conditions": ["nothing"]}, "override_allowed.unknown"),
        ({"conditions": ["cap"]}, "override_allowed.role"),
        ({"by": (EXPORTER, "exporter")}, "override_allowed.role"),
        ({"policy": "another"}, "override_allowed.unknown"),
    ],
)
def test_an_override_needs_a_right_evidence_and_an_end(
    bench: Workbench, change: dict[str, Any], code: str
) -> None:
    assert override(bench, **change) == [code]


def test_a_later_override_takes_the_place_of_the_one_before(bench: Workbench) -> None:
    override(bench, until="2027-04-01T00:00:00Z")
    override(bench, until="2027-05-01T00:00:00Z")
    [exemption] = bench.fact(Override, f"{CONTRACT}/order/PO-4711").exemptions
    assert (exemption.until, exemption.index) == (instant("2027-05-01T00:00:00Z"), len(bench.log) - 1)


# --- proposals ------------------------------------------------------------------------------------


def proposed(bench: Workbench) -> int:
    """A dispatch under a license that is revoked proposes its suspension; the index of the proposal."""
    bench.order(2)
    bench.release(serials(2))
    bench.accepted("license.suspended")
    bench.dispatch(serials(2))
    assert bench.log[-1][0].kind == "suspension.proposed"
    return len(bench.log) - 1


@pytest.fixture
def watched() -> Workbench:
    live = condition("license_active", at=["shipment.dispatched"], action="flag", in_transit_grace="P7D")
    return Workbench().open(text=policy(live))


def test_a_proposal_waits_for_a_person(watched: Workbench) -> None:
    index = proposed(watched)
    fact = watched.fact(Proposed, str(index))
    assert (fact.propose, fact.state, fact.license) == ("suspension", "open", LICENSE)
    watched.accepted("proposal.dismissed", proposal=index)
    fact = watched.fact(Proposed, str(index))
    assert (fact.state, fact.answered) == ("dismissed", len(watched.log) - 1)
    again = watched.say("proposal.dismissed", proposal=index)
    assert codes(again) == ["proposal_open.answered"]


def test_a_revocation_confirms_the_proposal_that_it_names(watched: Workbench) -> None:
    index = proposed(watched)
    for number, code in ((0, "proposal_open.unknown"), (index + 100, "proposal_open.unknown")):
        assert codes(watched.say("license.revoked", proposal=number)) == [code]
    watched.accepted("license.revoked", proposal=index)
    assert watched.fact(Proposed, str(index)).state == "confirmed"


def test_only_the_authority_dismisses(watched: Workbench) -> None:
    index = proposed(watched)
    decision = watched.say("proposal.dismissed", by=(EXPORTER, "exporter"), proposal=index)
    assert codes(decision) == ["standing.role"]


# --- the scope of a revocation --------------------------------------------------------------------


def test_a_revocation_names_every_device_released_under_the_license_wherever_it_is(
    watched: Workbench,
) -> None:
    devices = serials(6)
    watched.order(9)
    for number, ours in enumerate((devices[4:], devices[:2], devices[2:4])):
        watched.release(ours, shipment=f"SH-{number}")
    watched.dispatch(devices[4:], shipment="SH-0")
    watched.receive(devices[4:], shipment="SH-0")
    watched.dispatch(devices[:2], shipment="SH-1")
    watched.accepted("shipment.cancelled", shipment="SH-2")
    watched.restart()
    watched.accepted("license.revoked")
    scope = watched.log[-1][0].data.model_dump()
    assert scope["devices"] == ("SN000001", "SN000002", "SN000005", "SN000006")
    assert (scope["devices_count"], scope["orders"]) == (4, ("PO-4711",))
    assert [s["shipment"] for s in scope["in_transit"]] == ["SH-1"]
    assert scope["devices_root"] == root([leaf_hash(s.encode()) for s in scope["devices"]]).hex()


# --- what is allowed by whom, now -----------------------------------------------------------------


def test_what_the_version_in_force_lets_nobody_override_is_not_overridden(bench: Workbench) -> None:
    """Neither by a version that has yet to begin, nor by a grant from before one that forbids it."""
    assert override(bench, until="2027-12-01T00:00:00Z") == []
    strict = policy(
        condition("quantity_cap", limit=8, at=["order.placed"], id="more"),
        version=2, force={"from": "2027-04-01"},
    )  # fmt: skip
    bench.accepted("policy.activated", **activation(strict, version=2))
    assert bench.ask("order.placed", units=9).outcome == "held"
    assert bench.ask("order.placed", units=9, at="2027-04-02T00:00:00Z").outcome == "denied"
    late = override(bench, at="2027-04-02T00:00:00Z", until="2027-12-01T00:00:00Z")
    assert late == ["override_allowed.role"]


def test_a_suspension_does_not_confirm_a_proposed_revocation(watched: Workbench) -> None:
    index = proposed(watched)
    fact = watched.fact(Proposed, str(index))
    watched.facts.put(replace(fact, propose="revocation"))
    watched.accepted("license.reinstated")
    assert codes(watched.say("license.suspended", proposal=index)) == ["proposal_open.kind"]


def test_a_hold_names_each_condition_once(bench: Workbench) -> None:
    bench.say("order.placed", units=6)
    amended = bench.say("order.amended", order="PO-4711", units=7)
    assert amended.outcome == "held"
    hold = bench.fact(Hold, f"{CONTRACT}/order/PO-4711")
    assert [h.condition for h in hold.held_by] == ["cap"]


# --- what has left, and what was taken on ---------------------------------------------------------


def shipped_as_another(bench: Workbench) -> list[str]:
    """Three devices are released as SH-1, and leave under a number that nobody released."""
    devices = serials(3)
    bench.order(3)
    bench.release(devices)
    assert bench.dispatch(devices, shipment="SH-TYPO").outcome == "flagged"
    return devices


def test_quota_does_not_come_back_for_what_left_under_another_number(watched: Workbench) -> None:
    devices = shipped_as_another(watched)
    decision = watched.say("shipment.cancelled", shipment="SH-1")
    assert codes(decision) == ["shipment_held.dispatched"]
    assert (decision.failed[0].observed, decision.failed[0].subjects) == (3, tuple(devices))
    index = next(n for n, (event, _) in enumerate(watched.log) if event.kind == "shipment.requested")
    event = watched.log[index][0]
    taken_back = watched.say("event.declared_in_error", index=index, id=event.id)
    assert codes(taken_back) == ["correction.dependents"]
    assert watched.fact(License, LICENSE).released == 3


def test_a_license_is_active_once_those_who_are_asked_now_have_acknowledged() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES, licenses=[LICENSE])
    bench.accepted("license.granted")
    bench.say("conditions.acknowledged", by=(EXPORTER, "exporter"))
    amended = {"must_acknowledge": [BUYER], "conditions_sha256": None, "quantity": None, "valid_until": None}
    bench.accepted("license.amended", **amended)
    bench.say("conditions.acknowledged", by=(BUYER, "consignee"))
    assert bench.fact(License, LICENSE).state == "active"


def test_an_acknowledgement_said_again_and_taken_back_leaves_the_first(watched: Workbench) -> None:
    watched.accepted("conditions.acknowledged", by=(EXPORTER, "exporter"))
    again = watched.log[-1][0]
    watched.accepted("event.declared_in_error", index=len(watched.log) - 1, id=again.id)
    assert watched.fact(License, LICENSE).state == "active"
    first = next(n for n, (event, _) in enumerate(watched.log) if event.kind == again.kind)
    watched.accepted("event.declared_in_error", index=first, id=watched.log[first][0].id)
    assert watched.fact(License, LICENSE).state == "granted"


def test_a_correction_that_leaves_more_taken_than_permitted_is_flagged_and_stops_new_orders() -> None:
    cap = condition("quantity_cap", limit={"from": "license.quantity"})
    bench = Workbench().open(text=policy(cap), quantity=10)
    bench.accepted("order.placed", units=10)
    bench.accepted("order.amended", order="PO-4711", units=1)
    amendment = len(bench.log) - 1
    bench.accepted("order.placed", order="PO-2", units=9)
    event = bench.log[amendment][0]
    by = (event.actor.party, event.actor.role)
    decision = bench.say("event.declared_in_error", by=by, index=amendment, id=event.id)
    assert (decision.outcome, codes(decision)) == ("flagged", ["correction.headroom"])
    assert decision.failed[0].subjects == (LICENSE,)
    assert bench.fact(License, LICENSE).ordered == 19
    assert codes(bench.ask("order.placed", order="PO-3", units=1)) == ["quantity_cap.over"]


def test_headroom_that_is_left_or_grows_is_not_flagged() -> None:
    """The last unit fits; and of what is over already, less is no news."""
    cap = condition("quantity_cap", limit={"from": "license.quantity"})
    bench = Workbench().open(text=policy(cap), quantity=10)
    by = (BUYER, "buyer")
    bench.accepted("order.placed", units=2)
    bench.accepted("order.amended", units=1, unit_value=None)
    amended = len(bench.log) - 1
    bench.accepted("order.placed", order="PO-2", units=8)
    bench.accepted("event.declared_in_error", by=by, index=amended, id=bench.log[amended][0].id)
    assert bench.fact(License, LICENSE).ordered == 10
    fewer = {"quantity": 5, "valid_until": None, "conditions_sha256": None}
    bench.accepted("license.amended", **fewer)
    placed = next(n for n, (event, _) in enumerate(bench.log) if event.kind == "order.placed")
    bench.accepted("event.declared_in_error", by=by, index=placed, id=bench.log[placed][0].id)
    assert bench.fact(License, LICENSE).ordered == 8


@pytest.mark.parametrize("number", ["SH-1", "SH-TYPO"])
@pytest.mark.parametrize("left", [1, 2, 3])
def test_of_a_release_what_has_not_left_is_given_back(watched: Workbench, left: int, number: str) -> None:
    """Whatever number it left under."""
    devices = serials(3)
    watched.order(3)
    watched.release(devices)
    watched.dispatch(devices[:left], shipment=number)
    watched.restart()
    decision = watched.say("shipment.cancelled", shipment="SH-1")
    assert codes(decision) == (["shipment_held.dispatched"] if left == 3 else [])
    license_, order = watched.fact(License, LICENSE), watched.fact(Order, f"{CONTRACT}/PO-4711")
    shipment = watched.fact(Shipment, f"{CONTRACT}/SH-1")
    assert (license_.ordered, license_.released, order.released) == (3, left, left)
    assert shipment.serials == tuple(devices[:left])
    assert shipment.stands
    assert order.released_value == shipment.value == 27_000 * left
    assert watched.fact(Releases, f"{CONTRACT}/{LICENSE}").units_in(("2027-03",)) == left
    assert [watched.fact(Device, d).contract for d in devices] == [CONTRACT] * left + [None] * (3 - left)
    assert codes(watched.say("shipment.cancelled", shipment="SH-1")) == ["shipment_held.dispatched"]
    if left < 3:
        assert not watched.release(devices[left:], shipment="SH-2").denied
        assert watched.fact(License, LICENSE).released == 3


def test_what_was_taken_back_may_not_leave_any_more_and_the_rest_arrives() -> None:
    custody = condition("custody_continuity", incident_within="PT72H")
    bench = Workbench().open(text=policy(custody))
    bench.order(3)
    bench.release(serials(3))
    bench.dispatch(serials(2))
    bench.accepted("shipment.cancelled", shipment="SH-1")
    found = finding(bench.ask("shipment.dispatched", serials=["SN000003"]), "custody_continuity")
    assert (found.code, found.subjects) == ("custody_continuity.not_released", ("SN000003",))
    assert bench.receive(serials(2)).outcome == "accepted"
    assert bench.fact(Shipment, f"{CONTRACT}/SH-1").state == "received"


def test_a_device_that_another_release_holds_is_not_given_back(watched: Workbench) -> None:
    watched.order(3)
    watched.release(serials(2))
    device = watched.fact(Device, "SN000001")
    watched.facts.update(device, shipment=f"{CONTRACT}/SH-2")
    watched.accepted("shipment.cancelled", shipment="SH-1")
    assert watched.fact(Device, "SN000001").shipment == f"{CONTRACT}/SH-2"
    assert watched.fact(Shipment, f"{CONTRACT}/SH-1").serials == ("SN000001",)
    assert watched.fact(License, LICENSE).released == 1


def test_who_is_no_longer_asked_leaves_a_license_active_by_taking_back(watched: Workbench) -> None:
    amended = {"must_acknowledge": [BUYER], "conditions_sha256": None, "quantity": None, "valid_until": None}
    watched.accepted("license.amended", **amended)
    first = next(n for n, (event, _) in enumerate(watched.log) if event.kind == "conditions.acknowledged")
    assert watched.log[first][0].actor.party == EXPORTER
    watched.accepted("event.declared_in_error", index=first, id=watched.log[first][0].id)
    license_ = watched.fact(License, LICENSE)
    assert (license_.state, license_.acknowledged) == ("active", (BUYER,))
    assert len(license_.acknowledgements) == 1


def test_what_acknowledged_the_conditions_before_is_taken_back_from_none_that_stand(
    watched: Workbench,
) -> None:
    asked = {"conditions_sha256": "6f" * 32, "must_acknowledge": [EXPORTER]}
    watched.accepted("license.amended", **asked, quantity=None, valid_until=None)
    watched.accepted("conditions.acknowledged", conditions_sha256="6f" * 32)
    said = [n for n, (event, _) in enumerate(watched.log) if event.kind == "conditions.acknowledged"]
    ours = [n for n in said if watched.log[n][0].actor.party == EXPORTER]
    assert watched.fact(License, LICENSE).acknowledgements == (ours[1],)
    for index, state in zip(ours, ("active", "granted"), strict=True):
        watched.accepted("event.declared_in_error", index=index, id=watched.log[index][0].id)
        assert watched.fact(License, LICENSE).state == state
    assert watched.fact(License, LICENSE).acknowledged == ()
