"""The SQL that reads, with a login that may SELECT and no more."""

from __future__ import annotations

from bisect import bisect_right
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
from ledger.checkpoint import SIZE_MAX
from ledger.errors import NotFound, Unavailable
from ledger.event import LEDGER_CONTRACT, LEDGER_PARTY
from ledger.facts import Duty, Erasure, Fact, FactT, Key, SigningKey, erasure_key
from ledger.head import HEAD_COLUMNS, Head
from ledger.kinds.ledger import ContractsSummarised
from ledger.kinds.records import ValueErased
from ledger.loading import (
    ENTRY_COLUMNS,
    StoredEntry,
    entries_at,
    load_facts,
    load_lineage,
    load_tiles,
    stored_entry,
)
from ledger.merkle import HASH_BYTES
from ledger.note import Verifier
from ledger.pages import Filter, Page, page_of
from ledger.session import session
from ledger.succession import Lineage
from ledger.summary import Tail

STATEMENT_TIMEOUT_MS = 30_000
POOL_SIZE_MAX = 8
POOL_WAIT_S = 5.0
READER_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on -c jit=off"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of `api_keys`."""

    id: str
    secret_sha256: bytes
    role: str
    party: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    events_per_minute: int | None
    denials_per_hour: int | None
    withholds: list[str]


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A checkpoint, and an authority's word on when it existed (RFC 3161)."""

    authority: str
    size: int
    note: str
    token: bytes
    stamped_at: datetime


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
            session(url, READER_OPTIONS),
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

    async def entries(self, wanted: Filter) -> Page:
        """A page by key set: `wanted.limit` entries after index `wanted.after` at most, ascending.

        It looks at so many entries at most, and ends early where few of them match.
        """
        async with self._connection() as connection:
            return await page_of(connection, wanted)

    async def links(
        self, serial: str, *, after: int = -1, limit: int = 1_000, contracts: Collection[str] | None = None
    ) -> list[StoredEntry]:
        """The entries that speak of a device, ascending: all of them, or those of some `contracts`."""
        among = "" if contracts is None else " AND e.contract = ANY(%s)"
        rows = await self._rows(
            f"SELECT {ENTRY_COLUMNS} FROM device_links l JOIN entries e USING (index)"
            f" JOIN bodies b USING (index) WHERE l.serial = %s AND l.index > %s{among}"
            " ORDER BY l.index LIMIT %s",
            [serial, after, *([] if contracts is None else [list(contracts)]), limit],
        )
        return [stored_entry(row) for row in rows]

    async def chain(self, contract: str, *, after: int = -1, limit: int = 1_000) -> list[StoredEntry]:
        """The entries of a contract behind an index, ascending."""
        page = await self.entries(Filter(contract=contract, after=after, limit=limit))
        return page.entries

    async def grounds(
        self, contracts: Collection[str], kinds: Collection[str], *, after: int = -1, limit: int = 1_000
    ) -> list[StoredEntry]:
        """The entries of contracts whose kinds begin with one of `kinds`, ascending: what others rest on."""
        rows = await self._rows(
            f"SELECT {ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
            " WHERE e.contract = ANY(%s) AND e.kind LIKE ANY(%s) AND e.index > %s ORDER BY e.index LIMIT %s",
            [list(contracts), [f"{kind}%" for kind in kinds], after, limit],
        )
        return [stored_entry(row) for row in rows]

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
                f"SELECT {ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
                " WHERE e.index < %s ORDER BY e.index",
                [size if size is not None else 1 << 62],
            )
            yield _each(cursor)

    async def witnessed(self, origin: str) -> str | None:
        """The last checkpoint of that name that enough witnesses have cosigned; None before the first."""
        rows = await self._rows(
            "SELECT note FROM witnessed WHERE id = 1 AND split_part(note, E'\\n', 1) = %s", [origin]
        )
        return rows[0][0] if rows else None

    async def last_timestamp(self, authority: str) -> tuple[int, datetime] | None:
        """Size and time of the last checkpoint that the authority has stamped."""
        rows = await self._rows(
            "SELECT size, stamped_at FROM timestamps WHERE authority = %s"
            " ORDER BY stamped_at DESC, size DESC LIMIT 1",
            [authority],
        )
        return (rows[0][0], rows[0][1]) if rows else None

    async def timestamps(self, *, after: int = -1, limit: int = 1_000) -> list[Timestamp]:
        """Stamped checkpoints of more than `after` entries, ascending."""
        rows = await self._rows(
            "SELECT authority, size, note, token, stamped_at FROM timestamps WHERE size > %s"
            " ORDER BY size, authority LIMIT %s",
            [after, limit],
        )
        return [Timestamp(*row) for row in rows]

    async def timestamps_over(self, indexes: Collection[int], *, limit: int) -> list[Timestamp]:
        """For each entry the first stamped checkpoint that covers it, ascending: the last `limit` of them."""
        stamped = await self._rows("SELECT size, authority FROM timestamps ORDER BY size, authority")
        sizes = [size for size, _ in stamped]
        places = {bisect_right(sizes, index) for index in indexes} - {len(sizes)}
        chosen = [stamped[place] for place in sorted(places)[-limit:]]
        rows = await self._rows(
            "SELECT t.authority, t.size, t.note, t.token, t.stamped_at FROM timestamps t"
            " JOIN unnest(%s::bigint[], %s::text[]) AS wanted (size, authority) USING (size, authority)"
            " ORDER BY t.size, t.authority",
            [[size for size, _ in chosen], [authority for _, authority in chosen]],
        )
        return [Timestamp(*row) for row in rows]

    async def last_summary(self) -> StoredEntry:
        """The last entry that says how every chain ends. Raises NotFound before the first."""
        rows = await self._rows(
            f"SELECT {ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
            " WHERE e.contract = %s AND e.kind = %s ORDER BY e.contract_index DESC LIMIT 1",
            [LEDGER_CONTRACT, ContractsSummarised.kind_name],
        )
        if not rows:
            raise NotFound(
                "the log has not said yet how its chains end; it does so whenever the `summary_hours` of"
                " entry 0 are over, once a day as a rule"
            )
        return stored_entry(rows[0])

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
        return fact.decode(rows[0][0]) if rows else None

    async def facts_of(
        self, fact: type[FactT], contract: str, *, after: str = "", limit: int = 1_000
    ) -> list[FactT]:
        """The facts whose key begins with `contract/`, in order of key."""
        rows = await self._rows(
            "SELECT data::text FROM facts WHERE name = %s AND key > %s AND key < %s ORDER BY key LIMIT %s",
            [fact.name, after or f"{contract}/", f"{contract}0", limit],  # "0" follows "/"
        )
        return [fact.decode(row[0]) for row in rows]

    async def signing_keys(self, keys: Collection[str]) -> dict[str, SigningKey]:
        """Those of these that are registered, by the key of the fact."""
        rows = await self._rows(
            "SELECT key, data::text FROM facts WHERE name = %s AND key = ANY(%s)",
            [SigningKey.name, list(keys)],
        )
        return {key: SigningKey.decode(data) for key, data in rows}

    async def ids_taken(self, ids: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these (party, event id) that an entry has."""
        parties, event_ids = [party for party, _ in ids], [event_id for _, event_id in ids]
        rows = await self._rows(
            "SELECT e.party, e.event_id::text FROM unnest(%s::text[], %s::uuid[]) AS asked (party, id)"
            " JOIN entries e ON e.party = asked.party AND e.event_id = asked.id",
            [parties, event_ids],
        )
        return {(party, event_id) for party, event_id in rows}

    async def erasures_asked(self) -> list[Erasure]:
        """Accepted, and not yet said to be done."""
        rows = await self._rows(
            "SELECT data::text FROM facts WHERE name = %s AND (data ->> 'erased') IS NULL"
            " ORDER BY (data ->> 'index')::bigint",
            [Erasure.name],
        )
        return [Erasure.decode(row[0]) for row in rows]

    async def erasures_undone(self) -> list[tuple[int, int]]:
        """Entries whose bodies are still there, each with the entry that says that they are erased."""
        rows = await self._rows(
            "SELECT b.index, (f.data ->> 'erased')::bigint FROM facts f"
            " JOIN bodies b ON b.index = (f.data ->> 'index')::bigint"
            " WHERE f.name = %s AND (f.data ->> 'erased') IS NOT NULL AND b.event_salt IS NOT NULL"
            " ORDER BY b.index",
            [Erasure.name],
        )
        return [(index, by) for index, by in rows]

    async def erasures_of(self, entries: Iterable[StoredEntry]) -> dict[int, Erasure]:
        """Of those of the entries whose event is not there: what is known of its erasure, by index."""
        gone = [
            erasure_key(one.entry.header.contract, one.index)
            for one in entries
            if one.entry.bodies["event"] is None
        ]
        if not gone:
            return {}
        rows = await self._rows(
            "SELECT data::text FROM facts WHERE name = %s AND key = ANY(%s)", [Erasure.name, gone]
        )
        found = [Erasure.decode(row[0]) for row in rows]
        return {one.index: one for one in found if one.erased is not None}

    async def erased(self) -> dict[int, list[int]]:
        """Entries that are said to be erased, each with the entries that say so, in order."""
        async with self._connection() as connection:
            return await load_erased(connection)

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

    async def duties_of(self, stored: StoredEntry, uses: str, *, limit: int = 1_000) -> list[Duty]:
        """The duties of one obligation of the catalogue that an entry opened, in order of key."""
        contract = stored.entry.header.contract
        rows = await self._rows(
            "SELECT data::text FROM facts WHERE name = %s AND key > %s AND key < %s"
            " AND data ->> 'uses' = %s AND (data ->> 'opened')::bigint = %s ORDER BY key LIMIT %s",
            [Duty.name, f"{contract}/", f"{contract}0", uses, stored.index, limit],
        )
        return [Duty.decode(row[0]) for row in rows]

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
            "SELECT id, secret_sha256, role, party, expires_at, revoked_at, events_per_minute,"
            " denials_per_hour, withholds FROM api_keys WHERE id = %s",
            [key_id],
        )
        return StoredKey(*rows[0]) if rows else None

    async def keys_of(self, known: Verifier) -> list[Verifier]:
        """The checkpoint keys that the log had under the name of a known one."""
        return (await self.lineage(known)).keys_of(known.name)

    async def lineage(self, known: Verifier) -> Lineage:
        async with self._connection() as connection:
            return await load_lineage(connection, known)

    async def live_readers(self) -> frozenset[tuple[str, str | None]]:
        """(role, party) of every key that reads all contracts and is neither revoked nor expired."""
        rows = await self._rows(
            "SELECT DISTINCT role, party FROM api_keys WHERE role <> 'submitter' AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > now())"
        )
        return frozenset((role, party) for role, party in rows)

    # --- proofs -----------------------------------------------------------------------------------

    async def hashes(self, wanted: Iterable[tiles.Coordinates]) -> dict[tiles.Coordinates, bytes]:
        """The bytes of tiles. A partial one is put together from what lies under it."""
        async with self._connection() as connection:
            return await load_tiles(connection, wanted)

    async def prove_inclusion(self, index: int, tree_size: int) -> list[bytes]:
        """The proof that entry `index` is in the tree of `tree_size`, which the log has reached."""
        found = await self.hashes(tiles.tiles_for_inclusion(index, tree_size))
        return tiles.prove_inclusion(index, tree_size, lambda *at: found[tiles.Coordinates(*at)])

    async def tile(self, where: tiles.Coordinates) -> bytes:
        """A tile, or a bundle of headers, of any width that it has had; NotFound while it has not."""
        found = None
        if where.width <= tiles.width_at(where.level, where.n, SIZE_MAX):
            found = await (self._bundle(where) if where.level == tiles.ENTRIES else self._hashes(where))
        if found is None:
            raise NotFound(f"the log has no {tiles.tile_path(*where)} yet")
        return found

    async def _bundle(self, where: tiles.Coordinates) -> bytes | None:
        first = where.n * tiles.FULL_WIDTH
        rows = await self._rows(
            "SELECT header FROM entries WHERE index >= %s AND index < %s ORDER BY index",
            [first, first + where.width],
        )
        return tiles.bundle(header for (header,) in rows) if len(rows) == where.width else None

    async def _hashes(self, where: tiles.Coordinates) -> bytes | None:
        raw = (await self.hashes([where]))[where]
        return raw if len(raw) == where.width * HASH_BYTES else None


async def _each(cursor: AsyncCursor[tuple[Any, ...]]) -> AsyncIterator[StoredEntry]:
    async for row in cursor:
        yield stored_entry(row)


async def load_erased(connection: AsyncConnection[tuple[Any, ...]]) -> dict[int, list[int]]:
    """Entries that are said to be erased, each with the entries that say so, in order."""
    cursor = await connection.execute(
        "SELECT (convert_from(b.event, 'UTF8')::json -> 'data' ->> 'index')::bigint, e.index"
        " FROM entries e JOIN bodies b USING (index) WHERE e.kind = %s AND e.party = %s ORDER BY e.index",
        [ValueErased.kind_name, LEDGER_PARTY],
    )
    found: dict[int, list[int]] = {}
    async for index, by in cursor:
        found.setdefault(index, []).append(by)
    return found
