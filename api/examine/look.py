"""What a look is given, and what it comes to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.checkpoint import Checkpoint
from ledger.findings import Findings
from ledger.integrity import Verified
from ledger.merkle import EMPTY_ROOT

Progress = Callable[[int, int], object]


class Pace:
    """Gives way: after each slice of work it rests, so many times as long as the slice took."""

    def __init__(self, *, slice_entries: int = 256, rest: float = 0.0) -> None:
        self.slice_entries = slice_entries
        self._rest = rest
        self.begin()

    def begin(self) -> None:
        """Work begins now: what was not work before it earns no rest."""
        self._since_s = time.monotonic()

    async def give_way(self) -> None:
        took_s = time.monotonic() - self._since_s
        await asyncio.sleep(took_s * self._rest)
        self.begin()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from outside the database, and was read before it."""

    verified: Verified = field(default_factory=Verified)
    """How far an earlier look found the log sound."""
    kept: Sequence[Checkpoint] = ()
    """The last that is kept under each name that the log has had."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """What an earlier look saw beside the log."""


@dataclass(slots=True)
class Examined:
    """What a look came to."""

    first: int = 0
    """The first entry whose bytes were read."""
    size: int = 0
    root: bytes = EMPTY_ROOT
    findings: Findings = field(default_factory=Findings)
    verified: Verified | None = None
    """How far the log is sound now; None where something was found, or nothing was read."""
    judged: int = 0
    """Decisions that were made again."""
    facts: int = 0
    """Facts that were compared."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """What lies beside the log, for the next look."""
    new_keys: Sequence[str] = ()
    """API keys that no earlier look saw."""
