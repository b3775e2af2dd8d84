"""Decisions in plain English, and the catalogue that is printed from the registry."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from pathlib import Path
from string import Formatter

import pytest

import ledger.kinds
import policies
from ledger.decision import Decision
from ledger.event import KINDS
from policies.conditions import CONDITIONS
from policies.conditions.page import page
from policies.document import parse_document
from policies.explain import clauses_of, explain
from policies.obligations import OBLIGATIONS
from policies.rules import SENTENCES
from policies.words import LANGUAGES
from tests.workbench import H200, Workbench, condition, policy, serials

_CODE = re.compile(r'"([a-z_]+\.[a-z_]+)"')
CLAUSES = clauses_of([parse_document(H200)])


def sentences(decision: Decision) -> dict[str, str]:
    committed = json.loads(decision.body)
    said = explain(committed, CLAUSES)
    return {c["id"]: sentence for c, sentence in zip(committed["conditions"], said, strict=True)}


def test_a_quantity_refused() -> None:
    bench = Workbench().open()
    bench.order(9_600)
    said = sentences(bench.say("order.placed", order="PO-2", units=500))
    assert said["quantity"] == (
        "quantity: 10,100 units asked or released, 10,000 allowed: 100 too many (headroom 400). "
        "Clause: license face, quantity."
    )
    assert said["live"].startswith("live: the license is active.")


def test_a_levy_that_is_short() -> None:
    bench = Workbench().open()
    bench.order(1000, levied="6000000.00")
    said = sentences(bench.release(serials(1000)))
    assert said["levy"].startswith(
        "levy: 6,000,000.00 USD of levy settled, 6,750,000.00 USD due: 750,000.00 USD short. "
    )
    assert said["laboratory"].startswith(
        "laboratory: 0 of 1,000 devices have passed a laboratory test, 1,000 without one: "
        "SN000001, SN000002, SN000003, SN000004, SN000005 and 995 more. Clause: "
    )


def test_a_loss_with_the_report_that_it_calls_for() -> None:
    bench = Workbench().open()
    bench.order(3)
    bench.test(serials(3))
    bench.release(serials(3))
    bench.dispatch(serials(3))
    said = sentences(bench.receive(serials(2), at="2027-03-09T06:00:00Z"))
    assert said["custody"].startswith(
        "custody: 2 of 3 devices dispatched have arrived, 1 missing: SN000003; an incident "
        "report is asked for, due by 2027-03-12T06:00:00.000000Z. Clause: "
    )


def test_a_dispatch_after_a_revocation_with_the_suspension_it_proposes() -> None:
    bench = Workbench().open()
    bench.order(3)
    bench.test(serials(3))
    bench.release(serials(3))
    bench.accepted("license.revoked")
    said = sentences(bench.dispatch(serials(3)))
    assert "suspension of license D-100200 is proposed; an incident report is asked for." in (said["live"])


def test_the_constitution_speaks_without_a_clause() -> None:
    said = sentences(Workbench().open().say("order.placed", license="D-999"))
    assert said == {"license_known": "license_known: the license is not one of this contract."}


def test_entries_and_names_are_not_grouped_like_numbers() -> None:
    bench = Workbench().open()
    decision = bench.say("event.declared_in_error", index=12_345)
    assert sentences(decision) == {"correction": "correction: there is no entry 12345."}


def test_a_shadow_says_that_it_does_not_count() -> None:
    text = policy(condition("quantity_cap", limit=1, action="shadow"))
    [said] = explain(Workbench().open(text=text).say("order.placed").value())
    assert said.endswith("(headroom 1). Shadow: it does not count.")


def test_findings_that_were_picked_out_are_explained_alone() -> None:
    bench = Workbench().open()
    value = bench.say("order.placed", units=20_000).value()
    failed = [c for c in value["conditions"] if c["result"] == "fail"]
    assert len(explain({**value, "conditions": failed})) == 1


def test_what_a_later_version_committed_is_shown_as_it_stands() -> None:
    finding = {
        "id": "new", "uses": "something_new", "policy": 1, "result": "fail", "action": "deny",
        "clock": "none", "code": "something_new.bad",
    }  # fmt: skip
    assert explain({"conditions": [finding]}) == ["new: fail (something_new.bad)."]
    error = {**finding, "result": "error", "uses": "quantity_cap", "code": "quantity_cap.error"}
    assert explain({"conditions": [error]}) == ["new: it could not be judged, and so it is not met."]
    absent = {**finding, "result": "not_applicable"}
    assert explain({"conditions": [absent]}) == ["new: it does not apply."]


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (93_661, "26 h 1 min 1 s", "26小时1分钟1秒"),
        (3_600_000, "1,000 h", "1,000小时"),
        (60, "1 min", "1分钟"),
        (0, "0 s", "0秒"),
    ],
)
def test_seconds_are_told_in_hours(seconds: int, english: str, chinese: str) -> None:
    finding = {
        "id": "fresh", "uses": "screening_clear", "policy": 1, "result": "fail", "action": "deny",
        "clock": "recorded_at", "code": "screening_clear.stale", "observed": seconds, "limit": 86_400,
        "unit": "seconds", "subjects": ["lotus"], "subjects_count": 1,
    }  # fmt: skip
    assert explain({"conditions": [finding]}) == [
        f"fresh: a list was retrieved {english} ago, 24 h at most are allowed: lotus."
    ]
    assert explain({"conditions": [finding]}, language=LANGUAGES["zh"]) == [
        f"fresh：名单取得于{chinese}之前，最长允许24小时：lotus。"
    ]


# --- the catalogue --------------------------------------------------------------------------------


def test_the_printed_catalogue_is_current() -> None:
    printed = Path(policies.__file__).with_name("CONDITIONS.md").read_text()
    assert printed == page(), "python -m policies.conditions > policies/CONDITIONS.md"


def test_the_catalogue_has_its_numbers() -> None:
    assert {c.number: c.name for c in CONDITIONS.values()} == {
        1: "license_active", 2: "validity_window", 4: "quantity_cap",
        3: "party_item_match", 8: "no_onward_transfer", 9: "performance_thresholds",
        13: "end_user_statement", 17: "screening_clear", 18: "ownership", 19: "prohibited_end_use",
        7: "conditions_acknowledged", 12: "laboratory_test", 16: "levy_settled",
        27: "custody_continuity",
        6: "site_allow_list", 20: "remote_tenant_kyc", 25: "service_level", 26: "unique_identity",
        28: "fleet_coverage", 29: "attestation_validity", 30: "location_consistency",
        31: "rma_one_for_one", 32: "destruction_evidence", 35: "retention_hold",
        5: "value_cap", 22: "prepayment", 23: "window_cap", 36: "revenue_share",
        37: "custom", 38: "max_backdating",
        10: "us_ratio_cap", 11: "supply_certified", 14: "export_filed", 15: "import_approved",
    }  # fmt: skip


def test_the_obligations_have_their_numbers() -> None:
    assert {name: duty.number for name, duty in OBLIGATIONS.items()} == {
        "domestic_copurchase": 21, "batch_due": 23, "install_deadline": 24, "attestation_heartbeat": 28,
        "rma_return": 31, "inspection_deadline": 33, "incident_report": 34, "periodic_report": 34,
        "revenue_share_due": 36, "revocation_acknowledgement": 39,
    }  # fmt: skip


def test_the_catalogue_tells_of_every_condition_and_obligation_what_it_demands() -> None:
    conditions, _, obligations = page().partition("\n# The obligations\n")
    for printed, known in ((conditions, CONDITIONS), (obligations, OBLIGATIONS)):
        for name, one in known.items():
            assert f"\n## {one.number}. {name}\n\n{one.text}\n" in printed
            for words in one.sentences.values():
                assert f"| {words} |\n" in printed
            for field in one.parameters.model_fields.values():
                assert field.description, name
                assert f" {field.description} |\n" in printed
        assert printed.count("```yaml\n- id: ") == len(known), "each as a document of ours has it"
    assert all(f"`{kind}`" in obligations for duty in OBLIGATIONS.values() for kind in duty.watches)
    assert "\n## 7. reacknowledgement\n" in obligations


def test_every_condition_gates_requests_as_requests_and_flags_facts_as_facts() -> None:
    for used in CONDITIONS.values():
        assert {KINDS[kind, 1].nature for kind in used.requests} <= {"request"}
        assert {KINDS[kind, 1].nature for kind in used.facts} <= {"fact"}


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_every_sentence_speaks_of_what_a_finding_holds(name: str) -> None:
    known = {"observed", "limit", "shortfall", "headroom", "unit", "subjects"}
    for words in (*CONDITIONS[name].sentences.values(), *SENTENCES.values()):
        assert {field for _, field, _, _ in Formatter().parse(words) if field} <= known


@pytest.mark.parametrize("name", sorted(OBLIGATIONS))
def test_every_sentence_of_an_obligation_speaks_of_what_a_verdict_holds(name: str) -> None:
    known = {"observed", "limit", "shortfall", "unit", "subjects"}
    assert set(OBLIGATIONS[name].sentences) <= {"late", "met"}
    for words in OBLIGATIONS[name].sentences.values():
        assert {field for _, field, _, _ in Formatter().parse(words) if field} <= known
        assert not words.endswith(".")


def test_every_code_is_found_somewhere_and_has_a_sentence() -> None:
    """A code stands in the source where it is found, and once more where it is put into words."""
    home = Path(policies.__file__).parent
    sources = [home / "constitution.py", *home.glob("rules/*.py")]
    kinds = {name for name, _ in KINDS}
    counted = Counter(c for source in sources for c in _CODE.findall(source.read_text()) if c not in kinds)
    assert counted.keys() == SENTENCES.keys()
    kinds_found = "".join(path.read_text() for path in Path(ledger.kinds.__file__).parent.glob("*.py"))
    from_undo = set(_CODE.findall(kinds_found)) | {"correction.not_reversible"}
    assert {code for code, count in counted.items() if count == 1} == {
        code for code in from_undo if code.startswith("correction.")
    }
    for used in CONDITIONS.values():
        source = Path(inspect.getfile(used.check)).read_text()
        once = {code for code in used.sentences if source.count(f'"{code}"') < 2}
        assert once <= {"revoked"}, "suspended and revoked are the license's own states"
