"""Conditions on parties, receivers, performance and use: each at its worked number and at its neighbour."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.decision import Decision
from ledger.facts import License, Transfer
from ledger.fold import Entailed, fold, own_submission
from ledger.kinds.license import LicenseExpired
from policies.explain import explain
from tests.policies.at_work import attest, installed
from tests.workbench import (
    BUYER,
    CONTRACT,
    FORWARDER,
    LICENSE,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
)

AFFILIATE = {
    "party": "dragon-affiliate", "roles": ["end_user"], "name": "Dragon Affiliate", "country": "CN",
}  # fmt: skip
OTHER_FORWARDER = {"party": "slow-freight", "roles": ["forwarder"], "name": "Slow", "country": "US"}


def bound(*conditions: dict[str, Any], **granted: Any) -> Workbench:
    """An open contract under a document of these conditions alone."""
    return Workbench().open(text=policy(*conditions), **granted)


def sentence(decision: Decision, name: str) -> str:
    """How the finding of that condition reads."""
    [said] = [line for line in explain(decision.value()) if line.startswith(f"{name}: ")]
    return said


def transfer(bench: Workbench, units: int, **said: Any) -> Decision:
    return bench.ask("transfer.requested", serials=serials(units), **said)


# --- 1 license_active, at a transfer --------------------------------------------------------------


@pytest.mark.parametrize("stop", ["suspended", "revoked"])
def test_a_transfer_under_a_stopped_license_is_denied(stop: str) -> None:
    bench = installed(2, condition("license_active"))
    assert finding(transfer(bench, 2), "license_active").observed == "active"
    bench.accepted(f"license.{stop}")
    decision = transfer(bench, 2)
    assert decision.outcome == "denied"
    assert codes(decision) == [f"license_active.{stop}"]


LAST_DAY, ENDS = "2027-06-09", "2027-06-10T04:00:00Z"
"""Of a license, in New York."""


def expire(bench: Workbench) -> None:
    """As the ledger says it, once the clock has passed the end."""
    said = Entailed(CONTRACT, LicenseExpired, {"license": LICENSE, "ended_at": ENDS})
    ours = own_submission(said, origin="workbench", index=len(bench.log), at=bench.now(ENDS)).event
    bench.load(ours)
    fold(ours, bench.facts, index=len(bench.log), at=bench.now(ENDS))
    assert bench.fact(License, LICENSE).state == "expired"


def test_under_an_expired_license_nothing_is_asked_for() -> None:
    bench = bound(condition("license_active"))
    expire(bench)
    assert codes(bench.ask("order.placed")) == ["license_active.expired"]


@pytest.mark.parametrize(
    ("at", "code", "proposed"),
    [
        ("2027-06-16T04:00:00Z", "license_active.in_transit", []),
        ("2027-06-17T03:59:59.999999Z", "license_active.in_transit", []),
        ("2027-06-17T04:00:00Z", "license_active.grace_over", ["suspension", "incident_report"]),
    ],
)
def test_goods_in_transit_when_a_license_expires_have_their_grace(
    at: str, code: str, proposed: list[str]
) -> None:
    """Counted from the end of its last day, whenever that was recorded."""
    bench = bound(condition("license_active", in_transit_grace="P7D"), valid_until=LAST_DAY)
    bench.order(2)
    bench.release(serials(2))
    bench.dispatch(serials(2), at="2027-06-09T12:00:00Z")
    expire(bench)
    decision = bench.receive(serials(2), at=at)
    assert finding(decision, "license_active").code == code
    assert [p.propose for p in decision.proposals] == proposed


def test_a_dispatch_after_a_license_has_expired_is_a_breach() -> None:
    bench = bound(condition("license_active", in_transit_grace="P7D"), valid_until=LAST_DAY)
    bench.order(2)
    bench.release(serials(2))
    expire(bench)
    found = finding(bench.dispatch(serials(2), at="2027-06-11T00:00:00Z"), "license_active")
    assert (found.code, found.limit) == ("license_active.dispatched_after", "2027-06-10T04:00:00.000000Z")


def test_a_license_has_expired_when_its_last_day_ends_whoever_says_so() -> None:
    """A scheduler that is dead delays what the ledger says, and lets nothing through."""
    bench = installed(2, condition("license_active", in_transit_grace="P7D"), valid_until=LAST_DAY)
    assert transfer(bench, 2, at="2027-06-10T03:59:59.999999Z").outcome == "accepted"
    assert codes(transfer(bench, 2, at=ENDS)) == ["license_active.expired"]
    bench.order(2, order="PO-4712")
    bench.release(serials(2, first=3), shipment="SH-2", order="PO-4712")
    late = bench.dispatch(serials(2, first=3), shipment="SH-2", at=ENDS)
    assert codes(late) == ["license_active.dispatched_after"]


def test_what_left_in_time_does_not_let_in_what_left_after_the_stop() -> None:
    bench = bound(condition("license_active", in_transit_grace="P7D"))
    bench.order(3)
    bench.release(serials(3))
    bench.dispatch(serials(2), at="2027-04-30T12:00:00Z")
    bench.accepted("license.revoked", at="2027-05-01T00:00:00Z")
    bench.dispatch(["SN000003"], at="2027-05-02T00:00:00Z")
    assert codes(bench.receive(serials(2), at="2027-05-06T00:00:00Z")) == ["license_active.in_transit"]
    decision = bench.receive(["SN000003"], at="2027-05-06T00:00:00Z")
    found = finding(decision, "license_active")
    assert (found.code, found.subjects) == ("license_active.received_undispatched", ("SN000003",))
    assert [p.propose for p in decision.proposals] == ["suspension", "incident_report"]


def test_a_suspension_that_was_lifted_is_not_when_a_later_stop_began() -> None:
    """Goods dispatched in between left under an active license."""
    bench = bound(condition("license_active", in_transit_grace="P7D"))
    bench.order(2)
    bench.release(serials(2))
    bench.accepted("license.suspended", at="2027-04-01T00:00:00Z")
    bench.accepted("license.reinstated", at="2027-04-10T00:00:00Z")
    assert bench.dispatch(serials(2), at="2027-04-20T00:00:00Z").outcome == "accepted"
    bench.accepted("license.revoked", at="2027-05-01T00:00:00Z")
    decision = bench.receive(serials(2), at="2027-05-06T00:00:00Z")
    assert finding(decision, "license_active").code == "license_active.in_transit"


# --- 3 party_item_match ---------------------------------------------------------------------------


def two_forwarders(*conditions: dict[str, Any], **granted: Any) -> Workbench:
    bench = bound(*conditions, **granted)
    bench.accepted("contract.amended", parties=[OTHER_FORWARDER], parties_removed=[], licenses=[], sites=[])
    bench.order(10)
    return bench


def test_an_unlisted_forwarder_is_refused() -> None:
    """Though the contract knows it: the document lists another."""
    bench = two_forwarders(condition("party_item_match", forwarders=[FORWARDER]))
    assert bench.ask("shipment.requested").outcome == "accepted"
    decision = bench.ask("shipment.requested", forwarder="slow-freight")
    found = finding(decision, "party_item_match")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.subjects) == (
        "party_item_match.party", 2, 3, 1, ("forwarder slow-freight",),
    )  # fmt: skip
    assert sentence(decision, "party_item_match") == (
        "party_item_match: 1 of 3 parties is not allowed in that role: forwarder slow-freight."
    )


def test_where_the_document_lists_nobody_the_license_does() -> None:
    bench = two_forwarders(condition("party_item_match"), forwarders=["slow-freight"])
    assert codes(bench.ask("shipment.requested")) == ["party_item_match.party"]
    assert bench.ask("shipment.requested", forwarder="slow-freight").outcome == "accepted"


def test_where_neither_lists_anybody_the_contract_does() -> None:
    bench = two_forwarders(condition("party_item_match"))
    assert bench.ask("shipment.requested", forwarder="slow-freight").outcome == "accepted"
    assert codes(bench.ask("shipment.requested", forwarder="stranger")) == ["parties_known.role"]


@pytest.mark.parametrize("role", ["consignee", "end_user"])
def test_an_order_is_for_parties_that_are_allowed(role: str) -> None:
    rule = condition("party_item_match", **{f"{role}s": ["somebody-else"]})
    found = finding(bound(rule).ask("order.placed"), "party_item_match")
    assert (found.code, found.subjects) == ("party_item_match.party", (f"{role} {BUYER}",))


def test_an_h20_line_on_an_h200_license_is_refused() -> None:
    """By the constitution, for the license says so; and by a document that lists other items."""
    bench = bound(condition("party_item_match", skus=["H200-NVL"]))
    assert codes(bench.ask("order.placed", sku="H20-SXM")) == ["item_match.sku"]
    decision = bench.ask("order.placed")
    found = finding(decision, "party_item_match")
    assert (found.code, found.observed, found.limit) == ("party_item_match.item", "H200-SXM", "H200-NVL")
    assert decision.outcome == "denied"


@pytest.mark.parametrize("role", ["consignee", "end_user"])
def test_a_release_is_for_the_parties_of_its_order(role: str) -> None:
    """Who owns the end user, and what it is for, is asked of the order alone."""
    other = {**AFFILIATE, "roles": ["consignee", "end_user"]}
    bench = bound(condition("party_item_match"))
    bench.accepted("contract.amended", parties=[other], parties_removed=[], licenses=[], sites=[])
    bench.order(2)
    decision = bench.ask("shipment.requested", serials=serials(2), **{role: other["party"]})
    found = finding(decision, "party_item_match")
    assert decision.outcome == "denied"
    assert (found.code, found.subjects) == ("party_item_match.order", (f"{role} dragon-affiliate",))
    bench.accepted("order.placed", order="PO-2", **{role: other["party"]})
    assert bench.release(serials(2), order="PO-2", **{role: other["party"]}).outcome == "accepted"


def test_an_amendment_does_not_bring_in_a_consignee_by_the_back_door() -> None:
    bench = bound(condition("party_item_match", consignees=[BUYER]))
    bench.order(10)
    joins = {"party": "other-dc", "roles": ["consignee"], "name": "Other", "country": "CN"}
    bench.accepted("contract.amended", parties=[joins], parties_removed=[], licenses=[], sites=[])
    decision = bench.ask("order.amended", consignee="other-dc")
    assert codes(decision) == ["party_item_match.party"]
    assert finding(decision, "party_item_match").subjects == ("consignee other-dc",)


def test_who_receives_a_transfer_is_an_end_user_of_the_contract() -> None:
    bench = installed(2, condition("party_item_match"))
    assert finding(transfer(bench, 2), "party_item_match").subjects == ("end_user dragon-affiliate",)
    bench.accepted("contract.amended", parties=[AFFILIATE], parties_removed=[])
    assert transfer(bench, 2).outcome == "accepted"


def test_what_is_transferred_is_an_item_that_is_allowed() -> None:
    bench = installed(2, {**condition("party_item_match", skus=["H200-NVL"]), "at": ["transfer.requested"]})
    found = finding(transfer(bench, 2), "party_item_match")
    assert (found.code, found.observed) == ("party_item_match.item", "H200-SXM")


# --- 8 no_onward_transfer -------------------------------------------------------------------------


def test_64_units_to_an_affiliate_are_refused_until_amended() -> None:
    """By an amendment of the contract, where the document lets its end users receive."""
    bench = installed(64, condition("no_onward_transfer", roles=["end_user"]))
    decision = transfer(bench, 64)
    found = finding(decision, "no_onward_transfer")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "no_onward_transfer.not_allowed", 64, 0, 64,
    )  # fmt: skip
    assert sentence(decision, "no_onward_transfer") == (
        "no_onward_transfer: 64 devices would pass on to a receiver that is not allowed: "
        "dragon-affiliate at SHA-2, CN."
    )
    bench.accepted("contract.amended", parties=[AFFILIATE], parties_removed=[])
    assert transfer(bench, 64).outcome == "accepted"


@pytest.mark.parametrize(
    ("allowed", "outcome"),
    [
        ({"party": "dragon-affiliate"}, "accepted"),
        ({"party": "dragon-affiliate", "countries": ["CN"], "sites": ["SHA-2"]}, "accepted"),
        ({"party": "dragon-affiliate", "countries": ["MO"]}, "denied"),
        ({"party": "dragon-affiliate", "sites": ["SHA-1"]}, "denied"),
        ({"party": "dragon-affiliate-2"}, "denied"),
    ],
)
def test_or_by_an_amendment_of_the_document(allowed: dict[str, Any], outcome: str) -> None:
    bench = installed(2, condition("no_onward_transfer", allowed=[allowed]))
    assert transfer(bench, 2).outcome == outcome


def test_a_role_lets_nobody_receive_in_another_country_than_its_own() -> None:
    bench = installed(2, condition("no_onward_transfer", roles=["end_user"]))
    bench.accepted("contract.amended", parties=[AFFILIATE], parties_removed=[])
    to = {"party": "dragon-affiliate", "site": "SIN-1", "country": "SG"}
    assert codes(transfer(bench, 2, to=to)) == ["no_onward_transfer.not_allowed"]


@pytest.mark.parametrize(("country", "outcome"), [("CN", "accepted"), ("SG", "denied")])
def test_a_move_in_the_same_hands_is_a_transfer_only_across_a_border(country: str, outcome: str) -> None:
    bench = installed(2, condition("no_onward_transfer"))
    to = {"party": BUYER, "site": "SHA-2", "country": country}
    assert transfer(bench, 2, to=to).outcome == outcome


def test_nobody_gives_to_itself_what_was_sold_to_another() -> None:
    """Who gives is what the speaker says; the order of the devices knows better."""
    bench = installed(2, condition("no_onward_transfer"))
    bench.accepted("contract.amended", parties=[AFFILIATE], parties_removed=[])
    itself = {"party": "dragon-affiliate", "country": "CN"}
    said = {"from": {**itself, "site": "SHA-1"}, "to": {**itself, "site": "SHA-2"}}
    decision = transfer(bench, 2, by=("dragon-affiliate", "end_user"), **said)
    assert codes(decision) == ["no_onward_transfer.not_allowed"]


def test_a_transfer_that_has_happened_is_flagged_and_a_suspension_proposed() -> None:
    bench = installed(64, condition("no_onward_transfer"))
    decision = bench.say("device.transferred", serials=serials(64), transfer=None)
    found = finding(decision, "no_onward_transfer")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.shortfall) == ("no_onward_transfer.passed", 64, 64)
    assert [(p.propose, p.license) for p in decision.proposals] == [("suspension", LICENSE)]
    assert bench.spoken[-1] == "suspension.proposed"


def test_a_transfer_that_was_allowed_happens_without_a_word() -> None:
    bench = installed(2, condition("no_onward_transfer", allowed=[{"party": "dragon-affiliate"}]))
    bench.accepted("transfer.requested", serials=serials(2))
    bench.accepted("device.transferred", serials=serials(2))
    assert bench.fact(Transfer, f"{CONTRACT}/TR-1").state == "transferred"


# --- 9 performance_thresholds ---------------------------------------------------------------------

BANDS = condition("performance_thresholds", tpp_below=21_000, bandwidth_below=6_500)


@pytest.mark.parametrize(
    ("tpp", "bandwidth", "code"),
    [
        (15_832, 4_800, None),
        (20_999, 6_499, None),
        (36_000, 8_000, "performance_thresholds.tpp"),
        (21_000, 4_800, "performance_thresholds.tpp"),
        (15_832, 6_500, "performance_thresholds.bandwidth"),
    ],
)
def test_an_order_is_for_an_item_below_the_thresholds(tpp: int, bandwidth: int, code: str | None) -> None:
    bench = bound(BANDS, tpp=tpp, bandwidth_gb_s=bandwidth)
    decision = bench.ask("order.placed")
    assert decision.outcome == ("denied" if code else "accepted")
    assert codes(decision) == ([code] if code else [])


@pytest.mark.parametrize(
    ("tpp", "bandwidth", "code"),
    [
        (15_832, 4_800, None),
        (20_999, 6_499, None),
        (36_000, 8_000, "performance_thresholds.tpp"),
        (20_999, 6_500, "performance_thresholds.bandwidth"),
        (None, 4_800, "performance_thresholds.undeclared"),
    ],
)
def test_a_license_is_granted_for_an_item_below_the_thresholds(
    tpp: int | None, bandwidth: int, code: str | None
) -> None:
    bench = Workbench()
    bench.accepted("contract.opened", licenses=[LICENSE])
    bench.accepted("policy.activated", **activation(policy(BANDS)))
    said = {} if tpp is None else {"tpp": tpp}
    decision = bench.say("license.granted", bandwidth_gb_s=bandwidth, **said)
    assert decision.outcome == ("denied" if code else "accepted")
    assert codes(decision) == ([code] if code else [])
    assert [p["policy"] for p in decision.value()["policies"]] == ["constitution", "us-h200-china"]
    assert bench.facts.peek(License, LICENSE) is None if code else bench.fact(License, LICENSE)


def test_a_document_that_asks_nothing_of_a_grant_is_not_cited_by_it() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", licenses=[LICENSE])
    bench.accepted("policy.activated", **activation(policy({**BANDS, "at": ["order.placed"]})))
    decision = bench.accepted("license.granted", tpp=36_000)
    assert [p["policy"] for p in decision.value()["policies"]] == ["constitution"]


def test_a_performance_that_nobody_states_is_not_below_anything() -> None:
    assert codes(bound(BANDS).ask("order.placed")) == ["performance_thresholds.undeclared"]
    assert codes(bound(BANDS, tpp=15_832).ask("order.placed")) == ["performance_thresholds.undeclared"]
    alone = condition("performance_thresholds", tpp_below=21_000)
    assert bound(alone, tpp=15_832).ask("order.placed").outcome == "accepted"


def test_a_device_that_measures_too_much_is_flagged_and_a_suspension_proposed() -> None:
    bench = bound(BANDS)
    bench.test(serials(2))
    results = [
        {"serial": "SN000001", "tpp": 15_832, "bandwidth_gb_s": 4_800, "result": "pass"},
        {"serial": "SN000002", "tpp": 36_000, "bandwidth_gb_s": 8_000, "result": "pass"},
    ]
    decision = bench.say("lab.tested", results=results)
    found = finding(decision, "performance_thresholds")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "performance_thresholds.tpp", 36_000, 21_000, ("SN000002",),
    )  # fmt: skip
    assert [(p.propose, p.license) for p in decision.proposals] == [("suspension", LICENSE)]
    assert sentence(decision, "performance_thresholds") == (
        "performance_thresholds: 36,000 TPP a unit, must be below 21,000: SN000002; "
        f"suspension of license {LICENSE} is proposed."
    )


def test_of_bandwidth_too_the_devices_are_named() -> None:
    bench = bound(BANDS)
    results = [{"serial": "SN000001", "tpp": 15_832, "bandwidth_gb_s": 8_000, "result": "pass"}]
    decision = bench.say("lab.tested", results=results, sku="ANOTHER")
    found = finding(decision, "performance_thresholds")
    assert (found.code, found.observed, found.limit, found.unit, found.subjects) == (
        "performance_thresholds.bandwidth", 8_000, 6_500, "GB/s", ("SN000001",),
    )  # fmt: skip
    assert decision.proposals == (), "no license here is for that item"


# --- 19 prohibited_end_use ------------------------------------------------------------------------

EXCLUDED = condition("prohibited_end_use", projects=["excluded"], end_uses=["military"])


def used(excluded: int, other: int) -> list[dict[str, Any]]:
    return [
        {"project": "weather", "gpu_seconds": other}, {"project": "excluded", "gpu_seconds": excluded},
    ]  # fmt: skip


def test_an_excluded_project_that_uses_5_percent_is_flagged_and_a_suspension_proposed() -> None:
    bench = installed(2, EXCLUDED)
    assert attest(bench, serials(2), projects=used(0, 100)).outcome == "accepted"
    decision = attest(bench, serials(2), projects=used(5, 95))
    found = finding(decision, "prohibited_end_use")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "prohibited_end_use.share", "5.00", "0.00", ("excluded",),
    )  # fmt: skip
    assert [(p.propose, p.license) for p in decision.proposals] == [("suspension", LICENSE)]
    assert sentence(decision, "prohibited_end_use") == (
        "prohibited_end_use: 5.00 percent of GPU time went to what is prohibited, 0.00 percent may: "
        f"excluded; suspension of license {LICENSE} is proposed."
    )


@pytest.mark.parametrize(
    ("excluded", "other", "outcome"),
    [(5, 95, "accepted"), (50_001, 949_999, "flagged"), (0, 0, "accepted")],
)
def test_a_share_up_to_the_limit_is_none_above_it(excluded: int, other: int, outcome: str) -> None:
    """50,001 of a million prints as 5.00 and is more than 5."""
    bench = installed(1, condition("prohibited_end_use", projects=["excluded"], percent="5"))
    assert attest(bench, serials(1), projects=used(excluded, other)).outcome == outcome


def test_a_prohibited_purpose_is_all_of_the_time() -> None:
    bench = installed(1, EXCLUDED)
    decision = attest(bench, serials(1), purpose="military")
    found = finding(decision, "prohibited_end_use")
    assert (found.observed, found.subjects) == ("100.00", ("military",))


def test_an_order_for_a_prohibited_use_or_user_is_refused() -> None:
    bench = bound(EXCLUDED)
    assert bench.ask("order.placed").outcome == "accepted"
    assert bench.ask("order.placed", end_use="inference").outcome == "accepted"
    decision = bench.ask("order.placed", end_use="military")
    assert (decision.outcome, codes(decision)) == ("denied", ["prohibited_end_use.end_use"])
    bench = bound(condition("prohibited_end_use", end_users=[BUYER]))
    assert codes(bench.ask("order.placed")) == ["prohibited_end_use.end_user"]


def test_an_order_says_what_it_is_for_where_it_must() -> None:
    bench = bound(condition("prohibited_end_use", end_uses=["military"], declared=True))
    assert codes(bench.ask("order.placed")) == ["prohibited_end_use.undeclared"]
    assert bench.ask("order.placed", end_use="inference").outcome == "accepted"


@settings(max_examples=60, deadline=None)
@given(part=st.integers(0, 10**6), rest=st.integers(0, 10**6), limit=st.integers(0, 10_000))
def test_a_share_is_flagged_exactly_if_it_is_more(part: int, rest: int, limit: int) -> None:
    """`limit` in hundredths of a percent; compared without a division."""
    percent = f"{limit // 100}.{limit % 100:02}"
    bench = bound(condition("prohibited_end_use", projects=["excluded"], percent=percent))
    failed = finding(bench.ask("usage.attested", projects=used(part, rest)), "prohibited_end_use").code
    assert (failed is not None) == (part * 10_000 > limit * (part + rest))
