"""The log judged again: the same bytes, or the first difference in words."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.entry import Entry
from ledger.errors import UnusableInput
from ledger.facts import License
from ledger.values import parse_timestamp
from ledger.verify import verify_export
from policies.difference import Difference
from policies.engine import Engine
from policies.exported import Export, line_from, replay_export
from policies.replay import Outcome, Replay
from tests.ledger.sample_log import SIGNER, SampleLog
from tests.policies.told_log import (
    BUYER,
    EXPORTER,
    FORWARDER,
    LICENSE,
    ToldLog,
    dispatched,
    policy_text,
    release,
    serials,
    told,
)

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "vectors" / "decisions-1.txt"


@pytest.fixture(scope="module")
def log() -> ToldLog:
    return told()


def replayed(raw: bytes) -> Outcome:
    return replay_export(io.BytesIO(raw), Engine())


def only(raw: bytes) -> Difference:
    found = replayed(raw).difference
    assert found is not None
    return found


def index_of(log: ToldLog, kind: str, *, outcome: str | None = None) -> int:
    """The first entry of the kind."""
    return next(
        index
        for index in range(len(log.entries))
        if log.event(index).kind == kind and outcome in (None, log.decision(index)["outcome"])
    )


def withheld(raw: bytes, index: int, *names: str) -> bytes:
    lines = raw.split(b"\n")
    fields = lines[index + 1].split(b"\t")
    for name in names:
        at = 1 + 2 * ("event", "decision").index(name)
        fields[at : at + 2] = [b"", b""]
    lines[index + 1] = b"\t".join(fields)
    return b"\n".join(lines)


# --- the golden log -------------------------------------------------------------------------------


def test_the_golden_log_is_decided_as_it_was() -> None:
    with GOLDEN.open("rb") as file:
        outcome = replay_export(file, Engine())
    assert outcome.difference is None, outcome.difference.lines()
    assert (outcome.entries, outcome.judged, outcome.entailed, outcome.withheld) == (32, 30, 2, 0)


def test_the_golden_log_is_a_log() -> None:
    with GOLDEN.open("rb") as file:
        assert verify_export(file, verifier=SIGNER.verifier).size == 32


def test_the_golden_log_holds_what_a_replay_must_meet() -> None:
    lines = GOLDEN.read_bytes().splitlines()[1:]
    events = [json.loads(line.split(b"\t")[2]) for line in lines]
    outcomes = {json.loads(line.split(b"\t")[4])["outcome"] for line in lines}
    assert outcomes == {"accepted", "flagged", "denied"}
    kinds = {event["kind"] for event in events}
    assert {"event.declared_in_error", "license.revoked", "revocation.scoped", "suspension.proposed"} <= kinds


def test_its_script_makes_the_golden_log(log: ToldLog) -> None:
    assert log.export() == GOLDEN.read_bytes()


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_seed_of_hashes_does_not_matter(seed: str) -> None:
    script = (
        "import sys; from tests.policies.told_log import told; from policies.exported import replay_export;"
        "from policies.engine import Engine; import hashlib, io; raw = told().export();"
        "found = replay_export(open('tests/vectors/decisions-1.txt', 'rb'), Engine());"
        "print(hashlib.sha256(raw).hexdigest(), found.entries, found.difference)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout.split() == [hashlib.sha256(GOLDEN.read_bytes()).hexdigest(), "32", "None"], ran.stderr


# --- differences ----------------------------------------------------------------------------------


def test_a_doctored_outcome_is_found_and_explained(log: ToldLog) -> None:
    index = index_of(log, "order.placed", outcome="accepted") + 1
    value = log.decision(index)
    assert value["outcome"] == "denied"
    value["outcome"] = "accepted"
    [quantity] = [c for c in value["conditions"] if c["id"] == "quantity"]
    quantity.update(result="pass", observed=20)
    del quantity["code"], quantity["shortfall"]
    assert only(log.doctored(index, "decision", value)).lines() == [
        f"entry {index}, order.placed: the decision differs",
        '  condition quantity (quantity_cap) of policy 1, observed: committed 20, recomputed 21',
        '  condition quantity (quantity_cap) of policy 1, result: committed "pass", recomputed "fail"',
        '  condition quantity (quantity_cap) of policy 1, code: committed nothing, recomputed'
        ' "quantity_cap.over"',
        "  condition quantity (quantity_cap) of policy 1, shortfall: committed nothing, recomputed 1",
        '  outcome: committed "accepted", recomputed "denied"',
        "  recomputed: quantity: 21 units asked or released, 20 allowed: 1 too many (headroom 8).",
    ]  # fmt: skip


def test_the_first_of_two_differences_is_the_one_that_is_told(log: ToldLog) -> None:
    for index in (8, 9, 14, 27):
        found = only(log.doctored(index, "decision", {**log.decision(index), "engine": 9}))
        assert (found.index, found.what) == (index, "decision")
        assert found.lines()[1] == "  engine: committed 9, recomputed 1"


def test_a_condition_that_was_left_out_is_found(log: ToldLog) -> None:
    index = index_of(log, "shipment.requested", outcome="accepted")
    value = log.decision(index)
    left_out = value["conditions"].pop(2)
    assert left_out["id"] == "quantity"
    found = only(log.doctored(index, "decision", value))
    [line] = [line for line in found.lines() if "quantity" in line]
    assert line.startswith("  condition quantity (quantity_cap) of policy 1: committed nothing, recomputed {")


def test_a_doctored_event_of_the_ledger_is_found(log: ToldLog) -> None:
    index = index_of(log, "revocation.scoped")
    body = log.entries[index].bodies["event"]
    assert body is not None
    value = json.loads(body.value)
    value["data"]["in_transit"] = []
    value["data"]["in_transit_count"] = 0
    assert only(log.doctored(index, "event", value)).lines() == [
        f"entry {index}, revocation.scoped: what the ledger says because of its cause differs",
        '  data, in_transit 1: committed nothing, recomputed {"shipment":"SH-2","units":4}',
        "  data, in_transit_count: committed 0, recomputed 1",
    ]


def test_an_event_of_the_ledger_that_is_missing_is_found(log: ToldLog) -> None:
    index = index_of(log, "suspension.proposed")
    found = only(_without(log, index))
    assert (found.index, found.kind, found.what) == (index, "suspension.proposed", "missing")
    assert found.lines()[0].startswith(
        f"entry {index}, suspension.proposed: it is missing; the ledger must say {{"
    )
    last = only(_without(log, index, upto=index))
    assert (last.index, last.what) == (index, "missing")


def test_an_event_of_the_ledger_that_nothing_calls_for_is_found(log: ToldLog) -> None:
    proposed = log.entries[index_of(log, "suspension.proposed")]
    event = proposed.bodies["event"]
    assert event is not None
    index = index_of(log, "levy.settled")
    found = only(log.doctored(index, "event", json.loads(event.value)))
    assert (found.index, found.kind, found.what) == (index, "suspension.proposed", "uncalled")
    assert "nothing before it calls for it" in found.lines()[0]


def test_an_event_that_changes_what_follows_is_found_where_it_does(log: ToldLog) -> None:
    """One unit more is ordered than was: the order after it was decided on other facts."""
    index = index_of(log, "order.placed", outcome="accepted")
    event = log.entries[index].bodies["event"]
    assert event is not None
    value = json.loads(event.value)
    value["data"]["units"] = 13
    found = only(log.doctored(index, "event", value))
    assert (found.index, found.what) == (index, "decision")
    assert any("observed: committed 12, recomputed 13" in line for line in found.lines())


def test_bytes_that_say_the_same_in_another_spelling_differ(log: ToldLog) -> None:
    raw = log.export()
    at = raw.index(b'"engine":1', raw.index(b'"order.placed"'))
    found = only(raw[:at] + b'"engine": 1' + raw[at + 10 :])
    assert found.lines()[1] == "  the same values, in other bytes"


def test_an_event_that_is_no_event_is_found(log: ToldLog) -> None:
    found = only(log.doctored(3, "event", {"kind": "no.such"}))
    assert found.lines() == [
        "entry 3, no.such: it cannot be judged again: /kind: no.such is not a known kind"
    ]


def test_an_event_in_a_contract_that_is_not_its_own_is_found(log: ToldLog) -> None:
    event = log.entries[7].bodies["event"]
    assert event is not None
    value = {**json.loads(event.value), "contract": "3a5d7c10-93c4-4b0e-8d5e-6f1b2a9c0d02"}
    found = only(log.doctored(7, "event", value))
    assert (found.index, found.what) == (7, "unreadable")


# --- what the clock brings about ------------------------------------------------------------------

DELIVERY_DUE = "2027-04-09T04:00:00.000000Z"


@pytest.fixture
def timed() -> ToldLog:
    """The golden log up to the delivery, under a document that asks for installation within 30 days."""
    log = ToldLog()
    value = json.loads(policy_text())
    value["obligations"] = [
        {
            "id": "installed", "uses": "install_deadline", "clause": "contract, 4.2", "within": "P30D",
            "steps": [{"after": "PT0S", "action": "flag"}, {"after": "P10D", "action": "propose_suspension"}],
        }
    ]  # fmt: skip
    golden = told()
    for index in range(1, 20):
        event = golden.entries[index].bodies["event"]
        assert event is not None
        said = json.loads(event.value)
        if said["kind"] == "policy.activated":
            text = json.dumps(value)
            said["data"].update(text=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        log.submit(said, at=golden.entries[index].header.recorded_at)
    return log


def due(log: ToldLog) -> list[str]:
    """The duties that the document asks for; the ledger has some of its own."""
    return [key for (name, key), _ in log.history.rows() if name == "duty" and "/installed/" in key]


def test_what_the_clock_brought_about_is_asked_again(timed: ToldLog) -> None:
    log = timed
    keys = due(log)
    assert len(keys) == 1
    assert log.fall_due(*keys, at="2027-04-09T03:59:59Z") == []
    assert len(log.fall_due(*keys, at=DELIVERY_DUE)) == 1
    assert log.fall_due(*keys, at=DELIVERY_DUE) == []
    assert len(log.fall_due(*keys, at="2027-04-20T00:00:00Z")) == 2
    kinds = [log.event(index).kind for index in range(20, log.history.size)]
    assert kinds == ["obligation.breached", "obligation.breached", "suspension.proposed"]
    outcome = replayed(log.export())
    assert outcome.difference is None
    assert (outcome.entries, outcome.judged, outcome.entailed) == (23, 20, 3)


def test_the_end_of_a_license_is_asked_again(timed: ToldLog) -> None:
    log = timed
    [term] = [key for (name, key), _ in log.history.rows() if name == "duty" and key.endswith(LICENSE)]
    assert len(log.fall_due(term, at="2027-10-01T00:00:00Z")) == 1
    for days in ("2027-11-20", "2027-12-10", "2027-12-16"):
        log.fall_due(term, at=f"{days}T05:00:00Z")
    kinds = [log.event(index).kind for index in range(20, log.history.size)]
    assert kinds == ["license.expiring"] * 3 + ["license.expired"]
    assert replayed(log.export()).difference is None
    assert only(_moved(log, 23, "2027-12-16T04:59:59.000000Z")).what == "uncalled"


def test_the_end_of_a_release_and_what_is_taken_back_after_it_are_asked_again(timed: ToldLog) -> None:
    log, first = timed, timed.history.size
    over = "2027-03-21T04:00:00.000000Z"
    asked = {**release("SH-9", "PO-2", serials(11, 12)), "valid_until": "2027-03-20"}
    log.say("shipment.requested", EXPORTER, "2027-03-10T15:00:00Z", **asked)
    log.say("shipment.dispatched", FORWARDER, "2027-03-11T15:00:00Z", **dispatched("SH-9", serials(11, 11)))
    [term] = [key for (name, key), _ in log.history.rows() if name == "duty" and key.endswith("/SH-9")]
    assert len(log.fall_due(term, at=over)) == 1
    assert only(_moved(log, first + 2, "2027-03-21T03:59:59.999999Z")).what == "uncalled"
    log.say("shipment.dispatched", FORWARDER, "2027-03-22T15:00:00Z", **dispatched("SH-9", serials(12, 12)))
    for back in (0, 2):
        mistake = log.history.size - 1 - back
        corrects = {"index": mistake, "id": log.event(mistake).id, "reason": "another number"}
        log.say("event.declared_in_error", FORWARDER, "2027-03-23T15:00:00Z", **corrects)
    outcomes = [
        (log.event(index).kind, log.decision(index)["outcome"]) for index in range(first, log.history.size)
    ]
    assert outcomes == [
        ("shipment.requested", "accepted"),
        ("shipment.dispatched", "accepted"),
        ("shipment.expired", "accepted"),
        ("shipment.dispatched", "flagged"),
        ("event.declared_in_error", "accepted"),
        ("event.declared_in_error", "denied"),
    ]
    assert replayed(log.export()).difference is None


@pytest.mark.parametrize("ends", ["the license", "a release"])
def test_what_ends_with_the_window_of_a_duty_is_counted_as_a_replay_counts_it(ends: str) -> None:
    """One instant, one batch: the clock takes back what the duty counts, or stops its next window."""
    log, golden = ToldLog(), told()
    value = json.loads(policy_text())
    value["obligations"] = [
        {
            "id": "batch", "uses": "batch_due", "clause": "contract, annex", "window": "month", "due": 2,
            "steps": [{"after": "PT0S", "action": "flag"}],
        }
    ]  # fmt: skip
    for index in range(1, 16):
        event = golden.entries[index].bodies["event"]
        assert event is not None
        said = json.loads(event.value)
        if said["kind"] == "policy.activated":
            text = json.dumps(value)
            said["data"].update(text=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        elif said["kind"] == "license.granted" and ends == "the license":
            said["data"]["valid_until"] = "2027-02-28"
        elif said["kind"] == "shipment.requested" and ends == "a release":
            said["data"].update(valid_until="2027-02-28")
        log.submit(said, at=golden.entries[index].header.recorded_at)
    over = "2027-03-01T05:00:00.000000Z"
    keys = [key for (name, key), _ in log.history.rows() if name == "duty"]
    while log.fall_due(*keys, at="2027-02-28T00:00:00Z"):
        pass  # the reminders of a license come before its end
    assert len(log.fall_due(*keys, at=over)) == 2
    assert replayed(log.export()).difference is None


def test_a_breach_that_was_not_one_is_found(timed: ToldLog) -> None:
    log = timed
    log.fall_due(*due(log), at=DELIVERY_DUE)
    early = _moved(log, 20, "2027-04-09T03:59:59.999999Z")
    found = only(early)
    assert (found.index, found.kind, found.what) == (20, "obligation.breached", "uncalled")


def test_a_breach_in_other_words_is_found(timed: ToldLog) -> None:
    log = timed
    log.fall_due(*due(log), at=DELIVERY_DUE)
    event = log.entries[20].bodies["event"]
    assert event is not None
    value = json.loads(event.value)
    value["data"]["action"] = "propose_suspension"
    found = only(log.doctored(20, "event", value))
    assert found.lines()[1] == ('  data, action: committed "propose_suspension", recomputed "flag"')


# --- what is withheld -----------------------------------------------------------------------------


def test_a_withheld_denial_is_not_replayable_and_everything_else_is(log: ToldLog) -> None:
    index = index_of(log, "order.placed", outcome="denied")
    outcome = replayed(withheld(log.export(), index, "event", "decision"))
    assert outcome.difference is None
    assert (outcome.withheld, outcome.withheld_first) == (1, (index,))
    assert (outcome.entries, outcome.judged) == (32, 29)


def test_a_withheld_decision_is_recomputed_all_the_same(log: ToldLog) -> None:
    index = index_of(log, "order.placed", outcome="accepted")
    outcome = replayed(withheld(log.export(), index, "decision"))
    assert (outcome.difference, outcome.withheld, outcome.judged) == (None, 1, 29)


def test_what_the_ledger_said_because_of_a_withheld_event_is_taken_as_it_stands(log: ToldLog) -> None:
    index = index_of(log, "license.revoked")
    raw = withheld(log.export(), index, "event")
    outcome = replayed(raw)
    assert outcome.withheld_first == (index,)
    # The license was never revoked, as far as this file tells.
    assert outcome.difference is not None
    assert outcome.difference.index > index + 1


def test_a_withheld_event_of_the_ledger_is_not_compared(log: ToldLog) -> None:
    index = index_of(log, "revocation.scoped")
    outcome = replayed(withheld(log.export(), index, "event", "decision"))
    assert (outcome.difference, outcome.withheld_first, outcome.entailed) == (None, (index,), 1)


# --- what is no export ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "this is not an export"),
        (b"hello\n", "this is not an export"),
        (b'{"export":2,"origin":"a","size":1}\n', "this is not an export of a ledger, of format 1"),
        (b'{"export":1,"origin":"a","size":1}\nhello\n', "line 2 is not that of an entry"),
    ],
)
def test_what_is_no_export_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        replayed(raw)


def test_an_export_with_a_line_left_out_is_refused(log: ToldLog) -> None:
    lines = log.export().split(b"\n")
    with pytest.raises(UnusableInput, match="line 5 is not entry 3"):
        replayed(b"\n".join([*lines[:4], *lines[5:]]))


def test_an_export_that_is_not_whole_is_refused(log: ToldLog) -> None:
    lines = log.export().split(b"\n")
    with pytest.raises(UnusableInput, match="the file ends within entry 31 of 32"):
        replayed(b"\n".join([*lines[:-2], b""]))
    with pytest.raises(UnusableInput, match="the file ends within entry 31 of 32"):
        replayed(b"\n".join(lines[:-1]))
    with pytest.raises(UnusableInput, match="the file goes on after entry 31"):
        replayed(b"\n".join([*lines, b""]))


def test_an_export_is_read_as_often_as_one_likes(log: ToldLog) -> None:
    export = Export(io.BytesIO(log.export()))
    first = list(export.entries())
    assert export.entry(5) == first[5]
    assert list(export.entries()) == first


# --- the history ----------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_log(log: ToldLog) -> None:
    replay = Replay(Engine(), origin=log.history.origin)
    lines = [line_from(entry) for entry in log.entries]
    for index, line in enumerate(lines):
        while wanted := replay.wanted(line):
            for at in wanted:
                assert at < index
                replay.recall(at, lines[at])
        assert replay.take(line) is None
    assert dict(replay.history.rows()) == dict(log.history.rows())
    license_ = replay.history.fact(License, LICENSE)
    assert license_ is not None
    assert (license_.state, license_.ordered, license_.released) == ("revoked", 20, 16)


def test_what_nobody_has_said_leaves_nothing_behind(log: ToldLog) -> None:
    """A denial about things that do not exist must not make the memory grow."""
    told_log = told()
    before = len(told_log.history._known)
    for number in range(20):
        told_log.say(
            "order.cancelled", f"{BUYER}/buyer", "2028-01-01T00:00:00Z", order=f"PO-X{number}", reason="x"
        )
    assert len(told_log.history._known) == before


def test_asking_changes_nothing(log: ToldLog) -> None:
    history = told().history
    before = dict(history.rows())
    event = log.event(index_of(log, "order.placed", outcome="accepted"))
    assert history.prepare(event) == []
    decision = history.ask(event, at=parse_timestamp("2027-09-12T00:00:00Z"))
    history.forget()
    assert decision.outcome == "denied"
    assert dict(history.rows()) == before


def _moved(log: ToldLog, index: int, at: str) -> bytes:
    """The log with one entry, the last, recorded at another time."""
    sample = SampleLog.__new__(SampleLog)
    last = log.entries[index]
    assert len(log.entries) == index + 1
    moved = Entry.build(last.header._replace(recorded_at=at), last.bodies)
    sample.signer, sample.entries = SIGNER, [*log.entries[:-1], moved]
    return sample.export()


def _without(log: ToldLog, index: int, *, upto: int | None = None) -> bytes:
    """The log as if entry `index` had never been appended, and signed again."""
    sample = SampleLog.__new__(SampleLog)
    sample.signer, sample.entries = SIGNER, []
    for entry in log.entries[: None if upto is None else upto + 1]:
        if entry.header.index != index:
            header = entry.header._replace(index=len(sample.entries))
            sample.entries.append(Entry.build(header, entry.bodies))
    return sample.export()
