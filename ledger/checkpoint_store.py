"""The last checkpoint of a log, kept apart from its database.

A database that was restored from a backup, or whose tail was cut, is consistent with itself: only what
was kept elsewhere shows that it once was longer. This is that place, for the log's own service: a
folder, best on another disk or machine, or a bucket. Whoever compares reads the store first and the database
second: what is kept was durable before, so a log that is shorter, or another, has lost what was promised.

What is kept only ever grows: it is replaced under a lock, or by a conditional request, and never by an
earlier or another history.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import StoreFailed, Unavailable, VerificationError
from ledger.kept_files import FilesInFolder, KeptFiles
from ledger.note import Verifier

NOTE_BYTES_MAX = 64 << 10


class CheckpointStore:
    """One file for each log, named by its origin; any number of processes may share them."""

    def __init__(self, files: KeptFiles, origin: str) -> None:
        self._files, self._origin = files, origin
        self._name = f"{quote(origin, safe='')}.checkpoint"

    @classmethod
    def in_folder(cls, folder: Path, origin: str) -> CheckpointStore:
        return cls(FilesInFolder(folder), origin)

    def __str__(self) -> str:
        return f"{self._files}/{self._name}"

    def of(self, origin: str) -> CheckpointStore:
        """What the same place keeps of a log of another name."""
        return CheckpointStore(self._files, origin)

    def note(self) -> str | None:
        """The signed checkpoint as it lies there, unverified; None: none was ever kept.

        Raises StoreFailed where it cannot be read.
        """
        try:
            return _text(self._files.read(self._name, NOTE_BYTES_MAX))
        except OSError as error:
            raise StoreFailed(f"the checkpoint kept in {self} cannot be read: {error.strerror}") from error

    def latest(self, *verifiers: Verifier) -> Checkpoint | None:
        """The checkpoint that is kept, signed by one of the log's keys.

        Raises StoreFailed where it cannot be read, or is not signed so: then somebody has been there.
        """
        return self._opened(self.note(), verifiers)

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
        now = new

        def made(raw: bytes | None) -> bytes | None:
            nonlocal now
            kept = self._opened(_text(raw), verifiers)
            if kept is None or kept.size < new.size:
                return note.encode()
            if kept.size == new.size and kept.root != new.root:
                raise StoreFailed(
                    f"{self} keeps root {kept.root.hex()} of size {kept.size}, the log now has"
                    f" {new.root.hex()}: it has forked"
                )
            now = kept
            return None

        try:
            self._files.change(self._name, NOTE_BYTES_MAX, made)
        except OSError as error:
            raise StoreFailed(f"the checkpoint cannot be kept in {self}: {error.strerror}") from error
        return now

    def _opened(self, note: str | None, verifiers: Sequence[Verifier]) -> Checkpoint | None:
        if note is None:
            return None
        try:
            return open_checkpoint(note, verifiers, self._origin)
        except VerificationError as error:
            raise StoreFailed(f"what is kept in {self} is no checkpoint of this log: {error}") from error


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")
