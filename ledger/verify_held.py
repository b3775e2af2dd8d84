"""What somebody holds of a log, against the log: receipts, and checkpoints that were kept elsewhere."""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Mapping
from typing import NamedTuple

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import UnusableInput, VerificationError
from ledger.export_file import Title
from ledger.merkle import EMPTY_ROOT, leaf_hash
from ledger.note import parse_note
from ledger.receipt import Receipt, TlogProof
from ledger.succession import Succession
from ledger.verified import Tampered


class Seen(NamedTuple):
    """What a receipt's entry is in this file."""

    header: bytes
    salts: dict[str, bytes]


class Kept(NamedTuple):
    """A checkpoint that somebody kept; which key of the log must have signed it, the log tells."""

    note: str
    size: int

    @classmethod
    def parse(cls, raw: bytes) -> Kept:
        """Raises UnusableInput if this is no signed checkpoint at all."""
        try:
            size = Checkpoint.parse(parse_note(raw)[0]).size
        except VerificationError as error:
            raise UnusableInput(f"this is not a checkpoint: {error}") from None
        return cls(raw.decode(), size)


class Walked(NamedTuple):
    """A log every entry of which was checked."""

    title: Title
    keys: Succession
    seen: Mapping[int, Seen]
    """Entries that receipts are for."""
    roots: Mapping[int, bytes]
    """At the sizes that somebody holds."""


def seen(line: bytes) -> Seen:
    header, *fields = line.split(b"\t")
    salts = zip(("event", "decision", "signatures"), fields[::2], strict=False)
    return Seen(header, {name: unhexlify(salt) for name, salt in salts if salt})


def check_receipt(receipt: Receipt | TlogProof, walk: Walked) -> None:
    """Raise Tampered unless the receipt holds by itself, and the log of the export honours it."""
    index, size = receipt.index, walk.title.checkpoint.size
    seen = walk.seen.get(index)
    try:
        key = walk.keys.at(receipt.tree_size) or walk.title.verifier
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


def check_kept(kept: Kept, walk: Walked) -> None:
    """Raise Tampered unless the log's key at its size signed a checkpoint, and the log continues it."""
    size = walk.title.checkpoint.size
    key = walk.keys.at(kept.size) or walk.title.verifier
    try:
        checkpoint = open_checkpoint(kept.note, key, key.name)
    except VerificationError as error:
        for recovered, lost in walk.keys.lost:
            if recovered < kept.size <= lost.size:
                raise Tampered(
                    f"a checkpoint that was kept, of {kept.size} entries, is of {lost.origin}, which lost"
                    f" its end: the log was recovered at entry {recovered}"
                ) from None
        raise Tampered(
            f"a checkpoint that was kept, of {kept.size} entries, does not hold: {error}"
        ) from None
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


def _check_header(receipt: Receipt, seen: Seen) -> None:
    if receipt.header != seen.header:
        raise Tampered("the receipt is for another header: the log was rewritten", receipt.index)
    for name, salt in seen.salts.items():
        if receipt.salts.get(name, salt) != salt:
            raise Tampered(f"the receipt has another salt of the {name}", receipt.index)
