"""A folder of static files of a log (`ledger.static_log`), for any web server to serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from ledger import tiles
from ledger.errors import NotFound, UnusableInput, VerificationError
from ledger.static_log import BUNDLE_BYTES_MAX, CHECKPOINT, CHECKPOINT_BYTES_MAX, changed
from ledger.tiles import FULL_WIDTH, Coordinates, tile_path


class Folder:
    """A `ledger.static_log.Target`; read as it lies there, it is what `ledger.verify_tiles` checks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._touched: set[Path] = set()
        """Folders with names in them that may not be on the disk yet."""

    def __str__(self) -> str:
        return str(self.path)

    def checkpoint(self) -> str | None:
        try:
            raw = _read(self.path / CHECKPOINT, CHECKPOINT_BYTES_MAX)
        except FileNotFoundError:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise VerificationError(f"{self.path / CHECKPOINT} is not UTF-8") from None

    def tile(self, where: Coordinates) -> bytes:
        for width in sorted({where.width, FULL_WIDTH}):
            try:
                raw = _read(self.path / tile_path(where.level, where.n, width), BUNDLE_BYTES_MAX)
            except FileNotFoundError:
                continue
            return raw if width == where.width else tiles.narrowed(where, raw)
        raise NotFound(f"{tile_path(*where)} is missing")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder is made if need be."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UnusableInput(f"another process is writing to {self.path}") from None
            yield
        finally:
            os.close(handle)

    def keep(self, where: Coordinates, raw: bytes) -> None:
        path = self.path / tile_path(*where)
        try:
            present = _read(path, BUNDLE_BYTES_MAX)
        except FileNotFoundError:
            self._put(path, raw)
        else:
            if present != raw:
                raise changed(str(path))
        # Of a file that a crash left here, the name may not be on the disk either.
        self._touched.update(parent for parent in path.parents if parent.is_relative_to(self.path))

    def publish(self, note: str) -> None:
        for folder in self._touched:
            _flush(folder)
        self._touched.clear()
        self._put(self.path / CHECKPOINT, note.encode())
        _flush(self.path)

    def drop_partials(self, level: int, n: int) -> None:
        rmtree(self.path / f"{tile_path(level, n)}.p", ignore_errors=True)

    def _put(self, path: Path, raw: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path / ".new"
        with new.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise VerificationError(f"{path} is longer than {limit} bytes")
    return raw


def _flush(folder: Path) -> None:
    """Names, as files are, are on the disk only when it is asked for."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
