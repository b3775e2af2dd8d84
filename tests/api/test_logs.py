"""The log of a service: a JSON object a line, each request by its id, and nothing that must not be there."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2 as httpx
import psycopg
import pytest

from api import keys
from tests.conftest import copied
from tests.faults.harness import Process
from tests.workbench import AUTHORITY, EXPORTER, PARTIES, wire

MARK = "Xq7Marker"
"""In the payload of every event, and in whatever they leave in the database."""
PASSWORD = "pw-Zt5Secret"
UNFRIENDLY = "a\r\n{}\x1b[31mred\x9b0m\u202eturned\u2066\x7f\u2028end"
"""What moves a terminal's cursor, turns text around, or begins a line."""


@dataclass
class Logged:
    """A service process, its keys, and what it has written."""

    process: Process
    owner: str
    tokens: dict[str, str]

    def client(self, role: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        return httpx.Client(base_url=self.process.url, headers=headers, timeout=30)

    def lines(self) -> list[str]:
        return self.process.log.read_text().splitlines()

    def told(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines that have these values."""
        found = [json.loads(line) for line in self.lines()]
        return [line for line in found if wanted.items() <= line.items()]

    def raw(self, *lines: bytes) -> bytes:
        """What is answered to a request that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.process.port), timeout=10) as connection:
            connection.sendall(b"\r\n".join((*lines, b"Host: x", b"Connection: close", b"", b"")))
            answer = bytearray()
            while chunk := connection.recv(65_536):
                answer += chunk
        return bytes(answer)


@contextmanager
def logged(owner: str, folder: Path, level: str) -> Iterator[Logged]:
    roles = {"submitter": EXPORTER, "regulator": AUTHORITY, "auditor": None, "operator": None}
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("CHIPLEDGER_", "DATABASE_", "PG"))},
        "DATABASE_URL": with_password(owner),
        "CHIPLEDGER_HOME": str(folder),
        "CHIPLEDGER_ORIGIN": "logs.example/log",
        "CHIPLEDGER_CLOCK": "simulated",
        "CHIPLEDGER_KEY_PASSPHRASE": PASSWORD,
        "CHIPLEDGER_LOG_LEVEL": level,
    }
    process = Process(environment, folder / "service.log")
    process.start()
    try:
        process.wait_until_ready()
        tokens = {role: keys.create(owner, role, party=party).token for role, party in roles.items()}
        yield Logged(process, owner, tokens)
    finally:
        process.end()


def with_password(url: str) -> str:
    """The URL with a password, if it has none: a server that trusts its socket does not look at it."""
    parts = urlsplit(url)
    if parts.password is not None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.rstrip(':')}:{PASSWORD}@{host}"))


def marked(kind: str, **data: Any) -> dict[str, Any]:
    return wire(kind, by=(EXPORTER, "exporter"), occurred_at="2026-12-01T00:00:00Z", **data)


def story(service: Logged) -> set[str]:
    """Whatever a service is asked in a day, well or badly; gives the ids of the answers."""
    parties = [{**party, "name": MARK} for party in PARTIES]
    event = marked("contract.opened", title=MARK, parties=parties, licenses=[MARK])
    unfriendly = UNFRIENDLY.encode()
    with service.client("submitter") as client, service.client("auditor") as auditor:
        answers = [
            client.post("/v1/events", json=event),
            client.post("/v1/events", json=event),
            client.post("/v1/events", json={**event, "data": {**event["data"], "title": f"{MARK}2"}}),
            client.post("/v1/events", json=marked("order.cancelled", order="PO-1", reason=MARK)),
            client.post("/v1/events", json={**event, "kind": MARK}),
            client.post("/v1/events", content=f'{{"{MARK}": 1.5}}'),
            client.post("/v1/events", content=f'{{"{MARK}":'),
            client.post("/v1/events:batch", json=[marked("contract.opened", title=MARK), {"id": MARK}]),
            client.get(f"/v1/entries?party={MARK.lower()}"),
            auditor.get("/v1/entries?limit=1000"),
            auditor.get("/v1/entries?token=" + service.tokens["auditor"]),
            auditor.get("/v1/webhooks?token=" + service.tokens["auditor"]),
            auditor.get("/v1/entries/" + service.tokens["auditor"]),
            auditor.get(f"/v1/entries/{quote(UNFRIENDLY)}"),
            auditor.get(f"/{quote(UNFRIENDLY)}", headers={b"user-agent": b"\xe2\x80\xae\x9b31m"}),
            auditor.get("/v1/entries/0", headers={b"x-request-id": b"\xe2\x80\xae" + b"x" * 30}),
            auditor.get("/v1/entries/0", headers={"x-request-id": "mine-1"}),
            httpx.get(f"{service.process.url}/v1/entries"),
            httpx.get(f"{service.process.url}/v1/entries", headers={"authorization": f"Bearer {PASSWORD}"}),
        ]
    assert [answer.status_code for answer in answers[:3]] == [201, 200, 409]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    for lines in (
        (b"GET /" + unfriendly + b" HTTP/1.1",),
        (b"GET / HTTP/1.1", b"X-Request-Id: " + unfriendly),
        (b"GET / HTTP/1.1", b"User-Agent: \x1b[2J" + unfriendly),
        (unfriendly,),
    ):
        service.raw(*lines)
    return ids


@pytest.fixture(scope="module")
def service(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    with (
        copied(server, template) as owner,
        logged(owner, tmp_path_factory.mktemp("logs"), "info") as service,
    ):
        yield service


@pytest.fixture(scope="module")
def ids(service: Logged) -> set[str]:
    """The day is over: the ids of what was answered in it."""
    return story(service)


def test_every_line_is_one_json_object_in_plain_ascii(service: Logged, ids: set[str]) -> None:
    lines = service.lines()
    assert len(lines) > len(ids)
    for line in lines:
        assert isinstance(json.loads(line), dict), line
        assert line.isascii()
        assert line.isprintable()
        assert {"event", "level", "timestamp"} <= json.loads(line).keys()


def test_every_request_has_a_line_under_the_id_of_its_answer(service: Logged, ids: set[str]) -> None:
    requests = service.told(event="request")
    assert ids <= {line["request_id"] for line in requests}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", line["request_id"]) for line in requests)
    [mine] = service.told(event="request", request_id="mine-1")
    assert (mine["method"], mine["path"], mine["status"]) == ("GET", "/v1/entries/0", 200)
    assert mine["key"] == service.tokens["auditor"].split("_")[1]
    assert mine["ms"] > 0


def test_a_read_is_logged_with_what_was_asked_for(service: Logged, ids: set[str]) -> None:
    reads = service.told(event="request", key=service.tokens["auditor"].split("_")[1], path="/v1/entries")
    assert {line.get("query") for line in reads if line["status"] == 200} == {"limit=1000"}
    assert all("query" not in line for line in service.told(event="request") if line["status"] >= 400)


def test_what_was_sent_can_be_found_but_moves_nothing(service: Logged, ids: set[str]) -> None:
    paths = [line["path"] for line in service.told(event="request")]
    assert any(UNFRIENDLY in path for path in paths)


def test_no_line_holds_anything_of_a_payload_or_a_secret(service: Logged, ids: set[str]) -> None:
    written = service.process.log.read_text()
    for secret in (
        MARK, MARK.lower(), PASSWORD, "postgresql://", "postgres:",
        *service.tokens.values(), *(token[-43:] for token in service.tokens.values()),
    ):  # fmt: skip
        assert secret not in written


def test_an_unexpected_error_is_told_by_place_and_not_by_value(service: Logged, ids: set[str]) -> None:
    """Facts that no version of ours wrote, with the marker in them, for a contract and a license."""
    opened = marked("contract.opened", licenses=[], title=MARK)
    contract = opened["contract"] = "0a0a0a0a-0000-4000-8000-000000000000"
    with service.client("submitter") as client, service.client("auditor") as auditor:
        assert client.post("/v1/events", json=opened).status_code == 201
        with psycopg.connect(service.owner) as connection:
            connection.execute(
                "UPDATE facts SET data = %s WHERE name = 'contract' AND key = %s",
                [json.dumps({"title": MARK, MARK: [MARK]}), contract],
            )
            connection.execute("UPDATE head SET epoch = epoch + 1")
        read = auditor.get(f"/v1/contracts/{contract}")
        wrote = client.post("/v1/events", json=marked("order.cancelled", contract=contract))
    assert (read.status_code, wrote.status_code) == (500, 503)
    [failed] = service.told(event="request_failed", request_id=read.headers["x-request-id"])
    assert (failed["level"], failed["path"]) == ("error", f"/v1/contracts/{contract}")
    assert "ValidationError" in failed["exception"]
    assert "api/audit.py" in failed["exception"]
    assert "in get_contract" in failed["exception"]
    [batch] = service.told(event="batch_failed")
    assert "ledger/sequencer.py" in batch["exception"]
    assert MARK not in service.process.log.read_text()
    assert MARK not in read.text + wrote.text


@pytest.mark.parametrize("level", ["info", "error"])
def test_a_service_that_is_told_to_end_does_so_in_order_and_logs_as_gravely_as_asked(
    owner: str, tmp_path: Path, level: str
) -> None:
    with logged(owner, tmp_path, level) as service:
        with service.client("auditor") as client:
            assert client.get("/v1/entries/0").status_code == 200
        assert service.process.terminate() == 0
        told = {json.loads(line)["event"] for line in service.lines()}
    told.discard("integrity_checked")  # there may have been time for a first look
    assert told == ({"checkpoint_key_made", "listening", "request"} if level == "info" else set())


def test_a_database_url_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    process = Process({**os.environ, "DATABASE_URL": f"postgres//u:{PASSWORD}@h"}, tmp_path / "service.log")
    process.start()
    assert process.running.wait(60) == 2
    written = process.log.read_text()
    assert PASSWORD not in written
    assert written.startswith("database its URL must be like postgresql://USER:PASSWORD@")
    assert len(written.splitlines()) == 1
