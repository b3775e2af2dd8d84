"""A client that knows C2SP tlog-tiles and RFC 9162 and none of our code: the specifications, spelled out.

`get` fetches a path below the log's prefix. Roots and proofs are the recursions of the RFC over
hashes out of tiles, checked against nothing: a test compares.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256

Get = Callable[[str], bytes]


def name_of(kind: str, n: int, width: int) -> str:
    digits = f"{n:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{kind}/{path}" + ("" if width == 256 else f".p/{width}")


class TileClient:
    def __init__(self, get: Get) -> None:
        self._get = get
        self._tiles: dict[str, bytes] = {}
        text = get("checkpoint").decode()
        self.origin, size, root = text.split("\n")[:3]
        self.size, self.root = int(size), base64.b64decode(root)

    def _tile(self, kind: str, n: int, width: int) -> bytes:
        name = name_of(kind, n, width)
        if name not in self._tiles:
            self._tiles[name] = self._get(name)
        return self._tiles[name]

    def node(self, level: int, index: int) -> bytes:
        """MTH of entries index·2^level and following, 2^level of them, which the tree has."""
        tile_level, height = divmod(level, 8)
        start = index << height
        n, at = divmod(start, 256)
        width = min(256, (self.size >> 8 * tile_level) - 256 * n)
        raw = self._tile(str(tile_level), n, width)
        assert len(raw) == 32 * width
        hashes = [raw[32 * i : 32 * i + 32] for i in range(at, at + (1 << height))]
        while len(hashes) > 1:
            pairs = zip(hashes[::2], hashes[1::2], strict=True)
            hashes = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        return hashes[0]

    def mth(self, lo: int, hi: int) -> bytes:
        """RFC 9162 §2.1.1, of D[lo:hi]."""
        width = hi - lo
        if width & (width - 1) == 0 and lo % width == 0:
            return self.node(width.bit_length() - 1, lo // width)
        k = 1 << (width - 1).bit_length() - 1
        return sha256(b"\1" + self.mth(lo, lo + k) + self.mth(lo + k, hi)).digest()

    def inclusion(self, index: int, size: int, lo: int = 0) -> list[bytes]:
        """RFC 9162 §2.1.3.1, of entry lo + index in D[lo:lo + size]."""
        if size == 1:
            return []
        k = 1 << (size - 1).bit_length() - 1
        if index < k:
            return [*self.inclusion(index, k, lo), self.mth(lo + k, lo + size)]
        return [*self.inclusion(index - k, size - k, lo + k), self.mth(lo, lo + k)]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """RFC 9162 §2.1.4.1; 0 < old <= new."""
        return self._subproof(old, 0, new, True)

    def _subproof(self, m: int, lo: int, size: int, whole: bool) -> list[bytes]:
        if m == size:
            return [] if whole else [self.mth(lo, lo + size)]
        k = 1 << (size - 1).bit_length() - 1
        if m <= k:
            return [*self._subproof(m, lo, k, whole), self.mth(lo + k, lo + size)]
        return [*self._subproof(m - k, lo + k, size - k, False), self.mth(lo, lo + k)]

    def entries(self) -> list[bytes]:
        """Every entry, out of the bundles."""
        found = []
        for n in range(-(-self.size // 256)):
            raw = self._tile("entries", n, min(256, self.size - 256 * n))
            while raw:
                length = int.from_bytes(raw[:2], "big")
                found.append(raw[2 : 2 + length])
                raw = raw[2 + length :]
        return found

    def entry(self, index: int) -> bytes:
        """One entry, out of its bundle alone."""
        n = index // 256
        raw = self._tile("entries", n, min(256, self.size - 256 * n))
        for _ in range(index % 256):
            raw = raw[2 + int.from_bytes(raw[:2], "big") :]
        return raw[2 : 2 + int.from_bytes(raw[:2], "big")]
