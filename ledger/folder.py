"""The log as a folder of static files (C2SP tlog-tiles), for any web server to serve.

    checkpoint
    tile/<level>/<n>[.p/<width>]
    tile/entries/<n>[.p/<width>]

`update` brings a folder up to a checkpoint. What it writes has been proved against that checkpoint
before: the right edge by the root that it leads to, each full tile by its hash in the tile above, each
bundle by its leaf hashes. So a crash leaves nothing that would have to be taken back, and the next run
goes on from the checkpoint that lies there. That file is replaced last, after all it stands for is on
the disk: whoever begins at the checkpoint finds every tile of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final, Protocol

from ledger import merkle, tiles
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import NotFound, UnusableInput, VerificationError
from ledger.merkle import HASH_BYTES
from ledger.note import Verifier
from ledger.tiles import ENTRIES, FULL_WIDTH, Coordinates, tile_path
from ledger.verified import Progress

CHECKPOINT: Final = "checkpoint"
CHECKPOINT_BYTES_MAX: Final = 64 << 10
BUNDLE_BYTES_MAX: Final = FULL_WIDTH * (2 + 0xFFFF)
"""More than a tile of hashes has."""


class Source(Protocol):
    """Where the log is read: nothing of it is believed but the checkpoint, and that by its signature."""

    async def checkpoint(self) -> str: ...

    async def tile(self, where: Coordinates) -> bytes:
        """A tile or bundle of a size that `checkpoint` has named."""
        ...


class Folder:
    """One log's folder. Nothing in it is ever rewritten but the checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._touched: set[Path] = set()
        """Folders with names in them that may not be on the disk yet."""

    def checkpoint(self) -> str | None:
        """The signed note as it lies there; None in a folder that has none yet."""
        try:
            raw = _read(self.path / CHECKPOINT, CHECKPOINT_BYTES_MAX)
        except FileNotFoundError:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise VerificationError(f"{self.path / CHECKPOINT} is not UTF-8") from None

    def tile(self, where: Coordinates) -> bytes:
        """A tile or bundle. A partial one may be gone since the full one is there: then out of that.

        NotFound if it is not there.
        """
        for width in sorted({where.width, FULL_WIDTH}):
            try:
                raw = _read(self.path / tile_path(where.level, where.n, width), BUNDLE_BYTES_MAX)
            except FileNotFoundError:
                continue
            return raw if width == where.width else tiles.narrowed(where, raw)
        raise NotFound(f"{tile_path(*where)} is missing")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the folder, which is made if need be."""
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
        """Put a tile or bundle in place. VerificationError if another lies there: nothing is rewritten."""
        path = self.path / tile_path(*where)
        try:
            present = _read(path, BUNDLE_BYTES_MAX)
        except FileNotFoundError:
            self._put(path, raw)
        else:
            if present != raw:
                raise VerificationError(
                    f"{path} is not what the log has there now. A tile never changes: this file was altered,"
                    " or the log has forked. Nothing was rewritten"
                )
        # Of a file that a crash left here, the name may not be on the disk either.
        self._touched.update(parent for parent in path.parents if parent.is_relative_to(self.path))

    def publish(self, note: str) -> None:
        """Replace the checkpoint, once all that was kept is on the disk."""
        for folder in self._touched:
            _flush(folder)
        self._touched.clear()
        self._put(self.path / CHECKPOINT, note.encode())
        _flush(self.path)

    def drop_partial(self, level: int, n: int) -> None:
        """Remove the partial tiles of one that is full. Those that a crash keeps from it stay, and are
        as true as ever."""
        rmtree(self.path / f"{tile_path(level, n)}.p", ignore_errors=True)

    def _put(self, path: Path, raw: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path / ".new"
        with new.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


async def update(
    folder: Folder,
    source: Source,
    verifier: Verifier,
    *,
    earlier: Sequence[Verifier] = (),
    progress: Progress | None = None,
) -> Checkpoint:
    """Bring a locked folder up to the source's checkpoint; gives that.

    `earlier`: keys that the log had before `verifier`, one of which may have signed what lies in the folder.
    Raises VerificationError, with the folder's checkpoint left as it was, if what the source has does
    not hold or does not continue what lies there: a fork.
    """
    note = await source.checkpoint()
    try:
        new = open_checkpoint(note, verifier, verifier.name)
    except VerificationError as error:
        raise VerificationError(f"{error}. Where a log has rotated its key, its new one is needed") from None
    old = _checkpoint_of(folder, verifier, *earlier)
    if new == old and folder.checkpoint() is not None:
        return new
    if new.size < old.size:
        raise VerificationError(
            f"the log has {new.size} entries now, the checkpoint of the folder {old.size}: "
            "it lags behind, or it was restored from a backup, which is a fork"
        )
    edge = {where: await source.tile(where) for where in tiles.tiles_for_root(new.size)}
    root = tiles.root(new.size, lambda *where: edge[Coordinates(*where)])
    if root != new.root:
        raise VerificationError(f"the tiles lead to root {root.hex()}, the checkpoint has {new.root.hex()}")
    await _check_continues(old, new, source)
    for where, raw in edge.items():
        folder.keep(where, raw)
    filled = list(_levels(old.size, new.size))
    for level in reversed(range(len(filled))):
        above = Coordinates(-1, -1, 0)
        hashes = b""
        for n in filled[level]:
            parent = _parent(level, n, new.size)
            if parent != above:
                above, hashes = parent, folder.tile(parent)
            raw = await source.tile(Coordinates(level, n, FULL_WIDTH))
            at = n % FULL_WIDTH * HASH_BYTES
            # Its length too: half as many hashes, of a level between, would lead to the same root.
            if (
                len(raw) != FULL_WIDTH * HASH_BYTES
                or merkle.root(merkle.split(raw)) != hashes[at : at + HASH_BYTES]
            ):
                raise VerificationError(
                    f"{tile_path(level, n)} does not hash to its place in {tile_path(*above)}"
                )
            folder.keep(Coordinates(level, n, FULL_WIDTH), raw)
    for n in range(old.size // FULL_WIDTH, -(-new.size // FULL_WIDTH)):
        where = Coordinates(ENTRIES, n, tiles.width_at(ENTRIES, n, new.size))
        raw = await source.tile(where)
        leaves = map(merkle.leaf_hash, tiles.split_bundle(raw, where.width))
        if b"".join(leaves) != folder.tile(where._replace(level=0)):
            raise VerificationError(f"{tile_path(*where)} does not hash to its tile of level 0")
        folder.keep(where, raw)
        if progress is not None:
            progress(n * FULL_WIDTH + where.width, new.size)
    folder.publish(note)
    for level, full in enumerate(filled):
        for n in full:
            folder.drop_partial(level, n)
            if level == 0:
                folder.drop_partial(ENTRIES, n)
    return new


def _levels(old_size: int, new_size: int) -> Iterator[range]:
    """Level by level, which tiles the new tree has full and the old one has not."""
    while new_size:
        yield range(old_size // FULL_WIDTH, new_size // FULL_WIDTH)
        old_size, new_size = old_size // FULL_WIDTH, new_size // FULL_WIDTH


def _parent(level: int, n: int, tree_size: int) -> Coordinates:
    """The tile that a full one is hashed into."""
    above = n // FULL_WIDTH
    return Coordinates(level + 1, above, tiles.width_at(level + 1, above, tree_size))


def _checkpoint_of(folder: Folder, present: Verifier, *earlier: Verifier) -> Checkpoint:
    note = folder.checkpoint()
    if note is None:
        return Checkpoint(present.name, 0, merkle.EMPTY_ROOT)
    try:
        return open_checkpoint(note, [present, *earlier], present.name)
    except VerificationError as error:
        origin = note.partition("\n")[0]
        hint = "where the log has rotated its key, the one before is needed too"
        if origin != present.name:
            hint = (
                f"it is of {origin[:200]!r}. A log that was recovered has another name, and needs another"
                " folder: leave this one as it is, for it proves what was promised under that name"
            )
        raise VerificationError(
            f"{folder.path / CHECKPOINT} is not of {present.name}: {error}; {hint}"
        ) from None


async def _check_continues(old: Checkpoint, new: Checkpoint, source: Source) -> None:
    wanted = tiles.tiles_for_consistency(old.size, new.size)
    found = {where: await source.tile(where) for where in wanted}
    proof = tiles.prove_consistency(old.size, new.size, lambda *where: found[Coordinates(*where)])
    try:
        merkle.check_consistency(
            proof, old_size=old.size, old_root=old.root, new_size=new.size, new_root=new.root
        )
    except VerificationError as error:
        raise VerificationError(
            f"the log does not continue the folder's: it has forked, or serves tiles not its own: {error}"
        ) from None


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
