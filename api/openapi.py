"""The OpenAPI description: what FastAPI knows of the read routes, and the write routes by hand."""

from __future__ import annotations

from typing import Any

from api import problems
from api.schemas import ProblemView
from ledger.event import KINDS, model_of

_REF = "#/components/schemas/{model}"


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the write routes, the events, the problems and the security scheme."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = ProblemView.model_json_schema()
    schemas["Event"] = {"oneOf": [_event_schema(schemas, *kind) for kind in _submittable()]}
    schemas["Receipt"] = _RECEIPT
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _add_problems(operation, path)
    schema["paths"]["/v1/events"] = {"post": _submit_event()}
    schema["paths"]["/v1/events:batch"] = {"post": _submit_batch()}
    return schema


def _submittable() -> list[tuple[str, int]]:
    return sorted(key for key, kind in KINDS.items() if kind.nature != "own")


def _event_schema(schemas: dict[str, Any], kind: str, version: int) -> dict[str, Any]:
    model = model_of(kind, version)
    found = model.model_json_schema(ref_template=_REF)
    schemas.update(found.pop("$defs", {}))
    schemas[model.__name__] = found
    return {"$ref": _REF.format(model=model.__name__)}


def _add_problems(operation: dict[str, Any], path: str) -> None:
    responses = operation.setdefault("responses", {})
    # FastAPI describes its own error body; ours is RFC 9457.
    responses.pop("422", None)
    open_to_all = not path.startswith("/v1/") or path.startswith("/v1/kinds")
    for status in (404, 422, 503) if open_to_all else (400, 401, 403, 404, 422, 503):
        responses.setdefault(str(status), _problem("A problem (RFC 9457)."))
    if not open_to_all:
        operation["security"] = [{"key": []}]


def _problem(description: str) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {"description": description, "content": content}


def _json(description: str, model: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": model}}}


def _write_problems() -> dict[str, Any]:
    return {
        "400": _problem("Not strict JSON, or not what this route takes."),
        "401": _problem("No valid API key."),
        "403": _problem("The key's role or party may not say this."),
        "409": _problem("The id is taken by another event of this party."),
        "413": _problem("Too large."),
        "415": _problem("Unsupported media type."),
        "422": _problem("Malformed (nothing written), or refused by policy (type /problems/denied)."),
        "429": _problem("Too many events are waiting; see Retry-After."),
        "503": _problem("The database is away; see Retry-After and try again."),
    }


def _submit_event() -> dict[str, Any]:
    receipt = {"$ref": _REF.format(model="Receipt")}
    return {
        "tags": ["events"],
        "operationId": "submit_event",
        "summary": "Submit an event",
        "description": "Judged against its contract, committed, and answered with a receipt.",
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Event")}}},
        },
        "responses": {
            "201": _json("Committed: accepted, or flagged.", receipt),
            "200": _json("Committed earlier, with the same id and bytes.", receipt),
            **_write_problems(),
        },
    }


def _submit_batch() -> dict[str, Any]:
    event = {"$ref": _REF.format(model="Event")}
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


_RECEIPT: dict[str, Any] = {
    "type": "object",
    "description": "See ledger/FORMAT.md.",
    "required": ["receipt", "header", "decision", "salts", "inclusion", "checkpoint"],
    "properties": {
        "receipt": {"const": 1},
        "header": {"type": "object"},
        "decision": {"type": "object"},
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
