"""The obligations of the catalogue, each with its worked example and the instants on either side."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.facts import Acknowledgements, Duty, License
from ledger.values import format_timestamp
from policies.document import digest
from policies.obligations import OBLIGATIONS
from tests.policies.test_corrections import entry
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LABORATORY,
    LICENSE,
    OPENED,
    Workbench,
    activation,
    codes,
    condition,
    instant,
    policy,
    serials,
    usd,
)

H1 = {"report": "use", "every": "half_year", "within": "P31D"}
Said = list[tuple[str, dict[str, Any]]]


def obliged(uses: str, **fields: Any) -> dict[str, Any]:
    return {"id": uses, "uses": uses, "clause": "a test", **fields}


def bench_with(*obligations: dict[str, Any], **header: Any) -> Workbench:
    bench = Workbench(at="2027-01-05T12:00:00Z")
    return bench.open(text=policy(condition("custody_continuity", incident_within="PT72H", action="flag"),
                                  obligations=list(obligations), **header))  # fmt: skip


def ticked(bench: Workbench, at: str) -> Said:
    return [(e.kind, e.data.model_dump(mode="json", exclude_none=True)) for e in bench.tick(at)]


def numbers(said: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(said.get(name) for name in ("observed", "limit", "shortfall", "unit"))


# --- 23 -------------------------------------------------------------------------------------------


def released(bench: Workbench, units: int, at: str, *, first: int = 1, shipment: str = "SH-1") -> None:
    bench.accepted("shipment.requested", shipment=shipment, serials=serials(units, first=first), at=at)


def test_four_hundred_of_a_march_of_five_thousand_are_unmet() -> None:
    """March: due 5,000: 4,600 released; on 04-01 unmet 400."""
    bench = bench_with(obliged("batch_due", window="month", due=5_000))
    bench.accepted("order.placed", units=4_600)
    released(bench, 4_600, "2027-03-15T00:00:00Z")
    midnight = "2027-04-01T04:00:00Z"
    ticked(bench, "2027-03-31T00:00:00Z")
    assert ticked(bench, "2027-04-01T03:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, midnight)
    assert (kind, said["about"]) == ("obligation.breached", [f"{LICENSE}/2027-03"])
    assert numbers(said) == (4_600, 5_000, 400, "units")
    assert said["again"]["subject"] == f"{LICENSE}/2027-04"


def test_a_month_in_which_all_was_released_is_satisfied_and_the_next_begins() -> None:
    bench = bench_with(obliged("batch_due", window="month", due=3))
    bench.accepted("order.placed", units=3)
    released(bench, 3, "2027-02-01T05:00:00Z")
    ticked(bench, "2027-02-28T00:00:00Z")
    [(kind, said)] = ticked(bench, "2027-03-01T05:00:00Z")
    assert (kind, numbers(said)) == ("obligation.satisfied", (3, 3, None, "units"))
    after = [
        (kind, said["again"]["subject"].partition("/")[2])
        for kind, said in ticked(bench, "2027-05-31T00:00:00Z")
    ]
    assert after == [("obligation.breached", "2027-04"), ("obligation.breached", "2027-05")]


def test_a_document_that_is_replaced_asks_for_nothing_more() -> None:
    bench = bench_with(obliged("batch_due", window="month", due=3), force={"from": "2027-01-01"})
    text = policy(version=2, force={"from": "2027-03-15"})
    bench.accepted("policy.activated", at="2027-03-01T12:00:00Z", **activation(text, version=2))
    said = ticked(bench, "2027-12-01T00:00:00Z")
    assert [one["about"] for kind, one in said[:2]] == [[f"{LICENSE}/2027-{m}"] for m in ("01", "02")]
    # March falls due under a document that does not ask for it.
    [(kind, lapsed)] = said[2:]
    assert (kind, lapsed["subjects"], "again" in lapsed) == (
        "obligation.lapsed", [f"{LICENSE}/2027-03"], False,
    )  # fmt: skip


def test_a_document_of_a_later_day_opens_its_first_period_on_that_day() -> None:
    bench = Workbench().open(text=None)
    text = policy(obligations=[obliged("periodic_report", **H1)], force={"from": "2027-07-01"})
    decision = bench.accepted("policy.activated", at=OPENED, **activation(text))
    [change] = decision.duties
    assert (change.subjects, change.due) == (("2027-12-31",), "2028-02-01T05:00:00.000000Z")


# --- 21 -------------------------------------------------------------------------------------------


def test_two_thousand_domestic_units_short_at_the_end_of_the_quarter() -> None:
    """10,000 imported 1:1, 8,000 domestic at quarter end: short 2,000."""
    bench = bench_with(obliged("domestic_copurchase", ratio="1", measure="units", window="quarter"))
    cleared = bench.say("customs.cleared", at="2027-02-10T00:00:00Z", quantity=10_000)
    assert cleared.outcome != "denied"
    bought = {"units": 8_000, "from": "2027-01-01", "until": "2027-03-31"}
    assert bench.say("domestic.purchased", at="2027-03-20T00:00:00Z", **bought).outcome != "denied"
    ticked(bench, "2027-01-31T00:00:00Z")
    [(kind, said)] = ticked(bench, "2027-04-01T04:00:00Z")
    assert (kind, numbers(said)) == ("obligation.breached", (8_000, 10_000, 2_000, "units"))


# --- 33 -------------------------------------------------------------------------------------------

CHECK = obliged(
    "inspection_deadline", within="P60D",
    steps=[{"after": "PT0S", "action": "flag"}, {"after": "P60D", "action": "propose_revocation"}],
)  # fmt: skip


def test_an_inspection_that_is_not_made_is_flagged_then_a_revocation_proposed() -> None:
    """Asked 03-01, 60 + 60 d: due 04-30 24:00 flagged; 06-29 24:00 revocation proposed."""
    bench = bench_with(CHECK)
    bench.accepted("inspection.requested", at="2027-03-01T15:00:00Z")
    assert ticked(bench, "2027-05-01T03:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, "2027-05-01T04:00:00Z")
    assert (kind, said["step"], said["action"]) == ("obligation.breached", 1, "flag")
    assert ticked(bench, "2027-06-30T03:59:59.999999Z") == []
    [(_, graver), (kind, proposed)] = ticked(bench, "2027-06-30T04:00:00Z")
    assert (graver["step"], graver["action"]) == (2, "propose_revocation")
    assert (kind, proposed["license"]) == ("revocation.proposed", LICENSE)


def test_who_asked_says_that_the_inspection_is_complete() -> None:
    bench = bench_with(CHECK)
    bench.accepted("inspection.requested", at="2027-03-01T15:00:00Z")
    bench.say("inspection.completed", by=("acme", "exporter"), at="2027-04-01T00:00:00Z")
    key = f"{CONTRACT}/us-h200-china/inspection_deadline/EUC-2027-014"
    assert bench.fact(Duty, key).state == "open"
    bench.accepted("inspection.completed", at="2027-05-01T03:59:59Z")
    assert bench.fact(Duty, key).state == "met"
    assert ticked(bench, "2027-12-01T00:00:00Z") == []


# --- 34 -------------------------------------------------------------------------------------------


def report(bench: Workbench, until: str, at: str) -> None:
    fields = {"report": "use", "from": "2027-01-01", "until": until}
    assert bench.say("report.filed", at=at, **fields).outcome != "denied"


def test_the_report_for_the_first_half_is_missing_on_the_first_of_august() -> None:
    """H1 report due 07-31: missing on 08-01 00:00 zone."""
    bench = bench_with(obliged("periodic_report", **H1), force={"from": "2027-01-01"})
    ticked(bench, "2027-02-01T05:00:00Z")
    assert ticked(bench, "2027-08-01T03:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, "2027-08-01T04:00:00Z")
    assert (kind, said["about"], said["again"]["subject"]) == (
        "obligation.breached", ["2027-06-30"], "2027-12-31",
    )  # fmt: skip
    report(bench, "2027-06-30", "2027-08-02T00:00:00Z")
    cured, _ = bench.log[-1]
    assert cured.kind == "obligation.satisfied"


def test_a_report_in_time_meets_it_and_one_for_another_period_does_not() -> None:
    bench = bench_with(obliged("periodic_report", **H1), force={"from": "2027-01-01"})
    report(bench, "2027-03-31", "2027-07-30T00:00:00Z")
    key = f"{CONTRACT}/us-h200-china/periodic_report/2027-06-30"
    ticked(bench, "2027-07-01T00:00:00Z")
    assert bench.fact(Duty, key).state == "open"
    report(bench, "2027-06-30", "2027-08-01T03:59:59Z")
    [(kind, said)] = ticked(bench, "2027-08-01T04:00:00Z")
    assert (kind, said["again"]["subject"]) == ("obligation.satisfied", "2027-12-31")
    assert bench.fact(Duty, key).state == "met"


def test_a_loss_is_reported_within_three_days() -> None:
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    bench.receive(serials(2), lost=["SN000003"], at="2027-03-01T00:00:00Z")
    assert ticked(bench, "2027-03-03T23:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, "2027-03-04T00:00:00Z")
    assert (kind, said["about"]) == ("obligation.breached", ["shipment/SH-1"])


@pytest.mark.parametrize("rest", [None, "2027-03-03T00:00:00Z", "2027-03-05T00:00:00Z"])
def test_what_a_delivery_does_not_speak_of_is_missing_until_it_comes(rest: str | None) -> None:
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    bench.receive(serials(1), at="2027-03-01T00:00:00Z")
    bench.receive(["SN000002"], at="2027-03-02T00:00:00Z")
    if rest == "2027-03-03T00:00:00Z":
        bench.receive(["SN000003"], at=rest)
        assert ticked(bench, "2027-12-01T00:00:00Z") == []
        return
    [(kind, said)] = ticked(bench, "2027-03-04T00:00:00Z")
    assert (kind, said["about"]) == ("obligation.breached", ["shipment/SH-1"])
    if rest is not None:
        bench.receive(["SN000003"], at=rest)
        assert bench.spoken[-1] == "obligation.satisfied"


@pytest.mark.parametrize("number", ["SH-1", "SH-9"])
def test_what_was_told_as_missing_is_missing_until_it_comes(number: str) -> None:
    """Whatever number it left under: another delivery that does not speak of it brings nothing."""
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3), shipment="SH-8")
    bench.receive(serials(2), lost=["SN000003"], shipment=number, at="2027-03-01T00:00:00Z")
    bench.receive(serials(1), shipment=number, at="2027-03-02T00:00:00Z")
    [(kind, said)] = ticked(bench, "2027-03-04T00:00:00Z")
    assert (kind, said["about"]) == ("obligation.breached", [f"shipment/{number}"])
    bench.receive(["SN000003"], shipment=number, at="2027-03-05T00:00:00Z")
    # Of a number that was never released nobody knows what is missing: only an incident meets it.
    assert (bench.spoken[-1] == "obligation.satisfied") is (number == "SH-1")


def test_an_incident_that_names_the_shipment_meets_it() -> None:
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    bench.receive(serials(2), lost=["SN000003"], at="2027-03-01T00:00:00Z")
    bench.say("incident.reported", shipment="SH-1", serials=["SN000003"], at="2027-03-02T00:00:00Z")
    assert ticked(bench, "2027-12-01T00:00:00Z") == []


# --- 39 -------------------------------------------------------------------------------------------


def test_whoever_does_not_acknowledge_a_revocation_in_time_is_in_breach_and_late_when_it_does() -> None:
    bench = bench_with(obliged("revocation_acknowledgement", within="PT24H"))
    bench.accepted("license.revoked", at="2027-03-02T00:00:00Z")
    revocation = bench.spoken.index("license.revoked")
    said = {"license": LICENSE, "revocation": revocation}
    in_time = {"by": (BUYER, "consignee"), "at": "2027-03-02T12:00:00Z"}
    assert bench.say("revocation.acknowledged", **said, **in_time).outcome == "accepted"
    assert ticked(bench, "2027-03-02T23:59:59.999999Z") == []
    [(kind, told)] = ticked(bench, "2027-03-03T00:00:00Z")
    late = [f"{LICENSE}/{party}" for party in (EXPORTER, FORWARDER, LABORATORY)]
    assert (kind, sorted(told["about"])) == ("obligation.breached", sorted(late))
    bench.say("revocation.acknowledged", **said, by=(EXPORTER, "exporter"), at="2027-03-05T00:00:00Z")
    assert bench.spoken[-1] == "obligation.satisfied"
    acknowledged = bench.fact(Acknowledgements, f"{CONTRACT}/{LICENSE}")
    assert [(one.party, format_timestamp(one.at)) for one in acknowledged.by] == [
        (BUYER, instant("2027-03-02T12:00:00Z")), (EXPORTER, instant("2027-03-05T00:00:00Z")),
    ]  # fmt: skip


def test_an_acknowledgement_of_what_is_no_revocation_is_flagged_and_meets_nothing() -> None:
    bench = bench_with(obliged("revocation_acknowledgement", within="PT24H"))
    bench.accepted("license.revoked", at="2027-03-02T00:00:00Z")
    revocation = bench.spoken.index("license.revoked")
    for wrong in (
        {"license": LICENSE, "revocation": revocation - 1}, {"license": LICENSE, "revocation": 10_000},
        {"license": "D-OTHER", "revocation": revocation},
    ):  # fmt: skip
        decision = bench.say("revocation.acknowledged", **wrong, at="2027-03-02T01:00:00Z")
        assert codes(decision) == ["revocation_known.unknown"]
    assert due_of(bench, f"{LICENSE}/{BUYER}", "revocation_acknowledgement").state == "open"


def test_after_a_revocation_in_error_the_next_one_is_acknowledged_by_its_own_index() -> None:
    bench = bench_with(obliged("revocation_acknowledgement", within="PT24H"))
    buyer, subject = {"by": (BUYER, "consignee")}, f"{LICENSE}/{BUYER}"
    bench.accepted("license.revoked", at="2027-03-02T00:00:00Z")
    slip = entry(bench, "license.revoked")
    bench.accepted("revocation.acknowledged", license=LICENSE, revocation=slip["index"], **buyer)
    bench.accepted("event.declared_in_error", **slip, by=(AUTHORITY, "authority"))
    bench.accepted("license.revoked", at="2027-03-03T00:00:00Z")
    again = entry(bench, "license.revoked")["index"]
    bench.accepted("revocation.acknowledged", license=LICENSE, revocation=slip["index"], **buyer)
    assert due_of(bench, subject, "revocation_acknowledgement").state == "open"
    bench.accepted("revocation.acknowledged", license=LICENSE, revocation=again, **buyer)
    assert due_of(bench, subject, "revocation_acknowledgement").state == "met"
    said = bench.fact(Acknowledgements, f"{CONTRACT}/{LICENSE}").by
    assert [(one.party, one.revocation) for one in said] == [(BUYER, slip["index"]), (BUYER, again)]
    # An acknowledgement in error leaves the duty as it was; the next one meets it.
    bench.accepted("event.declared_in_error", **entry(bench, "revocation.acknowledged"), **buyer)
    assert due_of(bench, subject, "revocation_acknowledgement").state == "open"
    bench.accepted("revocation.acknowledged", license=LICENSE, revocation=again, **buyer)
    assert due_of(bench, subject, "revocation_acknowledgement").state == "met"


# --- 36 -------------------------------------------------------------------------------------------


def test_a_share_that_is_fifty_thousand_short_after_thirty_days() -> None:
    """1,000 × 27,000.00 × 0.15 = 4,050,000.00 within 30 d of invoice; paid 4,000,000.00: short 50,000.00."""
    share = {"rate": "0.15", "within": "P30D", "rounding": "half_up"}
    bench = bench_with(obliged("revenue_share_due", **share))
    bench.accepted("order.placed", units=1_000)
    invoiced = {"invoice": "INV-1", "order": "PO-4711", "amount": usd("27000000.00")}
    assert bench.say("invoice.issued", at="2027-03-01T15:00:00Z", **invoiced).outcome != "denied"
    paid = {"order": "PO-4711", "purpose": "revenue_share", "amount": usd("4000000.00")}
    assert bench.say("payment.received", at="2027-03-20T00:00:00Z", **paid).outcome != "denied"
    assert ticked(bench, "2027-04-01T03:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, "2027-04-01T04:00:00Z")
    assert kind == "obligation.breached"
    assert numbers(said) == ("4000000.00", "4050000.00", "50000.00", "USD")


# --- 31 -------------------------------------------------------------------------------------------


def repaired() -> Workbench:
    bench = bench_with(obliged("rma_return", within="P60D"))
    bench.accepted("order.placed", units=2)
    bench.release(serials(2))
    bench.dispatch(serials(2))
    bench.receive(serials(2), at="2027-02-10T00:00:00Z")
    asked = {"rma": "RMA-1", "serials": ["SN000001"], "replacements": 1, "advance": 1}
    bench.accepted("rma.requested", at="2027-02-20T00:00:00Z", **asked)
    bench.say("rma.opened", serials=["SN000001"], at="2027-02-21T00:00:00Z")
    devices = [{"defective": "SN000001", "replacement": "SN010001"}]
    assert bench.say("rma.replaced", devices=devices, at="2027-03-01T15:00:00Z").outcome != "denied"
    return bench


def test_a_defective_device_that_stays_is_flagged_on_day_61() -> None:
    bench = repaired()
    assert ticked(bench, "2027-05-01T03:59:59.999999Z") == []
    [(kind, said)] = ticked(bench, "2027-05-01T04:00:00Z")
    assert (kind, numbers(said), said["subjects"]) == (
        "obligation.breached", (0, 1, 1, "devices"), ["SN000001"],
    )  # fmt: skip


def test_a_defective_device_that_went_back_satisfies_it() -> None:
    bench = repaired()
    bench.say("rma.returned", serials=["SN000001"], at="2027-04-30T00:00:00Z")
    [(kind, said)] = ticked(bench, "2027-05-01T04:00:00Z")
    assert (kind, numbers(said)) == ("obligation.satisfied", (1, 1, None, "devices"))


# --- what is not done by saying it again ----------------------------------------------------------


def fleet(heartbeat: dict[str, Any], **header: Any) -> Workbench:
    bench = bench_with(heartbeat, **header)
    bench.accepted("order.placed", units=2)
    bench.release(serials(2))
    bench.dispatch(serials(2))
    bench.receive(serials(2), at="2027-02-10T00:00:00Z")
    install(bench, "2027-02-20T00:00:00Z")
    return bench


def install(bench: Workbench, at: str) -> None:
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in serials(2)]
    assert not bench.say("device.installed", devices=racks, at=at).denied


BEAT = obliged("attestation_heartbeat", first="P14D", every="PT24H")


def due_of(bench: Workbench, subject: str, uses: str = "attestation_heartbeat") -> Duty:
    return bench.fact(Duty, f"{CONTRACT}/us-h200-china/{uses}/{subject}")


def test_an_installation_said_again_gives_no_more_time() -> None:
    bench = fleet(BEAT)
    before = due_of(bench, "SN000001")
    install(bench, "2027-03-01T00:00:00Z")
    assert due_of(bench, "SN000001") == before
    [(_, late)] = ticked(bench, "2027-03-06T00:00:00Z")
    assert late["about"] == serials(2)
    install(bench, "2027-03-07T00:00:00Z")
    assert due_of(bench, "SN000001").state == "breached"
    assert bench.log[-1][0].kind == "device.installed"


def test_only_what_really_leaves_use_ends_the_duty_and_what_comes_back_begins_it() -> None:
    bench = fleet(BEAT)
    bench.say("rma.opened", rma="RMA-NONE", serials=["SN000001"], at="2027-02-21T00:00:00Z")
    assert due_of(bench, "SN000001").state == "open"
    bench.say("device.lost", serials=["SN000001"], at="2027-02-22T00:00:00Z")
    lost = len(bench.log) - 1
    assert [due_of(bench, s).state for s in serials(2)] == ["met", "open"]
    mistaken = bench.log[lost][0]
    taken_back = {"index": lost, "id": mistaken.id}
    by = (mistaken.actor.party, mistaken.actor.role)
    decision = bench.say("event.declared_in_error", by=by, at="2027-02-23T00:00:00Z", **taken_back)
    assert not decision.denied
    assert due_of(bench, "SN000001").state == "open"


def test_a_loss_that_is_told_again_gives_no_more_time_and_one_taken_back_is_no_duty() -> None:
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    bench.receive(serials(1), lost=["SN000003"], at="2027-03-01T00:00:00Z")
    bench.receive(["SN000002"], lost=["SN000003"], at="2027-03-03T00:00:00Z")
    assert due_of(bench, "shipment/SH-1", "incident_report").due == instant("2027-03-04T00:00:00Z")


def test_an_incident_taken_back_leaves_the_report_due_as_it_was() -> None:
    bench = bench_with(obliged("incident_report", within="PT72H"))
    bench.accepted("order.placed", units=3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    bench.receive(serials(2), lost=["SN000003"], at="2027-03-01T00:00:00Z")
    before = due_of(bench, "shipment/SH-1", "incident_report")
    bench.say("incident.reported", shipment="SH-1", serials=["SN000003"], at="2027-03-02T00:00:00Z")
    told = bench.log[-1][0]
    assert due_of(bench, "shipment/SH-1", "incident_report").state == "met"
    by = (told.actor.party, told.actor.role)
    taken_back = {"index": len(bench.log) - 1, "id": told.id}
    bench.accepted("event.declared_in_error", by=by, at="2027-03-03T00:00:00Z", **taken_back)
    after = due_of(bench, "shipment/SH-1", "incident_report")
    assert (after.state, after.due) == ("open", before.due)
    assert [kind for kind, _ in ticked(bench, "2027-03-04T00:00:00Z")] == ["obligation.breached"]


def test_a_version_that_drops_an_obligation_lets_its_duties_lapse() -> None:
    bench = fleet(BEAT)
    text = policy(version=2)
    bench.accepted("policy.activated", at="2027-02-25T00:00:00Z", **activation(text, version=2))
    [(kind, said)] = [one for one in ticked(bench, "2027-04-01T00:00:00Z") if "SN000001" in str(one)]
    assert (kind, said["subjects"]) == ("obligation.lapsed", ["SN000001"])


def test_a_shadow_of_the_same_version_does_not_speak_for_the_one_in_force() -> None:
    bench = fleet(BEAT)
    shadow = policy(version=2)
    named = {"policy": "us-h200-china", "version": 2, "sha256": digest(shadow)}
    bench.accepted("policy.proposed", at="2027-02-21T00:00:00Z", **activation(shadow, version=2))
    bench.accepted("policy.activated", at="2027-02-21T00:00:00Z", begins=None, mode="shadow", **named)
    real = policy(version=2, obligations=[BEAT])
    bench.accepted("policy.activated", at="2027-02-22T00:00:00Z", **activation(real, version=2))
    said = [{"serial": s, "outcome": "pass"} for s in serials(2)]
    bench.say("usage.attested", devices=said, at="2027-02-23T00:00:00Z")
    assert [kind for kind, _ in ticked(bench, "2027-02-24T00:00:00Z")] == ["obligation.breached"]


def test_a_duty_that_cannot_be_judged_keeps_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        raise ZeroDivisionError

    bench = bench_with(obliged("batch_due", window="month", due=3))
    monkeypatch.setattr(type(OBLIGATIONS["batch_due"]), "again", again)
    assert [kind for kind, _ in ticked(bench, "2027-06-01T05:00:00Z")] == ["obligation.breached"]


# --- the catalogue --------------------------------------------------------------------------------


def test_the_obligations_and_their_numbers() -> None:
    assert {name: obligation.number for name, obligation in OBLIGATIONS.items()} == {
        "install_deadline": 24, "attestation_heartbeat": 28, "batch_due": 23, "domestic_copurchase": 21,
        "periodic_report": 34, "inspection_deadline": 33, "rma_return": 31, "incident_report": 34,
        "revenue_share_due": 36, "revocation_acknowledgement": 39,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(OBLIGATIONS))
def test_every_obligation_has_its_text_and_says_what_is_late(name: str) -> None:
    obligation = OBLIGATIONS[name]
    assert len(obligation.text) > 80
    assert obligation.sentences["late"]


# --- 2 --------------------------------------------------------------------------------------------


def test_the_ledger_says_that_a_license_ends_and_that_it_has_ended() -> None:
    """Alerts 90, 30 and 7 days before; last day 2030-02-09: over at 24:00 in the contract's zone."""
    bench = Workbench().open()
    said = [
        (event.kind, at)
        for at in (
            "2029-11-12T04:59:59Z", "2029-11-12T05:00:00Z", "2030-01-11T05:00:00Z", "2030-02-03T05:00:00Z",
            "2030-02-10T04:59:59.999999Z", "2030-02-10T05:00:00Z", "2031-01-01T00:00:00Z",
        )
        for event in bench.tick(at)
    ]  # fmt: skip
    assert said == [
        ("license.expiring", "2029-11-12T05:00:00Z"),
        ("license.expiring", "2030-01-11T05:00:00Z"),
        ("license.expiring", "2030-02-03T05:00:00Z"),
        ("license.expired", "2030-02-10T05:00:00Z"),
    ]
    assert bench.fact(License, LICENSE).state == "expired"


def test_an_amended_license_ends_on_its_new_day_and_a_revoked_one_never() -> None:
    bench = Workbench().open()
    bench.accepted("license.amended", valid_until="2030-03-09", conditions_sha256=None)
    assert [e.kind for e in bench.tick("2030-02-10T05:00:00Z")] == ["license.expiring"] * 2
    bench.accepted("license.revoked", at="2030-03-01T00:00:00Z")
    assert bench.tick("2031-01-01T00:00:00Z") == []


def test_of_a_license_that_is_short_only_the_alerts_that_are_to_come_are_said() -> None:
    bench = Workbench().open(valid_from="2026-01-01", valid_until="2026-02-01")
    said = [event.kind for at in ("2026-01-26T05:00:00Z", "2026-02-02T05:00:00Z") for event in bench.tick(at)]
    assert said == ["license.expiring", "license.expired"]
