"""The SQL that appends, on psycopg: the committer's connection and what it may do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from ledger.entry import Entry
from ledger.errors import OutcomeUnknown, RefusesToWrite, Unavailable
from ledger.event import committed_event
from ledger.facts import LOOKED_UP, Fact, Key, Order, Recorded, Shipment, Under, decode
from ledger.tiles import FULL_WIDTH

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5
APPLICATION_NAME = "chipledger-writer"

WRITER_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        f"lock_timeout={LOCK_TIMEOUT_MS}",
        # A process that froze while it held the head lock must not stop the others.
        f"idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
        f"statement_timeout={STATEMENT_TIMEOUT_MS}",
        "default_transaction_isolation=read\\ committed",
        "synchronous_commit=on",
        # Each of its queries looks rows up by key: a plan made while the tables were small must not
        # turn into a scan when they have grown.
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "jit=off",
        "timezone=UTC",
    )
)


@dataclass(frozen=True, slots=True)
class Head:
    """The head row (decision 3)."""

    epoch: int
    size: int
    root: bytes
    frontier: bytes
    last_leaf: bytes
    recorded_at: datetime
    format: int
    fold: int
    engine: int
    origin: str
    verifier_key: str
    clock: str

    @property
    def state(self) -> tuple[int, int, bytes]:
        """What a later write compares with."""
        return self.epoch, self.size, self.root


HEAD_COLUMNS = ", ".join(Head.__dataclass_fields__)


class NewEntry(NamedTuple):
    """An entry to be written, with the columns that are queried."""

    entry: Entry
    kind: str
    party: str
    event_id: str
    outcome: str
    serials: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Locked:
    """What the first round trip of a batch gives."""

    head: Head
    now: datetime
    """The database's clock, read after the lock."""
    taken: dict[tuple[str, str], int]
    """(party, event id) → index, of those that are committed already."""
    facts: list[tuple[Key, Fact | None]]


class Writer:
    """One connection that may append. Any error leaves it unusable: discard it and connect anew."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._warnings: list[str] = []
        connection.add_notice_handler(self._notice)

    @classmethod
    async def connect(cls, url: str) -> Writer:
        """Raises Unavailable, and RefusesToWrite for a login that may do more than append."""
        try:
            connection = await AsyncConnection.connect(
                url,
                autocommit=True,
                options=WRITER_OPTIONS,
                application_name=APPLICATION_NAME,
                connect_timeout=CONNECT_TIMEOUT_S,
                row_factory=tuple_row,
            )
            await _refuse_owner(connection)
        except psycopg.Error as error:
            raise Unavailable(f"the database cannot be reached: {_reason(error)}") from error
        return cls(connection)

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warnings.append(diagnostic.message_primary or "")

    @property
    def usable(self) -> bool:
        return not self._connection.closed and not self._connection.broken

    async def close(self) -> None:
        await self._connection.close()

    def abort(self) -> None:
        """Cut the connection, from beside whatever waits on it: that fails as if the server had gone.

        To cancel the waiting task would not do: psycopg would then wait for the server's word on it.
        """
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as ours,
        ):
            ours.shutdown(socket.SHUT_RDWR)

    async def begin(self, ids: Sequence[tuple[str, str]], keys: Sequence[Key]) -> Locked | None:
        """Lock the head, then read the clock, the ids that are taken, and the facts under `keys`.

        None if there is no head row yet. Each statement has its own snapshot, taken after the one
        before it ended: the facts are those that the locked head stands for.
        """
        self._warnings.clear()
        run = self._connection.execute
        async with self._connection.pipeline():
            await run("BEGIN")
            head = await run(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1 FOR UPDATE")
            now = await run("SELECT clock_timestamp()")
            taken = await self._taken(ids)
            facts = await _facts(self._connection, keys)
        row = await head.fetchone()
        instant = await now.fetchone()
        assert instant is not None
        if row is None:
            return None
        return Locked(
            head=Head(*row),
            now=instant[0],
            taken={(party, str(id_)): index for party, id_, index in await taken.fetchall()},
            facts=_found(keys, await facts.fetchall()),
        )

    async def evict_frozen(self) -> int:
        """End the connections of writers that hold a lock and do not listen; gives their number.

        PostgreSQL's own timeouts see a client that is silent between statements. One that froze in
        the middle of a COPY, or of a pipeline, is active to them for ever: its backend waits for the
        rest of the message. What it began is rolled back; when it wakes it finds its connection closed.
        """
        cursor = await self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " AND usename = current_user AND application_name = %s AND backend_xid IS NOT NULL"
            " AND wait_event_type = 'Client'"
            f" AND query_start < clock_timestamp() - interval '{IDLE_IN_TRANSACTION_TIMEOUT_MS} ms'",
            [APPLICATION_NAME],
        )
        return cursor.rowcount

    async def create_head(self, head: Head) -> None:
        """Put the row of an empty log in place, unless there is one."""
        marks = ", ".join(["%s"] * len(Head.__dataclass_fields__))
        await self._connection.execute(
            f"INSERT INTO head (id, {HEAD_COLUMNS}) VALUES (1, {marks}) ON CONFLICT DO NOTHING",
            [getattr(head, name) for name in Head.__dataclass_fields__],
        )

    async def load(self, keys: Iterable[Key]) -> list[tuple[Key, Fact | None]]:
        """More facts, inside the transaction that `begin` opened."""
        return await load_facts(self._connection, keys)

    async def bodies_of(self, indexes: Sequence[int]) -> dict[int, bytes | None]:
        """The event bytes of committed entries."""
        cursor = await self._connection.execute(
            "SELECT index, event FROM bodies WHERE index = ANY(%b)", [list(indexes)], binary=True
        )
        return dict(await cursor.fetchall())

    async def write(
        self,
        entries: Sequence[NewEntry],
        facts: Sequence[Fact],
        tiles: Sequence[tuple[int, int, bytes]],
    ) -> None:
        """Write everything of a batch but the head.

        `tiles` are the (level, n, root) that it completed, lower levels first.
        """
        await self._copy(
            "entries (index, contract, contract_index, recorded_at, kind, party, event_id, outcome,"
            " leaf, header)",
            ["int8", "text", "int8", "timestamptz", "text", "text", "uuid", "text", "bytea", "bytea"],
            (_entry_row(new) for new in entries),
        )
        await self._copy(
            "bodies (index, event_salt, event, decision_salt, decision)",
            ["int8", "bytea", "bytea", "bytea", "bytea"],
            (_body_row(new.entry) for new in entries),
        )
        links = [(serial, n.entry.header.index) for n in entries for serial in n.serials]
        if links:
            await self._copy("device_links (serial, index)", ["text", "int8"], links)
        for level, n, root in tiles:
            await self._complete_tile(level, n, root)
        if facts:
            # Sorted, so that two ledgers with the same events have the same files; one statement,
            # for an upsert cannot be copied.
            rows = sorted((fact.name, fact.key, fact.encode().decode()) for fact in facts)
            names, keys, data = zip(*rows, strict=True)
            await self._connection.execute(
                "INSERT INTO facts (name, key, data)"
                " SELECT * FROM unnest(%b::text[], %b::text[], %b::json[])"
                " ON CONFLICT (name, key) DO UPDATE SET data = excluded.data",
                [list(names), list(keys), list(data)],
            )

    async def commit(self, locked: Head, head: Head) -> None:
        """Move the head from what was locked, and commit.

        Raises OutcomeUnknown if the answer to COMMIT is lost: the entries may be there or not.
        """
        cursor = await self._connection.execute(
            "UPDATE head SET epoch = %s, size = %s, root = %s, frontier = %s, last_leaf = %s,"
            " recorded_at = %s WHERE id = 1 AND epoch = %s AND size = %s AND root = %s",
            [
                head.epoch, head.size, head.root, head.frontier, head.last_leaf, head.recorded_at,
                *locked.state,
            ],
        )  # fmt: skip
        if cursor.rowcount != 1:
            raise Unavailable("the head moved while it was locked; nothing was written")
        await self._commit()

    async def commit_unchanged(self) -> None:
        """End a transaction that appended nothing, yet wait for the standbys as an append would.

        A replayed request is answered from rows that a failover could still lose: a message in the
        write-ahead log makes this COMMIT wait for the quorum that they wait for.
        """
        await self._connection.execute("SELECT pg_logical_emit_message(true, 'ack', '')")
        await self._commit()

    async def _commit(self) -> None:
        try:
            await self._connection.execute("COMMIT")
        except psycopg.Error as error:
            raise OutcomeUnknown(
                "the database went away while it committed; ask again with the same id and bytes"
            ) from error
        if self._warnings:
            # "canceling wait for synchronous replication": committed here, and nowhere else yet.
            raise OutcomeUnknown(f"the commit is not known to be replicated: {self._warnings[0]}")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")

    async def _taken(self, ids: Sequence[tuple[str, str]]) -> Any:
        return await self._connection.execute(
            "SELECT e.party, e.event_id, e.index FROM unnest(%b::text[], %b::uuid[]) AS asked (party, id)"
            " JOIN entries e ON e.party = asked.party AND e.event_id = asked.id",
            [[party for party, _ in ids], [id_ for _, id_ in ids]],
        )

    async def _complete_tile(self, level: int, n: int, root: bytes) -> None:
        first = n * FULL_WIDTH
        hashes = (
            "string_agg(leaf, ''::bytea ORDER BY index) FROM entries WHERE index >= %s AND index < %s"
            if level == 0
            else "string_agg(root, ''::bytea ORDER BY n) FROM tiles"
            f" WHERE level = {level - 1} AND n >= %s AND n < %s"
        )
        await self._connection.execute(
            f"INSERT INTO tiles (level, n, root, hashes) SELECT {level}, %s, %s, {hashes}",
            [n, root, first, first + FULL_WIDTH],
        )

    async def _copy(self, into: str, types: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
        async with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)


async def load_facts(connection: AsyncConnection[Any], keys: Iterable[Key]) -> list[tuple[Key, Fact | None]]:
    """The facts under `keys`, None where there is none: stored, read back from the log, or looked up."""
    wanted = list(keys)
    stored = [key for key in wanted if key[0] not in LOOKED_UP]
    found = _found(stored, await (await _facts(connection, stored)).fetchall())
    for name, key in wanted:
        if name == Recorded.name:
            found.append(((name, key), await _recorded(connection, int(key))))
        elif name == Under.name:
            found.append(((name, key), await _under(connection, key)))
    return found


async def _facts(connection: AsyncConnection[Any], keys: Sequence[Key]) -> Any:
    return await connection.execute(
        "SELECT f.name, f.key, f.data::text FROM unnest(%b::text[], %b::text[]) AS asked (name, key)"
        " JOIN facts f ON f.name = asked.name AND f.key = asked.key",
        [[name for name, _ in keys], [key for _, key in keys]],
    )


async def _recorded(connection: AsyncConnection[Any], index: int) -> Recorded | None:
    cursor = await connection.execute(
        "SELECT e.outcome, b.event FROM entries e JOIN bodies b USING (index) WHERE index = %s", [index]
    )
    row = await cursor.fetchone()
    if row is None or row[1] is None:
        return None
    return Recorded(index=index, outcome=row[0], event=committed_event(row[1]))


async def _under(connection: AsyncConnection[Any], license_: str) -> Under:
    cursor = await connection.execute("SELECT name, key FROM facts WHERE under = %s", [license_])
    found = await cursor.fetchall()
    return Under(
        license=license_,
        orders=tuple(key for name, key in found if name == Order.name),
        shipments=tuple(key for name, key in found if name == Shipment.name),
    )


async def _refuse_owner(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute(
        # MEMBER: whoever may become the owner is the owner, though the role be NOINHERIT. The owner of
        # the schema may drop what is in it.
        "SELECT current_user, rolsuper OR rolbypassrls OR pg_has_role(current_user, c.relowner, 'MEMBER')"
        " OR pg_has_role(current_user, n.nspowner, 'MEMBER')"
        " OR has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')"
        " FROM pg_roles, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE rolname = current_user AND c.oid = 'entries'::regclass"
    )
    row = await cursor.fetchone()
    if row is None or row[1]:
        await connection.close()
        raise RefusesToWrite(
            f"the service would connect as {row[0] if row else 'nobody'}, who may change what was written"
            " (an owner, a superuser, or granted so); it must connect as a member of chipledger_writer"
        )


def _reason(error: psycopg.Error) -> str:
    """The first line of a driver's message: no statement, no data."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _found(keys: Sequence[Key], rows: Iterable[tuple[str, str, str]]) -> list[tuple[Key, Fact | None]]:
    found: dict[Key, Fact | None] = dict.fromkeys(keys)
    for name, key, data in rows:
        found[name, key] = decode(name, data)
    return list(found.items())


def _entry_row(new: NewEntry) -> tuple[Any, ...]:
    header = new.entry.header
    return (
        header.index, header.contract, header.contract_index, new.at, new.kind, new.party,
        UUID(new.event_id), new.outcome, new.entry.leaf, new.entry.raw,
    )  # fmt: skip


def _body_row(entry: Entry) -> tuple[Any, ...]:
    event, decision = entry.bodies["event"], entry.bodies["decision"]
    assert event is not None
    assert decision is not None
    return entry.header.index, event.salt, event.value, decision.salt, decision.value
