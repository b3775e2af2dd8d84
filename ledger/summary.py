"""A Merkle root over every contract's chain: the proof that one contract was shown whole.

Whoever may see one contract alone can check its entries and their chain, but not that there are no
more of them. The ledger therefore says, from time to time, how long each chain is and how it ends
(`contracts.summarised`), under one root, so that a single tail can be shown without the others:

    leaf = {"contract":"<id>","count":<entries>,"head":"<leaf hash of the last, hex>"}

The leaves stand in order of their contract ids, as bytes; hashed as RFC 9162 §2.1.1 hashes entries.
They are the tails just before the entry that carries the root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger import merkle
from ledger.errors import NotFound


class Tail(NamedTuple):
    """How one contract's chain ends."""

    contract: str
    entries: int
    """How many entries the chain has."""
    head: str
    """Leaf hash of the last of them, hex."""

    @property
    def leaf(self) -> bytes:
        """Canonical JSON, as hashed."""
        return f'{{"contract":"{self.contract}","count":{self.entries},"head":"{self.head}"}}'.encode("ascii")


class TailProof(NamedTuple):
    """That a tail is one of those under a root."""

    tail: Tail
    position: int
    """Of the tail among all of them, from 0."""
    contracts: int
    """How many tails there are."""
    hashes: Sequence[bytes]
    """From leaf to root (RFC 9162 §2.1.3.1)."""

    def check(self, root: bytes) -> None:
        """Raise VerificationError unless the tail stands under `root`."""
        merkle.check_inclusion(
            self.hashes,
            leaf_hash=merkle.leaf_hash(self.tail.leaf),
            index=self.position,
            tree_size=self.contracts,
            root=root,
        )


def root_of(tails: Iterable[Tail]) -> bytes:
    """The root over all tails, in whatever order they are given."""
    return merkle.root(_leaves(sorted(tails)))


def prove(tails: Iterable[Tail], contract: str) -> TailProof:
    """The proof for one contract's tail. Raises NotFound where it has none."""
    ordered = sorted(tails)
    for position, tail in enumerate(ordered):
        if tail.contract == contract:
            hashes = merkle.prove_inclusion(_leaves(ordered), position)
            return TailProof(tail, position, len(ordered), hashes)
    raise NotFound(f"contract {contract} has no entry yet")


def _leaves(tails: Iterable[Tail]) -> list[bytes]:
    return [merkle.leaf_hash(tail.leaf) for tail in tails]
