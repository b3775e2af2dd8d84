"""The log as it lies in its tables, row by row: what is not as it was committed, and where.

The offline verifier stops at the first damage of a file. This one goes on: an operator must know how far
damage reaches. It believes no column and no tile: leaf hashes are made of the headers' own bytes, and each
header is held against what its neighbours say of it. Of two that contradict each other, the one that a
third vouches for is sound. Pure: rows are handed in, in order of index, and findings come out.

A walk begins at the empty log or where an earlier one ended (`Verified`), and its memory is flat but for
the ends of the chains of the contracts that it has met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ledger import tiles
from ledger.canonical import parse
from ledger.entry import FORMAT, ZERO_HASH, Header, commitment
from ledger.errors import LedgerError, VerificationError
from ledger.event import Event, committed_event
from ledger.facts import FOLD_VERSION
from ledger.findings import Findings
from ledger.head import Head
from ledger.kinds.ledger import CheckpointKeyRotated, LedgerOpened, LedgerRecovered
from ledger.kinds.records import ValueErased
from ledger.merkle import EMPTY_ROOT, Frontier, Growth, leaf_hash, split
from ledger.note import Verifier
from ledger.values import format_timestamp, parse_timestamp


class Row(NamedTuple):
    """What `entries` and `bodies` hold of one entry; None where a row or a value is not there."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    contract: str | None
    contract_index: int | None
    recorded_at: datetime | None
    kind: str | None
    party: str | None
    event_id: str | None
    outcome: str | None
    leaf: bytes | None
    header: bytes | None
    event_salt: bytes | None
    event: bytes | None
    decision_salt: bytes | None
    decision: bytes | None
    signatures_salt: bytes | None
    signatures: bytes | None


@dataclass(frozen=True, slots=True)
class Verified:
    """How far the log is known to be sound: all that a walk needs to go on from there."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    frontier: bytes = b""
    last_leaf: bytes = ZERO_HASH
    recorded_at: str = ""
    origin: str = ""
    """What the log was called then."""
    epoch: int = 1
    """Of the head row then."""

    def __post_init__(self) -> None:
        if Frontier.from_bytes(self.size, self.frontier).root() != self.root:
            raise VerificationError(f"the frontier of size {self.size} does not lead to its root")


class DueTile(NamedTuple):
    """A tile that the walk has completed, and the root that it must have."""

    level: int
    n: int
    root: bytes


class Walk:
    """Takes rows in order. For each page: `lacking`, `know` those, `take`; at the end `finish`."""

    def __init__(self, begin: Verified, verifier: Verifier, findings: Findings, marks: Iterable[int]) -> None:
        """`marks`: tree sizes whose roots are wanted, where the walk comes past them."""
        self.begin = begin
        self.findings = findings
        self.roots: dict[int, bytes] = {begin.size: begin.root}
        self.links: list[tuple[str, int]] = []
        """(serial, index) that `device_links` must hold, of the rows decided since it was last emptied."""
        self.tiles: list[DueTile] = []
        """Completed since it was last emptied, lower levels first."""
        self._verifier = verifier
        self._marks = sorted({mark for mark in marks if mark > begin.size}, reverse=True)
        self._tree: Frontier | None = Frontier.from_bytes(begin.size, begin.frontier)
        """None: lost, for a leaf hash cannot be told."""
        self._leaves: list[bytes] = []
        self._previous: bytes | None = begin.last_leaf
        self._recorded_at = begin.recorded_at
        self._chains: dict[str, tuple[int, bytes]] = {}
        self._waiting: list[Row] = []
        """Rows that are held back until what comes after them is known."""
        self._next = begin.size
        self._unread: dict[int, list[tuple[str, bytes]]] = {}
        """Bodies that are not there, with their commitments: a later entry must say that they are erased."""
        self.erased: set[int] = set()
        """Entries whose bodies are gone, as the log says: what is beside them cannot be checked."""
        self._named: tuple[int, str, str] | None = None
        """Which entry last named the log and its key, and what it named them."""
        self._clock: str | None = None
        """What the opening says that it goes by."""
        self._epoch = begin.epoch
        """The head row's at least: each handover of the key has moved it on."""

    @property
    def clean(self) -> bool:
        return not self.findings.count

    # --- what it must be told ---------------------------------------------------------------------

    def lacking(self, rows: Sequence[Row]) -> set[str]:
        """Contracts whose chains began before the walk did, and whose ends it does not know."""
        if not self.begin.size:
            return set()
        headers = (_parsed(row) for row in (*self._waiting, *rows))
        return {h.contract for h in headers if h is not None and h.contract not in self._chains}

    def know(self, contract: str, entries: int, head: bytes) -> None:
        """How the chain of a contract ended before the walk: `entries` of them, `head` the last leaf."""
        self._chains[contract] = entries, head

    # --- rows -------------------------------------------------------------------------------------

    def take(self, rows: Sequence[Row]) -> list[Row]:
        """Look at the next rows; gives those that are decided on now: two are always held back."""
        self._waiting += rows
        decided = self._waiting[:-2]
        for at in range(len(decided)):
            self._decide(self._waiting[at : at + 3])
        self._waiting = self._waiting[-2:]
        self._grow()
        return decided

    def finish(self, head: Head) -> list[Row]:
        """Look at the last rows, and at the head row: they must end the log as it says."""
        decided, self._waiting = self._waiting, []
        for at in range(len(decided)):
            self._decide(decided[at : at + 3], head)
        self._gap(head.size, None)
        self._grow()
        for index, bodies in self._unread.items():
            for name, committed in bodies:
                self.findings.add(f"{name}_missing", f"entry {index}", index, committed=committed.hex())
        self._check_name()
        self._check_head(head)
        return decided

    def verified(self) -> Verified:
        """The end of a walk that found nothing."""
        assert self.clean
        assert self._tree is not None
        assert self._previous is not None
        return Verified(
            self._next, self._tree.root(), self._tree.to_bytes(), self._previous, self._recorded_at,
            self._verifier.name, self._epoch,
        )  # fmt: skip

    def _decide(self, rows: Sequence[Row], head: Head | None = None) -> None:
        """The first of the rows; the two that follow it, or the head row, tell what it must be."""
        row, after, later = (*rows, None, None)[:3]
        assert row is not None
        if row.index < self._next:  # no two rows have one index, so this is a row before the first
            return
        header, following = _parsed(row), _parsed(after)
        if following is not None and not (after and after.index == following.index == row.index + 1):
            following = None  # it is not the next entry, or was not when it was committed
        self._gap(row.index, header)
        computed = None if row.header is None else leaf_hash(row.header)
        leaf = self._leaf_of(computed, row, after, following, later, head)
        self._check_row(row, header, computed, leaf)
        if leaf is None:
            self._tree = None
        self._leaves += [leaf] if leaf is not None else []
        self._previous = leaf
        self._next = row.index + 1

    def _leaf_of(
        self,
        computed: bytes | None,
        row: Row,
        after: Row | None,
        following: Header | None,
        later: Row | None,
        head: Head | None,
    ) -> bytes | None:
        """The leaf hash that was committed, as far as it can be told: not always that of the bytes here."""
        if following is not None:
            vouched = following.previous
            if computed in (None, vouched):
                return vouched
            assert after is not None
            assert after.header is not None
            # Of the two, is it the next one that was altered? Not if what comes then vouches for it.
            above = _parsed(later)
            if above is not None:
                sound = above.previous == leaf_hash(after.header)
            else:
                sound = head is not None and head.last_leaf == leaf_hash(after.header)
            return vouched if sound else computed
        if after is None and head is not None and head.size == row.index + 1 and computed != head.last_leaf:
            # Which of them, entry or head? The root was made of one of the two.
            if computed is None:
                return head.last_leaf
            if self._tree is not None:
                leads = Growth(self._tree, [*self._leaves, head.last_leaf]).root == head.root
                return head.last_leaf if leads else computed
        return computed

    def _gap(self, until: int, following: Header | None) -> None:
        """Entries that are not there, before `until`."""
        missing = until - self._next
        if missing <= 0:
            return
        first, last = self._next, until - 1
        where = f"entry {first}" if missing == 1 else f"entries {first} to {last}"
        self.findings.add("entry_missing", where, first, entries=missing)
        if missing == 1 and following is not None and following.index == until:
            # Its leaf hash survives in what was chained to it; and so the tree can be followed.
            self._leaves.append(following.previous)
            self._previous = following.previous
        else:
            self._previous, self._tree = None, None
        self._next = until

    # --- one row ----------------------------------------------------------------------------------

    def _check_row(self, row: Row, header: Header | None, computed: bytes | None, leaf: bytes | None) -> None:
        index, add, where = row.index, self.findings.add, f"entry {row.index}"
        if row.header is None:
            add("entry_missing", where, index, rows="its bodies are there")
            return
        assert computed is not None
        if computed != leaf:
            add("header_altered", where, index, **_differ(computed, leaf))
        if (row.leaf != computed and row.leaf != leaf) or (row.leaf != leaf and computed == leaf):
            add("leaf_altered", where, index, **_differ(row.leaf, leaf))
        if header is None:
            add("header_unreadable", where, index, sha256=hashlib.sha256(row.header).hexdigest())
            return
        if computed != leaf:
            self._chains.pop(header.contract, None)
            return
        if header.index != index:
            add("entry_moved", where, index, is_entry=header.index)
            self._tree = None
            return
        if self._previous is not None and header.previous != self._previous:
            add("chain_broken", where, index, **_differ(header.previous, self._previous))
            self._tree = None
        self._check_chain(row, header, leaf or ZERO_HASH)
        self._check_time(row, header)
        event = self._check_body(row, "event", row.event_salt, row.event, header.event)
        decision = self._check_body(row, "decision", row.decision_salt, row.decision, header.decision)
        if header.signatures is not None:
            self._check_body(row, "signatures", row.signatures_salt, row.signatures, header.signatures)
        elif row.signatures is not None or row.signatures_salt is not None:
            self.findings.add("signatures_stray", where, index)
        self._check_columns(row, header, event, decision)

    def _check_chain(self, row: Row, header: Header, leaf: bytes) -> None:
        # Nothing is known of a contract after damage within its chain: the entry is taken at its word.
        known = header.contract in self._chains or (not self.begin.size and self.clean)
        count, tail = self._chains.get(header.contract, (0, ZERO_HASH))
        if known and (header.contract_index, header.contract_previous) != (count, tail):
            self.findings.add(
                "contract_chain_broken", f"entry {row.index}", row.index,
                is_place=header.contract_index, must_be_place=count,
                **_differ(header.contract_previous, tail),
            )  # fmt: skip
        self._chains[header.contract] = header.contract_index + 1, leaf

    def _check_time(self, row: Row, header: Header) -> None:
        before, self._recorded_at = self._recorded_at, header.recorded_at
        if header.recorded_at < before:
            self.findings.add("time_runs_back", f"entry {row.index}", row.index)

    def _check_body(
        self, row: Row, name: str, salt: bytes | None, body: bytes | None, committed: bytes
    ) -> bytes | None:
        """The body, if it is the one that was committed."""
        if salt is None and body is None:
            self._unread.setdefault(row.index, []).append((name, committed))
            return None
        if salt is None or body is None:
            self.findings.add(f"{name}_missing", f"entry {row.index}", row.index, committed=committed.hex())
            return None
        found = commitment(salt, body)
        if found != committed:
            self.findings.add(f"{name}_altered", f"entry {row.index}", row.index, **_differ(found, committed))
            return None
        return body

    def _check_columns(self, row: Row, header: Header, event: bytes | None, decision: bytes | None) -> None:
        must: dict[str, Any] = {
            "contract": header.contract,
            "contract_index": header.contract_index,
            "recorded_at": _instant(header.recorded_at),
        }
        try:
            if event is not None:
                said = committed_event(event)
                must |= {"kind": said.kind, "party": said.actor.party, "event_id": said.id}
                self.links += [(serial, row.index) for serial in said.data.speaks_of()]
                if said.contract != header.contract:
                    self.findings.add("contract_differs", f"entry {row.index}", row.index)
                self._heed(row.index, said)
            if decision is not None:
                must["outcome"] = parse(decision)["outcome"]
        except (LedgerError, KeyError, TypeError, ValueError) as error:
            self.findings.add(
                "body_unreadable", f"entry {row.index}", row.index, because=type(error).__name__
            )
        for column, value in must.items():
            if (found := getattr(row, column)) != value:
                self.findings.add(
                    "column_altered", f"entry {row.index}, {column}", row.index, **_differ(found, value)
                )

    def _heed(self, index: int, said: Event) -> None:
        """What the ledger says of the log itself: its name and key, and what is erased."""
        data = said.data
        if isinstance(data, LedgerOpened | LedgerRecovered):
            self._named = index, data.origin, data.key
        elif isinstance(data, CheckpointKeyRotated) and self._named is not None:
            self._named = index, self._named[1], data.key
        if isinstance(data, LedgerOpened):
            self._clock = data.clock
        elif isinstance(data, CheckpointKeyRotated | LedgerRecovered):
            self._epoch += 1
        if isinstance(data, ValueErased) and data.part == data.parts and data.index in self._unread:
            del self._unread[data.index]
            self.erased.add(data.index)

    def _check_name(self) -> None:
        """The log opens, and hands over, under the name and key by which it is known."""
        if self._named is None:
            return
        index, origin, key = self._named
        if (origin, key) != (self._verifier.name, str(self._verifier)):
            self.findings.add("another_log", f"entry {index}", index, **_differ(key, str(self._verifier)))

    # --- tree and head ----------------------------------------------------------------------------

    def _grow(self) -> None:
        leaves, self._leaves = self._leaves, []
        if self._tree is None or not leaves:
            return
        size = self._tree.size + len(leaves)
        while self._marks and self._marks[-1] <= size:
            mark = self._marks.pop()
            added = mark - self._tree.size
            self._add(leaves[:added])
            leaves = leaves[added:]
            self.roots[mark] = self._tree.root()
        self._add(leaves)

    def _add(self, leaves: Sequence[bytes]) -> None:
        assert self._tree is not None
        if leaves:
            growth = Growth(self._tree, leaves)
            self.tiles += [
                DueTile(level, n, growth.node(tiles.HEIGHT * (level + 1), n))
                for level, n in tiles.filled(self._tree.size, growth.size)
            ]
            self._tree = growth.frontier()

    def _check_head(self, head: Head) -> None:
        if head.epoch < self._epoch:
            self.findings.add(
                "head_altered", "head, epoch", is_epoch=head.epoch, must_be_at_least=self._epoch
            )
        self._epoch = head.epoch
        if self._clock not in (None, head.clock):
            self.findings.add("head_altered", "head, clock", **_differ(head.clock, self._clock))
        if head.size != self._next:
            self.findings.add("head_altered", "head, size", is_size=head.size, must_be_size=self._next)
        if self._tree is None:
            return  # what it should be cannot be told, and there is a finding that says why
        must = {
            "root": self._tree.root(),
            "frontier": self._tree.to_bytes(),
            "last_leaf": self._previous,
            "recorded_at": _instant(self._recorded_at),
        }
        for column, value in must.items():
            if (found := getattr(head, column)) != value:
                self.findings.add("head_altered", f"head, {column}", **_differ(found, value))


def check_versions(findings: Findings, head: Head, verifier: Verifier, *, engine: int) -> None:
    """The head row must name this log, its key and the versions of this code."""
    must = {
        "origin": verifier.name, "verifier_key": str(verifier), "format": FORMAT, "fold": FOLD_VERSION,
        "engine": engine,
    }  # fmt: skip
    for column, value in must.items():
        if (found := getattr(head, column)) != value:
            findings.add("head_altered", f"head, {column}", **_differ(found, value))


def check_tile(findings: Findings, due: DueTile, stored: tuple[bytes, bytes] | None) -> None:
    """`stored`: hashes and root of the row of `tiles`, if there is one."""
    where = f"tile {due.level}/{due.n}"
    if stored is None:
        findings.add("tile_missing", where, must_be=due.root.hex())
        return
    hashes, root = stored
    try:
        found = Growth(Frontier(), split(hashes)).root
    except VerificationError:
        found = b""
    if found != due.root or len(hashes) != 32 * tiles.FULL_WIDTH:
        findings.add("tile_altered", where, **_differ(found, due.root))
    if root != due.root:
        findings.add("tile_altered", f"{where}, root", **_differ(root, due.root))


def _parsed(row: Row | None) -> Header | None:
    if row is None or row.header is None:
        return None
    try:
        return Header.parse(row.header)
    except VerificationError:
        return None


def _instant(recorded_at: str) -> datetime | None:
    try:
        at = parse_timestamp(recorded_at)
    except ValueError:
        return None
    return at if format_timestamp(at) == recorded_at else None


def _differ(found: object, must: object) -> dict[str, str]:
    """Both values, as digests where they are none."""
    return {"is_": _shown(found), "must_be": _shown(must)}


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bytes) and len(value) == 32:
        return value.hex()
    raw = value if isinstance(value, bytes) else str(value).encode()
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"
