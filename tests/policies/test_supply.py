"""Conditions on supply and on borders: each at its worked number and at its neighbour."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.facts import Exports, ImportApproval, Imports, MonthOfTrade, ToCountry
from policies.conditions.supply import Copurchase, DomesticCopurchase, copurchase_in
from policies.conditions.windows import window_of
from policies.document import parse_document
from policies.explain import explain
from policies.tree import PolicyDocumentError
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    NOON,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
    usd,
    wire,
)

SKU = "H200-SXM"


def bound(*conditions: dict[str, Any], at: str = NOON) -> Workbench:
    """An open contract under a document of these conditions alone."""
    return Workbench(at=at).open(text=policy(*conditions))


def ordered(bench: Workbench, units: int = 2_000) -> Workbench:
    bench.accepted("order.placed", units=units)
    return bench


def sentence(decision: Any, name: str) -> str:
    """How the finding of that condition reads."""
    [said] = [line for line in explain(decision.value()) if line.startswith(f"{name}: ")]
    return said


def taken_back(bench: Workbench, kind: str, *, by: tuple[str, str]) -> None:
    """Declare the latest event of the kind in error."""
    index = max(n for n, (event, _) in enumerate(bench.log) if event.kind == kind)
    bench.accepted("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)


# --- 10 us_ratio_cap ------------------------------------------------------------------------------

RATIO = condition("us_ratio_cap", percent="50", measure="units", countries=["CN", "MO"])


def exported(bench: Workbench, units: int, *, country: str = "CN", exporter: str = EXPORTER) -> None:
    """So many units of the product have been released to the country before."""
    bench.facts.put(Exports(exporter=exporter, sku=SKU, countries=(ToCountry(country=country, units=units),)))


def against_800000(text: dict[str, Any] = RATIO, **said: Any) -> Workbench:
    bench = ordered(bound(text))
    bench.accepted("baseline.declared", **{"units": 800_000, **said})
    exported(bench, 399_500)
    return bench


def test_1000_units_over_399500_of_half_of_800000_are_denied() -> None:
    decision = against_800000().release(serials(1_000))
    found = finding(decision, "us_ratio_cap")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom, found.unit) == (
        "us_ratio_cap.over", 400_500, 400_000, 500, 500, "units",
    )  # fmt: skip
    assert sentence(decision, "us_ratio_cap") == (
        "us_ratio_cap: 400,500 units released there, 400,000 allowed: 500 too many (headroom 500)."
    )


@pytest.mark.parametrize(("units", "outcome"), [(500, "accepted"), (501, "denied")])
def test_the_last_unit_of_a_ratio_is_released_and_no_more(units: int, outcome: str) -> None:
    assert against_800000().release(serials(units)).outcome == outcome


def test_the_ratio_is_read_as_aggregate_tpp() -> None:
    tpp = {**RATIO, "measure": "tpp", "unit_tpp": 15_832}
    bench = ordered(bound(tpp))
    bench.accepted("baseline.declared", tpp=800_000 * 15_832 - 1)
    exported(bench, 399_500)
    found = finding(bench.ask("shipment.requested", serials=serials(500)), "us_ratio_cap")
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "us_ratio_cap.over", 400_000 * 15_832, 400_000 * 15_832 - 1, 1, "tpp",
    )  # fmt: skip
    assert bench.release(serials(499)).outcome == "accepted"


def test_releases_of_one_exporter_add_up_over_its_contracts() -> None:
    bench = ordered(bound({**RATIO, "percent": "0.0005"}))
    bench.accepted("baseline.declared", units=800_000)  # 4 may go
    other: dict[str, Any] = {"contract": OTHER_CONTRACT}
    bench.accepted("contract.opened", parties=PARTIES, licenses=["D-2"], **other)
    text = policy(RATIO, policy="another")
    bench.accepted("policy.activated", **activation(text, policy="another"), **other)
    bench.accepted("license.granted", license="D-2", must_acknowledge=[], **other)
    bench.accepted("order.placed", license="D-2", units=10, **other)
    assert bench.release(serials(3)).outcome == "accepted"
    bench.accepted("shipment.requested", license="D-2", serials=serials(1, first=4), **other)
    found = finding(bench.release(serials(1, first=5), shipment="SH-2"), "us_ratio_cap")
    assert (found.observed, found.limit, found.headroom) == (5, 4, 0)
    bench.accepted("shipment.cancelled", **other)
    assert bench.release(serials(1, first=5), shipment="SH-2").outcome == "accepted"


def test_nobody_adds_to_the_exports_or_the_baseline_of_another_exporter() -> None:
    """A stranger names the exporter a party to its own contract, and speaks there as an exporter itself."""
    bench = against_800000()
    stranger = {"party": "rival", "roles": ["exporter"], "name": "Rival", "country": "US"}
    other: dict[str, Any] = {"contract": OTHER_CONTRACT, "by": ("rival", "exporter")}
    bench.accepted("contract.opened", parties=[*PARTIES, stranger], licenses=["D-2"], **other)
    bench.accepted("policy.activated", **activation(policy(RATIO)), contract=OTHER_CONTRACT)
    bench.accepted("license.granted", license="D-2", must_acknowledge=[], contract=OTHER_CONTRACT)
    bench.accepted("order.placed", license="D-2", units=10, **other)
    asked: dict[str, Any] = {"license": "D-2", "serials": serials(9, first=9_000), **other}
    assert codes(bench.ask("shipment.requested", **asked)) == ["us_ratio_cap.no_baseline"]
    bench.accepted("baseline.declared", units=18, **other)
    judged = bench.accepted("shipment.requested", **asked)
    assert finding(judged, "us_ratio_cap").limit == 9, "its own, though the contract names another first"
    assert bench.fact(Exports, f"{EXPORTER}/{SKU}").units_to(("CN",)) == 399_500
    assert bench.fact(Exports, f"rival/{SKU}").units_to(("CN",)) == 9
    assert finding(bench.release(serials(500)), "us_ratio_cap").limit == 400_000


def test_another_country_is_another_matter() -> None:
    bench = against_800000()
    decision = bench.release(serials(1_000), destination={"country": "SG", "site": "SIN-1", "port": "SGSIN"})
    assert decision.outcome == "accepted"
    assert finding(decision, "us_ratio_cap").result == "not_applicable"
    assert bench.fact(Exports, f"{EXPORTER}/{SKU}").units_to(("CN", "MO")) == 399_500


def test_the_latest_baseline_counts_until_it_is_taken_back() -> None:
    bench = against_800000()
    bench.accepted("baseline.declared", units=700_000)
    assert finding(bench.ask("shipment.requested"), "us_ratio_cap").limit == 350_000
    taken_back(bench, "baseline.declared", by=(EXPORTER, "exporter"))
    assert finding(bench.ask("shipment.requested"), "us_ratio_cap").limit == 400_000


@pytest.mark.parametrize(
    ("first", "second", "flagged"),
    [
        pytest.param(None, {"units": 800_000}, True, id="gone"),
        pytest.param({"units": 799_999}, {"units": 800_000}, True, id="lower"),
        pytest.param({"units": 800_000}, {"units": 800_000}, False, id="the same"),
        pytest.param({"units": 800_001, "tpp": None}, {"units": 800_000, "tpp": None}, False, id="higher"),
        pytest.param({"units": 800_001, "tpp": None}, {"units": 800_000, "tpp": 1}, True, id="not measured"),
        pytest.param({"units": 800_000, "tpp": 1}, {"units": 800_000, "tpp": 2}, True, id="lower in tpp"),
    ],
)
def test_a_baseline_taken_back_from_under_releases_is_flagged(
    first: dict[str, Any] | None, second: dict[str, Any], flagged: bool
) -> None:
    bench = ordered(bound(RATIO))
    for said in (first, second):
        if said is not None:
            bench.accepted("baseline.declared", **said)
    baseline = len(bench.log) - 1
    assert bench.release(serials(3)).outcome == "accepted"
    # A process that remembers nothing loads all that the correction asks for.
    bench.restart()
    decision = bench.say("event.declared_in_error", index=baseline, id=bench.log[baseline][0].id)
    if not flagged:
        assert (decision.outcome, codes(decision)) == ("accepted", [])
        return
    assert (decision.outcome, codes(decision)) == ("flagged", ["correction.headroom"])
    assert (decision.failed[0].observed, decision.failed[0].subjects) == (baseline, (SKU,))
    assert sentence(decision, "correction").endswith(f"rested on entry {baseline}: {SKU}.")


def test_a_baseline_that_is_gone_stops_new_releases() -> None:
    bench = against_800000()
    bench.accepted("shipment.requested", serials=serials(3))
    index = max(n for n, (event, _) in enumerate(bench.log) if event.kind == "baseline.declared")
    bench.say("event.declared_in_error", index=index, id=bench.log[index][0].id)
    again = bench.ask("shipment.requested", shipment="SH-2", serials=serials(1, first=9))
    assert codes(again) == ["us_ratio_cap.no_baseline"]


def test_a_baseline_that_no_release_rests_on_is_taken_back_without_a_word() -> None:
    bench = ordered(bound(RATIO))
    bench.accepted("baseline.declared")
    assert bench.release(serials(3)).outcome == "accepted"
    bench.accepted("shipment.cancelled")
    taken_back(bench, "baseline.declared", by=(EXPORTER, "exporter"))


def test_without_a_baseline_nothing_is_released() -> None:
    bench = ordered(bound(RATIO))
    assert codes(bench.release(serials(1))) == ["us_ratio_cap.no_baseline"]


def test_a_baseline_that_does_not_say_the_measure_is_none() -> None:
    tpp = {**RATIO, "measure": "tpp", "unit_tpp": 15_832}
    bench = ordered(bound(tpp))
    said = {"sku": SKU, "units": 800_000, "from": "2024-01-01", "until": "2026-12-31", "signatory": "R. Roe"}
    event = {**wire("baseline.declared"), "data": said}
    assert bench.submit(event).outcome == "accepted"
    found = finding(bench.release(serials(1)), "us_ratio_cap")
    assert (found.code, found.subjects) == ("us_ratio_cap.not_measured", ("tpp",))


def test_tpp_is_asked_for_where_it_is_measured_and_only_there() -> None:
    for wrong in ({**RATIO, "measure": "tpp"}, {**RATIO, "unit_tpp": 15_832}):
        with pytest.raises(PolicyDocumentError, match="unit_tpp is said where measure is tpp"):
            parse_document(policy(wrong))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.lists(st.integers(1, 12), max_size=8))
def test_a_ratio_is_never_passed_and_never_needlessly_refused(base: int, asked: list[int]) -> None:
    bench = ordered(bound(RATIO))
    bench.accepted("baseline.declared", units=base)
    released, first = 0, 1
    for number, units in enumerate(asked):
        chips = serials(units, first=first)
        decision = bench.say("shipment.requested", shipment=f"SH-{number}", serials=chips)
        fits = 2 * (released + units) <= base
        assert decision.outcome == ("accepted" if fits else "denied")
        released += units if fits else 0
        first += units


def test_a_site_is_where_the_contract_has_it_whatever_a_release_says() -> None:
    """Else the cap would be passed by writing another country; of an unknown site the word counts."""
    bench = bound(RATIO)
    bench.order(10, levied="0.00")
    bench.accepted("baseline.declared", units=2)
    there = {"country": "SG", "site": "SHA-1"}
    bench.accepted("shipment.requested", serials=serials(1), destination=there)
    asked: dict[str, Any] = {"shipment": "SH-2", "serials": serials(1, first=2)}
    assert codes(bench.ask("shipment.requested", destination=there, **asked)) == ["us_ratio_cap.over"]
    bench.accepted("shipment.requested", destination={"country": "SG", "site": "SIN-1"}, **asked)
    asked = {"shipment": "SH-3", "serials": serials(1, first=3)}
    assert finding(bench.ask("shipment.requested", **asked), "us_ratio_cap").observed == 2


# --- 11 supply_certified --------------------------------------------------------------------------

CERTIFIED = condition("supply_certified", max_age="P90D")


def certified(**said: Any) -> Workbench:
    bench = bound({**CERTIFIED, **said.pop("parameters", {})}, at="2027-01-20T12:00:00Z")
    bench.accepted("supply.certified", dated="2027-01-20", **said)
    return bench


def test_a_certification_of_01_20_is_101_days_old_on_05_01_and_denied() -> None:
    decision = certified().say("order.placed", at="2027-05-01T12:00:00Z")
    found = finding(decision, "supply_certified")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "supply_certified.old", 101, 90, 11, "days",
    )  # fmt: skip
    assert sentence(decision, "supply_certified") == (
        "supply_certified: the certification of supply is 101 days old, 90 allowed: 11 too many."
    )


@pytest.mark.parametrize(
    ("at", "age", "outcome"),
    [("2027-04-21T03:59:59.999999Z", 90, "accepted"), ("2027-04-21T04:00:00Z", 91, "denied")],
)
def test_a_certification_is_fresh_to_the_end_of_its_last_day(at: str, age: int, outcome: str) -> None:
    decision = certified().say("order.placed", at=at)
    assert (decision.outcome, finding(decision, "supply_certified").observed) == (outcome, age)


def test_every_request_for_units_asks_for_it() -> None:
    bench = certified()
    bench.accepted("order.placed", at="2027-04-20T12:00:00Z")
    late = "2027-04-22T12:00:00Z"
    assert codes(bench.say("order.amended", at=late)) == ["supply_certified.old"]
    assert codes(bench.release(serials(1), at=late)) == ["supply_certified.old"]
    bench.accepted("supply.certified", dated="2027-04-22", at=late)
    assert bench.say("order.amended", at=late).outcome == "accepted"


def test_a_certification_that_is_dated_ahead_is_flagged_and_no_fresher() -> None:
    bench = bound(CERTIFIED, at="2027-01-20T12:00:00Z")
    said = bench.say("supply.certified", dated="2027-04-30")
    assert (said.outcome, codes(said)) == ("flagged", ["period_past.dated_ahead"])
    found = finding(bench.ask("order.placed", at="2027-05-01T12:00:00Z"), "supply_certified")
    assert found.observed == 101


def test_an_older_certification_that_is_told_later_is_still_older() -> None:
    bench = certified()
    bench.accepted("supply.certified", dated="2026-12-31")
    assert finding(bench.ask("order.placed", at="2027-01-21T12:00:00Z"), "supply_certified").observed == 1


def test_what_was_never_certified_or_was_taken_back_is_denied() -> None:
    assert codes(bound(CERTIFIED).say("order.placed")) == ["supply_certified.none"]
    bench = certified()
    taken_back(bench, "supply.certified", by=(EXPORTER, "exporter"))
    assert codes(bench.say("order.placed")) == ["supply_certified.none"]


def test_what_must_be_certified_is_named_where_it_is_not() -> None:
    asked = {"certifications": ["available_in_us", "consignee_kyc"]}
    bench = certified(parameters=asked)
    found = finding(bench.say("order.placed"), "supply_certified")
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "supply_certified.incomplete", 1, 2, ("consignee_kyc",),
    )  # fmt: skip
    certified(parameters=asked, certifications=asked["certifications"]).accepted("order.placed")


# --- 14 export_filed ------------------------------------------------------------------------------

FILED = condition("export_filed")


def packed(units: int, **filed: Any) -> Workbench:
    """A release of so many units, and its export filing."""
    bench = ordered(bound(FILED))
    bench.accepted("shipment.requested", serials=serials(units))
    bench.accepted("export.filed", **filed)
    return bench


def test_1008_packed_of_1000_filed_are_flagged() -> None:
    decision = packed(1_008).dispatch(serials(1_008))
    found = finding(decision, "export_filed")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit) == (
        "export_filed.over", 1_008, 1_000, 8, "units",
    )  # fmt: skip
    assert sentence(decision, "export_filed") == (
        "export_filed: 1,008 units packed, 1,000 filed: 8 too many."
    )


def test_what_is_filed_and_packed_alike_passes() -> None:
    decision = packed(1_000).dispatch(serials(1_000))
    assert decision.outcome == "accepted"
    assert finding(decision, "export_filed").observed == 1_000


@pytest.mark.parametrize(("last", "code"), [(999, None), (998, "export_filed.under")])
def test_too_few_are_flagged_once_nothing_is_left_to_pack(last: int, code: str | None) -> None:
    quantity, value = {999: (999, "26973000.00"), 998: (999, "26946000.00")}[last]
    bench = packed(last, quantity=quantity, value=usd(value))
    assert bench.dispatch(serials(500)).outcome == "accepted"
    found = finding(bench.dispatch(serials(last - 500, first=501)), "export_filed")
    assert found.code == code
    assert (found.observed, found.limit) == (last, quantity)


def test_parts_that_are_packed_one_by_one_add_up() -> None:
    bench = packed(1_008)
    assert bench.dispatch(serials(1_000)).outcome == "accepted"
    assert codes(bench.dispatch(serials(8, first=1_001))) == ["export_filed.over"]


def test_a_dispatch_without_a_filing_or_with_one_that_was_taken_back_is_flagged() -> None:
    bench = ordered(bound(FILED))
    bench.accepted("shipment.requested", serials=serials(2))
    assert codes(bench.dispatch(serials(1))) == ["export_filed.not_filed"]
    bench.accepted("export.filed", quantity=2, value=usd("54000.00"))
    taken_back(bench, "export.filed", by=(EXPORTER, "exporter"))
    assert codes(bench.dispatch(serials(1, first=2))) == ["export_filed.not_filed"]


def test_an_amended_filing_takes_the_place_of_the_first() -> None:
    bench = packed(1_008)
    bench.accepted("export.filed", quantity=1_008, value=usd("27216000.00"))
    assert bench.dispatch(serials(1_008)).outcome == "accepted"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"license": "D-999999"}, "export_filed.license"),
        ({"eccn": "4A090.a"}, "export_filed.eccn"),
        ({"value": usd("27000000.01")}, "export_filed.value"),
        ({"value": {"amount": "27000000.00", "currency": "EUR"}}, "export_filed.value"),
    ],
)
def test_a_filing_names_the_license_and_the_value_of_the_release(said: dict[str, Any], code: str) -> None:
    assert codes(packed(1_000, **said).dispatch(serials(1_000))) == [code]


# --- 15 import_approved ---------------------------------------------------------------------------

APPROVED = condition("import_approved")
NUMBER = "IMP-2027-17"


def approved(*, released: int = 0, parameters: dict[str, Any] | None = None, **said: Any) -> Workbench:
    bench = ordered(bound({**APPROVED, **(parameters or {})}))
    bench.accepted("import.approved", **said)
    approval = bench.fact(ImportApproval, f"{CONTRACT}/{NUMBER}")
    bench.facts.update(approval, released=released, cleared=released)
    return bench


def test_300_units_over_39800_of_40000_are_denied() -> None:
    decision = approved(released=39_800).release(serials(300), approval=NUMBER)
    found = finding(decision, "import_approved")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom) == (
        "import_approved.over", 40_100, 40_000, 100, 200,
    )  # fmt: skip
    assert sentence(decision, "import_approved") == (
        "import_approved: 40,100 units drawn on approval IMP-2027-17, 40,000 approved: 100 too many "
        "(headroom 200)."
    )


@pytest.mark.parametrize(("units", "outcome"), [(200, "accepted"), (201, "denied")])
def test_the_last_unit_of_a_quota_is_released_and_no_more(units: int, outcome: str) -> None:
    assert approved(released=39_800).release(serials(units), approval=NUMBER).outcome == outcome


def test_what_is_taken_back_may_be_drawn_again() -> None:
    bench = approved(quota=3)
    assert bench.release(serials(3), approval=NUMBER).outcome == "accepted"
    assert bench.release(serials(1, first=4), shipment="SH-2", approval=NUMBER).outcome == "denied"
    bench.accepted("shipment.cancelled")
    assert bench.fact(ImportApproval, f"{CONTRACT}/{NUMBER}").released == 0
    assert bench.release(serials(3), shipment="SH-2", approval=NUMBER).outcome == "accepted"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"approval": None}, "import_approved.none"),
        ({"approval": "IMP-9"}, "approval_known.unknown"),
        (
            {"approval": NUMBER, "destination": {"country": "MO", "site": "MFM-1"}},
            "import_approved.country",
        ),
    ],
)
def test_a_release_names_an_approval_that_covers_it(said: dict[str, Any], code: str) -> None:
    assert codes(approved().release(serials(1), **said)) == [code]


def test_an_approval_of_another_item_covers_nothing() -> None:
    assert codes(approved(sku="H20-SXM").release(serials(1), approval=NUMBER)) == ["import_approved.item"]


@pytest.mark.parametrize(
    ("at", "code"),
    [
        ("2027-03-10T04:59:59.999999Z", "import_approved.not_begun"),
        ("2027-03-10T05:00:00Z", None),
        ("2027-03-21T03:59:59.999999Z", None),
        ("2027-03-21T04:00:00Z", "import_approved.ended"),
    ],
)
def test_an_approval_is_valid_from_its_first_midnight_to_its_last(at: str, code: str | None) -> None:
    bench = approved(valid_from="2027-03-10", valid_until="2027-03-20")
    assert finding(bench.release(serials(1), approval=NUMBER, at=at), "import_approved").code == code


@pytest.mark.parametrize(
    ("class_", "outcome"), [("military", "denied"), ("private", "accepted"), (None, "accepted")]
)
def test_an_excluded_class_of_end_user_is_denied(class_: str | None, outcome: str) -> None:
    classes = [] if class_ is None else [{"end_user": BUYER, "class": class_}]
    bench = approved(parameters={"classes": classes})
    assert bench.release(serials(1), approval=NUMBER).outcome == outcome


def test_a_clearance_beyond_the_quota_or_of_an_excluded_class_is_flagged() -> None:
    bench = approved(quota=2, parameters={"classes": [{"end_user": BUYER, "class": "private"}]})
    bench.accepted("shipment.requested", serials=serials(2), approval=NUMBER)
    bench.accepted("customs.cleared", quantity=2)
    decision = bench.say("customs.cleared", quantity=1)
    found = finding(decision, "import_approved")
    assert (decision.outcome, found.action) == ("flagged", "flag")
    assert (found.code, found.observed, found.limit) == ("import_approved.over", 3, 2)
    excluded = approved(parameters={"classes": [{"end_user": BUYER, "class": "military"}]})
    excluded.say("shipment.requested", serials=serials(2))
    assert "shipment_known.unknown" in codes(excluded.say("customs.cleared"))


def test_a_clearance_that_names_no_approval_is_under_that_of_the_release() -> None:
    bench = approved()
    bench.accepted("shipment.requested", serials=serials(2), approval=NUMBER)
    found = finding(bench.say("customs.cleared", approval=None, quantity=2), "import_approved")
    assert (found.result, found.observed, found.subjects) == ("pass", 2, (NUMBER,))
    assert bench.fact(ImportApproval, f"{CONTRACT}/{NUMBER}").cleared == 2
    taken_back(bench, "customs.cleared", by=(BUYER, "consignee"))
    assert bench.fact(ImportApproval, f"{CONTRACT}/{NUMBER}").cleared == 0


def test_what_names_no_approval_draws_on_the_quota_all_the_same() -> None:
    bench = approved(quota=2)
    bench.accepted("shipment.requested", serials=serials(2), approval=NUMBER)
    bench.accepted("customs.cleared", approval=None, quantity=2)
    assert "import_approved.over" in codes(bench.say("customs.cleared", approval=None, quantity=1))


def test_a_clearance_elsewhere_or_under_another_approval_is_flagged() -> None:
    bench = approved()
    bench.accepted("import.approved", approval="IMP-2")
    bench.accepted("shipment.requested", serials=serials(2), approval=NUMBER)
    assert codes(bench.say("customs.cleared", approval="IMP-2", quantity=1)) == ["clearance_matches.approval"]
    assert codes(bench.say("customs.cleared", approval=NUMBER, quantity=1, country="SG")) == [
        "clearance_matches.country", "import_approved.country",
    ]  # fmt: skip


def test_customs_cannot_clear_more_of_a_shipment_than_was_released() -> None:
    bench = approved()
    bench.accepted("shipment.requested", serials=serials(3), approval=NUMBER)
    bench.accepted("customs.cleared", approval=NUMBER, quantity=3)
    decision = bench.say("customs.cleared", approval=NUMBER, quantity=2)
    found = next(f for f in decision.failed if f.code == "clearance_matches.too_many")
    assert (decision.outcome, found.observed, found.limit, found.shortfall) == ("flagged", 5, 3, 2)
    bench.accepted("shipment.requested", serials=serials(1, first=9), shipment="SH-2", approval=NUMBER)
    bench.accepted("customs.cleared", shipment="SH-2", approval=NUMBER, quantity=1)


# --- 21 domestic co-purchase ----------------------------------------------------------------------

ONE_FOR_ONE = DomesticCopurchase.model_validate({"ratio": "1", "measure": "units", "window": "quarter"})
FIRST_QUARTER = window_of(date(2027, 3, 31), "quarter")


def imported(quantity: int, *, at: str = "2027-03-01T12:00:00Z") -> Workbench:
    bench = ordered(bound(condition("quantity_cap", limit=100_000)), 10_000)
    bench.accepted("shipment.requested", serials=serials(10_000))
    bench.say("customs.cleared", approval=None, quantity=quantity, at=at)
    return bench


def test_8000_domestic_for_10000_imported_one_for_one_are_2000_short_at_quarter_end() -> None:
    bench = imported(10_000)
    bench.accepted("domestic.purchased", units=8_000, until="2027-02-28")
    imports = bench.fact(Imports, CONTRACT)
    assert copurchase_in(imports, FIRST_QUARTER, ONE_FOR_ONE) == Copurchase(bought=8_000, due=10_000)
    assert copurchase_in(imports, FIRST_QUARTER, ONE_FOR_ONE).short == 2_000
    assert FIRST_QUARTER.over("America/New_York") == datetime(2027, 4, 1, 4, tzinfo=UTC)
    bench.accepted("domestic.purchased", units=2_000, until="2027-02-28")
    assert copurchase_in(bench.fact(Imports, CONTRACT), FIRST_QUARTER, ONE_FOR_ONE).short == 0


def test_another_quarter_is_another_matter() -> None:
    bench = imported(10_000)
    bench.accepted("domestic.purchased", units=8_000, until="2026-12-31", **{"from": "2026-10-01"})
    assert copurchase_in(bench.fact(Imports, CONTRACT), FIRST_QUARTER, ONE_FOR_ONE).short == 10_000
    assert copurchase_in(None, FIRST_QUARTER, ONE_FOR_ONE).short == 0


def test_a_fraction_of_a_unit_that_is_due_is_a_whole_one() -> None:
    terms = DomesticCopurchase.model_validate({"ratio": "0.3333", "measure": "units", "window": "quarter"})
    imports = Imports(contract=CONTRACT, months=(MonthOfTrade(month="2027-01", imported=10),))
    assert copurchase_in(imports, FIRST_QUARTER, terms).due == 4


def test_a_purchase_may_be_measured_by_performance() -> None:
    terms = DomesticCopurchase.model_validate(
        {"ratio": "0.5", "measure": "tpp", "window": "quarter", "unit_tpp": 15_832}
    )
    month = MonthOfTrade(month="2027-02", imported=10, domestic=99, domestic_tpp=79_159)
    imports = Imports(contract=CONTRACT, months=(month,))
    assert copurchase_in(imports, FIRST_QUARTER, terms) == Copurchase(bought=79_159, due=79_160)


def test_a_purchase_that_is_yet_to_come_is_flagged_and_counts_when_it_was_told() -> None:
    bench = imported(10)
    decision = bench.say("domestic.purchased", units=10, until="2027-09-30", at="2027-03-02T12:00:00Z")
    assert codes(decision) == ["period_past.ahead"]
    assert copurchase_in(bench.fact(Imports, CONTRACT), FIRST_QUARTER, ONE_FOR_ONE).short == 0


@pytest.mark.parametrize("kind", ["customs.cleared", "domestic.purchased"])
def test_what_is_taken_back_leaves_the_month_in_which_it_was_counted(kind: str) -> None:
    bench = imported(10)
    bench.accepted("domestic.purchased", units=4, tpp=400, until="2027-02-28")
    bench.at = "2027-06-01T12:00:00Z"
    by = (BUYER, "consignee") if kind == "customs.cleared" else (BUYER, "buyer")
    taken_back(bench, kind, by=by)
    months = bench.fact(Imports, CONTRACT).months
    left = {
        "customs.cleared": MonthOfTrade(month="2027-02", domestic=4, domestic_tpp=400),
        "domestic.purchased": MonthOfTrade(month="2027-03", imported=10),
    }
    assert months == (left[kind],)


def test_amounts_of_an_approval_are_those_of_its_releases_alone() -> None:
    bench = approved()
    bench.accepted("shipment.requested", serials=serials(2), approval=NUMBER, unit_value=usd("1.00"))
    bench.say("shipment.requested", shipment="SH-2", serials=serials(2, first=3))
    assert bench.fact(ImportApproval, f"{CONTRACT}/{NUMBER}").released == 2
