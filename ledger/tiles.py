"""The tree as C2SP tlog-tiles: 256 hashes of one level to a tile, and every proof out of tiles.

Tile (level L, n) holds the hashes of nodes 256·n to 256·n + 255 at tree level 8·L. A tile that the
tree has not filled yet is partial: its width is below 256, and it is not hashed into the level
above. Tiles of ENTRIES hold no hashes but the entries themselves, 256 to a bundle.

Whatever stores the tiles is handed in as `read(level, n, width)`, which gives the first `width`
hashes of a tile, `32 * width` bytes. `tiles_for_...` names them beforehand, so that a reader can
fetch all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from ledger.errors import NotFound, VerificationError
from ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    last_complete,
    node_hash,
    siblings,
    siblings_of_all,
    split,
)

HEIGHT: Final = 8
FULL_WIDTH: Final = 1 << HEIGHT
LEVEL_MAX: Final = 63
ENTRIES: Final = -1
"""The level of entry bundles: as wide as the tiles of level 0."""

Read: TypeAlias = Callable[[int, int, int], bytes]


class Coordinates(NamedTuple):
    """Which tile, and how much of it."""

    level: int
    n: int
    width: int


# --- names ----------------------------------------------------------------------------------------

_PATH = re.compile(r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


def tile_path(level: int, n: int, width: int = FULL_WIDTH) -> str:
    """The path below the log's prefix, such as `tile/0/x001/x234/067.p/5`."""
    assert ENTRIES <= level <= LEVEL_MAX, level
    assert n >= 0, n
    assert 0 < width <= FULL_WIDTH, width
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03}")
    name = "entries" if level == ENTRIES else str(level)
    partial = "" if width == FULL_WIDTH else f".p/{width}"
    return f"tile/{name}/{'/'.join(reversed(groups))}{partial}"


def parse_tile_path(path: str) -> Coordinates:
    """The tile that `path` names; NotFound for a path that `tile_path` would not write."""
    if match := _PATH.fullmatch(path):
        name, groups, partial = match.groups()
        level = ENTRIES if name == "entries" else int(name)
        n = int(groups.replace("x", "").replace("/", ""))
        width = FULL_WIDTH if partial is None else int(partial)
        # One name each, or a cache would keep two: this also refuses 005, x000/005 and .p/256.
        if level <= LEVEL_MAX and 0 < width <= FULL_WIDTH and tile_path(level, n, width) == path:
            return Coordinates(level, n, width)
    raise NotFound(f"{path[:80]!r} names no tile, must be like tile/0/x001/234 or tile/0/001.p/5")


# --- entry bundles --------------------------------------------------------------------------------


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each behind its length: two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def split_bundle(raw: bytes, width: int) -> list[bytes]:
    """The entries of a bundle; VerificationError unless it is `width` whole ones and nothing else."""
    entries, at = [], 0
    while at < len(raw):
        start = at + 2
        at = start + int.from_bytes(raw[at:start])
        entries.append(raw[start:at])
    if at != len(raw) or len(entries) != width:
        raise VerificationError(f"the bundle is {len(raw)} bytes, must be {width} whole entries and no more")
    return entries


def narrowed(where: Coordinates, full: bytes) -> bytes:
    """What a partial tile or bundle was, out of the full one that came after it."""
    if where.level == ENTRIES:
        return bundle(split_bundle(full, FULL_WIDTH)[: where.width])
    return full[: where.width * HASH_BYTES]


# --- which tiles there are ------------------------------------------------------------------------


def width_at(level: int, n: int, tree_size: int) -> int:
    """How many hashes tile `n` has in a tree of `tree_size`; 0: there is no such tile."""
    nodes = tree_size >> HEIGHT * max(level, 0)
    return min(max(nodes - n * FULL_WIDTH, 0), FULL_WIDTH)


def tiles_of(tree_size: int) -> Iterator[Coordinates]:
    """Every tile of hashes that a tree of `tree_size` has, level by level."""
    level = 0
    while nodes := tree_size >> HEIGHT * level:
        for n in range(-(-nodes // FULL_WIDTH)):
            yield Coordinates(level, n, width_at(level, n, tree_size))
        level += 1


def filled(old_size: int, new_size: int) -> Iterator[tuple[int, int]]:
    """The (level, n) of each tile full in the new tree and not in the old, level by level."""
    for level, old, new in _levels(old_size, new_size):
        for n in range(old // FULL_WIDTH, new // FULL_WIDTH):
            yield level, n


def _levels(old_size: int, new_size: int) -> Iterator[tuple[int, int, int]]:
    """Each tile level, with how many hashes it has in either tree."""
    level = 0
    while new := new_size >> HEIGHT * level:
        yield level, old_size >> HEIGHT * level, new
        level += 1


# --- proofs out of tiles --------------------------------------------------------------------------


def root(tree_size: int, read: Read) -> bytes:
    """The root hash of the first `tree_size` entries."""
    if not tree_size:
        return EMPTY_ROOT
    return _hash(*_top(tree_size), tree_size, read)


def prove_inclusion(index: int, tree_size: int, read: Read) -> list[bytes]:
    """The proof that entry `index` is in the tree of `tree_size` (RFC 9162 §2.1.3.1)."""
    path = _inclusion(index, tree_size)
    return [_hash(level, at, tree_size, read) for level, at in path]


def prove_inclusion_of_all(indexes: Iterable[int], tree_size: int, read: Read) -> list[bytes]:
    """One proof for several entries (`ledger.merkle.siblings_of_all`)."""
    return [_hash(level, at, tree_size, read) for level, at in siblings_of_all(indexes, tree_size)]


def prove_consistency(old_size: int, new_size: int, read: Read) -> list[bytes]:
    """The proof that the tree of `new_size` continues that of `old_size` (RFC 9162 §2.1.4.1)."""
    path = _consistency(old_size, new_size)
    return [_hash(level, at, new_size, read) for level, at in path]


def tiles_for_root(tree_size: int) -> set[Coordinates]:
    """The tiles that `root` reads."""
    return _tiles_under([_top(tree_size)], tree_size) if tree_size else set()


def tiles_for_inclusion(index: int, tree_size: int) -> set[Coordinates]:
    """The tiles that `prove_inclusion` reads."""
    return _tiles_under(_inclusion(index, tree_size), tree_size)


def tiles_for_inclusion_of_all(indexes: Iterable[int], tree_size: int) -> set[Coordinates]:
    """The tiles that `prove_inclusion_of_all` reads."""
    return _tiles_under(siblings_of_all(indexes, tree_size), tree_size)


def tiles_for_consistency(old_size: int, new_size: int) -> set[Coordinates]:
    """The tiles that `prove_consistency` reads."""
    return _tiles_under(_consistency(old_size, new_size), new_size)


def _top(tree_size: int) -> tuple[int, int]:
    return (tree_size - 1).bit_length(), 0


def _inclusion(index: int, tree_size: int) -> list[tuple[int, int]]:
    """The nodes of the proof, as (tree level, index)."""
    if not 0 <= index < tree_size:
        raise NotFound(f"index is {index}, must be from 0 and below tree size {tree_size}")
    return list(siblings(0, index, tree_size))


def _consistency(old_size: int, new_size: int) -> list[tuple[int, int]]:
    if not 0 <= old_size <= new_size:
        raise NotFound(f"old size is {old_size}, must be from 0 and not above size {new_size}")
    if old_size in (0, new_size):
        return []
    level, index = last_complete(old_size)
    seed = [(level, index)] if index else []
    return [*seed, *siblings(level, index, new_size)]


def _subtrees(level: int, index: int, tree_size: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees that a node is made of, left to right: one, but on the ragged edge."""
    start = index << level
    end = min(start + (1 << level), tree_size)
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _tile_under(level: int, index: int, tree_size: int) -> tuple[Coordinates, int, int]:
    """The tile a complete subtree is made from, and the positions of its hashes there."""
    tile_level, height = divmod(level, HEIGHT)
    n, start = divmod(index << height, FULL_WIDTH)
    tile = Coordinates(tile_level, n, width_at(tile_level, n, tree_size))
    return tile, start, start + (1 << height)


def _tiles_under(nodes: Iterable[tuple[int, int]], tree_size: int) -> set[Coordinates]:
    return {_tile_under(*subtree, tree_size)[0] for node in nodes for subtree in _subtrees(*node, tree_size)}


def _hash(level: int, index: int, tree_size: int, read: Read) -> bytes:
    """The hash of a node, ragged or not."""
    parts = []
    for subtree in _subtrees(level, index, tree_size):
        tile, start, stop = _tile_under(*subtree, tree_size)
        hashes = split(_read(read, tile)[start * HASH_BYTES : stop * HASH_BYTES])
        while len(hashes) > 1:
            hashes = list(map(node_hash, hashes[::2], hashes[1::2]))
        parts += hashes
    edge = parts.pop()
    while parts:
        edge = node_hash(parts.pop(), edge)
    return edge


def _read(read: Read, tile: Coordinates) -> bytes:
    raw = read(*tile)
    if len(raw) != tile.width * HASH_BYTES:
        raise VerificationError(f"{tile_path(*tile)} is {len(raw)} bytes, must be {tile.width * HASH_BYTES}")
    return raw
