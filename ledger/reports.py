"""The SQL of the report table: looks at the log, one row each, never changed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from ledger.errors import Unavailable
from ledger.session import session

CONNECT_TIMEOUT_S = 5
_COLUMNS = "id::text, what, started_at, ended_at, said_by, result, report"


class Report(NamedTuple):
    id: str
    what: str
    started_at: datetime
    ended_at: datetime
    said_by: str
    result: str
    report: dict[str, Any]


class Tally(NamedTuple):
    """Runs of a stretch of time, by result."""

    since: datetime | None
    runs: int
    damaged: int
    unexplained: int


class Reports:
    """Written with the writer's login, on a connection for each: a look is seldom. Raises Unavailable."""

    def __init__(self, writer_url: str, reader_url: str) -> None:
        self._writer_url = writer_url
        self._reader_url = reader_url

    async def add(
        self, what: str, report: dict[str, Any], *, started: datetime, ended: datetime, by: str, result: str
    ) -> str:
        id_ = str(uuid.uuid4())
        await self._run(
            self._writer_url,
            "INSERT INTO integrity_runs (id, what, started_at, ended_at, said_by, result, report)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING 1",
            [id_, what, started, ended, by, result, Jsonb(report)],
        )
        return id_

    async def last(self, what: str, limit: int = 1) -> list[Report]:
        """The newest of a depth, or explanations, newest first."""
        rows = await self._run(
            self._reader_url,
            f"SELECT {_COLUMNS} FROM integrity_runs WHERE what = %s ORDER BY ended_at DESC LIMIT %s",
            [what, limit],
        )
        return [Report(*row) for row in rows]

    async def tally(self, since: datetime) -> Tally:
        rows = await self._run(
            self._reader_url,
            "SELECT min(started_at), count(*), count(*) FILTER (WHERE result = 'damaged'),"
            " count(*) FILTER (WHERE result = 'unexplained') FROM integrity_runs"
            " WHERE what <> 'explanation' AND ended_at > %s",
            [since],
        )
        return Tally(*rows[0])

    async def _run(self, url: str, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            connection = await AsyncConnection.connect(
                session(url, "-c statement_timeout=10000"),
                autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, row_factory=tuple_row,
            )  # fmt: skip
            async with connection:
                return await (await connection.execute(query, parameters)).fetchall()
        except psycopg.Error as error:  # whoever damages the log may take away where that is reported
            raise Unavailable(
                f"the reports of integrity cannot be read or kept now: {type(error).__name__}"
            ) from error
