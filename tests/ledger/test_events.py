"""Events at the door: what is one, what is none and where, and that nothing else ever comes out of it."""

from __future__ import annotations

import copy
import inspect
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import canonical, parse
from ledger.errors import MalformedEvent, MalformedInput
from ledger.event import (
    EVENT_BYTES_MAX,
    KINDS,
    Kind,
    committed_event,
    parse_event,
    schema_of,
    submission_of,
    versions_of,
)
from ledger.values import EVERY_ROLE, SERIALS_PER_EVENT_MAX
from tests.workbench import SPEAKERS, serials, wire


def example(name: str, version: int = 1) -> dict[str, Any]:
    """A whole event of the kind, with its own example as data, and every field of the envelope."""
    versions_of(name)
    party, role = SPEAKERS.get(name, ("_ledger", "ledger"))
    return {
        "id": "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0",
        "kind": name,
        "version": version,
        "contract": "11111111-2222-4333-8444-555555555555",
        "occurred_at": "2027-03-01T12:00:00Z",
        "actor": {"party": party, "role": role},
        "data": copy.deepcopy(KINDS[name, version].example),
        "document": {"system": "ERP", "number": "4500001234", "item": "10", "revision": 1},
        "evidence": [{"sha256": "5e" * 32, "media_type": "application/pdf", "uri": "https://a.example/b"}],
        "retries": "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f1",
    }


versions_of("")  # declares every kind
EVERY = sorted(KINDS)
kinds = pytest.mark.parametrize(("name", "version"), EVERY, ids=[f"{n}-{v}" for n, v in EVERY])


def objects(value: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a document, with where it stands."""
    if isinstance(value, dict):
        yield pointer, value
    for step, child in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(child, dict | list):
            yield from objects(child, f"{pointer}/{step}")


def faults(value: object) -> dict[str, str]:
    with pytest.raises(MalformedEvent) as refused:
        submission_of(value)
    return {fault.pointer: fault.detail for fault in refused.value.faults}


# --- kinds and their schemas ----------------------------------------------------------------------


@kinds
def test_every_example_is_an_event(name: str, version: int) -> None:
    value = example(name, version)
    event = parse_event(value)
    assert (event.kind, event.version, event.data.kind_name) == (name, version, name)
    assert type(event.data) is KINDS[name, version]
    assert event.document is not None
    assert [one.media_type for one in event.evidence] == ["application/pdf"]


@kinds
def test_every_schema_accepts_its_example(name: str, version: int) -> None:
    schema = jsonschema_rs.Draft202012Validator(schema_of(name, version), validate_formats=True)
    schema.validate(example(name, version))
    jsonschema_rs.meta.validate(schema_of(name, version))


@kinds
def test_an_unknown_field_is_refused_wherever_it_stands(name: str, version: int) -> None:
    """By us and by the schema: a field that somebody misspelt must not be lost in silence."""
    schema = jsonschema_rs.Draft202012Validator(schema_of(name, version))
    places = [pointer for pointer, _ in objects(example(name, version))]
    assert len(places) >= 5
    for place in places:
        value = example(name, version)
        at = dict(objects(value))[place]
        at["surprise"] = 1
        assert faults(value) == {f"{place}/surprise": "is not a known field"}
        assert not schema.is_valid(value), place


@kinds
def test_every_kind_says_what_it_is(name: str, version: int) -> None:
    kind = KINDS[name, version]
    assert kind.nature in ("request", "fact", "own")
    assert kind.said_by
    assert kind.__doc__, "the documentation shows it"
    assert (kind.nature == "own") == (kind.said_by == {"ledger"})
    assert schema_of(name, version)["description"] == inspect.cleandoc(kind.__doc__)


def test_serials_that_an_event_speaks_of_are_each_named_once() -> None:
    for name, version in EVERY:
        spoken = list(parse_event(example(name, version)).data.speaks_of())
        assert len(spoken) == len(set(spoken)), name


# --- fields beside each other ---------------------------------------------------------------------

TOGETHER: dict[str, tuple[str, dict[str, Any], str]] = {
    "a contract amended by nothing": (
        "contract.amended",
        dict.fromkeys(("parties", "parties_removed", "licenses", "sites", "sites_removed")),
        "an amendment changes something",
    ),
    "a party that joins and leaves": (
        "contract.amended", {"parties_removed": ["dragon-affiliate"]},
        "dragon-affiliate is both added and removed",
    ),
    "a site that comes and goes": (
        "contract.amended", {"sites_removed": ["SHA-2"]}, "SHA-2 is both added and removed",
    ),
    "a license amended by nothing": (
        "license.amended", dict.fromkeys(("quantity", "valid_until", "conditions_sha256")),
        "an amendment changes something",
    ),
    "a license that ends before it begins": (
        "license.granted", {"valid_until": "2027-02-09"},
        "valid_until is 2027-02-09, must not be before valid_from 2027-02-10",
    ),
    "an approval that ends before it begins": (
        "import.approved", {"valid_until": "2026-12-31"},
        "valid_until is 2026-12-31, must not be before valid_from 2027-01-01",
    ),
    "an order amended by nothing": (
        "order.amended", dict.fromkeys(("units", "unit_value")),
        "an amendment says units, unit_value or consignee",
    ),
    "a delivery of nothing": (
        "delivery.received", {"received": [], "missing": []}, "a delivery names at least one serial",
    ),
    "a serial that came and is missing": (
        "delivery.received", {"missing": ["SN000001"]},
        "a serial is received, missing or damaged, and only one of these",
    ),
    "a document of another digest": (
        "policy.activated", {"sha256": "00" * 32}, f"sha256 is {'00' * 32}, but the text has 2c9a7688",
    ),
    "a baseline without a measure": (
        "baseline.declared", dict.fromkeys(("units", "tpp")), "a baseline says units or tpp",
    ),
    "a baseline that ends before it begins": (
        "baseline.declared", {"until": "2023-12-31"},
        "until is 2023-12-31, must not be before from 2024-01-01",
    ),
    "a certificate that ends before it begins": (
        "supply.certified", {"until": "2026-09-30"},
        "until is 2026-09-30, must not be before from 2026-10-01",
    ),
    "a report that ends before it begins": (
        "report.filed", {"until": "2026-06-30"}, "until is 2026-06-30, must not be before from 2026-07-01",
    ),
    "an attestation of no time": (
        "usage.attested", {"until": "2027-06-01T00:00:00Z"}, "until must be after from",
    ),
    "entries out of order": (
        "purge.requested", {"entries": [18, 17]}, "entries must ascend, each named once",
    ),
    "an entry named twice": (
        "purge.requested", {"entries": [17, 17]}, "entries must ascend, each named once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOGETHER)
def test_fields_that_do_not_go_together_are_refused(what: str) -> None:
    kind, changes, words = TOGETHER[what]
    value = example(kind, 1)
    submission_of(value)
    value["data"] |= changes
    value["data"] = {name: said for name, said in value["data"].items() if said is not None}
    [(pointer, detail)] = faults(value).items()
    assert pointer in ("/data", "/data/entries")
    assert detail.startswith(words)


# --- the envelope ---------------------------------------------------------------------------------

ENVELOPE: dict[str, tuple[Any, str]] = {
    "id": ("0F1E2D3C-4B5A-4978-8695-A4B3C2D1E0F0", "must be a UUID in lower case, such as "),
    "kind": (7, "kind is missing or no string"),
    "version": ("1", "version of order.placed must be 1"),
    "contract": ("_mine", ", or _ledger"),
    "occurred_at": ("2027-03-01T12:00:00", "must be an RFC 3339 time with an offset"),
    "actor": ("acme", "should be a valid dictionary"),
    "data": ([], "should be a valid dictionary"),
    "document": ({"system": "ERP"}, "Field required"),
    "evidence": ([{}], "Field required"),
    "retries": ("mine", "must be a UUID in lower case, such as "),
}


@pytest.mark.parametrize("name", ENVELOPE)
def test_a_fault_of_the_envelope_is_named_where_it_stands(name: str) -> None:
    wrong, words = ENVELOPE[name]
    found = faults({**example("order.placed"), name: wrong})
    assert found
    assert all(pointer.startswith(f"/{name}") for pointer in found)
    assert words in next(iter(found.values()))


@pytest.mark.parametrize("name", ["id", "kind", "version", "contract", "occurred_at", "actor", "data"])
def test_what_is_missing_is_named(name: str) -> None:
    value = example("order.placed")
    del value[name]
    assert set(faults(value)) == {f"/{name}"}


@pytest.mark.parametrize("value", [None, [], "order.placed", 1, True, [{}]])
def test_what_is_no_object_is_no_event(value: object) -> None:
    assert faults(value) == {"": "an event is a JSON object"}


@pytest.mark.parametrize("version", [0, 2, -1, True, "1", None, 1.0, [1]])
def test_a_version_is_a_known_number(version: object) -> None:
    """`True == 1` and `1.0 == 1` in Python, and in no other reader of the log."""
    assert faults({**example("order.placed"), "version": version}) == {
        "/version": "version of order.placed must be 1"
    }


def test_a_kind_that_is_nearly_known_is_guessed() -> None:
    assert faults({"kind": "order.place"}) == {
        "/kind": "order.place is not a known kind; did you mean order.placed?"
    }
    assert faults({"kind": "zzz"}) == {"/kind": "zzz is not a known kind"}


def test_a_kind_as_long_as_an_event_costs_nothing_to_refuse() -> None:
    """It is compared with every kind there is: a megabyte of it stopped the service for 0.15 s."""
    began = time.process_time()
    for _ in range(10):
        [(pointer, words)] = faults({"kind": "order.placed" * 80_000}).items()
        assert pointer == "/kind"
        assert len(words) < 200
    assert time.process_time() - began < 0.5


def test_faults_are_named_all_at_once_and_never_with_what_was_sent() -> None:
    value = example("order.placed")
    value["data"].update(units=0, sku="secret sku", unit_value={"amount": "-1", "currency": "ZZZ"})
    found = faults(value)
    assert set(found) == {
        "/data/units", "/data/sku", "/data/unit_value/amount", "/data/unit_value/currency",
    }  # fmt: skip
    assert not any("secret" in words for words in found.values())


def test_the_first_twenty_faults_are_named() -> None:
    value = example("shipment.requested")
    value["data"]["serials"] = ["no serial"] * 100
    assert list(faults(value)) == [f"/data/serials/{n}" for n in range(20)]


def test_a_pointer_is_escaped() -> None:
    assert set(faults({**example("order.placed"), "a/b~c": 1})) == {"/a~1b~0c"}


# --- values ---------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, Any]] = [
    ("order.placed", "units", 0),
    ("order.placed", "units", 1.0),
    ("order.placed", "units", "1"),
    ("order.placed", "units", True),
    ("order.placed", "units", 100_000_001),
    ("order.placed", "unit_value", {"amount": 27000, "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "27000.0000000", "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "027", "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "1e3", "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "-0.01", "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "٣", "currency": "USD"}),
    ("order.placed", "unit_value", {"amount": "1.00", "currency": "usd"}),
    ("order.placed", "incoterm", "DAF"),
    ("order.placed", "order", "PO 1"),
    ("order.placed", "order", "PO-1\n"),
    ("order.placed", "order", "x" * 65),
    ("order.placed", "consignee", "Dragon"),
    ("license.granted", "valid_until", "2027-02-30"),
    ("license.granted", "valid_until", "2027-2-3"),
    ("license.granted", "valid_until", "20300209"),
    ("license.granted", "valid_until", "2030-W06-6"),
    ("license.granted", "valid_until", 20300209),
    ("license.granted", "valid_until", "2026-01-01"),
    ("license.granted", "valid_until", "9999-12-31"),
    ("license.granted", "valid_from", "0001-01-01"),
    ("license.granted", "eccn", "EAR99"),
    ("contract.opened", "zone", "Mars/Olympus"),
    ("contract.opened", "zone", "../UTC"),
    ("contract.opened", "parties", []),
    ("shipment.requested", "serials", []),
    ("shipment.requested", "serials", ["SN1", "SN1"]),
    ("shipment.requested", "serials", ["sn000001"]),
    ("shipment.requested", "serials", serials(SERIALS_PER_EVENT_MAX + 1)),
    ("shipment.requested", "destination", {"country": "XX", "site": "A"}),
    ("shipment.dispatched", "sscc", "003456789012345671"),
    ("shipment.dispatched", "sscc", "٠" * 17 + "0"),
    ("shipment.dispatched", "port_of_loading", "ZZLAX"),
    ("order.placed", "gtin", "4006381333932"),
    ("order.placed", "gtin", "400638133393"),
    ("delivery.received", "missing", ["SN000001"]),
    ("usage.attested", "until", "2027-06-01T00:00:00Z"),
    ("policy.activated", "sha256", "00" * 32),
]


@pytest.mark.parametrize(
    ("kind", "field", "wrong"), WRONG, ids=[f"{k}-{f}-{n}" for n, (k, f, _) in enumerate(WRONG)]
)
def test_a_value_that_is_not_exactly_right_is_refused(kind: str, field: str, wrong: Any) -> None:
    value = example(kind)
    value["data"][field] = wrong
    found = faults(value)
    assert all(pointer.startswith("/data") for pointer in found)


@pytest.mark.parametrize(
    ("kind", "field", "right"),
    [
        ("order.placed", "gtin", "4006381333931"),
        ("shipment.dispatched", "port_of_loading", "HKHKG"),
        ("shipment.dispatched", "port_of_loading", "XZ222"),
    ],
)
def test_a_number_of_the_trade_is_taken_as_it_is(kind: str, field: str, right: str) -> None:
    value = example(kind)
    value["data"][field] = right
    assert getattr(parse_event(value).data, field) == right


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2027-03-01T12:00:00Z", "2027-03-01T12:00:00+00:00"),
        ("2027-03-01T20:00:00.123456+08:00", "2027-03-01T12:00:00.123456Z"),
        ("2027-03-01T12:00:00.1Z", "2027-03-01T12:00:00.100000Z"),
    ],
)
def test_times_are_instants(text: str, same: str) -> None:
    first, second = (parse_event({**example("order.placed"), "occurred_at": t}) for t in (text, same))
    assert first.occurred_at == second.occurred_at


@pytest.mark.parametrize(
    "text",
    [
        "2027-03-01 12:00:00Z", "2027-03-01T12:00:00z", "2027-03-01T12:00Z", "2027-03-01T12:00:00.1234567Z",
        "2027-03-01T12:00:60Z", "2027-03-01T24:00:00Z", "2027-02-29T12:00:00Z",
        "2027-03-01T12:00:00+24:00", "20270301T120000Z", "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00", "2027-W09-1T12:00:00Z", " 2027-03-01T12:00:00Z",
        "2027-03-01T12:00:00Z\n", "٢٠٢٧-03-01T12:00:00Z", 1803902400, None, "",
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_time_is_refused(text: object) -> None:
    assert set(faults({**example("order.placed"), "occurred_at": text})) == {"/occurred_at"}


# --- arbitrary JSON -------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
near: st.SearchStrategy[Any] = st.sampled_from(
    [
        "", "-1", "0", "1", "27000.00", "USD", "US", "٠" * 18, "9999-12-31", "0001-01-01", "2027-03-01",
        "2027-03-01T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "_ledger", "ledger",
        "order.placed", "SN000001", "5e" * 32, "America/New_York", "CNSHA", "003456789012345670",
        "529900T8BM49AURSDO55", "91110000600037341L", str(uuid.UUID(int=1)), 0, -1, 2**53 - 1, [], {}, None,
        True,
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """An event of some kind in which up to three things have been replaced, removed or added."""
    name, version = draw(st.sampled_from(EVERY))
    value: Any = example(name, version)
    for _ in range(draw(st.integers(0, 3))):
        at: Any = value
        while True:
            steps = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            child = at[step]
            if isinstance(child, dict | list) and child and draw(st.booleans()):
                at = child
                continue
            match draw(st.sampled_from(["replace", "near", "remove", "add", "repeat"])):
                case "replace":
                    at[step] = draw(anything)
                case "near":
                    at[step] = copy.deepcopy(draw(near))
                case "remove":
                    del at[step]
                case "add" if isinstance(at, dict):
                    at[draw(texts)] = draw(anything)
                case _ if isinstance(at, list):
                    at.append(copy.deepcopy(child))
            break
    return value


SCHEMAS = {
    (name, version): jsonschema_rs.Draft202012Validator(schema_of(name, version)) for name, version in EVERY
}


@settings(max_examples=1_000, deadline=None)
@given(mutated())
def test_nothing_but_a_malformed_event_comes_out_of_the_door(value: Any) -> None:
    """And what is let in is what the published schema lets in, and is hashed as it came."""
    try:
        submission = submission_of(value)
    except MalformedEvent:
        assert all(words for words in faults(value).values())
        return
    assert submission.body == canonical(value)
    assert submission_of(parse(submission.body)).event == submission.event
    assert SCHEMAS[submission.event.kind, submission.event.version].is_valid(value)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_arbitrary_json_is_refused_in_words(value: Any) -> None:
    assert faults(value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | anything.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_refused_in_words(raw: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_event(parse(raw))


# --- what is kept ---------------------------------------------------------------------------------


def test_the_body_is_what_was_submitted_and_no_dump_of_the_model() -> None:
    """A default that was not said is not written, and a spelling that was said is kept."""
    value = wire("order.placed", occurred_at="2027-03-01T20:00:00.10+08:00")
    submission = submission_of(value)
    assert submission.body == canonical(value)
    assert b'"occurred_at":"2027-03-01T20:00:00.10+08:00"' in submission.body
    assert b"evidence" not in submission.body
    assert submission.event.evidence == ()


def test_the_order_of_keys_does_not_matter() -> None:
    value = example("order.placed")
    turned = {key: value[key] for key in reversed(value)}
    assert submission_of(turned) == submission_of(value)


def test_an_event_has_a_largest_size() -> None:
    value = wire("order.placed")
    value["evidence"] = [
        {"sha256": "5e" * 32, "media_type": "text/plain", "uri": "u" * 2_000} for _ in range(600)
    ]
    with pytest.raises(MalformedEvent, match=rf"an event is at most {EVENT_BYTES_MAX} canonical bytes"):
        submission_of(value)
    value["evidence"] = value["evidence"][:400]
    assert len(submission_of(value).body) < EVENT_BYTES_MAX


# --- what was committed ---------------------------------------------------------------------------


def test_what_was_committed_is_read_whatever_a_registry_says_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """A country, a currency, a zone may leave its registry; an event that named it stays readable."""
    value = wire("contract.opened")
    body = submission_of(value).body
    monkeypatch.setattr("ledger.values._COUNTRIES", frozenset())
    monkeypatch.setattr("ledger.values._zones", frozenset)
    with pytest.raises(MalformedEvent):
        parse_event(value)
    assert committed_event(body).data.model_dump()["zone"] == "America/New_York"


def test_what_is_no_event_was_never_committed() -> None:
    with pytest.raises(MalformedEvent):
        committed_event(b'{"kind":"order.misplaced","version":1}')


def test_an_old_version_is_read_as_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    class Said(Kind):
        nature, setup, said_by = "fact", False, EVERY_ROLE

    class First(Said):
        kind_name, kind_version = "test.said", 1
        words: str

        def upcast(self) -> Kind:
            return Second(text=self.words, tongue="en")

    class Second(Said):
        kind_name, kind_version = "test.said", 2
        text: str
        tongue: str

    monkeypatch.setitem(KINDS, ("test.said", 1), First)
    monkeypatch.setitem(KINDS, ("test.said", 2), Second)
    monkeypatch.setattr("ledger.event.versions_of", lambda kind: (1, 2))
    value = wire("contract.opened") | {"kind": "test.said", "version": 1, "data": {"words": "as it was"}}
    event = committed_event(json.dumps(value).encode())
    assert (event.version, event.data) == (2, Second(text="as it was", tongue="en"))
    assert parse_event(value).version == 1
