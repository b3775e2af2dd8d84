"""The routes of webhooks: endpoints of an organisation's own, and the record of what they were told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api.audit import next_link, readable_entry
from api.auth import Caller, Forbidden, KeyHolder
from api.exchange import read_body
from api.schemas import INDEX_MAX, Reading
from api.webhooks import endpoints, records
from api.webhooks.endpoints import Endpoint, Wanted, must_be_enabled, must_be_verified
from api.webhooks.handshake import Sent
from api.webhooks.lanes import Webhooks
from api.webhooks.network import check_url
from api.webhooks.records import AttemptRecord, Record
from api.webhooks.views import (
    DELIVERY,
    ENDPOINT,
    DeliveryPage,
    DeliveryQuery,
    DeliveryView,
    DeliveryWithAttempts,
    EndpointDeleted,
    EndpointPage,
    EndpointQuery,
    EndpointView,
    EndpointWithSecret,
    NewEndpoint,
    NoticePage,
    NoticeQuery,
    Replay,
    ReplayView,
    Tried,
    VerificationView,
)
from api.wiring import service_of
from ledger.canonical import parse
from ledger.facts import Acknowledgements, Contract
from ledger.kinds.license import LicenseRevoked
from ledger.loading import StoredEntry
from ledger.reader import Reader
from policies.obligations.revocation import RevocationAcknowledgement

BODY_BYTES_MAX = 64 << 10
DUTY = ("policy", "version", "obligation", "due", "state", "met")
"""What is shown of a duty to confirm."""

router = APIRouter(prefix="/v1", tags=["webhooks"])
EndpointPath = Annotated[str, Path(pattern=ENDPOINT)]
DeliveryPath = Annotated[str, Path(pattern=DELIVERY)]
ModelT = TypeVar("ModelT", bound=BaseModel)


def _takes(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        }
    }


async def _asked(request: Request, model: type[ModelT]) -> ModelT:
    body = parse(await read_body(request, BODY_BYTES_MAX))
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _webhooks(request: Request) -> Webhooks:
    return service_of(request).webhooks


# --- endpoints ------------------------------------------------------------------------------------


@router.post(
    "/webhooks", response_model=EndpointWithSecret, status_code=201, openapi_extra=_takes(NewEndpoint)
)
async def create_webhook(request: Request, caller: KeyHolder) -> dict[str, Any]:
    """Make an endpoint. Its secret is shown once; it is told nothing before it is verified.

    It is told what a key of the same role and party may read, as long as there is such a key.
    """
    asked = await _asked(request, NewEndpoint)
    webhooks = _webhooks(request)
    check_url(asked.url, webhooks.allowed_hosts)
    async with webhooks.connection() as connection:
        made = await endpoints.create(connection, webhooks.vault, Wanted(**asked.model_dump()), caller)
    return {**_view(made.endpoint), "secret": made.secret}


@router.get("/webhooks", response_model=EndpointPage)
async def list_webhooks(
    request: Request, response: Response, caller: KeyHolder, query: Annotated[EndpointQuery, Query()]
) -> dict[str, Any]:
    """The endpoints of the key's organisation, in order of their ids; an operator sees all."""
    async with _webhooks(request).connection() as connection:
        found = await endpoints.listed(connection, caller, after=query.after or "", limit=query.limit + 1)
    page = found[: query.limit]
    following = page[-1].id if len(found) > query.limit else None
    response.headers.update(next_link(request, following))
    return {"endpoints": [_view(one) for one in page], "next": following}


@router.get("/webhooks/{endpoint}", response_model=EndpointView)
async def get_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """One endpoint, without its secret."""
    async with _webhooks(request).connection() as connection:
        return _view(await endpoints.owned(connection, endpoint, caller))


@router.delete("/webhooks/{endpoint}", response_model=EndpointDeleted)
async def delete_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Delete an endpoint for good: its secrets are wiped, and what waits for it is given up.

    A revocation that waits is a dead letter and goes to whom it escalates to. So does one that another
    endpoint escalates here. What it was told stays on record, `/webhooks/{endpoint}/deliveries` too.
    """
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        await endpoints.owned(connection, endpoint, caller)
        ended, escalating = await endpoints.delete(connection, endpoint, "deleted by its owner")
        found = await endpoints.owned(connection, endpoint, caller, deleted=True)
    webhooks.wake()
    return {**_view(found), "ended": ended, "escalating": [one.id for one in escalating if one.is_of(caller)]}


@router.post("/webhooks/{endpoint}:verify", response_model=VerificationView)
async def verify_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Send a signed challenge. The endpoint is enabled if its answer, a 2xx, repeats `data.challenge`.

    So whoever owns the URL agrees to be told. From then on new entries go there.
    """
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
    service_of(request).quotas.call(caller)
    sent = await webhooks.hand.verify(found)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
    return {"endpoint": _view(found), **_tried(sent)}


@router.post("/webhooks/{endpoint}:test", response_model=Tried)
async def test_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Send a signed test event now, once, and tell what came of it."""
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
    service_of(request).quotas.call(caller)
    return _tried(await webhooks.hand.test(found))


@router.post("/webhooks/{endpoint}:enable", response_model=EndpointView)
async def enable_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Go on with an endpoint that was disabled. What it was not told meanwhile: see `:replay`."""
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
        must_be_verified(found)
        await endpoints.enable(connection, found, verified=False)
        found = await endpoints.owned(connection, endpoint, caller)
    webhooks.wake()
    return _view(found)


@router.post("/webhooks/{endpoint}:disable", response_model=EndpointView)
async def disable_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Tell it nothing more. A revocation that it is not told of is a dead letter, and goes to whom it
    escalates to."""
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        await endpoints.owned(connection, endpoint, caller)
        await endpoints.disable(connection, endpoint, "by its owner")
        found = await endpoints.owned(connection, endpoint, caller)
    webhooks.wake()
    return _view(found)


@router.post("/webhooks/{endpoint}:rotate", response_model=EndpointWithSecret)
async def rotate_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """A new secret, shown once. For 24 hours the one before signs as well."""
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
        secret = await endpoints.rotate(connection, webhooks.vault, found)
        return {**_view(await endpoints.owned(connection, endpoint, caller)), "secret": secret}


@router.post("/webhooks/{endpoint}:replay", response_model=ReplayView, openapi_extra=_takes(Replay))
async def replay_webhook(request: Request, endpoint: EndpointPath, caller: KeyHolder) -> dict[str, Any]:
    """Queue entries again, from an index on or a range, page by page: go by `next`.

    Each keeps its `webhook-id`. Also entries of before the endpoint was made, as far as its filter and its
    key's rights go.
    """
    asked = await _asked(request, Replay)
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await endpoints.owned(connection, endpoint, caller)
        must_be_enabled(found)
        service_of(request).quotas.call(caller)
        placed = await webhooks.outbox.replay(
            connection, found, first=asked.from_index, last=asked.to_index, which=asked.which
        )
    webhooks.wake()
    return {"queued": placed.deliveries, "next": placed.next if placed.more else None}


# --- the record -----------------------------------------------------------------------------------


@router.get("/webhooks/{endpoint}/deliveries", response_model=DeliveryPage)
async def list_deliveries(
    request: Request,
    response: Response,
    endpoint: EndpointPath,
    caller: KeyHolder,
    query: Annotated[DeliveryQuery, Query()],
) -> dict[str, Any]:
    """What an endpoint was told of, is being told or could not be told, in order of index.

    Of one that is deleted, too.
    """
    async with _webhooks(request).connection() as connection:
        found = await records.of_endpoint(
            connection,
            await endpoints.owned(connection, endpoint, caller, deleted=True),
            after=query.after, limit=query.limit + 1, state=query.state,
        )  # fmt: skip
    page = found[: query.limit]
    following = page[-1].index if len(found) > query.limit else None
    response.headers.update(next_link(request, following))
    return {"deliveries": [_delivery(one, caller) for one in page], "next": following}


@router.get("/deliveries/{delivery}", response_model=DeliveryWithAttempts)
async def get_delivery(request: Request, delivery: DeliveryPath, caller: KeyHolder) -> dict[str, Any]:
    """One delivery: what was sent, and every attempt with what came back."""
    async with _webhooks(request).connection() as connection:
        found = await records.owned(connection, delivery, caller)
        body = await records.body_of(connection, delivery)
        if caller.withheld.asked:
            body = b""  # it was made for a key that may be shown more
        tried = await records.attempts_of(connection, delivery)
    return {
        **_delivery(found, caller),
        "body": orjson.loads(body) if body else None,
        "tried": [{**_attempt(one), "url": _url(one.url, found, caller)} for one in tried],
    }


@router.post("/deliveries/{delivery}:resend", response_model=DeliveryView)
async def resend_delivery(request: Request, delivery: DeliveryPath, caller: KeyHolder) -> dict[str, Any]:
    """Queue one delivery again, under the same `webhook-id`."""
    webhooks = _webhooks(request)
    async with webhooks.connection() as connection:
        found = await records.owned(connection, delivery, caller)
        if not found.is_of(caller):
            raise Forbidden(f"its owner or an operator has delivery {delivery} sent again")
        service_of(request).quotas.call(caller)
        await records.again(connection, found)
        found = await records.owned(connection, delivery, caller)
    webhooks.wake()
    return _delivery(found, caller)


@router.get("/entries/{index}/deliveries", response_model=NoticePage)
async def list_notices(
    request: Request,
    response: Response,
    index: Annotated[int, Path(ge=0, le=INDEX_MAX, description="Position in the log, from 0.")],
    caller: KeyHolder,
    query: Annotated[NoticeQuery, Query()],
) -> dict[str, Any]:
    """Who was told of an entry, when, and who could not be told; of a revocation also who has confirmed.

    A submitter sees what it was told itself, and what every party of its contract has confirmed.
    """
    reader, stored = await readable_entry(request, index, caller, Reading())
    async with _webhooks(request).connection() as connection:
        found = await records.of_entry(
            connection, index, caller, after=query.after or "", limit=query.limit + 1
        )
    page = found[: query.limit]
    following = page[-1].id if len(found) > query.limit else None
    response.headers.update(next_link(request, following))
    return {
        "deliveries": [_delivery(one, caller) for one in page],
        "next": following,
        **await _confirmed(reader, stored, caller),
    }


async def _confirmed(reader: Reader, stored: StoredEntry, caller: Caller) -> dict[str, Any]:
    body = stored.entry.bodies.get("event")
    revoked = stored.kind == LicenseRevoked.kind_name and stored.outcome != "denied"
    # Facts are folded from events: not for a key from which some of these are withheld.
    if not revoked or body is None or caller.withheld.events:
        return {"acknowledged": None, "outstanding": None, "duties": None}
    contract = str(stored.entry.header.contract)
    license_ = parse(body.value)["data"]["license"]
    known = await reader.fact(Acknowledgements, f"{contract}/{license_}")
    said = known.of(stored.index) if known is not None else ()
    parties = await reader.fact(Contract, contract)
    confirmed = {stored.party, *(one.party for one in said)}
    return {
        "acknowledged": [
            {
                "party": one.party,
                "index": one.index,
                "at": one.at,
                "after_s": (one.at - stored.recorded_at).total_seconds(),
            }
            for one in said
        ],
        "outstanding": [
            one.party for one in (parties.parties if parties else ()) if one.party not in confirmed
        ],
        "duties": [
            {**{name: getattr(one, name) for name in DUTY}, "party": one.subject.rpartition("/")[2]}
            for one in await reader.duties_of(stored, RevocationAcknowledgement.name)
        ],
    }


# --- parts ----------------------------------------------------------------------------------------


def _tried(sent: Sent) -> dict[str, Any]:
    made = sent.attempt
    answered = made.answered
    shown = AttemptRecord(
        1, made.at, made.url, made.timestamp, made.signature, made.latency_ms,
        None if answered is None else answered.status, made.error,
        None if answered is None else answered.body,
    )  # fmt: skip
    return {"delivery": sent.id, "arrived": sent.arrived, "attempt": _attempt(shown)}


def _view(endpoint: Endpoint) -> dict[str, Any]:
    shown = asdict(endpoint)
    until = shown.pop("previous_until")
    for secret in ("secret", "previous", "withholds"):
        del shown[secret]
    return {**shown, "rotates_until": until}


def _delivery(one: Record, caller: Caller) -> dict[str, Any]:
    shown = asdict(one)
    due = shown.pop("due_at")
    return {
        **shown,
        "url": _url(one.url, one, caller),
        "next_attempt_at": due if one.state == "waiting" else None,
    }


def _url(url: str, one: Record, caller: Caller) -> str:
    """Whole to its owner alone: whoever knows the rest of some could write there."""
    if one.is_of(caller):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _attempt(one: AttemptRecord) -> dict[str, Any]:
    response = None if one.response is None else one.response.decode("utf-8", "replace")
    return {**asdict(one), "response": response}
