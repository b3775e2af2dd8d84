"""What is read by key, by whoever appends as by whoever reads: entries, facts, keys of the log, tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor

from ledger import tiles
from ledger.entry import Body, Entry, Header
from ledger.errors import LedgerError
from ledger.event import LEDGER_CONTRACT, committed_event
from ledger.facts import (
    LOOKED_UP,
    Chain,
    Chains,
    Fact,
    Key,
    Order,
    Recorded,
    Refused,
    Shipment,
    Under,
    decode,
)
from ledger.kinds.ledger import CheckpointKeyRotated, LedgerRecovered
from ledger.note import Verifier
from ledger.succession import Lineage
from ledger.tiles import FULL_WIDTH

FACTS = (
    b"SELECT f.name, f.key, f.data::text FROM unnest($1::text[], $2::text[]) AS asked (name, key)"
    b" JOIN facts f ON f.name = asked.name AND f.key = asked.key"
)


ENTRY_COLUMNS = (
    "e.header, e.leaf, e.kind, e.party, e.event_id::text, e.outcome, e.recorded_at,"
    " b.event_salt, b.event, b.decision_salt, b.decision, b.signatures_salt, b.signatures"
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


async def entries_at(
    connection: AsyncConnection[tuple[Any, ...]], indexes: Sequence[int]
) -> list[StoredEntry]:
    """The entries of these indexes, ascending."""
    cursor = await connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM entries e JOIN bodies b USING (index)"
        " WHERE e.index = ANY(%s) ORDER BY e.index",
        [list(indexes)],
    )
    return [stored_entry(row) for row in await cursor.fetchall()]


def _body(salt: bytes | None, value: bytes | None) -> Body | None:
    return None if salt is None or value is None else Body(salt, value)


def stored_entry(row: tuple[Any, ...]) -> StoredEntry:
    raw, leaf, kind, party, event_id, outcome, at, event_salt, event, decision_salt, decision, *more = row
    header = Header.parse(raw)
    bodies = {"event": _body(event_salt, event), "decision": _body(decision_salt, decision)}
    if header.signatures is not None:
        bodies["signatures"] = _body(*more)
    entry = Entry(header, raw, leaf, bodies)
    return StoredEntry(entry, kind, party, event_id, outcome, at)


async def load_facts(connection: AsyncConnection[Any], keys: Iterable[Key]) -> list[tuple[Key, Fact | None]]:
    """The facts under `keys`, None where there is none: stored, read back from the log, or looked up."""
    wanted = list(keys)
    stored = [key for key in wanted if key[0] not in LOOKED_UP]
    cursor = AsyncRawCursor(connection)
    names, texts = [name for name, _ in stored], [key for _, key in stored]
    found = found_among(stored, await (await cursor.execute(FACTS, [names, texts])).fetchall())
    for name, key in wanted:
        if name == Recorded.name:
            found.append(((name, key), await _recorded(connection, int(key))))
        elif name == Under.name:
            found.append(((name, key), await _under(connection, key)))
        elif name == Chains.name:
            found.append(((name, key), await _chains(connection)))
        elif name == Refused.name:
            found.append(((name, key), await _refused(connection, key)))
    return found


async def load_lineage(connection: AsyncConnection[Any], known: Verifier) -> Lineage:
    """The log's checkpoint keys, as they lead on from one that is known."""
    cursor = await connection.execute(
        "SELECT e.index, b.event FROM entries e JOIN bodies b USING (index)"
        " WHERE e.contract = %s AND e.kind = ANY(%s) ORDER BY e.contract_index",
        [LEDGER_CONTRACT, [CheckpointKeyRotated.kind_name, LedgerRecovered.kind_name]],
    )
    return Lineage(known, [(index, _note_of(event)) for index, event in await cursor.fetchall()])


def _note_of(event: bytes | None) -> str:
    """What both keys have signed; empty, which nobody has signed, where it cannot be read."""
    try:
        data = committed_event(event or b"").data
    except LedgerError:
        return ""
    return data.note if isinstance(data, CheckpointKeyRotated | LedgerRecovered) else ""


async def load_tiles(
    connection: AsyncConnection[Any], wanted: Iterable[tiles.Coordinates]
) -> dict[tiles.Coordinates, bytes]:
    """The bytes of tiles. A partial one is put together from what lies under it."""
    found: dict[tiles.Coordinates, bytes] = {}
    for at in sorted(wanted):
        level, n, width = at
        first = n * FULL_WIDTH
        if width == FULL_WIDTH:
            query = "SELECT hashes FROM tiles WHERE level = %s AND n = %s"
            parameters = [level, n]
        elif level == 0:
            query = (
                "SELECT string_agg(leaf, ''::bytea ORDER BY index) FROM entries"
                " WHERE index >= %s AND index < %s"
            )
            parameters = [first, first + width]
        else:
            query = (
                "SELECT string_agg(root, ''::bytea ORDER BY n) FROM tiles"
                " WHERE level = %s AND n >= %s AND n < %s"
            )
            parameters = [level - 1, first, first + width]
        row = await (await connection.execute(query, parameters)).fetchone()
        found[at] = bytes(row[0]) if row and row[0] is not None else b""
    return found


async def _recorded(connection: AsyncConnection[Any], index: int) -> Recorded | None:
    cursor = await connection.execute(
        "SELECT e.contract, e.kind, e.party, e.outcome, b.event, b.signatures FROM entries e"
        " JOIN bodies b USING (index) WHERE index = %s",
        [index],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    contract, kind, party, outcome, body, signatures = row
    event = None if body is None else committed_event(body, signatures)
    return Recorded(index=index, contract=contract, kind=kind, party=party, outcome=outcome, event=event)


async def _refused(connection: AsyncConnection[Any], attempt: str) -> Refused | None:
    party, _, event_id = attempt.partition("/")
    cursor = await connection.execute(
        "SELECT index FROM entries WHERE party = %s AND event_id = %s AND outcome = 'denied'",
        [party, event_id],
    )
    row = await cursor.fetchone()
    return None if row is None else Refused(party=party, id=event_id, index=row[0])


async def _under(connection: AsyncConnection[Any], license_: str) -> Under:
    cursor = await connection.execute("SELECT name, key FROM facts WHERE under = %s", [license_])
    found = await cursor.fetchall()
    return Under(
        license=license_,
        orders=tuple(key for name, key in found if name == Order.name),
        shipments=tuple(key for name, key in found if name == Shipment.name),
    )


async def _chains(connection: AsyncConnection[Any]) -> Chains:
    cursor = await connection.execute("SELECT data::text FROM facts WHERE name = %s", [Chain.name])
    return Chains(chains=tuple(Chain.decode(row[0]) for row in await cursor.fetchall()))


def found_among(keys: Sequence[Key], rows: Iterable[tuple[str, str, str]]) -> list[tuple[Key, Fact | None]]:
    found: dict[Key, Fact | None] = dict.fromkeys(keys)
    for name, key, data in rows:
        found[name, key] = decode(name, data)
    return list(found.items())
