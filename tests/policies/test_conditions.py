"""Each condition at its worked number, and at the neighbour on the other side of the boundary."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ledger.decision import Decision, Finding
from ledger.facts import License, Order
from tests.policies.at_work import installed
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    NOON,
    Workbench,
    activation,
    condition,
    finding,
    policy,
    serials,
    usd,
)


def bound(*conditions: dict[str, Any], **granted: Any) -> Workbench:
    """An open contract under a document of these conditions alone."""
    return Workbench().open(text=policy(*conditions), **granted)


def shipped(units: int = 2, **grace: str) -> Workbench:
    """A shipment that is released and dispatched on 2027-04-30, under `license_active` alone."""
    bench = bound(condition("license_active", **grace))
    bench.order(units)
    bench.release(serials(units))
    assert bench.dispatch(serials(units), at="2027-04-30T12:00:00Z").outcome == "accepted"
    return bench


# --- 1 license_active -----------------------------------------------------------------------------

REVOKED = "2027-05-01T00:00:00Z"


def test_a_request_under_an_active_license_passes() -> None:
    found = finding(bound(condition("license_active")).ask("order.placed"), "license_active")
    assert (found.result, found.observed, found.limit) == ("pass", "active", "active")


@pytest.mark.parametrize("stop", ["suspended", "revoked"])
def test_a_request_recorded_after_a_stop_is_denied(stop: str) -> None:
    bench = bound(condition("license_active"))
    bench.accepted(f"license.{stop}", at=REVOKED)
    decision = bench.say("order.placed", at="2027-05-02T00:00:00Z")
    found = finding(decision, "license_active")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit) == (
        f"license_active.{stop}", stop, "active",
    )  # fmt: skip
    assert decision.proposals == ()


def test_a_license_not_yet_acknowledged_is_left_to_conditions_acknowledged() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", licenses=[LICENSE])
    bench.accepted("policy.activated", **activation(policy(condition("license_active"))))
    bench.accepted("license.granted")
    decision = bench.say("order.placed", by=(BUYER, "consignee"))
    assert decision.outcome == "accepted"
    assert finding(decision, "license_active").observed == "granted"


def test_goods_dispatched_before_a_revocation_arrive_in_transit() -> None:
    bench = shipped(in_transit_grace="P7D")
    bench.accepted("license.revoked", at=REVOKED)
    decision = bench.receive(serials(2), at="2027-05-06T00:00:00Z")
    found = finding(decision, "license_active")
    assert decision.outcome == "flagged"
    assert found.code == "license_active.in_transit"
    assert found.limit == "2027-05-08T00:00:00.000000Z"
    assert decision.proposals == ()


@pytest.mark.parametrize(
    ("at", "code", "proposed"),
    [
        ("2027-05-07T23:59:59.999999Z", "license_active.in_transit", []),
        ("2027-05-08T00:00:00Z", "license_active.grace_over", ["suspension", "incident_report"]),
    ],
)
def test_the_grace_ends_with_its_last_microsecond(at: str, code: str, proposed: list[str]) -> None:
    bench = shipped(in_transit_grace="P7D")
    bench.accepted("license.revoked", at=REVOKED)
    decision = bench.receive(serials(2), at=at)
    assert finding(decision, "license_active").code == code
    assert [p.propose for p in decision.proposals] == proposed


def test_without_a_grace_every_arrival_after_a_stop_is_a_breach() -> None:
    bench = shipped()
    bench.accepted("license.revoked", at=REVOKED)
    decision = bench.receive(serials(2), at=REVOKED)
    assert finding(decision, "license_active").code == "license_active.grace_over"


def test_the_grace_counts_from_the_suspension_that_came_before_the_revocation() -> None:
    bench = shipped(in_transit_grace="P7D")
    bench.accepted("license.suspended", at=REVOKED)
    bench.accepted("license.revoked", at="2027-05-07T00:00:00Z")
    decision = bench.receive(serials(2), at="2027-05-09T00:00:00Z")
    assert finding(decision, "license_active").code == "license_active.grace_over"


def test_a_dispatch_in_the_batch_of_the_revocation_and_before_it_is_in_transit() -> None:
    bench = bound(condition("license_active", in_transit_grace="P7D"))
    bench.order(2)
    bench.release(serials(2))
    bench.dispatch(serials(2), at=REVOKED)
    bench.accepted("license.revoked", at=REVOKED)
    decision = bench.receive(serials(2), at="2027-05-02T00:00:00Z")
    assert finding(decision, "license_active").code == "license_active.in_transit"


def test_a_dispatch_after_a_revocation_is_flagged_and_followed_up() -> None:
    bench = bound(condition("license_active", in_transit_grace="P7D"))
    bench.order(2)
    bench.release(serials(2))
    bench.accepted("license.revoked", at=REVOKED)
    decision = bench.dispatch(serials(2), at="2027-05-03T00:00:00Z")
    found = finding(decision, "license_active")
    assert decision.outcome == "flagged"
    assert found.action == "flag"
    assert (found.code, found.limit) == (
        "license_active.dispatched_after", "2027-05-01T00:00:00.000000Z",
    )  # fmt: skip
    assert [(p.propose, p.condition, p.license) for p in decision.proposals] == [
        ("suspension", "license_active", LICENSE),
        ("incident_report", "license_active", LICENSE),
    ]
    assert bench.spoken[-1] == "suspension.proposed"
    # It left after the stop, so it is not in transit either when it arrives.
    arrival = bench.receive(serials(2), at="2027-05-04T00:00:00Z")
    assert finding(arrival, "license_active").code == "license_active.received_undispatched"


def test_movements_under_an_active_license_pass() -> None:
    bench = shipped(in_transit_grace="P7D")
    assert bench.receive(serials(2), at="2027-05-02T00:00:00Z").outcome == "accepted"


# --- 2 validity_window ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "result", "code"),
    [
        ("2027-02-10T04:59:59.999999Z", "fail", "validity_window.not_begun"),
        ("2027-02-10T05:00:00Z", "pass", None),
        ("2030-02-10T04:59:59.999999Z", "pass", None),
        ("2030-02-10T05:00:00Z", "fail", "validity_window.ended"),
    ],
)
def test_a_license_is_valid_from_its_first_midnight_to_its_last_in_the_zone(
    at: str, result: str, code: str | None
) -> None:
    text = policy(condition("validity_window"), force={"from": "2027-01-01"})
    bench = Workbench(at="2027-02-01T12:00:00Z").open(text=text)
    decision = bench.say("order.placed", at=at)
    found = finding(decision, "validity_window")
    assert (found.result, found.code) == (result, code)
    assert decision.outcome == ("accepted" if result == "pass" else "denied")
    if at.startswith("2030"):
        assert found.limit == "2030-02-10T05:00:00.000000Z"


# --- 4 quantity_cap -------------------------------------------------------------------------------


def test_a_release_of_500_over_9600_of_10000_is_denied_with_a_headroom_of_400() -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.order(1000)
    bench.facts.update(bench.fact(License, LICENSE), released=9_600)
    decision = bench.release(serials(500))
    found = finding(decision, "quantity_cap")
    assert decision.outcome == "denied"
    assert found.code == "quantity_cap.over"
    assert (found.observed, found.limit, found.shortfall, found.headroom, found.unit) == (
        10_100, 10_000, 100, 400, "units",
    )  # fmt: skip


@pytest.mark.parametrize(("units", "outcome"), [(400, "accepted"), (401, "denied")])
def test_a_release_takes_the_last_unit_and_no_more(units: int, outcome: str) -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.order(1000)
    bench.facts.update(bench.fact(License, LICENSE), released=9_600)
    assert bench.release(serials(units)).outcome == outcome


@pytest.mark.parametrize(("units", "outcome"), [(400, "accepted"), (401, "denied")])
def test_an_order_reserves_the_last_unit_and_no_more(units: int, outcome: str) -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.order(9_600)
    assert bench.say("order.placed", order="PO-2", units=units).outcome == outcome


def test_a_limit_may_be_a_number_of_the_document() -> None:
    bench = bound(condition("quantity_cap", limit=10))
    assert bench.ask("order.placed", units=10).outcome == "accepted"
    assert finding(bench.ask("order.placed", units=11), "quantity_cap").limit == 10


def test_a_limit_of_the_license_moves_with_the_license() -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}), quantity=10)
    assert bench.ask("order.placed", units=11).outcome == "denied"
    bench.facts.update(bench.fact(License, LICENSE), quantity=11)
    assert bench.ask("order.placed", units=11).outcome == "accepted"


def test_a_correction_that_left_negative_headroom_stops_the_smallest_request() -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.facts.update(bench.fact(License, LICENSE), ordered=10_003)
    found = finding(bench.ask("order.placed", units=1), "quantity_cap")
    assert (found.result, found.shortfall, found.headroom) == ("fail", 4, -3)


# --- 7 conditions_acknowledged --------------------------------------------------------------------


def test_two_of_three_acknowledgements_are_denied_naming_the_third() -> None:
    bench = bound(condition("conditions_acknowledged"), must_acknowledge=[EXPORTER, FORWARDER, BUYER])
    bench.order(2)
    decision = bench.release(serials(2))
    found = finding(decision, "conditions_acknowledged")
    assert decision.outcome == "denied"
    assert (found.observed, found.limit, found.shortfall) == (2, 3, 1)
    assert (found.subjects, found.subjects_count) == ((FORWARDER,), 1)
    bench.accepted("conditions.acknowledged", by=(FORWARDER, "forwarder"))
    decision = bench.release(serials(2))
    assert decision.outcome == "accepted"
    assert finding(decision, "conditions_acknowledged").observed == 3


def test_an_acknowledgement_of_another_document_counts_for_nothing() -> None:
    bench = bound(condition("conditions_acknowledged"), must_acknowledge=[EXPORTER, BUYER, FORWARDER])
    bench.order(2)
    by = (FORWARDER, "forwarder")
    assert bench.say("conditions.acknowledged", by=by, conditions_sha256="ab" * 32).failed
    assert bench.release(serials(2)).outcome == "denied"


# --- 12 laboratory_test ---------------------------------------------------------------------------


def test_998_of_1000_tested_are_denied_naming_the_two() -> None:
    bench = bound(condition("laboratory_test", coverage="every"))
    bench.order(1000)
    bench.test(serials(998), failed=["SN000417"])
    decision = bench.release(serials(1000))
    found = finding(decision, "laboratory_test")
    assert (found.observed, found.limit, found.shortfall) == (997, 1000, 3)
    bench.test(["SN000417"])
    decision = bench.release(serials(1000))
    found = finding(decision, "laboratory_test")
    assert decision.outcome == "denied"
    assert (found.observed, found.limit, found.shortfall, found.unit) == (998, 1000, 2, "devices")
    assert found.subjects == ("SN000999", "SN001000")
    bench.test(["SN000999", "SN001000"])
    assert bench.release(serials(1000)).outcome == "accepted"


@pytest.mark.parametrize(
    "test",
    [{"independent": False}, {"country": "CN"}, {"sku": "H20-SXM"}],
    ids=["not independent", "abroad", "another item"],
)
def test_a_pass_that_does_not_count(test: dict[str, Any]) -> None:
    bench = bound(condition("laboratory_test", coverage="every", country="US"))
    bench.order(1)
    bench.test(serials(1), **test)
    assert bench.release(serials(1)).outcome == "denied"
    bench.test(serials(1))
    assert bench.release(serials(1)).outcome == "accepted"


def test_where_the_document_names_no_country_a_test_made_anywhere_counts() -> None:
    bench = bound(condition("laboratory_test", coverage="every"))
    bench.order(1)
    bench.test(serials(1), country="CN")
    assert bench.release(serials(1)).outcome == "accepted"


def sampled(units: int, **parameters: Any) -> Workbench:
    bench = bound(condition("laboratory_test", coverage="sample", **parameters))
    bench.order(units)
    return bench


@pytest.mark.parametrize(("tested", "short"), [(49, 1), (50, None)])
def test_a_sample_of_5_percent_of_1000_is_50(tested: int, short: int | None) -> None:
    bench = sampled(1000, percent="5")
    bench.test(serials(tested))
    found = finding(bench.ask("shipment.requested", serials=serials(1000)), "laboratory_test")
    assert found.shortfall == short
    assert found.code == ("laboratory_test.sample_short" if short else None)


@pytest.mark.parametrize(
    ("percent", "at_least", "units", "need"),
    [("5", 1, 21, 2), ("5", 8, 100, 8), ("5", 8, 3, 3), ("0", 1, 10, 1), ("100", 1, 7, 7)],
)
def test_a_part_of_a_device_counts_as_one_and_a_sample_is_never_more_than_all(
    percent: str, at_least: int, units: int, need: int
) -> None:
    bench = sampled(units, percent=percent, at_least=at_least)
    found = finding(bench.ask("shipment.requested", serials=serials(units)), "laboratory_test")
    assert (found.observed, found.limit, found.shortfall) == (0, need, need)
    bench.test(serials(need))
    assert bench.release(serials(units)).outcome == "accepted"


def test_a_device_of_the_sample_that_has_not_passed_stops_the_release() -> None:
    bench = sampled(100, percent="5")
    bench.test(serials(20), failed=["SN000007"])
    decision = bench.release(serials(100))
    found = finding(decision, "laboratory_test")
    assert decision.outcome == "denied"
    assert (found.code, found.subjects) == ("laboratory_test.sample_failed", ("SN000007",))
    assert bench.release([s for s in serials(100) if s != "SN000007"]).outcome == "accepted"


def test_a_test_that_was_declared_in_error_counts_for_nothing() -> None:
    bench = bound(condition("laboratory_test", coverage="every"))
    bench.order(1)
    bench.test(serials(1))
    index = len(bench.log) - 1
    by = ("test-house", "laboratory")
    bench.accepted("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)
    assert bench.release(serials(1)).outcome == "denied"


def test_the_latest_test_counts() -> None:
    bench = bound(condition("laboratory_test", coverage="every"))
    bench.order(1)
    bench.test(serials(1))
    bench.test(serials(1), failed=serials(1))
    assert bench.release(serials(1)).outcome == "denied"


def test_a_thousand_subjects_are_counted_and_a_hundred_are_named() -> None:
    bench = bound(condition("laboratory_test", coverage="every"))
    bench.order(1000)
    found = finding(bench.release(serials(1000)), "laboratory_test")
    assert (len(found.subjects), found.subjects_count) == (100, 1000)
    assert found.subjects == tuple(serials(100))


# --- 16 levy_settled ------------------------------------------------------------------------------

LEVY = condition("levy_settled", rate="0.25", rounding="half_up", digits=2)


def test_6000000_settled_of_6750000_due_is_denied_short_750000() -> None:
    bench = bound(LEVY)
    bench.order(1000, levied="6000000.00")
    decision = bench.release(serials(1000))
    found = finding(decision, "levy_settled")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "levy_settled.short", "6000000.00", "6750000.00", "750000.00", "USD",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "outcome", "short"), [("749999.99", "denied", "0.01"), ("750000.00", "accepted", None)]
)
def test_the_last_cent_of_a_levy_counts(more: str, outcome: str, short: str | None) -> None:
    bench = bound(LEVY)
    bench.order(1000, levied="6000000.00")
    bench.accepted("levy.settled", amount=usd(more))
    decision = bench.release(serials(1000))
    assert decision.outcome == outcome
    assert finding(decision, "levy_settled").shortfall == short


def test_the_levy_covers_what_the_order_released_before() -> None:
    bench = bound(LEVY)
    bench.order(3, levied="13500.00")  # for two
    assert bench.release(serials(2)).outcome == "accepted"
    decision = bench.release(serials(1, first=3), shipment="SH-2")
    found = finding(decision, "levy_settled")
    assert (found.observed, found.limit, found.shortfall) == ("13500.00", "20250.00", "6750.00")


@pytest.mark.parametrize(
    ("price", "rounding", "digits", "due"),
    [
        ("0.10", "half_up", 2, "0.03"),  # 0.025
        ("0.10", "half_even", 2, "0.02"),
        ("0.14", "half_even", 2, "0.04"),  # 0.035
        ("0.04", "up", 2, "0.01"),
        ("0.041", "up", 2, "0.02"),
        ("0.041", "half_up", 2, "0.01"),
        ("10", "half_up", 0, "3"),  # 2.5
        ("10", "half_up", 4, "2.5000"),
    ],
)
def test_the_levy_rounds_as_the_document_says(price: str, rounding: str, digits: int, due: str) -> None:
    bench = bound(condition("levy_settled", rate="0.25", rounding=rounding, digits=digits))
    bench.accepted("order.placed", units=1)
    decision = bench.release(serials(1), unit_value=usd(price))
    assert finding(decision, "levy_settled").limit == due


def test_the_largest_amounts_are_exact() -> None:
    bench = bound(condition("levy_settled", rate="1000000", rounding="half_up", digits=6))
    bench.accepted("order.placed", units=1)
    decision = bench.release(serials(1), unit_value=usd("999999999999999.999999"))
    assert finding(decision, "levy_settled").limit == "999999999999999999999.000000"


def test_a_settled_amount_keeps_the_digits_it_came_with() -> None:
    bench = bound(LEVY)
    bench.order(1, levied="6749.9995")
    found = finding(bench.release(serials(1)), "levy_settled")
    assert (found.observed, found.limit, found.shortfall) == ("6749.9995", "6750.00", "0.0005")


def test_a_request_in_another_currency_than_the_order_is_denied_under_its_own_code() -> None:
    bench = bound(LEVY)
    bench.order(1)
    decision = bench.release(serials(1), unit_value={"amount": "1.00", "currency": "CNY"})
    found = finding(decision, "levy_settled")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit) == ("levy_settled.currency", "CNY", "USD")


# --- 27 custody_continuity ------------------------------------------------------------------------

CUSTODY = condition("custody_continuity", incident_within="PT72H")


def sent(units: int) -> Workbench:
    bench = bound(CUSTODY)
    bench.order(units)
    bench.release(serials(units))
    assert bench.dispatch(serials(units)).outcome == "accepted"
    return bench


def test_997_of_1000_received_are_flagged_with_an_incident_due_in_72_hours() -> None:
    bench = sent(1000)
    lost = serials(3, first=500)
    arrived = [serial for serial in serials(1000) if serial not in lost]
    decision = bench.receive(arrived, lost=lost, at="2027-03-09T06:00:00Z")
    found = finding(decision, "custody_continuity")
    assert decision.outcome == "flagged"
    assert found.code == "custody_continuity.missing"
    assert (found.observed, found.limit, found.shortfall) == (997, 1000, 3)
    assert found.subjects == tuple(lost)
    [proposal] = decision.proposals
    assert (proposal.propose, proposal.condition, proposal.due) == (
        "incident_report", "custody_continuity", "2027-03-12T06:00:00.000000Z",
    )  # fmt: skip


def test_all_that_was_sent_and_received_passes() -> None:
    found = finding(sent(3).receive(serials(3)), "custody_continuity")
    assert (found.result, found.observed, found.limit) == ("pass", 3, 3)


def test_a_loss_that_nobody_declares_is_found_all_the_same() -> None:
    found = finding(sent(3).receive(serials(2)), "custody_continuity")
    assert (found.shortfall, found.subjects) == (1, ("SN000003",))


def test_a_damaged_device_has_arrived() -> None:
    decision = sent(3).receive(serials(2), damaged=["SN000003"])
    assert decision.outcome == "accepted"


def test_a_part_delivery_is_flagged_until_the_rest_arrives() -> None:
    bench = sent(3)
    assert bench.receive(serials(2)).outcome == "flagged"
    assert bench.receive(["SN000003"]).outcome == "accepted"


def test_a_device_that_was_never_dispatched_is_flagged() -> None:
    decision = sent(2).receive([*serials(2), "SN999999"])
    found = finding(decision, "custody_continuity")
    assert found.code == "custody_continuity.not_dispatched"
    assert (found.subjects, found.shortfall) == (("SN999999",), 1)


def test_a_swapped_device_is_flagged_with_the_one_it_stands_for() -> None:
    found = finding(sent(2).receive(["SN000001", "SN999999"]), "custody_continuity")
    assert found.code == "custody_continuity.swapped"
    assert (found.observed, found.limit, found.shortfall) == (1, 2, 1)
    assert found.subjects == ("SN000002", "SN999999")


def test_a_dispatch_of_a_device_that_was_not_released_is_flagged() -> None:
    bench = bound(CUSTODY)
    bench.order(2)
    bench.release(serials(2))
    decision = bench.dispatch([*serials(2), "SN999999"])
    found = finding(decision, "custody_continuity")
    assert decision.outcome == "flagged"
    assert found.code == "custody_continuity.not_released"
    assert (found.observed, found.limit, found.shortfall) == (2, 3, 1)
    assert found.subjects == ("SN999999",)


def test_a_device_cannot_leave_twice() -> None:
    found = finding(sent(2).dispatch(serials(1)), "custody_continuity")
    assert found.code == "custody_continuity.dispatched_twice"


def test_a_part_dispatch_passes_and_so_does_the_rest() -> None:
    bench = bound(CUSTODY)
    bench.order(2)
    bench.release(serials(2))
    assert bench.dispatch(["SN000001"]).outcome == "accepted"
    assert bench.dispatch(["SN000002"]).outcome == "accepted"


def test_a_dispatch_of_a_release_that_was_taken_back_is_flagged() -> None:
    bench = bound(CUSTODY)
    bench.order(2)
    bench.release(serials(2))
    index = len(bench.log) - 1
    bench.accepted("event.declared_in_error", index=index, id=bench.log[index][0].id)
    found = finding(bench.dispatch(serials(2)), "custody_continuity")
    assert (found.code, found.shortfall) == ("custody_continuity.not_released", 2)


@pytest.mark.parametrize("move", ["dispatch", "receive"])
def test_a_movement_of_an_unknown_shipment_is_flagged(move: str) -> None:
    decision = getattr(bound(CUSTODY), move)(serials(2))
    found = finding(decision, "custody_continuity")
    assert decision.outcome == "flagged"
    assert found.code == "custody_continuity.shipment_unknown"


# --- what holds for all ---------------------------------------------------------------------------


def test_an_order_of_an_earlier_release_is_the_order_fact() -> None:
    """The released value the levy reads is exact: 3 × 27,000.00."""
    bench = bound(LEVY)
    bench.order(3)
    bench.release(serials(3))
    assert str(bench.fact(Order, f"{CONTRACT}/PO-4711").released_value) == "81000.00"


def test_no_condition_reads_the_claimed_time() -> None:
    bench = bound(condition("license_active"))
    bench.accepted("license.revoked", at=REVOKED)
    late = (bench.now(REVOKED) + timedelta(days=1)).isoformat()
    decision = bench.say("order.placed", at=late, occurred_at="2027-04-01T00:00:00Z")
    assert decision.outcome == "denied"


# --- 27 custody_continuity, at a transfer ---------------------------------------------------------


@pytest.mark.parametrize("away", ["lost", "elsewhere", "strange"])
def test_what_passes_on_and_was_not_there_is_flagged_with_an_incident(away: str) -> None:
    bench = installed(3, CUSTODY)
    chips, here = serials(3), {"party": BUYER, "site": "SHA-1", "country": "CN"}
    assert bench.ask("device.transferred", serials=chips, **{"from": here}).outcome == "flagged"
    assert not custody(bench.ask("device.transferred", serials=chips, **{"from": here})).code
    if away == "lost":
        assert not bench.say("device.lost", serials=chips[2:]).denied
    elif away == "elsewhere":
        here["site"], chips = "SHA-2", chips[2:]
    else:
        chips = [*chips[:2], "SN999999"]
    decision = bench.say("device.transferred", serials=chips, **{"from": here}, at=NOON)
    found = custody(decision)
    assert (decision.outcome, found.code, found.shortfall) == (
        "flagged", "custody_continuity.not_there", 1,
    )  # fmt: skip
    assert [(p.propose, p.due) for p in decision.proposals] == [
        ("incident_report", "2027-03-04T12:00:00.000000Z")
    ]


def custody(decision: Decision) -> Finding:
    return finding(decision, "custody_continuity")
