"""The offline verifier: an export (`ledger/FORMAT.md`), checked to the byte, without trust in us.

`ledger.verify_tiles` reads a folder of tiles as the export that it is, all bodies withheld.

Reads once, from start to end, in flat memory, and needs no database and no service. What the file
is held against is a checkpoint key known from elsewhere, and receipts: without either it can only
be found consistent with itself, which whoever rewrites all of it can achieve. Submitters' signatures are
checked against the keys that the log registers (`ledger.signatories`); what else the bodies mean is not
judged here.

Each line is first compared with the one header that may stand there, spelled from its own bodies
and from what came before (`_is_next`). Whatever differs is taken apart (`_examine`), which is slow,
and gives the reason, or accepts what the comparison does not know: withheld bodies, new contracts.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from ledger.canonical import canonical, parse
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import FORMAT, SALT_BYTES, ZERO_HASH, Header, spell
from ledger.errors import LedgerError, NotJSON, UnusableInput, VerificationError
from ledger.merkle import EMPTY_ROOT, Frontier, Growth, leaf_hash
from ledger.note import Verifier, parse_note
from ledger.receipt import Receipt, TlogProof
from ledger.signatories import Signatories
from ledger.succession import Succession
from ledger.summary import Tail, root_of

EXPORT: Final = 1
"""The format of the file; that of its entries is `ledger.entry.FORMAT`."""
LINE_BYTES_MAX: Final = 8 << 20
"""An event is at most 1 MiB; no line of ours comes near."""
CHUNK_BYTES = 256 << 10

_OURS = "_ledger"
_ROTATED = "checkpoint_key.rotated"
_RECOVERED = "ledger.recovered"
_KEYS = {"export", "origin", "size", "key", "checkpoint"}
_SALT_HEX: Final = 2 * SALT_BYTES
_ZERO_HEX: Final = ZERO_HASH.hex()

# Where a header with two bodies has its contract and its time. A header that has them elsewhere is
# not equal to what `spell` makes of these places, so `_is_next` cannot be fooled by them.
_BEFORE_CONTRACT = spell(_ZERO_HEX, _ZERO_HEX, "", "?", 0, _ZERO_HEX, 0, _ZERO_HEX, "").index(b"?")
_CONTRACT = slice(_BEFORE_CONTRACT, _BEFORE_CONTRACT + 36)
_RECORDED_AT = slice(-29, -2)
_ON_SIGNING = re.compile(rb'"kind":"(?:key|contract)\.')
"""Whose key is whose, and what must be signed; a search, for it costs a third of two `in`."""

_ERASED: Final = b'"kind":"value.erased"'
SHOWN_MAX: Final = 20
"""Entries with a withheld body that are named."""

Progress = Callable[[int, int], object]
"""Called with how many entries are done, and how many there are."""


class Tampered(VerificationError):
    """The export, or a receipt, is not what was committed."""

    def __init__(self, what: str, index: int | None = None, *, where: str | None = None) -> None:
        self.what = what
        self.index = index
        """The first entry found bad; None where it is the header line, or the end of the file."""
        where = where or f"line {index + 2 if index is not None else 1}"
        super().__init__(what if index is None else f"entry {index} ({where}): {what}")


@dataclass(frozen=True, slots=True)
class Remark:
    """Not tampering, but to be known."""

    index: int
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """An export that holds."""

    origin: str
    size: int
    root: bytes
    key: Verifier
    """The one that signed the checkpoint: the given one, or one that it was rotated to or from."""
    rotations: int
    key_given: bool
    """False: the key is the file's own word, and so is everything else."""
    contracts: int
    """Not counting the ledger's own."""
    withheld: int
    """Bodies that are not in the file and that no entry says are erased: nobody could check their
    commitments."""
    withheld_first: tuple[int, ...]
    """Of which entries, the first."""
    erased: int
    """Bodies that are not in the file, and of which the log itself says that they are erased."""
    receipts: int
    kept: int
    """Checkpoints kept elsewhere that the log continues."""
    signatures: int
    """Submitters' signatures that hold."""
    signing_keys: int
    """How many keys these are of."""
    signatures_unchecked: int
    """For something is withheld that this takes, or their event was refused and its key is unknown."""
    recorded_until: str
    """`recorded_at` of the last entry."""
    warnings: tuple[Remark, ...]


def verify_export(
    file: BinaryIO,
    *,
    verifier: Verifier | None = None,
    receipts: Sequence[Receipt | TlogProof] = (),
    kept: Sequence[Checkpoint] = (),
    progress: Progress | None = None,
) -> Report:
    """Check every byte of an export, and that the log honours `receipts` and continues each of `kept`.

    Raises Tampered, with the index where it can be told, and UnusableInput if this is no export.
    """
    lines = _Lines(file)
    title, batch = _read_title(lines, verifier)
    return verify_lines(title, lines, batch, given=verifier, receipts=receipts, kept=kept, progress=progress)


def verify_lines(
    title: Title,
    lines: Lines,
    batch: list[bytes],
    *,
    given: Verifier | None,
    receipts: Sequence[Receipt | TlogProof],
    kept: Sequence[Checkpoint] = (),
    progress: Progress | None,
) -> Report:
    """Check the entries below a checkpoint that was opened; `batch` are the first lines of them.

    `given`: the key that is known from elsewhere, the one that signed the checkpoint or one before it.
    `kept`: checkpoints that were kept elsewhere, whose signatures hold.
    """
    size = title.checkpoint.size
    walk = _Walk(title, lines, receipts, kept)
    more = False
    while batch and not more:
        room = size - walk.index
        more = len(batch) > room
        walk.take(batch[:room])
        if progress is not None:
            progress(walk.index, size)
        batch = next(lines, [])
    walk.finish(given)
    if more or lines.tail:
        raise Tampered(f"the file goes on after entry {size - 1}, the last one of its checkpoint")
    for receipt in receipts:
        _check_receipt(receipt, title, walk)
    for checkpoint in kept:
        _check_kept(checkpoint, size, walk)
    return Report(
        origin=title.checkpoint.origin,
        size=size,
        root=title.checkpoint.root,
        key=title.verifier,
        rotations=walk.rotations,
        key_given=given is not None,
        contracts=walk.contracts,
        withheld=sum(walk.absent),
        withheld_first=tuple(islice((i for i, number in enumerate(walk.absent) if number), SHOWN_MAX)),
        erased=walk.erased,
        receipts=len(receipts),
        kept=len(kept),
        signatures=walk.signatories.checked,
        signing_keys=walk.signatories.keys,
        signatures_unchecked=walk.signatories.unchecked,
        recorded_until=walk.recorded_at,
        warnings=tuple(walk.warnings),
    )


# --- lines ----------------------------------------------------------------------------------------


class Lines(Protocol):
    """Entries as lines of an export, some at a time."""

    tail: bytes
    """What follows the last whole line that was read."""

    def __iter__(self) -> Iterator[list[bytes]]: ...
    def __next__(self) -> list[bytes]: ...


class _Lines(Iterator[list[bytes]]):
    """The whole lines of a file, some at a time, without their newlines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tail = b""

    def __next__(self) -> list[bytes]:
        while len(self.tail) <= LINE_BYTES_MAX and (chunk := self._file.read(CHUNK_BYTES)):
            *lines, self.tail = (self.tail + chunk).split(b"\n")
            if lines:
                return lines
        raise StopIteration


# --- line 1 ---------------------------------------------------------------------------------------


class Title(NamedTuple):
    """What the entries are held against."""

    verifier: Verifier
    checkpoint: Checkpoint


def _read_title(lines: _Lines, verifier: Verifier | None) -> tuple[Title, list[bytes]]:
    """Line 1, and the first lines after it; [] if there are none."""
    batch: list[bytes] = []
    while len(batch) < 4 and (more := next(lines, [])):  # a read may be short
        batch += more
    first, following = (batch[0], batch[1:]) if batch else (lines.tail, [])
    try:
        value = parse(first)
    except NotJSON:
        value = None
    # The number of the format is damaged as easily as anything: it is believed where no entry of
    # this format follows.
    entries = any(map(_holds_entry, [first, *following[:3]]))
    if not entries:
        if not isinstance(value, dict) or "export" not in value:
            raise UnusableInput("this is not an export of a ledger")
        if type(value["export"]) is int and value["export"] != EXPORT:
            raise UnusableInput(f"the export is of format {value['export']}, must be {EXPORT}")
    try:
        return _open_title(first, value, verifier), following
    except LedgerError as error:
        raise Tampered(f"header line: {error}") from None


def _holds_entry(line: bytes) -> bool:
    """Whether an entry stands in the line, though behind a newline that was damaged."""
    try:
        Header.parse(line[line.find(b'{"bodies":{') :].partition(b"\t")[0])
    except VerificationError:
        return False
    return True


def _open_title(raw: bytes, value: Any, verifier: Verifier | None) -> Title:
    if not isinstance(value, dict) or value.keys() != _KEYS or canonical(value) != raw:
        raise VerificationError(f"it must be a canonical JSON object of {', '.join(sorted(_KEYS))}")
    if type(value["export"]) is not int or value["export"] != EXPORT:
        raise VerificationError(f"export is {value['export']!r}, must be {EXPORT}")
    for name in ("origin", "key", "checkpoint"):
        if not isinstance(value[name], str):
            raise VerificationError(f"{name} is {value[name]!r}, must be a string")
    origin, key, note = value["origin"], value["key"], value["checkpoint"]
    known = Verifier.parse(key)
    if origin != known.name:
        raise VerificationError(f"origin is {origin!r}, must be {known.name!r} as in the key")
    checkpoint = open_checkpoint(note, known, origin)
    # Of another key's signature no byte could be checked, and this file has no such byte.
    if len(parse_note(note)[1]) != 1:
        raise VerificationError("the checkpoint must have one signature, that of the log")
    if type(value["size"]) is not int or value["size"] != checkpoint.size:
        raise VerificationError(f"size is {value['size']!r}, the checkpoint's is {checkpoint.size}")
    if not checkpoint.size:
        raise VerificationError("size is 0, must be 1 at least: a log begins with ledger.opened")
    return Title(known, checkpoint)


# --- entries --------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What a receipt's entry is in this file."""

    header: bytes
    salts: dict[str, bytes]


@dataclass(slots=True)
class _Chain:
    """The end of a contract's own chain."""

    contract: str
    count: int
    leaf: str
    """Hex."""
    demands: bool = False
    """Some of its events must be signed."""


class _Walk:
    """The log up to `index`, every entry of it checked but for what its successor vouches for."""

    def __init__(
        self,
        title: Title,
        lines: Lines,
        receipts: Iterable[Receipt | TlogProof],
        kept: Iterable[Checkpoint],
    ) -> None:
        self._title = title
        self._lines = lines
        self._batch: list[bytes] = []
        self._start = 0
        """Index of the batch's first line."""
        self.index = 0
        """Of the entry that must come next."""
        self.recorded_at = ""
        self._previous = self._before = _ZERO_HEX
        """The last leaf hash and the one before it, in hex."""
        self._chains: dict[bytes, _Chain] = {}
        self._tree = Frontier()
        self._leaves: list[bytes] = []
        """Not in the tree yet. The last is always kept back: `_blame` may have to doubt it."""
        self.absent = bytearray()
        """Of each entry: how many of its bodies are not here, and not erased either."""
        self.erased = 0
        self.signatories = Signatories()
        self.keys = Succession(title.verifier.name)
        self.rotations = 0
        self.warnings: list[Remark] = []
        # What the receipts will be held against, largest first.
        self._indexes = sorted({receipt.index for receipt in receipts}, reverse=True)
        sizes = {receipt.tree_size for receipt in receipts} | {checkpoint.size for checkpoint in kept}
        self._sizes = sorted(sizes, reverse=True)
        self.seen: dict[int, _Seen] = {}
        self.roots: dict[int, bytes] = {}

    @property
    def contracts(self) -> int:
        return len(self._chains) - 1

    def take(self, batch: list[bytes]) -> None:
        """Check the next lines."""
        self._batch, self._start = batch, self.index
        for line in batch:
            if not self._is_next(line):
                self._examine(line)
            if self.absent and _ERASED in line:
                self._note_erased(line)
        while self._indexes and self._indexes[-1] < self.index:
            index = self._indexes.pop()
            if index >= self._start:
                self.seen[index] = _seen(batch[index - self._start])
        if self._leaves:
            last = self._leaves.pop()
            self._grow(self._leaves)
            self._leaves = [last]

    def finish(self, given: Verifier | None) -> None:
        """Check that the file ended where its checkpoint ends, with the checkpoint's root, and that
        its key is the one that the log came to: from the `given` one, or to it."""
        checkpoint, tail = self._title.checkpoint, self._lines.tail
        missing = checkpoint.size - self.index
        if missing and len(tail) > LINE_BYTES_MAX:
            raise Tampered(f"its line is longer than {LINE_BYTES_MAX} bytes", self.index)
        if missing and tail:
            raise Tampered(
                "its line is cut short, or does not end in a newline; "
                f"{missing - 1} of {checkpoint.size} entries are missing after it",
                self.index,
            )
        if missing:
            raise Tampered(
                f"the file ends before entry {self.index}: "
                f"the last {missing} of {checkpoint.size} entries are missing"
            )
        self._grow(self._leaves)
        root = self._tree.root()
        if root != checkpoint.root:
            raise Tampered(
                f"the entries lead to root {root.hex()}, must be {checkpoint.root.hex()}: "
                "this last entry is altered, or the log was rewritten up to it",
                checkpoint.size - 1,
            )
        signed_by = self._title.verifier
        index, last = self.keys.last or (0, signed_by)
        if last != signed_by:
            what = "rotation" if index else "opening"
            raise Tampered(f"key of the {what} is {str(last)!r}, must be {str(signed_by)!r}", index)
        if given is not None and given != signed_by and given not in self.keys:
            raise Tampered(f"header line: key is {signed_by}, must be the given {given}, or its successor")

    def _is_next(self, line: bytes) -> bool:
        """Take the next entry if it shows both its bodies and its contract is known; else change
        nothing."""
        try:
            header, event_salt, event, decision_salt, decision = line.split(b"\t")
            event_hash = sha256(unhexlify(event_salt) + event).hexdigest()
            decision_hash = sha256(unhexlify(decision_salt) + decision).hexdigest()
            recorded_at = header[_RECORDED_AT].decode("ascii")
        except ValueError:
            return False
        chain = self._chains.get(header[_CONTRACT])
        if (
            chain is None
            or chain.contract == _OURS  # what the log says of itself is read
            or header
            != spell(
                decision_hash, event_hash, "", chain.contract, chain.count, chain.leaf,
                self.index, self._previous, recorded_at,
            )
            # What may be, or must be, signed is looked at more closely.
            or chain.demands
            or _ON_SIGNING.search(event)
            # Or a byte could move between salt and body, and a digit change its case.
            or not len(event_salt) == len(decision_salt) == _SALT_HEX
            or event_salt != event_salt.lower()
            or decision_salt != decision_salt.lower()
            or not (event and decision)
            or not (recorded_at == self.recorded_at or self._is_later(recorded_at))
            or len(line) > LINE_BYTES_MAX
        ):  # fmt: skip
            return False
        self._accept(header, chain, recorded_at)
        return True

    def _accept(self, header: bytes, chain: _Chain, recorded_at: str) -> None:
        self._before = self._previous
        self._previous = leaf = sha256(b"\0" + header).hexdigest()
        self._leaves.append(unhexlify(leaf))
        chain.count += 1
        chain.leaf = leaf
        self.recorded_at = recorded_at
        self.index += 1

    def _is_later(self, recorded_at: str) -> bool:
        """Whether it is a time of the calendar, in the one spelling, and not before the last."""
        return recorded_at >= self.recorded_at and _is_time(recorded_at)

    def _grow(self, leaves: list[bytes]) -> None:
        """Add leaves to the tree, and keep its root wherever a receipt was given."""
        size = self._tree.size + len(leaves)
        while self._sizes and self._sizes[-1] <= size:
            wanted = self._sizes.pop()
            added = wanted - self._tree.size
            self._tree = Growth(self._tree, leaves[:added]).frontier()
            self.roots[wanted] = self._tree.root()
            leaves = leaves[added:]
        self._tree = Growth(self._tree, leaves).frontier()

    # --- one line, taken apart --------------------------------------------------------------------

    def _examine(self, line: bytes) -> None:
        """Take the next entry, whatever of it is withheld, or raise Tampered."""
        if len(line) > LINE_BYTES_MAX:
            raise Tampered(f"its line is longer than {LINE_BYTES_MAX} bytes", self.index)
        raw, *fields = line.split(b"\t")
        if len(fields) not in (4, 6):
            raise Tampered(
                f"the line has {len(fields) + 1} tab-separated fields, must have 5, or 7 if signed",
                self.index,
            )
        try:
            header = Header.parse(raw)
        except VerificationError as error:
            raise Tampered(str(error), self.index) from None
        self._check_place(header, leaf_hash(raw))
        chain = self._check_chain(header)
        if not _is_time(header.recorded_at):
            raise Tampered(f"recorded_at is {header.recorded_at}, which is no time", self.index)
        if header.recorded_at < self.recorded_at:
            raise Tampered(
                f"recorded_at is {header.recorded_at}, must not be before {self.recorded_at}",
                self.index,
            )
        if (header.signatures is not None) != (len(fields) == 6):
            raise Tampered(
                f"the line has {len(fields) + 1} fields, its header commits to "
                f"{'two bodies' if header.signatures is None else 'three'}",
                self.index,
            )
        commitments = (header.event, header.decision, header.signatures or b"")
        names = ("event", "decision", "signatures")
        for name, committed, salt, body in zip(names, commitments, fields[::2], fields[1::2], strict=False):
            self._check_body(name, committed, salt, body)
        if self.index == 0:
            self._check_genesis(fields[1])
        elif header.contract == _OURS:
            self._check_summary(fields[1])
            self._follow_key(fields[1])
        signatures = fields[5] if len(fields) == 6 else None
        try:
            self.signatories.take(self.index, header.contract, fields[1], fields[3], signatures)
        except VerificationError as error:
            raise Tampered(str(error), self.index) from None
        chain.demands = self.signatories.demands(header.contract)
        self._chains[header.contract.encode()] = chain
        self._accept(raw, chain, header.recorded_at)

    def _check_place(self, header: Header, leaf: bytes) -> None:
        """Index and chain: of two lines that do not fit, blame the right one."""
        index, previous = header.index, header.previous.hex()
        if index + 1 == self.index and previous == self._before:
            if leaf.hex() == self._previous:
                raise Tampered(f"entry {index} is repeated here", self.index)
            raise Tampered("another line says that it is this entry", index)
        if index != self.index:
            hint = "entries are missing here" if index > self.index else "an entry too many"
            raise Tampered(f"index is {index}, must be {self.index}: {hint}", self.index)
        if previous != self._previous:
            raise self._blame(header, leaf)

    def _blame(self, header: Header, leaf: bytes) -> Tampered:
        """Which is altered, the entry before or this one, which was chained to another?

        This one is sound if what comes after vouches for it as it stands: the next entry's
        `previous`, or for the last one the root.
        """
        checkpoint = self._title.checkpoint
        if self.index and self.index + 1 == checkpoint.size:
            leaves = [*self._leaves[:-1], header.previous, leaf]
            sound = Growth(self._tree, leaves).root == checkpoint.root
        else:
            sound = self.index > 0 and self._next_previous() == leaf
        if sound:
            return Tampered(
                f"its leaf hash is {self._previous}, and entry {self.index} was chained to "
                f"{header.previous.hex()}: this header is altered",
                self.index - 1,
            )
        return Tampered(f"previous is {header.previous.hex()}, must be {self._previous}", self.index)

    def _next_previous(self) -> bytes | None:
        """`previous` of the entry after this one, if that can be read."""
        following = self._batch[self.index - self._start + 1 :] or next(self._lines, [b""])
        try:
            header = Header.parse(following[0].partition(b"\t")[0])
        except VerificationError:
            return None
        return header.previous

    def _check_chain(self, header: Header) -> _Chain:
        """The end of the chain that the entry continues."""
        if self.index == 0 and header.contract != _OURS:
            raise Tampered(f"contract of the first entry is not {_OURS}", 0)
        new = _Chain(header.contract, 0, _ZERO_HEX)
        chain = self._chains.get(header.contract.encode(), new)
        if header.contract_index != chain.count:
            raise Tampered(
                f"contract_index is {header.contract_index}, must be {chain.count} "
                f"in contract {header.contract}",
                self.index,
            )
        if header.contract_previous.hex() != chain.leaf:
            raise Tampered(
                f"contract_previous is {header.contract_previous.hex()}, must be {chain.leaf}",
                self.index,
            )
        return chain

    def _check_body(self, name: str, committed: bytes, salt: bytes, body: bytes) -> None:
        if not salt and not body:
            self.absent += bytes(max(0, self.index + 1 - len(self.absent)))
            self.absent[self.index] += 1
            return
        if not salt or not body:
            absent = "salt" if body else "body"
            raise Tampered(f"the {name} has no {absent}, must have both or none", self.index)
        try:
            raw = unhexlify(salt)
        except ValueError:
            raw = b""
        if len(raw) != SALT_BYTES or salt != salt.lower():
            raise Tampered(f"the salt of the {name} is not 64 digits of lower-case hex", self.index)
        if sha256(raw + body).digest() != committed:
            raise Tampered(f"the {name} is not the one that the header commits to", self.index)

    def _check_summary(self, event: bytes) -> None:
        """Where the log says how every chain ends, that is how they end here."""
        if b'"kind":"contracts.summarised"' not in event:
            return
        data = _value_of(event, "data")
        tails = [Tail(c.contract, c.count, c.leaf) for c in self._chains.values()]
        must_be = {"contracts": len(tails), "root": root_of(tails).hex()}
        for name, value in must_be.items():
            if (found := data.get(name)) != value:
                raise Tampered(
                    f"{name} of the summary is {str(found)[:80]}, and the chains before it make {value}:"
                    " entries of some contract are missing, or too many",
                    self.index,
                )

    def _note_erased(self, line: bytes) -> None:
        """The log says that the bodies of an entry before this one are erased."""
        try:
            event = parse(line.split(b"\t")[2])
            index = event["data"]["index"]
            said = (event["kind"], event["actor"]["party"]) == ("value.erased", _OURS)
        except (NotJSON, LookupError, TypeError):
            return
        if said and type(index) is int and 0 <= index < min(len(self.absent), self.index - 1):
            self.erased += self.absent[index]
            self.absent[index] = 0

    def _check_genesis(self, event: bytes) -> None:
        """Entry 0 opens this log, and no other."""
        if not event:
            self.warnings.append(
                Remark(0, "the event is withheld: origin, key and clock of the opening are unknown")
            )
            return
        try:
            opened = parse(event)
            data = opened["data"]
            found = {
                "kind": opened["kind"],
                "contract": opened["contract"],
                "format": data["versions"]["format"],
                "origin": data["origin"],
                "key": data["key"],
            }
            clock = data["clock"]
        except (NotJSON, KeyError, TypeError):
            raise Tampered("the event is not ledger.opened", 0) from None
        must_be = {
            "kind": "ledger.opened",
            "contract": _OURS,
            "format": FORMAT,
        }
        for name, value in must_be.items():
            if type(found[name]) is not type(value) or found[name] != value:
                raise Tampered(f"{name} of the opening is {found[name]!r}, must be {value!r}", 0)
        try:
            key = Verifier.parse(str(found["key"]))
        except UnusableInput as error:
            raise Tampered(f"key of the opening: {error}", 0) from None
        if found["origin"] != key.name:
            raise Tampered(f"origin of the opening is {found['origin']!r}, must be {key.name!r}", 0)
        self.keys.open(key)
        if clock != "system":
            self.warnings.append(
                Remark(0, f"the clock is {str(clock)[:80]!r}, not the system's: a simulation")
            )

    def _follow_key(self, event: bytes) -> None:
        """Of what the ledger says, the rotations of its key."""
        try:
            said = parse(event or b"null")
            if not isinstance(said, dict) or said["kind"] not in (_ROTATED, _RECOVERED):
                return
            key, note = said["data"]["key"], said["data"]["note"]
            if said["kind"] == _ROTATED:
                self.keys.rotate(note, index=self.index)
            else:
                self.keys.recover(note, index=self.index)
        except (NotJSON, KeyError, TypeError, AttributeError):
            raise Tampered("the event is not one of the ledger", self.index) from None
        except VerificationError as error:
            raise Tampered(str(error), self.index) from None
        if key != str(self.keys.at(self.index + 1)):
            raise Tampered("the new key is not the one that was signed for", self.index)
        if said["kind"] == _RECOVERED:
            _, lost = self.keys.lost[-1]
            self.warnings.append(
                Remark(
                    self.index,
                    f"the log was recovered here: {lost.origin} had promised {lost.size} entries, and"
                    f" {lost.size - self.index} of them are lost",
                )
            )
            return
        self.rotations += 1


def _value_of(event: bytes, name: str) -> dict[str, Any]:
    """An object in an event, empty where it is none."""
    try:
        value = parse(event)
    except NotJSON:
        return {}
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _is_time(text: str) -> bool:
    try:
        # There and back: Python reads more spellings than this one, and in 3.14 an hour 24.
        return f"{datetime.fromisoformat(text[:-1]).isoformat(timespec='microseconds')}Z" == text
    except ValueError:
        return False


# --- receipts -------------------------------------------------------------------------------------


def _seen(line: bytes) -> _Seen:
    header, *fields = line.split(b"\t")
    salts = zip(("event", "decision", "signatures"), fields[::2], strict=False)
    return _Seen(header, {name: unhexlify(salt) for name, salt in salts if salt})


def _check_receipt(receipt: Receipt | TlogProof, title: Title, walk: _Walk) -> None:
    """Raise Tampered unless the receipt holds by itself, and the log of the export honours it."""
    index, size = receipt.index, title.checkpoint.size
    seen = walk.seen.get(index)
    try:
        key = walk.keys.at(receipt.tree_size) or title.verifier
        if isinstance(receipt, Receipt):
            checkpoint = receipt.check(key)
        elif seen is not None:
            # It shows no entry: whether it is of this one, its proof tells.
            checkpoint = receipt.check(key, leaf=leaf_hash(seen.header))
        else:
            checkpoint = receipt.open(key)
    except VerificationError as error:
        for recovered, lost in walk.keys.lost:
            if recovered < receipt.tree_size <= lost.size:
                raise Tampered(
                    f"the receipt is of {lost.origin}, which lost what it is for: the log was recovered"
                    f" without it at entry {recovered}",
                    index,
                ) from None
        raise Tampered(f"the receipt does not hold: {error}", index) from None
    if checkpoint.size > size:
        raise Tampered(
            f"the receipt is of a log of {checkpoint.size} entries, the export has {size}: "
            "the log was truncated, or the export is older than the receipt",
            index,
        )
    if isinstance(receipt, Receipt):
        _check_header(receipt, walk.seen[index])
    if walk.roots[checkpoint.size] != checkpoint.root:
        raise Tampered(
            f"the receipt's checkpoint has root {checkpoint.root.hex()}, this log had "
            f"{walk.roots[checkpoint.size].hex()} at size {checkpoint.size}: it was rewritten",
            index,
        )


def _check_kept(checkpoint: Checkpoint, size: int, walk: _Walk) -> None:
    """Raise Tampered unless the log continues a checkpoint that was kept elsewhere."""
    if checkpoint.size > size:
        raise Tampered(
            f"a checkpoint that was kept is of {checkpoint.size} entries, this log has {size}: "
            "it was truncated, or what is checked is older"
        )
    found = walk.roots[checkpoint.size] if checkpoint.size else EMPTY_ROOT
    if found != checkpoint.root:
        raise Tampered(
            f"a checkpoint that was kept has root {checkpoint.root.hex()} at size {checkpoint.size}, "
            f"this log has {found.hex()}: it was rewritten"
        )


def _check_header(receipt: Receipt, seen: _Seen) -> None:
    if receipt.header != seen.header:
        raise Tampered("the receipt is for another header: the log was rewritten", receipt.index)
    for name, salt in seen.salts.items():
        if receipt.salts.get(name, salt) != salt:
            raise Tampered(f"the receipt has another salt of the {name}", receipt.index)
