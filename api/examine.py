"""One look at the log of a live database, at one of three depths, and what it found.

head: the head row, the last entry, and by the tiles that the checkpoints known from elsewhere are of this
log. tail: every byte since the last run that found nothing. all: every byte. Where a replay is kept from
one run to the next, decisions and facts are recomputed as far as the bytes are read, and a look at the head
goes on to the tail and to a further page of facts. Reads, and writes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from api.examine_beside import look_beside
from ledger import merkle, tiles
from ledger.beside import Claim, Vouchers, owned_up
from ledger.checkpoint import Checkpoint
from ledger.entry import ZERO_HASH, Header
from ledger.errors import LedgerError, VerificationError
from ledger.event import committed_event
from ledger.facts import Key
from ledger.head import Head
from ledger.integrity import Depth, Findings, Row, Verified, Walk, check_tile, check_versions
from ledger.merkle import Frontier, leaf_hash
from ledger.note import Verifier
from ledger.rows import Rows
from ledger.succession import Lineage
from policies.engine import Engine
from policies.replay import Difference, Line, Replay

FACTS_PAGE = 2_000
LAG_S_MAX = 60
NO_KEY: Key = ("", "")

Progress = Callable[[int, int], object]


class Pace:
    """Gives way: after each slice of work it rests, so many times as long as the slice took."""

    def __init__(self, *, slice_entries: int = 256, rest: float = 0.0) -> None:
        self.slice_entries = slice_entries
        self._rest = rest
        self.begin()

    def begin(self) -> None:
        """Work begins now: what was not work before it earns no rest."""
        self._since_s = time.monotonic()

    async def give_way(self) -> None:
        took_s = time.monotonic() - self._since_s
        await asyncio.sleep(took_s * self._rest)
        self.begin()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from outside the database, and was read before it."""

    verified: Verified = field(default_factory=Verified)
    """How far an earlier look found the log sound."""
    kept: Sequence[Checkpoint] = ()
    """The last that is kept under each name that the log has had."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """What an earlier look saw beside the log."""


@dataclass(slots=True)
class Examined:
    """What a look came to."""

    first: int
    """The first entry whose bytes were read."""
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    findings: Findings = field(default_factory=Findings)
    verified: Verified | None = None
    """How far the log is sound now; None where something was found, or nothing was read."""
    judged: int = 0
    """Decisions that were made again."""
    facts: int = 0
    """Facts that were compared."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """What lies beside the log, for the next look."""
    new_keys: Sequence[str] = ()
    """API keys that no earlier look saw."""


class Examiner:
    """Looks again and again. `replay` is kept between looks, where there is one."""

    def __init__(
        self,
        verifier: Verifier,
        *,
        pace: Pace | None = None,
        facts_max: int | None = None,
        vouchers: Vouchers | None = None,
    ) -> None:
        """`verifier`: any key that the log has had. `facts_max`: a replay of more facts than these is dropped
        after the look that made it."""
        self._verifier = verifier
        self._vouchers = vouchers or Vouchers()
        self.engine = Engine()
        self._pace = pace or Pace()
        self._facts_max = facts_max
        self._replay: Replay | None = None
        self._erased: dict[int, list[int]] = {}
        """What the replay knows of erasures."""
        self._cursor = NO_KEY
        """Facts up to this key were looked at by looks at the head."""

    async def look(
        self,
        rows: Rows,
        depth: Depth,
        known: Known,
        progress: Progress | None = None,
    ) -> Examined:
        self._pace.begin()
        found = Examined(first=0)
        lineage = await rows.lineage(self._verifier)
        look = _Look(self, rows, lineage, known, found.findings, progress)
        replay, self._replay = self._replay, None  # one that was not finished is of no use
        if replay is not None and replay.history.size != look.verified.size:
            replay = None
        if depth == "all":
            self._erased = {}
            replay = Replay(self.engine, origin=lineage.present.name, erased=self._erased)
        begin = Verified() if depth == "all" else look.verified
        found.first = begin.size
        if depth == "head":
            await look.head(found)
        if depth != "head" or (replay is not None and not found.findings.count):
            await look.walk(found, begin, replay, depth)
        async with rows.snapshot():
            beside = await look_beside(
                rows, depth, found.findings, lineage, self._vouchers, known.beside, look.check_claim
            )
        found.beside, found.new_keys = beside.remember(), beside.new_keys
        if replay is not None and found.verified is not None:
            small = self._facts_max is None or replay.history.facts <= self._facts_max
            self._replay = replay if small else None
        return found

    # --- what a look needs of it ------------------------------------------------------------------

    @property
    def pace(self) -> Pace:
        return self._pace

    async def heed_erasures(self, rows: Rows) -> None:
        """An entry may be erased at any time, and then is judged by what a later entry has kept of it."""
        self._erased.update(await rows.erased())

    async def next_facts(self, rows: Rows) -> list[tuple[Key, str]]:
        """A further page of facts; after the last the first again."""
        page = await rows.facts_after(self._cursor, FACTS_PAGE)
        self._cursor = page[-1][0] if len(page) == FACTS_PAGE else NO_KEY
        return page


class _Look:
    def __init__(
        self,
        examiner: Examiner,
        rows: Rows,
        lineage: Lineage,
        known: Known,
        findings: Findings,
        progress: Progress | None,
    ) -> None:
        self._examiner = examiner
        self._verifier = lineage.present
        self._rows = rows
        self._progress = progress
        self._findings = findings
        self.verified = known.verified
        """From where a look may go on."""
        self._known: list[tuple[int, bytes, str]] = []
        for kept in known.kept:
            if _stands(kept, lineage, findings):
                self._known.append((kept.size, kept.root, "kept checkpoint"))
        if known.verified.size:
            sound = known.verified
            if _stands(Checkpoint(sound.origin, sound.size, sound.root), lineage, findings):
                self._known.append((sound.size, sound.root, "earlier run"))
            else:
                self.verified = Verified()  # of an end that is lost

    # --- the head alone ---------------------------------------------------------------------------

    async def head(self, found: Examined) -> None:
        await self._caught_up()
        async with self._rows.snapshot():
            head = await self._head(found)
            if head is None or self._rolled_back(found.findings, head):
                return
            self._check_versions(found.findings, head)
            for size, root, whose in (*self._known, (head.size, head.root, "head")):
                await self._check_root(found.findings, size, root, whose)
            try:
                frontier = Frontier.from_bytes(head.size, head.frontier).root()
            except VerificationError:
                frontier = b""
            if frontier != head.root:
                _add(found, "head_altered", "head, frontier", is_=frontier, must_be=head.root)
            await self._check_last(found, head)
            found.first = max(head.size - 1, 0)

    def _check_versions(self, findings: Findings, head: Head) -> None:
        check_versions(findings, head, self._verifier, engine=self._examiner.engine.engine)
        if head.origin == self.verified.origin and head.epoch < self.verified.epoch:
            findings.add(
                "head_altered", "head, epoch", is_epoch=head.epoch, must_be_at_least=self.verified.epoch
            )  # fmt: skip

    async def check_claim(self, claim: Claim) -> None:
        """A signed checkpoint beside the log against the log, by its tiles."""
        head = await self._rows.head()
        if head is None:
            return
        if claim.size > head.size:
            self._findings.add(
                "rolled_back", f"entries {head.size} to {claim.size - 1}", head.size, is_size=head.size,
                must_be_size=claim.size, whose=claim.where, root=claim.root.hex(),
            )  # fmt: skip
            return
        await self._check_root(self._findings, claim.size, claim.root, claim.where, where=claim.where)

    async def _check_root(
        self, findings: Findings, size: int, root: bytes, whose: str, *, where: str = ""
    ) -> None:
        """By the tiles: only a walk reads what they are made of."""
        try:
            read = await self._rows.hashes(tiles.tiles_for_root(size))
            made = tiles.root(size, lambda *at: read[tiles.Coordinates(*at)])
        except VerificationError as error:
            findings.add("tile_altered", f"tiles below size {size}", because=str(error))
            return
        if made != root:
            damage = "rewritten" if whose != "head" else "head_altered"
            where = f"{where or f'first {size} entries'}, by their tiles"
            findings.add(damage, where, whose=whose, is_=made.hex(), must_be=root.hex())

    async def _check_last(self, found: Examined, head: Head) -> None:
        index = head.size - 1
        page = await self._rows.page(index, head.size)
        raw = page[0].header if page else None
        if raw is None:
            found.findings.add("entry_missing", f"entry {index}", index)
        elif (leaf := leaf_hash(raw)) != head.last_leaf:
            _add(found, "head_altered", "head, last_leaf", is_=head.last_leaf, must_be=leaf)

    async def _caught_up(self) -> None:
        """A replica may be behind what is known from elsewhere: that is no rollback, if it comes after."""
        size = max((size for size, _, _ in self._known), default=0)
        for _ in range(LAG_S_MAX if await self._rows.of_a_replica() else 0):
            head = await self._rows.head()
            if head is not None and head.size >= size:
                return
            await asyncio.sleep(1)

    async def _head(self, found: Examined) -> Head | None:
        head = await self._rows.head()
        if head is None or not head.size:
            if self._known or head is not None:
                found.findings.add("head_missing", "head")
            return None
        found.size, found.root = head.size, head.root
        return head

    def _rolled_back(self, findings: Findings, head: Head) -> bool:
        """A log that was longer once has lost its tail: the chain cannot see that."""
        size, root, whose = max(self._known, default=(0, b"", ""))
        if head.size >= size:
            return False
        findings.add(
            "rolled_back", f"entries {head.size} to {size - 1}", head.size, is_size=head.size,
            must_be_size=size, whose=whose, root=root.hex(),
        )  # fmt: skip
        return True

    # --- every byte -------------------------------------------------------------------------------

    async def walk(self, found: Examined, begin: Verified, replay: Replay | None, depth: Depth) -> None:
        found.first = begin.size
        await self._caught_up()
        head = await self._head(found)
        if head is None:
            return
        rolled_back = self._rolled_back(found.findings, head)
        if head.size < begin.size:
            return
        walk = Walk(begin, self._verifier, (size for size, _, _ in self._known))
        walk.findings = found.findings
        touched: set[Key] = set()
        if replay is not None:
            replay.history.touched = touched if depth != "all" else None
        judged = _Judged(replay, self._rows, found, self._examiner)
        links = await self._pages(walk, judged, begin.size, head.size)
        async with self._rows.snapshot():
            # What was committed meanwhile, and then the facts as of that very head.
            end = await self._head(found)
            if end is None:
                return
            links += await self._pages(walk, judged, head.size, end.size)
            self._check_versions(found.findings, end)
            await judged.take(walk.finish(end), sound=walk.clean)
            links += await self._check_links(walk)
            await self._check_tiles(walk)
            judged.finish(sound=walk.clean)
            sound = walk.clean
            if not (rolled_back or self._rolled_back(found.findings, end)):
                await self._check_known(walk)
            if depth == "all":
                await self._check_counts(walk, end.size, links)
            if replay is not None and sound:
                if depth == "all":
                    await self._check_facts(found, replay)
                else:
                    await self._compare(found, replay, await self._rows.facts(sorted(touched)), touched)
                if depth == "head":
                    page = await self._examiner.next_facts(self._rows)
                    await self._compare(found, replay, dict(page))
        if walk.clean:
            found.verified = walk.verified()

    async def _pages(self, walk: Walk, judged: _Judged, first: int, end: int) -> int:
        """Gives how many device links these entries have."""
        links, step = 0, self._examiner.pace.slice_entries
        for start in range(first, end, step):
            page = await self._rows.page(start, min(start + step, end))
            await self._prepare(walk, page)
            decided = walk.take(page)
            links += await self._check_links(walk)
            await self._check_tiles(walk)
            await judged.take(decided, sound=walk.clean)
            if self._progress is not None:
                self._progress(min(start + step, end), end)
            await self._examiner.pace.give_way()
        return links

    async def _prepare(self, walk: Walk, page: Sequence[Row]) -> None:
        """Tell the walk how chains ended before it, proven under the root that it goes on from."""
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

    async def _check_links(self, walk: Walk) -> int:
        wanted, walk.links = walk.links, []
        there = await self._rows.links(wanted) if wanted else set()
        for serial, index in dict.fromkeys(wanted):
            if (serial, index) not in there:
                walk.findings.add("link_missing", f"entry {index}, device {serial}", index)
        return len(set(wanted))

    async def _check_tiles(self, walk: Walk) -> None:
        due, walk.tiles = walk.tiles, []
        stored = await self._rows.stored_tiles(due) if due else {}
        for tile in due:
            check_tile(walk.findings, tile, stored.get((tile.level, tile.n)))

    async def _check_known(self, walk: Walk) -> None:
        """The checkpoints known from elsewhere against the tree that was made of the entries."""
        for size, root, whose in self._known:
            made = walk.roots.get(size)
            if made is None and size < walk.begin.size:
                await self._check_root(walk.findings, size, root, whose)
            elif made is not None and made != root:
                walk.findings.add(
                    "rewritten", f"first {size} entries", whose=whose, is_=made.hex(),
                    must_be=root.hex(),
                )  # fmt: skip

    async def _check_counts(self, walk: Walk, size: int, links: int) -> None:
        findings = walk.findings
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
                await self._find_stray_links(walk)
            elif counts.rows != must[table] and sound:
                findings.add("row_count", table, is_rows=counts.rows, must_be_rows=must[table])

    async def _find_stray_links(self, walk: Walk) -> None:
        spoken: dict[int, frozenset[str]] = {}
        async with self._rows.every_link() as every:
            pairs = [pair async for pair in every]
        for serial, index in pairs:
            if index not in spoken:
                spoken[index] = _speaks_of(await self._rows.entries([index]))
            if serial not in spoken[index] and index not in walk.erased:
                walk.findings.add("stray_row", f"device_links, {serial} at {index}", index)

    # --- facts ------------------------------------------------------------------------------------

    async def _check_facts(self, found: Examined, replay: Replay) -> None:
        """Every fact, in order of key: what is stored, then whether anything is not."""
        after, stored = NO_KEY, 0
        while page := await self._rows.facts_after(after, FACTS_PAGE):
            await self._compare(found, replay, dict(page))
            after, stored = page[-1][0], stored + len(page)
            await self._examiner.pace.give_way()
        if stored != replay.history.facts or found.findings.count:
            keys = [key for key, _ in replay.history.rows()]
            for start in range(0, len(keys), FACTS_PAGE):
                some = keys[start : start + FACTS_PAGE]
                there = await self._rows.facts(some)
                for key in sorted(set(some) - there.keys()):
                    _fact(found.findings, key, None, replay.history.stored(key))

    async def _compare(
        self, found: Examined, replay: Replay, stored: dict[Key, str], must: Iterable[Key] = ()
    ) -> None:
        """`must`: keys that must be among what is stored."""
        keys = sorted({*stored, *must})
        found.facts += len(keys)
        for key in keys:
            is_, folded = stored.get(key), replay.history.stored(key)
            if is_ != folded:
                _fact(found.findings, key, is_, folded)


class _Judged:
    """The decisions of a walk, made again while its bytes hold."""

    def __init__(self, replay: Replay | None, rows: Rows, found: Examined, examiner: Examiner) -> None:
        self._replay = replay
        self._rows = rows
        self._found = found
        self._examiner = examiner

    async def take(self, decided: Sequence[Row], *, sound: bool) -> None:
        replay = self._replay
        if replay is None or not sound:
            return
        if not await self._heed(decided):
            return
        for row in decided:
            line = _line(row)
            while wanted := replay.wanted(line):
                cited = await self._rows.entries(wanted)
                if not await self._heed(cited):
                    return
                for earlier in cited:
                    replay.recall(earlier.index, _line(earlier))
            if replay.take(line) is not None:
                break

    async def _heed(self, rows: Sequence[Row]) -> bool:
        """Learn what is erased, where one of these is without its words; False if that cannot be read."""
        if all(row.event is not None for row in rows):
            return True
        try:
            await self._examiner.heed_erasures(self._rows)
        except psycopg.DataError:
            self._found.findings.add("body_unreadable", "what is said to be erased")
            return False
        return True

    def finish(self, *, sound: bool) -> None:
        replay = self._replay
        if replay is None or not sound:
            return
        outcome = replay.finish()
        self._found.judged = outcome.judged + outcome.entailed
        if outcome.difference is not None:
            _difference(self._found.findings, outcome.difference)


def _stands(told: Checkpoint, lineage: Lineage, findings: Findings) -> bool:
    """Whether a checkpoint must hold of the log as it is now; not one of an end that was lost and said so."""
    ended = lineage.ended(told.origin)
    if ended is None or told.size <= ended.index:
        return True
    if not owned_up(told, ended.lost):
        findings.add(
            "loss_not_said", f"entry {ended.index}", ended.index, must_be_size=told.size, root=told.root.hex()
        )
    return False


def _speaks_of(rows: Sequence[Row]) -> frozenset[str]:
    try:
        return frozenset(s for row in rows if row.event for s in committed_event(row.event).data.speaks_of())
    except LedgerError:
        return frozenset()


def _line(row: Row) -> Line:
    assert row.header is not None
    header = Header.parse(row.header)
    signatures = None if header.signatures is None else row.signatures
    # Without its signatures it is not known how a signed event was judged.
    event = None if header.signatures is not None and signatures is None else row.event
    return Line(
        row.index, header.contract, header.recorded_at, leaf_hash(row.header), event, row.decision, signatures
    )


DIFFERENCES = {
    "decision": "decision_differs",
    "event": "event_differs",
    "missing": "event_not_said",
    "uncalled": "event_uncalled",
    "unreadable": "event_unreadable",
}
"""Kinds of damage by what a replay finds to differ."""


def _difference(findings: Findings, difference: Difference) -> None:
    values = {"is_": difference.committed, "must_be": difference.recomputed}
    told = {name: f"sha256:{_sha256(value)}" for name, value in values.items() if value is not None}
    findings.add(DIFFERENCES[difference.what], f"entry {difference.index}", difference.index, **told)


def _fact(findings: Findings, key: Key, stored: str | None, folded: str | None) -> None:
    damage = "fact_missing" if stored is None else "fact_stray" if folded is None else "fact_altered"
    values = {"is_": stored, "must_be": folded}
    told = {name: f"sha256:{_sha256(value.encode())}" for name, value in values.items() if value is not None}
    findings.add(damage, f"fact {key[0]} {key[1]}", **told)


def _add(found: Examined, damage: str, where: str, *, is_: bytes, must_be: bytes) -> None:
    found.findings.add(damage, where, is_=is_.hex(), must_be=must_be.hex())


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
