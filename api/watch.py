"""A watch over one log: looks at it, remembers outside the database what it saw, and forgets no failure.

The store and what is remembered are read first, the database after them: what they know was durable before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from api.examine.examiner import Examiner
from api.examine.look import Examined, Known, Progress
from api.settings import Settings
from ledger.checkpoint import Checkpoint
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import NotFound, StoreFailed
from ledger.findings import DEPTHS, FINDINGS_MAX, Depth, Finding, Findings
from ledger.note import Verifier
from ledger.rows import connected
from ledger.succession import Lineage
from ledger.values import format_timestamp, parse_timestamp
from ledger.watch_memory import Failure, Memory, MemoryFile

Result = Literal["intact", "damaged", "unexplained"]
"""unexplained: nothing was found, and of what was found earlier nobody has said what it was."""


@dataclass(frozen=True, slots=True)
class Run:
    """One look, and what it came to."""

    depth: Depth
    started: datetime
    ended: datetime
    by: str
    result: Result
    first: int
    size: int
    root: bytes
    judged: int
    facts: int
    findings: tuple[Finding, ...]
    findings_count: int
    failures: tuple[Failure, ...]
    """All that are not explained, found now or earlier."""
    new: tuple[Failure, ...]
    """Those of them that were not known before."""
    new_keys: tuple[str, ...]
    """API keys that no earlier look saw."""
    key: Verifier
    """The checkpoint key of the log now: the given one, or its successor."""

    def report(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "size": self.size,
            "root": self.root.hex(),
            "decisions": self.judged,
            "facts": self.facts,
            "findings": [finding.value() for finding in self.findings],
            "findings_count": self.findings_count,
            "unexplained": len(self.failures),
        }


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between looks of each depth; 0: never by itself."""

    head: float = 60
    tail: float = 300
    all: float = 86_400

    @classmethod
    def of(cls, settings: Settings) -> Intervals:
        return cls(
            settings.integrity_head_seconds, settings.integrity_tail_seconds, settings.integrity_all_seconds
        )

    def of_depth(self, depth: Depth) -> float:
        seconds: float = getattr(self, depth)
        return seconds

    def due(self, memory: Memory, now: datetime) -> Depth | None:
        """The deepest look whose time has come: it does what the others would."""
        for depth in reversed(DEPTHS):
            every = self.of_depth(depth)
            ran = memory.ran.get(depth)
            # One that ran later than now did so by a clock that has been set back since.
            if every and (ran is None or not 0 <= (now - parse_timestamp(ran)).total_seconds() < every):
                return depth
        return None


class Watch:
    """`run`, as often as wanted, by one task at a time; `memory` must be held by this process."""

    def __init__(
        self,
        reader_url: str,
        verifier: Verifier,
        store: CheckpointStore,
        memory: MemoryFile,
        examiner: Examiner | None = None,
    ) -> None:
        self._url = reader_url
        self.verifier = verifier
        self._store = store
        self._memory = memory
        self._examiner = examiner or Examiner(verifier)
        self.turn = asyncio.Lock()
        """Of whoever changes what is remembered: held for moments, and not while it looks."""
        self.by = f"{socket.gethostname()}:{os.getpid()}"

    async def run(self, depth: Depth, progress: Progress | None = None) -> Run:
        """Look. Raises Unavailable if the database cannot be read, StoreFailed if nothing can be kept."""
        started = datetime.now(UTC)
        outside = Findings()
        lineage, seen = Lineage(self.verifier, ()), None
        try:
            async with connected(self._url) as rows:
                # Its names and keys say where to look. Still before the head: what is kept was durable then.
                lineage = await rows.lineage(self.verifier)
                memory = await self._remembered(outside, lineage)
                kept = await self._kept(outside, lineage)
                _note_loss(outside, lineage, memory, kept)
                seen = await self._examiner.look(
                    rows, depth, Known(memory.verified, kept, memory.beside), progress=progress
                )
        except psycopg.Error as error:  # a table that is gone, a page that is broken: it does not pass
            outside.add(
                "unreadable", "database", because=type(error).__name__, sqlstate=error.sqlstate or "none"
            )
        async with self.turn:
            # Read again: what was explained while it looked stays explained.
            memory = await self._remembered(Findings(), lineage)
            if seen is not None:
                memory = replace(memory, log=lineage.present.name)
            seen = seen or Examined(first=0)
            run, memory = self._judge(depth, started, outside, seen, memory, lineage.present)
            await self.keep(memory)
        return run

    async def remember(self) -> Memory:
        return await asyncio.to_thread(self._memory.read)

    async def keep(self, memory: Memory) -> None:
        await asyncio.to_thread(self._memory.keep, memory)

    async def explain(self, words: str) -> tuple[Failure, ...]:
        """Take the failures as explained; gives them. Raises NotFound where there is none."""
        memory = await self.remember()
        if not memory.failures:
            raise NotFound("no failure waits for an explanation")
        await self.keep(memory.explained(words, format_timestamp(datetime.now(UTC))))
        return memory.failures

    def _judge(
        self,
        depth: Depth,
        started: datetime,
        outside: Findings,
        seen: Examined,
        memory: Memory,
        key: Verifier,
    ) -> tuple[Run, Memory]:
        ended = datetime.now(UTC)
        found = [*outside.found, *seen.findings.found][:FINDINGS_MAX]
        count = outside.count + seen.findings.count
        known, new_keys = len(memory.failures), tuple(seen.new_keys) if memory.ran else ()
        memory = memory.failed(found, format_timestamp(ended))
        done = DEPTHS[: DEPTHS.index(depth) + 1]
        memory = replace(memory, ran={**memory.ran, **dict.fromkeys(done, format_timestamp(ended))})
        if seen.verified is not None and not count:
            memory = replace(memory, verified=seen.verified)
        if not count:
            memory = replace(memory, beside=seen.beside)
        result: Result = "damaged" if count else "unexplained" if memory.failures else "intact"
        run = Run(
            depth, started, ended, self.by, result, seen.first, seen.size, seen.root, seen.judged,
            seen.facts, tuple(found), count, memory.failures, memory.failures[known:], new_keys, key,
        )  # fmt: skip
        return run, memory

    async def _kept(self, findings: Findings, lineage: Lineage) -> list[Checkpoint]:
        """What is kept under each name that the log has had."""
        found = []
        for origin in lineage.origins:
            try:
                kept = await asyncio.to_thread(self._store.of(origin).latest, *lineage.keys_of(origin))
            except StoreFailed as error:
                findings.add("checkpoint_altered", "checkpoint store", because=str(error))
                continue
            found += [kept] if kept is not None else []
        return found

    async def _remembered(self, findings: Findings, lineage: Lineage) -> Memory:
        """Under a new name what was remembered under the one before: no failure is forgotten by that."""
        try:
            memory = await self.remember()
            for origin in lineage.origins if memory == Memory() else ():
                before = await asyncio.to_thread(self._memory.of(origin).read)
                if before != Memory():
                    memory = replace(before, ran={})
                    break
        except StoreFailed as error:
            findings.add("memory_altered", "memory of the watch", because=str(error))
            return Memory()
        return memory


def _note_loss(findings: Findings, lineage: Lineage, memory: Memory, kept: Sequence[Checkpoint]) -> None:
    """Once: entries that this watch knew of are lost, though the log itself says so."""
    ended = lineage.ended(memory.log)
    if ended is None:
        return
    known = [one.size for one in kept if one.origin == memory.log]
    size = max([*known, memory.verified.size if memory.verified.origin == memory.log else 0])
    if size > ended.index:
        findings.add(
            "entries_lost", f"entries {ended.index} to {size - 1}", ended.index, log=memory.log,
            said_by_entry=ended.index,
        )  # fmt: skip
