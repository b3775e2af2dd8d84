"""The log as static files (C2SP tlog-tiles), kept in step with where the log is read.

    checkpoint
    tile/<level>/<n>[.p/<width>]
    tile/entries/<n>[.p/<width>]

`update` brings a target, a folder or a bucket, up to a checkpoint. What it writes has been proved against
that checkpoint before: the right edge by the root that it leads to, each full tile by its hash in the tile
above, each bundle by its leaf hashes. So a crash leaves nothing that would have to be taken back, and the
next run goes on from the checkpoint that lies there. That file is replaced last, after all it stands for is
there to stay: whoever begins at the checkpoint finds every tile of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from ledger import merkle, tiles
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import Unavailable, VerificationError
from ledger.merkle import HASH_BYTES
from ledger.note import Verifier, parse_note
from ledger.tiles import ENTRIES, FULL_WIDTH, Coordinates, tile_path
from ledger.verified import Progress

CHECKPOINT: Final = "checkpoint"
CHECKPOINT_BYTES_MAX: Final = 64 << 10
BUNDLE_BYTES_MAX: Final = FULL_WIDTH * (2 + 0xFFFF)
"""More than a tile of hashes has."""


class Source(Protocol):
    """Where the log is read: nothing of it is believed but the checkpoint, and that by its signature."""

    async def checkpoint(self, least: int = 0) -> str:
        """A signed head: of `least` entries or more, where it can choose."""
        ...

    async def tile(self, where: Coordinates) -> bytes:
        """A tile or bundle of a size that `checkpoint` has named."""
        ...


class Target(Protocol):
    """One log's static files. Nothing is ever rewritten but the checkpoint. `str` says where they are."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from writing. UnusableInput where one does."""
        ...

    def checkpoint(self) -> str | None:
        """The signed note as it lies there; None: there is none yet. VerificationError if it is no text."""
        ...

    def tile(self, where: Coordinates) -> bytes:
        """A tile or bundle, a partial one out of the full one if only that is there. Raises NotFound."""
        ...

    def keep(self, where: Coordinates, raw: bytes) -> None:
        """Put a tile or bundle in place. VerificationError, here or by `publish`, if another lies there."""
        ...

    def publish(self, note: str) -> None:
        """Replace the checkpoint, once all that was kept is there to stay."""
        ...

    def drop_partials(self, level: int, n: int) -> None:
        """Remove the partial tiles of one that is full. Those that stay are as true as ever."""
        ...


def changed(where: str) -> VerificationError:
    """What to say of a tile that is not the one that is to be kept there."""
    return VerificationError(
        f"{where} is not what the log has there now. A tile never changes: this file was altered,"
        " or the log has forked. Nothing was rewritten"
    )


async def update(
    target: Target,
    source: Source,
    verifier: Verifier,
    *,
    earlier: Sequence[Verifier] = (),
    progress: Progress | None = None,
) -> Checkpoint:
    """Bring a locked target up to the source's checkpoint; gives that.

    `earlier`: keys that the log had before `verifier`, one of which may have signed what lies there.
    Raises VerificationError, with the target's checkpoint left as it was, if what the source has does
    not hold or does not continue what lies there: a fork. Unavailable, if it is of before.
    """
    there = target.checkpoint()
    old = _checkpoint_of(target, there, verifier, *earlier)
    note = await source.checkpoint(old.size if old is not None else 0)
    try:
        new = open_checkpoint(note, verifier, verifier.name)
    except VerificationError as error:
        raise VerificationError(f"{error}. Where a log has rotated its key, its new one is needed") from None
    if new == old and there is not None:
        if len(parse_note(note)[1]) > len(parse_note(there)[1]):
            target.publish(note)  # witnesses have seen it meanwhile
        return new
    if old is None:
        old = Checkpoint(verifier.name, 0, merkle.EMPTY_ROOT)
    if new.size < old.size:
        said = f"the log is said to have {new.size} entries, the checkpoint in {target} is of {old.size}"
        if _root_at(target, new.size, old.size) != new.root:
            raise VerificationError(f"{said}, and begins otherwise: it has forked")
        raise Unavailable(f"{said} and continues it: what serves the log lags behind, or it has lost its end")
    edge = {where: await source.tile(where) for where in tiles.tiles_for_root(new.size)}
    root = tiles.root(new.size, lambda *where: edge[Coordinates(*where)])
    if root != new.root:
        raise VerificationError(f"the tiles lead to root {root.hex()}, the checkpoint has {new.root.hex()}")
    await _check_continues(old, new, source)
    for where, raw in edge.items():
        target.keep(where, raw)
    filled = list(_levels(old.size, new.size))
    for level in reversed(range(len(filled))):
        above = Coordinates(-1, -1, 0)
        hashes = b""
        for n in filled[level]:
            parent = _parent(level, n, new.size)
            if parent != above:
                above, hashes = parent, target.tile(parent)
            where = Coordinates(level, n, FULL_WIDTH)
            raw = await source.tile(where)
            at = n % FULL_WIDTH * HASH_BYTES
            # Its length too: half as many hashes, of a level between, would lead to the same root.
            if (
                len(raw) != FULL_WIDTH * HASH_BYTES
                or merkle.root(merkle.split(raw)) != hashes[at : at + HASH_BYTES]
            ):
                raise VerificationError(
                    f"{tile_path(level, n)} does not hash to its place in {tile_path(*above)}"
                )
            target.keep(where, raw)
            if level == 0:
                await _keep_bundle(target, source, where, raw)
                if progress is not None:
                    progress((n + 1) * FULL_WIDTH, new.size)
    if width := new.size % FULL_WIDTH:
        where = Coordinates(0, new.size // FULL_WIDTH, width)
        await _keep_bundle(target, source, where, edge[where])
        if progress is not None:
            progress(new.size, new.size)
    target.publish(note)
    for level, full in enumerate(filled):
        if full:  # of the others there never was a partial one
            target.drop_partials(level, full[0])
            if level == 0:
                target.drop_partials(ENTRIES, full[0])
    return new


async def _keep_bundle(target: Target, source: Source, leaves: Coordinates, hashes: bytes) -> None:
    """The bundle of headers that a tile of level 0, which holds, is made of."""
    where = leaves._replace(level=ENTRIES)
    raw = await source.tile(where)
    if b"".join(map(merkle.leaf_hash, tiles.split_bundle(raw, where.width))) != hashes:
        raise VerificationError(f"{tile_path(*where)} does not hash to its tile of level 0")
    target.keep(where, raw)


def _root_at(target: Target, size: int, there: int) -> bytes:
    """The root that the first `size` entries have by the target's own tiles, which are of `there` entries."""

    def read(level: int, n: int, width: int) -> bytes:
        kept = target.tile(Coordinates(level, n, tiles.width_at(level, n, there)))
        return kept[: width * HASH_BYTES]

    return tiles.root(size, read)


def _levels(old_size: int, new_size: int) -> Iterator[range]:
    """Level by level, which tiles the new tree has full and the old one has not."""
    while new_size:
        yield range(old_size // FULL_WIDTH, new_size // FULL_WIDTH)
        old_size, new_size = old_size // FULL_WIDTH, new_size // FULL_WIDTH


def _parent(level: int, n: int, tree_size: int) -> Coordinates:
    """The tile that a full one is hashed into."""
    above = n // FULL_WIDTH
    return Coordinates(level + 1, above, tiles.width_at(level + 1, above, tree_size))


def _checkpoint_of(
    target: Target, note: str | None, present: Verifier, *earlier: Verifier
) -> Checkpoint | None:
    if note is None:
        return None
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
        raise VerificationError(f"{target}/{CHECKPOINT} is not of {present.name}: {error}; {hint}") from None


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
            f"the log does not continue what is there: it has forked, or serves tiles not its own: {error}"
        ) from None
