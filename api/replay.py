"""`chipledger replay`, and a log for `chipledger policy`: files and the database around the pure parts."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from api import database
from api.console import many
from api.settings import Settings
from ledger.entry import line_of
from ledger.export_file import EXPORT
from ledger.reader import Reader
from ledger.rebuild import Difference, differences
from policies.engine import Engine
from policies.exported import Export, line_from, replay_export
from policies.replay import Outcome, Replay

Advance = Callable[[int, int], object]


def replay_file(path: Path, advance: Advance) -> Outcome:
    """Replay an export. Raises UnusableInput or OSError."""
    with path.open("rb") as file, _few_collections():
        return replay_export(file, Engine(), progress=advance)


async def replay_database(reader_url: str, advance: Advance) -> tuple[Outcome, list[Difference]]:
    """Replay the log of a database, and compare its facts with those that the replay made.

    Facts are compared only if no entry differs; meaningful while nobody writes.
    """
    reader = Reader(reader_url)
    await reader.open()
    try:
        head = await reader.head()
        replay = Replay(Engine(), origin=head.origin, erased=await reader.erased())
        async with reader.stream(size=head.size) as entries:
            async for stored in entries:
                line = line_from(stored.entry)
                while wanted := replay.wanted(line):
                    for earlier in await reader.entries_at(wanted):
                        replay.recall(earlier.index, line_from(earlier.entry))
                if replay.take(line) is not None:
                    break
                if stored.index % 256 == 0 or stored.index + 1 == head.size:
                    advance(stored.index + 1, head.size)
        outcome = replay.finish()
        if outcome.difference is not None:
            return outcome, []
        return outcome, await differences(dict(replay.history.rows()), reader)
    finally:
        await reader.close()


def words_of(outcome: Outcome, facts: list[Difference] | None, *, seconds: float) -> list[str]:
    """What a replay found, in lines. `facts`: those that differ; None: they were not compared."""
    done = f"{many(outcome.entries, 'entry', 'entries')} replayed, {outcome.entries / seconds:,.0f} a second"
    lines = [] if outcome.difference is None else ["DIFFERS", *outcome.difference.lines()]
    if outcome.difference is None:
        lines.append("OK every decision is the one that was committed" if not facts else "DIFFERS")
        lines += [str(difference) for difference in (facts or [])[:50]]
        if facts is not None:
            lines.append(f"{many(len(facts), 'fact differs', 'facts differ')} from the log")
    if outcome.withheld:
        first = ", ".join(map(str, outcome.withheld_first))
        more = " and more" if outcome.withheld > len(outcome.withheld_first) else ""
        number = many(outcome.withheld, "entry", "entries")
        lines.append(f"not replayable, for a body is withheld or erased: {number}, {first}{more}")
        if outcome.difference is not None:
            lines.append("what the difference rests on may be what is withheld before it")
    lines.append(f"{done}; {outcome.judged:,} judged, {outcome.entailed:,} entailed")
    return lines


@contextmanager
def committed_log(path: Path | None, settings: Settings, advance: Advance) -> Iterator[Export]:
    """The log of an export, or of the database, copied to a file that is gone afterwards."""
    if path is not None:
        with path.open("rb") as file, _few_collections():
            yield Export(file)
        return
    with tempfile.TemporaryFile() as file:
        with database.opened(settings) as logins:
            asyncio.run(_copy(logins.reader, file, advance))
        file.seek(0)
        with _few_collections():
            yield Export(file)


async def _copy(reader_url: str, to: BinaryIO, advance: Advance) -> None:
    reader = Reader(reader_url)
    await reader.open()
    try:
        head = await reader.head()
        to.write(orjson.dumps({"export": EXPORT, "origin": head.origin, "size": head.size}) + b"\n")
        async with reader.stream(size=head.size) as entries:
            async for stored in entries:
                to.write(line_of(stored.entry))
                if stored.index % 256 == 0 or stored.index + 1 == head.size:
                    advance(stored.index + 1, head.size)
    finally:
        await reader.close()


@contextmanager
def _few_collections() -> Iterator[None]:
    """Facts are many and make no cycles: to look for some at every 700 new ones takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
