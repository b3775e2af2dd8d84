"""The service as a process: logging, database, uvicorn."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn

from api import database
from api.app import build
from api.connection import DirectProtocol
from api.settings import Settings, unknown_among
from api.telemetry import Edge, configure_logging

GRACE_S = 20
"""How long requests in flight have at shutdown."""


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. What was taken is finished first."""
    configure_logging(settings.log_level)
    for variable in unknown_among(os.environ):
        structlog.get_logger("server").warning("setting_unknown", variable=variable)
    # uvicorn raises the signal once more when it has shut down. Left to the default, that would kill
    # the process right there: with a status that says failure, and the embedded server still running.
    signal.signal(signal.SIGTERM, _end)
    with database.opened(settings, begin=True) as logins:
        database.refuse_unfit(logins)
        _tune_collector()
        server = Server(config_of(settings, build(settings, logins)))
        server.run()
    if not server.started:
        sys.exit(1)


class Server(uvicorn.Server):
    """Says that it listens once it does: a start may be refused, or the port be taken."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            address = f"http://{self.config.host}:{self.config.port}"
            structlog.get_logger("server").info("listening", address=address)


def _tune_collector() -> None:
    """Look for reference cycles seldom: events leave none, and each look walks the remembered facts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def config_of(settings: Settings, app: Edge) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=DirectProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        headers=[("x-content-type-options", "nosniff")],
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=None,
    )
