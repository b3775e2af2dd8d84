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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import BinaryIO, Final

from ledger.entry import SALT_BYTES, ZERO_HASH, Header, spell
from ledger.errors import VerificationError
from ledger.export_file import LINE_BYTES_MAX, FileLines, Lines, Title, read_title
from ledger.merkle import Frontier, Growth, leaf_hash
from ledger.note import Verifier
from ledger.receipt import Receipt, TlogProof
from ledger.signatories import Signatories
from ledger.succession import Succession
from ledger.summary import Tail
from ledger.verified import Progress, Remark, Report, Tampered
from ledger.verify_held import Kept, Seen, Walked, check_kept, check_receipt, seen
from ledger.verify_own import OwnWords, erased_in

_OURS = "_ledger"
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


def verify_export(
    file: BinaryIO,
    *,
    verifier: Verifier | None = None,
    receipts: Sequence[Receipt | TlogProof] = (),
    kept: Sequence[Kept] = (),
    progress: Progress | None = None,
) -> Report:
    """Check every byte of an export, and that the log honours `receipts` and continues each of `kept`.

    Raises Tampered, with the index where it can be told, and UnusableInput if this is no export.
    """
    lines = FileLines(file)
    title, batch = read_title(lines, verifier)
    return verify_lines(title, lines, batch, given=verifier, receipts=receipts, kept=kept, progress=progress)


def verify_lines(
    title: Title,
    lines: Lines,
    batch: list[bytes],
    *,
    given: Verifier | None,
    receipts: Sequence[Receipt | TlogProof],
    kept: Sequence[Kept] = (),
    progress: Progress | None,
) -> Report:
    """Check the entries below a checkpoint that was opened; `batch` are the first lines of them.

    `given`: the key that is known from elsewhere, the one that signed the checkpoint or one before it.
    `kept`: checkpoints that were kept elsewhere.
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
    walked = Walked(title, walk.keys, walk.seen, walk.roots)
    for receipt in receipts:
        check_receipt(receipt, walked)
    for checkpoint in kept:
        check_kept(checkpoint, walked)
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


# --- entries --------------------------------------------------------------------------------------


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
        kept: Iterable[Kept],
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
        self._own = OwnWords(title.verifier.name)
        # What the receipts will be held against, largest first.
        self._indexes = sorted({receipt.index for receipt in receipts}, reverse=True)
        sizes = {receipt.tree_size for receipt in receipts} | {checkpoint.size for checkpoint in kept}
        self._sizes = sorted(sizes, reverse=True)
        self.seen: dict[int, Seen] = {}
        self.roots: dict[int, bytes] = {}

    @property
    def contracts(self) -> int:
        return len(self._chains) - 1

    @property
    def keys(self) -> Succession:
        return self._own.keys

    @property
    def rotations(self) -> int:
        return self._own.rotations

    @property
    def warnings(self) -> Sequence[Remark]:
        return self._own.warnings

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
                self.seen[index] = seen(batch[index - self._start])
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
            self._own.open(fields[1])
        elif header.contract == _OURS:
            self._own.take(self.index, fields[1], self._tails)
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

    def _tails(self) -> Iterator[Tail]:
        return (Tail(chain.contract, chain.count, chain.leaf) for chain in self._chains.values())

    def _note_erased(self, line: bytes) -> None:
        """The log says that the bodies of an entry before this one are erased."""
        index = erased_in(line)
        if index is not None and 0 <= index < min(len(self.absent), self.index - 1):
            self.erased += self.absent[index]
            self.absent[index] = 0


def _is_time(text: str) -> bool:
    try:
        # There and back: Python reads more spellings than this one, and in 3.14 an hour 24.
        return f"{datetime.fromisoformat(text[:-1]).isoformat(timespec='microseconds')}Z" == text
    except ValueError:
        return False
