"""How soon records are made, how long they are kept, at the worked times, and who releases a legal hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.event import KINDS
from ledger.facts import LegalHolds
from ledger.values import day_of
from policies.conditions import CONDITIONS
from policies.conditions.deadlines import years_after
from policies.explain import explain
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
)

# --- 37 max_backdating ----------------------------------------------------------------------------

SOON = condition("max_backdating", within="PT72H")


@pytest.mark.parametrize(
    ("occurred_at", "result"),
    [
        ("2027-03-04T12:04:00Z", "pass"),  # clocks differ
        ("2027-03-01T12:00:00Z", "pass"),
        ("2027-03-01T20:00:00+08:00", "pass"),
        ("2027-03-01T11:59:59.999999Z", "fail"),
        ("0001-01-01T00:00:00Z", "fail"),
    ],
)
@pytest.mark.parametrize(("kind", "outcome"), [("order.placed", "denied"), ("sla.reported", "flagged")])
def test_what_occurred_too_long_ago_is_refused_or_marked(
    kind: str, outcome: str, occurred_at: str, result: str
) -> None:
    bench = Workbench().open(text=policy(SOON))
    decision = bench.say(kind, occurred_at=occurred_at, at="2027-03-04T12:00:00Z")
    found = finding(decision, "max_backdating")
    assert decision.outcome == ("accepted" if result == "pass" else outcome)
    assert (found.result, found.limit) == (result, "2027-03-01T12:00:00.000000Z")
    assert found.code == (None if result == "pass" else "max_backdating.backdated")


def test_a_backdated_request_is_judged_by_its_recording_all_the_same() -> None:
    """That it was written before the stop lets nothing through, with this condition or without it."""
    for conditions in ((condition("license_active"),), (condition("license_active"), SOON)):
        bench = Workbench().open(text=policy(*conditions))
        bench.accepted("license.suspended", at="2027-03-04T11:00:00Z")
        decision = bench.say("order.placed", occurred_at="2027-03-04T10:00:00Z", at="2027-03-04T12:00:00Z")
        assert decision.outcome == "denied"
        assert codes(decision) == ["license_active.suspended"]


def test_a_contract_that_says_nothing_of_it_is_asked_nothing() -> None:
    decision = (
        Workbench()
        .open(text=policy(condition("license_active")))
        .say("order.placed", occurred_at="2020-01-01T00:00:00Z")
    )
    assert decision.outcome == "accepted"
    assert [f.id for f in decision.findings] == ["license_active"]


def test_no_setup_event_and_none_of_the_ledger_is_asked() -> None:
    used = CONDITIONS["max_backdating"]
    assert (
        not {name for name, _ in KINDS}
        - {*used.kinds}
        - {name for (name, _), kind in KINDS.items() if kind.setup or kind.nature == "own"}
    )
    assert not any(KINDS[kind, 1].setup or KINDS[kind, 1].nature == "own" for kind in used.kinds)


# --- 35 retention_hold ----------------------------------------------------------------------------

KEPT = condition("retention_hold", years=5)
DIVERTED = "2029-05-01T12:00:00Z"
ORDER = 3
"""Its index in the contract of `kept`."""


def kept(*, exported: str | None = "2026-08-01T12:00:00Z", until: str = "2028-12-31") -> Workbench:
    """A contract whose license ends on that day, with goods dispatched at that time."""
    text = policy(condition("quantity_cap", limit=10), KEPT, force={"from": "2026-01-01"})
    bench = Workbench(at="2026-07-01T12:00:00Z")
    bench.accepted("contract.opened", parties=PARTIES, licenses=[LICENSE])
    bench.accepted("policy.activated", **activation(text))
    bench.accepted("license.granted", valid_from="2026-01-01", valid_until=until, must_acknowledge=[])
    if exported is not None:
        bench.order(2)
        bench.release(serials(2))
        assert bench.dispatch(serials(2), at=exported).outcome == "accepted"
    return bench


def divert(bench: Workbench, *, at: str = DIVERTED, incident: str = "INC-7") -> None:
    bench.accepted("incident.reported", what="diversion", serials=[], incident=incident, at=at)


def test_exported_in_2026_and_diverted_in_2029_records_are_kept_to_2034() -> None:
    bench = kept()
    divert(bench)
    decision = bench.say("purge.requested", entries=[ORDER], at="2034-05-02T03:59:59.999999Z")
    found = finding(decision, "retention_hold")
    assert decision.outcome == "denied"
    assert (found.code, found.limit, found.unit, found.subjects) == (
        "retention_hold.retained", "2034-05-02T04:00:00.000000Z", "time", ("diversion",),
    )  # fmt: skip
    assert explain({"conditions": [f.value() for f in decision.failed]}) == [
        "retention_hold: recorded at 2034-05-02T03:59:59.999999Z, records are kept until "
        "2034-05-02T04:00:00.000000Z, for the latest diversion."
    ]
    assert bench.say("purge.requested", entries=[ORDER], at="2034-05-02T04:00:00Z").outcome == "accepted"


def test_an_export_alone_is_kept_for_five_years_after_it() -> None:
    bench = kept(until="2026-07-31")
    decision = bench.say("purge.requested", entries=[ORDER], at="2031-08-01T12:00:00Z")
    found = finding(decision, "retention_hold")
    assert (found.subjects, found.limit) == (("export",), "2031-08-02T04:00:00.000000Z")
    assert bench.say("purge.requested", entries=[ORDER], at="2031-08-02T04:00:00Z").outcome == "accepted"


def test_the_latest_dispatch_counts() -> None:
    bench = kept(until="2026-07-31")
    bench.dispatch(serials(1), at="2027-01-15T12:00:00Z")
    found = finding(
        bench.ask("purge.requested", entries=[ORDER], at="2031-09-01T00:00:00Z"), "retention_hold"
    )
    assert found.limit == "2032-01-16T05:00:00.000000Z"


def test_the_last_day_of_a_license_is_a_termination() -> None:
    bench = kept()
    found = finding(
        bench.ask("purge.requested", entries=[ORDER], at="2033-01-01T12:00:00Z"), "retention_hold"
    )
    assert (found.limit, found.subjects) == ("2034-01-02T05:00:00.000000Z", ("end of license D-100200",))


def test_a_revocation_ends_a_license_before_its_last_day() -> None:
    bench = kept()
    bench.accepted("license.revoked", at="2027-03-01T12:00:00Z")
    found = finding(
        bench.ask("purge.requested", entries=[ORDER], at="2027-04-01T12:00:00Z"), "retention_hold"
    )
    assert found.limit == "2032-03-02T05:00:00.000000Z"


def test_a_diversion_that_was_reported_in_error_counts_no_longer() -> None:
    bench = kept()
    divert(bench)
    divert(bench, incident="INC-8", at="2031-05-01T12:00:00Z")
    later = len(bench.log) - 1
    bench.accepted(
        "event.declared_in_error", by=(BUYER, "consignee"), index=later, id=bench.log[later][0].id,
        at="2031-06-01T12:00:00Z",
    )  # fmt: skip
    found = finding(
        bench.ask("purge.requested", entries=[ORDER], at="2034-01-01T12:00:00Z"), "retention_hold"
    )
    assert found.limit == "2034-05-02T04:00:00.000000Z"


def test_another_contracts_diversion_keeps_nothing_here() -> None:
    bench = kept()
    there = {"contract": OTHER_CONTRACT}
    bench.accepted("contract.opened", parties=PARTIES, licenses=[], **there)
    bench.say("incident.reported", what="diversion", at="2030-01-01T12:00:00Z", **there)
    found = finding(
        bench.ask("purge.requested", entries=[ORDER], at="2033-01-01T12:00:00Z"), "retention_hold"
    )
    assert found.subjects == ("end of license D-100200",)


def test_a_legal_hold_stands_over_everything_until_it_is_released() -> None:
    bench = kept()
    late = {"entries": [ORDER], "at": "2040-01-01T12:00:00Z"}
    bench.accepted("legal_hold.placed", hold="LH-1")
    bench.accepted("legal_hold.placed", hold="LH-2")
    decision = bench.say("purge.requested", **late)
    found = finding(decision, "purge_entries")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "purge_entries.legal_hold", 2, 0, ("LH-1", "LH-2"),
    )  # fmt: skip
    bench.accepted("legal_hold.released", hold="LH-1")
    assert finding(bench.ask("purge.requested", **late), "purge_entries").subjects == ("LH-2",)
    bench.accepted("legal_hold.released", hold="LH-2")
    assert bench.say("purge.requested", **late).outcome == "accepted"


def test_more_holds_than_can_be_named_are_counted() -> None:
    bench = kept()
    for number in range(103):
        bench.accepted("legal_hold.placed", hold=f"LH-{number}")
    for number in range(100):
        bench.accepted("legal_hold.released", hold=f"LH-{number}")
    holds = bench.fact(LegalHolds, CONTRACT)
    assert (holds.standing, holds.named) == (3, ())
    assert bench.ask("purge.requested", entries=[ORDER], at="2040-01-01T12:00:00Z").outcome == "denied"


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 100),
    st.sampled_from(["UTC", "America/New_York", "Asia/Shanghai", "Pacific/Apia"]),
)
def test_years_end_with_the_same_day_of_a_later_year(at: datetime, years: int, zone: str) -> None:
    day, end = day_of(at, zone), years_after(at, years, zone)
    last = day_of(end - timedelta(microseconds=1), zone)
    assert last.year == day.year + years
    assert (last.month, last.day) == (day.month, day.day) or (day.month, day.day) == (2, 29)
    assert day_of(end, zone) == last + timedelta(days=1)


def test_five_years_after_29_february_end_with_1_march() -> None:
    """The later of the two days that it could be: to keep a day too long harms nobody."""
    assert years_after(datetime(2028, 2, 29, 12, tzinfo=UTC), 5, "UTC").date() == date(2033, 3, 2)
    assert years_after(datetime(2028, 2, 29, 12, tzinfo=UTC), 4, "UTC").date() == date(2032, 3, 1)


# --- rules ----------------------------------------------------------------------------------------


def test_who_placed_a_hold_releases_it_or_an_authority_does() -> None:
    bench = Workbench().open(text=policy())
    buyer, exporter = (BUYER, "buyer"), (EXPORTER, "exporter")
    bench.accepted("legal_hold.placed", by=buyer, hold="LH-1")
    bench.accepted("legal_hold.placed", by=buyer, hold="LH-2")
    found = finding(bench.say("legal_hold.released", by=exporter, hold="LH-1"), "legal_hold_known")
    assert (found.code, found.observed, found.limit) == ("legal_hold_known.not_yours", EXPORTER, BUYER)
    assert bench.fact(LegalHolds, CONTRACT).standing == 2
    bench.accepted("legal_hold.released", by=buyer, hold="LH-1")
    released = len(bench.log) - 1
    again = finding(bench.say("legal_hold.released", by=buyer, hold="LH-1"), "legal_hold_known")
    assert (again.code, again.subjects) == ("legal_hold_known.released", (str(released),))
    bench.accepted("legal_hold.released", by=(AUTHORITY, "authority"), hold="LH-2")
    assert codes(bench.say("legal_hold.released", hold="LH-9")) == ["legal_hold_known.unknown"]
    assert codes(bench.say("legal_hold.placed", hold="LH-1")) == ["legal_hold_new.exists"]


def test_only_entries_of_the_contract_are_erased_and_none_of_the_ledgers_own() -> None:
    bench = Workbench().open(text=policy())
    bench.accepted("license.revoked")
    own = next(n for n, (event, _) in enumerate(bench.log) if event.kind == "revocation.scoped")
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    other = len(bench.log) - 1
    decision = bench.say("purge.requested", entries=[own, other, 9_999])
    assert decision.outcome == "denied"
    assert [(f.code, f.observed, f.limit, f.subjects) for f in decision.failed] == [
        ("purge_entries.own", 2, 3, (str(own),)),
        ("purge_entries.unknown", 1, 3, (str(other), "9999")),
    ]


def test_by_what_the_rest_is_read_is_never_erased() -> None:
    """Contracts, licenses, documents, keys, legal holds, and the requests to erase themselves."""
    bench = Workbench().open(text=policy())
    bench.order()
    order = bench.spoken.index("order.placed")
    bench.accepted("key.registered")
    bench.accepted("legal_hold.placed")
    bench.accepted("legal_hold.released")
    bench.accepted("purge.requested", entries=[order])
    kept = (
        "contract.opened", "policy.activated", "license.granted", "key.registered", "legal_hold.placed",
        "legal_hold.released", "purge.requested",
    )  # fmt: skip
    named = sorted(bench.spoken.index(kind) for kind in kept)
    decision = bench.ask("purge.requested", entries=sorted([order, *named]))
    assert [(f.code, f.observed, f.limit, f.subjects) for f in decision.failed] == [
        ("purge_entries.kept", 1, 8, tuple(map(str, named)))
    ]


def test_what_was_declared_in_error_is_erased_with_or_after_its_correction() -> None:
    bench = Workbench().open(text=policy())
    bench.accepted("order.placed")
    order = len(bench.log) - 1
    bench.accepted("event.declared_in_error", by=(BUYER, "buyer"), index=order, id=bench.log[order][0].id)
    decision = bench.ask("purge.requested", entries=[order])
    assert [(f.code, f.subjects) for f in decision.failed] == [("purge_entries.corrected", (str(order),))]
    assert bench.ask("purge.requested", entries=[order, order + 1]).outcome == "accepted"
    bench.accepted("purge.requested", entries=[order + 1])
    assert bench.ask("purge.requested", entries=[order]).outcome == "accepted"


@pytest.mark.parametrize("by", [(BUYER, "buyer"), (BUYER, "data_centre")])
def test_whose_records_they_are_does_not_ask_to_erase_them(by: tuple[str, str]) -> None:
    assert codes(Workbench().open(text=policy()).say("purge.requested", by=by, entries=[0])) == [
        "standing.role"
    ]
