"""The committer's connection, on psycopg: what it may do, and how a batch goes through it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from ledger import statements, tiles
from ledger.errors import OutcomeUnknown, RefusesToWrite, Unavailable
from ledger.facts import Fact, Key
from ledger.head import HEAD_COLUMNS, Head
from ledger.loading import found_among, load_facts, load_lineage, load_tiles
from ledger.note import Verifier
from ledger.pipeline import Pipeline, Statement
from ledger.session import session
from ledger.statements import NewEntry

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5
TRANSACTION_S_MAX = 30.0
"""After the database's own limits, which are shorter: for when it does not keep them."""
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
    )
)


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
        self._pipeline = Pipeline(connection)
        self._warnings: list[str] = []
        connection.add_notice_handler(self._notice)

    @classmethod
    async def connect(cls, url: str) -> Writer:
        """Raises Unavailable, and RefusesToWrite for a login that may do more than append."""
        try:
            connection = await AsyncConnection.connect(
                session(url, WRITER_OPTIONS),
                autocommit=True,
                application_name=APPLICATION_NAME,
                connect_timeout=CONNECT_TIMEOUT_S,
                # Of several hosts the primary, wherever a failover has put it.
                target_session_attrs="read-write",
                row_factory=tuple_row,
            )
            writer = cls(connection)
            try:
                await writer._refuse_owner()
                await writer._pipeline.prepare(*statements.OFTEN)
            except BaseException:
                await writer.close()
                raise
        except psycopg.Error as error:
            raise Unavailable(f"the database cannot be reached: {_reason(error)}") from error
        return writer

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warnings.append(diagnostic.message_primary or "")

    @property
    def usable(self) -> bool:
        return not self._connection.closed and not self._connection.broken

    @property
    def connection(self) -> AsyncConnection[tuple[Any, ...]]:
        """For reading what is committed, between two batches."""
        return self._connection

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

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """A server that neither answers nor goes away must not hold the committer for ever."""
        alarm = asyncio.get_running_loop().call_later(TRANSACTION_S_MAX, self.abort)
        try:
            yield
        finally:
            alarm.cancel()

    async def _refuse_owner(self) -> None:
        cursor = await self._connection.execute(
            # MEMBER: whoever may become the owner is the owner, though the role be NOINHERIT. The owner of
            # the schema may drop what is in it.
            "SELECT current_user, rolsuper OR rolbypassrls OR pg_has_role(current_user, c.relowner, 'MEMBER')"
            " OR pg_has_role(current_user, n.nspowner, 'MEMBER')"
            " OR has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')"
            " OR has_any_column_privilege('bodies', 'UPDATE')"
            " FROM pg_roles, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE rolname = current_user AND c.oid = 'entries'::regclass"
        )
        row = await cursor.fetchone()
        if row is None or row[1]:
            raise RefusesToWrite(
                f"the service would connect as {row[0] if row else 'nobody'}, who may change what was written"
                " (an owner, a superuser, or granted so); it must connect as a member of chipledger_writer"
            )

    async def begin(self, ids: Sequence[tuple[str, str]], keys: Sequence[Key]) -> Locked | None:
        """Lock the head, then read the clock, the ids that are taken, and the facts under `keys`.

        None if there is no head row yet. Each statement has its own snapshot, taken after the one
        before it ended: the facts are those that the locked head stands for.
        """
        self._warnings.clear()
        run, rows = self._pipeline.run, self._pipeline.rows
        _, head, now, taken, *facts = await run(statements.begin(ids, keys))
        if not head.ntuples:
            return None
        return Locked(
            head=Head(*rows(head)[0]),
            now=rows(now)[0][0],
            taken={(party, str(id_)): index for party, id_, index in rows(taken)},
            facts=found_among(keys, [row for result in facts for row in rows(result)]),
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

    async def head(self) -> Head | None:
        """The durable head, unlocked; None if there is no head row yet."""
        row = await (
            await self._connection.execute(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1")
        ).fetchone()
        return None if row is None else Head(*row)

    async def keys_of(self, known: Verifier) -> list[Verifier]:
        """The checkpoint keys that the log had under the name of a known one."""
        return (await load_lineage(self._connection, known)).keys_of(known.name)

    async def root(self, tree_size: int) -> bytes:
        """The root hash that the log had at a size, out of its tiles."""
        found = await load_tiles(self._connection, tiles.tiles_for_root(tree_size))
        return tiles.root(tree_size, lambda *at: found[tiles.Coordinates(*at)])

    async def create_head(self, head: Head) -> None:
        """Put the row of an empty log in place, unless there is one."""
        marks = ", ".join(["%s"] * len(Head.__dataclass_fields__))
        await self._connection.execute(
            f"INSERT INTO head (id, {HEAD_COLUMNS}) VALUES (1, {marks}) ON CONFLICT DO NOTHING",
            [getattr(head, name) for name in Head.__dataclass_fields__],
        )

    async def load(self, keys: Iterable[Key]) -> list[tuple[Key, Fact | None]]:
        """More facts, inside the transaction that `begin` opened."""
        await self._pipeline.settle()
        return await load_facts(self._connection, keys)

    async def bodies_of(self, indexes: Sequence[int]) -> dict[int, bytes | None]:
        """The event bytes of committed entries."""
        cursor = await self._connection.execute(
            "SELECT index, event FROM bodies WHERE index = ANY(%b)", [list(indexes)], binary=True
        )
        return dict(await cursor.fetchall())

    def insert(self, entries: Sequence[NewEntry]) -> None:
        """Have the database begin with some of a batch's entries while others are judged."""
        self._pipeline.send(statements.insert(entries))

    async def write(
        self,
        entries: Sequence[NewEntry],
        facts: Sequence[Fact],
        completed: Sequence[tuple[int, int, bytes]],
        *,
        locked: Head,
        head: Head,
    ) -> None:
        """Write a batch, but for the entries that `insert` was given, and move the head from what was locked.

        `completed` are the tiles (level, n, root) that it completed, lower levels first.
        """
        self._pipeline.send(statements.write(entries, facts, completed))
        *_, moved = await self._pipeline.run([statements.move_head(locked, head)])
        if moved.command_tuples != 1:
            raise Unavailable("the head moved while it was locked; nothing was written")

    async def commit(self) -> None:
        """Raises OutcomeUnknown if the answer to COMMIT is lost: what was written may be there or not."""
        try:
            await self._pipeline.run([Statement(b"COMMIT")])
        except psycopg.Error as error:
            raise OutcomeUnknown(
                "the database went away while it committed; ask again with the same id and bytes"
            ) from error
        if self._warnings:
            # "canceling wait for synchronous replication": committed here, and nowhere else yet.
            raise OutcomeUnknown(f"the commit is not known to be replicated: {self._warnings[0]}")

    async def commit_unchanged(self) -> None:
        """End a transaction that appended nothing, yet wait for the standbys as an append would.

        A replayed request is answered from rows that a failover could still lose: a message in the
        write-ahead log makes this COMMIT wait for the quorum that they wait for.
        """
        await self._connection.execute("SELECT pg_logical_emit_message(true, 'ack', '')")
        await self.commit()

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")


async def write_beside(
    url: str, statement: LiteralString, values: Sequence[object], *, options: str = ""
) -> None:
    """One statement about what lies beside the log, on a connection of its own. Raises psycopg.Error."""
    connection = await AsyncConnection.connect(
        session(url, f"-c lock_timeout=2000 -c statement_timeout=5000 {options}"),
        autocommit=True,
        application_name="chipledger-beside",
        connect_timeout=CONNECT_TIMEOUT_S,
        target_session_attrs="read-write",
    )
    async with connection:
        await connection.execute(statement, values)


def _reason(error: psycopg.Error) -> str:
    """The first line of a driver's message: no statement, no data."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
