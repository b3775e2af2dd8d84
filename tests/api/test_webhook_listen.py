"""`chipledger listen` and `chipledger webhooks`: a receiver and a service that find each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from standardwebhooks import Webhook

from api.webhooks.listen import Listener
from api.webhooks.signature import TOLERANCE_S, Receiving, shown, sign
from ledger.errors import UnusableInput, VerificationError
from tests.api.contract import LiveContract
from tests.api.receiver import receiving, subscribed
from tests.api.test_cli import run
from tests.faults.harness import wait_for
from tests.service import Service
from tests.workbench import BUYER

SECRET = bytes(range(32))
NOW = 1_800_000_000
BODY = b'{"data":{}}'
ROOT = Path(__file__).parents[2]


def signed(scheme: Any = "v1", *, secret: bytes = SECRET, timestamp: int = NOW) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign([secret], scheme, message_id="msg_1", timestamp=timestamp, body=BODY),
    }


@pytest.mark.parametrize("scheme", ["v1", "v1a"])
def test_what_was_signed_verifies_among_signatures_that_are_not_ours(scheme: Any) -> None:
    headers = signed(scheme)
    headers["webhook-signature"] = f"v2,x v1,AAAA v1a,AAAA v1, {headers['webhook-signature']}"
    Receiving(shown(SECRET, scheme)).check(headers, BODY, now=NOW)


@pytest.mark.parametrize("scheme", ["v1", "v1a"])
@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"}, {"webhook-timestamp": str(NOW + 1)}, {"webhook-signature": ""},
        {"webhook-signature": "v1"}, {"webhook-signature": "v1,é"}, {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-1"}, {"webhook-timestamp": "٣"}, {"webhook-id": "\ud800"},
        signed(secret=bytes(32)), signed("v1a", secret=bytes(32)),
        signed(timestamp=NOW - TOLERANCE_S - 1), signed(timestamp=NOW + TOLERANCE_S + 1),
    ],
)  # fmt: skip
def test_what_was_altered_does_not_verify(scheme: Any, changed: dict[str, str]) -> None:
    receiving = Receiving(shown(SECRET, scheme))
    with pytest.raises(VerificationError):
        receiving.check({**signed(scheme), **changed}, BODY, now=NOW)
    with pytest.raises(VerificationError):
        receiving.check(signed(scheme), BODY + b" ", now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "x_" + "A" * 44, "whsec_" + "é" * 44])
def test_a_secret_that_is_none_is_refused_in_words(secret: str) -> None:
    with pytest.raises(UnusableInput, match="must be whsec_ or whpk_ and base64"):
        Receiving(secret)


@contextmanager
def listening(secret: str) -> Iterator[tuple[str, list[dict[str, Any]], list[str]]]:
    told: list[dict[str, Any]] = []
    refused: list[str] = []
    listener = Listener(("127.0.0.1", 0), secret, told=told.append, refused=refused.append)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", told, refused
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def test_a_listener_takes_what_the_reference_library_signs_and_nothing_else() -> None:
    with listening(shown(SECRET, "v1")) as (url, told, refused):
        body = json.dumps({"type": "chipledger.webhook.test", "data": {}})
        at = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(shown(SECRET, "v1")).sign("msg_1", at, body),
        }  # fmt: skip
        assert httpx.post(url, content=body, headers=headers).status_code == 204
        assert httpx.post(url, content=body + " ", headers=headers).status_code == 401
        assert httpx.post(url, content=body).status_code == 401
        assert httpx.post(url, content=b"x" * (1 << 20) + b"x").status_code == 413
    assert [event["type"] for event in told] == ["chipledger.webhook.test"]
    assert len(refused) == 2


def test_from_the_command_line_a_receiver_is_made_verified_and_told(service: Service) -> None:
    """Everything as an operator does it; `chipledger listen` runs in a process of its own."""
    home = service.settings.home
    with pytest.MonkeyPatch.context() as patch, receiving() as elsewhere:
        patch.setenv("CHIPLEDGER_WEBHOOK_HOSTS", "127.0.0.1")
        port = elsewhere.url.rpartition(":")[2]
        made = run(
            "webhooks", "create", f"http://127.0.0.1:{port}/", "--party", BUYER, "--kind", "license.revoked",
            url=service.owner, home=home,
        )  # fmt: skip
        assert made.status == 0, made.told
        endpoint = made.err.split()[1].rstrip(",")
        for command, status, words in (
            (("test",), 2, "must be verified first"),
            (("verify",), 0, "is verified and enabled"),
            (("test",), 0, "the test event arrived"),
            (("disable",), 0, "is disabled"),
            (("enable",), 0, "is enabled"),
            (("replay", "--from", "0", "--to", "9"), 0, "deliveries are queued"),
            (("deliveries", "--state", "gone"), 2, "must be waiting, delivered or dead"),
        ):
            told = run("webhooks", command[0], endpoint, *command[1:], url=service.owner, home=home)
            assert (told.status, words in told.told) == (status, True), told.told
        listed = run("webhooks", "list", url=service.owner, home=home).out
        assert endpoint in listed
        assert made.out.strip() not in listed
        Webhook(made.out.strip()).verify(elsewhere.requests[0].body, elsewhere.requests[0].headers)
        contract = LiveContract(service).open()
        index = contract.accepted("license.revoked")["inclusion"]["index"]
        [told_of] = elsewhere.wait_for(1)
        delivery = f"msg_{endpoint.removeprefix('we_')}_{index}"
        wait_for(
            "the delivery is listed",
            lambda: "delivered" in run(
                "webhooks", "deliveries", endpoint, "--after", str(index - 1), url=service.owner, home=home
            ).out,
            seconds_max=15,
        )  # fmt: skip
        resent = run("webhooks", "resend", delivery, url=service.owner, home=home)
        assert (resent.status, resent.out.strip()) == (0, f"{delivery} is queued")
        assert {one.id for one in elsewhere.wait_for(2)} == {told_of.id} == {delivery}
        none = run("webhooks", "resend", "msg_x", url=service.owner, home=home)
        assert (none.status, "there is no delivery msg_x" in none.told) == (2, True)
        for option, words in (("--kind", "names no kind of event"), ("--outcome", "/outcomes/0")):
            refused = run(
                "webhooks", "create", "https://receiver.example/", "--party", BUYER, option, "license.x",
                url=service.owner, home=home,
            )  # fmt: skip
            assert (refused.status, words in refused.told) == (2, True), refused.told
        rotated = run("webhooks", "rotate", endpoint, url=service.owner, home=home).out.strip()
        assert rotated.startswith("whsec_")


def test_listen_prints_a_revocation_that_arrives(service: Service) -> None:
    contract = LiveContract(service).open()
    environment = {**os.environ, "CHIPLEDGER_WEBHOOK_SECRET": shown(SECRET, "v1"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "api.cli", "listen", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stdout is not None
            url = process.stderr.readline().rpartition(" ")[2].strip()
            with receiving() as receiver:
                subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.revoked"])
                contract.accepted("license.revoked")
                [request] = receiver.wait_for(1)
            # Its secret is not the service's: what arrived is signed again, as the service would.
            now = int(time.time())
            signature = sign([SECRET], "v1", message_id=request.id, timestamp=now, body=request.body)
            headers = {
                "webhook-id": request.id, "webhook-timestamp": str(now), "webhook-signature": signature,
            }  # fmt: skip
            assert httpx.post(url, content=request.body, headers=headers).status_code == 204
            line = process.stdout.readline()
            assert f"license.revoked accepted {contract.contract}" in line
            assert contract.license in line
        finally:
            process.terminate()


def test_the_receiver_that_is_documented_works(service: Service, tmp_path: Path) -> None:
    """As it stands in RECEIVING.md: it is verified, and prints what it is told."""
    text = (ROOT / "api/webhooks/RECEIVING.md").read_text()
    (tmp_path / "receiver.py").write_text(text.split("```python\n")[1].split("```")[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    contract = LiveContract(service).open()
    wanted = {"url": f"http://127.0.0.1:{port}/", "contracts": [contract.contract]}
    with service.client("auditor") as client:
        made = client.post("/v1/webhooks", json=wanted).json()
        environment = {**os.environ, "SECRET": made["secret"]}
        command = [sys.executable, str(tmp_path / "receiver.py"), str(port)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                wait_for(
                    "the receiver is verified",
                    lambda: client.post(f"/v1/webhooks/{made['id']}:verify").json()["arrived"],
                    seconds_max=20,
                )
                index = contract.accepted("license.revoked")["inclusion"]["index"]
                assert process.stdout is not None
                lines = [process.stdout.readline().split() for _ in range(2)]
                assert lines[0][0] == "chipledger.webhook.verification"
                assert lines[1][0] in ("chipledger.license.revoked", "chipledger.revocation.scoped")
                assert int(lines[1][1]) in (index, index + 1)
            finally:
                process.terminate()
