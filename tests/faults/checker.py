"""The linear checker: what clients were told, against the log that is there in the end.

`check` takes the history of every request, answered or not, and the final log as the database holds
it, and names each property that does not hold:

    receipt      a receipt verifies under the log's key, for the event that was sent
    lost         what a receipt says stands in the final log: same header, same decision, at that index
    checkpoint   every signed checkpoint is a prefix of the final log, and so of every later one
    once         an id stands at most once, and every answer for it names the same entry
    submitted    every entry was really sent, with these bytes; or is the ledger's own, under its own id
    gap          indexes run from 0 without a gap, as far as the head says
    chain        each entry is hashed as it stands, and cites the one before it
    contract     so does each contract's own chain
    body         each body is what its header commits to
    root         head and tiles are those of the leaves
    half         an entry is there with its bodies, or not at all
    order        what was answered before another was sent stands before it
    untrue       what was answered "nothing was committed" was not, by that attempt
    facts        the stored facts are those that the log makes

It is linear because ids are unique: there is no history to search for. Hashing, chains and tree are
written down here once more, so that a mistake in `ledger` does not excuse itself; only signatures and
inclusion proofs are checked by the code that is given to clients.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg

from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError
from ledger.note import Verifier
from ledger.rebuild import compare
from ledger.receipt import Receipt

LEDGER_PARTY = "_ledger"
NOTHING_COMMITTED = frozenset({"unavailable", "queue-full", "unauthenticated", "forbidden"})
"""The problems that say so."""
DETAILS_MAX = 5
"""Violations of one property that are told one by one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request for one event, and what came back, if anything."""

    party: str
    id: str
    body: bytes = field(repr=False)
    """Canonical bytes of the event."""
    sent_ns: int
    """Monotonic clock, before the first byte went out."""
    answered_ns: int | None = None
    """After the last byte came in."""
    status: int | None = None
    answer: bytes = field(default=b"", repr=False)
    problem: str = ""
    """Name of the problem, if the answer is one."""
    retry_after: str | None = None

    replayed: bool = False
    """The answer is that of an entry which stood already."""

    @property
    def name(self) -> tuple[str, str]:
        return self.party, self.id


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `entries`."""

    index: int
    contract: str
    contract_index: int
    party: str
    event_id: str
    outcome: str
    leaf: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Bodies:
    """A row of `bodies`."""

    event_salt: bytes
    event: bytes
    decision_salt: bytes
    decision: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """The tables, read in one snapshot."""

    origin: str
    size: int
    root: bytes
    last_leaf: bytes
    rows: tuple[Row, ...]
    """By index."""
    bodies: Mapping[int, Bodies]
    links: frozenset[int] = frozenset()
    """Every index that a custody chain names."""
    tiles: Mapping[tuple[int, int], bytes] = field(default_factory=dict)
    """(level, n) → hashes."""
    differences: tuple[str, ...] = ()
    """Facts that are not what the log makes them."""


@dataclass(frozen=True, slots=True)
class Violation:
    property: str
    detail: str

    def __str__(self) -> str:
        return f"{self.property}: {self.detail}"


@dataclass(frozen=True, slots=True)
class _Told:
    """A receipt that verified, and with which answer it came."""

    attempt: Attempt
    receipt: Receipt
    checkpoint: Checkpoint


async def read_log(owner_url: str, reader_url: str) -> Log:
    """The log as a superuser sees it, and its facts compared with the fold. Nobody may be writing."""
    differences = await compare(reader_url, lambda _done, _total: None)
    async with await psycopg.AsyncConnection.connect(owner_url) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)

        async def rows(query: str) -> list[tuple[Any, ...]]:
            return await (await connection.execute(query)).fetchall()

        [(origin, size, root, last_leaf)] = await rows("SELECT origin, size, root, last_leaf FROM head")
        entries = await rows(
            "SELECT index, contract, contract_index, party, event_id::text, outcome, leaf, header"
            " FROM entries ORDER BY index"
        )
        bodies = await rows("SELECT index, event_salt, event, decision_salt, decision FROM bodies")
        links = await rows("SELECT DISTINCT index FROM device_links")
        tiles = await rows("SELECT level, n, hashes FROM tiles")
    return Log(
        origin=origin,
        size=size,
        root=root,
        last_leaf=last_leaf,
        rows=tuple(Row(*row) for row in entries),
        bodies={index: Bodies(*rest) for index, *rest in bodies},
        links=frozenset(index for (index,) in links),
        tiles={(level, n): hashes for level, n, hashes in tiles},
        differences=tuple(map(str, differences)),
    )


def check(history: Sequence[Attempt], log: Log, verifier: Verifier) -> list[Violation]:
    """Everything that does not hold; an empty list if all does."""
    told, found = _verified(history, verifier)
    sizes = {one.checkpoint.size for one in told if one.checkpoint.size <= len(log.rows)}
    roots = prefix_roots([row.leaf for row in log.rows], sizes | {len(log.rows)})
    found += _lost(told, log)
    found += _checkpoints(told, log, roots)
    found += _once(told, log)
    found += _submitted(history, log)
    found += _gaps(log)
    found += _chains(log)
    found += _bodies(log)
    found += _tree(log, roots)
    found += _halves(log)
    found += _order(history, told, log)
    found += _untrue(history, log)
    found += [Violation("facts", words) for words in log.differences]
    return found


def assert_holds(history: Sequence[Attempt], log: Log, verifier: Verifier) -> None:
    """Raise AssertionError that tells what does not hold."""
    found = check(history, log, verifier)
    if not found:
        return
    counts = Counter(one.property for one in found)
    told: Counter[str] = Counter()
    lines = [f"{len(found)} violations: {dict(counts)}"]
    for one in found:
        told[one.property] += 1
        if told[one.property] <= DETAILS_MAX:
            lines.append(str(one))
    raise AssertionError("\n".join(lines))


# --- receipts -------------------------------------------------------------------------------------


def _verified(history: Iterable[Attempt], verifier: Verifier) -> tuple[list[_Told], list[Violation]]:
    told, found = [], []
    for attempt in history:
        if attempt.status is None or attempt.status >= 500 or attempt.status in (409, 429):
            continue
        try:
            receipt = Receipt.parse(attempt.answer)
            checkpoint = receipt.check(verifier, event=attempt.body)
        except LedgerError as error:
            found.append(Violation("receipt", f"of {attempt.id} ({attempt.status}): {error}"))
        else:
            told.append(_Told(attempt, receipt, checkpoint))
    return told, found


def _lost(told: Iterable[_Told], log: Log) -> Iterator[Violation]:
    stands = {row.index: row for row in log.rows}
    for one in told:
        index = one.receipt.index
        row = stands.get(index)
        if row is None:
            yield Violation("lost", f"{one.attempt.id} has a receipt for entry {index}: not there")
        elif row.header != one.receipt.header:
            yield Violation("lost", f"{one.attempt.id} has a receipt for another entry {index}")
        elif index in log.bodies and log.bodies[index].decision != one.receipt.decision:
            yield Violation("lost", f"entry {index} has another decision than its receipt")
        elif row.outcome != json.loads(one.receipt.decision)["outcome"]:
            yield Violation("lost", f"entry {index} is {row.outcome}, its receipt says otherwise")
        elif (one.attempt.status == 422) != (row.outcome == "denied"):
            yield Violation("lost", f"entry {index}, {row.outcome}: answered {one.attempt.status}")


def _checkpoints(told: Iterable[_Told], log: Log, roots: Mapping[int, bytes]) -> Iterator[Violation]:
    signed: dict[int, bytes] = {}
    for one in told:
        size, root = one.checkpoint.size, one.checkpoint.root
        if signed.setdefault(size, root) != root:
            yield Violation("checkpoint", f"two roots were signed for size {size}")
        elif size not in roots:
            yield Violation(
                "checkpoint", f"one was signed for size {size}, the log has {len(log.rows)} entries"
            )
        elif roots[size] != root:
            yield Violation("checkpoint", f"the one of size {size} is no prefix of the final log")


def _once(told: Iterable[_Told], log: Log) -> Iterator[Violation]:
    for name, count in Counter((row.party, row.event_id) for row in log.rows).items():
        if count > 1:
            yield Violation("once", f"id {name[1]} of {name[0]} stands {count} times")
    answered: dict[tuple[str, str], tuple[int, bytes]] = {}
    created: Counter[tuple[str, str]] = Counter()
    for one in told:
        entry = one.receipt.index, one.receipt.header
        if answered.setdefault(one.attempt.name, entry) != entry:
            yield Violation("once", f"{one.attempt.id} was answered with two entries")
        created[one.attempt.name] += one.attempt.status == 201
    for name, count in created.items():
        if count > 1:
            yield Violation("once", f"{name[1]} was answered as new (201) {count} times")


# --- the log itself -------------------------------------------------------------------------------


def _submitted(history: Iterable[Attempt], log: Log) -> Iterator[Violation]:
    sent: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for attempt in history:
        sent[attempt.name].add(attempt.body)
    for row in log.rows:
        if row.party == LEDGER_PARTY:
            own = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{log.origin}#{row.index}"))
            if row.event_id != own:
                yield Violation("submitted", f"entry {row.index} is the ledger's, under id {row.event_id}")
        elif (row.party, row.event_id) not in sent:
            yield Violation("submitted", f"entry {row.index} ({row.event_id}) was never sent")
        elif row.index in log.bodies and (log.bodies[row.index].event not in sent[row.party, row.event_id]):
            yield Violation("submitted", f"entry {row.index} holds bytes that were never sent")


def _gaps(log: Log) -> Iterator[Violation]:
    for expected, row in enumerate(log.rows):
        if row.index != expected:
            yield Violation("gap", f"entry {row.index} stands where {expected} must")
            break
    if log.size != len(log.rows):
        yield Violation("gap", f"the head says {log.size} entries, there are {len(log.rows)}")


def _chains(log: Log) -> Iterator[Violation]:
    previous = "0" * 64
    chains: dict[str, tuple[int, str]] = {}
    at = ""
    for row in log.rows:
        header = json.loads(row.header)
        if sha256(b"\0" + row.header).digest() != row.leaf:
            yield Violation("chain", f"entry {row.index} is not hashed to its leaf")
        if (header["index"], header["previous"]) != (row.index, previous):
            yield Violation("chain", f"entry {row.index} does not cite the entry before it")
        if header["recorded_at"] < at:
            yield Violation("chain", f"entry {row.index} is recorded before the one before it")
        count, tail = chains.get(row.contract, (0, "0" * 64))
        cites = header["contract"], header["contract_index"], header["contract_previous"]
        if cites != (row.contract, count, tail) or row.contract_index != count:
            yield Violation(
                "contract", f"entry {row.index} does not continue contract {row.contract} at {count}"
            )
        at, previous = header["recorded_at"], row.leaf.hex()
        chains[row.contract] = count + 1, previous


def _bodies(log: Log) -> Iterator[Violation]:
    for row in log.rows:
        bodies = log.bodies.get(row.index)
        if bodies is None:
            continue  # `half` says so
        committed = json.loads(row.header)["bodies"]
        event, decision = json.loads(bodies.event), json.loads(bodies.decision)
        if sha256(bodies.event_salt + bodies.event).hexdigest() != committed["event"]:
            yield Violation("body", f"the event of entry {row.index} is not what it commits to")
        if sha256(bodies.decision_salt + bodies.decision).hexdigest() != committed["decision"]:
            yield Violation("body", f"the decision of entry {row.index} is not what it commits to")
        if (event["id"], event["actor"]["party"]) != (row.event_id, row.party):
            yield Violation("body", f"entry {row.index} stands under another id than its event's")
        if decision["outcome"] != row.outcome:
            yield Violation("body", f"entry {row.index} stands as {row.outcome}, its decision differs")


def _tree(log: Log, roots: Mapping[int, bytes]) -> Iterator[Violation]:
    if log.root != roots[len(log.rows)]:
        yield Violation(
            "root", f"of the head is {log.root.hex()}, of the leaves {roots[len(log.rows)].hex()}"
        )
    if log.rows and log.last_leaf != log.rows[-1].leaf:
        yield Violation("root", "the head's last leaf is not the last entry's")
    expected = dict(full_tiles([row.leaf for row in log.rows]))
    for key in sorted(expected.keys() | log.tiles.keys()):
        if expected.get(key) != log.tiles.get(key):
            yield Violation("root", f"tile {key} is not that of the leaves")


def _halves(log: Log) -> Iterator[Violation]:
    indexes = {row.index for row in log.rows}
    for index in sorted(indexes - log.bodies.keys()):
        yield Violation("half", f"entry {index} is there without its bodies")
    for index in sorted(log.bodies.keys() - indexes):
        yield Violation("half", f"the bodies of entry {index} are there without it")
    for index in sorted(log.links - indexes):
        yield Violation("half", f"a custody chain names entry {index}, which is not there")


def prefix_roots(leaves: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """RFC 9162 §2.1.1 at several sizes, in one pass."""
    wanted = set(sizes)
    roots = {0: sha256(b"").digest()} if 0 in wanted else {}
    stack: list[tuple[int, bytes]] = []  # (entries under it, hash) of complete subtrees
    for size, leaf in enumerate(leaves, 1):
        node = 1, leaf
        while stack and stack[-1][0] == node[0]:
            left = stack.pop()
            node = 2 * node[0], sha256(b"\1" + left[1] + node[1]).digest()
        stack.append(node)
        if size in wanted:
            edge = stack[-1][1]
            for _, left_hash in reversed(stack[:-1]):
                edge = sha256(b"\1" + left_hash + edge).digest()
            roots[size] = edge
    return roots


def full_tiles(leaves: Sequence[bytes]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """((level, n), hashes) of every full tile (C2SP tlog-tiles)."""
    level, hashes = 0, list(leaves)
    while len(hashes) >= 256:
        above = []
        for n in range(len(hashes) // 256):
            part = hashes[256 * n : 256 * n + 256]
            yield (level, n), b"".join(part)
            above.append(prefix_roots(part, [256])[256])
        level, hashes = level + 1, above


# --- time -----------------------------------------------------------------------------------------


def _order(history: Iterable[Attempt], told: Iterable[_Told], log: Log) -> Iterator[Violation]:
    """What a checkpoint covered when it was answered stands before whatever was sent later."""
    first_sent: dict[tuple[str, str], int] = {}
    for attempt in history:
        before = first_sent.get(attempt.name, attempt.sent_ns)
        first_sent[attempt.name] = min(before, attempt.sent_ns)
    earliest: dict[int, int] = {}  # tree size → when somebody first held a checkpoint of it
    for one in told:
        answered = one.attempt.answered_ns
        assert answered is not None
        size = one.checkpoint.size
        earliest[size] = min(answered, earliest.get(size, answered))
    known_since: int | None = None  # when a client first knew that the log is longer than this index
    for row in reversed(log.rows):
        if (at := earliest.get(row.index + 1)) is not None:
            known_since = at if known_since is None else min(known_since, at)
        sent = first_sent.get((row.party, row.event_id))
        if sent is not None and known_since is not None and known_since < sent:
            yield Violation(
                "order",
                f"entry {row.index} was sent {(sent - known_since) / 1e6:.3f} ms after an answer that"
                " covers its place",
            )


def _untrue(history: Iterable[Attempt], log: Log) -> Iterator[Violation]:
    """Only where every attempt was answered: one that was not may have been the one that committed.

    An entry that nobody was told of as new, yet stands, was committed by an attempt that was told
    otherwise; whether a later one found it or not.
    """
    unaccounted: dict[tuple[str, str], bool] = {}
    for attempt in history:
        is_innocent = attempt.problem in NOTHING_COMMITTED or attempt.replayed
        unaccounted[attempt.name] = unaccounted.get(attempt.name, True) and is_innocent
    for row in log.rows:
        if unaccounted.get((row.party, row.event_id), False):
            yield Violation("untrue", f"entry {row.index} ({row.event_id}) was answered as not committed")
