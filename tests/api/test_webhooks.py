"""Who must know of an entry is told: over real HTTP, verified by a library that knows nothing of us."""

from __future__ import annotations

import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import WebhookVerificationError

from api import keys
from api.database import Logins
from api.quotas import CALLS_PER_MINUTE
from api.webhooks import message, outbox, records
from api.webhooks.endpoints import ENDPOINTS_MAX
from api.webhooks.lanes import backlog
from api.webhooks.schedule import TRIES_MAX
from api.webhooks.sending import BEGUN_MAX, CLAIM, RUNNING_AT_ENDPOINT_MAX
from api.webhooks.vault import Vault
from ledger.canonical import encode
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.keys import load_or_create
from ledger.note import Verifier
from ledger.receipt import Receipt
from tests.api.contract import NOW, LiveContract
from tests.api.receiver import Receiver, Request, Subscribed, receiving, subscribed
from tests.faults.harness import wait_for
from tests.ledger.live_log import in_loop
from tests.service import Service, running, settings_for
from tests.workbench import (
    AUTHORITY,
    BUYER,
    EXPORTER,
    FORWARDER,
    H200,
    LABORATORY,
    OPENED,
    PARTIES,
    activation,
    usd,
    wire,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def contract(service: Service) -> LiveContract:
    return LiveContract(service).open()


def revoked(contract: LiveContract) -> int:
    """Index of a revocation."""
    index: int = contract.accepted("license.revoked")["inclusion"]["index"]
    return index


def sql(service: Service, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.owner, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def state_of(service: Service, delivery: str) -> str:
    return str(sql(service, "SELECT state FROM webhook_deliveries WHERE id = %s", delivery)[0][0])


def fall_due(service: Service) -> None:
    """What would be attempted again some time is due now."""
    sql(service, "UPDATE webhook_deliveries SET due_at = now() WHERE state = 'waiting'")


# --- what arrives ---------------------------------------------------------------------------------


def test_a_revocation_arrives_and_the_reference_library_accepts_it(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.*"])
    index = revoked(contract)
    [request] = receiver.wait_for(1)
    event = endpoint.verify(request)
    assert (event["type"], event["subject"]) == ("chipledger.license.revoked", contract.contract)
    assert event["data"]["index"] == index
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    with pytest.raises(WebhookVerificationError):
        endpoint.verify(request._replace(body=request.body.replace(b"revoked", b"revokes")))


def test_the_body_is_a_cloudevent_with_a_receipt_that_holds(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    subscribed(service, receiver.url, contracts=[contract.contract])
    contract.order(10)
    [request] = receiver.wait_for(1)
    event = from_http_event(HTTPMessage(request.headers, request.body))
    assert event.get_specversion() == "1.0"
    data: Any = event.get_data()
    assert event.get_id() == str(data["index"])
    receipt = Receipt.parse(encode(data["receipt"]))
    with service.client("auditor") as client:
        entry = client.get(f"/v1/entries/{data['index']}").json()
        key = Verifier.parse(client.get("/v1/entries/0").json()["event"]["value"]["data"]["key"])
    receipt.check(key, event=encode(data["event"]))
    assert data["leaf_hash"] == entry["leaf_hash"]
    assert data["event"] == entry["event"]["value"]
    assert event.get_source() == key.name
    assert data["revocation"] is None


def test_an_endpoint_may_ask_for_ed25519(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract], signs="v1a")
    contract.order(10)
    [request] = receiver.wait_for(1)
    key = Ed25519PublicKey.from_public_bytes(b64decode(endpoint.secret.removeprefix("whpk_")))
    scheme, _, signature = request.headers["webhook-signature"].partition(",")
    assert scheme == "v1a"
    key.verify(b64decode(signature), b".".join((*signed_names(request), request.body)))


def signed_names(request: Request) -> tuple[bytes, bytes]:
    return request.id.encode(), request.headers["webhook-timestamp"].encode()


def test_two_secrets_sign_until_a_rotation_is_over(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    old = subscribed(service, receiver.url, contracts=[contract.contract])
    with service.client("auditor") as client:
        new = Subscribed(old.id, client.post(f"/v1/webhooks/{old.id}:rotate").json()["secret"])
    contract.order(10)
    [first] = receiver.wait_for(1)
    assert old.verify(first) == new.verify(first)
    sql(service, "UPDATE webhook_endpoints SET previous_until = now() WHERE id = %s", old.id)
    contract.order(10, order="PO-2")
    second = receiver.wait_for(2)[1]
    new.verify(second)
    with pytest.raises(WebhookVerificationError):
        old.verify(second)


def test_after_the_key_of_the_secrets_is_lost_a_rotation_is_all_it_takes(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
    sealed = Vault(bytes(32)).seal(bytes(32), endpoint.id)  # as with another key
    sql(service, "UPDATE webhook_endpoints SET secret = %s WHERE id = %s", sealed, endpoint.id)
    with service.client("auditor") as client:
        lost = client.post(f"/v1/webhooks/{endpoint.id}:test").json()
        assert (lost["arrived"], "webhooks.key is another key" in lost["attempt"]["error"]) == (False, True)
        new = Subscribed(endpoint.id, client.post(f"/v1/webhooks/{endpoint.id}:rotate").json()["secret"])
    contract.order(10)
    [request] = receiver.wait_for(1)
    new.verify(request)


def test_each_receiver_is_told_which_orders_and_devices_are_its_own(service: Service) -> None:
    """Of two consignees each gets its part; the exporter gets the whole, and so the parts add up."""
    contract = LiveContract(service)
    service.set_clock(NOW)
    other = {"party": "tiger-dc", "roles": ["consignee", "end_user"], "name": "Tiger", "country": "CN"}
    third = {**other, "party": "panda-dc", "name": "Panda"}
    contract.accepted("contract.opened", parties=[*PARTIES, other, third], licenses=[contract.license])
    contract.accepted("policy.activated", **activation(H200))
    parties = [BUYER, "tiger-dc", "panda-dc"]
    contract.accepted("license.granted", consignees=parties, end_users=parties)
    for party, role in ((EXPORTER, "exporter"), (BUYER, "consignee")):
        contract.accepted("conditions.acknowledged", by=(party, role))
    serials = contract.serials(5)
    contract.tested(serials)
    for number, (party, devices) in enumerate((("tiger-dc", serials[:2]), ("panda-dc", serials[2:]))):
        order = contract.order(4, order=f"PO-{number}", consignee=party, end_user=party)
        assert order.status_code == 201, order.text
        contract.accepted("levy.settled", order=f"PO-{number}", amount=usd("27000.00"))
        contract.accepted(
            "shipment.requested", order=f"PO-{number}", shipment=f"SH-{number}", serials=devices
        )
    with receiving() as whole, receiving() as tiger, receiving() as panda:
        for party, one in ((EXPORTER, whole), ("tiger-dc", tiger), ("panda-dc", panda)):
            wanted = {"contracts": [contract.contract], "kinds": ["license.revoked"]}
            subscribed(service, one.url, role="submitter", party=party, **wanted)
        revoked(contract)
        told = [one.wait_for(1)[0].event["data"]["revocation"] for one in (whole, tiger, panda)]
    everything, first, second = told
    assert [(one["orders"], one["released"], one["devices"]) for one in told] == [
        (["PO-0", "PO-1"], ["SH-0", "SH-1"], serials),
        (["PO-0"], ["SH-0"], serials[:2]),
        (["PO-1"], ["SH-1"], serials[2:]),
    ]
    assert everything["devices_count"] == first["devices_count"] + second["devices_count"]


# --- who is told ----------------------------------------------------------------------------------


def test_a_party_is_told_of_its_own_contracts_alone(service: Service, contract: LiveContract) -> None:
    with receiving() as mine, receiving() as others:
        subscribed(service, mine.url, role="submitter", party=EXPORTER, contracts=[contract.contract])
        subscribed(service, others.url, role="submitter", party="stranger", contracts=[contract.contract])
        contract.order(10)
        mine.wait_for(1)
        contract.order(10, order="PO-2")
        mine.wait_for(2)
        assert others.of_entries() == []


def test_what_only_an_auditor_may_read_ends_with_the_auditors_key(
    service: Service, contract: LiveContract
) -> None:
    with receiving() as gone, receiving() as there:
        subscribed(service, gone.url, party="audit-firm", contracts=[contract.contract])
        subscribed(service, there.url, contracts=[contract.contract])
        sql(service, "UPDATE api_keys SET revoked_at = now() WHERE party = 'audit-firm'")
        contract.order(10)
        there.wait_for(1)
        assert gone.of_entries() == []


def test_what_is_withheld_from_the_key_is_not_told(service: Service, contract: LiveContract) -> None:
    made = keys.create(service.owner, "auditor", party="kept-short", withholds=["event:order.placed"])
    service.tokens["auditor", "kept-short"] = made.token
    with receiving() as short, receiving() as full:
        subscribed(service, short.url, party="kept-short", contracts=[contract.contract])
        subscribed(service, full.url, contracts=[contract.contract])
        contract.order(10)
        [told], [everything] = short.wait_for(1), full.wait_for(1)
        recorded(service, everything.id, 1)
    assert everything.event["data"]["event"]["data"]["units"] == 10
    assert told.event["data"]["event"] is None
    assert "event" not in told.event["data"]["receipt"]["salts"]
    assert told.event["data"]["receipt"]["decision"]["outcome"] == "accepted"
    with service.client("auditor", "kept-short") as client:
        assert client.get(f"/v1/deliveries/{everything.id}").json()["body"] is None


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ({"kinds": ["order.*"]}, ["order.placed"]),
        ({"kinds": ["license.revoked"]}, ["license.revoked"]),
        ({"outcomes": ["denied"]}, ["order.placed"]),
    ],
    ids=lambda value: str(value),
)
def test_a_filter_lets_through_what_it_names(
    service: Service, receiver: Receiver, contract: LiveContract, wanted: dict[str, Any], kinds: list[str]
) -> None:
    subscribed(service, receiver.url, contracts=[contract.contract], **wanted)
    if "outcomes" in wanted:
        assert contract.order(1_000_000).status_code == 422
    else:
        contract.order(10)
    revoked(contract)
    receiver.wait_for(len(kinds))
    settled(service)
    assert [one.event["data"]["kind"] for one in receiver.of_entries()] == kinds


def settled(service: Service) -> None:
    """Until both followers have looked at the whole log."""
    [(size,)] = sql(service, "SELECT size FROM head")
    wait_for(
        "the followers are at the end of the log",
        lambda: sql(service, "SELECT min(index) FROM webhook_cursors")[0][0] >= size,
        seconds_max=15,
    )


def test_nothing_is_sent_before_the_receiver_has_agreed(service: Service, contract: LiveContract) -> None:
    with receiving(lambda _: (200, {}, b"whatever")) as receiver, service.client("auditor") as client:
        made = client.post("/v1/webhooks", json={"url": receiver.url}).json()
        refused = client.post(f"/v1/webhooks/{made['id']}:verify").json()
        assert (refused["arrived"], refused["endpoint"]["state"]) == (False, "unverified")
        Subscribed(made["id"], made["secret"]).verify(receiver.requests[0])
        told = client.post("/v1/webhooks", json={"url": receiver.url, "escalates_to": made["id"]})
        assert (told.status_code, "must be verified first" in told.text) == (400, True)
        for act in ("enable", "test"):
            answer = client.post(f"/v1/webhooks/{made['id']}:{act}")
            assert (answer.status_code, "must be verified first" in answer.text) == (400, True)
        with receiving() as agreed:
            subscribed(service, agreed.url, contracts=[contract.contract])
            revoked(contract)
            agreed.wait_for(2)
        assert receiver.of_entries() == []


def test_a_test_event_is_sent_at_once(service: Service, receiver: Receiver) -> None:
    endpoint = subscribed(service, receiver.url, kinds=["report.filed"])
    with service.client("auditor") as client:
        told = client.post(f"/v1/webhooks/{endpoint.id}:test").json()
    assert (told["arrived"], told["attempt"]["status"]) == (True, 200)
    assert endpoint.verify(receiver.requests[-1])["type"] == "chipledger.webhook.test"
    assert receiver.requests[-1].id == told["delivery"]


def knocking(service: Service) -> httpx.Client:
    """With a key that nobody has used."""
    token = keys.create(service.owner, "auditor").token
    return httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def test_nobody_has_us_knock_at_a_door_without_end(service: Service, receiver: Receiver) -> None:
    """Another key of the same organisation is another matter, and so is what the log tells."""
    endpoint = subscribed(service, receiver.url, kinds=["report.filed"])
    with knocking(service) as client, knocking(service) as other:
        for calls in range(10 * CALLS_PER_MINUTE):  # some come back meanwhile
            refused = client.post(f"/v1/webhooks/{endpoint.id}:{('test', 'verify')[calls % 2]}")
            if refused.status_code != 200:
                break
        assert calls >= CALLS_PER_MINUTE
        assert (refused.status_code, refused.json()["type"].split("/")[-1]) == (429, "quota-exceeded")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert len(receiver.requests) == calls + 1, "with the handshake, and without what was refused"
        for again in (
            client.post(f"/v1/webhooks/{endpoint.id}:replay", json={"from_index": 0}),
            client.post(f"/v1/deliveries/{receiver.requests[0].id}:resend"),
        ):
            assert again.status_code == 429, again.text
        assert other.post(f"/v1/webhooks/{endpoint.id}:test").json()["arrived"]


def test_an_endpoint_of_somebody_else_is_not_there(service: Service, receiver: Receiver) -> None:
    endpoint = subscribed(service, receiver.url, role="submitter", party=EXPORTER, kinds=["report.filed"])
    with service.client("submitter", BUYER) as client:
        assert endpoint.id not in client.get("/v1/webhooks").text
        for answer in (
            client.get(f"/v1/webhooks/{endpoint.id}"),
            client.get(f"/v1/webhooks/{endpoint.id}/deliveries"),
            *(client.post(f"/v1/webhooks/{endpoint.id}:{act}") for act in ("disable", "rotate", "test")),
            client.post("/v1/webhooks", json={"url": receiver.url, "escalates_to": endpoint.id}),
        ):
            assert answer.status_code == 404, answer.text
    with service.client("submitter", EXPORTER) as client:
        assert client.get(f"/v1/webhooks/{endpoint.id}").json()["state"] == "enabled"


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        ({"url": "http://receiver.example/"}, 400, "the scheme of url is http, must be https"),
        ({"url": "https://10.0.0.1/"}, 400, "the host of url is 10.0.0.1, must be a name, or a public"),
        ({"url": "https://127.1/"}, 400, "the host of url is 127.1, must be a name, or a public"),
        ({"url": "https://u:p@receiver.example/"}, 400, "neither a fragment nor a user"),
        ({"url": "https://receiver.example/", "kind": "x"}, 422, "/kind"),
        ({"url": "https://receiver.example/", "kinds": ["*"]}, 422, "/kinds/0"),
        (
            {"url": "https://receiver.example/", "kinds": ["license.revokd"]},
            422,
            "nearest is license.revoked",
        ),
        ({"url": "https://receiver.example/", "kinds": ["licence.*"]}, 422, "the nearest is license.*"),
        ({"url": "https://receiver.example/", "contracts": ["x"]}, 422, "/contracts/0"),
        ({}, 422, "/url"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_in_words(
    service: Service, wanted: dict[str, Any], status: int, words: str
) -> None:
    with service.client("auditor") as client:
        answer = client.post("/v1/webhooks", json=wanted)
    assert answer.status_code == status
    assert words in answer.text


def test_a_secret_is_shown_once_and_stored_sealed(service: Service, receiver: Receiver) -> None:
    endpoint = subscribed(service, receiver.url, kinds=["report.filed"])
    secret = endpoint.secret.removeprefix("whsec_")
    with service.client("auditor") as client:
        assert secret not in client.get("/v1/webhooks").text
        assert secret not in client.get(f"/v1/webhooks/{endpoint.id}").text
    for (row,) in sql(service, "SELECT e::text FROM webhook_endpoints e"):
        assert b64decode(secret).hex() not in row
        assert secret not in row


# --- again and again ------------------------------------------------------------------------------


def failing(times: int, status: int = 503, **headers: str) -> Any:
    """Refuses the first entries that it is sent."""
    left = [times]

    def behave(request: Request) -> tuple[int, dict[str, str], bytes] | None:
        if "index" in request.event["data"] and left[0] > 0:
            left[0] -= 1
            return status, {name.replace("_", "-"): value for name, value in headers.items()}, b"x" * 100_000
        return None

    return behave


def test_every_attempt_has_one_id_and_the_same_bytes_and_is_kept(
    service: Service, contract: LiveContract
) -> None:
    with receiving(failing(2)) as receiver:
        endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
        contract.order(10)
        for count in (1, 2):
            [first, *_] = receiver.wait_for(count)
            recorded(service, first.id, count)
            fall_due(service)
        requests = receiver.wait_for(3)
        recorded(service, first.id, 3)
        assert {(one.id, one.body) for one in requests} == {(first.id, first.body)}
        assert all(endpoint.verify(one) for one in requests)
        with service.client("auditor") as client:
            told = client.get(f"/v1/deliveries/{first.id}").json()
    assert (told["state"], told["attempts"]) == ("delivered", 3)
    assert [(one["status"], len(one["response"])) for one in told["tried"]] == [
        (503, 4096), (503, 4096), (200, 0),
    ]  # fmt: skip
    assert [one["signature"] for one in told["tried"]] == [
        one.headers["webhook-signature"] for one in requests
    ]
    assert told["body"] == first.event


def recorded(service: Service, delivery: str, attempts: int) -> None:
    wait_for(
        f"attempt {attempts} is written down",
        lambda: (
            sql(service, "SELECT count(*) FROM webhook_attempts WHERE delivery = %s", delivery)[0][0]
            == attempts
        ),
        seconds_max=15,
    )


def test_retry_after_is_waited_for(service: Service, contract: LiveContract) -> None:
    with receiving(failing(1, 429, retry_after="120")) as receiver:
        subscribed(service, receiver.url, contracts=[contract.contract])
        contract.order(10)
        [request] = receiver.wait_for(1)
        recorded(service, request.id, 1)
        asked = "SELECT extract(epoch FROM d.due_at - a.at) FROM webhook_deliveries d, webhook_attempts a"
        [(seconds,)] = sql(service, f"{asked} WHERE d.id = %s AND a.delivery = d.id", request.id)
        assert 120 <= seconds < 140


def test_a_redirect_is_a_failure_and_is_not_followed(service: Service, contract: LiveContract) -> None:
    with receiving() as elsewhere, receiving(failing(1, 307, location=elsewhere.url)) as receiver:
        subscribed(service, receiver.url, contracts=[contract.contract])
        contract.order(10)
        [request] = receiver.wait_for(1)
        recorded(service, request.id, 1)
        assert state_of(service, request.id) == "waiting"
        assert elsewhere.connections == 0


def test_410_disables_and_a_later_revocation_is_known_not_to_have_arrived(
    service: Service, contract: LiveContract
) -> None:
    with receiving(failing(1, 410)) as receiver:
        endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
        contract.order(10)
        [request] = receiver.wait_for(1)
        recorded(service, request.id, 1)
        assert state_of(service, request.id) == "dead"
        with service.client("auditor") as client:
            shown = client.get(f"/v1/webhooks/{endpoint.id}").json()
            assert (shown["state"], shown["reason"]) == ("disabled", "it answered 410 Gone")
            index = revoked(contract)
            notices = f"/v1/entries/{index}/deliveries"
            wait_for(
                "the revocation is a dead letter",
                lambda: [one["state"] for one in client.get(notices).json()["deliveries"]] == ["dead"],
                seconds_max=15,
            )
            for answer in (
                client.post(f"/v1/deliveries/{request.id}:resend"),
                client.post(f"/v1/webhooks/{endpoint.id}:replay", json={"from_index": index - 1}),
            ):
                assert (answer.status_code, "is disabled, must be enabled" in answer.text) == (400, True)
            client.post(f"/v1/webhooks/{endpoint.id}:enable").raise_for_status()
            replay = client.post(f"/v1/webhooks/{endpoint.id}:replay", json={"from_index": index - 1})
            assert replay.status_code == 200, replay.text
        told = receiver.wait_for(4)
        assert {one.event["data"]["kind"] for one in told[1:]} == {
            "order.placed", "license.revoked", "revocation.scoped",
        }  # fmt: skip


def test_after_the_last_attempt_a_revocation_goes_to_the_next_contact(
    service: Service, contract: LiveContract
) -> None:
    with receiving(failing(100)) as receiver, receiving() as contact:
        escalation = subscribed(service, contact.url, kinds=["report.filed"])
        subscribed(
            service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"],
            escalates_to=escalation.id,
        )  # fmt: skip
        index = revoked(contract)
        [first] = receiver.wait_for(1)
        for attempts in range(1, TRIES_MAX):
            recorded(service, first.id, attempts)
            fall_due(service)
        recorded(service, first.id, TRIES_MAX)
        [escalated] = contact.wait_for(1)
        assert escalation.verify(escalated)["data"]["index"] == index
        assert escalated.body == first.body
        recorded(service, escalated.id, 1)
        with service.client("auditor") as client:
            told = client.get(f"/v1/entries/{index}/deliveries").json()["deliveries"]
    assert {(one["state"], one["escalated_from"]) for one in told} == {
        ("dead", None),
        ("delivered", first.id),
    }
    # The log line that an operator is woken by, as a count.
    alarms = 'chipledger_webhook_seconds_count{lane="revocations",outcome="dead"}'
    assert alarms in metrics(service)


def test_what_is_begun_again_and_again_and_never_written_down_is_a_dead_letter(
    service: Service, contract: LiveContract
) -> None:
    """Whatever keeps it from being written down: else nobody would ever know."""
    with receiving(failing(100)) as receiver:
        subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"])
        revoked(contract)
        [told] = receiver.wait_for(1)
        recorded(service, told.id, 1)
        sql(service, "UPDATE webhook_deliveries SET tries = %s WHERE id = %s", BEGUN_MAX, told.id)
        fall_due(service)
        wait_for("it is given up", lambda: state_of(service, told.id) == "dead", seconds_max=15)
        recorded(service, told.id, 1)


def test_one_is_resent_and_a_range_is_replayed_under_the_same_ids(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
    for number in range(3):
        contract.order(10, order=f"PO-{number}")
    before = receiver.wait_for(3)
    settled(service)
    for one in before:
        recorded(service, one.id, 1)
    with service.client("auditor") as client:
        page = client.get(f"/v1/webhooks/{endpoint.id}/deliveries?limit=2")
        rest = client.get(page.links["next"]["url"])
        listed = [one["id"] for one in (*page.json()["deliveries"], *rest.json()["deliveries"])]
        assert sorted(listed) == sorted(one.id for one in before)
        assert rest.json()["next"] is None
        client.post(f"/v1/deliveries/{before[0].id}:resend").raise_for_status()
        assert receiver.wait_for(4)[3].id == before[0].id
        recorded(service, before[0].id, 2)
        first = min(one.event["data"]["index"] for one in before)
        replay = f"/v1/webhooks/{endpoint.id}:replay"
        none = client.post(replay, json={"from_index": first}).json()
        assert none == {"queued": 0, "next": None}
        every = client.post(replay, json={"from_index": first, "which": "all"}).json()
        assert every == {"queued": 3, "next": None}
        again = receiver.wait_for(7)[4:]
    assert {one.id for one in again} == {one.id for one in before}


def test_that_it_arrived_stays_on_record_whatever_becomes_of_a_resend(
    service: Service, contract: LiveContract
) -> None:
    """Else a receiver that was told could have the record say that it was not."""
    with receiving() as receiver:
        subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"])
        index = revoked(contract)
        [told] = receiver.wait_for(1)
        recorded(service, told.id, 1)
        with service.client("auditor") as client:
            [before] = client.get(f"/v1/entries/{index}/deliveries").json()["deliveries"]
            receiver.behave = failing(1, 410)
            client.post(f"/v1/deliveries/{told.id}:resend").raise_for_status()
            recorded(service, told.id, 2)
            [after] = client.get(f"/v1/entries/{index}/deliveries").json()["deliveries"]
    assert (before["state"], after["state"]) == ("delivered", "dead")
    assert before["arrived_at"] == after["arrived_at"] is not None
    assert before["created_at"] <= before["arrived_at"] <= before["settled_at"]


def test_a_range_is_replayed_to_its_last_index_and_no_further(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
    for number in range(3):
        contract.order(10, order=f"PO-{number}")
    before = receiver.wait_for(3)
    settled(service)
    for one in before:
        recorded(service, one.id, 1)
    indexes = sorted(one.event["data"]["index"] for one in before)
    with service.client("auditor") as client:
        replay = f"/v1/webhooks/{endpoint.id}:replay"
        asked = {"from_index": 0, "to_index": indexes[1], "which": "all"}
        assert client.post(replay, json={**asked, "from_index": indexes[0]}).json() == {
            "queued": 2, "next": None,
        }  # fmt: skip
        again = receiver.wait_for(5)[3:]
        backwards = client.post(replay, json={**asked, "from_index": indexes[2]})
    assert sorted(one.event["data"]["index"] for one in again) == indexes[:2]
    assert (backwards.status_code, "must be" in backwards.text) == (422, True)


def test_what_was_there_before_the_endpoint_is_recovered_since_an_index(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    contract.order(10)
    index = revoked(contract)
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"])
    with service.client("auditor") as client:
        asked = {"from_index": index - 1}
        assert client.post(f"/v1/webhooks/{endpoint.id}:replay", json=asked).json()["queued"] == 1
    [request] = receiver.wait_for(1)
    assert endpoint.verify(request)["data"]["index"] == index


def test_of_the_time_it_was_disabled_an_endpoint_is_told_by_replay_alone(
    owner: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Whether there was anybody else to be told meanwhile, or not."""
    with running(settings_for(owner, tmp_path, clock="simulated"), owner) as service:
        contract = LiveContract(service).open()
        endpoint = subscribed(service, receiver.url, kinds=["order.placed"])
        with service.client("auditor") as client:
            path = f"/v1/webhooks/{endpoint.id}"
            client.post(f"{path}:disable").raise_for_status()
            missed = contract.order(10).json()["inclusion"]["index"]
            client.post(f"{path}:enable").raise_for_status()
            told = contract.order(10, order="PO-2").json()["inclusion"]["index"]
            assert [one.event["data"]["index"] for one in receiver.wait_for(1)] == [told]
            settled(service)
            assert client.post(f"{path}:replay", json={"from_index": missed}).json()["queued"] == 1
        assert [one.event["data"]["index"] for one in receiver.wait_for(2)] == [told, missed]


def test_an_owner_has_so_many_endpoints_and_one_that_is_deleted_makes_room(
    service: Service, receiver: Receiver
) -> None:
    wanted = {"url": receiver.url, "kinds": ["report.filed"]}
    with service.client("auditor", "many") as client, service.client("operator") as operator:
        made = [client.post("/v1/webhooks", json=wanted) for _ in range(ENDPOINTS_MAX + 1)]
        assert [one.status_code for one in made] == [201] * ENDPOINTS_MAX + [400]
        assert "must have no more: delete one" in made[-1].text
        assert operator.post("/v1/webhooks", json=wanted).status_code == 201  # who sees all has none
        first = f"/v1/webhooks/{made[0].json()['id']}"
        assert client.post(f"{first}:verify").json()["arrived"]
        client.post(f"{first}:disable").raise_for_status()  # a revocation is still a dead letter there
        assert client.post("/v1/webhooks", json=wanted).status_code == 400
        client.delete(first).raise_for_status()
        assert client.post("/v1/webhooks", json=wanted).status_code == 201


def test_what_is_inserted_in_parts_is_told_whole(
    service: Service, receiver: Receiver, contract: LiveContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOADED_MAX", 3)
    monkeypatch.setattr(outbox, "INSERTED_BYTES", 1)
    subscribed(service, receiver.url, contracts=[contract.contract])
    subscribed(service, receiver.url, contracts=[contract.contract])
    orders = [contract.event("order.placed", order=f"PO-{n}", units=1) for n in range(10)]
    with service.client("submitter", BUYER) as client:
        assert client.post("/v1/events:batch", json=orders).status_code == 200
    requests = receiver.wait_for(20)
    settled(service)
    assert len({one.id for one in requests}) == len(requests) == 20
    assert len({one.event["data"]["index"] for one in requests}) == 10


def test_the_record_says_who_was_told_when_and_who_confirmed(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    wanted = {"contracts": [contract.contract], "kinds": ["license.revoked"]}
    subscribed(service, f"{receiver.url}/token", role="submitter", party=BUYER, **wanted)
    index = revoked(contract)
    [request] = receiver.wait_for(1)
    recorded(service, request.id, 1)
    said = {"revocation": index, "webhook_id": request.id}
    confirmed = contract.accepted("revocation.acknowledged", **said)["inclusion"]["index"]
    with service.client("auditor") as client:
        told = client.get(f"/v1/entries/{index}/deliveries").json()
        assert client.get(f"/v1/entries/{confirmed}/deliveries").json()["acknowledged"] is None
    [delivery] = told["deliveries"]
    assert (delivery["party"], delivery["state"], delivery["id"]) == (BUYER, "delivered", request.id)
    assert delivery["settled_at"] >= delivery["created_at"]
    [acknowledged] = told["acknowledged"]
    assert (acknowledged["party"], acknowledged["index"]) == (BUYER, confirmed)
    assert acknowledged["after_s"] == 0  # by the simulated clock
    assert sorted(told["outstanding"]) == sorted({EXPORTER, FORWARDER, LABORATORY})
    with service.client("submitter", "stranger") as client:
        assert client.get(f"/v1/entries/{index}/deliveries").status_code == 404
    with service.client("submitter", EXPORTER) as client:  # a party of the contract, but not whom it told
        for answer in (
            client.get(f"/v1/deliveries/{request.id}"),
            client.post(f"/v1/deliveries/{request.id}:resend"),
        ):
            assert (answer.status_code, "there is no delivery" in answer.text) == (404, True)
    for role, party in (("auditor", None), ("regulator", AUTHORITY)):  # who sees it, and whom it is not of
        with service.client(role, party) as client:
            refused = client.post(f"/v1/deliveries/{request.id}:resend")
            assert (refused.status_code, "its owner or an operator" in refused.text) == (403, True)
    with service.client("operator") as client:
        assert client.post(f"/v1/deliveries/{request.id}:resend").status_code == 200
    assert delivery["url"] == f"{receiver.url}/"  # the rest of it is its owner's to know
    with service.client("submitter", BUYER) as client:
        told = client.get(f"/v1/entries/{index}/deliveries").json()
        assert told["deliveries"][0]["url"] == f"{receiver.url}/token"
        assert client.get(f"/v1/deliveries/{request.id}").json()["tried"][0]["url"].endswith("/token")


# --- many -----------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_delays_no_other(service: Service, contract: LiveContract) -> None:
    """Every slot of it is taken before the others are told of anything."""
    release = threading.Event()
    hung: list[str] = []

    def hang(request: Request) -> None:
        if "index" in request.event["data"]:
            hung.append(request.id)
            release.wait(60)

    with receiving(hang) as hanging, receiving() as other:
        try:
            subscribed(service, hanging.url, contracts=[contract.contract])
            subscribed(service, other.url, contracts=[contract.contract])
            for number in range(12):
                contract.order(10, order=f"PO-{number}")
            revoked(contract)
            other.wait_for(14)
            assert 0 < len(hung) < 14
        finally:
            release.set()


def test_several_followers_tell_each_entry_once(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    with running(service.settings, service.owner), running(service.settings, service.owner):
        subscribed(service, receiver.url, contracts=[contract.contract])
        for number in range(40):
            contract.order(1, order=f"PO-{number}")
        revoked(contract)
        receiver.wait_for(42)
        settled(service)
    requests = receiver.of_entries()
    assert len(requests) == len({one.id for one in requests}) == 42
    assert len({one.event["data"]["index"] for one in requests}) == 42


def test_a_follower_makes_deliveries_under_the_lock_of_its_cursor_and_both_or_neither(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    """Its connection is cut between the two."""
    subscribed(service, receiver.url, contracts=[contract.contract])
    contract.order(10)
    receiver.wait_for(1)
    settled(service)
    cursor = "SELECT index FROM webhook_cursors WHERE lane = 'everything'"
    inserting = (
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'INSERT INTO webhook_deliveries%%'"
        " AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    before = sql(service, cursor)
    with psycopg.connect(service.owner) as blocking:
        blocking.execute("LOCK TABLE webhook_deliveries IN SHARE ROW EXCLUSIVE MODE")
        contract.order(10, order="PO-2")
        wait_for("the follower inserts", lambda: bool(sql(service, inserting)), seconds_max=15)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            sql(service, f"{cursor} FOR UPDATE NOWAIT")
        for (pid,) in sql(service, inserting):
            sql(service, "SELECT pg_terminate_backend(%s)", pid)
        wait_for("it is cut off", lambda: not sql(service, inserting), seconds_max=15)
        assert sql(service, cursor) == before
        blocking.rollback()
    first, second = receiver.wait_for(2)
    settled(service)
    assert {one.id for one in receiver.of_entries()} == {first.id, second.id}


def test_of_a_log_that_has_lost_its_end_nobody_is_told(
    owner: str, tmp_path: Path, receiver: Receiver
) -> None:
    """A receipt under its head would be a second history, signed."""
    settings = settings_for(owner, tmp_path, clock="simulated")
    with running(settings, owner) as service:
        endpoint = subscribed(service, receiver.url)
        signer = load_or_create(settings.key_path, origin=settings.origin, passphrase=None)
        store = CheckpointStore.in_folder(settings.store_path, signer.name)
        store.advance(sign(Checkpoint(signer.name, 1_000, bytes(32)), signer), signer.verifier)
        with service.client("auditor") as client:
            asked = {"from_index": 0, "which": "all"}
            refused = client.post(f"/v1/webhooks/{endpoint.id}:replay", json=asked)
        assert refused.status_code == 503, refused.text
        assert sql(service, "SELECT count(*) FROM webhook_deliveries WHERE index IS NOT NULL") == [(0,)]
    assert receiver.of_entries() == []


def test_the_metrics_tell_the_backlog(service: Service, receiver: Receiver, contract: LiveContract) -> None:
    subscribed(service, receiver.url, contracts=[contract.contract])
    contract.order(10)
    [request] = receiver.wait_for(1)
    recorded(service, request.id, 1)
    wait_for(
        "the delivery is counted",
        lambda: 'seconds_count{lane="everything",outcome="delivered"}' in metrics(service),
        seconds_max=15,
    )
    for name in ("deliveries", "oldest_seconds", "entries_behind"):
        assert f'chipledger_webhook_{name}{{lane="revocations"' in metrics(service)


def test_a_follower_that_stands_still_is_seen_though_nothing_is_queued(
    owner: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Whatever keeps it: what it has not looked at grows older."""
    with running(settings_for(owner, tmp_path), owner) as service:
        subscribed(service, receiver.url)
        with psycopg.connect(owner) as blocking:
            blocking.execute("SELECT 1 FROM webhook_cursors FOR UPDATE")
            assert service.submit(wire("contract.opened", occurred_at=OPENED)).status_code == 201
            for lane in ("revocations", "everything"):
                aged = re.compile(rf'webhook_oldest_seconds{{lane="{lane}"}} [1-9]')
                wait_for(
                    "it is seen", lambda aged=aged: aged.search(metrics(service)) is not None, seconds_max=30
                )
            assert sql(service, "SELECT 1 FROM webhook_deliveries WHERE state = 'waiting'") == []


def metrics(service: Service) -> str:
    return httpx.get(f"{service.url}/metrics").text


@in_loop
async def test_a_handshake_that_fails_is_no_dead_letter(owner: str, logins: Logins) -> None:
    with psycopg.connect(owner) as connection:
        connection.execute(
            "INSERT INTO webhook_endpoints VALUES ('we_a', 'auditor', NULL, '{}', '', '', '{}', '{}', '{}',"
            " 'v1', '', NULL, NULL, NULL, 'enabled', NULL, 0, 0, now())"
        )
    async with await psycopg.AsyncConnection.connect(logins.writer) as connection:
        await records.enter(connection, ["msg_a", "we_a", message.VERIFICATION, b"{}", "dead"])
        counted = await backlog(connection)
    assert {one.dead for one in counted.values()} == {0}


def test_two_senders_never_claim_the_same(owner: str, logins: Logins) -> None:
    """The one does not wait for the other, either."""
    with psycopg.connect(owner) as connection:
        connection.execute(
            "INSERT INTO webhook_endpoints VALUES ('we_a', 'auditor', NULL, '{}', '', '', '{}', '{}', '{}',"
            " 'v1', '', NULL, NULL, NULL, 'enabled', NULL, 0, 0, now())"
        )
        connection.execute(
            "INSERT INTO webhook_deliveries SELECT 'msg_' || n, 'we_a', n, 'everything', '', '', NULL,"
            " 'waiting', 0, 0, now(), now() FROM generate_series(1, 20) n"
        )
    asked = {"lane": "everything", "busy": [], "running": [], "at_endpoint": 8, "free": 100, "lease_s": 20}
    with psycopg.connect(logins.writer) as one, psycopg.connect(logins.writer) as other:
        other.execute("SET statement_timeout = 5000")
        first = {row[0] for row in one.execute(CLAIM, asked)}
        second = {row[0] for row in other.execute(CLAIM, asked)}
    assert (len(first), len(second), len(first | second)) == (8, 8, 16)


def test_a_revocation_waits_for_no_import_not_even_at_its_own_receiver(
    service: Service, contract: LiveContract
) -> None:
    """Every slot of the receiver is taken by orders, and hundreds more are queued."""
    release = threading.Event()

    def hang(request: Request) -> None:
        if request.event["data"].get("kind") == "order.placed":
            release.wait(60)

    with receiving(hang) as receiver:
        try:
            subscribed(service, receiver.url, contracts=[contract.contract])
            orders = [contract.event("order.placed", order=f"PO-{n}", units=1) for n in range(300)]
            with service.client("submitter", BUYER) as client:
                assert client.post("/v1/events:batch", json=orders).status_code == 200
            receiver.wait_for(RUNNING_AT_ENDPOINT_MAX)
            index = revoked(contract)
            wait_for(
                "the revocation arrives",
                lambda: any(one.event["data"]["index"] == index for one in receiver.of_entries()),
                seconds_max=15,
            )
            ordinary = [one for one in receiver.of_entries() if one.event["data"]["kind"] == "order.placed"]
            assert len(ordinary) == RUNNING_AT_ENDPOINT_MAX
        finally:
            release.set()
