"""The last checkpoint of a log, kept apart from its database.

A database that was restored from a backup, or whose tail was cut, is consistent with itself: only what
was kept elsewhere shows that it once was longer. This is that place, for the log's own service: a
folder, best on another disk or machine. Whoever compares reads the store first and the database second:
what is kept was durable before, so a log that is shorter, or another, has lost what was promised.

What is kept only ever grows: it is replaced under a lock, and never by an earlier or another history.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import StoreFailed, Unavailable, VerificationError
from ledger.note import Verifier

if sys.platform != "win32":
    import fcntl

NOTE_BYTES_MAX = 64 << 10


class CheckpointStore:
    """One file for each log, named by its origin; any number of processes may share the folder."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._origin = origin
        self._path = folder / f"{quote(origin, safe='')}.checkpoint"

    def __str__(self) -> str:
        return str(self._path)

    def of(self, origin: str) -> CheckpointStore:
        """What the same folder keeps of a log of another name."""
        return CheckpointStore(self._path.parent, origin)

    def note(self) -> str | None:
        """The signed checkpoint as it lies there, unverified; None: none was ever kept.

        Raises StoreFailed where the folder cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                return file.read(NOTE_BYTES_MAX).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreFailed(f"the checkpoint kept in {self} cannot be read: {error.strerror}") from error

    def latest(self, *verifiers: Verifier) -> Checkpoint | None:
        """The checkpoint that is kept, signed by one of the log's keys.

        Raises StoreFailed where it cannot be read, or is not signed so: then somebody has been there.
        """
        note = self.note()
        if note is None:
            return None
        try:
            return open_checkpoint(note, verifiers, self._origin)
        except VerificationError as error:
            raise StoreFailed(f"what is kept in {self} is no checkpoint of this log: {error}") from error

    def refuse_behind(self, size: int, kept: Checkpoint | None) -> None:
        """Raise Unavailable if what is read has fewer entries than were signed for.

        A replica lags, or the database lost its end: to sign that now would be a second history, once it
        has grown again. `kept` was read before `size` was.
        """
        if kept is not None and kept.size > size:
            raise Unavailable(
                f"what can be read has {size} entries, and a checkpoint kept outside the database is of"
                f" {kept.size}: a replica lags behind, or entries are lost"
            )

    def advance(self, note: str, *verifiers: Verifier) -> Checkpoint:
        """Keep a signed checkpoint, unless a later one is kept already; gives the one that now is.

        Raises StoreFailed where it cannot be written, or where another history of the same size is
        kept. That two sizes belong to one history is for whoever can read the log to see.
        """
        new = open_checkpoint(note, verifiers, self._origin)
        try:
            with self._locked():
                kept = self.latest(*verifiers)
                if kept is not None and kept.size >= new.size:
                    if kept.size == new.size and kept.root != new.root:
                        raise StoreFailed(
                            f"{self} keeps root {kept.root.hex()} of size {kept.size}, the log now has"
                            f" {new.root.hex()}: it has forked"
                        )
                    return kept
                replace_durably(self._path, note.encode())
        except OSError as error:
            raise StoreFailed(f"the checkpoint cannot be kept in {self}: {error.strerror}") from error
        return new

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A file of its own: a lock on what is replaced would be one on what nobody looks at any more.
        with self._path.with_suffix(".lock").open("ab") as lock:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def replace_durably(path: Path, content: bytes) -> None:
    """A crash leaves the old file or the new, whole and on disk. Raises OSError."""
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
