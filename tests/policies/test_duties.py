"""Duties that only a clock can break: opened and met by events, breached once, step by step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ledger.event import LEDGER_PARTY, Event
from ledger.facts import Duty
from ledger.values import parse_timestamp
from tests.workbench import CONTRACT, LICENSE, Workbench, condition, instant, policy, serials

INSTALL = {"id": "install", "uses": "install_deadline", "clause": "a test", "within": "P30D"}
HEARTBEAT = {
    "id": "heartbeat",
    "uses": "attestation_heartbeat",
    "clause": "a test",
    "first": "P14D",
    "every": "PT24H",
    "grace": "PT48H",
    "steps": [{"after": "PT0S", "action": "flag"}, {"after": "P4D", "action": "propose_suspension"}],
}


def bench_with(*obligations: dict[str, Any], zone: str = "UTC") -> Workbench:
    custody = condition("custody_continuity", incident_within="PT72H", action="flag")
    bench = Workbench(at="2027-02-01T12:00:00Z")
    bench.open(text=policy(custody, obligations=list(obligations), zone=zone))
    return bench


def delivered(bench: Workbench, devices: list[str], at: str) -> None:
    bench.order(len(devices))
    bench.release(devices)
    bench.dispatch(devices)
    assert bench.receive(devices, at=at).outcome == "accepted"


def installed(bench: Workbench, devices: list[str], at: str) -> None:
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in devices]
    assert bench.say("device.installed", devices=racks, at=at).outcome == "accepted"


def attested(bench: Workbench, devices: list[str], at: str, outcome: str = "pass") -> None:
    said = [{"serial": serial, "outcome": outcome} for serial in devices]
    bench.say("usage.attested", devices=said, at=at)


def duties(bench: Workbench) -> list[Duty]:
    """Those of documents: the ledger's own say when a license ends."""
    found = (fact for fact in bench.facts.changed.values() if isinstance(fact, Duty))
    return [duty for duty in found if duty.policy != LEDGER_PARTY]


def breach(event: Event) -> dict[str, Any]:
    assert event.kind == "obligation.breached", event
    return event.data.model_dump(mode="json", by_alias=True)


# --- 24 -------------------------------------------------------------------------------------------


def test_twelve_devices_idle_when_the_thirtieth_day_has_ended() -> None:
    """Delivered 03-10, 30 days: due 04-09 24:00, then 12 idle."""
    bench = bench_with(INSTALL)
    devices = serials(20)
    delivered(bench, devices, "2027-03-10T15:00:00Z")
    installed(bench, devices[:8], "2027-03-20T00:00:00Z")
    due = "2027-04-10T04:00:00Z"  # 24:00 in New York
    assert bench.tick("2027-04-10T03:59:59.999999Z") == []
    [late] = bench.tick(due)
    said = breach(late)
    assert (said["observed"], said["limit"], said["shortfall"]) == (8, 20, 12)
    assert said["subjects"] == devices[8:]
    assert (said["step"], said["action"], said["due"]) == (1, "flag", "2027-04-10T04:00:00Z")
    assert bench.tick("2028-01-01T00:00:00Z") == []


def test_all_installed_by_then_the_duty_is_satisfied() -> None:
    bench = bench_with(INSTALL)
    delivered(bench, serials(2), "2027-03-10T15:00:00Z")
    installed(bench, serials(2), "2027-04-10T03:59:59Z")
    [said] = bench.tick("2027-04-10T04:00:00Z")
    assert said.kind == "obligation.satisfied"
    assert said.data.model_dump()["observed"] == 2


# --- 28 -------------------------------------------------------------------------------------------


def test_a_device_that_falls_silent_is_flagged_then_its_license_proposed_for_suspension() -> None:
    """Last 03-01 00:00Z: due 03-02, F 03-04, S four days later, 03-08."""
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(3), "2027-02-10T00:00:00Z")
    installed(bench, serials(3), "2027-02-20T00:00:00Z")
    attested(bench, serials(3), "2027-03-01T00:00:00Z")
    key = f"{CONTRACT}/us-h200-china/heartbeat/SN000001"
    assert bench.fact(Duty, key).due == instant("2027-03-02T00:00:00Z")
    assert bench.tick("2027-03-03T23:59:59.999999Z") == []
    [flagged] = bench.tick("2027-03-04T00:00:00Z")
    said = breach(flagged)
    assert (said["about"], said["step"], said["action"]) == (serials(3), 1, "flag")
    assert bench.tick("2027-03-07T23:59:59.999999Z") == []
    graver, proposed = bench.tick("2027-03-08T00:00:00Z")
    assert (breach(graver)["step"], breach(graver)["action"]) == (2, "propose_suspension")
    assert proposed.kind == "suspension.proposed"
    assert proposed.data.model_dump() == {
        "license": LICENSE, "cause": len(bench.log) - 2, "condition": "heartbeat",
    }  # fmt: skip
    assert bench.tick("2027-12-31T00:00:00Z") == []
    assert bench.fact(Duty, key).state == "breached"


def test_a_device_attests_first_within_fourteen_days_of_its_installation() -> None:
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(1), "2027-02-10T00:00:00Z")
    installed(bench, serials(1), "2027-02-20T00:00:00Z")
    key = f"{CONTRACT}/us-h200-china/heartbeat/SN000001"
    assert bench.fact(Duty, key).due == instant("2027-03-06T00:00:00Z")
    attested(bench, serials(1), "2027-02-21T00:00:00Z", outcome="fail")
    assert bench.fact(Duty, key).due == instant("2027-03-06T00:00:00Z")
    attested(bench, serials(1), "2027-02-21T00:00:00Z")
    assert bench.fact(Duty, key).due == instant("2027-02-22T00:00:00Z")


def test_a_late_attestation_cures_the_breach_and_the_ledger_says_so() -> None:
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(2), "2027-02-10T00:00:00Z")
    installed(bench, serials(2), "2027-02-20T00:00:00Z")
    bench.tick("2027-03-10T00:00:00Z")
    attested(bench, serials(1), "2027-03-10T00:00:00Z")
    said, _ = bench.log[-1]
    assert said.kind == "obligation.satisfied"
    satisfied = said.data.model_dump()
    assert (satisfied["subjects"], satisfied["cause"]) == (("SN000001",), len(bench.log) - 2)
    key = f"{CONTRACT}/us-h200-china/heartbeat"
    assert [bench.fact(Duty, f"{key}/{s}").state for s in serials(2)] == ["open", "breached"]


def test_suspension_does_not_end_the_duty_to_attest() -> None:
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(1), "2027-02-10T00:00:00Z")
    installed(bench, serials(1), "2027-02-20T00:00:00Z")
    bench.accepted("license.suspended", at="2027-02-21T00:00:00Z")
    assert [e.kind for e in bench.tick("2027-03-08T00:00:00Z")] == ["obligation.breached"]


# --- the clock ------------------------------------------------------------------------------------


def test_after_a_long_outage_each_step_is_said_once_in_order() -> None:
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(1), "2027-02-10T00:00:00Z")
    installed(bench, serials(1), "2027-02-20T00:00:00Z")
    said = bench.tick("2029-01-01T00:00:00Z")
    assert [e.kind for e in said] == ["obligation.breached", "obligation.breached", "suspension.proposed"]
    assert [breach(e)["step"] for e in said[:2]] == [1, 2]
    assert [breach(e)["at"] for e in said[:2]] == ["2027-03-08T00:00:00Z", "2027-03-12T00:00:00Z"]
    assert bench.tick("2029-01-01T00:00:00Z") == []


def test_days_are_counted_on_the_calendar_when_the_clocks_change() -> None:
    """New York springs forward on 2027-03-14: the thirtieth day ends at 24:00 there, not an hour off."""
    bench = bench_with({**INSTALL, "within": "P10D", "grace": "P7D"}, zone="America/New_York")
    delivered(bench, serials(1), "2027-03-01T12:00:00Z")
    [duty] = duties(bench)
    assert duty.due == instant("2027-03-12T05:00:00Z")
    assert duty.next == instant("2027-03-19T04:00:00Z")


@pytest.mark.parametrize(
    ("every", "due"), [("PT24H", "2027-03-14T17:00:00Z"), ("P1D", "2027-03-14T16:00:00Z")]
)
def test_24_hours_are_as_long_when_the_clocks_change_and_a_day_is_not(every: str, due: str) -> None:
    bench = bench_with({**HEARTBEAT, "every": every, "grace": "PT48H"}, zone="America/New_York")
    delivered(bench, serials(1), "2027-03-12T00:00:00Z")
    installed(bench, serials(1), "2027-03-12T12:00:00Z")
    attested(bench, serials(1), "2027-03-13T17:00:00Z")
    [duty] = [duty for duty in duties(bench) if duty.uses == "attestation_heartbeat"]
    assert duty.due == instant(due)
    assert parse_timestamp(duty.steps[0].at) - parse_timestamp(duty.due) == timedelta(hours=48)


def test_a_process_that_remembers_nothing_says_the_same() -> None:
    bench = bench_with(HEARTBEAT, INSTALL)
    delivered(bench, serials(2), "2027-02-10T00:00:00Z")
    bench.restart()
    installed(bench, serials(2), "2027-02-20T00:00:00Z")
    bench.restart()
    attested(bench, serials(1), "2027-02-21T00:00:00Z")
    bench.restart()
    said = bench.tick("2027-06-01T00:00:00Z")
    assert [e.kind for e in said] == [
        "obligation.breached", "obligation.breached", "suspension.proposed",
        "obligation.breached", "obligation.breached", "suspension.proposed", "obligation.satisfied",
    ]  # fmt: skip


def test_whose_device_it_is_follows_the_release_not_the_speaker() -> None:
    """Nobody's attestation of a stranger's device opens a duty."""
    bench = bench_with(HEARTBEAT)
    attested(bench, ["SN999999"], "2027-02-21T00:00:00Z")
    assert duties(bench) == []
    assert bench.log[-1][1].duties == ()


@pytest.mark.parametrize("outcome", ["fail", "indeterminate"])
def test_an_attestation_that_did_not_pass_meets_nothing(outcome: str) -> None:
    bench = bench_with(HEARTBEAT)
    delivered(bench, serials(1), "2027-02-10T00:00:00Z")
    installed(bench, serials(1), "2027-02-20T00:00:00Z")
    attested(bench, serials(1), "2027-02-22T00:00:00Z", outcome=outcome)
    assert [e.kind for e in bench.tick("2027-03-08T00:00:00Z")] == ["obligation.breached"]
