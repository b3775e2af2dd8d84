"""The SQL that reads rows as they lie, for whoever does not believe them (`ledger.integrity`).

On a connection of its own, page by page: a check of the whole log must not hold old row versions alive
for hours, nor a connection that answers requests. What is asked of the heap itself (`counts`) is read
without indexes: an index may be corrupt, or have been made to lie.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.datetime import TimestamptzLoader

from ledger import tiles
from ledger.beside import ApiKey, Cosigned, Stamped
from ledger.errors import Unavailable
from ledger.facts import Key
from ledger.head import HEAD_COLUMNS, Head
from ledger.integrity import DueTile, Row
from ledger.loading import load_lineage, load_tiles
from ledger.note import Verifier
from ledger.reader import load_erased
from ledger.session import session
from ledger.succession import Lineage

APPLICATION_NAME = "chipledger-watch"
OPTIONS = (
    "-c statement_timeout=600000 -c default_transaction_read_only=on -c jit=off"
    " -c max_parallel_workers_per_gather=0"
)
CONNECT_TIMEOUT_S = 10
_NO_TIME: Final = datetime.max.replace(tzinfo=UTC)


class Counts(NamedTuple):
    """How many rows a table has, and some of those that no entry of the log accounts for."""

    rows: int
    strays: tuple[str, ...]


class _AnyTime(TimestamptzLoader):
    """`infinity`, or a year that Python does not have, is read as a time that no entry can be of."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return _NO_TIME


class Rows:
    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        """`connection` is in autocommit, or within a transaction that is then the snapshot."""
        connection.adapters.register_loader("timestamptz", _AnyTime)
        self._connection = connection

    async def _fetch(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        return await (await self._connection.execute(query, parameters)).fetchall()

    async def head(self) -> Head | None:
        rows = await self._fetch(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1")
        return Head(*rows[0]) if rows else None

    async def of_a_replica(self) -> bool:
        return bool((await self._fetch("SELECT pg_is_in_recovery()"))[0][0])

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Log and facts as of one instant."""
        if self._connection.info.transaction_status != TransactionStatus.IDLE:
            yield
            return
        async with self._connection.transaction():
            await self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    # --- entries ----------------------------------------------------------------------------------

    async def page(self, first: int, end: int) -> list[Row]:
        """The rows of the entries from `first` and below `end`, in order of index."""
        rows = await self._fetch(
            "SELECT index, e.contract, e.contract_index, e.recorded_at, e.kind, e.party, e.event_id::text,"
            " e.outcome, e.leaf, e.header, b.event_salt, b.event, b.decision_salt, b.decision,"
            " b.signatures_salt, b.signatures"
            " FROM (SELECT * FROM entries WHERE index >= %(first)s AND index < %(end)s) e"
            " FULL JOIN (SELECT * FROM bodies WHERE index >= %(first)s AND index < %(end)s) b USING (index)"
            " ORDER BY index",
            {"first": first, "end": end},
        )
        return [Row(*row) for row in rows]

    async def entries(self, indexes: Sequence[int]) -> list[Row]:
        return [row for index in indexes for row in await self.page(index, index + 1)]

    async def tail(self, contract: str, before: int) -> Row | None:
        """The last row of a contract's chain below an index, as the columns say."""
        rows = await self._fetch(
            "SELECT index FROM entries WHERE contract = %s AND index < %s"
            " ORDER BY contract_index DESC LIMIT 1",
            [contract, before],
        )
        found = await self.page(rows[0][0], rows[0][0] + 1) if rows else []
        return found[0] if found else None

    async def erased(self) -> dict[int, list[int]]:
        """Entries that are said to be erased, each with the entries that say so, in order."""
        return await load_erased(self._connection)

    async def lineage(self, known: Verifier) -> Lineage:
        """The checkpoint keys that a known one leads to, by what both of each handover have signed."""
        return await load_lineage(self._connection, known)

    async def links(self, wanted: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which of these (serial, index) there are."""
        serials, indexes = [serial for serial, _ in wanted], [index for _, index in wanted]
        return {
            (serial, index)
            for serial, index in await self._fetch(
                "SELECT serial, index FROM unnest(%s::text[], %s::int8[]) AS asked (serial, index)"
                " JOIN device_links USING (serial, index)",
                [serials, indexes],
            )
        }

    async def links_of(self, indexes: Collection[int]) -> int:
        """How many links these entries have."""
        rows = await self._fetch("SELECT count(*) FROM device_links WHERE index = ANY(%s)", [list(indexes)])
        return int(rows[0][0])

    @asynccontextmanager
    async def every_link(self) -> AsyncIterator[AsyncIterator[tuple[str, int]]]:
        async with self._connection.cursor(name="links") as cursor:
            cursor.itersize = 1_000
            await cursor.execute("SELECT serial, index FROM device_links")
            yield aiter(cursor)

    # --- tiles ------------------------------------------------------------------------------------

    async def stored_tiles(self, wanted: Sequence[DueTile]) -> dict[tuple[int, int], tuple[bytes, bytes]]:
        """(level, n) → (hashes, root), of those that there are."""
        rows = await self._fetch(
            "SELECT level, n, hashes, root FROM tiles"
            " JOIN unnest(%s::int4[], %s::int8[]) AS asked (level, n) USING (level, n)",
            [[tile.level for tile in wanted], [tile.n for tile in wanted]],
        )
        return {(level, n): (hashes, root) for level, n, hashes, root in rows}

    async def hashes(self, wanted: Iterable[tiles.Coordinates]) -> dict[tiles.Coordinates, bytes]:
        return await load_tiles(self._connection, wanted)

    # --- beside the log ---------------------------------------------------------------------------

    async def cosigned(self) -> Cosigned | None:
        rows = await self._fetch("SELECT size, note FROM witnessed")
        return Cosigned(*rows[0]) if rows else None

    async def stamps(self) -> list[tuple[str, int]]:
        """(authority, size) of every timestamp."""
        return [
            (authority, size)
            for authority, size in await self._fetch("SELECT authority, size FROM timestamps")
        ]

    async def stamped(self, wanted: Sequence[tuple[str, int]]) -> list[Stamped]:
        """These timestamps, in order of size."""
        rows = await self._fetch(
            "SELECT authority, size, note, token, stamped_at FROM timestamps"
            " JOIN unnest(%s::text[], %s::int8[]) AS asked (authority, size) USING (authority, size)"
            " ORDER BY size, authority",
            [[authority for authority, _ in wanted], [size for _, size in wanted]],
        )
        return [Stamped(*row) for row in rows]

    async def api_keys(self) -> list[ApiKey]:
        rows = await self._fetch(
            "SELECT id, revoked_at, encode(secret_sha256, 'hex'), role, party, label, created_at::text,"
            " expires_at::text, events_per_minute, denials_per_hour, withholds FROM api_keys ORDER BY id"
        )
        return [ApiKey(id_, tuple(settled), revoked_at) for id_, revoked_at, *settled in rows]

    # --- facts ------------------------------------------------------------------------------------

    async def facts(self, keys: Sequence[Key]) -> dict[Key, str]:
        rows = await self._fetch(
            "SELECT f.name, f.key, f.data::text FROM unnest(%s::text[], %s::text[]) AS asked (name, key)"
            " JOIN facts f ON f.name = asked.name AND f.key = asked.key",
            [[name for name, _ in keys], [key for _, key in keys]],
        )
        return {(name, key): data for name, key, data in rows}

    async def facts_after(self, after: Key, limit: int) -> list[tuple[Key, str]]:
        """A page of facts in order of their keys."""
        rows = await self._fetch(
            "SELECT name, key, data::text FROM facts WHERE (name, key) > (%s, %s)"
            " ORDER BY name, key LIMIT %s",
            [*after, limit],
        )
        return [((name, key), data) for name, key, data in rows]

    # --- the heap itself --------------------------------------------------------------------------

    async def counts(self, size: int) -> dict[str, Counts]:
        """Of each table of the log, without its indexes; strays are rows beyond a log of `size`."""
        beyond = "index < 0 OR index >= %(size)s"
        # A tile of level L is there once 256^(L + 1) entries are; the shift is for the levels there can be.
        no_tile = "level < 0 OR n < 0 OR level > 6 OR n >= %(size)s::int8 >> (8 * (level + 1))"
        found: dict[str, Counts] = {}
        for setting in ("indexscan", "indexonlyscan", "bitmapscan"):
            await self._connection.execute(f"SET enable_{setting} = off")
        try:
            for table, stray, name in (
                ("entries", beyond, "index::text"),
                ("bodies", beyond, "index::text"),
                ("device_links", beyond, "serial || ' at ' || index"),
                ("tiles", no_tile, "level || '/' || n"),
            ):
                rows = await self._fetch(f"SELECT count(*) FROM {table}")
                strays = await self._fetch(
                    f"SELECT {name} FROM {table} WHERE {stray} LIMIT 20",
                    {"size": size},
                )
                found[table] = Counts(rows[0][0], tuple(stray for (stray,) in strays))
        finally:
            if self._connection.info.transaction_status != TransactionStatus.INERROR:
                for setting in ("indexscan", "indexonlyscan", "bitmapscan"):
                    await self._connection.execute(f"RESET enable_{setting}")
        return found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Rows]:
    """Rows through a reader's login. Raises Unavailable, and psycopg.Error for what cannot be read at all."""
    try:
        connection = await AsyncConnection.connect(
            session(url, OPTIONS),
            autocommit=True,
            application_name=APPLICATION_NAME,
            connect_timeout=CONNECT_TIMEOUT_S,
            row_factory=tuple_row,
        )
    except psycopg.OperationalError as error:
        raise Unavailable("the database cannot be read now") from error
    async with connection:
        try:
            yield Rows(connection)
        except psycopg.Error as error:
            # Whatever a server says as it ends a session: there may be another one in a moment.
            if isinstance(error, psycopg.OperationalError) or connection.closed:
                raise Unavailable("the database cannot be read now") from error
            raise
