"""`chipledger replay` and `chipledger policy`: what they print, and their exit statuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.database import Logins, logins_of
from api.demo.closing import CANDIDATE, OLD, write_candidate
from api.story import LICENSE
from api.story.cast import id_of
from ledger.checkpoint import Checkpoint, sign
from ledger.event import submission_of
from ledger.export import write
from policies.analysis import Change, backtest
from policies.document import parse_document
from policies.exported import Export
from tests.api.test_cli import run
from tests.conftest import copied
from tests.ledger.live_log import live, simulated, tell
from tests.ledger.sample_log import SIGNER
from tests.policies.test_casefile import CASES, TEXT
from tests.policies.told_log import BUYER, CONTRACT, order, policy_text, told
from tests.workbench import NOON, condition, policy, wire

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "vectors" / "decisions-1.txt"
H200 = ROOT / "policies" / "documents" / "us-h200-china.yaml"


def candidate(folder: Path, limit: int) -> Path:
    value = json.loads(policy_text(version=2))
    value["conditions"][2]["limit"] = limit
    path = folder / "candidate.yaml"
    path.write_text(json.dumps(value))
    return path


# --- replay of a file -----------------------------------------------------------------------------


def test_a_log_that_is_decided_as_it_was_is_0() -> None:
    replayed = run("replay", GOLDEN)
    assert (replayed.status, replayed.err) == (0, "")
    first, second = replayed.out.splitlines()
    assert first == "OK every decision is the one that was committed"
    assert second.startswith("32 entries replayed, ")
    assert second.endswith(" a second; 30 judged, 2 entailed")


def test_a_doctored_decision_is_1_and_explained(tmp_path: Path) -> None:
    log = told()
    value = {**log.decision(8), "outcome": "accepted"}
    doctored = tmp_path / "doctored.export"
    doctored.write_bytes(log.doctored(8, "decision", value))
    # Whoever holds the key can make every hash fit: verify finds nothing.
    assert run("verify", doctored, "--key", SIGNER.verifier).status == 0
    replayed = run("replay", doctored)
    assert (replayed.status, replayed.err) == (1, "")
    assert replayed.out.splitlines()[:3] == [
        "DIFFERS",
        "entry 8, order.placed: the decision differs",
        '  outcome: committed "accepted", recomputed "denied"',
    ]


def test_what_is_withheld_is_told(tmp_path: Path) -> None:
    lines = GOLDEN.read_bytes().split(b"\n")
    lines[3] = lines[3].split(b"\t")[0] + b"\t\t\t\t"
    path = tmp_path / "withheld.export"
    path.write_bytes(b"\n".join(lines))
    replayed = run("replay", path)
    assert replayed.status == 0
    assert "not replayable, for a body is withheld or erased: 1 entry, 2\n" in replayed.out


def test_what_is_no_export_is_2(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        assert run("replay", path).status == 2
    path = tmp_path / "text"
    path.write_text("hello\n")
    replayed = run("replay", path)
    assert (replayed.status, replayed.out) == (2, "")
    assert replayed.err.startswith("UnusableInput this is not an export")


# --- replay of a database -------------------------------------------------------------------------


async def _tell(logins: Logins, *, events_max: int = 1) -> None:
    clock = simulated("2027-01-01T00:00:00Z")
    async with live(logins, clock=clock) as log:
        await tell(log, clock, events_max=events_max)


@pytest.fixture(scope="module")
def year(server: str, template: str) -> Iterator[str]:
    """URL of the owner of a database that holds the year, told one event after another."""
    with copied(server, template) as url:
        asyncio.run(_tell(logins_of(url)))
        yield url


def test_a_database_is_replayed_with_its_facts(year: str) -> None:
    replayed = run("replay", url=year)
    assert replayed.status == 0, replayed.told
    lines = replayed.out.splitlines()
    assert lines[:2] == ["OK every decision is the one that was committed", "0 facts differ from the log"]


def test_the_boundaries_of_batches_do_not_matter(owner: str) -> None:
    asyncio.run(_tell(logins_of(owner), events_max=100))
    replayed = run("replay", url=owner)
    assert replayed.status == 0, replayed.told
    assert "0 facts differ from the log" in replayed.out


def test_a_batch_that_orders_releases_and_revokes_is_replayed(owner: str) -> None:
    """In one transaction, what each event reads was made by the ones before it."""

    async def write_all() -> None:
        async with live(logins_of(owner), clock=simulated(NOON)) as log:
            text = policy(
                condition("quantity_cap", limit={"from": "license.quantity"}), condition("license_active")
            )
            await log.open_contract(text, quantity=30)
            events = [
                wire("order.placed", order="PO-1", units=20), wire("order.placed", order="PO-2", units=20),
                wire("order.placed", order="PO-3", units=10),
                wire("shipment.requested", order="PO-1", shipment="SH-1", serials=["SN1", "SN2"]),
                wire("shipment.dispatched", shipment="SH-1", serials=["SN1"]),
                wire("license.revoked"),
                wire("delivery.received", shipment="SH-1", received=["SN1"], missing=[]),
                wire("order.placed", order="PO-4", units=1),
            ]  # fmt: skip
            corrected = {"index": 7, "id": events[1]["id"], "reason": "it was refused"}
            await log.append(*events, wire("event.declared_in_error", by=("dragon-dc", "buyer"), **corrected))

    asyncio.run(write_all())
    replayed = run("replay", url=owner)
    assert replayed.status == 0, replayed.told
    assert "0 facts differ from the log" in replayed.out


def test_an_altered_fact_is_1_and_named(server: str, year: str) -> None:
    with copied(server, conninfo_to_dict(year)["dbname"]) as url:
        with psycopg.connect(url) as connection:
            changed = connection.execute(
                "UPDATE facts SET data = replace(data::text, '\"quantity\":1200', '\"quantity\":9200')::json"
                " WHERE name = 'license' AND key = %s",
                [LICENSE],
            )
            assert changed.rowcount == 1
        replayed = run("replay", url=url)
    assert replayed.status == 1
    assert replayed.out.startswith(f"DIFFERS\nlicense {LICENSE}: stored as ")
    assert "1 fact differs from the log" in replayed.out


def test_a_decision_that_was_altered_in_the_database_is_1(server: str, year: str) -> None:
    with copied(server, conninfo_to_dict(year)["dbname"]) as url:
        with psycopg.connect(url) as connection:
            # An owner may: the triggers that keep others out are his.
            connection.execute("ALTER TABLE bodies DISABLE TRIGGER USER")
            altered = connection.execute(
                "UPDATE bodies SET decision = convert_to(replace(convert_from(decision, 'UTF8'),"
                " 'denied', 'accepted'), 'UTF8') WHERE index = 2"
            )
            assert altered.rowcount == 1
        replayed = run("replay", url=url)
    assert replayed.status == 1
    assert '  outcome: committed "accepted", recomputed "denied"' in replayed.out


def test_the_log_of_a_database_is_analysed_as_its_export_is(year: str, tmp_path: Path) -> None:
    path = tmp_path / "year.export"
    asyncio.run(_export(logins_of(year), path))
    for command in (["coverage"], ["backtest", H200], ["affected", "3"]):
        of_database = run("policy", *command, url=year)
        assert of_database.status == 0, of_database.told
        assert of_database.out == run("policy", *command, "--log", path).out
        assert of_database.out
    assert "0 of 64 decisions flip" in run("policy", "backtest", H200, "--old", H200, "--log", path).out


def test_a_levy_of_20_percent_flips_what_a_reader_reckons(year: str, tmp_path: Path) -> None:
    """Of 27,000,000.00 it is 5,400,000.00, and 6,000,000.00 were settled when SH-1 was short by a quarter.

    Every other release had its levy settled whole, or was refused for more than the levy. SH-1 released
    on that day is what the request of two days later finds taken.
    """
    path = tmp_path / "year.export"
    asyncio.run(_export(logins_of(year), path))
    write_candidate(tmp_path)
    documents = {name: parse_document((tmp_path / name).read_text()) for name in (OLD, CANDIDATE)}
    with path.open("rb") as file:
        log = Export(file)
        found = backtest(log, documents[CANDIDATE], old=documents[OLD])
        entries = {json.loads(line.event or b"")["id"]: line.index for line in log.entries()}
    short, again = (entries[id_of(name)] for name in ("SH-1 short", "SH-1"))
    by_hand = [(short, "denied", "accepted", (), ("levy",))]
    assert [_flip(change) for change in found.pointwise] == by_hand
    retried = ("retried", "shipment_new", "order_open", "serials_free")
    by_hand.append((again, "accepted", "denied", retried, ()))
    assert [_flip(change) for change in found.counterfactual] == by_hand


def _flip(change: Change) -> tuple[int, str, str, tuple[str, ...], tuple[str, ...]]:
    return change.index, change.before, change.after, change.fails, change.passes


async def _export(logins: Logins, path: Path) -> None:
    async with live(logins, clock=simulated("2028-01-01T00:00:00Z")) as log:
        head = await log.reader.head()
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), SIGNER)
        with path.open("wb") as file:
            async with log.reader.stream(size=head.size) as entries:
                await write(entries, checkpoint=checkpoint, verifier=SIGNER.verifier, to=file)


# --- documents ------------------------------------------------------------------------------------


def test_a_document_is_checked(tmp_path: Path) -> None:
    checked = run("policy", "check", H200)
    assert checked.status == 0
    assert f"{H200}: us-h200-china version " in checked.out
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TEXT.replace("quantity_cap", "quantity_cup"))
    checked = run("policy", "check", wrong, H200)
    assert checked.status == 1
    assert f"{wrong}: line 8, column " in checked.out
    assert "quantity_cup is not a condition; the nearest is quantity_cap" in checked.out
    assert run("policy", "check", tmp_path / "none").status == 2


def test_a_document_that_cannot_mean_what_it_says_is_1_and_one_with_remarks_is_0(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    more = """\
  - id: more
    uses: quantity_cap
    at: [order.placed]
    limit: {}
    action: deny
    clause: "license face"
"""
    path.write_text(TEXT + more.format(10))
    remarked = run("policy", "check", path)
    assert remarked.status == 0
    [remark, summary] = remarked.out.splitlines()
    line = TEXT.count("\n") + 1
    assert remark == f"{path}: remark: line {line}, column 5: more: says once more what cap says"
    assert summary.startswith(f"{path}: small version 1, 2 conditions")
    path.write_text(TEXT + more.format(11))
    wrong = run("policy", "check", path, H200)
    assert wrong.status == 1
    [error, other] = wrong.out.splitlines()
    assert error == (
        f"{path}: error: line {line}, column 5: more: decides nothing: cap denies whatever it would find"
        " (limit is 11, there 10)"
    )
    assert other.startswith(f"{H200}: us-h200-china version ")


def test_cases_that_hold_are_0(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    path = tmp_path / "small.cases.yaml"
    path.write_text(CASES)
    tested = run("policy", "test", path)
    assert (tested.status, tested.out) == (0, f"{path}: 2 of 2 cases hold, 1 conditions\n")


def test_cases_that_do_not_hold_or_leave_a_condition_untested_are_1(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    path = tmp_path / "small.cases.yaml"
    path.write_text(CASES.replace("outcome: denied", "outcome: accepted"))
    tested = run("policy", "test", path)
    assert tested.status == 1
    assert tested.out.splitlines() == [
        f"{path}:50: over it: outcome is denied, expected accepted",
        f"{path}:50: over it: because cap: 11 units asked or released, 10 allowed: 1 too many (headroom 4).",
        f"{path}: cap has no failing case",
        f"{path}: 1 of 2 cases hold, 1 conditions",
    ]


def test_a_case_file_that_cannot_be_used_is_2(tmp_path: Path) -> None:
    path = tmp_path / "small.cases.yaml"
    path.write_text(CASES)
    assert run("policy", "test", path).status == 2  # its document is not there
    (tmp_path / "small.yaml").write_text(TEXT)
    path.write_text(CASES.replace("given: [begun, ordered]", "given: [began]", 1))
    tested = run("policy", "test", path)
    assert (tested.status, tested.out) == (2, "")
    assert f"{path}: line 47, column " in tested.err
    assert "began is no event and no setup; the nearest is begun" in tested.err


PROPOSER = ("--contract", CONTRACT, "--party", "bis", "--role", "authority")


def test_a_document_whose_cases_hold_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    cases = tmp_path / "small.cases.yaml"
    cases.write_text(CASES)
    proposed = run("policy", "propose", cases, *PROPOSER)
    assert proposed.status == 0
    event = submission_of(json.loads(proposed.out)).event
    assert (event.kind, event.contract, event.actor.party) == ("policy.proposed", CONTRACT, "bis")
    assert event.data.model_dump()["text"] == TEXT
    assert "cases hold" in proposed.err


def test_a_document_with_an_untested_condition_is_not_proposed(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    cases = tmp_path / "small.cases.yaml"
    cases.write_text(CASES.replace("outcome: denied", "outcome: accepted"))
    refused = run("policy", "propose", cases, *PROPOSER)
    assert (refused.status, refused.out) == (1, "")


def test_a_document_that_cannot_mean_what_it_says_is_not_proposed(tmp_path: Path) -> None:
    cases = tmp_path / "small.cases.yaml"
    cases.write_text(CASES)
    (tmp_path / "small.yaml").write_text(
        TEXT.replace("approvals: [authority]", "approvals: [authority, authority]")
    )
    remarked = run("policy", "propose", cases, *PROPOSER)
    assert remarked.status == 0
    assert "small.yaml: remark: line 6, column " in remarked.err
    assert submission_of(json.loads(remarked.out)).event.kind == "policy.proposed"
    (tmp_path / "small.yaml").write_text(TEXT + "transition: {reacknowledge: PT0S}\n")
    refused = run("policy", "propose", cases, *PROPOSER)
    assert (refused.status, refused.out) == (1, "")
    assert "2 of 2 cases hold" in refused.err
    assert "small.yaml: error: line " in refused.err


def test_the_case_files_of_the_repository_hold() -> None:
    files = sorted(H200.parent.glob("*.cases.yaml"))
    assert files
    assert run("policy", "test", *files).status == 0


def test_two_documents_are_compared_in_words(tmp_path: Path) -> None:
    assert run("policy", "diff", H200, H200).status == 0
    other = tmp_path / "other.yaml"
    shutil.copy(H200, other)
    other.write_text(other.read_text().replace('rate: "0.25"', 'rate: "0.30"'))
    compared = run("policy", "diff", H200, other)
    assert (compared.status, compared.out) == (1, "condition levy: parameter rate is 0.30, was 0.25\n")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("policy: x\n")
    assert run("policy", "diff", H200, wrong).status == 2


def test_a_candidate_is_tried_on_an_export(tmp_path: Path) -> None:
    tried = run("policy", "backtest", candidate(tmp_path, 30), "--log", GOLDEN)
    assert tried.status == 0, tried.told
    assert tried.out.splitlines() == [
        "pointwise: 1 of 23 decisions flip",
        "  entry 8, order.placed: denied → accepted: quantity no longer fails",
        "counterfactual: 2 of 23 decisions flip",
        "  entry 8, order.placed: denied → accepted: quantity no longer fails",
        "  entry 9, order.placed: accepted → denied: order_new fails",
        "    order_new: the order number is taken.",
    ]


def test_what_an_entry_affects_is_listed() -> None:
    listed = run("policy", "affected", "13", "--log", GOLDEN)
    assert listed.status == 0
    assert listed.out.startswith(
        "without entry 13, 3 decisions would have been others\n"
        "  entry 14, shipment.requested: accepted → denied: levy fails\n"
    )
    several = run("policy", "affected", "12", "13", "--log", GOLDEN)
    assert several.out.startswith("without entries 12, 13, ")
    assert "entry 14, shipment.requested: accepted → denied: " in several.out
    both = (["12-13"], ["12-13", "13"])
    ranged = [run("policy", "affected", *named, "--log", GOLDEN).out for named in both]
    assert {out.partition("\n")[2] for out in ranged} == {several.out.partition("\n")[2]}
    for named, words in (("17-13", "ends before it begins"), ("x", "x names no entries, must be an index")):
        assert words in run("policy", "affected", named, "--log", GOLDEN).err
    beyond = run("policy", "affected", "32", "--log", GOLDEN)
    assert (beyond.status, beyond.out) == (2, "")
    assert "there is no entry 32, the log has 32" in beyond.err


def test_coverage_is_listed() -> None:
    listed = run("policy", "coverage", "--log", GOLDEN)
    assert listed.status == 0
    assert "golden 1, laboratory: asked 5 times, never failed\n" in listed.out


def test_an_event_is_evaluated_and_nothing_is_written(tmp_path: Path) -> None:
    event = {
        "id": "00000000-0000-4000-8000-000000000001", "kind": "order.placed", "version": 1,
        "contract": CONTRACT, "occurred_at": NOON, "actor": {"party": BUYER, "role": "buyer"},
        "data": order("PO-9", 1),
    }  # fmt: skip
    assert submission_of(event).event.kind == "order.placed"
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    before = GOLDEN.read_bytes()
    judged = run("policy", "evaluate", path, "--log", GOLDEN, "--at", "2027-10-01T00:00:00Z")
    assert judged.status == 1
    assert judged.out.splitlines()[0] == "denied, asked: constitution 1, golden 1"
    assert "quantity: 21 units asked or released, 20 allowed: 1 too many (headroom 0)." in judged.out
    assert GOLDEN.read_bytes() == before
    value = json.loads(policy_text(version=2))
    value["conditions"] = [{**value["conditions"][2], "limit": 21}]
    loose = tmp_path / "loose.yaml"
    loose.write_text(json.dumps(value))
    options = ("--log", GOLDEN, "--against", loose, "--at", "2027-10-01T00:00:00Z")
    judged = run("policy", "evaluate", path, *options)
    assert judged.status == 0
    assert judged.out.splitlines() == [
        "accepted, asked: constitution 1, golden 2",
        "quantity: 21 units asked or released, 21 allowed. Clause: license face, quantity.",
    ]
    path.write_text("{}")
    assert run("policy", "evaluate", path, "--log", GOLDEN).status == 2
    assert run("policy", "evaluate", path, "--log", GOLDEN, "--at", "noon").status == 2
