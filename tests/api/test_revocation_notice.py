"""Who was told of a revocation, when, who confirmed it by its own signature, and who is in breach."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx2 as httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import dsse
from tests.api.contract import NOW, LiveContract
from tests.api.receiver import receiving, subscribed
from tests.faults.harness import wait_for
from tests.service import Service
from tests.workbench import BUYER, EXPORTER, FORWARDER, LABORATORY, PARTIES, activation, condition, policy

OURS, STRANGERS = (Ed25519PrivateKey.from_private_bytes(bytes([one] * 32)) for one in (7, 8))
DEMANDED = "revocation.acknowledged"
NOTICE = {
    "id": "notice", "uses": "revocation_acknowledgement", "clause": "a test", "within": "PT24H",
    "steps": [{"after": "PT0S", "action": "flag"}],
}  # fmt: skip
TEXT = policy(condition("quantity_cap", limit=10), obligations=[NOTICE])


def record(service: Service, index: int, role: str = "auditor", party: str | None = None) -> dict[str, Any]:
    with service.client(role, party) as client:
        answer = client.get(f"/v1/entries/{index}/deliveries")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_where_signatures_are_demanded_a_revocation_is_confirmed_by_a_signed_event_alone(
    service: Service,
) -> None:
    contract = LiveContract(service)
    service.set_clock(NOW)
    contract.accepted("contract.opened", parties=PARTIES, licenses=[contract.license], signed=[DEMANDED])
    contract.accepted("policy.activated", **activation(TEXT))
    contract.accepted("license.granted")
    spelled = {"algorithm": "ed25519", "public_key": dsse.spelled(OURS.public_key())}
    contract.accepted("key.registered", by=(BUYER, "consignee"), **spelled)
    wanted = {"role": "submitter", "contracts": [contract.contract], "kinds": ["license.revoked"]}
    with receiving() as receiver, receiving() as deaf:
        subscribed(service, receiver.url, party=BUYER, **wanted)
        subscribed(service, deaf.url, party=EXPORTER, **wanted)
        deaf.behave = lambda _: (503, {}, b"")
        index = contract.accepted("license.revoked")["inclusion"]["index"]
        [request] = receiver.wait_for(1)
        deaf.wait_for(1)
        wait_for(
            "both attempts are on record",
            lambda: (
                {one["state"] for one in record(service, index)["deliveries"]} == {"delivered", "waiting"}
                and all(one["attempts"] for one in record(service, index)["deliveries"])
            ),
            seconds_max=15,
        )
    told = record(service, index)
    assert {(one["party"], one["state"]) for one in told["deliveries"]} == {
        (BUYER, "delivered"), (EXPORTER, "waiting"),
    }  # fmt: skip
    for one in told["deliveries"]:
        assert (
            (one["settled_at"] is None) == (one["state"] == "waiting") == (one["next_attempt_at"] is not None)
        )
    assert told["acknowledged"] == []
    others = {EXPORTER, FORWARDER, LABORATORY}
    assert set(told["outstanding"]) == {BUYER, *others}
    assert {(one["party"], one["state"], one["due"]) for one in told["duties"]} == {
        (party, "open", "2027-03-02T12:00:00.000000Z") for party in (BUYER, *others)
    }

    service.set_clock("2027-03-01T14:00:00Z")
    event = contract.event(DEMANDED, revocation=index, webhook_id=request.id)
    refused = service.submit(event)
    assert (refused.status_code, refused.json()["failed"][0]["code"]) == (422, "signed.missing")
    assert f"demands that {DEMANDED} is signed" in refused.json()["detail"]
    event = contract.event(DEMANDED, revocation=index, webhook_id=request.id)
    foreign = post(service, dsse.sign(event, STRANGERS))
    assert foreign.status_code == 422
    assert "has registered no such key" in foreign.json()["detail"]
    assert record(service, index)["acknowledged"] == []
    event = contract.event(DEMANDED, revocation=index, webhook_id=request.id)
    committed = post(service, dsse.sign(event, OURS))
    assert committed.status_code == 201, committed.text
    confirmed = committed.json()["inclusion"]["index"]
    with service.client("auditor") as client:
        kept = client.get(f"/v1/entries/{confirmed}").json()
    assert kept["signatures"]["value"]["signatures"][0]["keyid"] == dsse.fingerprint_of(spelled["public_key"])

    service.set_clock("2027-03-02T12:00:00Z")
    told = record(service, index)
    [acknowledged] = told["acknowledged"]
    assert (acknowledged["party"], acknowledged["index"], acknowledged["after_s"]) == (
        BUYER,
        confirmed,
        7_200,
    )
    assert set(told["outstanding"]) == others
    duties = {one["party"]: (one["state"], one["met"]) for one in told["duties"]}
    assert duties == {BUYER: ("met", confirmed), **dict.fromkeys(others, ("breached", None))}
    with service.client("auditor") as client:
        asked = {"contract": contract.contract, "kind": "obligation.breached"}
        breaches = client.get("/v1/entries", params=asked).json()["entries"]
    [breach] = [one["event"]["value"]["data"] for one in breaches]
    assert (breach["obligation"], breach["opened"]) == ("notice", index)
    assert set(breach["about"]) == {f"{contract.license}/{party}" for party in others}
    # A submitter sees its own delivery, and what everybody has confirmed.
    mine = record(service, index, "submitter", EXPORTER)
    assert [one["party"] for one in mine["deliveries"]] == [EXPORTER]
    assert mine["acknowledged"] == told["acknowledged"]
    delivered = next(one for one in told["deliveries"] if one["state"] == "delivered")
    assert datetime.fromisoformat(delivered["settled_at"]) >= datetime.fromisoformat(delivered["created_at"])


def post(service: Service, envelope: dict[str, Any]) -> httpx.Response:
    with service.client("submitter", BUYER) as client:
        return client.post("/v1/events", json=envelope)


def test_who_confirmed_a_revocation_in_error_has_not_confirmed_the_next_one(service: Service) -> None:
    contract = LiveContract(service).open()
    first = contract.event("license.revoked")
    index = service.submit(first).json()["inclusion"]["index"]
    contract.accepted("revocation.acknowledged", revocation=index)
    slip = {"index": index, "id": first["id"], "by": (first["actor"]["party"], "authority")}
    contract.accepted("event.declared_in_error", **slip)
    again = contract.accepted("license.revoked")["inclusion"]["index"]
    before, after = record(service, index), record(service, again)
    assert [one["party"] for one in before["acknowledged"]] == [BUYER]
    assert after["acknowledged"] == []
    assert BUYER in after["outstanding"]
    contract.accepted("revocation.acknowledged", revocation=again)
    assert [one["party"] for one in record(service, again)["acknowledged"]] == [BUYER]
