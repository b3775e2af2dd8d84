"""Small files by name, each replaced whole, where the database cannot reach them."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

if sys.platform != "win32":
    import fcntl


class KeptFiles(Protocol):
    """`str` says where they are. Everything here raises OSError, whose `strerror` are the words."""

    def read(self, name: str, limit: int) -> bytes | None:
        """The first `limit` bytes; None: there is no such file."""
        ...

    def change(self, name: str, limit: int, made: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a file by what `made` makes of it, durably; None leaves it as it is.

        Nobody else's change comes between: `made` is asked again where one would have. What it raises passes.
        """
        ...


class FilesInFolder:
    """Of a disk, shared by the processes of one machine or more. Made if need be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return None

    def change(self, name: str, limit: int, made: Callable[[bytes | None], bytes | None]) -> None:
        with self._locked(name):
            content = made(self.read(name, limit))
            if content is not None:
                replace_durably(self._folder / name, content)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        # A file of its own: a lock on what is replaced would be one on what nobody looks at any more.
        with (self._folder / name).with_suffix(".lock").open("ab") as lock:
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
