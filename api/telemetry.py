"""Logs, metrics, and the outermost layer of the service, which gives each request its id."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from traceback import format_tb
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.exchange import Answer, Exchange, Handler
from api.webhooks.lanes import Webhooks
from ledger.errors import LedgerError
from ledger.publisher import Publisher
from ledger.scheduler import Scheduler
from ledger.sequencer import Sequencer
from ledger.timestamping import Timestamping
from ledger.witnessing import Witnessing, failing

log = structlog.get_logger("api")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"clk_[\w-]+")
QUERY_CHARS_MAX = 500
_ENCODER = json.JSONEncoder(default=repr, separators=(",", ":"))


def configure_logging(level: str) -> None:
    """JSON lines to standard error, of our own logs and the libraries'."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_traceback),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dump)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(serializer=_dumps), foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _dump(value: Any, **_: Any) -> bytes:
    """As `_dumps`, by the faster encoder where that gives the same: a line for each request."""
    raw = orjson.dumps(value, default=repr)
    return raw if raw.isascii() and b"\x7f" not in raw else _dumps(value).encode()


def _dumps(value: Any, **_: Any) -> str:
    """ASCII alone: no value can begin a line of its own, move a terminal's cursor or turn text around."""
    return _ENCODER.encode(value).replace("\x7f", "\\u007f")


def _traceback(exc_info: tuple[type[BaseException], BaseException, Any]) -> str:
    """Where it happened, through every cause, in types and places.

    Without the errors' own words: those of a database or a parser quote what was submitted.
    """
    error: BaseException | None = exc_info[1]
    told: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        state = getattr(error, "sqlstate", None)
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        told.append(f"{name}{f' ({state})' if state else ''}\n{''.join(format_tb(error.__traceback__))}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "caused by ".join(told)


class Metrics:
    """The Prometheus metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "chipledger_request_seconds", "Time to answer, by route and status.",
            ["method", "route", "status"], registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )  # fmt: skip
        self._events = Counter(
            "chipledger_events_total", "Events answered, by outcome.", ["outcome"], registry=self.registry
        )  # fmt: skip
        self._counters: dict[str, Counter] = {}
        self.queued = Gauge(
            "chipledger_queued_events", "Events that wait to be committed.", registry=self.registry
        )
        self.batches = Gauge(
            "chipledger_batches", "Transactions that appended, since start.", registry=self.registry
        )
        self.size = Gauge("chipledger_tree_size", "Entries in the log.", registry=self.registry)

        self.scheduled = Gauge(
            "chipledger_scheduler_ran_timestamp_seconds",
            "When everything that was due had last been said; 0: not since start.",
            registry=self.registry,
        )
        self.published = Gauge(
            "chipledger_checkpoint_kept_timestamp_seconds",
            "When the head was last seen kept outside the database; 0: not since start.",
            registry=self.registry,
        )

        self.witnessed = Gauge(
            "chipledger_witnessed_tree_size",
            "Entries of the last checkpoint that enough witnesses have cosigned.",
            registry=self.registry,
        )
        self.witnesses_failing = Gauge(
            "chipledger_witnesses_failing",
            "Witnesses that did not cosign the last checkpoint they were asked for.",
            registry=self.registry,
        )
        self.stamped = Gauge(
            "chipledger_timestamp_seconds",
            "Time in the last timestamp of a checkpoint; 0: none is known.",
            registry=self.registry,
        )

        self._webhooks = Histogram(
            "chipledger_webhook_seconds",
            "Time of one attempt, by lane and how it went.",
            ["lane", "outcome"],
            registry=self.registry,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 15),
        )
        self._backlog = Gauge(
            "chipledger_webhook_deliveries", "Not delivered, by lane and state.", ["lane", "state"],
            registry=self.registry,
        )  # fmt: skip
        self._oldest = Gauge(
            "chipledger_webhook_oldest_seconds",
            "Age of the oldest delivery that waits, or entry that nobody was queued for yet.",
            ["lane"],
            registry=self.registry,
        )
        self._behind = Gauge(
            "chipledger_webhook_entries_behind", "Entries that nobody was queued for yet.", ["lane"],
            registry=self.registry,
        )  # fmt: skip

    def webhook(self, lane: str, outcome: str, seconds: float) -> None:
        """One attempt of a webhook: delivered, failed or dead."""
        self._webhooks.labels(lane, outcome).observe(seconds)

    def count(self, outcome: str, events: int = 1) -> None:
        """So many more events were answered."""
        counter = self._counters.get(outcome)
        if counter is None:  # a look-up by label takes a lock and costs more than the count
            counter = self._counters[outcome] = self._events.labels(outcome)
        counter.inc(events)

    def observe(
        self,
        sequencer: Sequencer,
        scheduler: Scheduler,
        publisher: Publisher,
        witnessing: Witnessing | None,
        timestamping: Timestamping | None,
        webhooks: Webhooks,
    ) -> None:
        """Bring the gauges up to date."""
        self.published.set(_seconds(publisher.published_at))
        self.scheduled.set(_seconds(scheduler.ran_at))
        self.queued.set(sequencer.queued)
        self.batches.set(sequencer.batches)
        self.size.set(sequencer.size)
        if witnessing is not None:
            self.witnessed.set(witnessing.size)
            self.witnesses_failing.set(failing(witnessing.witnesses))
        if timestamping is not None:
            self.stamped.set(_seconds(timestamping.stamped_at))
        for lane, backlog in webhooks.backlog.items():
            self._backlog.labels(lane, "waiting").set(backlog.waiting)
            self._backlog.labels(lane, "dead").set(backlog.dead)
            self._oldest.labels(lane).set(backlog.oldest_s)
            self._behind.labels(lane).set(backlog.behind)


def _seconds(at: datetime | None) -> float:
    return 0 if at is None else at.timestamp()


class Edge:
    """Gives every request an id, a log line and a measurement, and every error its problem.

    The write routes are answered here, ahead of the application's router and its middleware.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, direct: Mapping[str, Handler], *, lines: bool = True
    ) -> None:
        """`lines`: whether each request leaves a line in the log."""
        self._app = app
        self._metrics = metrics
        self._direct = direct
        self._lines = lines
        self._observed: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _plain_refusal(scope, send))
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            # As GET, and the server leaves the body out. A scope of our own: the server's must say HEAD.
            scope = {**scope, "method": "GET"}
        request_id = _request_id(dict(scope["headers"]))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500
        begun = False

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        direct = scope["path"] in self._direct
        try:
            if direct:
                await _post_only(request_id)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = GONE
        except Exception:
            log.exception("request_failed", request_id=request_id, path=_shown(scope["path"], 200))
            if not begun:
                body = problems.body_of(problems.INTERNAL, request_id=request_id)
                await problems.render(body)(scope, receive, answer)
        finally:
            route = scope["path"] if direct else getattr(scope.get("route"), "path", "other")
            key_id = scope["state"].get("key_id")
            # What a key was shown, and not only where: of what was refused, nothing is known to be harmless.
            query = scope["query_string"].decode("latin-1") if key_id is not None and status < 400 else ""
            self._record(started, route, method, scope["path"], status, request_id, key_id, query)

    def handler(self, scope: Scope) -> Handler | None:
        """Implements `Direct`."""
        return self._direct.get(scope["path"]) if scope["method"] == "POST" else None

    async def exchange(self, exchange: Exchange, handler: Handler) -> None:
        """Implements `Direct`."""
        started = time.perf_counter()
        exchange.request_id = request_id = _request_id(exchange.headers)
        status = 500
        try:
            answer = await _answered(handler, exchange)
            status = answer.status
            await exchange.answer(answer)
        except ClientDisconnect:
            status = GONE
        finally:
            exchange.close()
            path = exchange.path
            self._record(started, path, "POST", path, status, request_id, exchange.key_id)

    def _record(
        self,
        started: float,
        route: str,
        method: str,
        path: str,
        status: int,
        request_id: str,
        key_id: str | None,
        query: str = "",
    ) -> None:
        seconds = time.perf_counter() - started
        known = method if method in ("GET", "POST", "PUT", "HEAD", "OPTIONS") else "other"
        key = known, route, status
        observed = self._observed.get(key)
        if observed is None:
            observed = self._observed[key] = self._metrics.requests.labels(known, route, str(status))
        observed.observe(seconds)
        if self._lines:
            _log_request(
                request_id=request_id,
                method=method,
                path=_shown(path, 200),
                **({"query": _shown(query, QUERY_CHARS_MAX)} if query else {}),
                status=status,
                ms=round(seconds * 1000, 2),
                key=key_id,
            )


def _plain_refusal(scope: Scope, send: Send) -> Send:
    """Says why the service does not start in its own words, where there are some, and not in a traceback."""

    async def say(message: Message) -> None:
        refusal = getattr(scope["app"].state, "refusal", None)
        if message["type"] == "lifespan.startup.failed" and refusal is not None:
            message = {**message, "message": refusal}
        await send(message)

    return say


GONE = 499
"""It left before it had sent all: nobody to answer, and no bug of ours."""


def _post_only(request_id: str) -> Response:
    response = problems.render(problems.body_of(problems.METHOD, request_id=request_id))
    response.headers["allow"] = "POST"
    return response


async def _answered(handler: Handler, exchange: Exchange) -> Answer:
    try:
        return await handler(exchange)
    except LedgerError as error:
        return problems.answer(problems.describe(error, request_id=exchange.request_id))
    except ClientDisconnect:
        raise
    except Exception:
        request_id = exchange.request_id
        log.exception("request_failed", request_id=request_id, path=_shown(exchange.path, 200))
        return problems.answer(problems.body_of(problems.INTERNAL, request_id=request_id))


def _log_request(**values: Any) -> None:
    """As `log.info("request", ...)` would, for a tenth of what its processors cost."""
    timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    out = sys.stderr.buffer
    out.write(_dump({**values, "event": "request", "level": "info", "timestamp": timestamp}) + b"\n")
    out.flush()


def _shown(text: str, chars_max: int) -> str:
    """The beginning of it, and no API key that somebody put there."""
    return (_KEY.sub("clk_...", text) if "clk_" in text else text)[:chars_max]


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
