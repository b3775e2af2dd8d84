"""A connection: which way its requests go, and what it may cost before anybody has shown a key.

Parsing, flow control, pipelining and shutdown are uvicorn's; on httptools it bounds neither the head of
a request, nor how many are sent ahead of their answers, nor how long any of it takes. And what came whole
is answered, whatever comes after it: only its sender would know what to do about an answer that is lost.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
import orjson
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api import problems
from api.exchange import Direct, Exchange
from api.problems import Problem

HEAD_BYTES_MAX = 64 << 10
"""Request line and headers; also what is in a body and none of it: sizes of chunks, and trailers."""
AHEAD_MAX = 100
"""Requests that wait for the answer to one before them (pipelining, RFC 9112 §9.3.2)."""
HEAD_S_MAX = 30.0
"""From the connection, or a request's first byte, until its head is there."""
BODY_S_MAX = 300.0
ANSWER_S_MAX = 300.0
"""How long an answer may wait for a client that does not read."""


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's protocol for an application that is `Direct`, with limits."""

    def __init__(self, *rest: Any, **options: Any) -> None:
        super().__init__(*rest, **options)
        self._in_head = self._in_body = False
        self._heads = self._heads_before = self._head_bytes = self._chunk_bytes = 0
        self._body_came = self._over = False
        self._patience: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        direct: Direct = self.config.app  # type: ignore[assignment] # what `config_of` was given
        handler = direct.handler(cast(Scope, cycle.scope))
        if handler is None:
            super()._start_asgi_task(cycle, app)
            return
        task = self.loop.create_task(direct.exchange(Exchange(cycle), handler))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- what comes in ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        self._wait(HEAD_S_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._taken()
        # uvicorn tells the last request alone, and one before it would go on writing.
        if self._answering is not None and not self._answering.response_complete:
            _left(self._answering)
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over or self.transport.is_closing():  # what follows a request that was refused
            return
        self._unset_keepalive_if_required()
        self._heads_before, self._chunk_bytes, self._body_came = self._heads, len(data), False
        try:
            self._feed(data)
        except httptools.HttpParserError:  # no HTTP, or what made a callback below fail
            self._refuse(problems.BAD_REQUEST)
            return
        reading = self._in_head or self._in_body
        if reading and self._heads == self._heads_before and not self._body_came:  # all of this head
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(problems.HEAD_TOO_LARGE)
                return
        # A request that comes whole in one piece, as nearly all do, costs no timer.
        if not reading and self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._patience is None:  # empty lines too, which end uvicorn's own patience
            self._wait(BODY_S_MAX if self._in_body else HEAD_S_MAX)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # We know no other protocol, and may go on in this (RFC 9110 §7.8); the parser has left out
                # the body. Java's and curl's clients ask for HTTP/2 like this.
                data = self._without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        """The head that was read, once more."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"\r\n"))

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio, which closes for uvicorn's None
        """A client may say that it is done and wait for its answers (RFC 9112 §9.6). False: close."""
        self._stop_waiting()
        return self._over or self._end_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heads += 1
        self._in_head, self._head_bytes = True, 0
        self._stop_waiting()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are no headers (RFC 9110 §6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        # Most heads come whole in a small piece, and need not be measured.
        if self._heads == self._heads_before or self._chunk_bytes > HEAD_BYTES_MAX:
            length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if length > HEAD_BYTES_MAX:
                self._refuse(problems.HEAD_TOO_LARGE)
                raise ValueError("the head is too large")
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        if len(self.pipeline) >= AHEAD_MAX:
            raise ValueError("too many requests ahead of their answers")
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body_came, self._head_bytes = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._in_body:
            self._in_body = False
            super().on_message_complete()

    def _refuse(self, problem: Problem) -> None:
        """Read no more. What came whole is answered, then it is closed; a problem is told to what did not.

        It is told where no other request's answer is waited for: it would be taken for that.
        """
        if self._over or self.transport.is_closing():
            return
        self._stop_waiting()
        if self._end_reading():
            return
        cycle = self.cycle
        if not self._in_body or not cycle.response_started:
            body = orjson.dumps(problems.body_of(problem))
            head = f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            ending = "cache-control: no-store\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[problem.status] + (head + ending).encode() + body)
        if cycle is not None and not cycle.response_complete:
            _left(cycle)
        self.transport.close()

    def _end_reading(self) -> bool:
        """Close after the answer to the last request that came whole. False: none is waited for."""
        last = self.cycle
        if self._in_body:  # half of it is there
            if not self.pipeline or self.pipeline[0][0] is not last:
                return False
            self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else cast(RequestResponseCycle, self._answering)
        if last is None or last.response_complete:
            return False
        self._over, self._in_body, self.cycle = True, False, last
        last.keep_alive = False
        return True

    # --- time -------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._patience = self.loop.call_later(seconds, self._late, seconds)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _late(self, seconds: float) -> None:
        self._patience = None
        if self.flow.read_paused:  # it is we who do not read
            self._wait(seconds)
        elif self._in_head or self._in_body:
            self._refuse(problems.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        if not self._in_head:  # a next one began before the answer to the last: it has the time of its own
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._untaken = self.loop.call_later(ANSWER_S_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None


def _left(cycle: RequestResponseCycle) -> None:
    """Tell whoever answers it that nobody listens any more."""
    cycle.disconnected = True
    cycle.message_event.set()
