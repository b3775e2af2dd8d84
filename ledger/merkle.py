"""The Merkle tree of RFC 9162 §2.1 (the one of RFC 6962) over SHA-256: growing, proving, checking.

Node (level, index) is the hash of entries index·2^level and following, 2^level of them, or as many
as the tree still has: then it is the ragged right edge, and the hash of all its entries, whatever
their number. Halves that have no right neighbour rise unchanged, so a level is a plain list and
the sibling of index i is i ^ 1.

A hash is 32 bytes, an index counts from 0, a proof runs from the leaf's side to the root's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from ledger.errors import NotFound, VerificationError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def siblings(level: int, index: int, tree_size: int) -> Iterator[tuple[int, int]]:
    """The (level, index) that lead from a node to the root; the last may be ragged."""
    while (tree_size - 1) >> level:
        if (index ^ 1) << level < tree_size:
            yield level, index ^ 1
        level, index = level + 1, index >> 1


def siblings_of_all(indexes: Iterable[int], tree_size: int) -> Iterator[tuple[int, int]]:
    """The (level, index) that lead from these entries to the root and do not follow from them.

    Level by level from the leaves, left to right; the last of a level may be ragged.
    """
    level, known = 0, sorted(set(indexes))
    while (tree_size - 1) >> level:
        there = set(known)
        for index in known:
            if index ^ 1 not in there and (index ^ 1) << level < tree_size:
                yield level, index ^ 1
        level, known = level + 1, list(dict.fromkeys(index >> 1 for index in known))


def last_complete(tree_size: int) -> tuple[int, int]:
    """The (level, index) of the smallest, rightmost complete subtree; `tree_size` > 0."""
    level = (tree_size & -tree_size).bit_length() - 1
    return level, (tree_size >> level) - 1


# --- growing --------------------------------------------------------------------------------------


class Frontier:
    """The hashes of the complete subtrees of a tree, left to right: all that growth needs of it."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise VerificationError(
                f"the frontier of size {size} has {len(hashes)} hashes, "
                "must have one for each bit set in the size"
            )
        for one in hashes:
            _check_hash("a hash of the frontier", one)
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add the entry with leaf hash `leaf`."""
        hashes, size = self.hashes, self.size
        while size & 1:
            leaf = sha256(b"\1" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root hash; of the empty tree SHA-256("")."""
        if not self.hashes:
            return EMPTY_ROOT
        *rest, edge = self.hashes
        for left in reversed(rest):
            edge = node_hash(left, edge)
        return edge

    def to_bytes(self) -> bytes:
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, raw: bytes) -> Frontier:
        """Raise VerificationError unless `raw` can be the frontier of a tree of `size`."""
        return cls(size, split(raw))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frontier):
            return NotImplemented
        return (self.size, self.hashes) == (other.size, other.hashes)

    def __repr__(self) -> str:
        return f"Frontier(size={self.size}, root={self.root().hex()})"


class Growth:
    """A tree of `old_size` grown by new entries to `size`: root, frontier, proofs of the new.

    Keeps, level by level, the new nodes and the one old node they can have as a sibling; that is
    enough to prove each new entry in the new tree. It holds nothing of the entries before.
    """

    __slots__ = ("_levels", "old_size", "root", "size")

    def __init__(self, old: Frontier, leaf_hashes: Sequence[bytes]) -> None:
        self.old_size = old.size
        self.size = size = old.size + len(leaf_hashes)
        # Level by level: the index of the first node kept, always even, and the nodes from there.
        self._levels: list[tuple[int, list[bytes]]] = []
        frontier = list(old.hashes)
        nodes = list(leaf_hashes)
        level = 0
        while size:
            if old.size >> level & 1:
                nodes = [frontier.pop(), *nodes]
            self._levels.append((old.size >> level & ~1, nodes))
            if not (size - 1) >> level:
                break
            pairs = iter(nodes)
            above = [sha256(b"\1" + a + b).digest() for a, b in zip(pairs, pairs, strict=False)]
            nodes = [*above, nodes[-1]] if len(nodes) & 1 else above
            level += 1
        self.root = nodes[0] if size else EMPTY_ROOT

    def frontier(self) -> Frontier:
        """The frontier of the new tree."""
        bits = [level for level in range(self.size.bit_length()) if self.size >> level & 1]
        return Frontier(self.size, [self.node(level, (self.size >> level) - 1) for level in reversed(bits)])

    def node(self, level: int, index: int) -> bytes:
        """The hash of a node of the new tree that ends after the old one, or of a sibling of it."""
        first, nodes = self._levels[level]
        assert index >= first, f"node ({level}, {index}) belongs to the old tree alone"
        return nodes[index - first]

    def prove_inclusion(self, index: int) -> list[bytes]:
        """The proof that new entry `index` is in the new tree (RFC 9162 §2.1.3.1)."""
        if not self.old_size <= index < self.size:
            raise NotFound(f"index is {index}, must be within {self.old_size}..{self.size - 1}")
        return self._path(0, index)

    def prove_consistency(self) -> list[bytes]:
        """The proof that the new tree continues the old one (RFC 9162 §2.1.4.1)."""
        if self.old_size in (0, self.size):
            return []
        level, index = last_complete(self.old_size)
        # Where the old tree is one complete subtree, its root is known and the proof leaves it out.
        seed = [self.node(level, index)] if index else []
        return seed + self._path(level, index)

    def _path(self, level: int, index: int) -> list[bytes]:
        # The arithmetic of `siblings` once more, without its tuples: this runs for every entry.
        path = []
        for first, nodes in self._levels[level:]:
            at = (index ^ 1) - first
            if at < len(nodes):
                path.append(nodes[at])
            index >>= 1
        return path


# --- proving, over all leaf hashes ----------------------------------------------------------------


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root hash of the tree of these leaf hashes (RFC 9162 §2.1.1)."""
    return Growth(Frontier(), leaf_hashes).root


def prove_inclusion(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that entry `index` is in the tree of all `leaf_hashes` (RFC 9162 §2.1.3.1)."""
    return Growth(Frontier(), leaf_hashes).prove_inclusion(index)


def prove_consistency(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """The proof that the tree of all `leaf_hashes` continues its first `old_size` (§2.1.4.1).

    Empty from the empty tree and from a tree to itself: there is nothing to show.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise NotFound(f"old size is {old_size}, must be within 0..{len(leaf_hashes)}")
    old = Frontier()
    for leaf in leaf_hashes[:old_size]:
        old.append(leaf)
    return Growth(old, leaf_hashes[old_size:]).prove_consistency()


def split(raw: bytes) -> list[bytes]:
    """Concatenated 32-byte hashes, one by one."""
    if len(raw) % HASH_BYTES:
        raise VerificationError(f"length is {len(raw)} bytes, must be a multiple of {HASH_BYTES}")
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]


# --- checking -------------------------------------------------------------------------------------


def check_inclusion(
    proof: Sequence[bytes], *, leaf_hash: bytes, index: int, tree_size: int, root: bytes
) -> None:
    """Raise VerificationError unless `leaf_hash` is entry `index` (RFC 9162 §2.1.3.2).

    Hashes are 32-byte SHA-256; `index` counts from 0.
    """
    if not 0 <= index < tree_size:
        raise VerificationError(f"index is {index}, must be from 0 and below tree size {tree_size}")
    inner, length = _path_shape(0, index, tree_size)
    _check_proof(proof, length)
    _check_hash("the leaf hash", leaf_hash)
    _check_hash("the root", root)
    node = leaf_hash
    for level, sibling in enumerate(proof):
        on_left = level >= inner or index >> level & 1
        node = node_hash(sibling, node) if on_left else node_hash(node, sibling)
    if node != root:
        raise VerificationError(
            f"entry {index} leads to root {node.hex()}, must be {root.hex()} at size {tree_size}"
        )


def check_inclusion_of_all(
    proof: Sequence[bytes], *, leaf_hashes: Mapping[int, bytes], tree_size: int, root: bytes
) -> None:
    """Raise VerificationError unless these are entries of the tree, by index.

    `proof` has the hashes of `siblings_of_all`: one proof for all, in which no hash stands twice.
    """
    for index, leaf in leaf_hashes.items():
        if not 0 <= index < tree_size:
            raise VerificationError(f"index is {index}, must be from 0 and below tree size {tree_size}")
        _check_hash("the leaf hash", leaf)
    _check_hash("the root", root)
    if not leaf_hashes:
        raise VerificationError("there is no entry to prove")
    _check_proof(proof, sum(1 for _ in siblings_of_all(leaf_hashes, tree_size)))
    given = iter(proof)
    level, nodes = 0, dict(sorted(leaf_hashes.items()))
    while (tree_size - 1) >> level:
        above: dict[int, bytes] = {}
        for index, node in nodes.items():
            if index >> 1 in above:
                continue  # made with its left sibling
            other = nodes.get(index ^ 1)
            if other is None and (index ^ 1) << level < tree_size:
                other = next(given)
            if other is None:
                above[index >> 1] = node
            else:
                above[index >> 1] = node_hash(other, node) if index & 1 else node_hash(node, other)
        level, nodes = level + 1, above
    if nodes[0] != root:
        raise VerificationError(
            f"the entries lead to root {nodes[0].hex()}, must be {root.hex()} at size {tree_size}"
        )


def check_consistency(
    proof: Sequence[bytes], *, old_size: int, old_root: bytes, new_size: int, new_root: bytes
) -> None:
    """Raise VerificationError unless the new tree continues the old one (RFC 9162 §2.1.4.2).

    The RFC defines no proof from the empty tree: there the empty proof holds, and only that.
    """
    if not 0 <= old_size <= new_size:
        raise VerificationError(f"old size is {old_size}, must be from 0 and not above new size {new_size}")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise VerificationError(f"the root of the empty tree must be {EMPTY_ROOT.hex()}")
    if old_size == new_size:
        # Nothing is hashed, so nothing is asked of the roots but to be one: so say the published
        # cases of transparency-dev/merkle too.
        if old_root != new_root:
            raise VerificationError(f"there are two roots at size {old_size}: the log has forked")
        return _check_proof(proof, 0)
    _check_hash("the old root", old_root)
    _check_hash("the new root", new_root)
    if old_size == 0:
        return _check_proof(proof, 0)

    level, index = last_complete(old_size)
    inner, length = _path_shape(level, index, new_size)
    # Where the old tree is one complete subtree, its root is known and the proof leaves it out.
    seeds = 1 if index else 0
    _check_proof(proof, seeds + length)
    old = new = proof[0] if seeds else old_root
    for height, sibling in enumerate(proof[seeds:]):
        if height >= inner or index >> height & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    if old != old_root:
        raise VerificationError(
            f"the proof leads to old root {old.hex()}, must be {old_root.hex()} at size {old_size}"
        )
    if new != new_root:
        raise VerificationError(
            f"the proof leads to new root {new.hex()}, must be {new_root.hex()} at size {new_size}"
        )
    return None


def _path_shape(level: int, index: int, tree_size: int) -> tuple[int, int]:
    """How many steps of a node's path have both neighbours, and how many the path has in all.

    After the inner steps the path runs along the right edge: every further sibling is to the left.
    """
    inner = (index ^ (tree_size - 1 >> level)).bit_length()
    return inner, inner + (index >> inner).bit_count()


def _check_proof(proof: Sequence[bytes], length: int) -> None:
    """Before any hashing: a padded proof must not get as far as a verdict."""
    if len(proof) != length:
        raise VerificationError(f"the proof has {len(proof)} hashes, must have {length}")
    for position, one in enumerate(proof):
        _check_hash(f"hash {position} of the proof", one)


def _check_hash(what: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise VerificationError(f"{what} is {len(value)} bytes, must be {HASH_BYTES}")
