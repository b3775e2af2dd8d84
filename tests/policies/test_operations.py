"""Conditions on chips at work at their worked numbers, and the rules for repairs, inspections, reports."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.decision import Decision
from ledger.facts import Advances, Device, License, Rma
from policies.conditions.deadlines import days_after, report_due
from policies.conditions.percent import allowed, needed, percent_of
from policies.explain import explain
from tests.policies.at_work import attest, fleet, installed, second_contract
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    OTHER_CONTRACT,
    Workbench,
    codes,
    condition,
    finding,
    policy,
    serials,
    usd,
)

# --- 20 remote_tenant_kyc -------------------------------------------------------------------------

KYC = condition("remote_tenant_kyc", percent="100")


def say_tenants(bench: Workbench, kind: str, tenants: dict[str, int] | None) -> Decision:
    if kind == "usage.attested":
        return attest(bench, serials(1), tenants=tenants)
    if kind == "fleet.attested":
        return fleet(bench, 9, 9, tenants=tenants)
    return bench.say(kind, tenants=tenants)


@pytest.mark.parametrize("kind", ["usage.attested", "fleet.attested", "report.filed"])
def test_1188_of_1200_tenants_are_99_percent_and_flagged(kind: str) -> None:
    decision = say_tenants(installed(1, KYC), kind, {"total": 1_200, "covered": 1_188})
    found = finding(decision, "remote_tenant_kyc")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "remote_tenant_kyc.short", "99.00", "100.00", 12,
    )  # fmt: skip
    assert explain(decision.value()) == [
        "remote_tenant_kyc: 99.00 % of the remote tenants were checked, 100.00 % must be: 12 tenants short."
    ]


@pytest.mark.parametrize(
    ("percent", "covered", "outcome"),
    [
        ("100", 1_200, "accepted"),
        ("100", 1_199, "flagged"),
        ("99", 1_188, "accepted"),
        ("99", 1_187, "flagged"),
    ],
)
def test_the_last_tenant_counts(percent: str, covered: int, outcome: str) -> None:
    bench = Workbench().open(text=policy(condition("remote_tenant_kyc", percent=percent)))
    assert say_tenants(bench, "report.filed", {"total": 1_200, "covered": covered}).outcome == outcome


def test_who_has_no_tenants_says_so() -> None:
    bench = Workbench().open(text=policy(KYC))
    assert say_tenants(bench, "fleet.attested", {"total": 0, "covered": 0}).outcome == "accepted"
    bench = Workbench().open(text=policy(KYC))
    assert codes(say_tenants(bench, "fleet.attested", None)) == ["remote_tenant_kyc.not_stated"]


def test_where_the_document_does_not_ask_for_them_tenants_need_not_be_counted() -> None:
    bench = Workbench().open(text=policy({**KYC, "required": False}))
    assert say_tenants(bench, "fleet.attested", None).outcome == "accepted"


# --- 25 service_level -----------------------------------------------------------------------------

SLA = condition("service_level", floor="99.90")
MONTH = {"period_seconds": 43_200 * 60, "from": "2027-01-01T00:00:00Z", "until": "2027-01-31T00:00:00Z"}


def report_down(minutes: int, *steps: dict[str, Any], **said: Any) -> Decision:
    bench = Workbench().open(text=policy({**SLA, "credits": list(steps)}))
    return bench.say("sla.reported", down_seconds=minutes * 60, **{**MONTH, **said})


def test_90_of_43200_minutes_down_are_99_79_percent_against_99_90() -> None:
    decision = report_down(90)
    found = finding(decision, "service_level")
    assert decision.outcome == "flagged"
    # 0.1 % of 2,592,000 seconds may be down, 2,592; it was down for 5,400.
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "service_level.below", "99.79", "99.90", 2_808,
    )  # fmt: skip
    assert explain(decision.value()) == [
        "service_level: 99.79 % available, 99.90 % agreed: 2,808 seconds down beyond what is allowed."
    ]


def test_a_service_that_is_short_by_a_second_does_not_read_as_if_it_were_not() -> None:
    bench = Workbench().open(text=policy(SLA))
    assert bench.say("sla.reported", **MONTH, down_seconds=2_592).outcome == "accepted"
    decision = bench.say("sla.reported", **MONTH, down_seconds=2_593)
    found = finding(decision, "service_level")
    assert (found.observed, found.limit, found.shortfall) == ("99.89", "99.90", 1)


TEN_PERCENT = {"below": "99.90", "percent": "10"}
FIFTY = {"below": "99.00", "percent": "50"}


@pytest.mark.parametrize(
    ("minutes", "steps", "said", "credit"),
    [
        (90, [TEN_PERCENT], {"fee": usd("100000.00")}, "10000.00 USD"),
        (90, [TEN_PERCENT, FIFTY], {"fee": usd("100000.00")}, "10000.00 USD"),
        (433, [FIFTY, TEN_PERCENT], {"fee": usd("100000.00")}, "50000.00 USD"),
        (90, [TEN_PERCENT], {"fee": usd("0.45")}, "0.05 USD"),  # 0.045
        (90, [TEN_PERCENT], {"fee": None}, "10.00 % of the fee"),
        (90, [{"below": "99.90", "amount": usd("5000")}], {}, "5000.00 USD"),
    ],
)
def test_a_credit_is_due_by_the_lowest_step_that_applies(
    minutes: int, steps: list[dict[str, Any]], said: dict[str, Any], credit: str
) -> None:
    decision = report_down(minutes, *steps, **said)
    found = finding(decision, "service_level")
    assert (found.code, found.subjects) == ("service_level.credit_due", (credit,))
    [sentence] = explain(decision.value())
    assert sentence.rpartition("a credit is due: ")[2].replace(",", "") == f"{credit}."


def test_no_credit_is_due_above_the_floor() -> None:
    assert report_down(43, TEN_PERCENT).outcome == "accepted"


def test_below_the_floor_and_above_every_step_nothing_is_owed() -> None:
    decision = report_down(90, FIFTY, fee=usd("100000.00"))
    assert codes(decision) == ["service_level.below"]


@given(st.integers(1, 10**7), st.integers(0, 10**7), st.decimals(0, 100, places=6))
def test_shares_are_exact(whole: int, part: int, percent: Decimal) -> None:
    """Against fractions: what is needed is the least that reaches, what is allowed the most."""
    part = min(part, whole)
    millionths = int(percent.scaleb(6))
    reaches = part * 100 * 10**6 >= whole * millionths
    assert (part >= needed(whole, percent)) == reaches
    assert (whole - part <= allowed(whole, percent)) == reaches
    assert percent_of(part, whole) == f"{Decimal(part * 10_000 // whole).scaleb(-2):.2f}"


# --- 31 rma_one_for_one ---------------------------------------------------------------------------

RMA = condition("rma_one_for_one", advance=5)


def in_service(units: int = 20, *, advance: int = 5) -> Workbench:
    """All that the license allows is abroad."""
    bench = installed(units, {**RMA, "advance": advance})
    bench.facts.update(bench.fact(License, LICENSE), quantity=10_000, released=10_000)
    return bench


def ask(bench: Workbench, defective: list[str], *, rma: str = "RMA-1", **said: Any) -> Decision:
    said = {"replacements": len(defective), "advance": 0, **said}
    return bench.say("rma.requested", rma=rma, serials=defective, **said)


def test_10000_and_5_advance_replacements_are_allowed_and_a_sixth_is_not() -> None:
    bench = in_service()
    decision = ask(bench, serials(5), advance=5)
    found = finding(decision, "rma_one_for_one")
    assert (decision.outcome, found.observed, found.limit) == ("accepted", 10_005, 10_005)
    refused = ask(bench, ["SN000006"], rma="RMA-2", advance=1)
    found = finding(refused, "rma_one_for_one")
    assert refused.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom) == (
        "rma_one_for_one.over", 10_006, 10_005, 1, 0,
    )  # fmt: skip
    assert explain({"conditions": [f.value() for f in refused.failed]}) == [
        "rma_one_for_one: 10,006 units abroad or asked for, 10,005 allowed with advance replacements: "
        "1 too many (headroom 0)"
        "."
    ]


def test_what_goes_back_makes_room_for_another() -> None:
    bench = in_service()
    ask(bench, serials(5), advance=5)
    bench.accepted("rma.opened", serials=serials(5))
    bench.accepted("rma.returned", serials=["SN000001"])
    assert bench.fact(Advances, f"{CONTRACT}/{LICENSE}").outstanding == 4
    assert ask(bench, ["SN000006", "SN000007"], rma="RMA-2", advance=2).outcome == "denied"
    assert ask(bench, ["SN000006"], rma="RMA-3", advance=1).outcome == "accepted"


def test_room_under_the_license_is_no_room_for_advance_replacements() -> None:
    """The orders may still take it, and then more would be abroad than both allow."""
    bench = installed(20, RMA)
    decision = ask(bench, serials(6), advance=6)
    found = finding(decision, "rma_one_for_one")
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom) == (
        "rma_one_for_one.advance", 6, 5, 1, 5,
    )  # fmt: skip


def test_replacements_after_the_return_need_no_room() -> None:
    assert ask(in_service(advance=0), serials(9)).outcome == "accepted"


def test_a_license_that_was_cut_below_what_is_abroad_lets_none_come_in_advance() -> None:
    bench = in_service()
    bench.facts.update(bench.fact(License, LICENSE), quantity=9_000)
    assert codes(ask(bench, serials(1), advance=1)) == ["rma_one_for_one.over"]
    assert ask(bench, serials(1)).outcome == "accepted"


def test_more_replacements_than_defective_devices_are_denied() -> None:
    decision = ask(in_service(), serials(2), replacements=3)
    found = finding(decision, "rma_one_for_one")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "rma_one_for_one.not_one_for_one", 3, 2, 1,
    )  # fmt: skip


def replaced(bench: Workbench, *pairs: tuple[str, str], **said: Any) -> Decision:
    devices = [{"defective": d, "replacement": r} for d, r in pairs]
    return bench.say("rma.replaced", devices=devices, **said)


def test_a_replacement_that_comes_before_the_return_is_flagged_unless_it_was_to() -> None:
    bench = in_service()
    ask(bench, serials(3), advance=1)
    bench.accepted("rma.opened", serials=serials(3))
    assert replaced(bench, ("SN000001", "SN9001")).outcome == "accepted"
    decision = replaced(bench, ("SN000002", "SN9002"))
    found = finding(decision, "rma_one_for_one")
    assert (decision.outcome, found.code) == ("flagged", "rma_one_for_one.before_return")
    assert (found.observed, found.limit, found.shortfall) == (2, 1, 1)
    bench.accepted("rma.returned", serials=["SN000002", "SN000003"])
    assert replaced(bench, ("SN000003", "SN9003")).outcome == "accepted"


def test_more_replaced_than_asked_for_is_flagged() -> None:
    bench = in_service()
    ask(bench, serials(2), replacements=1)
    bench.accepted("rma.opened", serials=serials(2))
    bench.accepted("rma.returned", serials=serials(2))
    decision = replaced(bench, ("SN000001", "SN9001"), ("SN000002", "SN9002"))
    found = finding(decision, "rma_one_for_one")
    assert (found.code, found.observed, found.limit) == ("rma_one_for_one.more_than_asked", 2, 1)


def test_a_defective_device_is_to_be_back_by_the_end_of_day_60() -> None:
    """Day 61 has begun at the instant that this gives."""
    sent = datetime(2027, 3, 1, 12, tzinfo=UTC)
    assert days_after(sent, 60, "UTC") == datetime(2027, 5, 1, tzinfo=UTC)
    assert (days_after(sent, 60, "UTC") - timedelta(microseconds=1)).date() - sent.date() == timedelta(60)


# --- rules: repairs -------------------------------------------------------------------------------


def repairs() -> Workbench:
    return installed(4)


def test_the_number_of_a_case_is_used_once() -> None:
    bench = repairs()
    assert ask(bench, serials(1)).outcome == "accepted"
    assert codes(ask(bench, ["SN000002"])) == ["rma_new.exists"]


def test_only_delivered_devices_of_the_contract_are_defective() -> None:
    bench = repairs()
    decision = ask(bench, ["SN000001", "SN999999"])
    assert (decision.outcome, codes(decision)) == ("denied", ["devices_known.unknown"])
    bench.accepted("device.lost", serials=["SN000002"])
    decision = ask(bench, serials(2))
    assert (decision.outcome, codes(decision)) == ("denied", ["device_state.wrong"])
    assert finding(decision, "device_state").subjects == ("SN000002",)
    assert codes(ask(bench, serials(1), license="D-9")) == ["license_known.unknown"]


def test_a_device_in_repair_is_not_asked_for_again() -> None:
    bench = repairs()
    ask(bench, serials(1))
    bench.accepted("rma.opened", serials=serials(1))
    assert codes(ask(bench, serials(1), rma="RMA-2")) == ["device_state.wrong"]


@pytest.mark.parametrize("kind", ["rma.opened", "rma.replaced", "rma.returned"])
def test_what_happens_in_no_case_is_flagged_and_moves_nothing(kind: str) -> None:
    bench = repairs()
    assert codes(bench.say(kind)) == ["rma_known.unknown"]
    assert bench.fact(Device, "SN000001").state == "installed"


def test_a_device_that_is_not_of_the_case_is_flagged_and_not_moved() -> None:
    bench = repairs()
    ask(bench, serials(1))
    decision = bench.say("rma.opened", serials=serials(2))
    found = finding(decision, "rma_known")
    assert (found.code, found.subjects) == ("rma_known.not_of_case", ("SN000002",))
    assert [bench.fact(Device, s).state for s in serials(2)] == ["rma_out", "installed"]


def test_a_replacement_is_free_and_takes_one_place() -> None:
    bench = repairs()
    ask(bench, serials(2), advance=2)
    bench.accepted("rma.opened", serials=serials(2))
    assert codes(replaced(bench, ("SN000001", "SN000004"))) == ["rma_replacement.taken"]
    assert replaced(bench, ("SN000001", "SN9001")).outcome == "accepted"
    assert codes(replaced(bench, ("SN000001", "SN9002"))) == ["rma_replacement.twice"]
    rma = bench.fact(Rma, f"{CONTRACT}/RMA-1")
    assert [(r.defective, r.replacement) for r in rma.replaced] == [("SN000001", "SN9001")]


def test_a_case_of_another_contract_is_none_of_ours() -> None:
    bench = repairs()
    ask(bench, serials(1))
    second_contract(bench, policy())
    decision = bench.say("rma.returned", contract=OTHER_CONTRACT, serials=serials(1))
    assert codes(decision) == ["rma_known.unknown"]
    assert bench.fact(Device, "SN000001").state == "installed"


# --- rules: inspections, incidents, reports -------------------------------------------------------


def test_who_asked_for_an_inspection_says_how_it_ended() -> None:
    bench = Workbench().open(text=policy())
    bench.accepted("inspection.requested", serials=[])
    exporter = (EXPORTER, "exporter")
    decision = bench.say("inspection.completed", by=exporter)
    found = finding(decision, "inspection_known")
    assert (found.code, found.observed, found.limit) == (
        "inspection_known.not_yours", EXPORTER, AUTHORITY,
    )  # fmt: skip
    bench.accepted("inspection.completed")
    completed = len(bench.log) - 1
    again = finding(bench.say("inspection.completed"), "inspection_known")
    assert (again.code, again.subjects) == ("inspection_known.completed", (str(completed),))
    assert codes(bench.say("inspection.completed", inspection="EUC-9")) == ["inspection_known.unknown"]
    assert codes(bench.say("inspection.requested")) == ["inspection_new.exists"]


def test_an_inspection_asked_for_on_1_march_is_late_after_30_april_and_again_after_29_june() -> None:
    asked = datetime(2027, 3, 1, 15, tzinfo=UTC)
    assert days_after(asked, 60, "America/New_York") == datetime(2027, 5, 1, 4, tzinfo=UTC)
    assert days_after(asked, 120, "America/New_York") == datetime(2027, 6, 30, 4, tzinfo=UTC)


def test_the_report_of_the_first_half_is_missing_on_1_august() -> None:
    due = report_due(date(2027, 6, 30), 31, "America/New_York")
    assert due == datetime(2027, 8, 1, 4, tzinfo=UTC), "00:00 in New York"


def test_a_report_for_a_period_counts_once_and_not_before_it_is_over() -> None:
    bench = Workbench().open(text=policy())
    early = bench.say("report.filed", until="2027-03-01")
    found = finding(early, "period_over")
    assert (found.code, found.limit) == ("period_over.not_yet", "2027-03-02T05:00:00.000000Z")
    bench.accepted("report.filed")
    filed = len(bench.log) - 1
    again = finding(bench.say("report.filed"), "report_new")
    assert (again.code, again.subjects) == ("report_new.filed", (str(filed),))
    bench.accepted("report.filed", report="remote-access")


def test_the_number_of_an_incident_is_used_once() -> None:
    bench = Workbench().open(text=policy())
    bench.accepted("incident.reported")
    assert codes(bench.say("incident.reported")) == ["incident_new.exists"]


@pytest.mark.parametrize("kind", ["sla.reported", "job.reported"])
def test_what_is_told_of_a_period_that_is_not_over_is_flagged(kind: str) -> None:
    bench = Workbench().open(text=policy())
    assert bench.say(kind).outcome == "accepted"
    ends = {"until": "2027-03-02T00:00:00Z"}
    assert codes(bench.say(kind, **ends)) == ["period_over.not_yet"]


def test_a_document_may_bind_every_condition_here_at_once() -> None:
    bench = installed(1, KYC, SLA, RMA)
    assert attest(bench, serials(1), tenants={"total": 0, "covered": 0}).outcome == "accepted"
    assert ask(bench, serials(1), by=(BUYER, "end_user")).outcome == "accepted"
