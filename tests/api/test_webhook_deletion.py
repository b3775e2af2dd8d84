"""An endpoint that is deleted is told nothing more and forgets its secrets; its record stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from api.webhooks.endpoints import ENDING, MADE_A_DAY_MAX
from tests.api.contract import LiveContract
from tests.api.receiver import Receiver, Request, receiving, subscribed
from tests.api.test_cli import run
from tests.api.test_webhooks import failing, recorded, revoked, settled, sql, state_of
from tests.faults.harness import wait_for
from tests.service import Service
from tests.workbench import BUYER, EXPORTER

SECRETS = "SELECT secret, previous, previous_until FROM webhook_endpoints WHERE id = %s"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def contract(service: Service) -> LiveContract:
    return LiveContract(service).open()


def refusing(kind: str) -> Callable[[Request], tuple[int, dict[str, str], bytes] | None]:
    return lambda request: (503, {}, b"") if request.event["data"].get("kind") == kind else None


def dies(service: Service, delivery: str) -> None:
    wait_for("it is given up", lambda: state_of(service, delivery) == "dead", seconds_max=15)


def ended(service: Service, endpoint: str) -> None:
    """Until it is known that nothing more will wait for it: as if it had been deleted some time ago."""
    sql(service, "UPDATE webhook_endpoints SET deleted_at = deleted_at - %s WHERE id = %s", ENDING, endpoint)
    state = "SELECT state FROM webhook_endpoints WHERE id = %s"
    wait_for("it is over", lambda: sql(service, state, endpoint) == [("deleted",)], seconds_max=15)


def test_a_deleted_endpoint_is_not_there_and_its_secrets_are_wiped(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    subscribed(service, receiver.url, kinds=["report.filed"])  # somebody is there to be told
    gone = subscribed(
        service, receiver.url, role="submitter", party=BUYER, contracts=[contract.contract],
        description="the old desk",
    )  # fmt: skip
    contract.order(10)
    [told] = receiver.wait_for(1)
    recorded(service, told.id, 1)
    with service.client("submitter", EXPORTER) as stranger:
        assert stranger.delete(f"/v1/webhooks/{gone.id}").status_code == 404
        assert stranger.delete("/v1/webhooks/we_0123456789abcdef").status_code == 404
    with service.client("submitter", BUYER) as client:
        client.post(f"/v1/webhooks/{gone.id}:rotate").raise_for_status()
        deleted = client.delete(f"/v1/webhooks/{gone.id}")
        assert deleted.status_code == 200, deleted.text
        assert sql(service, SECRETS, gone.id) == [(b"", None, None)]
        assert (deleted.json()["ended"], deleted.json()["escalating"]) == (0, [])
        assert gone.id not in client.get("/v1/webhooks").text
        for answer in (
            client.get(f"/v1/webhooks/{gone.id}"),
            client.delete(f"/v1/webhooks/{gone.id}"),
            *(
                client.post(f"/v1/webhooks/{gone.id}:{act}")
                for act in ("enable", "disable", "verify", "test", "rotate")
            ),
            client.post(f"/v1/webhooks/{gone.id}:replay", json={"from_index": 0}),
            client.post("/v1/webhooks", json={"url": receiver.url, "escalates_to": gone.id}),
        ):
            assert (answer.status_code, f"there is no endpoint {gone.id}" in answer.text) == (404, True)
        again = client.post(f"/v1/deliveries/{told.id}:resend")
        assert (again.status_code, f"{gone.id} is deleted, must be enabled" in again.text) == (400, True)
        contract.order(10, order="PO-2")
        index = revoked(contract)
        settled(service)
        assert client.get(f"/v1/entries/{index}/deliveries").json()["deliveries"] == []
        record = client.get(f"/v1/webhooks/{gone.id}/deliveries").json()["deliveries"]
        kept = client.get(f"/v1/deliveries/{told.id}").json()
    with service.client("operator") as operator:
        assert gone.id not in operator.get("/v1/webhooks", params={"limit": 1000}).text
    [shown] = record
    assert (shown["id"], shown["state"], shown["url"], shown["party"], shown["role"]) == (
        told.id, "delivered", receiver.url, BUYER, "submitter",
    )  # fmt: skip
    assert shown["description"] == "the old desk"
    assert shown["deleted_at"] == deleted.json()["deleted_at"]
    assert kept["tried"][0]["signature"] == told.headers["webhook-signature"]
    assert kept["body"] == told.event
    assert len(receiver.of_entries()) == 1


def test_what_waits_for_it_is_given_up_in_sight_and_a_revocation_goes_to_the_next_contact(
    service: Service, contract: LiveContract
) -> None:
    with receiving(failing(100)) as receiver, receiving() as contact:
        next_ = subscribed(service, contact.url, kinds=["report.filed"])
        gone = subscribed(
            service, receiver.url, contracts=[contract.contract], kinds=["order.placed", "license.revoked"],
            escalates_to=next_.id,
        )  # fmt: skip
        contract.order(10)
        index = revoked(contract)
        told = {one.event["data"]["kind"]: one for one in receiver.wait_for(2)}
        for one in told.values():
            recorded(service, one.id, 1)
        with service.client("auditor") as client:
            deleted = client.delete(f"/v1/webhooks/{gone.id}").json()
            assert deleted["ended"] == 1
            assert state_of(service, told["order.placed"].id) == "dead"
            [escalated] = contact.wait_for(1)
            assert escalated.event["data"]["index"] == index
            recorded(service, escalated.id, 1)
            shown = client.get(f"/v1/entries/{index}/deliveries").json()["deliveries"]
    assert {(one["state"], one["escalated_from"], one["deleted_at"] is None) for one in shown} == {
        ("dead", None, False), ("delivered", told["license.revoked"].id, True),
    }  # fmt: skip
    assert len(receiver.of_entries()) == 2


@pytest.mark.parametrize("act", ["disable", "delete"])
def test_a_revocation_that_waits_for_a_retry_does_not_wait_for_it_any_more(
    service: Service, contract: LiveContract, act: str
) -> None:
    """Its retry is hours away; the next contact is told now."""
    with receiving(refusing("license.revoked")) as receiver, receiving() as contact:
        next_ = subscribed(service, contact.url, kinds=["report.filed"])
        endpoint = subscribed(
            service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"],
            escalates_to=next_.id,
        )  # fmt: skip
        index = revoked(contract)
        [told] = receiver.wait_for(1)
        recorded(service, told.id, 1)
        sql(service, "UPDATE webhook_deliveries SET due_at = now() + interval '10 h' WHERE id = %s", told.id)
        with service.client("auditor") as client:
            path = f"/v1/webhooks/{endpoint.id}"
            (client.delete(path) if act == "delete" else client.post(f"{path}:disable")).raise_for_status()
        assert contact.wait_for(1)[0].event["data"]["index"] == index
    assert state_of(service, told.id) == "dead"


def test_an_attempt_that_fails_after_the_endpoint_was_disabled_waits_for_no_retry(
    service: Service, contract: LiveContract
) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hold(request: Request) -> tuple[int, dict[str, str], bytes] | None:
        if "index" not in request.event["data"]:
            return None
        arrived.set()
        release.wait(60)
        return 503, {"retry-after": "3600"}, b""

    with receiving(hold) as receiver:
        endpoint = subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"])
        revoked(contract)
        assert arrived.wait(15)
        with service.client("auditor") as client:
            client.post(f"/v1/webhooks/{endpoint.id}:disable").raise_for_status()
        release.set()
        [told] = receiver.wait_for(1)
        recorded(service, told.id, 1)
        dies(service, told.id)


def test_an_escalation_passes_a_deleted_endpoint_on_its_way(service: Service, contract: LiveContract) -> None:
    """And whoever deletes it is told who counts on it."""
    with receiving(failing(100)) as first, receiving() as second, receiving() as third:
        last = subscribed(service, third.url, kinds=["report.filed"])
        middle = subscribed(service, second.url, kinds=["report.filed"], escalates_to=last.id)
        endpoint = subscribed(
            service, first.url, contracts=[contract.contract], kinds=["license.revoked"],
            escalates_to=middle.id,
        )  # fmt: skip
        with service.client("auditor") as client:
            assert client.delete(f"/v1/webhooks/{middle.id}").json()["escalating"] == [endpoint.id]
            ended(service, middle.id)
            index = revoked(contract)
            [told] = first.wait_for(1)
            recorded(service, told.id, 1)
            client.post(f"/v1/webhooks/{endpoint.id}:disable").raise_for_status()
        assert third.wait_for(1)[0].event["data"]["index"] == index
        assert second.of_entries() == []


def test_what_a_follower_queues_while_an_endpoint_is_deleted_is_given_up(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract])
    with service.client("auditor") as client:
        client.delete(f"/v1/webhooks/{endpoint.id}").raise_for_status()
    for lane in ("everything", "revocations"):
        sql(
            service,
            "INSERT INTO webhook_deliveries VALUES (%s, %s, NULL, %s, '', '{}', NULL, 'waiting', 0, 0, now(),"
            " now())",
            f"msg_{lane}_{endpoint.id}", endpoint.id, lane,
        )  # fmt: skip
        dies(service, f"msg_{lane}_{endpoint.id}")
    assert receiver.of_entries() == []


def test_a_handshake_that_is_under_way_does_not_bring_a_deleted_endpoint_back(service: Service) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hold(_: Request) -> None:
        arrived.set()
        release.wait(60)

    with receiving(hold) as receiver, service.client("auditor") as client:
        made = client.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
        answers: list[int] = []

        def verify() -> None:
            with service.client("auditor") as other:
                answers.append(other.post(f"/v1/webhooks/{made}:verify").status_code)

        thread = threading.Thread(target=verify)
        thread.start()
        assert arrived.wait(15)
        client.delete(f"/v1/webhooks/{made}").raise_for_status()
        release.set()
        thread.join(30)
    assert answers == [404]
    assert sql(service, "SELECT state, verified_at FROM webhook_endpoints WHERE id = %s", made) == [
        ("disabled", None)
    ]


def test_the_service_itself_cannot_bring_it_back_nor_remove_its_record(
    service: Service, receiver: Receiver
) -> None:
    endpoint = subscribed(service, receiver.url, kinds=["report.filed"])
    with service.client("auditor") as client:
        client.delete(f"/v1/webhooks/{endpoint.id}").raise_for_status()
    for statement, refusal in (
        ("UPDATE webhook_endpoints SET state = 'enabled' WHERE id = %s", errors.CheckViolation),
        ("UPDATE webhook_endpoints SET secret = 'x' WHERE id = %s", errors.CheckViolation),
        ("UPDATE webhook_endpoints SET url = '' WHERE id = %s", errors.InsufficientPrivilege),
        ("DELETE FROM webhook_endpoints WHERE id = %s", errors.InsufficientPrivilege),
    ):
        with psycopg.connect(service.logins.writer) as connection, pytest.raises(refusal):
            connection.execute(statement, [endpoint.id])


def test_an_owner_does_not_make_and_delete_endpoints_without_end(
    service: Service, receiver: Receiver
) -> None:
    """Each leaves a row."""
    wanted = {"url": receiver.url, "kinds": ["report.filed"]}
    with service.client("auditor", "restless") as client:
        made = client.post("/v1/webhooks", json=wanted).json()["id"]
        client.delete(f"/v1/webhooks/{made}").raise_for_status()
        copies = (
            "INSERT INTO webhook_endpoints SELECT (jsonb_populate_record(e, jsonb_build_object('id', 'we_' ||"
            " lpad(to_hex(n), 16, '0')))).* FROM webhook_endpoints e, generate_series(2, %s) n WHERE id = %s"
        )
        sql(service, copies, MADE_A_DAY_MAX, made)
        refused = client.post("/v1/webhooks", json=wanted)
        assert (refused.status_code, "must make no more now" in refused.text) == (400, True)
        sql(service, "UPDATE webhook_endpoints SET created_at = now() - interval '1 day' WHERE id = %s", made)
        assert client.post("/v1/webhooks", json=wanted).status_code == 201


def test_endpoints_are_listed_page_by_page(service: Service, receiver: Receiver) -> None:
    wanted = {"url": receiver.url, "kinds": ["report.filed"]}
    with service.client("auditor", "paging") as client:
        made = sorted(client.post("/v1/webhooks", json=wanted).json()["id"] for _ in range(5))
        found: list[str] = []
        path = "/v1/webhooks?limit=2"
        for size, more in ((2, True), (2, True), (1, False)):
            answer = client.get(path)
            page = [one["id"] for one in answer.json()["endpoints"]]
            assert (len(page), answer.json()["next"]) == (size, page[-1] if more else None)
            found += page
            path = answer.links["next"]["url"] if more else ""
        assert found == made
        refused = client.get("/v1/webhooks", params={"after": "first", "limit": 0})
        assert (refused.status_code, {one["pointer"] for one in refused.json()["errors"]}) == (
            422, {"/query/after", "/query/limit"},
        )  # fmt: skip
    with service.client("operator") as operator:
        everybody: list[str] = []
        after: dict[str, Any] = {}
        while True:
            answer = operator.get("/v1/webhooks", params={"limit": 3, **after}).json()
            everybody += [one["id"] for one in answer["endpoints"]]
            if answer["next"] is None:
                break
            after = {"after": answer["next"]}
    assert everybody == sorted(everybody)
    assert set(made) <= set(everybody)


def test_from_the_command_line_an_endpoint_is_deleted_and_the_rest_is_listed_by_pages(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIPLEDGER_WEBHOOK_HOSTS", "127.0.0.1")
    home: Path = service.settings.home
    wanted: dict[str, Any] = {"kinds": ["report.filed"], "role": "auditor", "party": "by-hand"}
    one = subscribed(service, receiver.url, **wanted)
    two = subscribed(service, receiver.url, escalates_to=one.id, **wanted)
    deleted = run("webhooks", "delete", one.id, url=service.owner, home=home)
    assert (deleted.status, f"{one.id} is deleted; 0 deliveries" in deleted.out) == (0, True), deleted.told
    assert f"{two.id} escalates to it" in deleted.err
    assert sql(service, SECRETS, one.id) == [(b"", None, None)]
    again = run("webhooks", "delete", one.id, url=service.owner, home=home)
    assert (again.status, f"there is no endpoint {one.id}" in again.told) == (2, True)
    assert run("webhooks", "deliveries", one.id, url=service.owner, home=home).status == 0
    subscribed(service, receiver.url, **wanted)
    found: list[str] = []
    pages, more = 0, True
    while more:
        after = found[-1] if found else ""
        page = run("webhooks", "list", "--after", after, "--limit", "1", url=service.owner, home=home)
        found += [line.split()[0] for line in page.out.splitlines() if "we_" in line]
        pages, more = pages + 1, f"there are more: --after {found[-1]}" in page.err
    assert pages == len(found) > 1
    assert two.id in found
    assert one.id not in found
    assert found == sorted(found)
