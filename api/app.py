"""The application: routes, errors, documentation, and the life of the service around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from api import anchors, audit, bundle, explanation, integrity, operate, problems, proofs, tiles
from api.auth import Keyring
from api.database import Logins
from api.evaluate import Evaluation
from api.examine.examiner import Examiner
from api.examine.look import Pace
from api.key_uses import KeyUses
from api.openapi import DESCRIPTION, described
from api.places import store_of
from api.quotas import Quotas
from api.settings import Settings
from api.submit import Door
from api.telemetry import Edge, Metrics
from api.watch import Intervals, Watch
from api.watchman import IntegrityMetrics, Watchman
from api.webhooks import routes, vault
from api.webhooks.lanes import Webhooks
from api.wiring import Service, SimulatedClock, system_clock
from ledger import keys
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import Fault, LedgerError, StoreFailed
from ledger.event import faults_from
from ledger.note import Verifier
from ledger.publisher import Publisher
from ledger.reader import Reader
from ledger.reports import Reports
from ledger.scheduler import Scheduler
from ledger.sequencer import Sequencer
from ledger.watch_memory import MemoryFile
from policies.engine import Engine

log = structlog.get_logger("api")
SLICE_ENTRIES = 32
REST = 4.0
"""A look takes a fifth of one core's time at most: the committer shares it."""
FACTS_MAX = 200_000
"""Of more facts the service keeps no second copy between looks: `chipledger watch` does, elsewhere."""
STATIC = Path(__file__).parent / "static"


def build(settings: Settings, logins: Logins) -> Edge:
    """The ASGI application of one service."""
    passphrase = settings.key_passphrase
    made = not settings.key_path.exists()
    signer = keys.load_or_create(
        settings.key_path,
        origin=settings.origin,
        passphrase=passphrase.get_secret_value().encode() if passphrase is not None else None,
    )
    if made:  # where a log is there already, its key is elsewhere
        log.warning("checkpoint_key_made", file=str(settings.key_path), key=str(signer.verifier))
    reader = Reader(logins.reader)
    clock = SimulatedClock(datetime(2027, 1, 1, tzinfo=UTC)) if settings.clock == "simulated" else None
    metrics = Metrics()
    store = store_of(settings, signer)
    sequencer = Sequencer(logins.writer, judge=Engine(), signer=signer, clock=clock, store=store)
    keyring = Keyring(reader)
    uses = KeyUses(logins.writer, keyring)
    quotas = Quotas(
        events_per_minute=settings.events_per_minute,
        denials_per_hour=settings.denials_per_hour,
        reads_per_minute=settings.reads_per_minute,
    )
    service = Service(
        reader=reader,
        sequencer=sequencer,
        scheduler=Scheduler(sequencer, reader, clock or system_clock),
        publisher=Publisher(reader, signer, store),
        witnessing=anchors.witnessing_of(settings, reader, logins.writer, signer),
        timestamping=anchors.timestamping_of(settings, reader, logins.writer, signer),
        webhooks=Webhooks(
            logins.writer,
            reader,
            signer,
            store,
            vault.load_or_create(settings.webhook_key_path),
            allowed_hosts=settings.allowed_hosts,
            told=metrics.webhook,
        ),
        keyring=keyring,
        quotas=quotas,
        signer=signer,
        metrics=metrics,
        clock=clock,
        watchman=_watchman(
            settings, logins, signer.verifier, store, sequencer, metrics, clock or system_clock
        ),
    )
    followers = [one for one in (service.witnessing, service.timestamping) if one is not None]
    door = Door(keyring, quotas, reader, sequencer, metrics, service.now)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await reader.open()
        try:
            try:
                await service.sequencer.open()
                await _keep_first(service.publisher)
            except LedgerError as error:
                app.state.refusal = str(error)
                raise
            service.scheduler.open()
            service.publisher.open()
            uses.open()
            service.watchman.open()
            await service.webhooks.open()
            for follower in followers:
                follower.open()
            yield
        finally:
            await service.watchman.close()
            for follower in followers:
                await follower.close()
            await service.webhooks.close()
            await service.scheduler.close()
            await service.sequencer.close()
            await service.publisher.close()
            await uses.close()
            await reader.close()

    app = FastAPI(
        title="chipledger",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.bundling = asyncio.Semaphore(bundle.AT_ONCE_MAX)
    app.include_router(audit.router)
    app.include_router(explanation.router)
    app.include_router(bundle.router)
    app.include_router(proofs.router)
    app.include_router(tiles.router)
    app.include_router(routes.router)
    app.include_router(operate.router)
    app.include_router(integrity.router)
    if clock is not None:
        app.include_router(operate.clock_router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/docs", _documentation, include_in_schema=False)
    app.add_exception_handler(LedgerError, _ledger_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # as FastAPI has it extended
    return Edge(
        app,
        metrics,
        {
            "/v1/events": door.submit_event,
            "/v1/events:batch": door.submit_batch,
            "/v1/events:evaluate": Evaluation(door, reader).evaluate_event,
        },
        lines=settings.log_level in ("debug", "info"),
    )


async def _keep_first(publisher: Publisher) -> None:
    """Raise StoreFailed for a store that keeps nothing: a log that lost its end would go unnoticed."""
    try:
        await publisher.publish()
    except StoreFailed:
        raise
    except LedgerError:  # a replica that is away: what is read is no condition of a start
        return


def _watchman(
    settings: Settings,
    logins: Logins,
    verifier: Verifier,
    store: CheckpointStore,
    sequencer: Sequencer,
    metrics: Metrics,
    now: Callable[[], datetime],
) -> Watchman:
    """Looks through the reader's login, in small slices, and rests between them."""
    memory = MemoryFile(settings.store_path, verifier.name)
    examiner = Examiner(
        verifier,
        pace=Pace(slice_entries=SLICE_ENTRIES, rest=REST),
        facts_max=FACTS_MAX,
        vouchers=anchors.vouchers_of(settings.witness_policy, settings.timestamp_roots),
    )
    return Watchman(
        Watch(logins.reader, verifier, store, memory, examiner),
        memory,
        Reports(logins.writer, logins.reader),
        sequencer,
        IntegrityMetrics(metrics.registry),
        origin=verifier.name,
        now=now,
        intervals=Intervals.of(settings),
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title="chipledger",
            version="1",
            description=DESCRIPTION,
            routes=app.routes,
        )
        app.openapi_schema = described(schema)
    return app.openapi_schema


async def _documentation() -> HTMLResponse:
    """Swagger UI out of our own files: nothing is loaded from outside."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="chipledger",
        swagger_js_url="/static/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui.css",
        swagger_favicon_url="/static/favicon.svg",
        swagger_ui_parameters={"validatorUrl": None},
    )
    # The page's own script is inline; everything else comes from this origin.
    page.headers["content-security-policy"] = (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:"
    )
    return page


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


async def _ledger_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError)
    return problems.render(problems.describe(error, request_id=_request_id(request)))


async def _bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: list[Fault] = faults_from(error.errors())
    body = problems.body_of(
        problems.PARAMETER,
        detail="; ".join(f"{fault.pointer} {fault.detail}" for fault in faults),
        request_id=_request_id(request),
        errors=[{"pointer": fault.pointer, "detail": fault.detail} for fault in faults],
    )
    return problems.render(body)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: problems.NOT_FOUND, 405: problems.METHOD, 415: problems.MEDIA}
    problem = known.get(error.status_code, problems.BAD_REQUEST)
    body = problems.body_of(problem, request_id=_request_id(request))
    response = problems.render(body)
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, _: Exception) -> Response:
    """Starlette raises the error again behind this answer: `Edge` logs it."""
    return problems.render(problems.body_of(problems.INTERNAL, request_id=_request_id(request)))
