"""Who may read what: keys, their ends, and that nothing of another's contract shows in any way."""

from __future__ import annotations

import hmac
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any

import httpx2 as httpx
import psycopg
import pytest

from api import auth, keys
from ledger.errors import NotFound, UnusableInput
from tests.api.contract import LiveContract
from tests.service import Service
from tests.workbench import BUYER, EXPORTER

RIVAL = "rival"
"""Party to a contract of its own, and to no other."""
OPEN = {
    "/checkpoint", "/v1/witnesses", "/v1/timestamps", "/livez", "/readyz", "/integrityz", "/metrics",
    "/problems/{name}", "/v1/kinds", "/v1/kinds/{kind}/{version}", "/log/checkpoint", "/log/tile/{path}",
}  # fmt: skip
"""The routes that ask for no key. All others do, and a new one is among those others."""
UNDESCRIBED = ["/docs", "/openapi.json", "/static/favicon.svg", "/static/swagger-ui.css"]
FILLED = {
    "index": "0", "contract": str(uuid.UUID(int=0)), "serial": "SN000001", "name": "denied",
    "kind": "order.placed", "version": "1", "path": "entries/000.p/1",
    "endpoint": "we_0000000000000000", "delivery": "msg_0",
}  # fmt: skip


@dataclass
class Theirs:
    """A contract that the rival is no party of, and what is known of it to those who are."""

    contract: LiveContract
    index: int
    serial: str


@pytest.fixture(scope="module")
def theirs(service: Service) -> Theirs:
    contract = LiveContract(service).open()
    serials = contract.serials(2)
    receipt = contract.released(serials)
    return Theirs(contract, receipt["header"]["index"], serials[0])


@pytest.fixture(scope="module")
def own(service: Service, theirs: Theirs) -> LiveContract:
    """The rival's contract. It names the others' license, and speaks of the others' devices."""
    contract = LiveContract(service)
    parties = [{"party": RIVAL, "roles": ["exporter", "consignee"], "name": "Rival", "country": "US"}]
    by = RIVAL, "exporter"
    contract.accepted("contract.opened", by=by, parties=parties, licenses=[theirs.contract.license])
    said = {"shipment": "SH-1", "received": [theirs.serial], "missing": []}
    assert contract.say("delivery.received", by=(RIVAL, "consignee"), **said).status_code == 201
    return contract


@pytest.fixture(scope="module")
def rival(service: Service, own: LiveContract) -> Iterator[httpx.Client]:
    with service.client("submitter", RIVAL) as client:
        yield client


# --- with and without a key -----------------------------------------------------------------------


def routes(service: Service) -> list[tuple[str, str]]:
    """Every method and path that the description names."""
    paths: dict[str, dict[str, Any]] = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def test_every_route_asks_for_a_key_unless_it_is_meant_to_be_open(service: Service) -> None:
    found = routes(service)
    assert {path for _, path in found} >= OPEN
    for method, path in found:
        answer = httpx.request(method, service.url + path.format_map(FILLED))
        if path in OPEN:
            assert answer.status_code == 200, (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.json()["type"] == "/problems/unauthenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_description_says_which_routes_ask_for_a_key(service: Service) -> None:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN), path


def test_the_key_is_asked_for_before_anything_else_is_looked_at(service: Service) -> None:
    for path in ("/v1/entries?limit=x", "/v1/entries/x", "/v1/contracts/x", "/v1/proofs/inclusion"):
        assert httpx.get(service.url + path).status_code == 401
    assert httpx.put(f"{service.url}/v1/clock", json={"now": "x"}).status_code == 401
    huge = b" " * 100_000
    assert httpx.put(f"{service.url}/v1/clock", content=huge).status_code == 401


@pytest.mark.parametrize("path", UNDESCRIBED)
def test_the_documentation_is_open(service: Service, path: str) -> None:
    assert httpx.get(service.url + path).status_code == 200


def test_an_operator_alone_sets_the_clock(service: Service) -> None:
    now = {"now": "2027-03-01T12:00:00Z"}
    for role, party in (("submitter", RIVAL), ("auditor", None), ("regulator", "bis")):
        with service.client(role, party) as client:
            assert client.put("/v1/clock", json=now).status_code == 403


# --- a submitter sees what it is a party of -------------------------------------------------------


def test_a_party_sees_all_of_its_contract(service: Service, theirs: Theirs) -> None:
    contract = theirs.contract.contract
    for party in (EXPORTER, BUYER):
        with service.client("submitter", party) as client, service.client("auditor") as auditor:
            for path in (
                f"/v1/entries/{theirs.index}",
                f"/v1/entries?contract={contract}",
                f"/v1/contracts/{contract}",
                f"/v1/contracts/{contract}/orders",
                f"/v1/contracts/{contract}/shipments",
            ):
                answer = client.get(path)
                assert answer.status_code == 200
                assert answer.json() == auditor.get(path).json()


@pytest.mark.parametrize(("role", "party"), [("auditor", None), ("regulator", "bis"), ("operator", None)])
def test_auditors_regulators_and_operators_see_everything(
    service: Service, theirs: Theirs, own: LiveContract, role: str, party: str | None
) -> None:
    with service.client(role, party) as client:
        size = client.get("/readyz").json()["tree_size"]
        assert len(client.get("/v1/entries?limit=1000").json()["entries"]) == size
        for contract in (theirs.contract.contract, own.contract):
            assert client.get(f"/v1/contracts/{contract}").status_code == 200
        custody = client.get(f"/v1/devices/{theirs.serial}").json()["custody"]
        assert {link["contract"] for link in custody} == {theirs.contract.contract, own.contract}


def told(answer: httpx.Response) -> tuple[int, str]:
    """What an answer tells, apart from its own id and the words of the question."""
    words = answer.text.replace(answer.headers["x-request-id"], "")
    return answer.status_code, re.sub(r"entry \d+|contract [0-9a-f-]{36}|device [\w-]+", "", words)


def test_what_is_others_looks_as_if_it_were_not_there(rival: httpx.Client, theirs: Theirs) -> None:
    nothing = str(uuid.uuid4())
    contract = theirs.contract.contract
    unspoken = theirs.contract.serials(2)[1]
    for there, not_there in (
        (f"/v1/entries/{theirs.index}", "/v1/entries/999999"),
        ("/v1/entries/0", "/v1/entries/999999"),
        (f"/v1/contracts/{contract}", f"/v1/contracts/{nothing}"),
        (f"/v1/contracts/{contract}/orders", f"/v1/contracts/{nothing}/orders"),
        (f"/v1/contracts/{contract}/shipments", f"/v1/contracts/{nothing}/shipments"),
        (f"/v1/entries?contract={contract}", f"/v1/entries?contract={nothing}"),
        ("/v1/entries?contract=_ledger", f"/v1/entries?contract={nothing}"),
        (f"/v1/devices/{unspoken}", "/v1/devices/NEVER-SEEN"),
        (f"/v1/devices/{unspoken}?limit=1", "/v1/devices/NEVER-SEEN?limit=1"),
    ):
        assert told(rival.get(there)) == told(rival.get(not_there)), there
        assert rival.get(there).status_code in (403, 404)


def test_no_filter_widens_what_a_submitter_lists(
    rival: httpx.Client, own: LiveContract, theirs: Theirs
) -> None:
    for query in ("", "party=acme", "kind=order.placed", "outcome=accepted", "after=0", "limit=1000"):
        assert rival.get(f"/v1/entries?{query}").status_code == 403
        narrowed = rival.get(f"/v1/entries?{query}&contract={own.contract}").json()
        assert {e["header"]["contract"] for e in narrowed["entries"]} <= {own.contract}
    entries = rival.get(f"/v1/entries?contract={own.contract}").json()["entries"]
    assert [entry["kind"] for entry in entries] == ["contract.opened", "delivery.received"]


def test_to_name_a_license_is_not_to_see_it(rival: httpx.Client, own: LiveContract, theirs: Theirs) -> None:
    found = rival.get(f"/v1/contracts/{own.contract}")
    assert found.json()["licenses"] == []
    assert theirs.contract.contract not in found.text


def test_to_speak_of_a_device_is_not_to_see_it(
    rival: httpx.Client, own: LiveContract, theirs: Theirs
) -> None:
    found = rival.get(f"/v1/devices/{theirs.serial}").json()
    assert found["device"] is None
    assert [link["contract"] for link in found["custody"]] == [own.contract]
    page = rival.get(f"/v1/devices/{theirs.serial}?limit=1").json()
    assert page["next"] is None  # what is left out is not counted either


def test_whoever_had_a_device_tested_sees_it_before_it_is_released(service: Service) -> None:
    contract = LiveContract(service).open()
    [serial] = contract.serials(1)
    contract.tested([serial])
    with service.client("submitter", "test-house") as laboratory, service.client("submitter", RIVAL) as rival:
        assert laboratory.get(f"/v1/devices/{serial}").json()["device"]["state"] == "tested"
        assert rival.get(f"/v1/devices/{serial}").status_code == 404


def test_a_party_that_joins_no_contract_sees_none(service: Service, theirs: Theirs) -> None:
    with service.client("submitter", "nobody") as client:
        for path in ("/v1/entries/0", f"/v1/entries/{theirs.index}", f"/v1/devices/{theirs.serial}"):
            assert client.get(path).status_code == 404
        assert client.get("/v1/entries").status_code == 403


# --- keys end -------------------------------------------------------------------------------------


def status_with(service: Service, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{service.url}/v1/entries/0", headers=headers).status_code


def test_a_key_that_has_expired_is_refused(service: Service) -> None:
    past, soon = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    expired = keys.create(service.owner, "auditor", expires_at=past)
    current = keys.create(service.owner, "auditor", expires_at=soon)
    assert (status_with(service, expired.token), status_with(service, current.token)) == (401, 200)


def test_a_key_expires_while_it_is_remembered(service: Service) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key = keys.create(service.owner, "auditor", expires_at=soon)
    assert status_with(service, key.token) == 200
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    assert status_with(service, key.token) == 401


def test_a_revoked_key_is_refused_as_soon_as_it_is_forgotten(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.create(service.owner, "auditor")
    assert status_with(service, key.token) == 200
    keys.revoke(service.owner, key.id)
    monkeypatch.setattr(auth, "CACHED_S", 0.0)
    assert status_with(service, key.token) == 401


def test_a_revoked_key_stays_revoked_since_the_first_time(service: Service) -> None:
    key = keys.create(service.owner, "auditor")
    keys.revoke(service.owner, key.id)
    [first] = [k.revoked_at for k in keys.listed(service.owner) if k.id == key.id]
    keys.revoke(service.owner, key.id)
    [again] = [k.revoked_at for k in keys.listed(service.owner) if k.id == key.id]
    assert first is not None
    assert again == first


def test_there_is_no_key_to_revoke_that_was_never_made(service: Service) -> None:
    with pytest.raises(NotFound, match="there is no key 000000000000"):
        keys.revoke(service.owner, "000000000000")


@pytest.mark.parametrize(
    ("role", "party", "words"),
    [
        ("king", None, "role is king, must be one of submitter, auditor, regulator, operator"),
        ("submitter", None, "speaks for a party"),
        ("regulator", "", "speaks for a party"),
        ("submitter", "Acme Inc", "party is Acme Inc, must be as events name it"),
        ("submitter", "_ledger", "party is _ledger"),
        ("auditor", "x" * 64, "party is x"),
    ],
)
def test_a_key_that_could_not_be_used_is_not_made(
    service: Service, role: str, party: str | None, words: str
) -> None:
    before = keys.listed(service.owner)
    with pytest.raises(UnusableInput, match=words):
        keys.create(service.owner, role, party=party)
    assert keys.listed(service.owner) == before


# --- secrets --------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_but_where_it_was_shown(service: Service) -> None:
    key = keys.create(service.owner, "auditor", label="a label")
    secret = key.token[-43:]
    assert secret not in repr(key)
    assert secret not in repr(keys.listed(service.owner))
    with psycopg.connect(service.owner) as connection:
        rows = connection.execute("SELECT k::text FROM api_keys k WHERE id = %s", [key.id]).fetchall()
    assert secret not in str(rows)
    assert keys.digest(secret).hex() in str(rows)


def test_every_wrong_key_gets_the_same_words(service: Service) -> None:
    key = keys.create(service.owner, "auditor")
    revoked = keys.create(service.owner, "auditor")
    keys.revoke(service.owner, revoked.id)
    expired = keys.create(service.owner, "auditor", expires_at=datetime.now(UTC))
    answers = set()
    for token in (
        f"clk_{key.id}_{'A' * 43}",
        f"clk_{'0' * 12}_{key.token[-43:]}",
        f"clk_{revoked.id}_{key.token[-43:]}",
        revoked.token,
        expired.token,
    ):
        answer = httpx.get(f"{service.url}/v1/entries", headers={"authorization": f"Bearer {token}"})
        answers.add((answer.status_code, answer.json()["detail"]))
    assert answers == {(401, "the API key is unknown, expired or revoked")}


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer clk", "Bearer clk__", "Bearer clk_x_y", "Basic {token}", "{token}",
     "Bearer {token}x", "Bearer x{token}", "Bearer {token} {token}", "Bearer CLK{rest}", "Bearer \xe9"],
)  # fmt: skip
def test_what_is_no_bearer_key_is_refused(service: Service, header: str) -> None:
    token = service.token("auditor")
    value = header.format(token=token, rest=token[3:]).encode("latin-1")
    answer = httpx.get(f"{service.url}/v1/entries", headers={b"authorization": value})
    assert answer.status_code == 401


def test_secrets_are_compared_in_constant_time_whether_the_key_is_known_or_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = keys.create(service.owner, "auditor").token
    for token in (known, known[:-43] + "A" * 43, f"clk_{'0' * 12}_{'A' * 43}"):
        status_with(service, token)
    assert compared == [(32, 32)] * 3
