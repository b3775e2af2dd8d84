"""POST /v1/events and /v1/events:batch: receipts, refusals, replays, and what wrong input gets."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import Any

import httpx2 as httpx
import pytest

from ledger.canonical import canonical
from ledger.note import Verifier
from ledger.receipt import Receipt
from tests.api.contract import LiveContract
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, EXPORTER, activation, condition, policy, wire


def size(service: Service) -> int:
    return int(httpx.get(f"{service.url}/readyz").json()["tree_size"])


def verifier(service: Service) -> Verifier:
    with service.client("auditor") as client:
        genesis = client.get("/v1/entries/0").json()
    return Verifier.parse(genesis["event"]["value"]["data"]["key"])


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    return LiveContract(service).open()


# --- receipts -------------------------------------------------------------------------------------


def test_an_accepted_event_gets_a_receipt_that_verifies_without_the_service(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-R", units=10)
    answer = live.service.submit(event)
    assert answer.status_code == 201
    receipt = Receipt.parse(answer.content)
    checkpoint = receipt.check(verifier(live.service), event=canonical(event))
    assert answer.headers["location"] == f"/v1/entries/{receipt.index}"
    assert checkpoint.size == receipt.tree_size > receipt.index


def test_the_same_id_and_bytes_get_the_same_entry_again(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-S", units=10)
    first = live.service.submit(event)
    before = size(live.service)
    again = live.service.submit(event)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    one, two = first.json(), again.json()
    assert (one["header"], one["decision"]) == (two["header"], two["decision"])
    Receipt.parse(again.content).check(verifier(live.service), event=canonical(event))
    assert size(live.service) == before


def test_the_same_event_in_another_spelling_is_the_same_bytes(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-W", units=10)
    assert live.service.submit(event).status_code == 201
    with live.service.client("submitter", event["actor"]["party"]) as client:
        spelled = json.dumps(dict(reversed(event.items())), indent=3)
        answer = client.post("/v1/events", content=spelled, headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_the_same_id_with_other_bytes_is_a_conflict(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-C", units=10)
    index = live.service.submit(event).json()["header"]["index"]
    event["data"]["units"] = 11
    answer = live.service.submit(event)
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/id-conflict"
    assert answer.json()["index"] == index


def test_an_id_is_unique_for_its_party_alone(live: LiveContract) -> None:
    shared = str(uuid.uuid4())
    first = live.say("order.placed", event_id=shared, order="PO-U", units=1)
    assert first.status_code == 201, first.text
    other = live.say("levy.settled", event_id=shared, order="PO-U")
    assert other.status_code == 201


# --- refusals -------------------------------------------------------------------------------------


def test_a_refusal_is_a_problem_with_numbers_and_stands_in_the_log(service: Service) -> None:
    contract = LiveContract(service, quantity=100).open()
    assert contract.order(60, order="PO-1").status_code == 201
    event = contract.event("order.placed", order="PO-2", units=50)
    answer = service.submit(event)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/denied"
    [failed] = problem["failed"]
    assert (failed["uses"], failed["code"]) == ("quantity_cap", "quantity_cap.over")
    assert (failed["observed"], failed["limit"], failed["shortfall"]) == (110, 100, 10)
    assert failed["headroom"] == 40
    assert "110 units asked or released, 100 allowed" in problem["detail"]
    Receipt.parse(answer.content).check(verifier(service), event=canonical(event))
    with service.client("auditor") as client:
        entry = client.get(f"/v1/entries/{problem['index']}").json()
        facts = client.get(f"/v1/contracts/{contract.contract}").json()
    assert (entry["kind"], entry["outcome"]) == ("order.placed", "denied")
    assert entry["event"]["value"] == event
    assert facts["licenses"][0]["ordered"] == 60
    assert [order["order"] for order in facts["orders"]] == ["PO-1"]


def test_a_refusal_is_replayed_as_the_same_refusal(service: Service) -> None:
    contract = LiveContract(service, quantity=10).open()
    event = contract.event("order.placed", order="PO-1", units=11)
    first, again = service.submit(event), service.submit(event)
    assert (first.status_code, again.status_code) == (422, 422)
    assert first.json()["index"] == again.json()["index"]
    assert (first.json()["replayed"], again.json()["replayed"]) == (False, True)
    index = first.json()["index"]
    assert again.json()["detail"].removeprefix(first.json()["detail"]) == (
        f" So it was decided before, as entry {index}: another attempt needs a new id, and names"
        " this one's in retries."
    )


def test_an_unknown_contract_is_refused_and_recorded(service: Service) -> None:
    answer = service.submit(wire("order.placed", contract=str(uuid.uuid4())))
    assert answer.status_code == 422
    assert answer.json()["failed"][0]["id"] == "contract_open"


def test_a_fact_that_should_not_have_happened_is_flagged_and_not_refused(live: LiveContract) -> None:
    answer = live.say("delivery.received", shipment="SH-none", received=live.serials(1), missing=[])
    assert answer.status_code == 201
    assert answer.json()["decision"]["outcome"] == "flagged"


def test_losing_devices_flags_and_asks_for_an_incident_report(service: Service) -> None:
    contract = LiveContract(service).open()
    serials = contract.serials(5)
    contract.released(serials)
    contract.accepted("shipment.dispatched", shipment="SH-1", serials=serials)
    answer = contract.say("delivery.received", shipment="SH-1", received=serials[:3], missing=serials[3:])
    decision = answer.json()["decision"]
    assert decision["outcome"] == "flagged"
    [custody] = [c for c in decision["conditions"] if c["uses"] == "custody_continuity"]
    assert (custody["observed"], custody["limit"], custody["shortfall"]) == (3, 5, 2)
    assert custody["subjects"] == serials[3:]
    assert decision["proposals"] == [
        {"propose": "incident_report", "condition": "custody", "due": "2027-03-04T12:00:00.000000Z"}
    ]


def test_a_revocation_says_at_once_what_it_touches(service: Service) -> None:
    contract = LiveContract(service).open()
    serials = contract.serials(4)
    contract.released(serials[:2])
    contract.accepted("shipment.dispatched", shipment="SH-1", serials=serials[:2])
    contract.released(serials[2:], order="PO-2", shipment="SH-2")
    revoked = contract.accepted("license.revoked")
    with service.client("auditor") as client:
        scope = client.get(f"/v1/entries/{revoked['header']['index'] + 1}").json()
    assert scope["kind"] == "revocation.scoped"
    data = scope["event"]["value"]["data"]
    assert data["cause"] == revoked["header"]["index"]
    assert data["in_transit"] == [{"shipment": "SH-1", "units": 2}]
    assert data["released"] == [{"shipment": "SH-2", "units": 2}]


# --- batches --------------------------------------------------------------------------------------


def batch(service: Service, events: list[dict[str, Any]], *, lines: bool = False) -> httpx.Response:
    party = events[0]["actor"]["party"]
    with service.client("submitter", party) as client:
        if lines:
            content = "\n".join(json.dumps(event) for event in events) + "\n"
            media = "application/x-ndjson"
        else:
            content, media = json.dumps(events), "application/json"
        return client.post("/v1/events:batch", content=content, headers={"content-type": media})


@pytest.mark.parametrize("lines", [False, True], ids=["array", "ndjson"])
def test_each_event_of_a_batch_is_judged_on_its_own_and_in_order(service: Service, lines: bool) -> None:
    contract = LiveContract(service, quantity=100).open()
    orders = [
        contract.event("order.placed", order=f"PO-{n}", units=units)
        for n, units in enumerate((60, 60, 40, 1))
    ]
    answer = batch(service, [*orders, orders[0]], lines=lines)
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [r["status"] for r in results] == [201, 422, 201, 422, 200]
    indexes = [r["index"] for r in results]
    assert indexes[:4] == list(range(indexes[0], indexes[0] + 4))
    assert indexes[4] == indexes[0]
    assert results[1]["problem"]["failed"][0]["shortfall"] == 20
    for result, event in zip(results, [*orders, orders[0]], strict=True):
        receipt = result.get("receipt") or result["problem"]["receipt"]
        Receipt.parse(json.dumps(receipt).encode()).check(verifier(service), event=canonical(event))


@pytest.mark.parametrize("lines", [False, True], ids=["array", "ndjson"])
def test_a_batch_with_one_malformed_event_writes_nothing(live: LiveContract, lines: bool) -> None:
    good = live.event("order.placed", order="PO-B", units=1)
    bad = live.event("order.placed", order="PO-B2", units=0)
    before = size(live.service)
    answer = batch(live.service, [good, bad], lines=lines)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/1/data/units"
    assert size(live.service) == before


def test_a_conflict_inside_a_batch_fails_its_own_event_alone(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-D", units=1)
    other = {**event, "occurred_at": "2027-02-28T00:00:00Z"}
    third = live.event("order.placed", order="PO-E", units=1)
    results = batch(live.service, [event, other, third]).json()["results"]
    assert [r["status"] for r in results] == [201, 409, 201]


def test_an_empty_batch_and_one_that_is_too_long_are_refused(live: LiveContract) -> None:
    with live.service.client("submitter", EXPORTER) as client:
        assert client.post("/v1/events:batch", json=[]).status_code == 422
        assert client.post("/v1/events:batch", json={}).status_code == 422
        assert client.post("/v1/events:batch", json=[{}] * 1001).status_code == 413


def test_lines_that_come_as_json_are_told_their_type(live: LiveContract) -> None:
    lines = b"".join(
        json.dumps(live.event("order.placed", order=f"PO-N{n}")).encode() + b"\n" for n in (1, 2)
    )
    before = size(live.service)
    with live.service.client("submitter", EXPORTER) as client:
        answer = client.post("/v1/events:batch", content=lines, headers={"content-type": "application/json"})
    assert (answer.status_code, size(live.service)) == (422, before)
    assert "NDJSON under its own type: application/x-ndjson" in answer.json()["detail"]


# --- wrong input ----------------------------------------------------------------------------------


def changed(event: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """The event with the value at a pointer replaced."""
    copied: dict[str, Any] = json.loads(json.dumps(event))
    *path, last = pointer.strip("/").split("/")
    place = copied
    for step in path:
        place = place[step]
    place[last] = value
    return copied


RAW = [
    (b"", "not-json", ""),
    (b"{", "not-json", ""),
    (b"nonsense", "not-json", ""),
    (b'{"a": 1, "a": 2}', "not-json", ""),
    (b'{"a": NaN}', "not-json", ""),
    (b'{"a": Infinity}', "not-json", ""),
    (b'{"a": "\xff"}', "not-json", ""),
    (b'{"a": "\\ud800"}', "not-json", ""),
    (b'{"a": "\\u0000"}', "not-json", "/a"),
    (b'{"data": {"units": 1.0}}', "not-json", "/data/units"),
    (b'{"data": {"units": 1e3}}', "not-json", "/data/units"),
    (b'{"data": {"units": 9007199254740992}}', "not-json", "/data/units"),
    (b'{"data": {"units": -9007199254740992}}', "not-json", "/data/units"),
    (b'{"data": {"units": 123456789012345678901234567890}}', "not-json", "/data/units"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "not-json", "/a" * 32),
    (b"[" * 100_000, "not-json", ""),
    (b"[]", "malformed-event", ""),
    (b"1", "malformed-event", ""),
    (b"null", "malformed-event", ""),
    (b"{}", "malformed-event", "/kind"),
]


@pytest.mark.parametrize(("raw", "name", "pointer"), RAW, ids=[repr(r[0][:40]) for r in RAW])
def test_what_is_no_strict_json_or_no_event_is_refused_with_its_place(
    live: LiveContract, raw: bytes, name: str, pointer: str
) -> None:
    before = size(live.service)
    with live.service.client("submitter", BUYER) as client:
        answer = client.post("/v1/events", content=raw, headers={"content-type": "application/json"})
    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert problem["type"] == f"/problems/{name}"
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["instance"].startswith("urn:chipledger:request:")
    assert size(live.service) == before


FIELDS = [
    ("/kind", "order.place", "did you mean order.placed?"),
    ("/kind", "ledger.opened", "said by the ledger itself"),
    ("/kind", 7, "kind is missing or no string"),
    ("/version", 2, "version of order.placed must be 1"),
    ("/version", True, "version of order.placed must be 1"),
    ("/id", "1", "must be a UUID in lower case, such as"),
    ("/id", "7C0F7A56-2B6E-4F0C-9A44-5D1F0C3E8A01", "must be a UUID in lower case, such as"),
    ("/contract", "my contract", ", or _ledger"),
    ("/occurred_at", "2027-03-01T12:00:00", "offset"),
    ("/occurred_at", "2027-03-01", "offset"),
    ("/occurred_at", 1772366400, "RFC 3339"),
    ("/occurred_at", "2027-03-01T12:00:00.1234567Z", "six fraction digits"),
    ("/occurred_at", "2027-02-30T12:00:00Z", "not a time of the calendar"),
    ("/occurred_at", "2027-03-01T12:06:00Z", "is in the future, must not be after"),
    ("/occurred_at", "9999-12-31T23:59:59Z", "is in the future"),
    ("/occurred_at", "9999-12-31T23:59:59-23:59", "not a time of the calendar"),
    ("/extra", 1, "not a known field"),
    ("/actor/role", "king", "Input should be"),
    ("/data/extra", 1, "not a known field"),
    ("/data/units", "5", "valid integer"),
    ("/data/units", 0, "greater than or equal to 1"),
    ("/data/units", True, "valid integer"),
    ("/data/order", "", "must be 1 to 64 letters, digits and . _"),
    ("/data/order", "PO\n1", "must be 1 to 64 letters, digits and . _"),
    ("/data/order", "ПО-1", "must be 1 to 64 letters, digits and . _"),
    ("/data/unit_value/amount", "1e3", "must be a decimal in a string"),
    ("/data/unit_value/amount", "-1", "must not be negative"),
    ("/data/unit_value/amount", 27000, "must be a decimal in a string"),
    ("/data/unit_value/currency", "XXQ", "not an ISO 4217 currency code"),
    ("/data/incoterm", "DDT", "Input should be"),
]


@pytest.mark.parametrize(("pointer", "value", "words"), FIELDS, ids=[f"{p}={v!r}" for p, v, _ in FIELDS])
def test_a_wrong_field_is_pointed_at_with_words_that_help(
    live: LiveContract, pointer: str, value: Any, words: str
) -> None:
    before = size(live.service)
    event = live.event("order.placed", order="PO-X", units=1)
    event["actor"] = {"party": BUYER, "role": "buyer"}
    with live.service.client("submitter", BUYER) as client:
        if pointer == "/kind" and value == "ledger.opened":
            event = wire_own(event)
        else:
            event = changed(event, pointer, value)
        answer = client.post("/v1/events", json=event)
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    assert pointer in [error["pointer"] for error in errors]
    assert words in " ".join(error["detail"] for error in errors)
    assert size(live.service) == before


def wire_own(event: dict[str, Any]) -> dict[str, Any]:
    from ledger.event import KINDS

    return {**event, "kind": "ledger.opened", "data": KINDS["ledger.opened", 1].example}


def test_serials_are_unique_within_an_event(live: LiveContract) -> None:
    serial = live.serials(1)[0]
    answer = live.say("shipment.requested", serials=[serial, serial])
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "pointer": "/data/serials",
            "detail": f"{serial} stands twice, must be unique within the event",
        }
    ]


def test_identifiers_are_checked_by_their_standards(service: Service) -> None:
    contract = LiveContract(service)
    parties = [
        {"party": EXPORTER, "roles": ["exporter"], "name": "A", "country": "US",
         "lei": "5493001KJTIIGC8Y1R13"},
        {"party": BUYER, "roles": ["consignee"], "name": "B", "country": "XX",
         "uscc": "91110000600037341A"},
    ]  # fmt: skip
    answer = contract.say("contract.opened", parties=parties)
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers >= {"/data/parties/0/lei", "/data/parties/1/country", "/data/parties/1/uscc"}


def test_a_policy_that_cannot_be_read_is_refused_at_the_door_with_line_and_column(
    service: Service,
) -> None:
    contract = LiveContract(service).open()
    text = activation("policy: x\nversion: 1\nlanguage: 1\nzone: UTC\nconditons: []\n", policy="x")
    answer = contract.say("policy.activated", **text)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert {error["pointer"] for error in errors} == {"/data/text"}
    [unknown] = [e["detail"] for e in errors if "line 5, column 1" in e["detail"]]
    assert "conditions" in unknown


@pytest.mark.parametrize("kind", ["policy.activated", "policy.proposed"])
def test_a_policy_that_cannot_mean_what_it_says_is_refused_at_the_door(service: Service, kind: str) -> None:
    contract = LiveContract(service).open()
    limit = condition("quantity_cap", limit=10)
    idle = activation(policy(limit, {**limit, "id": "mark", "action": "flag"}, version=2), version=2)
    answer = contract.say(kind, by=(AUTHORITY, "authority"), **idle)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/data/text"
    assert error["detail"].startswith("line 1, column ")
    assert "mark: decides nothing: quantity_cap denies whatever it would find" in error["detail"]
    # A remark is none of the door's business, and nothing of the refused one was kept.
    twice = activation(policy(limit, {**limit, "id": "again"}, version=2), version=2)
    assert contract.say(kind, by=(AUTHORITY, "authority"), **twice).status_code == 201


def test_a_body_that_is_too_large_is_refused_before_it_is_read(live: LiveContract) -> None:
    with live.service.client("submitter", BUYER) as client:
        headers = {"content-type": "application/json"}
        declared = client.post("/v1/events", content=b" " * 2_000_000, headers=headers)
        streamed = client.post("/v1/events", content=(b" " * 65_536 for _ in range(40)), headers=headers)
    assert (declared.status_code, streamed.status_code) == (413, 413)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events:batch", "/v1/events:evaluate"])
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-type": "text/xml"}, "content type is text/xml, must be application/json"),
        ({"content-type": "application/json; charset=UTF-16"}, "charset is utf-16, must be utf-8"),
        ({"content-encoding": "gzip"}, "content encoding is gzip, must be none: send it uncompressed"),
    ],
)
def test_what_is_no_plain_json_is_refused_in_words(
    live: LiveContract, path: str, headers: dict[str, str], words: str
) -> None:
    with live.service.client("submitter", BUYER) as client:
        answer = client.post(path, content=gzip.compress(b"{}"), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith(words)


def test_json_may_say_that_it_is_utf_8(live: LiveContract) -> None:
    headers = {"content-type": 'Application/JSON; charset="utf-8"', "content-encoding": "identity"}
    with live.service.client("submitter", BUYER) as client:
        assert client.post("/v1/events", content=b"{}", headers=headers).status_code == 422


# --- who may write --------------------------------------------------------------------------------


def test_nobody_writes_without_a_key(live: LiveContract) -> None:
    event = live.event("order.placed")
    for headers in (
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": f"Bearer clk_{'0' * 12}_{'A' * 43}"},
        {"authorization": live.service.token("submitter", BUYER)},
        {"authorization": f"Basic {live.service.token('submitter', BUYER)}"},
        {"authorization": f"Bearer {live.service.token('submitter', BUYER)[:-1]}"},
    ):
        answer = httpx.post(f"{live.service.url}/v1/events", json=event, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_speaks_for_its_own_party(live: LiveContract) -> None:
    event = live.event("order.placed")
    with live.service.client("submitter", EXPORTER) as client:
        answer = client.post("/v1/events", json=event)
    assert answer.status_code == 403
    assert "speaks for acme, not for dragon-dc" in answer.json()["detail"]


@pytest.mark.parametrize("role", ["auditor", "operator"])
def test_auditors_and_operators_may_not_write(live: LiveContract, role: str) -> None:
    with live.service.client(role, BUYER) as client:
        assert client.post("/v1/events", json=live.event("order.placed")).status_code == 403


def test_only_a_regulator_speaks_as_authority_and_only_as_that(live: LiveContract) -> None:
    revoked = live.event("license.revoked")
    with live.service.client("submitter", "bis") as client:
        assert client.post("/v1/events", json=revoked).status_code == 403
    order = live.event("order.placed", by=("bis", "buyer"))
    with live.service.client("regulator", "bis") as client:
        assert client.post("/v1/events", json=order).status_code == 403
