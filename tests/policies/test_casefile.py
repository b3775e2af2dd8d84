"""Case files: every one in the repository holds, and a mistake in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.casefile import document_of, parse_cases
from policies.document import parse_document
from policies.tree import PolicyDocumentError
from policies.trial import Report, run

DOCUMENTS = Path(__file__).parents[2] / "policies" / "documents"
FILES = sorted(DOCUMENTS.glob("*.cases.yaml"))
TEXT = """\
policy: small
version: 1
language: 1
zone: America/New_York
force: {from: 2027-01-01}
approvals: [authority]
conditions:
  - {id: cap, uses: quantity_cap, at: [order.placed], limit: 10, action: deny, clause: "a test"}
"""
CASES = """\
language: 1
document: small.yaml
events:
  opened:
    kind: contract.opened
    by: acme/exporter
    at: 2027-01-12T15:00:00Z
    data:
      title: A contract
      zone: UTC
      parties:
        - {party: bis, roles: [authority], name: Authority, country: US}
        - {party: acme, roles: [exporter, consignee, end_user], name: Acme, country: US}
      licenses: [D-1]
  activated: {kind: policy.activated, by: bis/authority}
  granted:
    kind: license.granted
    by: bis/authority
    data:
      license: D-1
      sku: H200
      eccn: 3A090.a
      quantity: 100
      valid_from: 2027-01-01
      valid_until: 2027-12-31
      conditions_sha256: 5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e
  ordered:
    kind: order.placed
    by: acme/exporter
    data:
      order: PO-1
      license: D-1
      sku: H200
      units: 6
      unit_value: {amount: "27000.00", currency: USD}
      consignee: acme
      end_user: acme
  corrected:
    kind: event.declared_in_error
    by: acme/exporter
    corrects: ordered
    data: {reason: keyed twice}
setups:
  begun: [opened, activated, granted]
cases:
  - name: up to the cap
    given: [begun, ordered]
    when: {like: ordered, data: {order: PO-2, units: 4}}
    expect: {outcome: accepted, passes: [cap]}
  - name: over it
    given: [begun, ordered]
    when: {like: ordered, data: {order: PO-2, units: 5}}
    expect: {outcome: denied, fails: [cap], codes: [quantity_cap.over]}
"""


def judged(text: str, document: str = TEXT) -> Report:
    parsed = parse_document(document)
    return run(parse_cases(text, parsed, document), parsed)


def problems(text: str, document: str = TEXT) -> list[tuple[str, ...]]:
    return [result.problems for result in judged(text, document).results]


def faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(PolicyDocumentError) as refused:
        parse_cases(text, parse_document(TEXT), TEXT)
    return [(fault.pointer, fault.detail) for fault in refused.value.faults]


def only(text: str) -> tuple[str, str]:
    [fault] = faults(text)
    return fault


# --- those of the repository ----------------------------------------------------------------------


def test_every_document_has_its_cases() -> None:
    documents = {path.name for path in DOCUMENTS.glob("*.yaml") if not path.name.endswith(".cases.yaml")}
    assert {document_of(path.read_text()) for path in FILES} == documents


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_file_of_the_repository_holds_and_leaves_nothing_untested(path: Path) -> None:
    text = path.read_text()
    report = judged(text, (DOCUMENTS / document_of(text)).read_text())
    assert {r.case.name: r.problems for r in report.results if r.problems} == {}
    assert (report.never_passed, report.never_failed) == ((), ())
    assert report.holds


# --- what holds and what does not -----------------------------------------------------------------


def test_cases_that_hold() -> None:
    report = judged(CASES)
    assert [result.problems for result in report.results] == [(), ()]
    assert report.holds


def test_a_case_of_another_outcome_says_what_was_decided_and_why() -> None:
    text = CASES.replace("outcome: denied, fails: [cap]", "outcome: accepted, fails: []")
    assert problems(text)[1] == (
        "outcome is denied, expected accepted",
        "cap fails, which is not expected",
        "because cap: 11 units asked or released, 10 allowed: 1 too many (headroom 4).",
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fails: [cap], codes", "fails: [], codes", "cap fails, which is not expected"),
        ("passes: [cap]", "fails: [cap]", "cap does not fail"),
        ("passes: [cap]", "passes: [contract_open]", "contract_open does not pass"),
        ("quantity_cap.over", "quantity_cap.under", "quantity_cap.under is not found; there is"
         " quantity_cap.over"),
        ("outcome: denied", "outcome: flagged", "outcome is denied, expected flagged"),
    ],
)  # fmt: skip
def test_every_part_of_an_expectation_is_compared(old: str, new: str, words: str) -> None:
    assert old in CASES
    found = [problem for case in problems(CASES.replace(old, new)) for problem in case]
    assert words in found


def test_a_condition_without_a_failing_or_a_passing_case_is_named() -> None:
    head, _, second = CASES.partition("  - name: over it")
    report = judged(head)
    assert (report.never_passed, report.never_failed, report.holds) == ((), ("cap",), False)
    report = judged(head.partition("  - name:")[0] + "  - name: over it" + second)
    assert (report.never_passed, report.never_failed, report.holds) == (("cap",), (), False)


def test_a_case_that_does_not_hold_tests_nothing() -> None:
    report = judged(CASES.replace("codes: [quantity_cap.over]", "codes: [nothing]"))
    assert report.never_failed == ("cap",)


def test_what_is_given_must_not_be_refused_unless_it_says_so() -> None:
    over = "{like: ordered, data: {order: PO-9, units: 11}}"
    text = CASES.replace("given: [begun, ordered]", f"given: [begun, {over}]", 1)
    [problem] = problems(text)[0]
    assert problem.startswith("given 4 (order.placed) was refused: cap: 11 units asked or released")
    said = over.replace("{like", "{refused: true, like")
    assert problems(text.replace(over, said))[0] == ()
    [problem] = problems(CASES.replace("[begun, ordered]", "[begun, {like: ordered, refused: true}]", 1))[0]
    assert problem == "given 4 (order.placed) was not refused"


def test_a_correction_names_what_it_corrects() -> None:
    text = CASES.replace("given: [begun, ordered]", "given: [begun, ordered, corrected]").replace(
        "units: 4", "units: 10"
    )
    assert problems(text)[0] == ()


def test_a_correction_of_what_is_not_given_is_named() -> None:
    pointer, words = only(CASES.replace("given: [begun, ordered]", "given: [begun, corrected]", 1))
    assert pointer == "/cases/0"
    assert words.endswith("ordered is corrected, and no event of that name is given")


def test_time_does_not_run_backwards() -> None:
    early = "{like: ordered, at: 2027-01-01T00:00:00Z}"
    text = CASES.replace("{like: ordered, data: {order: PO-2, units: 4}}", early)
    [problem] = problems(text)[0]
    assert problem == (
        "when (order.placed) cannot be said: "
        "/at: is 2027-01-01T00:00:00Z, must not be before 2027-01-12T15:00:00Z"
    )


def test_events_of_another_contract_are_of_another_contract() -> None:
    text = CASES.replace(
        "when: {like: ordered, data: {order: PO-2, units: 5}}", "when: {like: ordered, contract: other}"
    )
    assert "contract_open fails, which is not expected" in problems(text)[1]  # fmt: skip


def test_every_run_is_the_same() -> None:
    one, two = judged(CASES), judged(CASES)
    for first, second in zip(one.results, two.results, strict=True):
        assert first.decision is not None
        assert second.decision is not None
        assert first.decision.body == second.decision.body


# --- what the clock finds -------------------------------------------------------------------------

DUTIES = (
    TEXT
    + """\
obligations:
  - id: inspection
    uses: inspection_deadline
    clause: "a test"
    within: P60D
    steps: [{after: PT0S, action: flag}, {after: P60D, action: propose_revocation}]
"""
)
ASKED = CASES.replace(
    "setups:",
    """\
  asked:
    kind: inspection.requested
    by: bis/authority
    at: 2027-03-01T15:00:00Z
    data: {inspection: EUC-1, site: S-1, purpose: end-use check}
  done:
    kind: inspection.completed
    by: bis/authority
    data: {inspection: EUC-1, result: satisfied, report_sha256: %s}
setups:"""
    % ("1d" * 32),
).replace("  zone: UTC", "  zone: UTC\n      sites: [{site: S-1, name: Hall, country: CN}]")
LATE = """\
  - name: nobody was let in
    given: [begun]
    when: asked
    expect: {outcome: accepted}
    then:
      - {at: 2027-04-30T23:59:59.999999Z}
      - {at: 2027-05-01T00:00:00Z, breached: [inspection]}
      - {at: 2027-06-30T00:00:00Z, breached: [inspection], proposes: [revocation]}
"""
IN_TIME = """\
  - name: somebody was
    given: [begun, asked]
    when: done
    expect: {outcome: accepted}
    then:
      - {at: 2027-06-30T00:00:00Z, met: [inspection]}
"""


def late(old: str = "", new: str = "") -> tuple[str, ...]:
    """The problems of the case that waits, once it says something else."""
    assert old in LATE
    return problems(ASKED + LATE.replace(old, new, 1), DUTIES)[-1]


def test_duties_that_are_met_and_breached() -> None:
    report = judged(ASKED + LATE + IN_TIME, DUTIES)
    assert [result.problems for result in report.results] == [()] * 4
    assert report.holds
    assert report.results[2].became[1].breached == ("inspection",)


def test_an_obligation_that_is_never_met_or_never_breached_is_named() -> None:
    assert judged(ASKED + LATE, DUTIES).never_passed == ("inspection",)
    report = judged(ASKED + IN_TIME, DUTIES)
    assert (report.never_passed, report.never_failed, report.holds) == ((), ("inspection",), False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("999999Z}", "999999Z, breached: [inspection]}",
         "at 2027-04-30T23:59:59.999999Z inspection is not breached"),
        ("00Z, breached: [inspection]}", "00Z}",
         "at 2027-05-01T00:00:00.000000Z inspection is breached, which is not expected"),
        ("breached: [inspection]}", "breached: [inspection], met: [inspection]}",
         "at 2027-05-01T00:00:00.000000Z inspection is not met"),
        ("breached: [inspection]}", "breached: [inspection], proposes: [revocation]}",
         "at 2027-05-01T00:00:00.000000Z no revocation is proposed"),
        (", proposes: [revocation]", "",
         "at 2027-06-30T00:00:00.000000Z a revocation is proposed, which is not expected"),
        ("2027-04-30T23:59:59.999999Z", "2027-03-01T14:59:59Z",
         "then cannot come: /at: is 2027-03-01T14:59:59.000000Z, must not be before 2027-03-01T15:00:00Z"),
    ],
)  # fmt: skip
def test_every_part_of_what_the_clock_finds_is_compared(old: str, new: str, words: str) -> None:
    assert late() == ()
    assert late(old, new) == (words,)


@pytest.mark.parametrize(
    ("old", "new", "pointer", "words"),
    [
        ("breached: [inspection]", "breached: [inspector]", "/cases/2/then/1/breached/0",
         "inspector is no obligation of the document; the nearest is inspection"),
        ("breached: [inspection]", "breached: [cap]", "/cases/2/then/1/breached/0",
         "cap is no obligation of the document"),
        ("[revocation]", "[revoked]", "/cases/2/then/2/proposes/0", "revoked is not a proposal"),
        ("breached:", "broken:", "/cases/2/then/1/broken", "broken is not a known field"),
        ("{at: 2027-05-01T00:00:00Z, ", "{", "/cases/2/then/1/at", "at is missing"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_the_clock_finds_is_named(old: str, new: str, pointer: str, words: str) -> None:
    assert old in LATE
    with pytest.raises(PolicyDocumentError) as refused:
        parse_cases(ASKED + LATE.replace(old, new, 1), parse_document(DUTIES), DUTIES)
    assert refused.value.faults[0].pointer == pointer
    assert words in refused.value.faults[0].detail


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "pointer", "words"),
    [
        ("language: 1", "language: 2", "/language", "line 1, column 11: language must be 1"),
        ("when: {like: ordered, data: {order: PO-2, units: 4}}", "when: begun", "/cases/0/when",
         "must be one event"),
        ("given: [begun, ordered]", "given: [begun, orderd]", "/cases/0/given/1",
         "orderd is no event and no setup; the nearest is ordered"),
        ("[opened, activated, granted]", "[opened, activatd]", "/setups/begun/1",
         "activatd is no event, and no setup before this one; the nearest is activated"),
        ("{like: ordered, data: {order: PO-2, units: 5}}", "{like: orderd}", "/cases/1/when/like",
         "orderd is no event before this one; the nearest is ordered"),
        ("fails: [cap]", "fails: [cup]", "/cases/1/expect/fails/0",
         "cup is no condition of the document, and no rule; the nearest is cap"),
        ("outcome: denied", "outcome: refused", "/cases/1/expect/outcome", "refused is not an outcome"),
        ("outcome: denied", "outcom: denied", "/cases/1/expect/outcome", "outcome is missing"),
        ("fails: [cap], codes", "failed: [cap], codes", "/cases/1/expect/failed",
         "failed is not a known field; the nearest is fails"),
        ("units: 5", "units: 0", "/cases/1/when/data/units",
         "/data/units Input should be greater than or equal to 1"),
        ("kind: order.placed", "kind: order.plced", "/events/ordered/kind",
         "order.plced is not a kind of event; the nearest is order.placed"),
        ("by: bis/authority\n    data", "data", "/events/granted", "by is missing"),
        ("name: over it", "name: up to the cap", "/cases/1/name", "stands twice, first on line 46"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(old: str, new: str, pointer: str, words: str) -> None:
    assert old in CASES
    found = faults(CASES.replace(old, new, 1))
    assert found[0][0] == pointer
    assert words in found[0][1]
    assert found[0][1].startswith("line ")


def test_what_is_no_case_file_is_refused() -> None:
    assert only("[]") == ("", "line 1, column 1: a case file is an object")
    with pytest.raises(PolicyDocumentError, match="document is missing"):
        document_of("language: 1\ncases: [{}]\n")
    with pytest.raises(PolicyDocumentError):
        document_of("language: 1\ndocument: ../secret\ncases: [{}]\n")
