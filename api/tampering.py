"""What somebody with a superuser's login and no scruples can do to a log, one mutation at a time.

For drills on a copy, and for tests: each mutation changes rows behind the triggers, as thoroughly as its
author could, at a place that a seed picks, and says where it must be found.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from api.rewriting import replace_log, rewritten
from ledger.beside import Cosigned, Stamped
from ledger.entry import Header, commitment
from ledger.findings import Finding
from ledger.integrity import Row
from ledger.merkle import leaf_hash
from ledger.rows import Rows

TABLES: Final = ("entries", "bodies", "device_links", "tiles", "timestamps")
Connection = AsyncConnection[tuple[Any, ...]]


class Place(NamedTuple):
    """Where a mutation must be found."""

    words: str
    indexes: frozenset[int] = frozenset()
    """The finding with the lowest index is of one of these; none: no entry can be named."""
    where: str = ""
    """How the words of a finding begin, where it is of no entry."""

    def holds(self, findings: Sequence[Finding]) -> bool:
        """Whether they name the place."""
        if self.where:
            return any(finding.where.startswith(self.where) for finding in findings)
        named = [finding.index for finding in findings if finding.index is not None]
        return bool(named) and min(named) in self.indexes


class BesideLog(NamedTuple):
    """What lies beside it."""

    cosigned: Cosigned | None
    stamps: Sequence[Stamped]
    keys: Sequence[str]
    """Ids of API keys."""
    revoked: Sequence[str]
    """Those of them that are revoked."""


@dataclass(frozen=True, slots=True)
class Log:
    """The copy that is damaged: what was read of it while it was whole."""

    connection: Connection
    rows: Sequence[Row]
    random: Random
    beside: BesideLog

    @property
    def size(self) -> int:
        return len(self.rows)

    async def run(self, statement: str, *parameters: Any) -> int:
        return (await self.connection.execute(statement, parameters)).rowcount

    async def fetch(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(statement, parameters)).fetchall()

    @property
    def whole(self) -> Sequence[Row]:
        """Those of which nothing is erased."""
        return [row for row in self.rows if row.event is not None and row.decision is not None]

    def any_of(self, rows: Iterable[Row]) -> Row:
        found = list(rows)
        assert found, "the log has none of these"
        return self.random.choice(found)

    def flipped(self, value: bytes | None) -> bytes:
        """Another value of the same length."""
        assert value
        at = self.random.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << self.random.randrange(8))]) + value[at + 1 :]


Mutation = Callable[[Log], Awaitable[Place]]
MUTATIONS: dict[str, Mutation] = {}


def mutation(act: Mutation) -> Mutation:
    MUTATIONS[act.__name__] = act
    return act


def _at(*indexes: int, words: str = "") -> Place:
    return Place(words or f"entry {min(indexes)}", frozenset(indexes))


async def unlock(connection: Connection) -> None:
    """Switch the triggers and constraints off that stand in a superuser's way."""
    for table in TABLES:
        await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    for constraint in ("entries_contract_chain", "entries_party_event"):
        await connection.execute(f"ALTER TABLE entries DROP CONSTRAINT IF EXISTS {constraint}")


async def read(connection: Connection, random: Random) -> Log:
    rows = Rows(connection)
    head = await rows.head()
    assert head is not None
    keys = await rows.api_keys()
    beside = BesideLog(
        await rows.cosigned(),
        await rows.stamped(await rows.stamps()),
        [key.id for key in keys],
        [key.id for key in keys if key.revoked_at is not None],
    )
    return Log(connection, await rows.page(0, head.size), random, beside)


# --- bodies ---------------------------------------------------------------------------------------


@mutation
async def edit_an_event(log: Log) -> Place:
    row = log.any_of(log.whole)
    return await _edit_body(log, row, "event", log.flipped(row.event))


@mutation
async def edit_a_decision(log: Log) -> Place:
    row = log.any_of(log.whole)
    return await _edit_body(log, row, "decision", log.flipped(row.decision))


@mutation
async def turn_a_denial(log: Log) -> Place:
    """Body and column, so that they agree."""
    row = log.any_of(row for row in log.whole if row.outcome == "denied")
    assert row.decision is not None
    value = json.loads(row.decision)
    value.update(outcome="accepted", conditions=[])
    await log.run("UPDATE entries SET outcome = 'accepted' WHERE index = %s", row.index)
    return await _edit_body(log, row, "decision", json.dumps(value, separators=(",", ":")).encode())


@mutation
async def edit_a_policy(log: Log) -> Place:
    row = log.any_of(row for row in log.whole if row.kind in ("policy.activated", "policy.proposed"))
    assert row.event is not None
    value = json.loads(row.event)
    text = value["data"].get("text") or value["data"]["sha256"]
    name = "text" if "text" in value["data"] else "sha256"
    at = log.random.randrange(len(text))
    value["data"][name] = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
    return await _edit_body(log, row, "event", json.dumps(value, separators=(",", ":")).encode())


@mutation
async def edit_a_salt(log: Log) -> Place:
    row, name = log.any_of(log.whole), log.random.choice(("event", "decision"))
    return await _edit_body(log, row, f"{name}_salt", log.flipped(getattr(row, f"{name}_salt")))


@mutation
async def take_a_body_away(log: Log) -> Place:
    row, name = log.any_of(log.whole), log.random.choice(("event", "decision"))
    await log.run(f"UPDATE bodies SET {name} = NULL, {name}_salt = NULL WHERE index = %s", row.index)
    return _at(row.index)


@mutation
async def swap_two_bodies(log: Log) -> Place:
    one, other = log.random.sample(log.whole, 2)
    columns = Row._fields[-6:]
    for to, of in ((one, other), (other, one)):
        for column in columns:
            await log.run(f"UPDATE bodies SET {column} = %s WHERE index = %s", getattr(of, column), to.index)
    return _at(min(one.index, other.index), words=f"entries {one.index} and {other.index}")


async def _edit_body(log: Log, row: Row, column: str, value: bytes) -> Place:
    await log.run(f"UPDATE bodies SET {column} = %s WHERE index = %s", value, row.index)
    return _at(row.index)


# --- entries --------------------------------------------------------------------------------------


@mutation
async def edit_a_header(log: Log) -> Place:
    """With or without the leaf hash beside it."""
    row = log.any_of(log.rows)
    assert row.header is not None
    header = Header.parse(row.header)
    change = log.random.choice(("recorded_at", "event", "decision", "previous", "contract_previous"))
    value: Any = getattr(header, change)
    if change == "recorded_at":
        digit = str((int(value[-2]) + 1) % 10)
        value = f"{value[:-2]}{digit}Z"
    else:
        value = log.flipped(value)
    return await _put_header(log, row, header._replace(**{change: value}))


@mutation
async def edit_event_and_header(log: Log) -> Place:
    """The body, its commitment and the leaf hash: everything but what follows."""
    row = log.any_of(log.whole)
    assert row.header is not None
    assert row.event is not None
    assert row.event_salt is not None
    event = row.event.replace(b"20", b"19", 1) if b"20" in row.event else log.flipped(row.event)
    committed = commitment(row.event_salt, event)
    await log.run("UPDATE bodies SET event = %s WHERE index = %s", event, row.index)
    return await _put_header(log, row, Header.parse(row.header)._replace(event=committed), thorough=True)


@mutation
async def move_to_another_contract(log: Log) -> Place:
    row = log.any_of(row for row in log.rows if row.index)
    others = sorted({r.contract or "" for r in log.rows} - {row.contract or ""})
    assert row.header is not None
    to = log.random.choice(others)
    number = sum(r.contract == to for r in log.rows)
    await log.run(
        "UPDATE entries SET contract = %s, contract_index = %s WHERE index = %s", to, number, row.index
    )
    moved = Header.parse(row.header)._replace(contract=to, contract_index=number)
    return await _put_header(log, row, moved, thorough=True)


@mutation
async def edit_a_leaf_hash(log: Log) -> Place:
    row = log.any_of(log.rows)
    await log.run("UPDATE entries SET leaf = %s WHERE index = %s", log.flipped(row.leaf), row.index)
    return _at(row.index)


@mutation
async def edit_a_column(log: Log) -> Place:
    row = log.any_of(log.rows)
    column, value = log.random.choice(
        (
            ("kind", "'order.paid'"),
            ("party", "'somebody-else'"),
            ("event_id", "gen_random_uuid()"),
            ("outcome", "CASE outcome WHEN 'denied' THEN 'accepted' ELSE 'denied' END"),
            ("recorded_at", "recorded_at - interval '1 microsecond'"),
            ("contract", "gen_random_uuid()::text"),
            ("contract_index", "contract_index + 7"),
        )
    )
    await log.run(f"UPDATE entries SET {column} = {value} WHERE index = %s", row.index)
    return _at(row.index, words=f"entry {row.index}, {column}")


@mutation
async def swap_two_entries(log: Log) -> Place:
    one, other = sorted(row.index for row in log.random.sample(log.rows, 2))
    await _renumber(log, {one: other, other: one})
    return _at(one, words=f"entries {one} and {other}")


@mutation
async def reorder_a_stretch(log: Log) -> Place:
    first = log.random.randrange(log.size - 4)
    order = list(range(first, first + 4))
    while order[0] == first:
        log.random.shuffle(order)
    await _renumber(log, dict(zip(range(first, first + 4), order, strict=True)))
    return _at(first, words=f"entries {first} to {first + 3}")


@mutation
async def delete_an_entry(log: Log) -> Place:
    index = log.random.randrange(log.size)
    await _delete(log, f"index = {index}")
    return _at(index)


@mutation
async def delete_a_denial(log: Log) -> Place:
    row = log.any_of(row for row in log.rows if row.outcome == "denied")
    await _delete(log, f"index = {row.index}")
    return _at(row.index)


@mutation
async def delete_and_close_the_gap(log: Log) -> Place:
    index = log.random.randrange(log.size - 1)
    await _delete(log, f"index = {index}")
    await _shift(log, index, -1)
    return _at(index)


@mutation
async def insert_an_entry(log: Log) -> Place:
    """A copy of some entry, chained to the one before it; those after it make room."""
    index = log.random.randrange(1, log.size)
    before, copied = log.rows[index - 1], log.any_of(log.rows)
    assert before.leaf is not None
    assert copied.header is not None
    await _shift(log, index, 1)
    await log.run(
        "INSERT INTO entries SELECT %s, contract, contract_index, recorded_at, kind, party,"
        " gen_random_uuid(), outcome, leaf, header FROM entries WHERE index = %s",
        index, copied.index + (copied.index >= index),
    )  # fmt: skip
    await log.run(
        "INSERT INTO bodies"
        " SELECT %s, event_salt, event, decision_salt, decision, signatures_salt, signatures"
        " FROM bodies"
        " WHERE index = %s",
        index, copied.index + (copied.index >= index),
    )  # fmt: skip
    forged = Header.parse(copied.header)._replace(index=index, previous=before.leaf)
    await _put_header(log, copied._replace(index=index), forged, thorough=True)
    return _at(index, index + 1, words=f"before entry {index}")


async def _put_header(log: Log, row: Row, header: Header, *, thorough: bool | None = None) -> Place:
    raw = header.encode()
    await log.run("UPDATE entries SET header = %s WHERE index = %s", raw, row.index)
    if thorough if thorough is not None else log.random.random() < 0.5:
        await log.run("UPDATE entries SET leaf = %s WHERE index = %s", leaf_hash(raw), row.index)
    return _at(row.index)


async def _renumber(log: Log, indexes: dict[int, int]) -> None:
    for table in TABLES[:3]:
        for old, new in indexes.items():
            await log.run(f"UPDATE {table} SET index = %s WHERE index = %s", -1 - new, old)
        await log.run(f"UPDATE {table} SET index = -1 - index WHERE index < 0")


async def _shift(log: Log, first: int, by: int) -> None:
    for table in TABLES[:3]:
        await log.run(f"UPDATE {table} SET index = -1 - index - %s WHERE index >= %s", by, first)
        await log.run(f"UPDATE {table} SET index = -1 - index WHERE index < 0")


async def _delete(log: Log, which: str) -> None:
    for table in TABLES[:3]:
        await log.run(f"DELETE FROM {table} WHERE {which}")


# --- what follows from them -----------------------------------------------------------------------


@mutation
async def edit_a_fact(log: Log) -> Place:
    name, key, data = log.random.choice(await _facts(log))
    value = json.loads(data)
    numbers = [field for field, found in value.items() if type(found) is int]
    field = log.random.choice(numbers or list(value))
    value[field] = value[field] + 1 if numbers else "something else"
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    await log.run("UPDATE facts SET data = %s WHERE name = %s AND key = %s", text, name, key)
    return Place(f"fact {name} {key}", where=f"fact {name} {key}")


@mutation
async def delete_a_fact(log: Log) -> Place:
    name, key, _ = log.random.choice(await _facts(log))
    await log.run("DELETE FROM facts WHERE name = %s AND key = %s", name, key)
    return Place(f"fact {name} {key}", where=f"fact {name} {key}")


@mutation
async def invent_a_fact(log: Log) -> Place:
    name, key, data = log.random.choice(await _facts(log))
    invented = f"{key}-{log.random.randrange(1000)}"
    await log.run("INSERT INTO facts (name, key, data) VALUES (%s, %s, %s)", name, invented, data)
    return Place(f"fact {name} {invented}", where=f"fact {name} {invented}")


@mutation
async def edit_a_custody_chain(log: Log) -> Place:
    links = await log.fetch("SELECT serial, index FROM device_links ORDER BY serial, index")
    serial, index = log.random.choice(links)
    if log.random.random() < 0.5:
        await log.run("DELETE FROM device_links WHERE serial = %s AND index = %s", serial, index)
        return _at(index, words=f"link of {serial} to entry {index}")
    to = log.random.choice([i for i in range(log.size) if (serial, i) not in links])
    await log.run("INSERT INTO device_links VALUES (%s, %s)", serial, to)
    return _at(to, words=f"link of {serial} to entry {to}")


@mutation
async def edit_a_tile(log: Log) -> Place:
    tiles = await log.fetch("SELECT level, n, hashes, root FROM tiles ORDER BY level, n")
    level, n, hashes, root = log.random.choice(tiles)
    which = log.random.choice(("hashes", "root", "row"))
    at = (level, n)
    if which == "row":
        await log.run("DELETE FROM tiles WHERE level = %s AND n = %s", *at)
    else:
        value = log.flipped(hashes if which == "hashes" else root)
        await log.run(f"UPDATE tiles SET {which} = %s WHERE level = %s AND n = %s", value, *at)
    return Place(f"tile {level}/{n}, {which}", where=f"tile {level}/{n}")


@mutation
async def edit_the_head(log: Log) -> Place:
    column, value = log.random.choice(
        (
            ("root", "sha256(root)"),
            ("last_leaf", "sha256(last_leaf)"),
            ("frontier", "overlay(frontier placing '\\x0000' from 1)"),
            ("recorded_at", "recorded_at - interval '1 second'"),
            ("size", "size + 1"),
            ("epoch", "epoch - 1"),
            ("engine", "engine + 1"),
            ("clock", "CASE clock WHEN 'system' THEN 'simulated' ELSE 'system' END"),
        )
    )
    await log.run(f"UPDATE head SET {column} = {value}")
    if column == "size":
        return _at(log.size, words="head, size")
    return Place(f"head, {column}", where=f"head, {column}")


@mutation
async def exchange_the_key(log: Log) -> Place:
    """Of the head row: whoever signs with another key needs the row to say so."""
    await log.run("UPDATE head SET verifier_key = overlay(verifier_key placing 'x' from 3)")
    return Place("head, verifier_key", where="head, verifier_key")


async def _facts(log: Log) -> list[tuple[str, str, str]]:
    return [
        (name, key, data)
        for name, key, data in await log.fetch("SELECT name, key, data::text FROM facts ORDER BY name, key")
    ]


# --- the whole log, consistent with itself --------------------------------------------------------


@mutation
async def cut_the_tail(log: Log) -> Place:
    """And repair the head row, and the facts: what a restored backup is."""
    # Not between a cause and what the ledger says because of it: a replay would miss that.
    size = log.any_of(row for row in log.rows[log.size // 2 :] if row.party != "_ledger").index
    kept = rewritten(log.rows[:size], keep=True)
    await replace_log(log.connection, kept)
    await _forget(log, size)
    return _at(size, words=f"entries {size} to {log.size - 1}")


async def _forget(log: Log, size: int) -> None:
    """What third parties have said of more entries."""
    for table in ("witnessed", "timestamps"):
        await log.run(f"DELETE FROM {table} WHERE size > %s", size)


@mutation
async def rewrite_everything(log: Log) -> Place:
    """One cause left out, and all else judged, hashed and folded again: only a checkpoint shows it."""
    gone = log.any_of(row for row in log.rows if row.party != "_ledger")
    new = rewritten([row for row in log.rows if row.index != gone.index])
    await replace_log(log.connection, new)
    await _forget(log, 0)
    return Place(f"entry {gone.index} left out", where="entries " if new.size < log.size else "first ")


@mutation
async def forge_a_decision(log: Log) -> Place:
    """And hash everything again that follows: no hash shows it, judging again does."""
    row = log.any_of(log.rows)
    await replace_log(log.connection, rewritten(log.rows, keep=True, forged=row.index))
    return _at(row.index)


@mutation
async def put_another_log_in_its_place(log: Log) -> Place:
    """All of it, or all from some entry on."""
    other = rewritten(log.rows, origin="another.example/log")
    first = log.random.choice((0, log.random.randrange(1, log.size)))
    await _delete(log, f"index >= {first}")
    await replace_log(log.connection, other, first=first)
    # Of the two sides of a seam each says that the other is wrong.
    return _at(max(first - 1, 0), first, words=f"entries {first} to {log.size - 1}")
