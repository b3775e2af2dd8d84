"""The offline verifier of a folder of tiles (C2SP tlog-tiles): every header, tile and checkpoint of it.

A folder shows no body. Read as an export whose bodies are all withheld, it goes the same way as any
other (`ledger.verify`): places, both chains, times, receipts, root. The tiles of hashes say nothing
more, so each is compared, at every level, with what the headers make of it. Flat memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger import merkle
from ledger.checkpoint import open_checkpoint
from ledger.errors import LedgerError, NotFound, UnusableInput, VerificationError
from ledger.export_file import Title
from ledger.folder import Folder
from ledger.merkle import HASH_BYTES
from ledger.note import Verifier
from ledger.receipt import Receipt, TlogProof
from ledger.static_log import CHECKPOINT
from ledger.tiles import ENTRIES, FULL_WIDTH, Coordinates, split_bundle, tile_path, width_at
from ledger.verified import Progress, Report, Tampered
from ledger.verify import verify_lines
from ledger.verify_held import Kept

_SIGNED = b'"signatures":'


def verify_folder(
    folder: Folder,
    *,
    verifier: Verifier,
    receipts: Sequence[Receipt | TlogProof] = (),
    kept: Sequence[Kept] = (),
    progress: Progress | None = None,
) -> Report:
    """Check all that the checkpoint of a folder stands for, and that the log honours `receipts` and
    continues each of `kept`.

    Raises Tampered, with the index where it can be told, and UnusableInput if this is no such folder.
    """
    note = folder.checkpoint()
    if note is None:
        raise UnusableInput(f"there is no checkpoint in {folder.path}: it is no folder of tiles")
    try:
        checkpoint = open_checkpoint(note, verifier, verifier.name)
    except LedgerError as error:
        hint = "tiles show no rotation of the log's key, so its newest one is needed"
        raise Tampered(f"{CHECKPOINT}: {error}; {hint}") from None
    if not checkpoint.size:
        raise Tampered(f"{CHECKPOINT}: size is 0, must be 1 at least: a log begins with ledger.opened")
    lines = _Bundles(folder, checkpoint.size)
    try:
        return verify_lines(
            Title(verifier, checkpoint), lines, next(lines, []), given=verifier, receipts=receipts,
            kept=kept, progress=progress,
        )  # fmt: skip
    except Tampered as error:
        if error.index is None:
            raise
        raise Tampered(error.what, error.index, where=lines.path_of(error.index)) from None


class _Bundles(Iterator[list[bytes]]):
    """The headers of a folder as lines of an export, a bundle at a time; and the tiles, behind them.

    A tile is looked at when its headers have been taken: of a header that was altered the chain tells
    which one it is.
    """

    def __init__(self, folder: Folder, size: int) -> None:
        self.tail = b""
        self._folder = folder
        self._size = size
        self._n = 0
        """Of the next bundle."""
        self._nodes: list[list[bytes]] = []
        """Level by level, the hashes of the tile that is not complete yet."""
        self._begun: list[int] = []
        """Level by level, which tile that is."""

    def path_of(self, index: int) -> str:
        """The bundle of an entry; one beyond the end, if a receipt names it."""
        n = index // FULL_WIDTH
        return tile_path(ENTRIES, n, width_at(ENTRIES, n, self._size) or FULL_WIDTH)

    def __next__(self) -> list[bytes]:
        self._compare_full()
        width = width_at(ENTRIES, self._n, self._size)
        if not width:
            self._compare_rest()
            raise StopIteration
        where = Coordinates(ENTRIES, self._n, width)
        try:
            headers = split_bundle(self._folder.tile(where), width)
        except (NotFound, VerificationError) as error:
            raise Tampered(f"{tile_path(*where)}: {error}", self._n * FULL_WIDTH) from None
        self._n += 1
        self._add(0, [merkle.leaf_hash(header) for header in headers])
        return [header + (b"\t\t\t\t\t\t" if _SIGNED in header else b"\t\t\t\t") for header in headers]

    def _add(self, level: int, hashes: list[bytes]) -> None:
        if level == len(self._nodes):
            self._nodes.append([])
            self._begun.append(0)
        self._nodes[level] += hashes

    def _compare_full(self) -> None:
        """The tiles that have become full, from level 0 up."""
        level = 0
        while level < len(self._nodes) and len(self._nodes[level]) == FULL_WIDTH:
            self._compare(level)
            self._add(level + 1, [merkle.root(self._nodes[level])])
            self._nodes[level] = []
            self._begun[level] += 1
            level += 1

    def _compare_rest(self) -> None:
        for level, nodes in enumerate(self._nodes):
            if nodes:
                self._compare(level)
        self._nodes = []

    def _compare(self, level: int) -> None:
        nodes = self._nodes[level]
        where = Coordinates(level, self._begun[level], len(nodes))
        path = tile_path(*where)
        try:
            found = self._folder.tile(where)
        except NotFound as error:
            raise Tampered(str(error)) from None
        if found == b"".join(nodes):
            return
        if len(found) != len(nodes) * HASH_BYTES:
            raise Tampered(f"{path} is {len(found)} bytes, must be {len(nodes) * HASH_BYTES}")
        pairs = zip(merkle.split(found), nodes, strict=True)
        at, (is_, must_be) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
        raise Tampered(
            f"hash {at} of {path} is {is_.hex()}, the headers lead to {must_be.hex()}",
            (where.n * FULL_WIDTH + at) * FULL_WIDTH**level,
        )
