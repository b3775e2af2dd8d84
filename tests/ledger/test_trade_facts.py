"""Facts of trade, money and supply: what each kind folds into, and what a correction takes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.facts import (
    Amendments,
    Capacity,
    Correction,
    Device,
    Exporter,
    Exports,
    Filing,
    ImportApproval,
    Invoice,
    License,
    Order,
    Releases,
    Revenue,
    RevenueAccount,
    Shipment,
    Supply,
)
from ledger.facts.calendar import MONTHS_KEPT, kept, month_number, month_of
from ledger.facts.customs import FILINGS_KEPT
from ledger.facts.payment import DAYS_KEPT
from ledger.facts.supply import STATEMENTS_KEPT
from ledger.facts.trade import AMENDMENTS_KEPT
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    PARTIES,
    Workbench,
    codes,
    policy,
    serials,
    usd,
)

CHIPS = serials(4)
APPROVAL = "IMP-2027-17"


@pytest.fixture
def bench() -> Workbench:
    """A contract under a policy that asks for hardly anything."""
    return Workbench().open(text=policy())


@pytest.fixture
def released(bench: Workbench) -> Workbench:
    """Four chips are released, of an order of ten, under an approval."""
    bench.accepted("order.placed", units=10)
    bench.accepted("import.approved")
    bench.test(CHIPS)
    bench.accepted("shipment.requested", serials=CHIPS, approval=APPROVAL)
    return bench


def license_of(bench: Workbench) -> License:
    return bench.fact(License, LICENSE)


def order_of(bench: Workbench) -> Order:
    return bench.fact(Order, f"{CONTRACT}/PO-4711")


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    """All facts as they would be stored, but for what a correction itself leaves."""
    return {
        key: fact.encode().decode() for key, fact in bench.facts.changed.items() if key[0] != Correction.name
    }


def correct(bench: Workbench, kind: str, *, index: int | None = None) -> list[str | None]:
    """Take the latest event of the kind back; gives why not."""
    if index is None:
        index = max(n for n, (event, _) in enumerate(bench.log) if event.kind == kind)
    event = bench.log[index][0]
    by = (event.actor.party, event.actor.role)
    return codes(bench.say("event.declared_in_error", by=by, index=index, id=event.id))


# --- the course of an order -----------------------------------------------------------------------


def test_an_order_goes_from_placing_to_settlement(bench: Workbench) -> None:
    def stage() -> str:
        return order_of(bench).stage

    bench.accepted("order.placed", units=4)
    assert stage() == "placed"
    bench.accepted("payment.received", amount=usd("107999.99"))
    assert stage() == "placed"
    bench.accepted("payment.received", amount=usd("0.01"))
    assert stage() == "funded"
    bench.accepted("shipment.requested", serials=CHIPS[:1])
    assert stage() == "part_released"
    bench.accepted("shipment.requested", shipment="SH-2", serials=CHIPS[1:])
    assert stage() == "released"
    bench.dispatch(CHIPS[:1])
    assert stage() == "part_shipped"
    bench.dispatch(CHIPS[1:], shipment="SH-2")
    assert stage() == "shipped"
    bench.receive(CHIPS[:1])
    assert stage() == "part_received"
    bench.receive(CHIPS[1:], shipment="SH-2")
    assert stage() == "received"
    bench.accepted("acceptance.signed", units=4, shipment=None)
    assert stage() == "settled"
    assert correct(bench, "payment.received") == ["correction.released"]
    assert stage() == "accepted"
    assert correct(bench, "acceptance.signed") == []
    assert (stage(), order_of(bench).accepted) == ("received", 0)


def test_a_cancelled_order_that_has_released_is_closed_short(released: Workbench) -> None:
    released.accepted("order.cancelled")
    assert (order_of(released).stage, order_of(released).state) == ("closed_short", "cancelled")


def test_an_order_that_outlives_its_license_has_lapsed(released: Workbench) -> None:
    ends = license_of(released).ends
    order = order_of(released)
    assert order.stage_at(ends - timedelta(microseconds=1), license_ends=ends) == "part_released"
    assert order.stage_at(ends, license_ends=ends) == "window_lapsed"
    assert replace(order, state="released").stage_at(ends, license_ends=ends) == "part_released"


def test_the_largest_order_is_worth_its_exact_value() -> None:
    order = Order(
        contract="c", order="o", license="l", sku="s", units=100_000_000, currency="USD", consignee="a",
        unit_value=Decimal("999999999999999.999999"), end_user="b", placed=1,
        placed_at=datetime(2027, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    assert str(order.value) == "99999999999999999999900.000000"


def test_what_is_dispatched_is_counted_once_and_only_of_the_release(released: Workbench) -> None:
    released.dispatch(CHIPS[:2])
    released.dispatch([*CHIPS[:3], "SN999999"])
    assert order_of(released).dispatched == 3


def test_what_leaves_after_its_release_was_taken_back_is_released_again(released: Workbench) -> None:
    """Quota comes back only for units that never left: what leaves all the same takes it again."""
    before = license_of(released)
    released.accepted("shipment.cancelled")
    assert license_of(released).released == 0
    released.dispatch(CHIPS)
    assert license_of(released) == before
    assert order_of(released).dispatched == len(CHIPS)


def test_what_was_taken_back_and_released_elsewhere_is_not_of_the_order(released: Workbench) -> None:
    released.accepted("order.placed", order="PO-2", units=len(CHIPS))
    released.accepted("shipment.cancelled")
    released.release(CHIPS, shipment="SH-2", order="PO-2")
    released.dispatch(CHIPS)
    assert order_of(released).dispatched == 0
    assert license_of(released).released == len(CHIPS)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"order": "PO-9"}, "order_known.unknown"),
        ({"shipment": "SH-9"}, "shipment_known.unknown"),
        ({"units": 5}, "acceptance_of.too_many"),
    ],
)
def test_an_acceptance_is_of_what_was_received(released: Workbench, said: dict[str, Any], code: str) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS)
    assert codes(released.say("acceptance.signed", **{"units": 4, **said})) == [code]


def test_an_acceptance_names_a_shipment_of_its_order(released: Workbench) -> None:
    released.accepted("order.placed", order="PO-2", units=1)
    said = released.say("acceptance.signed", order="PO-2", units=1)
    assert codes(said) == ["acceptance_of.order", "acceptance_of.too_many"]


def test_an_acceptance_of_an_order_that_was_not_there_takes_nothing_back(bench: Workbench) -> None:
    bench.say("acceptance.signed", units=3)
    index = len(bench.log) - 1
    bench.accepted("order.placed")
    assert correct(bench, "acceptance.signed", index=index) == []
    assert order_of(bench).accepted == 0


# --- amendments -----------------------------------------------------------------------------------


def test_an_amendment_changes_what_it_says_and_reserves_the_difference(bench: Workbench) -> None:
    bench.accepted("order.placed", units=10)
    said = {"units": 25, "unit_value": usd("26000.00"), "consignee": BUYER}
    bench.accepted("order.amended", **said)
    order = order_of(bench)
    assert (order.units, str(order.unit_value), order.consignee) == (25, "26000.00", BUYER)
    assert license_of(bench).ordered == 25
    # Of the example's fields only these are replaced: what is not said stays.
    bench.accepted("order.amended", units=7, unit_value=usd("25000.00"))
    assert (order_of(bench).units, license_of(bench).ordered) == (7, 7)


def test_an_order_amended_to_what_it_has_released_has_released_all(released: Workbench) -> None:
    released.accepted("order.amended", units=4)
    assert (order_of(released).state, order_of(released).reserves) == ("released", False)
    released.accepted("order.amended", units=5)
    assert (order_of(released).state, order_of(released).remaining) == ("part_released", 1)
    assert (license_of(released).ordered, license_of(released).released) == (5, 4)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"order": "PO-9"}, "order_open.unknown"),
        ({"units": 3}, "order_amendable.below_released"),
        ({"unit_value": {"amount": "1.00", "currency": "CNY"}}, "order_amendable.currency"),
        ({"consignee": FORWARDER}, "order_amendable.consignee"),
    ],
)
def test_what_an_order_cannot_become(released: Workbench, said: dict[str, Any], code: str) -> None:
    before = every(released)
    decision = released.say("order.amended", **said)
    assert (decision.outcome, codes(decision)) == ("denied", [code])
    assert every(released) == before


def test_a_cancelled_order_is_not_amended(released: Workbench) -> None:
    released.accepted("order.cancelled")
    decision = released.say("order.amended")
    assert (decision.outcome, codes(decision)) == ("denied", ["order_open.cancelled"])


def test_the_last_amendment_is_taken_back_first(released: Workbench) -> None:
    before = every(released)
    released.accepted("order.amended", units=20)
    first = len(released.log) - 1
    released.accepted("order.amended", units=30)
    assert correct(released, "order.amended", index=first) == ["correction.dependents"]
    assert correct(released, "order.amended") == []
    assert order_of(released).units == 20
    assert correct(released, "order.amended", index=first) == []
    after = every(released)
    assert {key: after[key] for key in before} == before


def test_an_amendment_that_releases_rest_on_stays(released: Workbench) -> None:
    released.accepted("order.amended", units=20)
    chips = serials(10, first=100)
    released.accepted("shipment.requested", shipment="SH-2", serials=chips)
    assert correct(released, "order.amended") == ["correction.dependents"]
    released.accepted("shipment.cancelled", shipment="SH-2")
    assert correct(released, "order.amended") == []


def test_only_so_many_amendments_are_kept(bench: Workbench) -> None:
    bench.accepted("order.placed", units=1)
    for units in range(2, AMENDMENTS_KEPT + 4):
        bench.accepted("order.amended", units=units)
    past = bench.fact(Amendments, f"{CONTRACT}/PO-4711").before
    assert [one.units for one in past] == list(range(3, AMENDMENTS_KEPT + 3))


# --- a release that is cancelled ------------------------------------------------------------------


def test_a_cancelled_release_gives_everything_back(bench: Workbench) -> None:
    bench.accepted("order.placed", units=10)
    bench.accepted("import.approved")
    bench.test(CHIPS)
    before = every(bench)
    bench.accepted("shipment.requested", serials=CHIPS, approval=APPROVAL)
    assert bench.fact(Exports, f"{EXPORTER}/H200-SXM").units_to(("CN",)) == 4
    bench.accepted("shipment.cancelled")
    after = every(bench)
    # Of an amount no more is left than how it is spelled; of a device, what item it is.
    order = order_of(bench)
    assert order.released_value == 0
    after["order", order.key] = replace(order, released_value=Decimal(0)).encode().decode()
    for chip in CHIPS:
        device = bench.fact(Device, chip)
        after["device", chip] = replace(device, sku=None).encode().decode()
    assert {key: after[key] for key in before} == before
    assert bench.fact(Shipment, f"{CONTRACT}/SH-1").state == "cancelled"
    assert bench.fact(Exports, f"{EXPORTER}/H200-SXM").countries == ()
    assert bench.fact(Releases, f"{CONTRACT}/{LICENSE}").values == ()
    assert bench.fact(Exporter, EXPORTER).released == 0
    bench.accepted("shipment.requested", shipment="SH-2", serials=CHIPS, approval=APPROVAL)


def test_a_cancelled_release_and_one_taken_back_leave_the_same(released: Workbench) -> None:
    other = Workbench().open(text=policy())
    other.accepted("order.placed", units=10)
    other.accepted("import.approved")
    other.test(CHIPS)
    other.accepted("shipment.requested", serials=CHIPS, approval=APPROVAL)
    released.accepted("shipment.cancelled")
    assert correct(other, "shipment.requested") == []
    assert every(released) == every(other)


@pytest.mark.parametrize(
    ("before", "code"),
    [
        ([], "shipment_known.unknown"),
        (["cancelled"], "shipment_held.cancelled"),
        (["dispatched"], "shipment_held.dispatched"),
    ],
)
def test_what_has_left_is_not_called_back(released: Workbench, before: list[str], code: str) -> None:
    if "cancelled" in before:
        released.accepted("shipment.cancelled")
    if "dispatched" in before:
        released.dispatch(CHIPS)
    stands = every(released)
    said = {} if before else {"shipment": "SH-9"}
    decision = released.say("shipment.cancelled", **said)
    assert (decision.outcome, codes(decision)) == ("denied", [code])
    assert every(released) == stands


def test_only_an_exporter_cancels_a_release(released: Workbench) -> None:
    decision = released.say("shipment.cancelled", by=(BUYER, "buyer"))
    assert codes(decision) == ["standing.role"]
    assert released.fact(Device, CHIPS[0]).state == "released"


def test_a_release_after_the_license_ended_may_still_be_given_back(released: Workbench) -> None:
    released.accepted("license.revoked")
    released.accepted("shipment.cancelled")
    assert license_of(released).released == 0


# --- invoices and payments ------------------------------------------------------------------------


def test_an_invoice_is_paid_when_the_last_of_it_is(bench: Workbench) -> None:
    bench.accepted("order.placed", units=1)
    bench.accepted("invoice.issued", amount=usd("27000.00"))
    said = {"invoice": "INV-2027-001", "purpose": "balance"}
    bench.accepted("payment.received", amount=usd("20000.00"), at="2027-03-05T00:00:00Z", **said)
    assert bench.fact(Invoice, f"{CONTRACT}/INV-2027-001").paid_at is None
    bench.accepted("payment.received", amount=usd("7000.00"), at="2027-03-09T00:00:00Z", **said)
    invoice = bench.fact(Invoice, f"{CONTRACT}/INV-2027-001")
    assert (str(invoice.paid), invoice.paid_at) == ("27000.00", datetime(2027, 3, 9, tzinfo=UTC))
    assert (str(order_of(bench).paid), invoice.due) == ("27000.00", date(2027, 4, 30))
    assert correct(bench, "payment.received") == []
    invoice = bench.fact(Invoice, f"{CONTRACT}/INV-2027-001")
    assert (str(invoice.paid), invoice.paid_at) == ("20000.00", None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"invoice": "INV-9"}, "invoice_known.unknown"),
        ({"order": "PO-2"}, "invoice_known.order"),
        ({"amount": {"amount": "1.00", "currency": "EUR"}}, "invoice_known.currency"),
    ],
)
def test_a_payment_that_is_not_of_the_invoice_pays_nothing_of_it(
    bench: Workbench, said: dict[str, Any], code: str
) -> None:
    for order in ("PO-4711", "PO-2"):
        bench.accepted("order.placed", order=order)
    bench.accepted("invoice.issued")
    decision = bench.say("payment.received", **{"invoice": "INV-2027-001", **said})
    assert decision.outcome == "flagged"
    assert code in codes(decision)
    assert bench.fact(Invoice, f"{CONTRACT}/INV-2027-001").paid == 0


def test_an_invoice_number_is_used_once_even_if_it_is_void(bench: Workbench) -> None:
    bench.accepted("order.placed")
    bench.accepted("invoice.issued", amount=usd("5.00"))
    assert codes(bench.say("invoice.issued", amount=usd("7.00"))) == ["invoice_new.exists"]
    assert bench.fact(RevenueAccount, CONTRACT).of("USD").until(date(2027, 3, 1)) == 5
    # The second has changed nothing, so there is nothing to take back.
    assert correct(bench, "invoice.issued") == []
    assert bench.fact(RevenueAccount, CONTRACT).of("USD").until(date(2027, 3, 1)) == 5
    first = next(n for n, (event, _) in enumerate(bench.log) if event.kind == "invoice.issued")
    assert correct(bench, "invoice.issued", index=first) == []
    assert bench.fact(RevenueAccount, CONTRACT).of("USD").until(date(2027, 3, 1)) == 0
    assert bench.fact(Invoice, f"{CONTRACT}/INV-2027-001").void
    assert codes(bench.say("invoice.issued")) == ["invoice_new.exists"]
    assert codes(bench.say("payment.received", invoice="INV-2027-001")) == ["invoice_known.void"]


def test_a_paid_invoice_is_not_taken_back(bench: Workbench) -> None:
    bench.accepted("order.placed")
    bench.accepted("invoice.issued")
    bench.accepted("payment.received", amount=usd("0.01"), invoice="INV-2027-001")
    assert correct(bench, "invoice.issued") == ["correction.dependents"]
    assert correct(bench, "payment.received") == []
    assert correct(bench, "invoice.issued") == []


def test_a_payment_for_an_order_that_was_not_there_takes_nothing_back(bench: Workbench) -> None:
    bench.say("payment.received", amount=usd("99.00"))
    index = len(bench.log) - 1
    bench.accepted("order.placed")
    bench.accepted("payment.received", amount=usd("5.00"))
    assert correct(bench, "payment.received", index=index) == []
    assert str(order_of(bench).paid) == "5.00"


days = st.integers(0, 2_000).map(lambda n: date(2027, 1, 1) + timedelta(days=n))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(days, st.integers(1, 10**9)), max_size=30), st.randoms(use_true_random=False))
def test_revenue_is_bounded_and_loses_nothing(invoices: list[tuple[date, int]], chance: Any) -> None:
    revenue = Revenue(currency="USD")
    for day, cents in sorted(invoices):
        revenue = revenue.invoiced(day, Decimal(cents).scaleb(-2))
    last = max((day for day, _ in invoices), default=date(2027, 1, 1))
    assert all((last - one.day).days < DAYS_KEPT for one in revenue.days)
    for days_ago in (0, 1, 30, 366, DAYS_KEPT - 1):
        until = last - timedelta(days=days_ago)
        assert revenue.until(until) * 100 == sum(c for day, c in invoices if day <= until)
    chance.shuffle(invoices)
    for day, cents in invoices:
        revenue = revenue.invoiced(day, -Decimal(cents).scaleb(-2))
    assert revenue.until(last) == revenue.before == 0
    assert revenue.days == ()


# --- months ---------------------------------------------------------------------------------------


@given(st.dates(date(1, 1, 1), date(9998, 12, 31)), st.integers(0, 400))
def test_months_are_numbered_one_by_one(day: date, ahead: int) -> None:
    later = day + timedelta(days=ahead) if day.year < 9990 else day
    apart = (later.year - day.year) * 12 + later.month - day.month
    assert month_number(month_of(later)) - month_number(month_of(day)) == apart
    assert (month_of(day) <= month_of(later)) is (apart >= 0)


def test_the_latest_months_are_kept() -> None:
    months = [f"{year}-{month:02}" for year in (2027, 2028, 2029) for month in range(1, 13)]
    assert kept(reversed(months)) == months[-MONTHS_KEPT:]
    assert kept([]) == []


def test_releases_of_long_ago_are_counted_no_more_and_given_back_to_nobody(bench: Workbench) -> None:
    bench.accepted("order.placed", units=10)
    bench.at = "2027-03-01T12:00:00Z"
    bench.accepted("shipment.requested", serials=CHIPS[:1])
    releases = bench.fact(Releases, f"{CONTRACT}/{LICENSE}")
    later = replace(releases, months=releases.with_units("2029-03", 5))
    assert [(one.month, one.units) for one in later.months] == [("2029-03", 5)]
    assert [one.month for one in replace(later, months=later.with_units("2027-03", -1)).months] == ["2029-03"]
    # Nor does a month go below none, should the latest be given back meanwhile.
    emptied = replace(later, months=later.with_units("2029-03", -5))
    assert emptied.with_units("2027-03", -1) == ()


def test_a_month_is_that_of_the_contracts_zone(bench: Workbench) -> None:
    bench.accepted("order.placed", units=10)
    bench.accepted("shipment.requested", serials=CHIPS[:1], at="2027-04-01T03:59:59Z")
    bench.accepted("shipment.requested", shipment="SH-2", serials=CHIPS[1:3], at="2027-04-01T04:00:00Z")
    months = bench.fact(Releases, f"{CONTRACT}/{LICENSE}").months
    assert [(one.month, one.units) for one in months] == [("2027-03", 1), ("2027-04", 2)]


# --- what is kept of statements -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fact", "key", "field", "most"),
    [
        ("baseline.declared", Supply, f"{EXPORTER}/H200-SXM", "baselines", STATEMENTS_KEPT),
        ("supply.certified", Supply, f"{EXPORTER}/H200-SXM", "certifications", STATEMENTS_KEPT),
        ("export.filed", Filing, f"{CONTRACT}/SH-1", "filings", FILINGS_KEPT),
    ],
)
def test_the_latest_statements_are_kept(
    released: Workbench, kind: str, fact: Any, key: str, field: str, most: int
) -> None:
    for _ in range(most + 2):
        released.accepted(kind)
    last = len(released.log) - 1
    statements = getattr(released.fact(fact, key), field)
    assert [one.index for one in statements] == list(range(last - most + 1, last + 1))


def test_base_tier_capacity_adds_up_by_site(bench: Workbench) -> None:
    site = {"site": "SHA-1", "name": "Shanghai hall 1", "country": "CN"}
    opened = Workbench()
    opened.accepted("contract.opened", sites=[site], licenses=[LICENSE], parties=PARTIES)
    assert codes(opened.say("capacity.added")) == ["policy_in_force.none"]
    opened.say("capacity.added", units=100, unit_tpp=10)
    capacity = opened.fact(Capacity, f"{CONTRACT}/SHA-1")
    assert (capacity.units, capacity.tpp) == (4_100, 4_000 * 2_368 + 1_000)
    assert codes(bench.say("capacity.added", site="NOWHERE")) == ["capacity_site.unknown"]


# --- corrections ----------------------------------------------------------------------------------

TAKEN_BACK: dict[str, dict[str, Any]] = {
    "acceptance.signed": {"units": 4},
    "invoice.issued": {},
    "payment.received": {},
    "baseline.declared": {},
    "supply.certified": {},
    "capacity.added": {},
    "domestic.purchased": {},
    "export.filed": {},
    "customs.cleared": {"quantity": 4},
    "order.amended": {},
}


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_is_taken_back_has_changed_nothing(released: Workbench, kind: str) -> None:
    """Compared by what it is worth: an amount that went and came may be spelled with more noughts."""
    for other in TAKEN_BACK:
        released.say(other, **TAKEN_BACK[other])
    released.say("invoice.issued", invoice="INV-0")
    before = dict(released.facts.changed)
    said = {**TAKEN_BACK[kind], **({"invoice": "INV-1"} if kind == "invoice.issued" else {})}
    assert not released.say(kind, **said).denied
    assert dict(released.facts.changed) != before
    # A payment is taken back from under what was released, and that is flagged.
    flagged = ["correction.released"] if kind in ("payment.received", "levy.settled") else []
    assert correct(released, kind) == flagged
    after = dict(released.facts.changed)
    assert {key: after[key] for key in before if key[0] != Correction.name} == before
    left = {name for name, _ in after.keys() - before.keys()} - {Correction.name, "chain"}
    assert left <= {"counted", "invoice"}


def test_an_approval_that_is_drawn_on_is_not_taken_back(released: Workbench) -> None:
    assert correct(released, "import.approved") == ["correction.dependents"]
    released.accepted("shipment.cancelled")
    assert correct(released, "import.approved") == []
    decision = released.say("shipment.requested", shipment="SH-2", serials=CHIPS, approval=APPROVAL)
    assert (decision.outcome, codes(decision)) == ("denied", ["approval_known.withdrawn"])


def test_an_approval_number_is_used_once(released: Workbench) -> None:
    assert codes(released.say("import.approved", quota=1)) == ["approval_new.exists"]
    assert correct(released, "import.approved") == []
    assert released.ask(
        "shipment.requested", shipment="SH-2", serials=serials(2, first=10), approval=APPROVAL
    ).outcome == "accepted"  # fmt: skip


def test_a_release_under_an_approval_that_came_later_draws_nothing(bench: Workbench) -> None:
    """Nor does it give back what it never drew."""
    bench.accepted("order.placed", units=10)
    bench.accepted("shipment.requested", serials=CHIPS)
    bench.accepted("import.approved")
    shipment = bench.fact(Shipment, f"{CONTRACT}/SH-1")
    bench.facts.update(shipment, approval=APPROVAL)
    bench.accepted("shipment.cancelled")
    assert bench.fact(ImportApproval, f"{CONTRACT}/{APPROVAL}").released == 0


# --- a process that remembers nothing -------------------------------------------------------------


def test_what_is_stored_and_read_again_folds_the_same() -> None:
    """Each event names all that it reads: facts are forgotten before each, and loaded when asked for."""
    script: list[tuple[str, dict[str, Any]]] = [
        ("order.placed", {"units": 10}),
        ("order.amended", {"units": 12}),
        ("import.approved", {}),
        ("baseline.declared", {}),
        ("supply.certified", {}),
        ("shipment.requested", {"serials": CHIPS, "approval": APPROVAL}),
        ("shipment.requested", {"serials": ["SN9"], "shipment": "SH-2", "approval": APPROVAL}),
        ("shipment.cancelled", {"shipment": "SH-2"}),
        ("export.filed", {"quantity": 4}),
        ("shipment.dispatched", {"serials": CHIPS}),
        ("customs.cleared", {"quantity": 4}),
        ("delivery.received", {"received": CHIPS, "missing": []}),
        ("invoice.issued", {}),
        ("payment.received", {"invoice": "INV-2027-001"}),
        ("payment.received", {"purpose": "revenue_share"}),
        ("acceptance.signed", {"units": 4}),
        ("domestic.purchased", {}),
        ("capacity.added", {}),
        ("order.cancelled", {}),
    ]
    one, forgetful = Workbench().open(text=policy()), Workbench().open(text=policy())
    for number, (kind, said) in enumerate(script):
        for bench in (one, forgetful):
            if bench is forgetful:
                bench.restart()
            assert not bench.say(kind, event_id=f"00000000-0000-4000-8000-{number:012}", **said).denied, kind
    for index in reversed(range(len(one.log))):
        event = one.log[index][0]
        if event.kind in TAKEN_BACK:
            for bench in (one, forgetful):
                if bench is forgetful:
                    bench.restart()
                correct(bench, event.kind, index=index)
    names = {name for name, _ in one.facts.changed} - {Correction.name, "document"}
    for name, key in one.facts.changed:
        if name in names:
            fact = type(one.facts.changed[name, key])
            assert forgetful.fact(fact, key) == one.fact(fact, key)
