"""What a watch remembers from one run to the next: how far the log was sound, and what it found.

A file beside the checkpoint store, so out of reach of whoever can change the database: a range that failed
does not become sound because a row of a table says so, and what was verified once cannot be rewritten
unseen. One process at a time holds it; the others of the same folder leave watching to that one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import orjson

from ledger.errors import StoreFailed, VerificationError
from ledger.findings import Depth, Finding
from ledger.integrity import Verified
from ledger.kept_files import replace_durably

if sys.platform != "win32":
    import fcntl

BYTES_MAX = 16 << 20
FORMAT = 1
EXPLANATIONS_MAX = 100
FAILURES_MAX = 1_000
"""A log that is damaged all over is damaged enough."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A finding that nobody has explained yet."""

    finding: Finding
    found_at: str
    """RFC 3339, by the watch's clock."""
    said: bool = False
    """The log itself says so, in an entry."""


@dataclass(frozen=True, slots=True)
class Memory:
    verified: Verified = field(default_factory=Verified)
    """As of the last run that found nothing."""
    ran: Mapping[Depth, str] = field(default_factory=dict)
    """When a run of each depth last ended."""
    failures: tuple[Failure, ...] = ()
    """While there is one, no run passes."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """What the last run that found nothing saw beside the log (`ledger.beside`)."""
    log: str = ""
    """The name of the log, as of the last run."""
    summarised: str = ""
    """When the runs were last summarised in the log."""
    explanations: tuple[Mapping[str, Any], ...] = ()
    """What was said of failures that are no longer open: the newest, oldest first."""

    def failed(self, findings: list[Finding], at: str) -> Memory:
        """With those findings that are new."""
        known = {failure.finding.digest for failure in self.failures}
        new = {f.digest: Failure(f, at) for f in findings if f.digest not in known}
        return replace(self, failures=(*self.failures, *new.values())[:FAILURES_MAX])

    def explained(self, words: str, at: str) -> Memory:
        """Without open failures: what is found again is a failure again.

        Of what lies beside the log nothing but memory may say what it was: it is taken as it is from here on.
        """
        told = {"at": at, "words": words, "failures": [f.finding.value() for f in self.failures]}
        places = {failure.finding.where for failure in self.failures}
        beside = {where: mark for where, mark in self.beside.items() if where not in places}
        explanations = (*self.explanations, told)[-EXPLANATIONS_MAX:]
        return replace(self, failures=(), explanations=explanations, beside=beside)


class MemoryFile:
    """`hold`, then `read` and `keep`, then `close`, which lets another hold it."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._path = folder / f"{quote(origin, safe='')}.watch"
        self._origin = origin
        self._lock: IO[bytes] | None = None

    def __str__(self) -> str:
        return str(self._path)

    def of(self, origin: str) -> MemoryFile:
        """What was kept beside it under another name."""
        return MemoryFile(self._path.parent, origin)

    def hold(self) -> bool:
        """Whether this process is the one that watches, from now on. Raises StoreFailed."""
        if self._lock is not None:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".watching").open("ab")
        except OSError as error:
            raise StoreFailed(f"what was watched cannot be kept in {self}: {error.strerror}") from error
        if sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                return False
        self._lock = lock
        return True

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self) -> Memory:
        """What was kept; nothing where nothing was. Raises StoreFailed where it cannot be believed."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(BYTES_MAX)
        except FileNotFoundError:
            return Memory()
        except OSError as error:
            raise StoreFailed(f"what was watched cannot be read in {self}: {error.strerror}") from error
        try:
            return _memory(orjson.loads(raw), self._origin)
        except (ValueError, KeyError, TypeError, VerificationError) as error:
            raise StoreFailed(f"what is kept in {self} is not what a watch keeps of this log") from error

    def keep(self, memory: Memory) -> None:
        """Raises StoreFailed."""
        try:
            replace_durably(self._path, orjson.dumps(_value(memory, self._origin)))
        except OSError as error:
            raise StoreFailed(f"what was watched cannot be kept in {self}: {error.strerror}") from error


def _value(memory: Memory, origin: str) -> dict[str, Any]:
    verified = memory.verified
    return {
        "format": FORMAT,
        "origin": origin,
        "verified": {
            "size": verified.size,
            "root": verified.root.hex(),
            "frontier": verified.frontier.hex(),
            "last_leaf": verified.last_leaf.hex(),
            "recorded_at": verified.recorded_at,
            "origin": verified.origin,
            "epoch": verified.epoch,
        },
        "beside": dict(memory.beside),
        "log": memory.log,
        "ran": dict(memory.ran),
        "summarised": memory.summarised,
        "explanations": list(memory.explanations),
        "failures": [
            {**failure.finding.value(), "found_at": failure.found_at, "said": failure.said}
            for failure in memory.failures
        ],
    }


def _memory(value: Any, origin: str) -> Memory:
    if value["format"] != FORMAT or value["origin"] != origin:
        raise ValueError("of another format or log")
    verified = value["verified"]
    return Memory(
        verified=Verified(
            size=verified["size"],
            root=bytes.fromhex(verified["root"]),
            frontier=bytes.fromhex(verified["frontier"]),
            last_leaf=bytes.fromhex(verified["last_leaf"]),
            recorded_at=verified["recorded_at"],
            origin=verified["origin"],
            epoch=verified["epoch"],
        ),
        beside=value["beside"],
        log=value["log"],
        ran=value["ran"],
        summarised=value["summarised"],
        explanations=tuple(value["explanations"]),
        failures=tuple(
            Failure(
                Finding(one["damage"], one["where"], one.get("index"), one["evidence"]),
                one["found_at"],
                one["said"],
            )
            for one in value["failures"]
        ),
    )
