"""The OpenAPI description: valid, whole, true of the running service, and shown without anybody else."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

import api
from api.problems import MEDIA_TYPE
from ledger.event import KINDS, model_of, parse_event
from tests.api.contract import LiveContract
from tests.api.receiver import receiving, subscribed
from tests.service import Service
from tests.workbench import BUYER, NOON, SPEAKERS

CASES = int(os.environ.get("CHIPLEDGER_FUZZ_CASES", "2000"))
"""Requests in all; a release asks for 50,000."""
WEIGHTS = {"submit_event": 1, "submit_batch": 0.1}
"""How many of the cases an operation gets; the others get 1. A batch takes long to make, and is events."""
CONFORMS = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
STATIC = Path(api.__file__).parent / "static"
# Hypothesis takes any draw from the global generator for one of the strategy's own: a connection pool that an
# earlier test left to its threads draws its jitter from there.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(service: Service) -> Document:
    found: Document = httpx.get(f"{service.url}/openapi.json").json()
    return found


def operations(document: Document) -> Iterator[Document]:
    for methods in document["paths"].values():
        yield from methods.values()


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


# --- the document ---------------------------------------------------------------------------------


def test_the_document_is_valid_openapi(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()


def test_every_reference_leads_somewhere_and_nothing_is_left_over(document: Document) -> None:
    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == named


def test_every_operation_has_a_name_of_its_own_words_and_problems(document: Document) -> None:
    names = [operation["operationId"] for operation in operations(document)]
    assert len(names) == len(set(names))
    assert {"submit_event", "submit_batch", "get_entry", "list_entries", "get_device"} <= set(names)
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations(document):
        assert re.fullmatch(r"[a-z_]+", operation["operationId"])
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        problems = [c for r in operation["responses"].values() for c in r.get("content", {})]
        assert MEDIA_TYPE in problems


def test_every_kind_that_can_be_submitted_is_described_as_it_is_parsed(document: Document) -> None:
    schemas = document["components"]["schemas"]
    named = {reference["$ref"].rpartition("/")[2] for reference in schemas["Event"]["oneOf"]}
    submittable = [key for key, kind in KINDS.items() if kind.nature != "own"]
    assert named == {model_of(*key).__name__ for key in submittable}
    for key in submittable:
        # Two kinds may have a part of the same name: then it must be the same part.
        found = model_of(*key).model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in found.pop("$defs", {}).items():
            assert schemas[name] == part
        assert schemas[model_of(*key).__name__] == found


def test_every_kind_has_an_example_that_parses_and_fits(document: Document) -> None:
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) == {name for (name, _), kind in KINDS.items() if kind.nature != "own"}
    schema = {"$ref": "#/components/schemas/Event", "components": document["components"]}
    fits = jsonschema_rs.validator_for(schema)
    for example in content["examples"].values():
        fits.validate(example["value"])
        event = parse_event(example["value"])
        assert event.actor.role in event.data.said_by


def test_the_description_shows_how_to_begin(document: Document) -> None:
    words = document["info"]["description"]
    assert "curl" in words
    shown = set(re.findall(r"\$url(/[a-z0-9/]+)", words))
    assert {"/v1/events", "/v1/entries", "/checkpoint"} <= shown
    for path in shown:
        assert any(known.startswith(path.rstrip("/")) for known in document["paths"]), path


# --- the service does what the document says ------------------------------------------------------


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    contract = LiveContract(service).open()
    contract.released(contract.serials(2))
    service.set_clock("2027-04-15T12:00:00Z")  # the log has said how its chains end
    return contract


@pytest.fixture(scope="module")
def told(live: LiveContract) -> Iterator[dict[str, str]]:
    """An endpoint that is told of everything, and a delivery to it."""
    with receiving() as receiver:
        endpoint = subscribed(live.service, receiver.url, contracts=[live.contract])
        live.order(1, order="PO-TOLD")
        [request, *_] = receiver.wait_for(1)
        yield {"endpoint": endpoint.id, "delivery": request.id, "url": receiver.url}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    load_all_checks()
    with requests.Session() as session:
        yield session


NOTHING_TO_ASK = [
    "list_kinds",
    "get_checkpoint",
    "get_log_checkpoint",
    "get_witnesses",
    "livez",
    "readyz",
    "metrics",
    "integrityz",
]
"""No parameter and no body: one request is all that can be tried."""
OPERATIONS = [
    "get_entry", "list_entries", "explain_entry", "get_contract", "list_orders", "list_shipments",
    "list_duties", "list_erasures", "list_holds", "get_device", "get_kind", "prove_complete",
    "list_timestamps", "get_bundle",
    "prove_inclusion", "prove_consistency", "get_receipt", "get_tile", "problem_page", "set_clock",
    "submit_event", "submit_batch", "evaluate_event",
    "get_integrity", "verify_integrity", "explain_integrity",
    "create_webhook", "list_webhooks", "get_webhook",
    "verify_webhook", "test_webhook", "disable_webhook", "enable_webhook", "rotate_webhook", "replay_webhook",
    "list_deliveries", "get_delivery", "resend_delivery", "list_notices",
    "delete_webhook",  # the last: the others are asked of it
]  # fmt: skip
ROLES: dict[str, tuple[str, str | None]] = {
    "submit_event": ("submitter", BUYER),
    "submit_batch": ("submitter", BUYER),
    "evaluate_event": ("submitter", BUYER),
    "create_webhook": ("submitter", BUYER),  # has no other endpoints, and may have only so many
    "set_clock": ("operator", None),
    "verify_integrity": ("operator", None),
    "explain_integrity": ("operator", None),
}


PAST_THE_DOOR = {
    "submit_event": 201,
    "create_webhook": 201,
    "verify_integrity": 202,
    "explain_integrity": 404,
}
"""What is answered where that is not 200: no failure of a sound log waits for an explanation."""


def test_every_operation_is_tried(document: Document) -> None:
    assert sorted(OPERATIONS + NOTHING_TO_ASK) == sorted(o["operationId"] for o in operations(document))


def cases_of(name: str) -> int:
    total = sum(WEIGHTS.get(one, 1) for one in OPERATIONS)
    return max(1, round(CASES * WEIGHTS.get(name, 1) / total / len(GenerationMode)))


@pytest.mark.parametrize("name", NOTHING_TO_ASK)
def test_what_asks_for_nothing_is_answered_as_described(
    live: LiveContract, document: Document, session: requests.Session, name: str
) -> None:
    case = operation_of(document, name).Case()
    check(case, case.call(live.service.url, session), status_max=200)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_well_formed_is_answered_as_described_and_gets_past_the_door(
    live: LiveContract, told: dict[str, str], document: Document, session: requests.Session, name: str
) -> None:
    answered: Counter[int] = Counter()

    @fuzzing(name)
    @given(operation_of(document, name).as_strategy(generation_mode=GenerationMode.POSITIVE))
    def fuzz(case: Case[Any]) -> None:
        steer(case, live, told, known=answered.total() % 2 == 0)  # each second: chance may leave them all out
        response = case.call(live.service.url, session, key_for(live, name))
        check(case, response)
        answered[response.status_code] += 1

    fuzz()
    # The slashes of a tile's name are sent as escapes here, and then it names none.
    if CASES >= 1_000 and name != "get_tile":
        assert answered[PAST_THE_DOOR.get(name, 200)], f"nothing got past the door: {answered}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_malformed_is_a_problem_and_no_error_of_ours(
    live: LiveContract, document: Document, session: requests.Session, name: str
) -> None:
    @fuzzing(name)
    @given(operation_of(document, name).as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def fuzz(case: Case[Any]) -> None:
        check(case, case.call(live.service.url, session, key_for(live, name)))

    fuzz()


def operation_of(document: Document, name: str) -> schemathesis.APIOperation[Any, Any, Any, Any]:
    schema = schemathesis.openapi.from_dict(document)
    # In an event it is never strict JSON, and most would be refused for that alone.
    schema.config.generation.update(allow_x00=not name.startswith(("submit", "evaluate")))
    return schema.find_operation_by_id(name)


def fuzzing(name: str) -> settings:
    return settings(
        max_examples=cases_of(name), deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip


def key_for(live: LiveContract, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {live.service.token(*ROLES.get(name, ('auditor', None)))}"}


def steer(case: Case[Any], live: LiveContract, told: dict[str, str], known: bool) -> None:
    """Lead what is well formed to where there is something: known names, and events of our contract."""
    there = {
        "index": 3, "contract": live.contract, "serial": live.serials(1)[0], "name": "denied",
        "kind": "order.placed", "version": 1, "path": "entries/000.p/3", **told,
    }  # fmt: skip
    if known:
        case.path_parameters.update({name: there[name] for name in case.path_parameters})
        case.query.pop("min_index", None)
        if case.path == "/v1/bundles":  # of these it takes one
            case.query = {"index": [there["index"]]}
        if isinstance(case.body, dict) and "url" in case.body:
            case.body |= {"url": told["url"], "kinds": ["order.*"]}
            case.body.pop("escalates_to", None)
    body = case.body["event"] if isinstance(case.body, dict) and "event" in case.body else case.body
    events: list[Any] = body if isinstance(body, list) else [body]
    for event in events:
        if isinstance(event, dict) and "actor" in event:
            event |= {"contract": live.contract, "occurred_at": NOON}
            event["actor"] = {"party": BUYER, "role": SPEAKERS[event["kind"]][1]}


def check(case: Case[Any], response: schemathesis.Response, *, status_max: int = 499) -> None:
    assert response.status_code <= status_max, response.text
    if "x-request-id" not in response.headers:
        assert response.status_code == 400, "a header that is none is refused before there is a request"
        return
    if response.status_code >= 400:
        [media_type] = response.headers["content-type"]
        assert media_type == MEDIA_TYPE
        problem = json.loads(response.content)
        assert problem["status"] == response.status_code
        assert problem["instance"].endswith(response.headers["x-request-id"][0])
    case.validate_response(response, cast(Any, CHECKS.get_by_names(CONFORMS)))


# --- its page -------------------------------------------------------------------------------------


class _Links(HTMLParser):
    """What a page loads, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_documentation_loads_nothing_from_anybody_else(service: Service) -> None:
    answer = httpx.get(f"{service.url}/docs")
    page = _Links()
    page.feed(answer.text)
    assert len(page.loaded) >= 3
    for path in page.loaded:
        assert re.match(r"/(?!/)", path), path
        assert httpx.get(service.url + path).status_code == 200
    assert not re.search(r"https?://|//[a-z]", answer.text)
    assert page.tags.isdisjoint({"base", "iframe", "object", "embed", "form"})


def test_the_browser_is_told_to_load_nothing_from_anybody_else(service: Service) -> None:
    policy = httpx.get(f"{service.url}/docs").headers["content-security-policy"]
    sources = {words.split()[0]: words.split()[1:] for words in policy.split(";")}
    assert sources["default-src"] == ["'self'"]
    allowed = {"'self'", "'unsafe-inline'", "'none'", "data:"}
    assert all(set(words) <= allowed for words in sources.values())


ELSEWHERE = re.compile(
    rb"sourceMappingURL|@import|url\(\s*[\"']?(?:https?:)?//|unpkg|jsdelivr|cdnjs|googleapis|gstatic"
)


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda file: file.name)
def test_no_file_that_is_served_leads_elsewhere(service: Service, file: Path) -> None:
    answer = httpx.get(f"{service.url}/static/{file.name}")
    assert answer.status_code == 200
    assert ELSEWHERE.findall(answer.content) == []
