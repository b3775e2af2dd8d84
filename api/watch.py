"""A watch over one log: looks at it, remembers outside the database what it saw, and forgets no failure.

The store and what is remembered are read first, the database after them: what they know was durable before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from api.examine import Examined, Examiner, Progress
from api.settings import Settings
from ledger.checkpoint import Checkpoint
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import LedgerError, NotFound, StoreFailed
from ledger.integrity import DEPTHS, FINDINGS_MAX, Depth, Finding, Findings
from ledger.note import Verifier
from ledger.rows import Rows, connected
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

    def due(self, memory: Memory, now: datetime) -> Depth | None:
        """The deepest look whose time has come: it does what the others would."""
        for depth in reversed(DEPTHS):
            every = getattr(self, depth)
            ran = memory.ran.get(depth)
            if every and (ran is None or (now - parse_timestamp(ran)).total_seconds() >= every):
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
        self._verifier = verifier
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
        memory = await self._remembered(outside)
        async with connected(self._url) as rows:
            # By whichever of the log's keys signed it. Still before the head: what is kept was durable then.
            kept = await self._kept(outside, await self._keys(rows))
            seen = await self._examiner.look(
                rows, depth, kept=kept, verified=memory.verified, progress=progress
            )
        async with self.turn:
            # Read again: what was explained while it looked stays explained.
            memory = await self._remembered(Findings())
            run, memory = self._judge(depth, started, outside, seen, memory)
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
        self, depth: Depth, started: datetime, outside: Findings, seen: Examined, memory: Memory
    ) -> tuple[Run, Memory]:
        ended = datetime.now(UTC)
        found = [*outside.found, *seen.findings.found][:FINDINGS_MAX]
        count = outside.count + seen.findings.count
        known = len(memory.failures)
        memory = memory.failed(found, format_timestamp(ended))
        done = DEPTHS[: DEPTHS.index(depth) + 1]
        memory = replace(memory, ran={**memory.ran, **dict.fromkeys(done, format_timestamp(ended))})
        if seen.verified is not None and not count:
            memory = replace(memory, verified=seen.verified)
        result: Result = "damaged" if count else "unexplained" if memory.failures else "intact"
        run = Run(
            depth, started, ended, self.by, result, seen.first, seen.size, seen.root, seen.judged,
            seen.facts, tuple(found), count, memory.failures, memory.failures[known:],
        )  # fmt: skip
        return run, memory

    async def _keys(self, rows: Rows) -> list[Verifier]:
        try:
            return await rows.keys_of(self._verifier)
        except LedgerError:
            return [self._verifier]  # what hands over is damaged: the look will say where

    async def _kept(self, findings: Findings, keys: list[Verifier]) -> Checkpoint | None:
        try:
            return await asyncio.to_thread(self._store.latest, *keys)
        except StoreFailed as error:
            findings.add("checkpoint_altered", "checkpoint store", because=str(error))
            return None

    async def _remembered(self, findings: Findings) -> Memory:
        try:
            return await self.remember()
        except StoreFailed as error:
            findings.add("memory_altered", "memory of the watch", because=str(error))
            return Memory()
