"""What `chipledger verify` is given beside the file that it checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Held:
    """What a log is held against, as files: given by whoever does not take its own word."""

    key: str | None = None
    receipts: Sequence[Path] = ()
    checkpoints: Sequence[Path] = ()
    """Signed by the log, kept elsewhere; with `witnesses` also cosigned."""
    witnesses: Path | None = None
    """Whose cosignatures are enough (C2SP tlog-policy)."""
    timestamps: Sequence[Path] = ()
    """Of the first checkpoint that each is of (RFC 3161)."""
    timestamp_roots: Path | None = None
