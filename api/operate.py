"""Probes, metrics, the pages of problems, and the clock of a simulated ledger."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from api import problems
from api.auth import Forbidden, KeyHolder
from api.exchange import read_body
from api.schemas import ClockView, ReadyView
from api.wiring import service_of
from ledger.canonical import parse
from ledger.errors import LedgerError, NotFound
from ledger.values import format_timestamp

CLOCK_BYTES_MAX = 1_024

router = APIRouter(tags=["operation"])
clock_router = APIRouter(tags=["operation"])


@router.get("/livez", response_model=dict[str, bool])
async def livez() -> dict[str, bool]:
    """The process answers. It does not ask the database."""
    return {"alive": True}


@router.get("/readyz", response_model=ReadyView, responses={503: {"model": ReadyView}})
async def readyz(request: Request) -> Response:
    """The database answers, and the ledger is open."""
    try:
        head = await service_of(request).reader.head()
        head.check_key(service_of(request).signer)
    except LedgerError as error:
        return JSONResponse({"ready": False, "detail": str(error)}, 503, {"retry-after": "1"})
    return JSONResponse({"ready": True, "tree_size": head.size})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus metrics of this process."""
    service = service_of(request)
    service.metrics.observe(
        service.sequencer, service.scheduler, service.publisher, service.witnessing, service.timestamping,
        service.webhooks,
    )  # fmt: skip
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems/{name}", response_class=HTMLResponse)
async def problem_page(name: Annotated[str, Path(max_length=64)]) -> HTMLResponse:
    """What a type of problem means and what helps."""
    problem = problems.CATALOGUE.get(name)
    if problem is None:
        raise NotFound(f"there is no problem {name}")
    title, words = escape(problem.title), escape(problem.help)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>HTTP {problem.status}</p><p>{words}</p></html>"
    )


@clock_router.put(
    "/v1/clock",
    response_model=ClockView,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ClockView"}}},
        }
    },
)
async def set_clock(request: Request, caller: KeyHolder) -> dict[str, Any]:
    """Move the clock of a simulated ledger forward, saying on the way what falls due.

    A real ledger does not have this.
    """
    if caller.role != "operator":
        raise Forbidden("an operator's key sets the clock")
    body = parse(await read_body(request, CLOCK_BYTES_MAX))
    try:
        asked = ClockView.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    service = service_of(request)
    clock = service.clock
    assert clock is not None
    await service.scheduler.advance(asked.now, clock.set)
    return {"now": format_timestamp(clock())}
