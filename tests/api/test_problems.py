"""Problems: one for every error there is, a page for every problem, and nothing told by chance."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg
import pytest

import api
import ledger
import policies
from api import problems
from api.problems import CATALOGUE, INTERNAL, MEDIA_TYPE, PROBLEMS, problem_of
from api.quotas import QuotaExceeded
from ledger import errors, reader, sequencer
from ledger.decision import Decision
from ledger.errors import LedgerError
from ledger.reader import Reader
from policies.engine import Engine
from tests.api.contract import LiveContract
from tests.service import Service, running, settings_for
from tests.workbench import BUYER, EXPORTER, wire

MARK = "k3Qz-must-not-be-told"


def leaves(error: type[LedgerError]) -> Iterator[type[LedgerError]]:
    """The errors that are raised: those under which there are no others, and those that are mapped."""
    below = error.__subclasses__()
    if not below or error in PROBLEMS:
        yield error
    for one in below:
        yield from leaves(one)


def every_error() -> list[type[LedgerError]]:
    """Every error there is, in any module of ours."""
    for package in (api, ledger, policies):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = {one for one in leaves(LedgerError) if one.__module__.partition(".")[0] != "tests"}
    return sorted(found, key=lambda one: one.__qualname__)


def made(error: type[LedgerError]) -> LedgerError:
    """One of that class, whatever its constructor asks for."""
    one = error.__new__(error)
    one.args = (MARK,)
    return one


def check(answer: httpx.Response) -> dict[str, Any]:
    """An answer is a whole problem (RFC 9457), and its page is there."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["instance"] == f"urn:chipledger:request:{answer.headers['x-request-id']}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"].removeprefix("/problems/") in CATALOGUE
    if answer.status_code in (412, 429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return problem


# --- the catalogue --------------------------------------------------------------------------------


def test_every_error_there_is_has_a_problem_of_its_own() -> None:
    found = every_error()
    assert len(found) > 15
    assert {errors.Conflict, errors.QueueFull} < set(found)
    forgotten = [error.__qualname__ for error in found if problem_of(made(error)) is INTERNAL]
    assert forgotten == []


def test_no_two_problems_share_a_name_and_each_says_what_helps() -> None:
    every = [*PROBLEMS.values(), *CATALOGUE.values()]
    for name, problem in CATALOGUE.items():
        assert {id(one) for one in every if one.name == name} == {id(problem)}
        assert 400 <= problem.status < 600
        assert problem.help.endswith(".")


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_problem_has_its_page(service: Service, name: str) -> None:
    answer = httpx.get(f"{service.url}/problems/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert CATALOGUE[name].title in answer.text
    assert f"HTTP {CATALOGUE[name].status}" in answer.text


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__qualname__)
def test_an_error_is_described_in_its_own_words_unless_it_is_unknown(error: type[LedgerError]) -> None:
    if issubclass(error, errors.MalformedInput):
        described = problems.describe(error(errors.Fault("/a", MARK)), request_id="r")
        assert described["errors"] == [{"pointer": "/a", "detail": MARK}]
    elif issubclass(error, errors.Conflict):
        described = problems.describe(error(party="p", event_id=MARK, index=7), request_id="r")
        assert described["index"] == 7
    elif issubclass(error, QuotaExceeded):
        described = problems.describe(error(MARK, 60, 3_600, 7), request_id="r")
        assert described["retry_after_s"] == 7
    else:
        described = problems.describe(made(error), request_id="r")
    assert MARK in described["detail"]
    assert described["instance"] == "urn:chipledger:request:r"


def test_an_error_that_nobody_mapped_says_nothing_of_itself() -> None:
    described = problems.describe(LedgerError(MARK), request_id="r")
    assert described["status"] == 500
    assert MARK not in str(described)


# --- answers --------------------------------------------------------------------------------------

Ask = Callable[[httpx.Client], httpx.Response]
ASKED: dict[str, tuple[int, Ask]] = {
    "not-found": (404, lambda c: c.get("/no/such/path")),
    "not-found /v1/entries/9": (404, lambda c: c.get("/v1/entries/999999")),
    "method-not-allowed": (405, lambda c: c.delete("/v1/entries/0")),
    "method-not-allowed GET": (405, lambda c: c.get("/v1/events")),
    "method-not-allowed PUT": (405, lambda c: c.put("/v1/events:batch", json=[])),
    "method-not-allowed POST": (405, lambda c: c.post("/checkpoint")),
    "method-not-allowed static": (405, lambda c: c.post("/static/favicon.svg")),
    "bad-parameter": (422, lambda c: c.get("/v1/entries?limit=none")),
    "bad-parameter path": (422, lambda c: c.get("/v1/entries/none")),
    "forbidden": (403, lambda c: c.post("/v1/events", json=wire("license.granted"))),
    "not-json": (400, lambda c: c.post("/v1/events", json={"a": 1.5})),
    "malformed-event": (422, lambda c: c.post("/v1/events", json={})),
    "unsupported-media-type": (
        415,
        lambda c: c.post("/v1/events", content=b"{}", headers={"content-type": "text/csv"}),
    ),
    "too-large": (413, lambda c: c.post("/v1/events", content=b" " * 2_000_000)),
    "unauthenticated": (401, lambda c: c.get("/v1/entries", headers={"authorization": "Bearer x"})),
    "not-yet": (412, lambda c: c.get("/v1/entries?min_index=999999")),
    "denied": (
        422,
        lambda c: c.post("/v1/events", json=wire("order.placed", occurred_at="2026-01-01T00:00:00Z")),
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_whatever_is_wrong_is_answered_by_its_problem(service: Service, name: str) -> None:
    status, ask = ASKED[name]
    with service.client("submitter", BUYER) as client:
        answer = ask(client)
    assert answer.status_code == status
    assert check(answer)["type"] == f"/problems/{name.split()[0]}"


def test_a_wrong_method_is_told_which_ones_there_are(service: Service) -> None:
    assert httpx.post(f"{service.url}/checkpoint").headers["allow"] == "GET"
    assert httpx.get(f"{service.url}/v1/events").headers["allow"] == "POST"


def test_a_body_that_cannot_be_read_is_a_problem_too(service: Service) -> None:
    with service.client("operator") as client:
        for body in (
            b"",
            b"{",
            b"[" * 900,
            b'{"now": 1}',
            b'{"now": "2027-02-30T00:00:00Z"}',
            b'{"now": "9999-12-31T23:59:59Z"}',
        ):
            answer = client.put("/v1/clock", content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500
            check(answer)
        assert check(client.put("/v1/clock", content=b" " * 2_000))["type"] == "/problems/too-large"


def test_a_parameter_is_pointed_at(service: Service) -> None:
    with service.client("auditor") as client:
        problem = check(client.get("/v1/entries?limit=0&since=now"))
    assert [error["pointer"] for error in problem["errors"]] == ["/query/limit", "/query/since"]


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_the_request_id_of_the_caller_is_kept(service: Service, given: str) -> None:
    answer = httpx.get(f"{service.url}/nothing", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    check(answer)


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "é"])
def test_a_request_id_that_is_no_plain_name_is_replaced(service: Service, given: str) -> None:
    headers = {b"x-request-id": given.encode("latin-1")}
    answer = httpx.get(f"{service.url}/nothing", headers=headers)
    assert answer.headers["x-request-id"] not in (given, "")
    check(answer)


# --- what nobody expected -------------------------------------------------------------------------


async def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(MARK)


def broken_judge(*_: Any, **__: Any) -> Decision:
    raise RuntimeError(MARK)


def test_the_words_of_an_unexpected_error_are_not_passed_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveContract(service).open()
    with service.client("auditor") as client:
        client.get("/v1/entries/0").raise_for_status()  # from here the key is remembered
        for name in ("entries", "entry", "fact", "links", "hashes", "head"):
            monkeypatch.setattr(Reader, name, broken)
        for path in (
            "/v1/entries", "/v1/entries/0", f"/v1/contracts/{live.contract}", "/v1/devices/SN000001",
            "/v1/proofs/inclusion?index=0", "/checkpoint", "/readyz",
        ):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 500
            assert check(answer)["type"] == "/problems/internal"
            assert MARK not in answer.text


def test_an_event_that_breaks_the_judge_is_not_committed_and_says_no_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveContract(service).open()
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "judge", broken_judge)
        answer = live.order(1)
    assert answer.status_code == 500
    assert check(answer)["type"] == "/problems/append-failed"
    assert MARK not in answer.text
    assert live.order(1).status_code == 201


def test_a_queue_that_is_full_says_when_to_ask_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "QUEUE_EVENTS_MAX", 0)
    answer = service.submit(wire("order.placed", occurred_at="2026-01-01T00:00:00Z"))
    assert answer.status_code == 429
    assert check(answer)["type"] == "/problems/queue-full"


def test_a_database_that_is_gone_is_a_503_that_says_when_to_ask_again(
    server: str, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "POOL_WAIT_S", 0.2)
    with running(settings_for(owner, tmp_path), owner) as service:
        event = wire("order.placed", by=(EXPORTER, "exporter"), occurred_at="2026-01-01T00:00:00Z")
        assert service.submit(event).status_code == 422
        with service.client("submitter", EXPORTER) as client:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {urlsplit(owner).path[1:]} WITH (FORCE)")
            for answer in (
                client.post("/v1/events", json=event),
                client.post("/v1/events:batch", json=[event]),
                client.get("/v1/entries/0"),
                client.get("/checkpoint"),
            ):
                assert answer.status_code == 503
                problem = check(answer)
                assert problem["type"] == "/problems/unavailable"
                # Nor what the driver says of hosts, sockets and logins.
                assert not re.search(r"FATAL|connection|PGSQL|chipledger_", problem["detail"])
            ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.headers["retry-after"]
