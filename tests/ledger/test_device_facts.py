"""Devices as facts: how they go out of use and come back, what attests, and what a correction restores."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.errors import MalformedEvent
from ledger.event import parse_event
from ledger.facts import (
    CLAIMS_KEPT,
    HOURS_KEPT,
    INTERRUPTIONS_KEPT,
    Correction,
    Device,
    Enrolment,
    Fleet,
    Identity,
)
from tests.policies.at_work import attest, fleet, install, installed
from tests.workbench import BUYER, CONTRACT, EXPORTER, LABORATORY, Workbench, codes, policy, serials, wire

CHIP = "SN000001"
DATA_CENTRE = (BUYER, "data_centre")


def state(bench: Workbench, chip: str = CHIP) -> str:
    return bench.fact(Device, chip).state


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    """All facts as they would be stored, but for what a correction itself leaves."""
    spent = {Correction.name, "interruptions"}
    return {key: f.encode().decode() for key, f in bench.facts.changed.items() if key[0] not in spent}


def correct(bench: Workbench, index: int = -1, *, by: tuple[str, str] = DATA_CENTRE) -> list[str | None]:
    index %= len(bench.log)
    said = bench.say("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)
    return codes(said)


# --- out of use -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "after", "site"),
    [
        ("device.lost", "lost", None),
        ("device.quarantined", "quarantined", "SHA-1"),
        ("device.decommissioned", "decommissioned", "SHA-1"),
        ("device.destroyed", "destroyed", None),
    ],
)
def test_a_device_goes_out_of_use_and_a_correction_brings_it_back(
    kind: str, after: str, site: str | None
) -> None:
    bench = installed(2)
    attest(bench, [CHIP])
    before = every(bench)
    bench.accepted(kind, serials=[CHIP])
    device = bench.fact(Device, CHIP)
    assert (device.state, device.site, device.contract) == (after, site, CONTRACT)
    assert correct(bench) == []
    assert every(bench) == before
    assert (state(bench), state(bench, "SN000002")) == ("attesting", "installed")


def test_what_was_lost_is_found_and_works_again() -> None:
    bench = installed(1)
    bench.accepted("device.lost", serials=[CHIP])
    bench.accepted("device.found", serials=[CHIP], site="SHA-1")
    assert (state(bench), bench.fact(Device, CHIP).site) == ("found", "SHA-1")
    assert install(bench, [CHIP]).outcome == "accepted"
    assert attest(bench, [CHIP]).outcome == "accepted"
    assert state(bench) == "attesting"


def test_what_was_missing_from_a_delivery_is_found() -> None:
    bench = Workbench().open(text=policy())
    bench.order(2)
    bench.release(serials(2))
    bench.dispatch(serials(2))
    bench.receive(["SN000002"], lost=[CHIP])
    bench.accepted("device.found", serials=[CHIP])
    assert state(bench) == "found"


def test_a_pass_ends_a_quarantine() -> None:
    bench = installed(1)
    bench.accepted("device.quarantined", serials=[CHIP])
    attest(bench, [CHIP], "fail")
    assert state(bench) == "quarantined"
    attest(bench, [CHIP])
    assert state(bench) == "attesting"


def test_what_is_destroyed_stays_so() -> None:
    bench = installed(1)
    bench.accepted("device.destroyed", serials=[CHIP])
    for kind in ("device.lost", "device.found", "device.quarantined", "device.decommissioned"):
        assert codes(bench.say(kind, serials=[CHIP])) == ["device_state.wrong"]
    assert state(bench) == "destroyed"


def test_a_decommissioned_device_is_destroyed_in_the_end() -> None:
    bench = installed(1)
    bench.accepted("device.decommissioned", serials=[CHIP])
    bench.accepted("device.destroyed", serials=[CHIP])
    destroyed, decommissioned = len(bench.log) - 1, len(bench.log) - 2
    assert correct(bench, decommissioned) == ["correction.dependents"]
    assert correct(bench, destroyed) == []
    assert state(bench) == "decommissioned"


def test_a_loss_is_not_taken_back_once_the_device_is_found() -> None:
    bench = installed(1)
    bench.accepted("device.lost", serials=[CHIP])
    lost = len(bench.log) - 1
    bench.accepted("device.found", serials=[CHIP])
    assert correct(bench, lost) == ["correction.dependents"]
    assert correct(bench, lost + 1) == []
    assert state(bench) == "lost"
    assert correct(bench, lost) == []
    assert state(bench) == "installed"


def test_the_first_of_two_losses_is_not_taken_back_before_the_second() -> None:
    bench = installed(1)
    for kind in ("device.lost", "device.found", "device.lost"):
        bench.accepted(kind, serials=[CHIP])
    assert correct(bench, -3) == ["correction.dependents"]
    assert state(bench) == "lost"


def test_a_quarantine_that_was_ended_by_a_pass_is_not_taken_back() -> None:
    bench = installed(1)
    bench.accepted("device.quarantined", serials=[CHIP])
    attest(bench, [CHIP])
    assert correct(bench, -2) == ["correction.dependents"]
    assert state(bench) == "attesting"


def test_a_correction_of_what_moved_nothing_moves_nothing() -> None:
    bench = installed(1)
    bench.accepted("device.quarantined", serials=[CHIP])
    assert codes(bench.say("device.found", serials=[CHIP])) == ["device_state.wrong"]
    before = every(bench)
    assert correct(bench) == []
    assert every(bench) == before


def test_an_installation_that_is_taken_back_does_not_bring_back_what_was_lost() -> None:
    bench = installed(1)
    index = len(bench.log) - 1
    bench.accepted("device.lost", serials=[CHIP])
    correct(bench, index)
    assert state(bench) == "lost"


def test_of_two_installations_each_is_taken_back_by_itself() -> None:
    """A device that was installed twice stands where the other one says; the later one goes first."""
    bench = installed(2)
    first = len(bench.log) - 1
    assert install(bench, [CHIP], site="SHA-2").outcome == "accepted"
    before = every(bench)
    assert correct(bench, first) == ["correction.dependents"]
    assert every(bench) == before
    assert correct(bench, first + 1) == []
    assert (state(bench), bench.fact(Device, CHIP).site) == ("installed", "SHA-1")
    assert correct(bench, first) == []
    assert (state(bench), state(bench, "SN000002")) == ("received", "received")


def test_an_installation_told_again_of_a_device_that_attests_gives_it_back_as_it_was() -> None:
    bench = installed(1)
    attest(bench, [CHIP])
    before = every(bench)
    assert install(bench, [CHIP], site="SHA-2").outcome == "accepted"
    assert (state(bench), bench.fact(Device, CHIP).site) == ("installed", "SHA-2")
    assert correct(bench) == []
    assert {k: v for k, v in every(bench).items() if k[0] == "device"} == {
        k: v for k, v in before.items() if k[0] == "device"
    }


def test_so_many_interruptions_are_kept_and_the_older_ones_stay_as_they_are() -> None:
    bench = installed(1)
    first = len(bench.log)
    for _ in range(INTERRUPTIONS_KEPT):
        bench.accepted("device.lost", serials=[CHIP])
        bench.accepted("device.found", serials=[CHIP])
    for index in range(first + 2 * INTERRUPTIONS_KEPT - 1, first + INTERRUPTIONS_KEPT - 1, -1):
        assert correct(bench, index) == []
    assert state(bench) == "found"
    assert correct(bench, first) == [], "what is kept no longer is told of, and moves nothing"
    assert state(bench) == "found"


# --- attestation ----------------------------------------------------------------------------------


def test_failures_are_counted_from_the_last_pass() -> None:
    bench = installed(1)
    for outcome, failures in (
        ("fail", 1), ("indeterminate", 1), ("fail", 2), ("pass", 0), ("fail", 1),
    ):  # fmt: skip
        attest(bench, [CHIP], outcome)
        assert bench.fact(Device, CHIP).failures == failures


@pytest.mark.parametrize(
    ("outcome", "measurements", "refused"),
    [
        ("pass", "match", None),
        ("fail", "match", None),
        ("fail", "mismatch", None),
        ("fail", "unknown", None),
        ("indeterminate", "unknown", None),
        ("pass", "unknown", "must be indeterminate"),
        ("pass", "mismatch", "must be fail"),
        ("indeterminate", "mismatch", "must be fail"),
    ],
)
def test_an_outcome_follows_from_what_was_measured(
    outcome: str, measurements: str, refused: str | None
) -> None:
    said = wire(
        "usage.attested", devices=[{"serial": CHIP, "outcome": outcome, "measurements": measurements}]
    )
    if refused is None:
        parse_event(said)
        return
    with pytest.raises(MalformedEvent, match=refused):
        parse_event(said)


def test_tenants_covered_are_some_of_all() -> None:
    with pytest.raises(MalformedEvent, match="must not be more than total 3"):
        parse_event(wire("usage.attested", tenants={"total": 3, "covered": 4}))


WRONG_FLEETS: list[tuple[dict[str, Any], str]] = [
    ({"leaf_count": 99_999}, "expected_count is 100000, must be leaf_count 99999 and absent_count 2"),
    ({"outcomes": {"passed": 99_999}}, "outcomes are 99999, must be as many as leaves, 99998"),
    ({"absent": ["SN000417"]}, "absent names 1 devices, must name all 2, or the first 1000"),
    ({"absent": []}, "absent names 0 devices"),
    ({"until": "2027-02-01T01:00:00.000001Z"}, "until must be after from, by an hour at most"),
    ({"until": "2027-02-01T00:00:00Z"}, "until must be after from, by an hour at most"),
]


@pytest.mark.parametrize(("said", "words"), WRONG_FLEETS)
def test_a_batch_adds_up(said: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedEvent, match=words):
        parse_event(wire("fleet.attested", **said))


def test_of_many_absent_devices_the_first_thousand_are_named() -> None:
    event = parse_event(
        wire(
            "fleet.attested",
            leaf_count=98_000, outcomes={"passed": 98_000}, absent_count=2_000, absent=serials(1_000),
        )
    )  # fmt: skip
    assert list(event.data.speaks_of()) == serials(1_000)


def hour(number: int) -> dict[str, str]:
    day, at = divmod(number, 24)
    return {
        "from": f"2027-01-{day + 10:02}T{at:02}:00:00Z",
        "until": f"2027-01-{day + 10:02}T{at:02}:59:59Z",
    }


def test_the_latest_hours_of_a_site_are_kept_in_order() -> None:
    bench = Workbench().open(text=policy())
    for number in (*range(1, HOURS_KEPT + 2), 0):
        assert fleet(bench, 9, 10, **hour(number)).outcome == "accepted"
    hours = bench.fact(Fleet, f"{CONTRACT}/{BUYER}/SHA-1").hours
    assert len(hours) == HOURS_KEPT
    assert [h.begins for h in hours] == sorted(h.begins for h in hours)
    assert hours[0].begins == datetime(2027, 1, 10, 2, tzinfo=UTC), "what came late is too old to be kept"


def test_a_batch_that_is_taken_back_leaves_its_hour_open() -> None:
    bench = Workbench().open(text=policy())
    fleet(bench, 9, 10)
    assert correct(bench) == []
    assert bench.fact(Fleet, f"{CONTRACT}/{BUYER}/SHA-1").hours == ()
    assert fleet(bench, 10, 10).outcome == "accepted"


# --- enrolment ------------------------------------------------------------------------------------


def enrol(bench: Workbench, chip: str, number: int) -> None:
    uuid = f"GPU-00000000-0000-4000-8000-{number:012}"
    said = {"serial": chip, "gpu_uuid": uuid, "certificate_sha256": "c1" * 32}
    bench.accepted("device.enrolled", devices=[said])


def test_an_enrolled_device_is_still_at_home() -> None:
    bench = Workbench().open(text=policy())
    enrol(bench, CHIP, 1)
    assert state(bench) == "enrolled"
    bench.test([CHIP])
    assert state(bench) == "tested"
    bench.order(2)
    enrol(bench, "SN000002", 2)
    assert bench.release(serials(2)).outcome == "accepted"


def test_an_enrolment_of_a_device_in_use_moves_nothing() -> None:
    bench = installed(1)
    enrol(bench, CHIP, 1)
    assert state(bench) == "installed"


def test_an_enrolment_that_is_taken_back_binds_nothing() -> None:
    bench = Workbench().open(text=policy())
    enrol(bench, CHIP, 1)
    assert correct(bench, by=(EXPORTER, "exporter")) == []
    assert state(bench) == "known"
    assert bench.fact(Enrolment, CHIP).claims == ()
    assert bench.fact(Identity, "GPU-00000000-0000-4000-8000-000000000001").bearers == ()


def test_a_repeat_that_is_taken_back_leaves_the_first_enrolment() -> None:
    bench = Workbench().open(text=policy())
    enrol(bench, CHIP, 1)
    before = every(bench)
    enrol(bench, CHIP, 1)
    assert every(bench) == before
    assert correct(bench, by=(EXPORTER, "exporter")) == []
    assert every(bench) == before


def test_a_test_that_is_taken_back_leaves_the_enrolment() -> None:
    bench = Workbench().open(text=policy())
    enrol(bench, CHIP, 1)
    bench.test([CHIP])
    assert correct(bench, by=(LABORATORY, "laboratory")) == []
    assert bench.fact(Enrolment, CHIP).claims_of(CONTRACT)[0].certificate_sha256 == "c1" * 32


def test_of_many_disputed_enrolments_the_first_are_kept() -> None:
    bench = Workbench().open(text=policy())
    for number in range(CLAIMS_KEPT + 3):
        enrol(bench, CHIP, number)
        enrol(bench, f"SN{number:06}", 999)
    assert len(bench.fact(Enrolment, CHIP).claims) == CLAIMS_KEPT
    assert len(bench.fact(Identity, "GPU-00000000-0000-4000-8000-000000000999").bearers) == CLAIMS_KEPT
