"""RFC 9457 problems: one for each error that can reach a caller. No exception text is passed on by chance.

`PROBLEMS` maps every leaf of the `LedgerError` tree; a test walks the tree to prove that none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from api.auth import Forbidden, Unauthenticated
from api.embedded_place import EmbeddedError
from api.exchange import Answer
from api.quotas import QuotaExceeded
from ledger import errors
from ledger.errors import LedgerError, MalformedInput
from policies.tree import PolicyDocumentError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class UnsupportedMedia(LedgerError):
    """The body is of a media type that the route does not take."""


class NotYet(LedgerError):
    """What is read from does not know the entry yet that the caller knows of."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A type of problem. Its page is `/problems/<name>`."""

    name: str
    status: int
    title: str
    help: str


DENIED = Problem(
    "denied", 422, "Refused by policy",
    "The event was judged and refused. It stands in the log under its own id, with the decision; the "
    "receipt proves it. `failed` lists each failed condition with what was observed, the limit and the "
    "shortfall. Cure the cause, then send the event under a new id that names this one in `retries`.",
)  # fmt: skip
INTERNAL = Problem(
    "internal", 500, "Internal error",
    "The service has a bug. The request id finds it in the logs. Sending the same event again is safe.",
)  # fmt: skip
NOT_FOUND = Problem("not-found", 404, "Not found", "There is no such thing, or the key may not see it.")
METHOD = Problem("method-not-allowed", 405, "Method not allowed", "See the OpenAPI description.")
MEDIA = Problem(
    "unsupported-media-type", 415, "Unsupported media type",
    "Send application/json; a batch may also be application/x-ndjson.",
)  # fmt: skip
BAD_REQUEST = Problem("bad-request", 400, "Bad request", "The request itself cannot be read.")
REQUEST_TIMEOUT = Problem(
    "request-timeout", 408, "The request took too long",
    "Its head must be there within 30 s, its body within 300 s. Nothing was taken: send it again.",
)  # fmt: skip
HEAD_TOO_LARGE = Problem(
    "head-too-large", 431, "Request line and headers too large", "They are at most 64 KiB together."
)
PARAMETER = Problem(
    "bad-parameter", 422, "Bad parameter", "A query or path parameter is not what it must be."
)

PROBLEMS: dict[type[LedgerError], Problem] = {
    errors.NotJSON: Problem(
        "not-json", 400, "Not strict JSON",
        "Events are strict JSON (RFC 8259, I-JSON): UTF-8, no duplicate keys, no floats (decimals are "
        "strings), integers within ±(2^53 − 1), no U+0000, no lone surrogates, at most 32 levels.",
    ),
    errors.MalformedEvent: Problem(
        "malformed-event", 422, "Malformed event",
        "The JSON is not an event of a known kind. `errors` points to each place. Nothing was "
        "written. The schemas of all kinds are at /v1/kinds.",
    ),
    errors.BadSignature: Problem(
        "bad-signature", 422, "A signature does not hold",
        "A signature is DSSE over the canonical event, by a key that the speaker has registered in the "
        "contract (key.registered) and not retired. `errors` points to each that is not so. Nothing was "
        "written.",
    ),
    errors.TooLarge: Problem(
        "too-large", 413, "Too large", "An event is at most 1 MiB, a batch at most 16 MiB and 1,000 events, "
        "a bundle at most 64 MiB and 10,000 entries.",
    ),
    errors.Conflict: Problem(
        "id-conflict", 409, "Id taken by another event",
        "An id names one attempt of a party. The same id with the same content gives the same entry "
        "again; other content needs a new id.",
    ),
    errors.Erased: Problem(
        "erased", 409, "Id taken by an event that was erased",
        "What was committed under this id has been erased with its salt, so nobody can say whether it was "
        "the same. Its entry stands: `index` names it. A new event needs a new id.",
    ),
    errors.NotFound: NOT_FOUND,
    errors.QueueFull: Problem(
        "queue-full", 429, "Too many events are waiting",
        "Nothing was taken. Send again after the time in Retry-After.",
    ),
    QuotaExceeded: Problem(
        "quota-exceeded", 429, "The key has used its quota",
        "Nothing was taken. Send again after the time in Retry-After; `RateLimit` says which quota it is.",
    ),
    errors.Unavailable: Problem(
        "unavailable", 503, "The database is away or busy",
        "This attempt committed nothing. Send the same event again after the time in Retry-After.",
    ),
    errors.OutcomeUnknown: Problem(
        "outcome-unknown", 503, "It is not known whether the event was committed",
        "Send the same event with the same id again: the answer will be the one entry it has, or a new one.",
    ),
    errors.SigningFailed: Problem(
        "signing-failed", 503, "Committed, but the checkpoint could not be signed",
        "Send the same event with the same id again to get its receipt.",
    ),
    errors.AppendFailed: Problem(
        "append-failed", 500, "The event could not be judged",
        "The service has a bug. The event was not committed; others were not affected.",
    ),
    errors.RefusesToWrite: Problem(
        "refuses-to-write", 503, "This process may not write to the log",
        "The database belongs to another version, name or key of the ledger. An operator must act.",
    ),
    errors.StoreFailed: Problem(
        "store-failed", 503, "The checkpoint kept outside the database cannot be used",
        "Nothing was committed. An operator must look at the checkpoint store.",
    ),
    errors.VerificationError: Problem(
        "integrity", 500, "The stored data does not verify",
        "What the database holds is not what was committed. Tell the operator, and verify an export.",
    ),
    errors.UnusableInput: Problem(
        "unusable-input", 400, "Unusable input", "This is not the kind of document that was asked for."
    ),
    Unauthenticated: Problem(
        "unauthenticated", 401, "No valid API key", "Send `Authorization: Bearer clk_...`."
    ),
    PolicyDocumentError: Problem(
        "malformed-policy", 422, "Malformed policy document",
        "The text is not a policy document. Each error gives line and column, and the nearest known name.",
    ),
    EmbeddedError: Problem(
        "no-database", 503, "The embedded PostgreSQL does not run",
        "An operator must look at the server's log.",
    ),
    UnsupportedMedia: MEDIA,
    NotYet: Problem(
        "not-yet", 412, "Not as far as min_index yet",
        "The answer would be older than what the caller knows. Ask again after the time in Retry-After.",
    ),
    Forbidden: Problem("forbidden", 403, "Not allowed", "The key's role or party may not do this."),
}  # fmt: skip

CATALOGUE = {
    problem.name: problem
    for problem in (
        *PROBLEMS.values(),
        DENIED,
        INTERNAL,
        METHOD,
        MEDIA,
        BAD_REQUEST,
        PARAMETER,
        REQUEST_TIMEOUT,
        HEAD_TOO_LARGE,
    )
}


def problem_of(error: LedgerError) -> Problem:
    """The most specific problem of an error."""
    for ancestor in type(error).__mro__:
        if ancestor in PROBLEMS:
            return PROBLEMS[ancestor]
    return INTERNAL


def body_of(problem: Problem, *, detail: str = "", request_id: str = "", **extra: Any) -> dict[str, Any]:
    """The members of a problem document."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail or problem.help,
    }
    if request_id:
        body["instance"] = f"urn:chipledger:request:{request_id}"
    return {**body, **extra}


def describe(error: LedgerError, *, request_id: str = "") -> dict[str, Any]:
    """The problem document of an error."""
    problem = problem_of(error)
    if problem is INTERNAL:
        return body_of(problem, request_id=request_id)
    extra: dict[str, Any] = {}
    if isinstance(error, MalformedInput):
        extra["errors"] = [{"pointer": f.pointer, "detail": f.detail} for f in error.faults]
    if isinstance(error, errors.Conflict):
        extra["index"] = error.index
    if isinstance(error, QuotaExceeded):
        extra |= {
            "quota": error.quota,
            "limit": error.limit,
            "window_s": error.window_s,
            "retry_after_s": error.retry_after_s,
        }
    return body_of(problem, detail=str(error), request_id=request_id, **extra)


def answer(body: dict[str, Any]) -> Answer:
    """The answer that a problem document is, to an exchange."""
    # A 404 may be kept by any cache (RFC 9110 §15.5.5), and a tile that is not there is there tomorrow.
    headers = {"cache-control": "no-store"}
    if body["status"] in (412, 429, 503):
        headers["retry-after"] = str(body.get("retry_after_s", RETRY_AFTER_S))
    if "quota" in body:  # draft-ietf-httpapi-ratelimit-headers
        headers["ratelimit-policy"] = f'"{body["quota"]}";q={body["limit"]};w={body["window_s"]}'
        headers["ratelimit"] = f'"{body["quota"]}";r=0;t={body["retry_after_s"]}'
    if body["status"] == 401:
        headers["www-authenticate"] = 'Bearer realm="chipledger"'
    return Answer(body["status"], orjson.dumps(body), MEDIA_TYPE, headers)


def render(body: dict[str, Any]) -> Response:
    """The response that a problem document is, to a request."""
    found = answer(body)
    return Response(found.body, found.status, found.headers, found.media_type)
