"""The SQL that reads, with a login that may SELECT and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ledger import tiles
from ledger.entry import Body, Entry, Header
from ledger.errors import NotFound, Unavailable
from ledger.event import LEDGER_CONTRACT
from ledger.facts import Fact, FactT, Key, decode
from ledger.kinds.ledger import ContractsSummarised
from ledger.store import HEAD_COLUMNS, Head, load_facts, load_tiles
from ledger.summary import Tail

STATEMENT_TIMEOUT_MS = 30_000
POOL_SIZE_MAX = 8
POOL_WAIT_S = 5.0

READER_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on "
    "-c jit=off -c timezone=UTC"
)
_ENTRY_COLUMNS = (
    "e.header, e.leaf, e.kind, e.party, e.event_id::text, e.outcome, e.recorded_at,"
    " b.event_salt, b.event, b.decision_salt, b.decision"
)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as read, with its columns. They are shown, and checked against the bytes elsewhere."""

    entry: Entry
    kind: str
    party: str
    event_id: str
    outcome: str
    recorded_at: datetime

    @property
    def index(self) -> int:
        return self.entry.header.index


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: those after `after`, and of these the ones that match everything given."""

    after: int = -1
    limit: int = 100
    contract: str | None = None
    kind: str | None = None
    party: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of `api_keys`."""

    id: str
    secret_sha256: bytes
    role: str
    party: str | None
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The log and its facts as of one instant: what is committed meanwhile is not seen."""

    head: Head
    _connection: AsyncConnection[tuple[Any, ...]]

    async def load(self, keys: Iterable[Key]) -> list[tuple[Key, Fact | None]]:
        return await load_facts(self._connection, keys)


class Reader:
    def __init__(self, url: str) -> None:
        self._pool = AsyncConnectionPool(
            url,
            min_size=0,
            max_size=POOL_SIZE_MAX,
            timeout=POOL_WAIT_S,
            # Its attempts to connect grow apart, up to the length of the outage: given up this early,
            # the next request begins anew, and reads resume as soon as the database is back.
            reconnect_timeout=POOL_WAIT_S,
            open=False,
            # Reads are not the hot path: one more round trip buys a connection that is alive.
            check=AsyncConnectionPool.check_connection,
            kwargs={
                "options": READER_OPTIONS,
                "application_name": "chipledger-reader",
                "autocommit": True,
                "row_factory": tuple_row,
            },
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Unavailable("the database cannot be read now") from error

    async def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        async with self._connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def head(self) -> Head:
        """The durable head; NotFound before genesis."""
        rows = await self._rows(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1")
        if not rows:
            raise NotFound("the ledger is not open yet: it has no first entry")
        return Head(*rows[0])

    # --- entries ----------------------------------------------------------------------------------

    async def entry(self, index: int) -> StoredEntry:
        found = await self.entries_at([index])
        if not found:
            raise NotFound(f"there is no entry {index}")
        return found[0]

    async def entries_at(self, indexes: Sequence[int]) -> list[StoredEntry]:
        """The entries of these indexes, ascending."""
        async with self._connection() as connection:
            return await entries_at(connection, indexes)

    async def entries(self, wanted: Filter) -> list[StoredEntry]:
        """A page by key set: `wanted.limit` entries after index `wanted.after`, ascending."""
        clauses, parameters = ["e.index > %s"], [wanted.after]
        for column, operator, value in (
            ("contract", "=", wanted.contract),
            ("kind", "=", wanted.kind),
            ("party", "=", wanted.party),
            ("outcome", "=", wanted.outcome),
            ("recorded_at", ">=", wanted.since),
            ("recorded_at", "<", wanted.until),
        ):
            if value is not None:
                clauses.append(f"e.{column} {operator} %s")
                parameters.append(value)  # type: ignore[arg-type]
        if wanted.contract is not None and wanted.after >= 0:
            # The next page begins behind an entry of this chain: without its place in the chain the
            # whole of it, from its first entry, would be read and left out.
            clauses.append(
                "e.contract_index > coalesce("
                "(SELECT a.contract_index FROM entries a WHERE a.index = %s AND a.contract = %s), -1)"
            )
            parameters += [wanted.after, wanted.contract]  # type: ignore[list-item]
        rows = await self._rows(
            f"SELECT {_ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
            f" WHERE {' AND '.join(clauses)} ORDER BY {_order(wanted)} LIMIT %s",
            [*parameters, wanted.limit],
        )
        return [_stored(row) for row in rows]

    async def links(
        self, serial: str, *, after: int = -1, limit: int = 1_000, contracts: Collection[str] | None = None
    ) -> list[StoredEntry]:
        """The entries that speak of a device, ascending: all of them, or those of some `contracts`."""
        among = "" if contracts is None else " AND e.contract = ANY(%s)"
        rows = await self._rows(
            f"SELECT {_ENTRY_COLUMNS} FROM device_links l JOIN entries e USING (index)"
            f" JOIN bodies b USING (index) WHERE l.serial = %s AND l.index > %s{among}"
            " ORDER BY l.index LIMIT %s",
            [serial, after, *([] if contracts is None else [list(contracts)]), limit],
        )
        return [_stored(row) for row in rows]

    @asynccontextmanager
    async def stream(self, *, size: int | None = None) -> AsyncIterator[AsyncIterator[StoredEntry]]:
        """Every entry below `size`, in order, in constant memory."""
        async with (
            self._connection() as connection,
            connection.transaction(),
            # One fetch after another, each a statement of its own: none runs long.
            connection.cursor(name="stream") as cursor,
        ):
            cursor.itersize = 1_000
            await cursor.execute(
                f"SELECT {_ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
                " WHERE e.index < %s ORDER BY e.index",
                [size if size is not None else 1 << 62],
            )
            yield _each(cursor)

    async def last_summary(self) -> StoredEntry:
        """The last entry that says how every chain ends. Raises NotFound before the first."""
        rows = await self._rows(
            f"SELECT {_ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
            " WHERE e.contract = %s AND e.kind = %s ORDER BY e.contract_index DESC LIMIT 1",
            [LEDGER_CONTRACT, ContractsSummarised.kind_name],
        )
        if not rows:
            raise NotFound("the log has not said yet how its chains end; it does so periodically")
        return _stored(rows[0])

    async def tails(self, index: int) -> list[Tail]:
        """How every chain ended just before entry `index`."""
        rows = await self._rows(
            # From one contract to the next by their index: one look at each, however long they are.
            "WITH RECURSIVE named AS ("
            " (SELECT contract FROM entries ORDER BY contract LIMIT 1)"
            " UNION ALL SELECT (SELECT e.contract FROM entries e WHERE e.contract > n.contract"
            "  ORDER BY e.contract LIMIT 1) FROM named n WHERE n.contract IS NOT NULL)"
            " SELECT n.contract, t.contract_index + 1, encode(t.leaf, 'hex') FROM named n,"
            " LATERAL (SELECT e.contract_index, e.leaf FROM entries e"
            "  WHERE e.contract = n.contract AND e.index < %s ORDER BY e.contract_index DESC LIMIT 1) t",
            [index],
        )
        return [Tail(*row) for row in rows]

    # --- facts ------------------------------------------------------------------------------------

    async def fact(self, fact: type[FactT], key: str) -> FactT | None:
        rows = await self._rows("SELECT data::text FROM facts WHERE name = %s AND key = %s", [fact.name, key])
        return decode(fact.name, rows[0][0]) if rows else None  # type: ignore[return-value]

    async def facts_of(
        self, fact: type[FactT], contract: str, *, after: str = "", limit: int = 1_000
    ) -> list[FactT]:
        """The facts whose key begins with `contract/`, in order of key."""
        rows = await self._rows(
            "SELECT data::text FROM facts WHERE name = %s AND key > %s AND key < %s ORDER BY key LIMIT %s",
            [fact.name, after or f"{contract}/", f"{contract}0", limit],  # "0" follows "/"
        )
        return [decode(fact.name, row[0]) for row in rows]  # type: ignore[misc]

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """What judging needs, without the lock of the head. NotFound before genesis."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = await (await connection.execute(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1")).fetchone()
            if row is None:
                raise NotFound("the ledger is not open yet: it has no first entry")
            yield Snapshot(Head(*row), connection)

    async def contracts_of(self, party: str) -> frozenset[str]:
        """The contracts that name the party."""
        rows = await self._rows(
            "SELECT key FROM facts, json_array_elements(data -> 'parties') AS p"
            " WHERE name = 'contract' AND p ->> 'party' = %s",
            [party],
        )
        return frozenset(key for (key,) in rows)

    async def duties_due(self, by: str, limit: int) -> list[str]:
        """Keys of the duties that have fallen due by an instant, those that fell first before."""
        rows = await self._rows(
            "SELECT key FROM facts WHERE due <= %s ORDER BY due, key LIMIT %s", [by, limit]
        )
        return [key for (key,) in rows]

    async def next_due(self) -> str | None:
        """When the next duty of a contract falls due, as the ledger writes it."""
        rows = await self._rows(
            "SELECT due FROM facts WHERE due IS NOT NULL AND key NOT LIKE %s ORDER BY due LIMIT 1",
            [LEDGER_CONTRACT.replace("_", r"\_") + "/%"],
        )
        return rows[0][0] if rows else None

    @asynccontextmanager
    async def every_fact(self) -> AsyncIterator[AsyncIterator[tuple[str, str, str]]]:
        """(name, key, JSON text) of every fact."""
        async with (
            self._connection() as connection,
            connection.transaction(),
            connection.cursor(name="facts") as cursor,
        ):
            cursor.itersize = 2_000
            await cursor.execute("SELECT name, key, data::text FROM facts ORDER BY name, key")
            yield aiter(cursor)

    # --- keys -------------------------------------------------------------------------------------

    async def key(self, key_id: str) -> StoredKey | None:
        rows = await self._rows(
            "SELECT id, secret_sha256, role, party, expires_at, revoked_at FROM api_keys WHERE id = %s",
            [key_id],
        )
        return StoredKey(*rows[0]) if rows else None

    # --- proofs -----------------------------------------------------------------------------------

    async def hashes(self, wanted: Iterable[tiles.Coordinates]) -> dict[tiles.Coordinates, bytes]:
        """The bytes of tiles. A partial one is put together from what lies under it."""
        async with self._connection() as connection:
            return await load_tiles(connection, wanted)


async def entries_at(
    connection: AsyncConnection[tuple[Any, ...]], indexes: Sequence[int]
) -> list[StoredEntry]:
    """The entries of these indexes, ascending."""
    cursor = await connection.execute(
        f"SELECT {_ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
        " WHERE e.index = ANY(%s) ORDER BY e.index",
        [list(indexes)],
    )
    return [_stored(row) for row in await cursor.fetchall()]


def _order(wanted: Filter) -> str:
    # With a contract given, its own chain has the entries in the same order, under an index.
    return "e.contract_index" if wanted.contract is not None else "e.index"


def _body(salt: bytes | None, value: bytes | None) -> Body | None:
    return None if salt is None or value is None else Body(salt, value)


def _stored(row: tuple[Any, ...]) -> StoredEntry:
    raw, leaf, kind, party, event_id, outcome, at, event_salt, event, decision_salt, decision = row
    bodies = {"event": _body(event_salt, event), "decision": _body(decision_salt, decision)}
    entry = Entry(Header.parse(raw), raw, leaf, bodies)
    return StoredEntry(entry, kind, party, event_id, outcome, at)


async def _each(cursor: AsyncCursor[tuple[Any, ...]]) -> AsyncIterator[StoredEntry]:
    async for row in cursor:
        yield _stored(row)
