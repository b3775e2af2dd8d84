"""Repairs, inspections, incidents, reports and holds as facts: what each changes, what is taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.errors import MalformedEvent
from ledger.event import parse_event
from ledger.facts import (
    DIVERSIONS_KEPT,
    Advances,
    Correction,
    Device,
    Incident,
    Inspection,
    LegalHolds,
    Report,
    Retention,
    Rma,
)
from tests.policies.at_work import install, installed
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    SPEAKERS,
    Workbench,
    codes,
    policy,
    serials,
    wire,
)

PAIR = [{"defective": "SN000001", "replacement": "SN9001"}]


def states(bench: Workbench, *chips: str) -> list[str]:
    return [bench.fact(Device, serial).state for serial in chips]


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    spent = {Correction.name, "interruptions"}
    return {key: f.encode().decode() for key, f in bench.facts.changed.items() if key[0] not in spent}


def correct(bench: Workbench, index: int = -1) -> list[str | None]:
    """Take an entry back, by whoever said it."""
    index %= len(bench.log)
    event, _ = bench.log[index]
    by = (event.actor.party, event.actor.role)
    return codes(bench.say("event.declared_in_error", by=by, index=index, id=event.id))


# --- repairs --------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Workbench:
    """Four devices stand installed; two of them are in a case with one advance replacement."""
    bench = installed(4)
    bench.accepted("rma.requested", serials=serials(2), replacements=2, advance=1)
    return bench


def rma(bench: Workbench) -> Rma:
    return bench.fact(Rma, f"{CONTRACT}/RMA-1")


def outstanding(bench: Workbench) -> int:
    return bench.fact(Advances, f"{CONTRACT}/{LICENSE}").outstanding


def test_a_case_goes_from_its_request_to_the_return_of_the_last_device(bench: Workbench) -> None:
    assert (rma(bench).state, outstanding(bench)) == ("requested", 1)
    bench.accepted("rma.opened", serials=serials(2))
    assert (rma(bench).state, states(bench, *serials(2))) == ("opened", ["rma_out", "rma_out"])
    bench.accepted("rma.replaced", devices=PAIR)
    assert states(bench, "SN000001", "SN9001") == ["replaced", "received"]
    bench.accepted("rma.returned", serials=["SN000001"])
    assert (rma(bench).state, outstanding(bench)) == ("opened", 0)
    bench.accepted("rma.returned", serials=["SN000002"])
    assert (rma(bench).state, outstanding(bench)) == ("closed", 0)
    assert states(bench, *serials(2)) == ["returned", "returned"]
    assert bench.fact(Device, "SN000001").site is None


def test_a_replacement_is_a_device_of_the_contract_and_of_the_same_release(bench: Workbench) -> None:
    bench.accepted("rma.opened", serials=["SN000001"])
    bench.accepted("rma.replaced", devices=PAIR)
    device, defective = bench.fact(Device, "SN9001"), bench.fact(Device, "SN000001")
    assert (device.contract, device.sku, device.shipment, device.site) == (
        CONTRACT, defective.sku, defective.shipment, "SHA-1",
    )  # fmt: skip
    assert install(bench, ["SN9001"]).outcome == "accepted"


def test_a_request_that_is_taken_back_asks_for_nothing(bench: Workbench) -> None:
    assert correct(bench) == []
    assert (rma(bench).state, outstanding(bench)) == ("cancelled", 0)
    assert codes(bench.say("rma.opened", serials=serials(2))) == ["rma_known.withdrawn"]
    assert states(bench, *serials(2)) == ["installed", "installed"]


def test_a_request_that_was_taken_up_is_not_taken_back(bench: Workbench) -> None:
    requested = len(bench.log) - 1
    bench.accepted("rma.opened", serials=serials(2))
    assert correct(bench, requested) == ["correction.dependents"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [("rma.replaced", {"devices": PAIR}), ("rma.returned", {"serials": serials(2)})],
)
def test_a_replacement_or_return_that_is_taken_back_has_changed_nothing(
    bench: Workbench, kind: str, said: dict[str, Any]
) -> None:
    bench.accepted("rma.opened", serials=serials(2))
    bench.test(["SN9001"])
    bench.facts.update(bench.fact(Device, "SN9001"), sku="H200-SXM")  # what a device is stays known
    before = every(bench)
    bench.accepted(kind, **said)
    assert every(bench) != before
    assert correct(bench) == []
    assert every(bench) == before


def test_an_opening_that_is_taken_back_puts_the_devices_back_to_work(bench: Workbench) -> None:
    bench.accepted("rma.opened", serials=serials(2))
    assert correct(bench) == []
    assert states(bench, *serials(2)) == ["installed", "installed"]


def test_a_replacement_that_works_is_not_taken_back(bench: Workbench) -> None:
    bench.accepted("rma.opened", serials=serials(2))
    bench.accepted("rma.replaced", devices=PAIR)
    replaced = len(bench.log) - 1
    install(bench, ["SN9001"])
    assert correct(bench, replaced) == ["correction.dependents"]


def test_a_replaced_device_that_went_back_is_not_replaced_back(bench: Workbench) -> None:
    bench.accepted("rma.opened", serials=serials(2))
    bench.accepted("rma.replaced", devices=PAIR)
    bench.accepted("rma.returned", serials=["SN000001"])
    returned = len(bench.log) - 1
    assert correct(bench, returned - 1) == ["correction.dependents"]
    assert correct(bench, returned) == []
    assert correct(bench, returned - 1) == []
    assert states(bench, "SN000001", "SN9001") == ["rma_out", "known"]


def test_what_follows_from_a_case_rests_on_it() -> None:
    """While the request is held, nothing may come of it."""
    assert parse_event(wire("rma.requested")).data.subject() == "rma/RMA-1"
    for kind in ("rma.opened", "rma.replaced", "rma.returned"):
        assert list(parse_event(wire(kind)).data.rests_on()) == ["rma/RMA-1"]


def test_advance_replacements_are_some_of_all() -> None:
    with pytest.raises(MalformedEvent, match="advance is 3, must not be more than 2 in all"):
        parse_event(wire("rma.requested", replacements=2, advance=3))


def test_no_device_stands_in_for_itself() -> None:
    with pytest.raises(MalformedEvent, match="SN000001 is defective and a replacement"):
        parse_event(wire("rma.replaced", devices=[{"defective": "SN000001", "replacement": "SN000001"}]))


# --- inspections, incidents, reports --------------------------------------------------------------


@pytest.fixture
def plain() -> Workbench:
    return Workbench().open(text=policy())


def test_an_inspection_is_asked_for_and_completed(plain: Workbench) -> None:
    plain.accepted("inspection.requested", at="2027-03-01T12:00:00Z")
    key = f"{CONTRACT}/EUC-2027-014"
    assert plain.fact(Inspection, key).asked_at == datetime(2027, 3, 1, 12, tzinfo=UTC)
    plain.say("inspection.completed", by=(EXPORTER, "exporter"))
    assert plain.fact(Inspection, key).state == "asked", "the exporter has not asked for it"
    before = every(plain)
    plain.accepted("inspection.completed", at="2027-04-01T12:00:00Z")
    found = plain.fact(Inspection, key)
    assert (found.state, found.result, found.asked_by) == ("completed", "satisfied", AUTHORITY)
    assert found.completed_at == datetime(2027, 4, 1, 12, tzinfo=UTC)
    assert correct(plain) == []
    assert every(plain) == before


def test_an_inspection_that_is_asked_for_again_gets_no_more_time(plain: Workbench) -> None:
    plain.accepted("inspection.requested", at="2027-03-01T12:00:00Z")
    plain.say("inspection.requested", at="2027-05-01T12:00:00Z")
    assert plain.fact(Inspection, f"{CONTRACT}/EUC-2027-014").asked_at.month == 3


def test_a_device_is_seen_or_absent() -> None:
    with pytest.raises(MalformedEvent, match="SN000001 is seen and absent"):
        parse_event(wire("inspection.completed", seen=["SN000001"], absent=["SN000001"]))


def test_the_first_report_for_a_period_counts(plain: Workbench) -> None:
    key = f"{CONTRACT}/use/2026-12-31"
    plain.accepted("report.filed", at="2027-03-02T12:00:00Z")
    first = len(plain.log) - 1
    plain.say("report.filed", at="2027-03-10T12:00:00Z")
    assert plain.fact(Report, key).filed_at == datetime(2027, 3, 2, 12, tzinfo=UTC)
    assert correct(plain, first) == []
    assert plain.fact(Report, key).withdrawn
    plain.accepted("report.filed", at="2027-03-11T12:00:00Z")
    report = plain.fact(Report, key)
    assert (report.withdrawn, report.filed_at.day) == (False, 11)


def test_an_incident_that_was_reported_in_error_frees_its_number(plain: Workbench) -> None:
    plain.accepted("incident.reported", what="loss")
    assert correct(plain) == []
    plain.accepted("incident.reported", what="tampering")
    incident = plain.fact(Incident, f"{CONTRACT}/INC-7")
    assert (incident.what, incident.withdrawn) == ("tampering", False)


def test_the_latest_diversions_are_kept(plain: Workbench) -> None:
    for number in range(DIVERSIONS_KEPT + 2):
        plain.accepted("incident.reported", what="diversion", incident=f"INC-{number}")
    plain.accepted("incident.reported", what="loss", incident="INC-99")
    diversions = plain.fact(Retention, CONTRACT).diversions
    assert len(diversions) == DIVERSIONS_KEPT
    assert diversions[-1].index == len(plain.log) - 2


def test_a_dispatch_is_an_export() -> None:
    bench = Workbench().open(text=policy())
    bench.order(2)
    bench.release(serials(2))
    for day in (2, 5):
        bench.dispatch(serials(1, first=1 if day == 2 else 2), at=f"2027-03-0{day}T00:00:00Z")
        assert bench.fact(Retention, CONTRACT).exported_at == datetime(2027, 3, day, tzinfo=UTC)


# --- holds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["legal_hold.placed", "legal_hold.released"])
def test_a_hold_that_is_taken_back_has_changed_nothing(plain: Workbench, kind: str) -> None:
    plain.accepted("legal_hold.placed", hold="LH-1")
    if kind == "legal_hold.released":
        plain.accepted("legal_hold.placed")
    before = plain.fact(LegalHolds, CONTRACT)
    plain.accepted(kind)
    assert plain.fact(LegalHolds, CONTRACT) != before
    assert correct(plain) == []
    assert plain.fact(LegalHolds, CONTRACT) == before


def test_a_hold_that_was_released_is_not_unplaced_once_more(plain: Workbench) -> None:
    plain.accepted("legal_hold.placed")
    plain.accepted("legal_hold.released")
    assert correct(plain, -2) == []
    assert plain.fact(LegalHolds, CONTRACT).standing == 0


def test_a_release_by_a_stranger_releases_nothing(plain: Workbench) -> None:
    plain.accepted("legal_hold.placed")
    plain.say("legal_hold.released", by=(BUYER, "buyer"))
    assert plain.fact(LegalHolds, CONTRACT).standing == 1
    assert correct(plain) == []
    assert plain.fact(LegalHolds, CONTRACT).standing == 1


@pytest.mark.parametrize("entries", [[], [2, 1], [1, 1], [-1], list(range(101))])
def test_entries_to_erase_ascend_and_are_few(entries: list[int]) -> None:
    with pytest.raises(MalformedEvent):
        parse_event(wire("purge.requested", entries=entries))


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        ("sla.reported", {"down_seconds": 2_592_001}, "down_seconds is 2592001, must not be more than"),
        ("sla.reported", {"period_seconds": 2_592_001}, "must fit between from and until"),
        ("job.reported", {"communication_share": "1.01"}, "communication_share is 1.01, must be 1 at most"),
        ("job.reported", {"productive_seconds": 86_401}, "must fit between from and until"),
        ("report.filed", {"until": "2026-06-30"}, "must not be before from 2026-07-01"),
    ],
)
def test_what_is_told_adds_up(kind: str, said: dict[str, Any], words: str) -> None:
    assert kind in SPEAKERS
    with pytest.raises(MalformedEvent, match=words):
        parse_event(wire(kind, **said))
