"""The OpenAPI description: what FastAPI knows of the read routes, and the write routes by hand."""

from __future__ import annotations

from typing import Any

from api import problems
from api.schemas import ProblemView
from ledger import dsse
from ledger.event import KINDS, model_of

DESCRIPTION = """\
An append-only, hash-chained, policy-judged ledger of licensed chips. An event is judged against the
conditions of its contract before it is committed, and answered with a receipt that can be checked
without this service. Every error is a problem (RFC 9457) whose `type` is a page here.

```sh
auth="Authorization: Bearer $(chipledger keys create submitter --party acme)"
curl -H "$auth" -H "Content-Type: application/json" -d @event.json $url/v1/events
curl -H "$auth" "$url/v1/entries?contract=$contract&outcome=denied&limit=20"
curl -H "$auth" "$url/v1/contracts/$contract?min_index=$index"    # knows at least that entry
curl -H "$auth" $url/v1/devices/SN000001
curl $url/checkpoint
curl -H "$auth" "$url/v1/entries/$index/receipt?format=tlog-proof"
```

Sending the same event again is always safe: the same id and bytes get the same entry. A page says in
`next`, and in a `Link` header, where the following one begins."""

TAGS = [
    {"name": "events", "description": "Submit events."},
    {"name": "entries", "description": "The log, entry by entry. A submitter sees its own contracts."},
    {"name": "facts", "description": "What is true now, as the log makes it."},
    {"name": "proofs", "description": "The signed tree head, and proofs against it (RFC 9162)."},
    {"name": "static log", "description": "The log as C2SP tlog-tiles: hashes and headers, for any cache."},
    {
        "name": "webhooks",
        "description": "Who is told of which entries, and the record of it (Standard Webhooks).",
    },
    {"name": "kinds", "description": "The kinds of event, with examples and JSON Schemas."},
    {"name": "operation", "description": "Probes, metrics, problems."},
]

_REF = "#/components/schemas/{model}"
_PARTIES = {
    "authority": "bis", "buyer": "dragon-dc", "consignee": "dragon-dc", "data_centre": "dragon-dc",
    "end_user": "dragon-dc", "exporter": "acme", "forwarder": "swift-freight", "laboratory": "test-house",
}  # fmt: skip
"""Who says the examples."""
_READ_PROBLEMS = {
    "400": "The request itself cannot be read.",
    "401": "No valid API key.",
    "403": "The key's role or party may not do this.",
    "404": "There is no such thing, or the key may not see it.",
    "422": "A parameter is not what it must be; `errors` names each.",
    "429": "The key has used its quota; see Retry-After.",
    "503": "The database is away; see Retry-After.",
}


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the write routes, the events, the problems and the security scheme."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = ProblemView.model_json_schema()
    schemas["Event"] = {"oneOf": [_event_schema(schemas, *kind) for kind in _submittable()]}
    schemas["SignedEvent"] = _SIGNED_EVENT
    schemas["Receipt"] = _RECEIPT
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["tags"] = TAGS
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)  # FastAPI's own error body; ours is RFC 9457
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(operation, path)
    schema["paths"]["/v1/events"] = {"post": _submit_event()}
    schema["paths"]["/v1/events:batch"] = {"post": _submit_batch()}
    schema["paths"]["/v1/events:evaluate"] = {"post": _evaluate_event()}
    return schema


def _submittable() -> list[tuple[str, int]]:
    return sorted(key for key, kind in KINDS.items() if kind.nature != "own")


def _event_schema(schemas: dict[str, Any], kind: str, version: int) -> dict[str, Any]:
    model = model_of(kind, version)
    found = model.model_json_schema(ref_template=_REF)
    schemas.update(found.pop("$defs", {}))
    schemas[model.__name__] = found
    return {"$ref": _REF.format(model=model.__name__)}


def examples() -> dict[str, Any]:
    """An event of each kind that can be submitted."""
    return {kind: {"summary": kind, "value": _example(kind, version)} for kind, version in _submittable()}


def _example(kind: str, version: int) -> dict[str, Any]:
    data = KINDS[kind, version]
    role = min(data.said_by)
    return {
        "id": "7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01",
        "kind": kind,
        "version": version,
        "contract": "11111111-2222-4333-8444-555555555555",
        "occurred_at": "2027-03-01T12:00:00Z",
        "actor": {"party": _PARTIES[role], "role": role},
        "data": data.example,
    }


_OPEN = ("/v1/kinds", "/v1/witnesses", "/v1/timestamps")
"""What tells nothing of any contract."""


def _complete(operation: dict[str, Any], path: str) -> None:
    """What FastAPI does not know of an operation: its problems, its key, and that no query says null."""
    for parameter in operation.get("parameters", ()):
        choices = parameter["schema"].pop("anyOf", [])
        for choice in choices:
            if choice != {"type": "null"}:
                parameter["schema"].update(choice)
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    open_to_all = not path.startswith("/v1/") or path.startswith(_OPEN)
    if not open_to_all:
        operation["security"] = [{"key": []}]
    for status, words in _READ_PROBLEMS.items():
        if not open_to_all or status not in ("400", "401", "403", "429"):
            responses.setdefault(status, _problem(words))
    if path == "/v1/bundles":
        responses["413"] = _problem("The bundle would be larger than the limits that it names.")
    if "requestBody" in operation:
        responses.setdefault("413", _problem("Too large."))
    if any(parameter["name"] == "min_index" for parameter in operation.get("parameters", ())):
        responses["412"] = _problem("Not as far as `min_index` yet; see Retry-After.")


def _problem(description: str) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {"description": description, "content": content}


def _json(description: str, model: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": model}}}


def _ref(model: str) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model)}


_BASE64 = {"type": "string", "contentEncoding": "base64"}
_SIGNED_EVENT = {
    "description": "A DSSE v1.0.2 envelope: the canonical form of an event (RFC 8785), and signatures.",
    "type": "object",
    "required": ["payload", "payloadType", "signatures"],
    "additionalProperties": False,
    "properties": {
        "payload": _BASE64,
        "payloadType": {"const": dsse.PAYLOAD_TYPE},
        "signatures": {
            "type": "array",
            "minItems": 1,
            "maxItems": dsse.SIGNATURES_MAX,
            "items": {
                "type": "object",
                "required": ["keyid", "sig"],
                "additionalProperties": False,
                "properties": {
                    "keyid": {
                        "type": "string",
                        "pattern": "^[0-9a-f]{64}$",
                        "description": "SHA-256 of the key's SubjectPublicKeyInfo (DER), hex.",
                    },
                    "sig": {**_BASE64, "maxLength": dsse.SIGNATURE_CHARACTERS_MAX},
                },
            },
        },
    },
}


def _write_problems() -> dict[str, Any]:
    return {
        "400": _problem("Not strict JSON, or not what this route takes."),
        "401": _problem("No valid API key."),
        "403": _problem("The key's role or party may not say this."),
        "409": _problem("The id is taken by another event of this party."),
        "413": _problem("Too large."),
        "415": _problem("Unsupported media type."),
        "422": _problem(
            "Malformed, or signed wrongly (nothing written), or refused by policy (type /problems/denied)."
        ),
        "429": _problem("Too many events are waiting, or the key has used its quota; see Retry-After."),
        "503": _problem("The database is away; see Retry-After and try again."),
    }


def _submit_event() -> dict[str, Any]:
    receipt = {"$ref": _REF.format(model="Receipt")}
    return {
        "tags": ["events"],
        "operationId": "submit_event",
        "parameters": [_LANGUAGE],
        "summary": "Submit an event",
        "description": "Judged against its contract, committed, and answered with a receipt.",
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref("Event"), _ref("SignedEvent")]},
                    "examples": examples(),
                }
            },
        },
        "responses": {
            "201": {
                **_json("Committed: accepted, or flagged.", receipt),
                "links": {
                    "entry": {
                        "operationId": "get_entry",
                        "parameters": {"index": "$response.body#/header/index"},
                    }
                },
            },
            "200": _json("Committed earlier, with the same id and bytes.", receipt),
            **_write_problems(),
        },
    }


def _submit_batch() -> dict[str, Any]:
    event = {"anyOf": [_ref("Event"), _ref("SignedEvent")]}
    results = {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id", "status"],
                    "properties": {
                        "id": {"type": "string"},
                        "status": {"type": "integer"},
                        "index": {"type": "integer"},
                        "receipt": {"$ref": _REF.format(model="Receipt")},
                        "problem": {"$ref": _REF.format(model="Problem")},
                    },
                },
            }
        },
    }
    return {
        "tags": ["events"],
        "operationId": "submit_batch",
        "parameters": [_LANGUAGE],
        "summary": "Submit up to 1,000 events",
        "description": (
            "If anything is malformed nothing is written. Each event is judged on its own, in order."
        ),
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": event, "minItems": 1, "maxItems": 1000}
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        "responses": {"200": _json("A result for each event.", results), **_write_problems()},
    }


def _evaluate_event() -> dict[str, Any]:
    against = {
        "description": "A document to judge by, in place of its policy's version in force: whole, or one"
        " that the contract has had. For parties that may put a document in force.",
        "oneOf": [
            {
                "type": "object",
                "required": ["text"],
                "additionalProperties": False,
                "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 200_000}},
            },
            {
                "type": "object",
                "required": ["policy", "version"],
                "additionalProperties": False,
                "properties": {
                    "policy": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$"},
                    "version": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
                },
            },
        ],
    }
    asked = {
        "type": "object",
        "required": ["event"],
        "additionalProperties": False,
        "properties": {"event": {"$ref": _REF.format(model="Event")}, "against": against},
    }
    answer = {
        "type": "object",
        "required": ["decision", "explained", "tree_size", "at"],
        "properties": {
            "decision": {"type": "object"},
            "explained": {"type": "array", "items": {"type": "string"}},
            "tree_size": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
        },
    }
    refusals = {status: words for status, words in _write_problems().items() if status != "409"}
    return {
        "tags": ["events"],
        "operationId": "evaluate_event",
        "parameters": [_LANGUAGE],
        "summary": "Ask how an event would be decided",
        "description": "Judged as if it were submitted now, by the documents in force or by another."
        " Nothing is committed: only a receipt says that an event was accepted.",
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": _json("The decision, a refusal too, and each finding in words.", answer),
            **refusals,
        },
    }


_LANGUAGE: dict[str, Any] = {
    "name": "Accept-Language",
    "in": "header",
    "schema": {"type": "string"},
    "description": "In which language a decision is told: `en`, which is the default, or `zh`.",
}

_RECEIPT: dict[str, Any] = {
    "type": "object",
    "description": "See ledger/FORMAT.md.",
    "required": ["receipt", "header", "decision", "salts", "inclusion", "checkpoint"],
    "properties": {
        "receipt": {"const": 1},
        "header": {"type": "object"},
        "decision": {"type": ["object", "null"], "description": "null: erased, or withheld from the key."},
        "salts": {"type": "object", "additionalProperties": {"type": "string"}},
        "inclusion": {
            "type": "object",
            "required": ["index", "tree_size", "hashes"],
            "properties": {
                "index": {"type": "integer"},
                "tree_size": {"type": "integer"},
                "hashes": {"type": "array", "items": {"type": "string"}},
            },
        },
        "checkpoint": {"type": "string"},
    },
}
