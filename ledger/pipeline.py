"""Several statements in one round trip: libpq's pipeline mode, with one wait for all of them.

psycopg connects, and runs what is asked seldom. Of what every batch asks it would wait for each result by
itself, and adapt each value of an array by itself: that costs more than to judge the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult


class Statement(NamedTuple):
    text: bytes
    parameters: Sequence[bytes] = ()
    """In PostgreSQL's binary format (`ledger.binary`)."""


class Pipeline:
    """Runs statements on a connection that nobody else uses meanwhile."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._names: dict[bytes, bytes] = {}
        self._underway = False

    async def prepare(self, *texts: bytes) -> None:
        """Have the server parse once what is run often."""
        names = {text: b"chipledger_%d" % number for number, text in enumerate(texts)}
        pgconn = self._begin()
        for text, name in names.items():
            pgconn.send_prepare(name, text)
        await self._end()
        self._names = names

    def send(self, statements: Iterable[Statement]) -> None:
        """Have the server begin with statements, each while the next is made; nobody waits for it.

        Each has a snapshot of its own, taken after the one before it ended. Until `run` or `settle` has
        said what became of them, nothing else may use the connection.
        """
        for statement in statements:
            self._put(statement).flush()

    async def run(self, statements: Iterable[Statement]) -> list[PGresult]:
        """Send these too, in one piece: a result for each that was sent, in order.

        After one that fails none is executed, and its error is raised.
        """
        for statement in statements:
            self._put(statement)
        return await self._end()

    async def settle(self) -> None:
        """Wait for what was sent, if anything was."""
        if self._underway:
            await self._end()

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """The rows of a result, as Python values."""
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _put(self, statement: Statement) -> PGconn:
        pgconn, (text, parameters) = self._begin(), statement
        formats = [Format.BINARY] * len(parameters)
        if name := self._names.get(text):
            pgconn.send_query_prepared(name, parameters, formats, Format.BINARY)
        else:
            pgconn.send_query_params(text, parameters, None, formats, Format.BINARY)
        return pgconn

    def _begin(self) -> PGconn:
        pgconn = self._connection.pgconn
        if not self._underway:
            pgconn.enter_pipeline_mode()
            self._underway = True
        return pgconn

    async def _end(self) -> list[PGresult]:
        pgconn = self._connection.pgconn
        pgconn.pipeline_sync()
        results = await _Answer(pgconn).whole()
        pgconn.exit_pipeline_mode()
        self._underway = False
        return results


class _Answer:
    """What the server says to the statements that were sent, up to the end of the pipeline."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._socket: int | None = None
        """While the loop watches it."""
        self._results: list[PGresult] = []
        self._end: asyncio.Future[list[PGresult]] = self._loop.create_future()

    async def whole(self) -> list[PGresult]:
        self._socket = socket = self._pgconn.socket
        self._loop.add_reader(socket, self._guarded, self._receive)
        try:
            if self._pgconn.flush():
                self._loop.add_writer(socket, self._guarded, self._send)
            return await self._end
        finally:
            self._let_go()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            if not self._end.done():
                step()
        except psycopg.Error as error:
            # The driver may have closed the socket: before anybody who connects is given its number.
            self._let_go()
            self._end.set_exception(error)

    def _let_go(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)

    def _send(self) -> None:
        if not self._pgconn.flush() and self._socket is not None:
            self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        self._pgconn.consume_input()
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:  # stands behind the results of each statement
                if self._pgconn.transaction_status == TransactionStatus.UNKNOWN:
                    raise psycopg.OperationalError("the connection was lost")
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._end.set_result(self._results)
                return
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
            self._results.append(result)
