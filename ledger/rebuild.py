"""Facts from the log again: folded anew from the first entry, and compared with what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Final

import psycopg

from ledger.decision import duties_of
from ledger.erasure import Kept, kept_in
from ledger.errors import Unavailable
from ledger.event import committed_event
from ledger.facts import Fact, Facts, Key, Recorded
from ledger.fold import duties_needed, extend_chain, fold, missing
from ledger.loading import StoredEntry
from ledger.reader import Reader

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not what the log makes it."""

    key: Key
    stored: str | None
    """None: not stored."""
    folded: str | None
    """None: the log does not make it."""

    def __str__(self) -> str:
        name, key = self.key
        if self.stored is None:
            return f"{name} {key}: not stored, must be {self.folded}"
        if self.folded is None:
            return f"{name} {key}: stored as {self.stored}, but the log does not make it"
        return f"{name} {key}: stored as {self.stored}, must be {self.folded}"


ERASED_BY_NOBODY: Final = "there: no entry says that they were erased"


class Refold:
    """Every fact of a log, folded from its entries in order."""

    def __init__(self, wanted: Collection[int] = ()) -> None:
        self.facts = Facts()
        self.lost: list[int] = []
        """Entries without their bodies, of which nobody has said that they were erased."""
        self.made: dict[int, list[Fact]] = {}
        """Of each entry that is `wanted`: the facts that it changed, as they were right behind it."""
        self._wanted = wanted
        self._erased: dict[int, list[int]] | None = None

    async def feed(self, entries: AsyncIterator[StoredEntry], reader: Reader) -> AsyncIterator[int]:
        """Fold each entry; gives its index. What the log has kept of an erased one stands for it."""
        async for stored in entries:
            await self._fold(stored, reader)
            yield stored.index

    async def _fold(self, stored: StoredEntry, reader: Reader) -> None:
        header = stored.entry.header
        event_body, decision_body = stored.entry.bodies["event"], stored.entry.bodies["decision"]
        self.facts.load(
            (key, None)
            for key in (("chain", header.contract), ("contract", header.contract))
            if not self.facts.loaded(key)
        )
        layer = self.facts.attempt()
        if event_body is not None and decision_body is not None:
            outcome, duties = duties_of(decision_body.value)
            if outcome != "denied":
                event = committed_event(event_body.value)
                while keys := missing(event, self.facts):
                    self.facts.load([(key, await _past(key, reader)) for key in keys])
                self.facts.load((key, None) for key in self.facts.missing(duties_needed(event, duties)))
                fold(event, layer, index=header.index, at=stored.recorded_at, duties=duties)
        elif (kept := await self._kept(header.index, reader)) is not None:
            for fact in kept.facts:
                layer.put(fact)
        else:
            self.lost.append(header.index)
        if header.index in self._wanted:
            self.made[header.index] = list(layer.changed.values())
        extend_chain(header.contract, layer, leaf=stored.entry.leaf)
        layer.keep()

    async def _kept(self, index: int, reader: Reader) -> Kept | None:
        if self._erased is None:
            self._erased = await reader.erased()
        said = await reader.entries_at(self._erased.get(index, []))
        bodies = ((one.index, one.entry.bodies["event"]) for one in said)
        return kept_in([(by, body and body.value) for by, body in bodies]) if said else None

    def rows(self) -> dict[Key, str]:
        return {key: fact.encode().decode() for key, fact in self.facts.changed.items()}


async def _past(key: Key, reader: Reader) -> Fact | None:
    """A fact that no entry has made yet is not there; an entry is read back from the log."""
    if key[0] != Recorded.name:
        return None
    found = await reader.entries_at([int(key[1])])
    if not found:
        return None
    [stored] = found
    event = stored.entry.bodies["event"]
    return Recorded(
        index=stored.index, contract=stored.entry.header.contract, kind=stored.kind, party=stored.party,
        outcome=stored.outcome, event=None if event is None else committed_event(event.value),
    )  # fmt: skip


async def refold(reader: Reader, progress: Progress, *, wanted: Collection[int] = ()) -> Refold:
    """The facts as the log makes them; and of entries that are `wanted`, what they made of them."""
    head = await reader.head()
    refolded = Refold(wanted)
    async with reader.stream(size=head.size) as entries:
        async for index in refolded.feed(entries, reader):
            if index % 256 == 0 or index + 1 == head.size:
                progress(index + 1, head.size)
    return refolded


async def compare(reader_url: str, progress: Progress) -> list[Difference]:
    """Every fact that differs, in order of its key. Meaningful while nobody writes."""
    reader = Reader(reader_url)
    await reader.open()
    try:
        refolded = await refold(reader, progress)
        lost = [Difference(("bodies", str(index)), None, ERASED_BY_NOBODY) for index in refolded.lost]
        return [*lost, *await differences(refolded.rows(), reader)]
    finally:
        await reader.close()


async def differences(folded: dict[Key, str], reader: Reader) -> list[Difference]:
    """Every stored fact that differs from the rows that the log makes, in order of its key."""
    stored: dict[Key, str] = {}
    async with reader.every_fact() as rows:
        async for name, key, data in rows:
            stored[name, key] = data
    return [
        Difference(key, stored.get(key), folded.get(key))
        for key in sorted(stored.keys() | folded.keys())
        if stored.get(key) != folded.get(key)
    ]


async def replace(owner_url: str, reader_url: str, progress: Progress) -> int:
    """Put the facts that the log makes in place of those stored; gives their number.

    Holds the head for the whole rebuild, so nobody appends meanwhile, and moves the epoch, so that
    every process drops the facts it remembers. Raises Unavailable, if it reads another log or less of it.
    """
    reader = Reader(reader_url)
    await reader.open()
    try:
        async with await psycopg.AsyncConnection.connect(owner_url) as connection:
            cursor = await connection.execute("SELECT root FROM head WHERE id = 1 FOR UPDATE")
            locked = await cursor.fetchone()
            # A replica that lags would give the facts of an earlier day, and nobody would notice.
            if locked is None or (await reader.head()).root != locked[0]:
                raise Unavailable("what is read is not the log that is locked; rebuild from the primary")
            rows = (await refold(reader, progress)).rows()
            await connection.execute("DELETE FROM facts")
            async with (
                connection.cursor() as cursor,
                cursor.copy("COPY facts (name, key, data) FROM STDIN") as copy,
            ):
                for (name, key), data in sorted(rows.items()):
                    await copy.write_row((name, key, data))
            await connection.execute("UPDATE head SET epoch = epoch + 1 WHERE id = 1")
    finally:
        await reader.close()
    return len(rows)
