"""Conditions on devices at their worked numbers, and the rules for devices out of use and fleets."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.decision import Decision
from ledger.facts import Device
from policies.conditions.attestation import LocationConsistency, SitePlace, reach_km
from policies.conditions.deadlines import days_after
from policies.conditions.geodesy import RADIUS_M, Place, distance_m
from policies.document import parse_document
from policies.explain import explain
from policies.tree import PolicyDocumentError
from tests.policies.at_work import attest, fleet, install, installed, second_contract
from tests.workbench import (
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
)


def proposed(decision: Decision) -> list[tuple[str, str | None]]:
    return [(p.propose, p.license) for p in decision.proposals]


# --- 6 site_allow_list ----------------------------------------------------------------------------

SITES = condition("site_allow_list", sites=["SHA-1", "SHA-2"])


@pytest.mark.parametrize(("site", "outcome"), [("SHA-1", "accepted"), ("PEK-9", "denied")])
@pytest.mark.parametrize("listed", [SITES, condition("site_allow_list")], ids=["document", "contract"])
def test_a_destination_that_is_not_listed_is_denied(listed: dict[str, Any], site: str, outcome: str) -> None:
    bench = Workbench().open(text=policy(listed))
    bench.order(1)
    decision = bench.release(serials(1), destination={"country": "CN", "site": site})
    found = finding(decision, "site_allow_list")
    assert (decision.outcome, found.observed) == (outcome, site)
    assert decision.proposals == ()


def test_a_list_in_the_document_stands_over_that_of_the_contract() -> None:
    bench = Workbench().open(text=policy(SITES))
    bench.order(1)
    assert bench.release(serials(1), destination={"country": "CN", "site": "SHA-2"}).outcome == "accepted"


def test_devices_installed_at_an_unlisted_site_are_flagged_and_a_suspension_proposed() -> None:
    bench = installed(2, SITES)
    decision = install(bench, serials(2), site="PEK-9")
    found = finding(decision, "site_allow_list")
    assert (decision.outcome, found.action) == ("flagged", "flag")
    assert (found.code, found.observed) == ("site_allow_list.not_listed", "PEK-9")
    assert proposed(decision) == [("suspension", LICENSE)]
    assert bench.spoken[-1] == "suspension.proposed"
    [said] = [s for s in explain(decision.value()) if s.startswith("site_allow_list")]
    assert said == (
        "site_allow_list: PEK-9 is none of the sites that are allowed; suspension of license D-100200 "
        "is proposed."
    )


def test_a_delivery_and_an_attestation_at_an_unlisted_site_are_flagged_too() -> None:
    bench = installed(2, SITES)
    for decision in (
        bench.receive(serials(2), site="PEK-9"),
        attest(bench, serials(2), site="PEK-9"),
        fleet(bench, 10, 10, site="PEK-9"),
    ):
        assert "site_allow_list.not_listed" in codes(decision)
        assert proposed(decision) == [("suspension", LICENSE)]


def test_a_stranger_at_a_wrong_site_suspends_nothing() -> None:
    """The device is not this contract's, so none of its licenses answers for it."""
    bench = installed(1, SITES)
    assert proposed(attest(bench, ["SN999999"], site="PEK-9")) == []


# --- 26 unique_identity ---------------------------------------------------------------------------

UNIQUE = condition("unique_identity")


def gpu(number: int) -> str:
    return f"GPU-00000000-0000-4000-8000-{number:012}"


def enrol(bench: Workbench, *pairs: tuple[str, int], **said: Any) -> Decision:
    devices = [
        {"serial": serial, "gpu_uuid": gpu(number), "certificate_sha256": "c1" * 32}
        for serial, number in pairs
    ]
    return bench.say("device.enrolled", devices=devices, **said)


def take_back(bench: Workbench, index: int, *, by: tuple[str, str] = (EXPORTER, "exporter")) -> Decision:
    return bench.say("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)


def test_a_serial_already_active_elsewhere_is_not_released() -> None:
    bench = installed(1)
    second_contract(bench, policy(UNIQUE))
    decision = bench.release(serials(1), contract=OTHER_CONTRACT, license="D-2")
    assert decision.outcome == "denied"
    assert codes(decision) == ["serials_free.taken"]


def test_a_serial_already_active_elsewhere_is_flagged_where_it_is_tested_enrolled_or_arrives() -> None:
    bench = installed(2)
    second_contract(bench, policy(UNIQUE))
    there = {"contract": OTHER_CONTRACT}
    results = [{"serial": s, "tpp": 1, "bandwidth_gb_s": 1, "result": "pass"} for s in (*serials(2), "SN9")]
    for decision in (
        bench.say("lab.tested", results=results, **there),
        enrol(bench, ("SN000001", 1), ("SN000002", 2), ("SN9", 9), **there),
        bench.receive([*serials(2), "SN9"], **there),
        install(bench, [*serials(2), "SN9"], **there),
    ):
        found = finding(decision, "unique_identity")
        assert decision.outcome == "flagged"
        assert found.code == "unique_identity.elsewhere"
        assert (found.observed, found.limit, found.shortfall) == (1, 3, 2)
        assert found.subjects == ("SN000001", "SN000002")
        assert proposed(decision) == [], "the license is the other contract's"
    assert bench.fact(Device, "SN000001").contract == CONTRACT


def test_a_device_that_works_at_one_site_is_not_installed_at_another() -> None:
    bench = installed(2, UNIQUE)
    attest(bench, ["SN000002"])
    decision = install(bench, serials(2), site="SHA-2")
    found = finding(decision, "unique_identity")
    assert (found.code, found.shortfall, found.subjects) == (
        "unique_identity.two_sites", 2, ("SN000001", "SN000002"),
    )  # fmt: skip
    assert proposed(decision) == [("suspension", LICENSE)]


def test_a_device_may_be_moved_within_its_site() -> None:
    bench = installed(2, UNIQUE)
    assert install(bench, serials(2)).outcome == "accepted"


def test_one_serial_under_two_uuids_is_flagged_and_not_released_until_one_is_taken_back() -> None:
    bench = Workbench().open(text=policy(UNIQUE))
    bench.order(2)
    assert enrol(bench, ("SN000001", 1)).outcome == "accepted"
    decision = enrol(bench, ("SN000001", 2))
    second = len(bench.log) - 1
    found = finding(decision, "unique_identity")
    assert (decision.outcome, found.code) == ("flagged", "unique_identity.two_uuids")
    assert decision.proposals == ()
    refused = bench.release(serials(1))
    assert (refused.outcome, codes(refused)) == ("denied", ["unique_identity.two_uuids"])
    assert take_back(bench, second).outcome == "accepted"
    assert bench.release(serials(1)).outcome == "accepted"


def test_one_uuid_under_two_serials_is_flagged_and_neither_is_released() -> None:
    bench = Workbench().open(text=policy(UNIQUE))
    bench.order(4)
    enrol(bench, ("SN000001", 1), ("SN000002", 2))
    decision = enrol(bench, ("SN000003", 1), ("SN000004", 4))
    found = finding(decision, "unique_identity")
    assert (found.code, found.observed, found.limit, found.subjects) == (
        "unique_identity.two_serials", 1, 2, ("SN000003",),
    )  # fmt: skip
    for chips in (["SN000001"], ["SN000003"]):
        assert codes(bench.release(chips)) == ["unique_identity.two_serials"]
    assert bench.release(["SN000002", "SN000004"]).outcome == "accepted"


def test_an_enrolment_said_again_is_the_same_enrolment() -> None:
    bench = Workbench().open(text=policy(UNIQUE))
    for _ in range(2):
        assert enrol(bench, ("SN000001", 1)).outcome == "accepted"


def test_a_stranger_cannot_dispute_what_another_contract_enrols() -> None:
    """Whoever opens a contract may say anything in it; only what it has released counts elsewhere."""
    bench = Workbench().open(text=policy(UNIQUE))
    second_contract(bench, policy(UNIQUE))
    assert enrol(bench, ("SN777", 1), ("SN000001", 7), contract=OTHER_CONTRACT).outcome == "accepted"
    assert enrol(bench, ("SN000001", 1)).outcome == "accepted"
    bench.order(1)
    assert bench.release(serials(1)).outcome == "accepted"


def test_a_uuid_of_a_device_that_another_contract_has_released_is_taken() -> None:
    bench = Workbench().open(text=policy(UNIQUE))
    second_contract(bench, policy(UNIQUE))
    there = {"contract": OTHER_CONTRACT}
    enrol(bench, ("SN777", 1), **there)
    assert bench.release(["SN777"], license="D-2", **there).outcome == "accepted"
    found = finding(enrol(bench, ("SN000001", 1)), "unique_identity")
    assert found.code == "unique_identity.two_serials"
    bench.order(1)
    assert codes(bench.release(serials(1))) == ["unique_identity.two_serials"]


def test_a_disputed_device_that_is_installed_all_the_same_proposes_a_suspension() -> None:
    bench = installed(2, UNIQUE)
    enrol(bench, ("SN000001", 1))
    enrol(bench, ("SN000001", 2))
    decision = install(bench, serials(2))
    assert codes(decision) == ["unique_identity.two_uuids"]
    assert proposed(decision) == [("suspension", LICENSE)]


# --- 28 fleet_coverage and the heartbeat ----------------------------------------------------------

COVERAGE = condition("fleet_coverage", percent="99.5")


def test_99400_of_100000_are_flagged_100_short_of_99_5_percent() -> None:
    decision = fleet(Workbench().open(text=policy(COVERAGE)), 99_400, 100_000)
    found = finding(decision, "fleet_coverage")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "fleet_coverage.short", "99.40", "99.50", 100,
    )  # fmt: skip
    assert explain(decision.value()) == [
        "fleet_coverage: 99.40 % of the fleet have attested, 99.50 % must: 100 devices short."
    ]


@pytest.mark.parametrize(("leaves", "outcome"), [(99_500, "accepted"), (99_499, "flagged")])
def test_the_last_device_of_a_share_counts(leaves: int, outcome: str) -> None:
    assert fleet(Workbench().open(text=policy(COVERAGE)), leaves, 100_000).outcome == outcome


def test_no_share_is_more_than_all() -> None:
    parse_document(policy(condition("fleet_coverage", percent="100.00", action="flag")))
    with pytest.raises(PolicyDocumentError, match=r"is 100\.01, must be 100 at most"):
        parse_document(policy(condition("fleet_coverage", percent="100.01", action="flag")))


@pytest.mark.parametrize(("leaves", "outcome"), [(2, "flagged"), (3, "accepted")])
def test_a_share_of_a_few_devices_is_rounded_up(leaves: int, outcome: str) -> None:
    """99.5 % of 3 is 2.985: two would be short of it."""
    assert fleet(Workbench().open(text=policy(COVERAGE)), leaves, 3).outcome == outcome


# --- 24 install deadline --------------------------------------------------------------------------


def test_delivered_on_10_march_is_to_be_installed_by_the_end_of_9_april() -> None:
    due = days_after(datetime(2027, 3, 10, 15, tzinfo=UTC), 30, "Asia/Shanghai")
    assert due == datetime(2027, 4, 9, 16, tzinfo=UTC), "24:00 in Shanghai"


def test_the_day_of_delivery_is_that_of_the_zone() -> None:
    """At 17:00 UTC it is the next day in Shanghai."""
    due = days_after(datetime(2027, 3, 9, 17, tzinfo=UTC), 30, "Asia/Shanghai")
    assert due == datetime(2027, 4, 9, 16, tzinfo=UTC)


def test_days_are_days_of_the_calendar_and_not_24_hours() -> None:
    """In New York the clock goes forward on 14 March 2027."""
    due = days_after(datetime(2027, 3, 13, 12, tzinfo=UTC), 1, "America/New_York")
    assert due == datetime(2027, 3, 15, 4, tzinfo=UTC)


# --- 29 attestation_validity ----------------------------------------------------------------------

VALIDITY = condition("attestation_validity", failures=3)


def test_an_unknown_measurement_is_indeterminate_and_no_failure() -> None:
    bench = installed(2, VALIDITY)
    unknown = [
        {"serial": "SN000001", "outcome": "pass"},
        {"serial": "SN000002", "outcome": "indeterminate", "measurements": "unknown", "firmware": "96.00.9F"},
    ]
    for _ in range(4):
        decision = bench.say("usage.attested", devices=unknown)
        found = finding(decision, "attestation_validity")
        assert decision.outcome == "flagged"
        assert (found.code, found.observed, found.limit, found.shortfall, found.subjects) == (
            "attestation_validity.indeterminate", 1, 2, 1, ("SN000002",),
        )  # fmt: skip
        assert decision.proposals == ()
    assert bench.fact(Device, "SN000002").failures == 0


def test_the_third_failure_in_a_row_proposes_a_suspension() -> None:
    bench = installed(2, VALIDITY)
    for _ in range(2):
        decision = attest(bench, ["SN000001"], "fail")
        assert codes(decision) == ["attestation_validity.failed"]
        assert proposed(decision) == []
    decision = attest(bench, serials(2), "fail")
    found = finding(decision, "attestation_validity")
    assert (found.code, found.observed, found.limit, found.shortfall, found.subjects) == (
        "attestation_validity.in_a_row", 0, 2, 1, ("SN000001",),
    )  # fmt: skip
    assert proposed(decision) == [("suspension", LICENSE)]


def test_a_pass_ends_a_row_and_an_indeterminate_outcome_does_not() -> None:
    bench = installed(1, VALIDITY)
    for outcome in ("fail", "fail", "pass", "fail", "indeterminate", "fail"):
        assert proposed(attest(bench, serials(1), outcome)) == []
    assert proposed(attest(bench, serials(1), "fail")) == [("suspension", LICENSE)]


def test_a_stranger_cannot_fail_the_devices_of_another_contract() -> None:
    bench = installed(1, VALIDITY)
    second_contract(bench, policy(VALIDITY))
    for _ in range(5):
        decision = attest(bench, serials(1), "fail", contract=OTHER_CONTRACT)
        assert proposed(decision) == []
    assert bench.fact(Device, "SN000001").failures == 0


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({"passed": 100}, None),
        ({"passed": 98, "failed": 2}, "attestation_validity.failed"),
        ({"passed": 97, "failed": 2, "indeterminate": 1}, "attestation_validity.failed"),
        ({"passed": 99, "indeterminate": 1}, "attestation_validity.indeterminate"),
    ],
)
def test_a_batch_is_judged_by_its_counts(outcomes: dict[str, int], code: str | None) -> None:
    bench = Workbench().open(text=policy(VALIDITY))
    assert codes(fleet(bench, 100, 100, outcomes=outcomes)) == ([code] if code else [])


# --- 30 location_consistency ----------------------------------------------------------------------


def north_of(place: Place, km: int) -> Place:
    """The nearest place due north that is at least so far away."""
    step = math.ceil(math.degrees(km * 1000 / RADIUS_M) * 1e6)
    return Place(place.latitude_e6 + step, place.longitude_e6)


SHANGHAI = Place(31_230_000, 121_470_000)
LOCATION = condition(
    "location_consistency",
    km_per_ms="150",
    sites=[{"site": "SHA-1", "latitude_e6": 31_230_000, "longitude_e6": 121_470_000}],
)


def seen_from(*observers: tuple[str, Place, int]) -> dict[str, Any]:
    return {
        "locations": [
            {
                "observer": name,
                "latitude_e6": place.latitude_e6,
                "longitude_e6": place.longitude_e6,
                "rtt_us": rtt_us,
            }
            for name, place, rtt_us in observers
        ]
    }


def test_6_ms_from_a_site_that_claims_to_be_1900_km_away_is_flagged() -> None:
    bench = installed(1, LOCATION)
    decision = attest(bench, serials(1), **seen_from(("obs-1", north_of(SHANGHAI, 1_900), 6_000)))
    found = finding(decision, "location_consistency")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.shortfall, found.unit, found.subjects) == (
        "location_consistency.too_far", 1_900, 900, 1_000, "km", ("obs-1",),
    )  # fmt: skip
    assert decision.proposals == ()
    assert explain(decision.value()) == [
        "location_consistency: the claimed site is at least 1,900 km from an observer who was answered "
        "within the time for 900 km, 1,000 km too far: obs-1."
    ]


@pytest.mark.parametrize(("km", "outcome"), [(900, "accepted"), (901, "flagged")])
@pytest.mark.parametrize("kind", ["usage", "fleet"])
def test_900_km_are_within_6_ms_and_901_are_not(kind: str, km: int, outcome: str) -> None:
    bench = installed(1, LOCATION)
    bound = seen_from(("obs-1", north_of(SHANGHAI, km), 6_000))
    decision = attest(bench, serials(1), **bound) if kind == "usage" else fleet(bench, 9, 9, **bound)
    assert decision.outcome == outcome


def test_of_several_observers_the_one_farthest_out_of_reach_is_reported() -> None:
    bench = installed(1, LOCATION)
    near, far = north_of(SHANGHAI, 1_000), north_of(SHANGHAI, 3_000)
    decision = attest(
        bench, serials(1), **seen_from(("a", near, 9_000), ("b", near, 6_000), ("c", far, 6_000))
    )
    found = finding(decision, "location_consistency")
    assert (found.observed, found.limit, found.subjects) == (3_000, 900, ("b", "c"))
    decision = attest(bench, serials(1), **seen_from(("a", near, 1_000), ("c", far, 15_000)))
    found = finding(decision, "location_consistency")
    assert (found.observed, found.limit, found.shortfall) == (1_000, 150, 850)


def test_a_site_that_the_document_does_not_place_is_flagged() -> None:
    bench = installed(1, LOCATION)
    decision = attest(bench, serials(1), site="SHA-2", **seen_from(("a", SHANGHAI, 6_000)))
    assert codes(decision) == ["location_consistency.site_unplaced"]


@pytest.mark.parametrize(
    ("required", "expected"), [(False, []), (True, ["location_consistency.no_round_trip"])]
)
def test_a_round_trip_is_missed_only_where_it_is_asked_for(required: bool, expected: list[str]) -> None:
    bench = installed(1, {**LOCATION, "required": required})
    assert codes(attest(bench, serials(1))) == expected


def test_the_reach_is_rounded_up() -> None:
    site = SitePlace(site="S", latitude_e6=0, longitude_e6=0)
    limits = LocationConsistency(sites=(site,), km_per_ms=Decimal("150"))
    assert [reach_km(us, limits) for us in (6_000, 6_001, 1, 6_667)] == [900, 901, 1, 1_001]
    odd = LocationConsistency(sites=(site,), km_per_ms=Decimal("99.999999"))
    assert reach_km(1_000_000, odd) == 100_000


places = st.builds(Place, st.integers(-90_000_000, 90_000_000), st.integers(-180_000_000, 180_000_000))


def by_floats(first: Place, second: Place) -> float:
    """The same formula by the C library: an oracle to a few metres."""
    north, south = math.radians(first.latitude_e6 / 1e6), math.radians(second.latitude_e6 / 1e6)
    across = math.radians((second.longitude_e6 - first.longitude_e6) / 1e6)
    half = math.sin((south - north) / 2) ** 2
    half += math.cos(north) * math.cos(south) * math.sin(across / 2) ** 2
    return 2 * RADIUS_M * math.asin(min(1.0, math.sqrt(half)))


@given(places, places)
def test_distances_are_those_of_a_sphere(first: Place, second: Place) -> None:
    found = distance_m(first, second)
    assert found == distance_m(second, first)
    assert abs(found - by_floats(first, second)) < 3
    assert 0 <= found <= math.pi * RADIUS_M


@given(places)
def test_a_place_is_no_distance_from_itself(place: Place) -> None:
    assert distance_m(place, place) == 0


@pytest.mark.parametrize(
    ("first", "second", "geodesic_m"),
    [
        # WGS 84 geodesics, from published values of Karney's algorithm.
        (Place(0, 0), Place(0, 90_000_000), 10_018_754),
        (Place(0, 0), Place(90_000_000, 0), 10_001_965),
        (Place(0, 0), Place(0, 1_000_000), 111_319),
        (Place(0, 0), Place(1_000_000, 0), 110_574),
    ],
)
def test_a_distance_is_never_more_than_on_the_ellipsoid(first: Place, second: Place, geodesic_m: int) -> None:
    assert geodesic_m * 0.989 < distance_m(first, second) <= geodesic_m


def test_distances_to_the_metre() -> None:
    """Frozen: another number would be another decision about what was committed."""
    beijing, antipode = Place(39_900_000, 116_400_000), Place(-31_230_000, -58_530_000)
    assert distance_m(SHANGHAI, beijing) == 1_061_121
    assert distance_m(SHANGHAI, antipode) == 19_903_368


# --- 32 destruction_evidence ----------------------------------------------------------------------

WITNESS = {"name": "J. Doe", "organisation": "Independent Test House"}
OURS = {"name": "L. Chen", "organisation": "Dragon Data Centres", "party": BUYER}


def destroy(bench: Workbench, **said: Any) -> Decision:
    return bench.say("device.destroyed", serials=serials(2), **said)


def test_a_destruction_without_a_witness_is_flagged_and_a_suspension_proposed() -> None:
    decision = destroy(installed(2, condition("destruction_evidence")), witnesses=[])
    found = finding(decision, "destruction_evidence")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit, found.shortfall) == (
        "destruction_evidence.no_witness", 0, 1, 1,
    )  # fmt: skip
    assert proposed(decision) == [("suspension", LICENSE)]


@pytest.mark.parametrize(
    ("parameters", "said", "code"),
    [
        ({}, {"witnesses": [WITNESS]}, None),
        ({"witnesses": 2}, {"witnesses": [WITNESS]}, "no_witness"),
        ({"witnesses": 2}, {"witnesses": [WITNESS, OURS]}, None),
        ({"witnesses": 2, "independent": True}, {"witnesses": [WITNESS, OURS]}, "no_witness"),
        ({"report": True}, {"report_sha256": None}, "no_report"),
        ({"report": True}, {"report_sha256": "de" * 32}, None),
        ({"methods": ["shredded"]}, {"method": "sold"}, "method"),
        ({"methods": ["shredded"]}, {"method": "shredded"}, None),
    ],
)
def test_the_document_says_what_evidence_a_destruction_needs(
    parameters: dict[str, Any], said: dict[str, Any], code: str | None
) -> None:
    decision = destroy(installed(2, condition("destruction_evidence", **parameters)), **said)
    assert codes(decision) == ([f"destruction_evidence.{code}"] if code else [])
    assert proposed(decision) == ([("suspension", LICENSE)] if code else [])


# --- rules ----------------------------------------------------------------------------------------

OUT_OF_USE = [
    "device.lost", "device.found", "device.quarantined", "device.decommissioned", "device.destroyed",
]  # fmt: skip


@pytest.mark.parametrize("kind", OUT_OF_USE)
def test_a_device_of_another_contract_is_flagged_and_not_moved(kind: str) -> None:
    bench = installed(1)
    second_contract(bench, policy())
    decision = bench.say(kind, serials=serials(1), contract=OTHER_CONTRACT)
    assert (decision.outcome, codes(decision)) == ("flagged", ["devices_known.unknown"])
    assert bench.fact(Device, "SN000001").state == "installed"


def test_what_was_never_lost_is_not_found() -> None:
    decision = installed(2).say("device.found", serials=serials(2))
    found = finding(decision, "device_state")
    assert (found.code, found.limit, found.shortfall, found.subjects) == (
        "device_state.wrong", 2, 2, ("SN000001", "SN000002"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["device.lost", "device.decommissioned", "device.destroyed"])
def test_a_device_out_of_use_that_works_is_flagged_and_stays_out_of_use(kind: str) -> None:
    bench = installed(1)
    bench.accepted(kind, serials=serials(1))
    state = bench.fact(Device, "SN000001").state
    for decision in (attest(bench, serials(1)), install(bench, serials(1))):
        assert (decision.outcome, codes(decision)) == ("flagged", ["devices_here.away"])
    assert bench.fact(Device, "SN000001").state == state


def test_a_device_that_another_contract_holds_is_not_enrolled_unnoticed() -> None:
    bench = installed(1)
    second_contract(bench, policy())
    assert codes(enrol(bench, ("SN000001", 1), contract=OTHER_CONTRACT)) == ["devices_held.elsewhere"]


def test_an_hour_is_reported_once() -> None:
    bench = Workbench().open(text=policy())
    assert fleet(bench, 9, 10).outcome == "accepted"
    first = len(bench.log) - 1
    for begins, ends in (("T00:00:00Z", "T01:00:00Z"), ("T00:30:00Z", "T01:30:00Z")):
        decision = fleet(bench, 8, 10, **{"from": f"2027-02-01{begins}", "until": f"2027-02-01{ends}"})
        found = finding(decision, "fleet_hour")
        assert (found.code, found.subjects) == ("fleet_hour.taken", (str(first),))
    next_hour = {"from": "2027-02-01T01:00:00Z", "until": "2027-02-01T02:00:00Z"}
    assert fleet(bench, 9, 10, **next_hour).outcome == "accepted"


def test_a_site_that_the_contract_does_not_have_is_flagged() -> None:
    bench = Workbench().open(text=policy())
    found = finding(fleet(bench, 9, 10, site="PEK-9"), "site_known")
    assert (found.code, found.observed) == ("site_known.unknown", "PEK-9")


@pytest.mark.parametrize(("at", "outcome"), [("00:59:59.999999Z", "flagged"), ("01:00:00Z", "accepted")])
def test_nobody_attests_to_an_hour_before_it_is_over(at: str, outcome: str) -> None:
    bench = Workbench().open(text=policy())
    said = {"from": "2027-04-01T00:00:00Z", "until": "2027-04-01T01:00:00Z"}
    decision = fleet(bench, 9, 10, at=f"2027-04-01T{at}", **said)
    assert decision.outcome == outcome
    assert codes(decision) == ([] if outcome == "accepted" else ["period_over.not_yet"])
