"""ledger.tiles: the same proofs as over all leaves, out of nothing but the tiles of that size."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import tiles
from ledger.errors import NotFound, VerificationError
from ledger.merkle import (
    Frontier,
    Growth,
    check_consistency,
    check_inclusion,
    check_inclusion_of_all,
    root,
)
from ledger.tiles import ENTRIES, Coordinates, parse_tile_path, tile_path
from tests.ledger import rfc9162

COUNT = 2 * 65536 + 300
LEAVES = rfc9162.leaves(COUNT)
EDGES = [1, 2, 3, 255, 256, 257, 511, 512, 513, 700, 65535, 65536, 65537, 65792, 66000, COUNT]


class Store:
    """The tiles of a log; remembers what was read."""

    def __init__(self, levels: list[tuple[bytes, ...]]) -> None:
        self.levels = levels
        self.read_tiles: set[tuple[int, int, int]] = set()

    def read(self, level: int, n: int, width: int) -> bytes:
        self.read_tiles.add((level, n, width))
        hashes = self.levels[level][n * 256 : n * 256 + width]
        assert len(hashes) == width, "asked for hashes that the log does not have"
        return b"".join(hashes)


@pytest.fixture(scope="module")
def levels() -> list[tuple[bytes, ...]]:
    """The hashes of each tile level, made by the slow reference."""
    levels = [LEAVES]
    while len(below := levels[-1]) >= 256:
        full = range(0, len(below) - 255, 256)
        levels.append(tuple(rfc9162.mth(below[at : at + 256]) for at in full))
    return levels


@pytest.fixture
def store(levels: list[tuple[bytes, ...]]) -> Store:
    return Store(levels)


def frontier_of(size: int) -> Frontier:
    return Growth(Frontier(), LEAVES[:size]).frontier()


def interesting(size: int) -> Iterable[int]:
    near = {e + d for e in EDGES for d in (-1, 0, 1)}
    return sorted(index for index in near | {0, size // 2, size - 1} if 0 <= index < size)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ((0, 0, 256), "tile/0/000"),
        ((0, 999, 256), "tile/0/999"),
        ((0, 1000, 256), "tile/0/x001/000"),
        ((0, 1234067, 256), "tile/0/x001/x234/067"),  # the example of the specification
        ((0, 1234067, 5), "tile/0/x001/x234/067.p/5"),
        ((63, 1, 255), "tile/63/001.p/255"),
        ((ENTRIES, 273, 112), "tile/entries/273.p/112"),
    ],
)
def test_tile_paths(where: tuple[int, int, int], path: str) -> None:
    assert tile_path(*where) == path
    assert parse_tile_path(path) == where


@given(st.integers(-1, 63), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_tile_has_one_path(level: int, n: int, width: int) -> None:
    assert parse_tile_path(tile_path(level, n, width)) == Coordinates(level, n, width)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000",
        "tile/01/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/a/000", "tile/0/x000/000",
        "tile/0/x000/x001/000", "tile/0/001/000", "tile/0/x001", "tile/0/x001/", "tile/0/X001/000",
        "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/05", "tile/0/000.p/256",
        "tile/0/000.p/1000", "tile/0/000.p/-1", "tile/0/000.p/1/", "/tile/0/000", "tile/0/000/",
        "tile/0/000\n", "tile/0/٠٠٠", "tile/٠/000", "tile/0//000", "tile/0/../000", "tile/0/000?a",
        "tile/entry/000", "tile/0/" + "x001/" * 7 + "000",
    ],
)  # fmt: skip
def test_no_other_path_names_a_tile(path: str) -> None:
    with pytest.raises(NotFound, match=r"names no tile, must be like tile/0/x001/234"):
        parse_tile_path(path)


# --- which tiles ----------------------------------------------------------------------------------


def test_the_tiles_of_size_70000_are_those_of_the_specification() -> None:
    found = list(tiles.tiles_of(70_000))
    assert [t for t in found if t.width < 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert sum(t.level == 0 for t in found) == 273 + 1
    assert sum(t.level == 1 for t in found) == 1 + 1
    assert list(tiles.tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles.tiles_of(0)) == []


@pytest.mark.parametrize("size", EDGES)
def test_widths_are_those_of_the_specification(size: int) -> None:
    for level in range(4):
        full, partial = divmod(size // 256**level, 256)
        assert tiles.width_at(level, full, size) == partial
        assert tiles.width_at(level, full + 1, size) == 0
        if full:
            assert tiles.width_at(level, full - 1, size) == 256
    assert tiles.width_at(ENTRIES, size // 256, size) == size % 256


# --- proofs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, *EDGES])
def test_the_root_out_of_tiles_is_the_root(size: int, store: Store) -> None:
    assert tiles.root(size, store.read) == root(LEAVES[:size])
    assert store.read_tiles == tiles.tiles_for_root(size)


@pytest.mark.parametrize("size", EDGES)
def test_inclusion_proofs_out_of_tiles_are_those_over_all_leaves(size: int, store: Store) -> None:
    head = root(LEAVES[:size])
    whole = Growth(Frontier(), LEAVES[:size])
    own = set(tiles.tiles_of(size))
    for index in interesting(size):
        store.read_tiles.clear()
        proof = tiles.prove_inclusion(index, size, store.read)
        assert proof == whole.prove_inclusion(index)
        assert store.read_tiles == tiles.tiles_for_inclusion(index, size)
        assert store.read_tiles <= own, "a tile of another size was read"
        assert len(store.read_tiles) <= 2 * 3, "a proof needs few tiles"
        check_inclusion(proof, leaf_hash=LEAVES[index], index=index, tree_size=size, root=head)


@pytest.mark.parametrize("size", EDGES)
def test_one_proof_for_several_entries_holds_and_reads_the_tiles_it_names(size: int, store: Store) -> None:
    indexes = set(interesting(size))
    proof = tiles.prove_inclusion_of_all(indexes, size, store.read)
    leaves = {index: LEAVES[index] for index in indexes}
    check_inclusion_of_all(proof, leaf_hashes=leaves, tree_size=size, root=frontier_of(size).root())
    assert store.read_tiles == set(tiles.tiles_for_inclusion_of_all(indexes, size))


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 700])
def test_small_inclusion_proofs_are_those_of_the_rfc(size: int, store: Store) -> None:
    for index in interesting(size):
        expected = rfc9162.path(index, LEAVES[:size])
        assert tiles.prove_inclusion(index, size, store.read) == expected


@pytest.mark.parametrize("size", EDGES)
def test_consistency_proofs_out_of_tiles_are_those_of_the_rfc(size: int, store: Store) -> None:
    head = root(LEAVES[:size])
    own = set(tiles.tiles_of(size))
    for old_size in [0, *(old for old in EDGES if old <= size)]:
        store.read_tiles.clear()
        proof = tiles.prove_consistency(old_size, size, store.read)
        if old_size and size <= 700:
            assert proof == rfc9162.proof(old_size, LEAVES[:size])
        assert store.read_tiles == tiles.tiles_for_consistency(old_size, size)
        assert store.read_tiles <= own, "a tile of another size was read"
        check_consistency(
            proof,
            old_size=old_size,
            old_root=root(LEAVES[:old_size]),
            new_size=size,
            new_root=head,
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_proof_out_of_tiles_holds(levels: list[tuple[bytes, ...]], data: st.DataObject) -> None:
    store = Store(levels)
    size = data.draw(st.integers(1, COUNT))
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(1, size))
    head = tiles.root(size, store.read)
    check_inclusion(
        tiles.prove_inclusion(index, size, store.read),
        leaf_hash=LEAVES[index],
        index=index,
        tree_size=size,
        root=head,
    )
    check_consistency(
        tiles.prove_consistency(old_size, size, store.read),
        old_size=old_size,
        old_root=tiles.root(old_size, store.read),
        new_size=size,
        new_root=head,
    )


def test_what_is_not_in_the_tree_is_not_found(store: Store) -> None:
    for index in (-1, 5, 6):
        with pytest.raises(NotFound, match=f"index is {index}, must be from 0 and below tree siz"):
            tiles.prove_inclusion(index, 5, store.read)
    for old_size in (-1, 6):
        with pytest.raises(NotFound, match=f"old size is {old_size}, must be from 0 and not above"):
            tiles.prove_consistency(old_size, 5, store.read)


def test_a_tile_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(VerificationError, match=r"tile/0/000\.p/3 is 64 bytes, must be 96"):
        tiles.prove_inclusion(0, 3, lambda _level, _n, _width: bytes(64))


# --- growing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old_size", "size"),
    [
        (0, 0), (0, 255), (0, 256), (0, 1000), (1, 256), (255, 256), (255, 257), (256, 256),
        (256, 512), (257, 511), (257, 600), (300, 301), (65535, 65536), (65280, 65536),
        (60000, 65537), (65536, 65792), (65000, 131073), (0, 65536), (131071, 131072),
    ],
)  # fmt: skip
def test_growth_fills_each_tile_once_and_knows_its_root(old_size: int, size: int, store: Store) -> None:
    growth = Growth(frontier_of(old_size), LEAVES[old_size:size])
    found = list(tiles.filled(old_size, size))
    full = {t for t in tiles.tiles_of(size) if t.width == 256}
    before = {t for t in tiles.tiles_of(old_size) if t.width == 256}
    assert [(level, n, 256) for level, n in found] == sorted(full - before)
    for level, n in found:
        assert growth.node(8 * (level + 1), n) == store.levels[level + 1][n]
