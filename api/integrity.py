"""Whether the log is sound: from where to where, when and by whom it was last looked at."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError

from api.auth import Caller, Forbidden, KeyHolder
from api.exchange import read_body
from api.schemas import (
    IntegrityProbe,
    IntegrityView,
    LookView,
    WordsView,
)
from api.wiring import service_of
from ledger.canonical import parse
from ledger.errors import LedgerError
from ledger.watch_memory import Failure, Memory

BODY_BYTES_MAX = 16_384
EXPLANATIONS_SHOWN = 20
AskedT = TypeVar("AskedT", bound=BaseModel)

router = APIRouter(tags=["operation"])


def _asks(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.get("/integrityz", response_model=IntegrityProbe, responses={503: {"model": IntegrityProbe}})
async def integrityz(request: Request) -> Response:
    """Nothing was found in the log that nobody has explained. Neither liveness nor readiness: a restart
    mends nothing."""
    try:
        memory = await service_of(request).watchman.remembered()
    except LedgerError as error:
        return JSONResponse({"intact": False, "detail": str(error)}, 503)
    view = {"intact": _intact(memory), "looked_at": max(memory.ran.values(), default=None)}
    return JSONResponse(view, 503 if memory.failures else 200)


@router.get("/v1/integrity", response_model=IntegrityView)
async def get_integrity(request: Request, caller: KeyHolder) -> Response:
    """From where to where the log is known to be sound, the last look of each depth, and what was found."""
    if not caller.reads_everything:
        raise Forbidden("an auditor's, regulator's or operator's key asks for the integrity of the whole log")
    watchman = service_of(request).watchman
    memory = await watchman.remembered()
    view: dict[str, Any] = {
        "intact": _intact(memory),
        "verified": {
            "first": 0,
            "size": memory.verified.size,
            "root": memory.verified.root.hex(),
            "recorded_until": memory.verified.recorded_at or None,
        },
        "looks": await watchman.last(),
        "unexplained": [_failure(failure) for failure in memory.failures],
        "explanations": list(reversed(memory.explanations))[:EXPLANATIONS_SHOWN],
    }
    return JSONResponse(view)


@router.post(
    "/v1/integrity:verify",
    response_model=LookView,
    status_code=202,
    openapi_extra=_asks(LookView),
)
async def verify_integrity(request: Request, caller: KeyHolder) -> Response:
    """Look at the log as soon as the look that is under way has ended: `GET /v1/integrity` shows it."""
    _operator(caller)
    asked = await _body(request, LookView)
    service_of(request).watchman.ask(asked.depth)
    return JSONResponse({"depth": asked.depth}, 202)


@router.post(
    "/v1/integrity:explain",
    response_model=dict[str, int],
    openapi_extra=_asks(WordsView),
)
async def explain_integrity(request: Request, caller: KeyHolder) -> Response:
    """Say what came of the failures that were found. Until then no look passes; the log keeps the words."""
    _operator(caller)
    told = await _body(request, WordsView)
    failures = await service_of(request).watchman.explain(told.words, by=caller.key_id)
    return JSONResponse({"explained": len(failures)})


def _operator(caller: Caller) -> None:
    if caller.role != "operator":
        raise Forbidden("an operator's key does this")


async def _body(request: Request, model: type[AskedT]) -> AskedT:
    try:
        return model.model_validate(parse(await read_body(request, BODY_BYTES_MAX)))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _intact(memory: Memory) -> bool | None:
    """None: nobody has looked yet."""
    return not memory.failures if memory.ran else None


def _failure(failure: Failure) -> dict[str, Any]:
    return {**failure.finding.value(), "found_at": failure.found_at, "in_log": failure.said}
