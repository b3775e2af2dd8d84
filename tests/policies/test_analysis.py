"""What would have been: pointwise, counterfactually, without an entry; and how documents differ."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from ledger.decision import Decision
from ledger.event import Submission, submission_of
from ledger.values import parse_timestamp
from policies.analysis import Change, affected, backtest, change_of, coverage, diff, evaluate, judge_with
from policies.document import PolicyDocument, digest, parse_document
from policies.exported import Export, replay_export
from policies.replay import Line
from tests.policies.at_work import attest, installed
from tests.policies.told_log import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    ToldLog,
    order,
    policy_text,
    told,
)  # fmt: skip
from tests.workbench import H200, condition, policy


@pytest.fixture(scope="module")
def log() -> ToldLog:
    return told()


def export_of(log: ToldLog) -> Export:
    return Export(io.BytesIO(log.export()))


def document(change: Callable[[dict[str, Any]], object] | None = None, **header: Any) -> PolicyDocument:
    """The golden document, its conditions by id passed through `change`."""
    value = json.loads(policy_text(version=2, **header))
    conditions = {one["id"]: one for one in value["conditions"]}
    if change is not None:
        change(conditions)
    return parse_document(json.dumps({**value, "conditions": list(conditions.values())}))


def lines(changes: tuple[Change, ...] | list[Change]) -> list[str]:
    return [str(change) for change in changes]


def index_of(log: ToldLog, kind: str, *, outcome: str = "accepted", nth: int = 0) -> int:
    found = [
        index
        for index in range(len(log.entries))
        if log.event(index).kind == kind and log.decision(index)["outcome"] == outcome
    ]
    return found[nth]


# --- a candidate over history ---------------------------------------------------------------------


def test_the_document_that_was_in_force_flips_nothing(log: ToldLog) -> None:
    found = backtest(export_of(log), document())
    assert (found.pointwise, found.counterfactual) == ((), ())
    assert found.judged == 23


def test_a_looser_document_lets_through_what_was_refused(log: ToldLog) -> None:
    """A cap of 30: the order that was one unit over. Its room is then taken, and no more orders fail."""
    found = backtest(export_of(log), document(lambda c: c["quantity"].update(limit=30)))
    refused = index_of(log, "order.placed", outcome="denied", nth=2)
    assert lines(found.pointwise) == [
        f"entry {refused}, order.placed: denied → accepted: quantity no longer fails"
    ]
    # PO-2 with 9 units stands now, and PO-2 with 8, an hour later, is a number that is taken.
    assert lines(found.counterfactual) == [
        f"entry {refused}, order.placed: denied → accepted: quantity no longer fails",
        f"entry {refused + 1}, order.placed: accepted → denied: order_new fails",
    ]


def test_a_stricter_document_refuses_and_what_rested_on_it_falls_too(log: ToldLog) -> None:
    found = backtest(export_of(log), document(lambda c: c["quantity"].update(limit=11)))
    first = index_of(log, "order.placed")
    assert lines(found.pointwise)[0] == f"entry {first}, order.placed: accepted → denied: quantity fails"
    assert found.pointwise[0].why == (
        "quantity: 12 units asked or released, 11 allowed: 1 too many (headroom 11).",
    )
    pointwise, counterfactual = ({c.index for c in each} for each in (found.pointwise, found.counterfactual))
    release = index_of(log, "shipment.requested")
    # The release was of 10: by itself it passes; without its order it does not.
    assert release not in pointwise
    assert release in counterfactual
    # Without the first order there is room for PO-2 with 9 units, which was refused.
    [let_in] = [c for c in found.counterfactual if (c.before, c.after) == ("denied", "accepted")]
    assert (let_in.index, let_in.passes) == (
        index_of(log, "order.placed", outcome="denied", nth=2),
        ("quantity",),
    )


def test_a_fact_that_is_flagged_no_more_is_a_flip(log: ToldLog) -> None:
    found = backtest(export_of(log), document(lambda c: c.pop("custody")))
    assert lines(found.pointwise) == [
        f"entry {index_of(log, 'delivery.received', outcome='flagged')}, delivery.received:"
        " flagged → accepted: custody no longer fails"
    ]


def test_a_condition_that_only_watches_flips_back(log: ToldLog) -> None:
    found = backtest(export_of(log), document(lambda c: c["quantity"].update(action="shadow")))
    refused = index_of(log, "order.placed", outcome="denied", nth=2)
    [change] = found.pointwise
    assert (change.index, change.after, change.lighter) == (refused, "accepted", ("quantity",))


def test_a_candidate_reads_what_no_document_in_force_has_read(log: ToldLog) -> None:
    """12 units at 27,000.00 are above 50,000.00, and no end-user statement is on file."""
    statement = {
        "id": "statement", "uses": "end_user_statement", "at": ["order.placed"], "action": "deny",
        "clause": "15 CFR 748.11", "above": {"amount": "50000.00", "currency": "USD"},
    }  # fmt: skip
    found = backtest(export_of(log), document(lambda c: c.update(statement=statement)))
    first = found.pointwise[0]
    assert (first.index, first.fails) == (index_of(log, "order.placed"), ("statement",))
    assert first.why[0].startswith("statement: orders of 324,000.00 USD, above 50,000.00 USD an end-user")


def test_a_condition_that_weighs_more_turns_a_flag_into_a_refusal(log: ToldLog) -> None:
    flagged = document(lambda c: c["quantity"].update(action="flag"))
    refused = index_of(log, "order.placed", outcome="denied", nth=2)
    assert lines(backtest(export_of(log), document(), old=flagged).pointwise) == [
        f"entry {refused}, order.placed: flagged → denied: quantity weighs more"
    ]
    assert lines(backtest(export_of(log), flagged, old=document()).pointwise) == [
        f"entry {refused}, order.placed: denied → flagged: quantity weighs less"
    ]


def test_two_candidates_are_compared_with_each_other(log: ToldLog) -> None:
    thirty = document(lambda c: c["quantity"].update(limit=30))
    assert backtest(export_of(log), thirty, old=thirty).counterfactual == ()
    found = backtest(export_of(log), document(), old=thirty)
    assert [(c.before, c.after) for c in found.pointwise] == [("accepted", "denied")]


def test_a_document_of_another_policy_is_asked_nothing(log: ToldLog) -> None:
    other = parse_document(policy(condition("quantity_cap", limit=0)))
    found = backtest(export_of(log), other)
    assert (found.pointwise, found.counterfactual) == ((), ())


def test_the_dates_of_a_candidate_do_not_matter(log: ToldLog) -> None:
    later = document(lambda c: c["quantity"].update(limit=30), force={"from": "2040-01-01"})
    assert len(backtest(export_of(log), later).pointwise) == 1


def test_progress_reaches_the_end(log: ToldLog) -> None:
    said: list[tuple[int, int]] = []
    backtest(export_of(log), document(), progress=lambda done, size: said.append((done, size)))
    assert said[-1] == (32, 32)


def test_a_withheld_refusal_changes_no_answer(log: ToldLog) -> None:
    raw = log.export().split(b"\n")
    index = index_of(log, "order.placed", outcome="denied")
    fields = raw[index + 1].split(b"\t")
    raw[index + 1] = b"\t".join([fields[0], b"", b"", b"", b""])
    found = backtest(Export(io.BytesIO(b"\n".join(raw))), document(lambda c: c["quantity"].update(limit=30)))
    assert len(found.pointwise) == 1


def test_a_fact_that_is_flagged_either_way_flips_where_its_license_would_be_stopped() -> None:
    """Nobody refuses what has happened: what a document changes of it is what it proposes."""

    def failed(in_a_row: int) -> Decision:
        bench = installed(1, condition("attestation_validity", failures=in_a_row, action="flag"))
        return attest(bench, ["SN000001"], "fail")

    line = Line(7, "c", "", b"", None, None)
    change = change_of(line, "usage.attested", failed(2), failed(1))
    assert change is not None
    assert change.flips
    assert str(change) == (
        "entry 7, usage.attested: flagged → flagged: attestation_validity proposes to stop the license"
    )
    assert "suspension of license D-100200 is proposed" in change.why[0]
    back = change_of(line, "usage.attested", failed(1), failed(2))
    assert back is not None
    assert (back.flips, back.asks_not) == (True, ("attestation_validity",))


# --- an entry less --------------------------------------------------------------------------------


def test_what_an_entry_affects(log: ToldLog) -> None:
    """Without the levy of PO-1 its release would have been refused, and what followed from that."""
    levied = index_of(log, "levy.settled")
    found = list(affected(export_of(log), levied))
    assert str(found[0]) == (
        f"entry {index_of(log, 'shipment.requested')}, shipment.requested: accepted → denied: levy fails"
    )
    assert found[0].flips
    assert found[0].why[0].startswith("levy: 0.00 USD of levy settled, 67,500.00 USD due")
    assert [c.kind for c in found] == ["shipment.requested", "shipment.dispatched", "delivery.received"]


def test_an_entry_on_which_nothing_rests_affects_nothing(log: ToldLog) -> None:
    """The levy that was keyed twice and taken back; its correction is no news."""
    twice = index_of(log, "levy.settled", nth=2)
    assert log.event(twice + 1).kind == "event.declared_in_error"
    assert list(affected(export_of(log), twice)) == []


def test_what_several_entries_affect_is_what_rests_on_any_of_them(log: ToldLog) -> None:
    order, levied = index_of(log, "order.placed"), index_of(log, "levy.settled")
    export = export_of(log)
    alone = [{c.index for c in affected(export_of(log), one)} for one in (order, levied)]
    together = list(affected(export, order, levied))
    assert {c.index for c in together} >= set.union(*alone) - {order, levied}
    assert not {c.index for c in together} & {order, levied}


def test_what_was_denied_affects_nothing(log: ToldLog) -> None:
    for index in range(len(log.entries)):
        if log.decision(index)["outcome"] == "denied":
            assert list(affected(export_of(log), index)) == []


def test_without_the_policy_nothing_is_accepted(log: ToldLog) -> None:
    found = list(affected(export_of(log), index_of(log, "policy.activated")))
    assert "entry 7, order.placed: accepted → denied: policy_in_force fails" in lines(found)


# --- an event that nobody has submitted -----------------------------------------------------------


def asked(kind: str, by: str, at: str, **data: Any) -> Submission:
    party, _, role = by.partition("/")
    return submission_of(
        {
            "id": "00000000-0000-4000-8000-000000000001", "kind": kind, "version": 1, "contract": CONTRACT,
            "occurred_at": at, "actor": {"party": party, "role": role}, "data": data,
        }
    )  # fmt: skip


def test_an_event_is_evaluated_after_the_log_and_nothing_changes(log: ToldLog) -> None:
    submission = asked("order.placed", f"{BUYER}/buyer", "2027-10-01T00:00:00Z", **order("PO-9", 1))
    at = parse_timestamp("2027-10-01T00:00:00Z")
    first = evaluate(export_of(log), submission, at=at)
    assert first.outcome == "denied"
    assert [f.code for f in first.failed] == ["license_active.revoked", "quantity_cap.over"]
    assert evaluate(export_of(log), submission, at=at).body == first.body
    # Time never runs backwards: in February the license was neither revoked nor, in this log, alive.
    early = evaluate(export_of(log), submission, at=parse_timestamp("2027-02-01T00:00:00Z"))
    assert [f.code for f in early.failed] == ["license_active.revoked", "quantity_cap.over"]
    assert replay_export(io.BytesIO(log.export()), judge_with(document())).difference is not None


def test_an_event_is_evaluated_under_another_document(log: ToldLog) -> None:
    submission = asked("order.placed", f"{BUYER}/buyer", "2027-10-01T00:00:00Z", **order("PO-9", 1))
    at = parse_timestamp("2027-10-01T00:00:00Z")
    loose = document(lambda c: (c["quantity"].update(limit=21), c.pop("live")))
    decision = evaluate(export_of(log), submission, at=at, document=loose)
    assert decision.outcome == "accepted"
    assert decision.policies[1]["sha256"] == loose.sha256
    decision = evaluate(export_of(log), submission, at=at, document=parse_document(policy_text()))
    assert [p["policy"] for p in decision.policies] == ["constitution", "golden"]
    beside = parse_document(policy(condition("quantity_cap", limit=100)))
    decision = evaluate(export_of(log), submission, at=at, document=beside)
    assert [p["policy"] for p in decision.policies] == ["constitution", "golden", "us-h200-china"]


def test_a_correction_that_nobody_has_submitted_is_evaluated(log: ToldLog) -> None:
    levied = index_of(log, "levy.settled", nth=1)
    data = {"index": levied, "id": log.event(levied).id, "reason": "a slip"}
    submission = asked("event.declared_in_error", f"{EXPORTER}/exporter", "2027-10-01T00:00:00Z", **data)
    decision = evaluate(export_of(log), submission, at=parse_timestamp("2027-10-01T00:00:00Z"))
    assert (decision.outcome, decision.failed[0].code) == ("flagged", "correction.released")


# --- coverage -------------------------------------------------------------------------------------


def test_coverage_counts_what_was_asked_failed_and_failed_alone(log: ToldLog) -> None:
    found = {one.condition: (one.asked, one.failed, one.alone) for one in coverage(export_of(log))}
    assert found == {
        "live": (15, 4, 2),
        "window": (10, 1, 1),
        "quantity": (10, 2, 1),
        "acknowledged": (5, 1, 0),
        "laboratory": (5, 0, 0),
        "levy": (5, 2, 0),
        "custody": (5, 1, 1),
    }
    words = [str(one) for one in coverage(export_of(log))]
    assert "golden 1, laboratory: asked 5 times, never failed" in words
    assert "golden 1, levy: failed 2 of 5 times, never alone" in words
    assert "golden 1, live: failed 4 of 15 times, 2 of them alone" in words


def test_a_condition_that_was_never_asked_is_named() -> None:
    log = told()
    text = json.loads(policy_text(version=2))
    text["conditions"] = [{**text["conditions"][2], "id": "second"}]
    raw = json.dumps(text)
    activated = {"policy": "golden", "version": 2, "text": raw, "sha256": digest(raw)}
    assert log.say("policy.activated", AUTHORITY, "2028-01-01T00:00:00Z", **activated).outcome == "accepted"
    assert str(coverage(export_of(log))[-1]) == "golden 2, second: never asked"


# --- two documents --------------------------------------------------------------------------------


def test_a_document_does_not_differ_from_itself() -> None:
    assert diff(parse_document(H200), parse_document(H200)) == []


def test_every_difference_between_documents_is_said() -> None:
    def change(conditions: dict[str, Any]) -> None:
        conditions["live"]["in_transit_grace"] = "P10D"
        conditions["quantity"].update(action="flag", limit=500)
        conditions["window"]["at"] = ["order.placed"]
        conditions["levy"]["clause"] = "another clause"
        conditions["tests"] = conditions.pop("laboratory")
        conditions["tests"]["id"] = "tests"
        conditions["custody"] = {
            "id": "custody", "uses": "license_active", "action": "flag", "clause": "license conditions",
            "at": ["shipment.dispatched", "delivery.received"],
        }  # fmt: skip

    old = parse_document(policy_text())
    new = document(change, force={"from": "2027-06-01", "until": "2028-01-01"}, approvals=["exporter"])
    assert diff(old, new) == [
        "version is 2, was 1",
        "begin of force is 2027-06-01T04:00:00.000000Z, was 2027-01-01T05:00:00.000000Z",
        "end of force is 2028-01-01T05:00:00.000000Z, was not given",
        "approvals is exporter, was authority",
        "condition laboratory (laboratory_test) is removed",
        "condition live: parameter in_transit_grace is P10D, was P7D",
        "condition window: at is order.placed, was order.placed, shipment.requested",
        "condition quantity: action is flag, was deny",
        "condition quantity: parameter limit is 500, was {from: license.quantity}",
        "condition levy: clause is another clause, was tariff of 25 %",
        "condition custody: uses license_active, was custody_continuity",
        "condition custody: parameter incident_within is not given, was PT72H",
        "condition custody: parameter in_transit_grace is PT0S, was not given",
        "condition tests (laboratory_test) is added, action deny, at shipment.requested",
    ]


def test_another_order_of_conditions_is_said() -> None:
    def turn(conditions: dict[str, Any]) -> None:
        conditions["live"] = conditions.pop("live")

    assert diff(document(), document(turn)) == ["the conditions stand in another order"]
