"""Conditions on value, prepayment, windows and revenue: each at its worked number and at its neighbour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.facts import License, Releases, RevenueAccount, Sum
from policies.conditions.trade import RevenueShare, share_due, share_late, unmet_in
from policies.conditions.windows import LENGTHS, window_at, window_of
from policies.document import parse_document
from policies.explain import explain
from policies.tree import PolicyDocumentError
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    NOON,
    Workbench,
    codes,
    condition,
    finding,
    policy,
    serials,
    usd,
)


def bound(*conditions: dict[str, Any], at: str = NOON, **granted: Any) -> Workbench:
    """An open contract under a document of these conditions alone."""
    return Workbench(at=at).open(text=policy(*conditions), **granted)


def corrected(bench: Workbench, kind: str, *, by: tuple[str, str] = (EXPORTER, "exporter")) -> None:
    """Declare the latest event of the kind in error."""
    index = max(n for n, (event, _) in enumerate(bench.log) if event.kind == kind)
    bench.accepted("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)


def sentence(decision: Any, name: str) -> str:
    """How the finding of that condition reads."""
    [said] = [line for line in explain(decision.value()) if line.startswith(f"{name}: ")]
    return said


def worth(bench: Workbench, amount: str, *, currency: str = "USD") -> None:
    """So much has been released under the license already."""
    bench.facts.put(
        Releases(contract=CONTRACT, license=LICENSE, values=(Sum(amount=Decimal(amount), currency=currency),))
    )


# --- 5 value_cap ----------------------------------------------------------------------------------

VALUE = "270000000.00"


def capped(**parameters: Any) -> Workbench:
    """268,290,000 of 270,000,000 are released, and an order of 200 stands."""
    limit = {"limit": {"from": "license.value"}, **parameters}
    bench = bound(condition("value_cap", **limit), value=usd(VALUE))
    bench.accepted("order.placed", units=200)
    worth(bench, "268290000.00")
    return bench


def test_a_release_of_2_71_million_over_268_29_of_270_is_denied_without_a_tolerance() -> None:
    decision = capped().release(serials(100), unit_value=usd("27100.00"))
    found = finding(decision, "value_cap")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom, found.unit) == (
        "value_cap.over", "271000000.00", "270000000.00", "1000000.00", "1710000.00", "USD",
    )  # fmt: skip
    assert sentence(decision, "value_cap") == (
        "value_cap: 271,000,000.00 USD released, 270,000,000.00 USD allowed: 1,000,000.00 USD too much "
        "(headroom 1,710,000.00 USD)."
    )


def test_within_a_tolerance_of_25_percent_it_is_flagged_and_no_more() -> None:
    bench = capped(tolerance="0.25")
    decision = bench.ask("shipment.requested", serials=serials(100), unit_value=usd("27100.00"))
    found = finding(decision, "value_cap")
    assert decision.outcome == "flagged"
    assert (found.code, found.action, found.observed, found.limit, found.shortfall, found.headroom) == (
        "value_cap.within_tolerance", "flag", "271000000.00", "270000000.00", "1000000.00", "69210000.00",
    )  # fmt: skip
    assert bench.ask("shipment.requested", serials=serials(100), unit_value=usd("17100.00")).outcome == (
        "accepted"
    )
    worth(bench, "334790000.00")
    assert bench.ask("shipment.requested", serials=serials(100), unit_value=usd("27100.00")).outcome == (
        "flagged"
    )
    assert bench.ask("shipment.requested", serials=serials(100), unit_value=usd("27100.01")).outcome == (
        "denied"
    )


@pytest.mark.parametrize(("price", "outcome"), [("17100.00", "accepted"), ("17100.01", "denied")])
def test_the_last_of_a_value_is_released_and_no_more(price: str, outcome: str) -> None:
    assert capped().release(serials(100), unit_value=usd(price)).outcome == outcome


def test_a_value_given_back_may_be_released_again() -> None:
    limit = {"amount": "54000.00", "currency": "USD"}
    bench = bound(condition("value_cap", limit=limit))
    bench.accepted("order.placed", units=4)
    assert bench.release(serials(2)).outcome == "accepted"
    assert bench.release(serials(2, first=3), shipment="SH-2").outcome == "denied"
    bench.accepted("shipment.cancelled")
    assert bench.release(serials(2, first=3), shipment="SH-2").outcome == "accepted"


def test_a_license_that_states_no_value_caps_nothing_and_so_allows_nothing() -> None:
    bench = bound(condition("value_cap", limit={"from": "license.value"}))
    bench.accepted("order.placed", units=2)
    assert codes(bench.release(serials(2))) == ["value_cap.no_value"]


@pytest.mark.parametrize("strange", ["request", "before"])
def test_a_value_in_another_currency_cannot_be_compared(strange: str) -> None:
    bench = capped()
    price = usd("1.00")
    if strange == "request":
        price = {"amount": "1.00", "currency": "CNY"}
    else:
        worth(bench, "1.00", currency="CNY")
    found = finding(bench.release(serials(1), unit_value=price), "value_cap")
    assert (found.code, found.observed, found.limit) == ("value_cap.currency", "CNY", "USD")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.decimals(0, 10**15 - 1, places=6)), max_size=5))
def test_a_value_cap_is_never_passed_and_never_needlessly_refused(asked: list[tuple[int, Decimal]]) -> None:
    limit = 2 * 10**15
    bench = bound(condition("value_cap", limit=usd("999999999999999.000000"), tolerance="1"))
    bench.accepted("order.placed", units=100)
    released, first = 0, 1
    for number, (units, price) in enumerate(asked):
        worth_now = units * int(price.scaleb(6))
        said: dict[str, Any] = {"unit_value": usd(f"{price:f}"), "shipment": f"SH-{number}"}
        decision = bench.say("shipment.requested", serials=serials(units, first=first), **said)
        fits = released + worth_now <= (limit - 2) * 10**6
        assert decision.denied == (not fits)
        released += worth_now if fits else 0
        first += units


# --- 22 prepayment --------------------------------------------------------------------------------

ALL_BEFORE = condition("prepayment", share="1")


def prepaid(amount: str | None, **parameters: Any) -> Workbench:
    """An order of 1,000 at 27,000.00, and what was paid for it."""
    bench = bound({**ALL_BEFORE, **parameters})
    bench.accepted("order.placed")
    if amount is not None:
        bench.accepted("payment.received", amount=usd(amount))
    return bench


def test_25_million_paid_of_27_million_due_is_denied_short_2_million() -> None:
    decision = prepaid("25000000.00").release(serials(2))
    found = finding(decision, "prepayment")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "prepayment.short", "25000000.00", "27000000.00", "2000000.00", "USD",
    )  # fmt: skip
    assert sentence(decision, "prepayment") == (
        "prepayment: 25,000,000.00 USD paid before release, 27,000,000.00 USD due: 2,000,000.00 USD short."
    )


@pytest.mark.parametrize(
    ("more", "outcome", "short"), [("1999999.99", "denied", "0.01"), ("2000000.00", "accepted", None)]
)
def test_the_last_cent_of_a_prepayment_counts(more: str, outcome: str, short: str | None) -> None:
    bench = prepaid("25000000.00")
    bench.accepted("payment.received", amount=usd(more), purpose="balance")
    decision = bench.release(serials(2))
    assert decision.outcome == outcome
    assert finding(decision, "prepayment").shortfall == short


def test_a_prepaid_order_cannot_be_cancelled() -> None:
    decision = prepaid("25000000.00").say("order.cancelled")
    found = finding(decision, "prepayment")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit) == (
        "prepayment.no_cancellation", "25000000.00", "27000000.00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "paid", "outcome"),
    [
        ("never", None, "denied"),
        ("until_paid", None, "accepted"),
        ("until_paid", "0.01", "denied"),
        ("allowed", "27000000.00", "accepted"),
    ],
)
def test_an_order_is_cancelled_as_the_terms_say(terms: str, paid: str | None, outcome: str) -> None:
    assert prepaid(paid, cancellation=terms).say("order.cancelled").outcome == outcome


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"units": 999}, "prepayment.no_reduction"),
        ({"units": 1000, "unit_value": usd("26999.99")}, "prepayment.no_reduction"),
        ({"units": 1001}, None),
        ({"consignee": BUYER}, None),
    ],
)
def test_an_order_that_cannot_be_cancelled_is_not_amended_away(
    said: dict[str, Any], code: str | None
) -> None:
    bench, said = prepaid("25000000.00"), {"units": None, "unit_value": None, **said}
    assert codes(bench.ask("order.amended", **said)) == ([] if code is None else [code])
    assert prepaid(None, cancellation="until_paid").ask("order.amended", **said).outcome == "accepted"
    assert prepaid("0.01", cancellation="allowed").ask("order.amended", **said).outcome == "accepted"


@pytest.mark.parametrize(
    "said",
    [
        {"purpose": "revenue_share"},
        {"amount": {"amount": "27000000.00", "currency": "EUR"}},
        {"order": "PO-9"},
    ],
    ids=["a share of revenue", "another currency", "another order"],
)
def test_what_does_not_pay_for_the_order_prepays_nothing(said: dict[str, Any]) -> None:
    bench = prepaid(None)
    bench.say("payment.received", **{"amount": usd("27000000.00"), **said})
    assert finding(bench.release(serials(2)), "prepayment").observed == "0.00"


def test_an_amended_order_is_prepaid_as_amended() -> None:
    bench = prepaid("25000000.00", share="0.50")
    assert bench.ask("shipment.requested", serials=serials(2)).outcome == "accepted"
    bench.accepted("order.amended", units=2000, unit_value=usd("27000.00"))
    found = finding(bench.release(serials(2)), "prepayment")
    assert (found.limit, found.shortfall) == ("27000000.00", "2000000.00")


def test_a_payment_that_was_declared_in_error_pays_nothing() -> None:
    bench = prepaid("27000000.00")
    corrected(bench, "payment.received")
    assert codes(bench.release(serials(2))) == ["prepayment.short"]


# --- 23 window_cap --------------------------------------------------------------------------------

MONTHLY = condition("window_cap", window="month", cap=5_000)
BATCH = serials(4_600)


def batch(text: dict[str, Any] = MONTHLY, *, at: str = "2027-03-01T12:00:00Z") -> Workbench:
    """4,600 units are released at `at`, of an order of 9,000."""
    bench = bound(text, at=at)
    bench.accepted("order.placed", units=9_000)
    bench.accepted("shipment.requested", serials=BATCH)
    return bench


def test_600_units_over_4600_of_5000_in_march_are_denied_with_a_headroom_of_400() -> None:
    decision = batch().say(
        "shipment.requested", shipment="SH-2", serials=serials(600, first=5_001), at="2027-03-31T12:00:00Z"
    )
    found = finding(decision, "window_cap")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom) == (
        "window_cap.over", 5_200, 5_000, 200, 400,
    )  # fmt: skip
    assert sentence(decision, "window_cap") == (
        "window_cap: 5,200 units released in 2027-03, 5,000 allowed: 200 too many (headroom 400)."
    )


@pytest.mark.parametrize(("units", "outcome"), [(400, "accepted"), (401, "denied")])
def test_a_window_takes_its_last_unit_and_no_more(units: int, outcome: str) -> None:
    again: dict[str, Any] = {"shipment": "SH-2", "serials": serials(units, first=5_001)}
    assert batch().say("shipment.requested", **again).outcome == outcome


@pytest.mark.parametrize(
    ("at", "outcome"), [("2027-04-01T03:59:59.999999Z", "denied"), ("2027-04-01T04:00:00Z", "accepted")]
)
def test_a_window_ends_at_midnight_of_the_contracts_zone(at: str, outcome: str) -> None:
    again: dict[str, Any] = {"shipment": "SH-2", "serials": serials(600, first=5_001)}
    assert batch().say("shipment.requested", at=at, **again).outcome == outcome


def test_a_quarter_counts_its_three_months_together() -> None:
    bench = batch(condition("window_cap", window="quarter", cap=5_000), at="2027-01-15T12:00:00Z")
    again: dict[str, Any] = {"shipment": "SH-2", "serials": serials(600, first=5_001)}
    found = finding(bench.ask("shipment.requested", at="2027-03-31T12:00:00Z", **again), "window_cap")
    assert (found.code, found.subjects) == ("window_cap.over", ("2027-01/2027-03",))
    assert bench.say("shipment.requested", at="2027-04-01T12:00:00Z", **again).outcome == "accepted"


@pytest.mark.parametrize("back", ["cancelled", "in error"])
def test_what_is_taken_back_in_april_is_given_back_to_march(back: str) -> None:
    bench = batch()
    bench.at = "2027-04-15T12:00:00Z"
    bench.accepted("shipment.requested", shipment="SH-2", serials=serials(100, first=5_001))
    if back == "cancelled":
        bench.accepted("shipment.cancelled", shipment="SH-1")
    else:
        index = next(n for n, (event, _) in enumerate(bench.log) if event.kind == "shipment.requested")
        bench.accepted("event.declared_in_error", index=index, id=bench.log[index][0].id)
    releases = bench.fact(Releases, f"{CONTRACT}/{LICENSE}")
    assert [(one.month, one.units) for one in releases.months] == [("2027-04", 100)]
    assert [(one.amount, one.currency) for one in releases.values] == [(Decimal("2700000.00"), "USD")]


def test_400_units_are_unmet_when_march_is_over() -> None:
    bench = batch()
    march = window_at(datetime(2027, 3, 31, 12, tzinfo=UTC), "America/New_York", "month")
    releases = bench.fact(Releases, f"{CONTRACT}/{LICENSE}")
    assert unmet_in(releases, march, due=5_000) == 400
    assert march.over("America/New_York") == datetime(2027, 4, 1, 4, tzinfo=UTC)
    bench.accepted("shipment.requested", shipment="SH-2", serials=serials(400, first=5_001))
    assert unmet_in(bench.fact(Releases, releases.key), march, due=5_000) == 0
    assert unmet_in(None, march, due=5_000) == 5_000


@given(st.dates(date(1900, 1, 1), date(9000, 1, 1)), st.sampled_from(sorted(LENGTHS)))
def test_every_day_lies_in_one_window_and_windows_meet(day: date, length: str) -> None:
    window = window_of(day, length)
    assert window.begins <= day < window.ends
    assert window_of(window.begins, length) == window
    assert window_of(window.ends - timedelta(days=1), length) == window
    assert window_of(window.ends, length).begins == window.ends
    assert len(window.months) == LENGTHS[length]


# --- 36 revenue_share -----------------------------------------------------------------------------

SHARE = condition("revenue_share", rate="0.15", within="P30D", rounding="half_up", digits=2)
LATE = "2027-04-01T04:00:00Z"
"""New York's midnight after the thirtieth day from 03-01."""


def invoiced(**said: Any) -> Workbench:
    """An order of 2,000 at 27,000.00 has been invoiced for 1,000 on 03-01."""
    bench = bound(SHARE)
    bench.accepted("order.placed", units=2_000)
    bench.accepted("invoice.issued", **said)
    return bench


def paid(bench: Workbench, amount: str, **said: Any) -> None:
    bench.accepted("payment.received", amount=usd(amount), purpose="revenue_share", **said)


def test_4_million_paid_of_4_05_million_due_is_denied_short_50000() -> None:
    bench = invoiced()
    paid(bench, "4000000.00")
    decision = bench.release(serials(2), at=LATE)
    found = finding(decision, "revenue_share")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "revenue_share.short", "4000000.00", "4050000.00", "50000.00", "USD",
    )  # fmt: skip
    assert sentence(decision, "revenue_share") == (
        "revenue_share: 4,000,000.00 USD of revenue shared, 4,050,000.00 USD due by now: 50,000.00 USD short."
    )


@pytest.mark.parametrize(("more", "outcome"), [("49999.99", "denied"), ("50000.00", "accepted")])
def test_the_last_cent_of_a_share_counts(more: str, outcome: str) -> None:
    bench = invoiced()
    paid(bench, "4000000.00")
    paid(bench, more)
    assert bench.release(serials(2), at=LATE).outcome == outcome


def test_a_share_is_due_when_its_last_day_is_over_and_not_before() -> None:
    bench = invoiced()
    before = bench.ask("shipment.requested", serials=serials(2), at="2027-04-01T03:59:59.999999Z")
    assert (before.outcome, finding(before, "revenue_share").limit) == ("accepted", "0.00")
    assert bench.ask("shipment.requested", serials=serials(2), at=LATE).outcome == "denied"


def test_the_instant_at_which_a_share_is_late_is_the_first_at_which_it_is_due() -> None:
    terms = RevenueShare.model_validate({"rate": "0.15", "within": "P30D", "rounding": "half_up"})
    late = share_late(date(2027, 3, 1), terms, zone="America/New_York")
    assert late == datetime(2027, 4, 1, 4, tzinfo=UTC)
    revenue = invoiced().fact(RevenueAccount, CONTRACT).of("USD")
    assert share_due(revenue, terms, at=late, zone="America/New_York") == Decimal("4050000.00")
    earlier = late - timedelta(microseconds=1)
    assert share_due(revenue, terms, at=earlier, zone="America/New_York") == 0


def test_prepayments_share_nothing() -> None:
    bench = invoiced()
    bench.accepted("payment.received", amount=usd("27000000.00"), purpose="balance")
    assert finding(bench.release(serials(2), at=LATE), "revenue_share").observed == "0.00"


def test_an_invoice_that_was_declared_in_error_is_shared_with_nobody() -> None:
    bench = invoiced()
    corrected(bench, "invoice.issued")
    assert bench.release(serials(2), at=LATE).outcome == "accepted"


def test_a_share_that_is_short_in_another_currency_stops_a_release_too() -> None:
    bench = invoiced()
    paid(bench, "4050000.00")
    assert "order_known.currency" in codes(
        bench.say("invoice.issued", invoice="INV-2", amount={"amount": "1000.00", "currency": "EUR"})
    )
    found = finding(bench.release(serials(2), at=LATE), "revenue_share")
    assert (found.code, found.limit, found.unit) == ("revenue_share.short", "150.00", "EUR")


def test_the_day_of_an_invoice_is_that_of_its_recording() -> None:
    bench = invoiced(occurred_at="2027-03-31T12:00:00Z", due="2027-12-31")
    assert bench.release(serials(2), at=LATE).outcome == "denied"


def test_a_term_is_whole_days_and_shorter_than_what_is_kept() -> None:
    for within, words in (("PT36H", "whole days"), ("P400D", "less than 400 days")):
        text = policy({**SHARE, "within": within})
        with pytest.raises(PolicyDocumentError) as refused:
            parse_document(text)
        [fault] = refused.value.faults
        assert words in fault.detail


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 10**9)), max_size=8))
def test_what_is_due_is_what_was_invoiced_long_enough_ago(invoices: list[tuple[int, int]]) -> None:
    """Days are forgotten one by one, and never what was invoiced on them."""
    terms = RevenueShare.model_validate({"rate": "0.15", "within": "P30D", "rounding": "half_up"})
    begins = datetime(2027, 3, 1, 12, tzinfo=UTC)
    bench = Workbench(at="2027-03-01T12:00:00Z").open(text=policy(force={"from": "2027-01-01"}))
    bench.accepted("order.placed")
    ordered = sorted(invoices)
    for number, (days, cents) in enumerate(ordered):
        amount = usd(f"{Decimal(cents).scaleb(-2):f}")
        at = (begins + timedelta(days=days)).isoformat()
        bench.accepted("invoice.issued", invoice=f"INV-{number}", amount=amount, at=at)
    now = begins + timedelta(days=max((days for days, _ in ordered), default=0))
    account = bench.facts.peek(RevenueAccount, CONTRACT) or RevenueAccount(contract=CONTRACT)
    due = share_due(account.of("USD"), terms, at=now, zone="America/New_York")
    early = sum(c for days, c in ordered if (now - begins).days - days > 30)
    assert due == (Decimal(early) * Decimal("0.0015")).quantize(Decimal("0.01"), "ROUND_HALF_UP")


# --- amendments -----------------------------------------------------------------------------------


def test_an_amendment_asks_for_what_is_reserved_and_not_released() -> None:
    bench = bound(condition("window_cap", window="month", cap=100))
    bench.accepted("order.placed", units=10)
    bench.accepted("order.amended", units=20)
    assert bench.fact(License, LICENSE).ordered == 20
    assert bench.release(serials(15)).outcome == "accepted"
    assert codes(bench.say("order.amended", units=14)) == ["order_amendable.below_released"]
    bench.accepted("order.amended", units=15, by=(BUYER, "consignee"))
    assert bench.fact(License, LICENSE).ordered == 15


@pytest.mark.parametrize(("units", "outcome"), [(400, "accepted"), (401, "denied")])
def test_an_amendment_reserves_the_last_unit_and_no_more(units: int, outcome: str) -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.accepted("order.placed", units=100)
    bench.accepted("order.placed", order="PO-2", units=9_600)
    decision = bench.say("order.amended", units=units)
    assert decision.outcome == outcome
    assert finding(decision, "quantity_cap").headroom == 400


def test_an_order_may_shrink_where_too_much_is_reserved() -> None:
    bench = bound(condition("quantity_cap", limit={"from": "license.quantity"}))
    bench.accepted("order.placed", units=100)
    bench.facts.update(bench.fact(License, LICENSE), ordered=10_050)
    assert bench.say("order.amended", units=99).outcome == "accepted"
    assert codes(bench.say("order.amended", units=100)) == ["quantity_cap.over"]


@pytest.mark.parametrize("stop", ["suspended", "revoked"])
def test_an_order_is_not_amended_once_its_license_is_stopped(stop: str) -> None:
    bench = bound(condition("license_active"))
    bench.accepted("order.placed", units=100)
    bench.accepted(f"license.{stop}")
    found = finding(bench.say("order.amended", units=50), "license_active")
    assert (found.code, found.observed) == (f"license_active.{stop}", stop)
    assert not bench.say("order.cancelled").denied


def test_an_order_is_not_amended_once_its_license_has_ended() -> None:
    bench = Workbench().open(text=policy(condition("validity_window"), force={"from": "2027-01-01"}))
    bench.accepted("order.placed", units=100)
    assert bench.say("order.amended", units=120, at="2030-02-10T04:59:59.999999Z").outcome == "accepted"
    assert codes(bench.say("order.amended", units=130, at="2030-02-10T05:00:00Z")) == [
        "validity_window.ended"
    ]
