"""The Merkle tree as RFC 9162 §2.1 writes it down: slow, recursive, and the oracle of the tests.

Shares no line with `ledger.merkle`.
"""

from functools import cache
from hashlib import sha256

Hashes = tuple[bytes, ...]


def k_of(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@cache
def mth(leaves: Hashes) -> bytes:
    """§2.1.1, over leaf hashes."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return leaves[0]
    k = k_of(n)
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Hashes) -> list[bytes]:
    """§2.1.3.1"""
    n = len(leaves)
    if n == 1:
        return []
    k = k_of(n)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Hashes) -> list[bytes]:
    """§2.1.4.1"""
    return subproof(m, leaves, b=True)


def subproof(m: int, leaves: Hashes, *, b: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if b else [mth(leaves)]
    k = k_of(n)
    if m <= k:
        return [*subproof(m, leaves[:k], b=b), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], b=False), mth(leaves[:k])]


def leaves(count: int) -> Hashes:
    """The leaf hashes of entries b"entry 0", b"entry 1", ..."""
    return tuple(sha256(b"\x00entry %d" % i).digest() for i in range(count))
