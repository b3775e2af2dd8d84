"""Conditions on statements, lists and owners: each at its worked number and at its neighbour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.decision import Decision
from ledger.facts import Ownership, Purchases, Screening
from policies.document import parse_document
from policies.explain import explain
from policies.tree import PolicyDocumentError
from tests.policies.at_work import installed
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    NOON,
    PARTIES,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
    usd,
)


def bound(*conditions: dict[str, Any], **granted: Any) -> Workbench:
    """An open contract under a document of these conditions alone."""
    return Workbench().open(text=policy(*conditions), **granted)


def sentence(decision: Decision, name: str) -> str:
    """How the finding of that condition reads."""
    [said] = [line for line in explain(decision.value()) if line.startswith(f"{name}: ")]
    return said


# --- 13 end_user_statement ------------------------------------------------------------------------

ABOVE_50_000 = condition("end_user_statement", above=usd("50000"))


def test_three_units_above_50_000_need_a_statement() -> None:
    bench = bound(ABOVE_50_000)
    decision = bench.ask("order.placed", units=3)
    found = finding(decision, "end_user_statement")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.unit, found.subjects) == (
        "end_user_statement.missing", "81000.00", "50000.00", "USD", (BUYER,),
    )  # fmt: skip
    assert sentence(decision, "end_user_statement") == (
        "end_user_statement: orders of 81,000.00 USD, above 50,000.00 USD an end-user statement is needed, "
        f"none is on file: {BUYER}."
    )
    bench.accepted("statement.filed")
    assert bench.ask("order.placed", units=3).outcome == "accepted"


@pytest.mark.parametrize(("unit_value", "outcome"), [("50000.00", "accepted"), ("50000.01", "denied")])
def test_up_to_the_value_none_is_needed(unit_value: str, outcome: str) -> None:
    bench = bound(ABOVE_50_000)
    assert bench.ask("order.placed", units=1, unit_value=usd(unit_value)).outcome == outcome


def test_orders_of_one_buyer_within_30_days_add_up() -> None:
    bench = bound(ABOVE_50_000)
    bench.accepted("order.placed", order="PO-1", units=1, at="2027-03-01T12:00:00Z")
    decision = bench.ask("order.placed", order="PO-2", units=1, at="2027-03-30T12:00:00Z")
    assert finding(decision, "end_user_statement").observed == "54000.00"
    assert decision.outcome == "denied"
    # The first was placed on the 1st; the 31st still looks back to it, for they are less than 30 days apart.
    assert bench.ask("order.placed", order="PO-2", units=1, at="2027-04-01T03:59:59Z").denied
    assert bench.ask("order.placed", order="PO-2", units=1, at="2027-04-01T04:00:00Z").outcome == "accepted"


def test_an_order_that_was_cancelled_adds_what_it_released() -> None:
    bench = bound(ABOVE_50_000)
    bench.accepted("order.placed", order="PO-1", units=1)
    assert bench.ask("order.placed", order="PO-2", units=1).denied
    bench.accepted("order.cancelled", order="PO-1")
    assert bench.ask("order.placed", order="PO-2", units=1).outcome == "accepted"


def test_an_order_that_was_split_by_amendment_is_found() -> None:
    bench = bound(ABOVE_50_000)
    bench.accepted("order.placed", order="PO-1", units=1)
    found = finding(bench.ask("order.amended", order="PO-1", units=2, unit_value=None), "end_user_statement")
    assert (found.code, found.observed) == ("end_user_statement.missing", "54000.00")
    for value in ("26000.00", "27000.00"):
        no_more = bench.ask("order.amended", order="PO-1", units=1, unit_value=usd(value))
        assert finding(no_more, "end_user_statement").result == "not_applicable"


def test_a_release_of_an_order_that_grew_old_counts_the_whole_order() -> None:
    bench = bound({**ABOVE_50_000, "at": ["shipment.requested"]})
    bench.order(3)
    decision = bench.ask("shipment.requested", serials=serials(1), at="2027-12-01T12:00:00Z")
    assert finding(decision, "end_user_statement").observed == "81000.00"
    assert decision.outcome == "denied"


def test_the_last_day_of_a_statement_ends_at_midnight_in_the_contracts_zone() -> None:
    bench = bound(ABOVE_50_000)
    bench.accepted("statement.filed", expires="2027-03-31")
    assert bench.ask("order.placed", units=3, at="2027-04-01T03:59:59.999999Z").outcome == "accepted"
    decision = bench.ask("order.placed", units=3, at="2027-04-01T04:00:00Z")
    assert codes(decision) == ["end_user_statement.expired"]


def test_a_statement_that_was_taken_back_is_missing() -> None:
    bench = bound(ABOVE_50_000)
    bench.accepted("statement.filed")
    index = len(bench.log) - 1
    by = (BUYER, "end_user")
    bench.accepted("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)
    assert codes(bench.ask("order.placed", units=3)) == ["end_user_statement.missing"]


def test_a_statement_of_a_stranger_does_not_count() -> None:
    bench = bound(ABOVE_50_000)
    assert codes(bench.say("statement.filed", by=(FORWARDER, "forwarder"))) == ["vouching.other"]
    assert codes(bench.ask("order.placed", units=3)) == ["end_user_statement.missing"]
    bench.accepted("statement.filed", by=(EXPORTER, "exporter"))
    assert bench.ask("order.placed", units=3).outcome == "accepted"


def test_another_currency_is_never_below() -> None:
    bench = bound(ABOVE_50_000)
    yuan = {"amount": "1.00", "currency": "CNY"}
    assert codes(bench.ask("order.placed", unit_value=yuan)) == ["end_user_statement.currency"]
    bench.accepted("statement.filed")
    assert bench.ask("order.placed", unit_value=yuan).outcome == "accepted"


@settings(max_examples=60, deadline=None)
@given(orders=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 3)), min_size=1, max_size=8))
def test_the_window_sums_what_was_placed_within_it(orders: list[tuple[int, int]]) -> None:
    """Against the sum over the list itself; days run forward, as recorded time does."""
    bench = bound({**ABOVE_50_000, "action": "shadow"})
    placed: list[tuple[date, int]] = []
    for number, (days, units) in enumerate(sorted(orders)):
        at = datetime(2027, 3, 1, 12, tzinfo=UTC) + timedelta(days=days)
        decision = bench.say("order.placed", order=f"PO-{number}", units=units, at=at.isoformat())
        placed.append((at.date(), units))
        within = sum(u for day, u in placed if day >= at.date() - timedelta(days=30))
        assert Decimal(str(finding(decision, "end_user_statement").observed)) == 27_000 * within
    kept = bench.fact(Purchases, f"{CONTRACT}/{BUYER}").days
    assert len({one.day for one in kept}) == len(kept) <= 92


# --- 17 screening_clear ---------------------------------------------------------------------------

FRESH = condition("screening_clear", score=850, list_age="PT24H")


def screen(bench: Workbench, *parties: str, score: int = 0, retrieved: str = NOON, **said: Any) -> Decision:
    """The last of the screenings."""
    lists = [{"list": "US-CSL", "sha256": "c5" * 32, "retrieved_at": retrieved}]
    candidates = [{"list": "US-CSL", "entry": "E-1", "name": "Near", "score": score}] if score else []
    for party in parties:
        decision = bench.say(
            "screening.recorded", **{"party": party, "lists": lists, "candidates": candidates, **said}
        )
    return decision


@pytest.mark.parametrize(("score", "outcome"), [(849, "accepted"), (850, "held"), (900, "held")])
def test_a_score_of_900_holds_an_order(score: int, outcome: str) -> None:
    bench = bound({**FRESH, "action": "hold", "released_by": ["authority"]})
    screen(bench, BUYER, score=score)
    decision = bench.say("order.placed")
    found = finding(decision, "screening_clear")
    assert decision.outcome == outcome
    if outcome == "held":
        assert (found.code, found.observed, found.limit, found.subjects) == (
            "screening_clear.hit", score, 850, (BUYER,),
        )  # fmt: skip
        assert sentence(decision, "screening_clear") == (
            f"screening_clear: score {score}, from 850 on it is a hit: {BUYER}."
        )


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        ("2027-03-02T12:00:00Z", "accepted"),
        ("2027-03-02T12:00:00.000001Z", "denied"),
        ("2027-03-02T14:00:00Z", "denied"),
    ],
)
def test_a_list_retrieved_26_hours_ago_is_too_old(at: str, outcome: str) -> None:
    bench = bound(FRESH)
    screen(bench, BUYER, expires=None)
    decision = bench.ask("order.placed", at=at)
    found = finding(decision, "screening_clear")
    assert decision.outcome == outcome
    if at == "2027-03-02T14:00:00Z":
        assert (found.code, found.observed, found.limit) == ("screening_clear.stale", 26 * 3_600, 24 * 3_600)
        assert sentence(decision, "screening_clear") == (
            f"screening_clear: a list was retrieved 26 h ago, 24 h at most are allowed: {BUYER}."
        )
    elif outcome == "denied":
        assert found.observed == 86_401, "what is over the limit does not read as if it were not"


def test_bound_twice_a_hit_is_held_and_a_stale_list_refused() -> None:
    held = {**FRESH, "id": "hits", "asks": "clear", "action": "hold", "released_by": ["authority"]}
    refused = {**FRESH, "id": "lists", "asks": "fresh"}
    bench = bound(held, refused)
    screen(bench, BUYER, score=900)
    assert bench.ask("order.placed").outcome == "held"
    stale = bench.ask("order.placed", at="2027-03-03T12:00:00Z")
    assert (stale.outcome, codes(stale)) == ("denied", ["screening_clear.hit", "screening_clear.stale"])


def test_every_party_of_a_shipment_is_screened() -> None:
    bench = bound({**FRESH, "at": ["shipment.requested"]})
    bench.order(2)
    screen(bench, BUYER)
    decision = bench.ask("shipment.requested")
    found = finding(decision, "screening_clear")
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "screening_clear.missing", 1, 2, (FORWARDER,),
    )  # fmt: skip
    screen(bench, FORWARDER)
    assert bench.ask("shipment.requested").outcome == "accepted"


@pytest.mark.parametrize("kind", ["order.placed", "order.amended", "shipment.requested"])
def test_whoever_buys_is_screened_whoever_receives(kind: str) -> None:
    """An order names consignee and end user; the buyer may be another, and is a party to it all the same."""
    bench = bound({**FRESH, "at": [kind]})
    buyer = {"party": "lotus-trading", "roles": ["buyer"], "name": "Lotus Trading", "country": "HK"}
    bench.accepted("contract.amended", parties=[buyer], parties_removed=[])
    screen(bench, BUYER, FORWARDER)
    if kind != "order.placed":
        bench.order(10)
    said = {"serials": serials(1)} if kind == "shipment.requested" else {}
    decision = bench.ask(kind, **said)
    assert (codes(decision), finding(decision, "screening_clear").subjects) == (
        ["screening_clear.missing"],
        ("lotus-trading",),
    )
    screen(bench, "lotus-trading")
    assert not bench.ask(kind, **said).denied


def test_of_a_transfer_and_an_amendment_too() -> None:
    bench = installed(2, {**FRESH, "at": ["transfer.requested", "order.amended"]})
    request = bench.ask("transfer.requested", serials=serials(2))
    assert finding(request, "screening_clear").subjects == ("dragon-affiliate",)
    amended = bench.ask("order.amended", units=3)
    assert finding(amended, "screening_clear").subjects == (BUYER,)


def test_a_verdict_of_hit_is_one_at_any_score_and_a_reviewed_one_is_none() -> None:
    bench = bound(FRESH)
    screen(bench, BUYER, score=400, verdict="hit")
    assert codes(bench.ask("order.placed")) == ["screening_clear.listed"]
    screen(bench, BUYER, score=990, verdict="false_positive", reviewer="M. Roe")
    assert bench.ask("order.placed").outcome == "accepted"
    screen(bench, BUYER, score=990, verdict="clear")
    assert codes(bench.ask("order.placed")) == ["screening_clear.hit"]


def test_a_screening_expires_at_its_instant() -> None:
    bench = bound(condition("screening_clear", score=850, list_age="P30D"))
    screen(bench, BUYER, expires="2027-03-08T00:00:00Z")
    assert bench.ask("order.placed", at="2027-03-07T23:59:59.999999Z").outcome == "accepted"
    assert codes(bench.ask("order.placed", at="2027-03-08T00:00:00Z")) == ["screening_clear.expired"]


def test_every_list_that_is_asked_for_was_used() -> None:
    bench = bound(condition("screening_clear", score=850, list_age="PT24H", lists=["US-CSL", "EU-FSF"]))
    screen(bench, BUYER)
    assert codes(bench.ask("order.placed")) == ["screening_clear.lists"]
    both = [{"list": name, "sha256": "c5" * 32, "retrieved_at": NOON} for name in ("US-CSL", "EU-FSF")]
    screen(bench, BUYER, lists=both)
    assert bench.ask("order.placed").outcome == "accepted"


def test_a_list_that_nobody_asks_for_may_be_old() -> None:
    bench = bound(condition("screening_clear", score=850, list_age="PT24H", lists=["US-CSL"]))
    lists = [
        {"list": "US-CSL", "sha256": "c5" * 32, "retrieved_at": NOON},
        {"list": "HOUSE", "sha256": "c5" * 32, "retrieved_at": "2026-01-01T00:00:00Z"},
    ]
    screen(bench, BUYER, lists=lists)
    assert bench.ask("order.placed").outcome == "accepted"


def test_a_screening_that_was_taken_back_leaves_the_one_before() -> None:
    bench = bound(FRESH)
    screen(bench, BUYER, score=900)
    screen(bench, BUYER)
    assert bench.ask("order.placed").outcome == "accepted"
    index = len(bench.log) - 1
    bench.accepted("event.declared_in_error", index=index, id=bench.log[index][0].id)
    assert codes(bench.ask("order.placed")) == ["screening_clear.hit"]
    assert len(bench.fact(Screening, f"{CONTRACT}/{BUYER}").results) == 1


def test_a_list_of_tomorrow_is_flagged_and_counts_as_of_now() -> None:
    bench = bound(FRESH)
    decision = screen(bench, BUYER, retrieved="2027-06-01T00:00:00Z", expires=None)
    assert (decision.outcome, codes(decision)) == ("flagged", ["dated_ahead.list"])
    assert bench.ask("order.placed", at="2027-03-02T12:00:00Z").outcome == "accepted"
    assert codes(bench.ask("order.placed", at="2027-03-02T12:00:01Z")) == ["screening_clear.stale"]


# --- 18 ownership ---------------------------------------------------------------------------------

WINDOWS = [{"from": "2025-09-29", "until": "2025-11-10"}, {"from": "2026-11-10"}]
"""The 50 % rule, suspended from 2025-11-10 to 2026-11-09."""
HALF = condition("ownership", percent="50", in_force=WINDOWS)


def own(
    bench: Workbench, *percents: str, by: tuple[str, str] = (EXPORTER, "exporter"), **said: Any
) -> Decision:
    """Listed holders have so many percent each, another has the rest of nothing."""
    holders = [
        {"name": f"Listed {n}", "country": "CN", "percent": percent, "listed": True}
        for n, percent in enumerate(percents)
    ]
    holders.append({"name": "Other", "country": "SG", "percent": "1", "listed": False})
    return bench.say("ownership.declared", by=by, **{"holders": holders, **said})


def early(*conditions: dict[str, Any]) -> Workbench:
    """A contract under a document that is in force since 2025."""
    text = policy(*conditions, force={"from": "2025-01-01"})
    bench = Workbench(at="2026-11-01T12:00:00Z")
    bench.accepted("contract.opened", parties=PARTIES, licenses=["D-100200"])
    bench.accepted("policy.activated", **activation(text))
    bench.accepted("license.granted", must_acknowledge=[])
    return bench


def test_30_and_25_percent_of_listed_holders_are_refused_while_the_rule_is_in_force() -> None:
    bench = bound(HALF)
    own(bench, "30", "25")
    decision = bench.ask("order.placed")
    found = finding(decision, "ownership")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "ownership.holders", "55.00", "50.00", (BUYER,),
    )  # fmt: skip
    assert sentence(decision, "ownership") == (
        f"ownership: listed holders own 55.00 percent, must be below 50.00 percent: {BUYER}."
    )


@pytest.mark.parametrize(
    ("at", "result"),
    [
        ("2026-11-10T04:59:59.999999Z", "not_applicable"),
        ("2026-11-10T05:00:00Z", "fail"),
    ],
)
def test_while_the_rule_is_suspended_it_asks_nothing(at: str, result: str) -> None:
    """Until the day is over in New York."""
    bench = early(HALF)
    own(bench, "30", "25", dated="2026-10-01")
    assert finding(bench.ask("order.placed", at=at), "ownership").result == result


@pytest.mark.parametrize(
    ("percents", "outcome"),
    [(("30", "19.999999"), "accepted"), (("30", "20"), "denied"), (("50",), "denied"), ((), "accepted")],
)
def test_half_is_too_much_and_less_is_not(percents: tuple[str, ...], outcome: str) -> None:
    bench = bound(HALF)
    own(bench, *percents)
    assert bench.ask("order.placed").outcome == outcome


def test_the_gravest_of_what_is_said_counts_whoever_says_it() -> None:
    bench = bound(HALF)
    own(bench, "60")
    own(bench, by=(BUYER, "end_user"))
    assert codes(bench.ask("order.placed")) == ["ownership.holders"]
    assert [one.by for one in bench.fact(Ownership, f"{CONTRACT}/{BUYER}").declared] == [EXPORTER, BUYER]
    own(bench, "10")
    assert bench.ask("order.placed").outcome == "accepted"
    own(bench, "50", by=(AUTHORITY, "authority"))
    assert codes(bench.ask("order.placed")) == ["ownership.holders"]


def test_what_nobody_declared_is_missing_and_what_a_stranger_said_does_not_count() -> None:
    bench = bound(HALF)
    assert codes(own(bench, by=(FORWARDER, "forwarder"))) == ["vouching.other"]
    assert codes(bench.ask("order.placed")) == ["ownership.missing"]


def test_headquarters_and_ultimate_parent_count_wherever_the_entity_is() -> None:
    bench = bound(condition("ownership", countries=["KP", "IR"]))
    own(bench)
    assert bench.ask("order.placed").outcome == "accepted"
    own(bench, parent={"name": "Top", "country": "IR"})
    found = finding(bench.ask("order.placed"), "ownership")
    assert (found.code, found.observed, found.subjects) == ("ownership.country", "IR", (BUYER,))
    own(bench, headquarters="KP")
    assert finding(bench.ask("order.placed"), "ownership").observed == "KP"


def test_a_listed_parent_is_more_than_half() -> None:
    bench = bound(HALF)
    own(bench, parent={"name": "Top", "country": "CN", "listed": True})
    assert codes(bench.ask("order.placed")) == ["ownership.parent"]


def test_a_declaration_grows_stale() -> None:
    bench = bound(condition("ownership", percent="50", max_age="P30D"))
    own(bench, dated="2027-02-20")
    assert bench.ask("order.placed", at="2027-03-22T12:00:00Z").outcome == "accepted"
    found = finding(bench.ask("order.placed", at="2027-03-23T12:00:00Z"), "ownership")
    assert (found.code, found.observed, found.limit) == ("ownership.stale", "2027-02-20", "2027-02-21")


def test_a_declaration_dated_ahead_is_flagged_and_no_fresher_for_it() -> None:
    bench = bound(HALF)
    assert codes(own(bench, dated="2027-03-02")) == ["dated_ahead.day"]
    [said] = bench.fact(Ownership, f"{CONTRACT}/{BUYER}").declared
    assert said.dated == date(2027, 3, 1)


def test_of_a_transfer_the_receiver_is_asked_after() -> None:
    bench = installed(2, {**HALF, "at": ["transfer.requested"]})
    assert codes(bench.ask("transfer.requested", serials=serials(2))) == ["ownership.missing"]
    own(bench, party="dragon-affiliate")
    assert bench.ask("transfer.requested", serials=serials(2)).outcome == "accepted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": "0"},
        {"percent": "101"},
        {"percent": "50", "in_force": [{"from": "2026-01-01", "until": "2026-01-01"}]},
        {"percent": "50", "in_force": []},
        {"countries": ["XX"]},
    ],
)
def test_parameters_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyDocumentError):
        parse_document(policy(condition("ownership", **wrong)))
