"""What a policy document may say, and how a mistake in one is named."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files

import pytest

from ledger.errors import MalformedInput
from policies.conditions import CONDITIONS
from policies.conditions.licensing import LicenseActive, QuantityCap
from policies.conditions.parameters import From, parse_duration
from policies.conditions.shipment import LaboratoryTest, LevySettled
from policies.document import PolicyDocument, digest, parse_document
from policies.obligations import OBLIGATIONS
from policies.tree import PolicyDocumentError, read
from tests.workbench import H200, condition, policy

MINIMAL = """\
policy: example
version: 1
language: 1
zone: America/New_York
force: {from: 2027-01-01, until: 2030-02-10}
approvals: [authority]
conditions:
  - id: quantity
    uses: quantity_cap
    at: [order.placed, shipment.requested]
    limit: {from: license.quantity}
    action: deny
    clause: "license face"
"""


def faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(PolicyDocumentError) as refused:
        parse_document(text)
    return [(fault.pointer, fault.detail) for fault in refused.value.faults]


def only(text: str) -> tuple[str, str]:
    [fault] = faults(text)
    return fault


# --- what is read ---------------------------------------------------------------------------------


def test_a_document_is_read_into_typed_values() -> None:
    document = parse_document(MINIMAL)
    assert (document.policy, document.version, document.zone) == ("example", 1, "America/New_York")
    assert document.begins == datetime(2027, 1, 1, 5, tzinfo=UTC)
    assert document.ends == datetime(2030, 2, 10, 5, tzinfo=UTC)
    assert document.approvals == ("authority",)
    [bound] = document.conditions
    assert (bound.id, bound.condition.name, bound.action) == ("quantity", "quantity_cap", "deny")
    assert bound.at == ("order.placed", "shipment.requested")
    assert bound.parameters == QuantityCap(limit=From.model_validate({"from": "license.quantity"}))


def test_the_digest_is_of_the_utf8_bytes() -> None:
    text = MINIMAL.replace("license face", "許可証")
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest() == parse_document(text).sha256


def test_json_is_read_as_the_yaml_that_it_is() -> None:
    assert parse_document(policy()).conditions[0].condition.name == "quantity_cap"


def test_force_is_half_open_in_the_zone() -> None:
    document = parse_document(MINIMAL)
    microsecond = timedelta(microseconds=1)
    assert not document.in_force(document.begins - microsecond)
    assert document.in_force(document.begins)
    assert document.ends is not None
    assert document.in_force(document.ends - microsecond)
    assert not document.in_force(document.ends)


def test_force_without_an_end_lasts() -> None:
    document = parse_document(MINIMAL.replace(", until: 2030-02-10", ""))
    assert document.ends is None
    assert document.in_force(datetime(2999, 1, 1, tzinfo=UTC))


def test_a_transition_is_kept() -> None:
    text = MINIMAL + "transition: {open_orders: keep_version, reacknowledge: P14D}\n"
    transition = parse_document(text).transition
    assert transition is not None
    assert (transition.open_orders, transition.reacknowledge) == (
        "keep_version", timedelta(days=14),
    )  # fmt: skip


def test_the_h200_document_says_what_the_rule_says() -> None:
    document = parse_document(H200)
    assert [bound.condition.number for bound in document.conditions] == [1, 2, 4, 7, 12, 16, 27]
    assert document.begins == datetime(2026, 1, 15, 5, tzinfo=UTC)
    assert document.approvals == ("authority",)
    by_id = {bound.id: bound.parameters for bound in document.conditions}
    assert by_id["live"] == LicenseActive(in_transit_grace=timedelta(days=7))
    assert by_id["laboratory"] == LaboratoryTest(coverage="every", country="US")
    assert by_id["levy"] == LevySettled(rate=Decimal("0.25"), rounding="half_up", digits=2)
    assert "15 CFR 750.8(a)" in document.conditions[0].clause


def of_the_repository(name: str) -> PolicyDocument:
    return parse_document(files("policies").joinpath(f"documents/{name}.yaml").read_text())


def test_the_whole_h200_rule_takes_the_place_of_its_first_version() -> None:
    first, whole = parse_document(H200), of_the_repository("us-h200-china-full")
    assert (whole.policy, whole.version) == (first.policy, first.version + 1)
    assert whole.approvals == ("exporter.counsel", "authority")
    assert whole.transition is not None
    assert whole.transition.open_orders == "keep_version"
    asks = {(bound.condition.name, kind) for bound in whole.conditions for kind in bound.at}
    assert asks > {(bound.condition.name, kind) for bound in first.conditions for kind in bound.at}
    kept = {bound.id: bound.parameters for bound in whole.conditions}
    assert {bound.id: kept[bound.id] for bound in first.conditions} == {
        bound.id: bound.parameters for bound in first.conditions
    }


def test_the_documents_use_the_whole_catalogue() -> None:
    names = ("us-h200-china-full", "purchase-contract", "import-approval", "operating-license")
    documents = [of_the_repository(name) for name in names]
    assert {bound.condition.name for d in documents for bound in d.conditions} == set(CONDITIONS)
    assert {bound.obligation.name for d in documents for bound in d.obligations} == set(OBLIGATIONS)
    assert [d.policy for d in documents] == ["us-h200-china", *names[1:]]


# --- YAML, strictly -------------------------------------------------------------------------------


def test_nothing_but_true_false_and_whole_numbers_is_guessed() -> None:
    text = "[NO, no, on, yes, True, 2030-02-09, 12:30, 1_a, P7D, true, false, 12, -3, '0.5', \"1\"]"
    assert read(text).value == [
        "NO", "no", "on", "yes", "True", "2030-02-09", "12:30", "1_a", "P7D",
        True, False, 12, -3, "0.5", "1",
    ]  # fmt: skip


def test_norway_stays_norway() -> None:
    text = MINIMAL.replace("quantity_cap", "laboratory_test").replace(
        "limit: {from: license.quantity}", "coverage: every\n    country: NO"
    )
    text = text.replace("[order.placed, shipment.requested]", "[shipment.requested]")
    assert parse_document(text).conditions[0].parameters == LaboratoryTest(coverage="every", country="NO")


@pytest.mark.parametrize(
    "number", ["0.25", "1e3", "1.", ".5", "+5", "007", "0x10", "0o7", ".inf", ".NaN", "1_000", "-0"]
)
def test_a_number_that_is_not_plain_and_whole_must_be_in_quotes(number: str) -> None:
    with pytest.raises(PolicyDocumentError, match=r"line 1, column 4: .* write it in quotes"):
        read(f"a: {number}")
    assert read(f"a: '{number}'").value == {"a": number}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\nb: 2", "line 1, column 4: anchors are not allowed"),
        ("a: 1\nb: *x", "line 2, column 4: aliases are not allowed"),
        ("&x a: 1", "anchors are not allowed"),
        ("a: !!str 1", "line 1, column 4: tags such as"),
        ("a: ! 1", "tags such as"),
        ("a: !!python/object:os.system {}", "tags such as"),
        ("<<: {a: 1}", "line 1, column 1: merge keys are not allowed"),
        ("%YAML 1.1\n---\na: 1", "directives are not allowed"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins"),
        ("a: 1\na: 2", "line 2, column 1: a stands twice, first on line 1"),
        ('{"a": 1, "\\u0061": 2}', "a stands twice, first on line 1"),
        ("a:\nb: 2", "line 1, column 1: a is empty"),
        ("a: #2 of part 748\n\nb: 2", "line 1, column 1: a is empty"),
        ("a: Supplement No. 2: part 748", "where it is meant as text, write it in quotes"),
        ("a: %25", "line 1, column 4: is not YAML: a value cannot begin with this character"),
        ("a:\n\tb: 2", "line 2, column 1: is not YAML: a tab stands where spaces must"),
        ("a:\n  - b: 1\n    c: 2\n   d: 3", "line 4, column 4: is not YAML: this line is not indented as"),
        ("a: {b: 1\nc: 2", "the { before it is not closed, opened at line 1, column 4"),
        ('a: "b\n', "the quotes before it are not closed"),
        ("a: b\nc: d\u0007e", "line 2, column 5: is not YAML: it holds a character"),
        ("a: 99999999999999999", "is too large a number: at most 16 digits"),
        ("a: null", "line 1, column 4: is empty"),
        ("a: ~", "is empty"),
        ("? [a]\n: b", "a key must be text"),
        ('a: "x\\0y"', "holds a control character"),
        ('a: "\\ud800"', "half a surrogate pair"),
        ('a: "\\e[31m"', "holds a control character"),
        ("a: \0", "a character that YAML does not allow"),
        ("", "the document is empty"),
        ("# only a comment\n", "the document is empty"),
        ("a: b\n c: d", "line 2, column 3: is not YAML"),
        ("a: [1", "is not YAML"),
        ("- " * 17 + "a", "is nested deeper than 16 levels"),
        ("[" * 100_000, "is nested deeper than 16 levels"),
        ("[" + "a," * 50_000, "has more than 20000 values before it"),
        ("x" * 200_001, "is 200001 characters, must be at most 200000"),
    ],
)
def test_what_strict_yaml_refuses(text: str, words: str) -> None:
    with pytest.raises(PolicyDocumentError) as refused:
        read(text)
    assert words in str(refused.value)


def test_sixteen_levels_are_allowed() -> None:
    assert read("- " * 16 + "a").value


# --- mistakes, with what would be known -----------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "pointer", "detail"),
    [
        (
            "quantity_cap", "quantity_kap", "/conditions/0/uses",
            "line 9, column 11: quantity_kap is not a condition; the nearest is quantity_cap",
        ),
        (
            "order.placed", "order.place", "/conditions/0/at/0",
            "line 10, column 10: order.place is not a kind of event; the nearest is order.placed",
        ),
        (
            "order.placed", "lab.tested", "/conditions/0/at/0",
            "line 10, column 10: quantity_cap does not judge lab.tested; "
            "it judges order.placed, order.amended, shipment.requested",
        ),
        (
            "order.placed, ", "shipment.requested, ", "/conditions/0/at/1",
            "line 10, column 30: shipment.requested stands twice",
        ),
        (
            "limit:", "limits:", "/conditions/0/limits",
            "line 11, column 5: limits is not a known field; the nearest is limit",
        ),
        (
            "{from: license.quantity}", "{frm: license.quantity}", "/conditions/0/limit/frm",
            "line 11, column 13: frm is not a known field; the nearest is from",
        ),
        (
            "license.quantity", "license.quantum", "/conditions/0/limit/from",
            "line 11, column 19: license.quantum is not a known source; "
            "the nearest is license.quantity",
        ),
        (
            "{from: license.quantity}", "many", "/conditions/0/limit",
            "line 11, column 12: limit must be a whole number",
        ),
        (
            "{from: license.quantity}", "true", "/conditions/0/limit",
            "line 11, column 12: limit must be a whole number",
        ),
        (
            "{from: license.quantity}", "'10'", "/conditions/0/limit",
            "line 11, column 12: limit must be a whole number, written without quotes, commas or spaces",
        ),
        (
            "{from: license.quantity}", "10,000", "/conditions/0/limit",
            "line 11, column 12: limit must be a whole number, written without quotes, commas or spaces",
        ),
        (
            "quantity_cap", "attestation_heartbeat", "/conditions/0/uses",
            "line 9, column 11: attestation_heartbeat is an obligation, which stands under obligations",
        ),
        (
            "action: deny", "action: denny", "/conditions/0/action",
            "line 12, column 13: denny is not an action; the nearest is deny",
        ),
        (
            "action: deny", "action: hold", "/conditions/0/released_by",
            "line 8, column 5: released_by is missing: who may release what this holds?",
        ),
        (
            "id: quantity", "id: Quantity cap", "/conditions/0/id",
            "line 8, column 9: id must begin with a small letter, and hold small letters, digits and "
            "hyphens, no spaces",
        ),
        (
            "action: deny", "action: deny\n    clock: occurred_at", "/conditions/0/clock",
            "line 13, column 12: occurred_at is not the clock of quantity_cap, must be none",
        ),
        (
            '    clause: "license face"\n', "", "/conditions/0/clause",
            "line 8, column 5: clause is missing",
        ),
        (
            "version: 1", "version: one", "/version",
            "line 2, column 10: version must be a whole number",
        ),
        (
            "policy: example", "policy: 7", "/policy",
            "line 1, column 9: policy must be text; put it in quotes",
        ),
        ("language: 1", "language: 2", "/language", "line 3, column 11: is 2, must be 1"),
        (
            "zone: America/New_York", "zone: America/NewYork", "/zone",
            "line 4, column 7: America/NewYork is not a time zone of the IANA database; the nearest is "
            "America/New_York",
        ),
        (
            "from: 2027-01-01", "from: 2027-02-30", "/force/from",
            "line 5, column 15: 2027-02-30 is not a day of the calendar",
        ),
        (
            "until: 2030-02-10", "until: 2027-01-01", "/force/until",
            "line 5, column 34: is 2027-01-01, must be after from, 2027-01-01",
        ),
        (
            "until: 2030-02-10", "until: 9999-12-31", "/force/until",
            "line 5, column 34: 9999-12-31 is too far away",
        ),
        (
            "[authority]", "[exporter.Counsel]", "/approvals/0",
            "line 6, column 13: exporter.Counsel must be a role, or a role and an office such as "
            "exporter.counsel",
        ),
        (
            "[authority]", "[autority]", "/approvals/0",
            "line 6, column 13: autority is not a role; the nearest is authority",
        ),
        ("[authority]", "authority", "/approvals", "line 6, column 12: approvals must be a list"),
        ("[authority]", "[]", "/approvals", "line 6, column 12: approvals must not be empty"),
        (
            "version: 1", "version: 0", "/version",
            "line 2, column 10: version must be greater than or equal to 1",
        ),
        (
            "approvals:", "approval:", "/approval",
            "line 6, column 1: approval is not a known field; the nearest is approvals",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_what_would_be_known(
    right: str, wrong: str, pointer: str, detail: str
) -> None:
    assert right in MINIMAL
    assert (pointer, detail) in faults(MINIMAL.replace(right, wrong, 1))


HEARTBEAT = """
obligations:
  - id: heartbeat
    uses: attestation_heartbeat
    clause: "license conditions, telemetry"
    first: P14D
    every: PT24H
    grace: PT48H
    steps: [{after: PT0S, action: flag}, {after: P4D, action: propose_suspension}]
"""


def test_an_obligation_is_read_with_its_steps() -> None:
    [bound] = parse_document(MINIMAL + HEARTBEAT).obligations
    assert (bound.id, bound.obligation.name) == ("heartbeat", "attestation_heartbeat")
    assert bound.grace == timedelta(days=2)
    assert [(s.after, s.action) for s in bound.steps] == [
        (timedelta(0), "flag"), (timedelta(days=4), "propose_suspension"),
    ]  # fmt: skip
    [plain] = parse_document(MINIMAL + HEARTBEAT[: HEARTBEAT.index("    steps")]).obligations
    assert [(s.after, s.action) for s in plain.steps] == [(timedelta(0), "flag")]


@pytest.mark.parametrize(
    ("right", "wrong", "pointer", "detail"),
    [
        (
            "uses: attestation_heartbeat", "uses: attestation_hartbeat", "/obligations/0/uses",
            "attestation_hartbeat is not an obligation; the nearest is attestation_heartbeat",
        ),
        ("    every: PT24H\n", "", "/obligations/0/every", "every is missing"),
        (
            "every: PT24H", "evry: PT24H", "/obligations/0/evry",
            "evry is not a known field; the nearest is every",
        ),
        (
            "propose_suspension", "propose_suspenders", "/obligations/0/steps/1/action",
            "propose_suspenders is not an action; the nearest is propose_suspension",
        ),
        ("{after: P4D,", "{after: PT0S,", "/obligations/0/steps/1/after", "must be after the step before it"),
        ("id: heartbeat", "id: quantity", "/obligations/0/id", "quantity stands twice, first on line 8"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_obligation_is_named(right: str, wrong: str, pointer: str, detail: str) -> None:
    assert right in HEARTBEAT
    found = faults(MINIMAL + HEARTBEAT.replace(right, wrong, 1))
    assert pointer in dict(found)
    assert dict(found)[pointer].partition(": ")[2] == detail


@pytest.mark.parametrize(
    ("wrong", "pointer", "detail"),
    [
        (
            "action: deny\n    released_by: [authority]", "/conditions/0/released_by",
            "released_by says who releases a hold, and the action is deny",
        ),
        (
            "action: flag\n    overridden_by: [authority]", "/conditions/0/overridden_by",
            "overridden_by says who lets it count as a flag, and the action is flag",
        ),
    ],
)  # fmt: skip
def test_who_may_release_or_override_is_said_only_where_it_means_something(
    wrong: str, pointer: str, detail: str
) -> None:
    assert [(p, d.partition(": ")[2]) for p, d in faults(MINIMAL.replace("action: deny", wrong, 1))] == [
        (pointer, detail)
    ]


@pytest.mark.parametrize("fields", [{"coverage": "sample"}, {"coverage": "every", "percent": "5"}])
def test_a_sample_says_how_large_it_is_and_nothing_else_does(fields: dict[str, str]) -> None:
    _, detail = only(policy(condition("laboratory_test", **fields)))
    assert "percent is said where coverage is sample, and only there" in detail


def test_an_id_that_stands_twice_is_refused() -> None:
    quantity = condition("quantity_cap", limit=1)
    pointer, detail = only(policy(quantity, quantity))
    assert pointer == "/conditions/1/id"
    assert "quantity_cap stands twice, first on line 1" in detail


def test_every_mistake_is_named_at_once() -> None:
    text = (
        MINIMAL.replace("version: 1", "version: 0")
        .replace("[authority]", "[nobody]")
        .replace("deny", "maybe")
    )
    assert [pointer for pointer, _ in faults(text)] == [
        "/version", "/approvals/0", "/conditions/0/action",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["[1, 2]", "text", "conditions: text", "conditions: [text]", "conditions: []", "{}"]
)
def test_another_shape_is_refused_without_a_crash(text: str) -> None:
    assert faults(text)


def test_a_document_inside_another_input_is_pointed_to_from_outside() -> None:
    with pytest.raises(MalformedInput) as refused:
        parse_document(MINIMAL.replace("deny", "maybe"), pointer="/data/text")
    [fault] = refused.value.faults
    assert fault.pointer == "/data/text"
    assert fault.detail.startswith("line 12, column 13: maybe is not an action")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("P7D", 604_800),
        ("PT24H", 86_400),
        ("PT72H", 259_200),
        ("P1DT2H3M4S", 93_784),
        ("P2W", 1_209_600),
        ("PT0S", 0),
    ],
)
def test_a_duration_has_one_length(written: str, seconds: int) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    ["7D", "P", "PT", "P7DT", "P1Y", "P1M", "P1W2D", "PT1.5H", "-P1D", "p7d", "P7D ", "P٧D", 7, None],
)
def test_a_duration_without_one_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration of weeks, days"):
        parse_duration(written)


@pytest.mark.parametrize("rate", ["0", "-0.25", "25%", 0, "1e-1"])
def test_a_rate_is_a_positive_decimal_in_a_string(rate: object) -> None:
    pointer, _ = only(policy(condition("levy_settled", rate=rate, rounding="half_up")))
    assert pointer == "/conditions/0/rate"


def test_the_same_text_is_the_same_document() -> None:
    assert isinstance(parse_document(MINIMAL), PolicyDocument)
    assert parse_document(MINIMAL) == parse_document(str(json.loads(json.dumps(MINIMAL))))
