"""POST /v1/events:evaluate: the decision that an event would get, and a log that stays as it was."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from tests.api.contract import NOW, LiveContract
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, EXPORTER, FORWARDER, condition, policy, wire


def size(service: Service) -> int:
    return int(httpx.get(f"{service.url}/readyz").json()["tree_size"])


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    return LiveContract(service).open()


def ask(live: LiveContract, event: dict[str, Any], against: Any = None) -> httpx.Response:
    """With the key of the party that speaks."""
    actor = event["actor"]
    body = {"event": event} if against is None else {"event": event, "against": against}
    with live.service.client(
        "regulator" if actor["role"] == "authority" else "submitter", actor["party"]
    ) as c:
        return c.post("/v1/events:evaluate", json=body)


def test_an_event_is_judged_and_nothing_is_committed(live: LiveContract) -> None:
    before = size(live.service)
    event = live.event("order.placed", order="PO-E", units=10)
    answer = ask(live, event)
    assert answer.status_code == 200
    told = answer.json()
    assert told["decision"]["outcome"] == "accepted"
    assert told["tree_size"] == before == size(live.service)
    assert told["at"] == "2027-03-01T12:00:00.000000Z" == NOW.replace("Z", ".000000Z")
    assert ask(live, event).json() == told
    # And it is the decision that the event then gets.
    assert live.service.submit(event).json()["decision"] == told["decision"]


def test_a_refusal_is_an_answer_and_is_explained(live: LiveContract) -> None:
    answer = ask(live, live.event("order.placed", order="PO-F", units=10_001))
    assert answer.status_code == 200
    told = answer.json()
    assert told["decision"]["outcome"] == "denied"
    [quantity] = [words for words in told["explained"] if words.startswith("quantity: ")]
    assert "10,000 allowed" in quantity
    assert quantity.endswith("Clause: license face, quantity.")


def test_what_is_looked_up_and_read_back_is_there(live: LiveContract) -> None:
    placed = live.event("order.placed", order="PO-G", units=1)
    index = live.service.submit(placed).json()["header"]["index"]
    corrects = {"index": index, "id": placed["id"], "reason": "a slip"}
    correction = live.event("event.declared_in_error", by=(BUYER, "buyer"), **corrects)
    assert ask(live, correction).json()["decision"]["outcome"] == "accepted"
    revocation = live.event("license.revoked", by=(AUTHORITY, "authority"))
    assert ask(live, revocation).json()["decision"]["outcome"] == "accepted"
    assert (
        ask(live, live.event("order.placed", order="PO-H", units=1)).json()["decision"]["outcome"]
        == "accepted"
    )


def test_an_event_is_judged_against_a_document_that_is_carried(live: LiveContract) -> None:
    text = policy(condition("quantity_cap", limit=3), version=2)
    event = live.event("order.placed", by=(EXPORTER, "exporter"), order="PO-I", units=10_001)
    told = ask(live, event, {"text": text}).json()
    assert [p["version"] for p in told["decision"]["policies"]] == [1, 2]
    assert [c["limit"] for c in told["decision"]["conditions"] if c["uses"] == "quantity_cap"] == [3]
    assert any(words.endswith("Clause: a test.") for words in told["explained"])


def test_an_event_is_judged_against_a_version_that_is_named(live: LiveContract) -> None:
    event = live.event("order.placed", by=(EXPORTER, "exporter"), order="PO-J", units=1)
    named = ask(live, event, {"policy": "us-h200-china", "version": 1})
    assert named.status_code == 200
    assert named.json()["decision"] == ask(live, event).json()["decision"]
    unknown = ask(live, event, {"policy": "us-h200-china", "version": 7})
    assert unknown.status_code == 422
    assert unknown.json()["errors"] == [
        {"pointer": "/against", "detail": "us-h200-china 7 was never in force in this contract"}
    ]


def test_whoever_may_not_put_a_document_in_force_may_not_try_one_out(live: LiveContract) -> None:
    event = live.event("order.placed", by=(BUYER, "buyer"), order="PO-K", units=1)
    answer = ask(live, event, {"text": policy()})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "only a party that may put a document in force may try one out"


def test_a_stranger_learns_no_more_than_by_submitting(live: LiveContract) -> None:
    event = live.event("order.placed", by=("stranger", "buyer"), order="PO-L", units=1)
    told = ask(live, event).json()
    assert [c["code"] for c in told["decision"]["conditions"]] == ["standing.party"]
    assert ask(live, event, {"text": policy()}).status_code == 403


def test_only_the_party_itself_may_ask(live: LiveContract) -> None:
    event = live.event("order.placed", order="PO-M", units=1)
    for role, party, status in (
        ("submitter", FORWARDER, 403),
        ("auditor", None, 403),
        ("operator", None, 403),
    ):
        with live.service.client(role, party) as client:
            assert client.post("/v1/events:evaluate", json={"event": event}).status_code == status
    assert httpx.post(f"{live.service.url}/v1/events:evaluate", json={"event": event}).status_code == 401


WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([], ""),
    "no event": ({}, ""),
    "something else": ({"event": {}, "policy": {}}, ""),
    "an event that is none": ({"event": {"kind": "order.placed", "version": 1}}, "/event/id"),
    "an event of the ledger": ({"event": {"kind": "ledger.opened", "version": 1}}, "/event/id"),
    "against nothing": ({"event": None, "against": {}}, "/against"),
    "against both": ({"event": None, "against": {"text": "x", "policy": "x", "version": 1}}, "/against"),
    "against half a name": ({"event": None, "against": {"policy": "x"}}, "/against"),
    "against what is no document": ({"event": None, "against": {"text": "policy: x\n"}}, "/against/text"),
    "against what nothing passes": (
        {"event": None, "against": {"text": policy(condition("quantity_cap", limit=0))}},
        "/against/text",
    ),
    "against a list": ({"event": None, "against": []}, "/against"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_question_is_refused_with_its_place(live: LiveContract, name: str) -> None:
    body, pointer = WRONG[name]
    if isinstance(body, dict) and "event" in body and body["event"] is None:
        body = {**body, "event": live.event("order.placed", by=(EXPORTER, "exporter"), order="PO-N", units=1)}
    with live.service.client("submitter", EXPORTER) as client:
        answer = client.post("/v1/events:evaluate", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_what_is_not_json_or_not_a_post_is_refused(live: LiveContract) -> None:
    with live.service.client("submitter", EXPORTER) as client:
        url = "/v1/events:evaluate"
        assert client.post(url, content="{", headers={"content-type": "application/json"}).status_code == 400
        assert client.post(url, content="x", headers={"content-type": "text/plain"}).status_code == 415
        assert client.get(url).status_code == 405
        ahead = live.event("order.placed", by=(EXPORTER, "exporter"), occurred_at="2040-01-01T00:00:00Z")
        answer = client.post(url, json={"event": ahead})
        assert answer.json()["errors"][0]["pointer"] == "/event/occurred_at"


def test_an_unknown_contract_is_told_as_the_log_would(live: LiveContract) -> None:
    told = ask(live, wire("order.placed", contract="00000000-2222-4333-8444-555555555555")).json()
    assert [c["code"] for c in told["decision"]["conditions"]] == ["contract_open.unknown"]
