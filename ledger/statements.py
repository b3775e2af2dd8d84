"""What a batch has the database run, with its values in PostgreSQL's binary format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ledger import binary
from ledger.entry import Entry
from ledger.facts import Fact, Key
from ledger.head import HEAD_COLUMNS, Head
from ledger.loading import FACTS
from ledger.pipeline import Statement
from ledger.tiles import FULL_WIDTH

BEGIN = b"BEGIN"
LOCK = f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1 FOR UPDATE".encode()
CLOCK = b"SELECT clock_timestamp()"
TAKEN = (
    b"SELECT e.party, e.event_id, e.index FROM unnest($1::text[], $2::uuid[]) AS asked (party, id)"
    b" JOIN entries e ON e.party = asked.party AND e.event_id = asked.id"
)
INSERT_ENTRIES = (
    b"INSERT INTO entries (index, contract, contract_index, recorded_at, kind, party, event_id, outcome,"
    b" leaf, header) SELECT * FROM unnest($1::int8[], $2::text[], $3::int8[], $4::timestamptz[],"
    b" $5::text[], $6::text[], $7::uuid[], $8::text[], $9::bytea[], $10::bytea[])"
)
INSERT_BODIES = (
    b"INSERT INTO bodies (index, event_salt, event, decision_salt, decision)"
    b" SELECT * FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])"
)
INSERT_SIGNED = (
    b"INSERT INTO bodies (index, event_salt, event, decision_salt, decision, signatures_salt, signatures)"
    b" SELECT * FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[],"
    b" $7::bytea[])"
)
INSERT_LINKS = b"INSERT INTO device_links (serial, index) SELECT * FROM unnest($1::text[], $2::int8[])"
UPSERT_FACTS = (
    b"INSERT INTO facts (name, key, data) SELECT * FROM unnest($1::text[], $2::text[], $3::json[])"
    b" ON CONFLICT (name, key) DO UPDATE SET data = excluded.data"
)
MOVE_HEAD = (
    b"UPDATE head SET epoch = $1, size = $2, root = $3, frontier = $4, last_leaf = $5, recorded_at = $6,"
    b" verifier_key = $7, origin = $8 WHERE id = 1 AND epoch = $9 AND size = $10 AND root = $11"
)
OFTEN = (
    BEGIN, LOCK, CLOCK, TAKEN, FACTS, INSERT_ENTRIES, INSERT_BODIES, INSERT_LINKS, UPSERT_FACTS, MOVE_HEAD,
)  # fmt: skip
"""What nearly every batch runs, and the server parses once."""

COMPLETE_LEAF_TILE = (
    b"INSERT INTO tiles (level, n, root, hashes)"
    b" SELECT $1::int8, $2::int8, $3::bytea, string_agg(leaf, ''::bytea ORDER BY index)"
    b" FROM entries WHERE index >= $4 AND index < $5"
)
COMPLETE_TILE = (
    b"INSERT INTO tiles (level, n, root, hashes)"
    b" SELECT $1::int8, $2::int8, $3::bytea, string_agg(root, ''::bytea ORDER BY n)"
    b" FROM tiles WHERE level = $1::int8 - 1 AND n >= $4 AND n < $5"
)


class NewEntry(NamedTuple):
    """An entry to be written, with the columns that are queried."""

    entry: Entry
    kind: str
    party: str
    event_id: str
    outcome: str
    serials: tuple[str, ...]
    at: datetime


def begin(ids: Sequence[tuple[str, str]], keys: Sequence[Key]) -> Iterator[Statement]:
    """Head, clock, ids that are taken, facts: in this order, each as of the lock (`Writer.begin`)."""
    yield Statement(BEGIN)
    yield Statement(LOCK)
    yield Statement(CLOCK)
    yield Statement(TAKEN, (binary.texts(party for party, _ in ids), binary.uuids(id_ for _, id_ in ids)))
    if keys:
        names, texts = binary.texts(name for name, _ in keys), binary.texts(key for _, key in keys)
        yield Statement(FACTS, (names, texts))


def write(
    entries: Sequence[NewEntry], facts: Sequence[Fact], completed: Sequence[tuple[int, int, bytes]]
) -> Iterator[Statement]:
    """`completed`: tiles (level, n, root), lower levels first."""
    yield from insert(entries)
    for tile in completed:
        yield _complete_tile(*tile)
    if facts:
        yield _upsert_facts(facts)


def insert(entries: Sequence[NewEntry]) -> Iterator[Statement]:
    if entries:
        yield _insert_entries(entries)
        yield from _insert_bodies(entries)
    if links := [(serial, new.entry.header.index) for new in entries for serial in new.serials]:
        yield _insert_links(links)


def _insert_entries(entries: Sequence[NewEntry]) -> Statement:
    headers = [new.entry.header for new in entries]
    return Statement(
        INSERT_ENTRIES,
        (
            binary.int8s([header.index for header in headers]),
            binary.texts([header.contract for header in headers]),
            binary.int8s([header.contract_index for header in headers]),
            binary.timestamps([new.at for new in entries]),
            binary.texts([new.kind for new in entries]),
            binary.texts([new.party for new in entries]),
            binary.uuids([new.event_id for new in entries]),
            binary.texts([new.outcome for new in entries]),
            binary.byteas([new.entry.leaf for new in entries]),
            binary.byteas([new.entry.raw for new in entries]),
        ),
    )


def _insert_bodies(entries: Sequence[NewEntry]) -> Iterator[Statement]:
    """Apart for those that are signed: the columns of most entries have no NULL, and no room for one."""
    plain: list[tuple[int, tuple[bytes, ...]]] = []
    signed: list[tuple[int, tuple[bytes, ...]]] = []
    for new in entries:
        event, decision, *more = new.entry.bodies.values()
        assert event is not None
        assert decision is not None
        row = (*event, *decision)
        if more:
            assert more[0] is not None
            signed.append((new.entry.header.index, (*row, *more[0])))
        else:
            plain.append((new.entry.header.index, row))
    for statement, rows in ((INSERT_BODIES, plain), (INSERT_SIGNED, signed)):
        if rows:
            indexes, bodies = zip(*rows, strict=True)
            columns = zip(*bodies, strict=True)
            yield Statement(statement, (binary.int8s(indexes), *map(binary.byteas, columns)))


def _insert_links(links: Sequence[tuple[str, int]]) -> Statement:
    serials, indexes = zip(*links, strict=True)
    return Statement(INSERT_LINKS, (binary.texts(serials), binary.int8s(indexes)))


def _upsert_facts(facts: Sequence[Fact]) -> Statement:
    # Sorted, so that two ledgers with the same events have the same files.
    names, keys, data = zip(*sorted((fact.name, fact.key, fact.encode()) for fact in facts), strict=True)
    return Statement(UPSERT_FACTS, (binary.texts(names), binary.texts(keys), binary.jsons(data)))


def _complete_tile(level: int, n: int, root: bytes) -> Statement:
    first = n * FULL_WIDTH
    return Statement(
        COMPLETE_TILE if level else COMPLETE_LEAF_TILE,
        (
            binary.int8(level),
            binary.int8(n),
            root,
            binary.int8(first),
            binary.int8(first + FULL_WIDTH),
        ),
    )


def move_head(locked: Head, head: Head) -> Statement:
    """Changes no row, unless the head is still as it was locked."""
    return Statement(
        MOVE_HEAD,
        (
            binary.int8(head.epoch),
            binary.int8(head.size),
            head.root,
            head.frontier,
            head.last_leaf,
            binary.timestamp(head.recorded_at),
            head.verifier_key.encode(),
            head.origin.encode(),
            binary.int8(locked.epoch),
            binary.int8(locked.size),
            locked.root,
        ),
    )
