"""A log made anew out of the events of another, consistent with itself in every byte.

What somebody can do who holds the database, the code and the checkpoint key. For drills on a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg import AsyncConnection

from ledger import tiles
from ledger.canonical import encode
from ledger.decision import Decision
from ledger.entry import SALT_BYTES, ZERO_HASH, Body, Entry, Header
from ledger.event import LEDGER_CONTRACT, Submission, committed_event
from ledger.facts import Chain, Facts, Key
from ledger.fold import Entailed, extend_chain, own_submission
from ledger.integrity import Row
from ledger.kinds.ledger import LedgerOpened
from ledger.merkle import Frontier, Growth
from ledger.statements import NewEntry
from ledger.values import format_timestamp
from policies.engine import Engine
from policies.history import History
from policies.replay import duties_in, follows_a_cause


@dataclass(frozen=True, slots=True)
class Rewritten:
    entries: Sequence[NewEntry]
    facts: dict[Key, str]

    @property
    def size(self) -> int:
        return len(self.entries)


def rewritten(
    rows: Sequence[Row], *, origin: str | None = None, keep: bool = False, forged: int | None = None
) -> Rewritten:
    """The events of `rows` judged again in their order, under another name of the log where one is given.

    `keep`: with the salts they have, so that what is not changed keeps its hash. `forged`: the entry whose
    decision says that it was decided by another engine.
    """
    return _Rewriting(rows, origin, keep=keep, forged=forged).run()


class _Rewriting:
    def __init__(self, rows: Sequence[Row], origin: str | None, *, keep: bool, forged: int | None) -> None:
        assert rows[0].event is not None
        self._opened = orjson.loads(rows[0].event)
        self._origin = origin or self._opened["data"]["origin"]
        self._rows = rows
        self._keep = keep
        self._forged = forged
        self._history = History(Engine(), origin=self._origin)
        self._entries: list[NewEntry] = []
        self._last_leaf = ZERO_HASH

    def run(self) -> Rewritten:
        for row in self._rows:
            assert row.event is not None
            assert row.recorded_at is not None
            event, at = committed_event(row.event, row.signatures), row.recorded_at
            if not self._entries:
                data = {**self._opened["data"], "origin": self._origin}
                said = Entailed(LEDGER_CONTRACT, LedgerOpened, data)
                self._take(own_submission(said, origin=self._origin, index=0, at=at), at)
            elif follows_a_cause(event):
                continue  # it follows again from its cause
            elif duties := duties_in(event):
                self._enter(self._history.take_due(duties, at=at), at)
            else:
                self._take(Submission(event, row.event, row.signatures), at)
        return Rewritten(self._entries, dict(self._history.rows()))

    def _take(self, submission: Submission, at: datetime) -> None:
        while wanted := self._history.prepare(submission.event):
            self._recall(wanted)
        self._enter(self._history.take(submission, at=at), at)

    def _recall(self, wanted: Sequence[int]) -> None:
        for index in wanted:
            body = self._entries[index].entry.bodies["event"]
            assert body is not None
            self._history.recall(index, committed_event(body.value))

    def _enter(self, course: Iterator[tuple[Submission, Decision, Facts]], at: datetime) -> None:
        for said, decision, facts in course:
            if self._keep and len(self._entries) == len(self._rows):
                continue  # its cause is the last entry that is kept: the cut goes through a batch
            self._append(said, decision, facts, at)
            self._history.note(decision.outcome)

    def _append(self, said: Submission, decision: Decision, facts: Facts, at: datetime) -> None:
        index, event = len(self._entries), said.event
        chain = facts.get(Chain, event.contract)
        old = self._rows[index] if self._keep else None
        salts = [old.event_salt, old.decision_salt] if old is not None else [None, None]
        decided = decision.body
        if index == self._forged:
            decided = encode({**decision.value(), "engine": decision.engine + 1})
        bodies = {
            name: Body(salt or os.urandom(SALT_BYTES), value)
            for name, salt, value in zip(("event", "decision"), salts, (said.body, decided), strict=True)
        }
        signatures = None
        if said.signatures is not None:
            salt = (old.signatures_salt if old is not None else None) or os.urandom(SALT_BYTES)
            bodies["signatures"] = Body(salt, said.signatures)
            signatures = bodies["signatures"].commitment
        header = Header(
            index=index,
            previous=self._last_leaf,
            contract=event.contract,
            contract_index=chain.count if chain else 0,
            contract_previous=bytes.fromhex(chain.head) if chain else ZERO_HASH,
            recorded_at=format_timestamp(at),
            decision=bodies["decision"].commitment,
            event=bodies["event"].commitment,
            signatures=signatures,
        )
        entry = Entry.build(header, bodies)
        extend_chain(event.contract, facts, leaf=entry.leaf)
        self._last_leaf = entry.leaf
        self._entries.append(
            NewEntry(
                entry, event.kind, event.actor.party, event.id, decision.outcome,
                tuple(event.data.speaks_of()), at,
            )
        )  # fmt: skip


async def replace_log(
    connection: AsyncConnection[tuple[Any, ...]], new: Rewritten, *, first: int = 0
) -> None:
    """Put a log in the place of the one in the database, from entry `first` on; all else follows from it."""
    async with connection.cursor() as cursor:
        for table in ("entries", "bodies", "device_links", "facts", "tiles"):
            where = f" WHERE index >= {first}" if table in ("entries", "bodies", "device_links") else ""
            await cursor.execute(f"DELETE FROM {table}{where}")
        written = new.entries[first:]
        await cursor.executemany(
            "INSERT INTO entries (index, contract, contract_index, recorded_at, kind, party, event_id,"
            " outcome, leaf, header) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (e.header.index, e.header.contract, e.header.contract_index, one.at, one.kind, one.party,
                 one.event_id, one.outcome, e.leaf, e.raw)
                for one in written for e in (one.entry,)
            ],
        )  # fmt: skip
        await cursor.executemany(
            "INSERT INTO bodies (index, event_salt, event, decision_salt, decision, signatures_salt,"
            " signatures) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(one.entry.header.index, *_bodies(one)) for one in written],
        )
        links = [(serial, one.entry.header.index) for one in written for serial in one.serials]
        await cursor.executemany("INSERT INTO device_links (serial, index) VALUES (%s, %s)", links)
        await cursor.executemany(
            "INSERT INTO facts (name, key, data) VALUES (%s, %s, %s)",
            [(name, key, data) for (name, key), data in new.facts.items()],
        )
        await _replace_tree(cursor, new)


def _bodies(one: NewEntry) -> list[bytes | None]:
    found = [one.entry.bodies.get(name) for name in ("event", "decision", "signatures")]
    return [part for body in found for part in (body or (None, None))]


async def _replace_tree(cursor: Any, new: Rewritten) -> None:
    leaves = [one.entry.leaf for one in new.entries]
    tree = Growth(Frontier(), leaves)
    for level, n in tiles.filled(0, new.size):
        below = range(n * tiles.FULL_WIDTH, (n + 1) * tiles.FULL_WIDTH)
        hashes = b"".join(tree.node(tiles.HEIGHT * level, at) for at in below)
        await cursor.execute(
            "INSERT INTO tiles (level, n, hashes, root) VALUES (%s, %s, %s, %s)",
            [level, n, hashes, tree.node(tiles.HEIGHT * (level + 1), n)],
        )
    await cursor.execute(
        "UPDATE head SET epoch = epoch + 1, size = %s, root = %s, frontier = %s, last_leaf = %s,"
        " recorded_at = %s",
        [tree.size, tree.root, tree.frontier().to_bytes(), leaves[-1], new.entries[-1].at],
    )
