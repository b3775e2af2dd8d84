"""The write routes' own way through uvicorn: a request read and its answer written, without ASGI between.

ASGI's messages, and its checks of headers that we spell ourselves, cost more than to judge an event
(decision 4). Parsing, flow control, pipelining, time-outs and shutdown stay uvicorn's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from starlette.requests import Request
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from ledger.errors import TooLarge


class Answer(NamedTuple):
    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


class Exchange:
    """One request, and the place for its answer."""

    __slots__ = ("_cycle", "headers", "key_id", "path", "request_id")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self.path = cycle.scope["path"]
        self.headers = dict(reversed(list(cycle.scope["headers"])))
        """By name in lower case; of two that have one name, the first."""
        self.request_id = ""
        self.key_id: str | None = None

    @property
    def accept_language(self) -> str:
        return self.headers.get(b"accept-language", b"").decode("latin-1")

    @property
    def answered(self) -> bool:
        return self._cycle.response_started

    async def body(self, limit: int) -> bytes:
        """TooLarge as soon as it is known to be longer than `limit` bytes."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or len(cycle.body) > limit:
            scope: Any = cycle.scope  # uvicorn's types of ASGI are narrower than Starlette's
            receive: Any = cycle.receive
            return await read_body(Request(scope, receive), limit)
        return bytes(cycle.body)

    async def answer(self, answer: Answer) -> None:
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.write(self._spelled(answer))
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _spelled(self, answer: Answer) -> bytes:
        cycle = self._cycle
        lines = [
            f"content-type: {answer.media_type}",
            f"content-length: {len(answer.body)}",
            f"x-request-id: {self.request_id}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        if not cycle.keep_alive:
            lines.append("connection: close")
        return b"".join(
            (
                STATUS_LINE[answer.status],
                *(b"%b: %b\r\n" % header for header in cycle.default_headers),
                "\r\n".join((*lines, "\r\n")).encode("latin-1"),
                answer.body,
            )
        )

    def close(self) -> None:
        """Without an answer there is nothing to wait for."""
        if not self.answered and not self._cycle.disconnected:
            self._cycle.transport.close()


Handler = Callable[[Exchange], Awaitable[Answer]]


class Direct(Protocol):
    """An application that answers some routes by exchanges, and the rest by ASGI."""

    def handler(self, scope: Scope) -> Handler | None: ...

    async def exchange(self, exchange: Exchange, handler: Handler) -> None:
        """Answers in any case."""
        ...


async def read_body(request: Request, limit: int) -> bytes:
    """The body; TooLarge as soon as it is known to be longer than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"the body is {declared} bytes, must be at most {limit}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is longer than {limit} bytes")
    return bytes(body)
