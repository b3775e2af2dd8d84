"""The part of a look that reads every byte, from where an earlier look ended or from the first entry."""

from __future__ import annotations

from collections.abc import Sequence

from api.examine.head import HeadCheck
from api.examine.look import Examined, Pace, Progress
from api.examine.refolded import Refolded
from ledger import merkle, tiles
from ledger.entry import ZERO_HASH, Header
from ledger.errors import LedgerError
from ledger.event import committed_event
from ledger.findings import Depth
from ledger.integrity import Row, Verified, Walk, check_tile
from ledger.merkle import leaf_hash
from ledger.rows import Rows


class ByteCheck:
    """Of one look. `refolded` is taken along while the bytes hold, where there is one."""

    def __init__(
        self,
        rows: Rows,
        begin: Verified,
        head: HeadCheck,
        refolded: Refolded | None,
        found: Examined,
        pace: Pace,
        progress: Progress | None,
    ) -> None:
        self._rows = rows
        self._begin = begin
        self._head = head
        self._refolded = refolded
        self._found = found
        self._pace = pace
        self._progress = progress
        self._walk = Walk(begin, head.verifier, found.findings, (known.size for known in head.known))
        self._links = 0
        """Device links that the entries so far have."""

    async def look(self, depth: Depth) -> None:
        walk, found, begin = self._walk, self._found, self._begin.size
        found.first = begin
        await self._head.caught_up()
        head = await self._head.read()
        if head is None:
            return
        rolled_back = self._head.rolled_back(head)
        if head.size < begin:
            return
        if self._refolded is not None:
            self._refolded.begin(depth)
        await self._read(begin, head.size)
        async with self._rows.snapshot():
            # What was committed meanwhile, and then the facts as of that very head.
            end = await self._head.read()
            if end is None:
                return
            await self._read(head.size, end.size)
            self._head.check_versions(end)
            await self._judge(walk.finish(end))
            await self._check_links()
            await self._check_tiles()
            if self._refolded is not None and walk.clean:
                self._refolded.finish(found)
            sound = walk.clean
            if not (rolled_back or self._head.rolled_back(end)):
                await self._check_known()
            if depth == "all":
                await self._check_counts(end.size)
            if self._refolded is not None and sound:
                await self._refolded.check_facts(self._rows, depth, self._pace, found)
        if walk.clean:
            found.verified = walk.verified()

    async def _read(self, first: int, end: int) -> None:
        step = self._pace.slice_entries
        for start in range(first, end, step):
            page = await self._rows.page(start, min(start + step, end))
            await self._prepare(page)
            decided = self._walk.take(page)
            await self._check_links()
            await self._check_tiles()
            await self._judge(decided)
            if self._progress is not None:
                self._progress(min(start + step, end), end)
            await self._pace.give_way()

    async def _judge(self, decided: Sequence[Row]) -> None:
        if self._refolded is not None and self._walk.clean:
            await self._refolded.take(decided, self._rows, self._found.findings)

    async def _prepare(self, page: Sequence[Row]) -> None:
        """Tell the walk how chains ended before it, proven under the root that it goes on from."""
        walk = self._walk
        for contract in sorted(walk.lacking(page)):
            row = await self._rows.tail(contract, walk.begin.size)
            if row is None or row.header is None:
                walk.know(contract, 0, ZERO_HASH)
                continue
            leaf = leaf_hash(row.header)
            try:
                header = Header.parse(row.header)
                await self._prove(leaf, row.index, walk.begin)
            except LedgerError as error:
                walk.findings.add("entry_unproven", f"entry {row.index}", row.index, because=str(error))
                continue
            walk.know(contract, header.contract_index + 1, leaf)

    async def _prove(self, leaf: bytes, index: int, under: Verified) -> None:
        read = await self._rows.hashes(tiles.tiles_for_inclusion(index, under.size))
        proof = tiles.prove_inclusion(index, under.size, lambda *at: read[tiles.Coordinates(*at)])
        merkle.check_inclusion(proof, leaf_hash=leaf, index=index, tree_size=under.size, root=under.root)

    async def _check_links(self) -> None:
        wanted, self._walk.links = self._walk.links, []
        there = await self._rows.links(wanted) if wanted else set()
        for serial, index in dict.fromkeys(wanted):
            if (serial, index) not in there:
                self._walk.findings.add("link_missing", f"entry {index}, device {serial}", index)
        self._links += len(set(wanted))

    async def _check_tiles(self) -> None:
        due, self._walk.tiles = self._walk.tiles, []
        stored = await self._rows.stored_tiles(due) if due else {}
        for tile in due:
            check_tile(self._walk.findings, tile, stored.get((tile.level, tile.n)))

    async def _check_known(self) -> None:
        """The checkpoints known from elsewhere against the tree that was made of the entries."""
        walk = self._walk
        for known in self._head.known:
            made = walk.roots.get(known.size)
            if made is None and known.size < walk.begin.size:
                await self._head.check_root(known)
            elif made is not None and made != known.root:
                walk.findings.add(
                    "rewritten", f"first {known.size} entries", whose=known.whose, is_=made.hex(),
                    must_be=known.root.hex(),
                )  # fmt: skip

    async def _check_counts(self, size: int) -> None:
        """No table has rows besides those that the entries account for."""
        walk, findings, links = self._walk, self._found.findings, self._links
        if walk.erased:
            links += await self._rows.links_of(walk.erased)
        must = {
            "entries": size,
            "bodies": size,
            "device_links": links,
            "tiles": sum(1 for _ in tiles.filled(0, size)),
        }
        sound = not findings.count
        for table, counts in (await self._rows.counts(size)).items():
            for stray in counts.strays:
                findings.add("stray_row", f"{table}, {stray}")
            if table == "device_links" and counts.rows > links and sound:
                await self._find_stray_links()
            elif counts.rows != must[table] and sound:
                findings.add("row_count", table, is_rows=counts.rows, must_be_rows=must[table])

    async def _find_stray_links(self) -> None:
        spoken: dict[int, frozenset[str]] = {}
        async with self._rows.every_link() as every:
            pairs = [pair async for pair in every]
        for serial, index in pairs:
            if index not in spoken:
                spoken[index] = _speaks_of(await self._rows.entries([index]))
            if serial not in spoken[index] and index not in self._walk.erased:
                self._walk.findings.add("stray_row", f"device_links, {serial} at {index}", index)


def _speaks_of(rows: Sequence[Row]) -> frozenset[str]:
    try:
        return frozenset(s for row in rows if row.event for s in committed_event(row.event).data.speaks_of())
    except LedgerError:
        return frozenset()
