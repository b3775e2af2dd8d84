"""A receipt: what a submitter keeps, and can check without the service (`ledger/FORMAT.md`)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ledger.canonical import canonical, encode, parse
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import Header, commitment
from ledger.errors import LedgerError, UnusableInput, VerificationError
from ledger.merkle import check_inclusion, leaf_hash
from ledger.note import Verifier

RECEIPT = 1


class Receipt(NamedTuple):
    """Entry `index` stands in the log, under a signed checkpoint."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    header: bytes
    decision: bytes
    """Canonical JSON."""
    salts: Mapping[str, bytes]
    tree_size: int
    hashes: Sequence[bytes]
    """The inclusion proof, from leaf to root."""
    checkpoint: str
    """A signed note (C2SP tlog-checkpoint)."""

    def encode(self) -> bytes:
        """Canonical JSON, joined from parts that are canonical already."""
        hashes = ",".join(map(_spelled, self.hashes))
        salts = ",".join(f'"{name}":"{salt.hex()}"' for name, salt in sorted(self.salts.items()))
        return b"".join(
            (
                b'{"checkpoint":', encode(self.checkpoint),
                b',"decision":', self.decision,
                b',"header":', self.header,
                f',"inclusion":{{"hashes":[{hashes}],"index":{self.index},'
                f'"tree_size":{self.tree_size}}},"receipt":{RECEIPT},"salts":{{{salts}}}}}'.encode(),
            )
        )  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Receipt:
        """Raises UnusableInput if this is no receipt at all."""
        try:
            value = parse(raw)
            # A problem answer (a denial) and a replay carry the receipt as a member.
            value = value.get("receipt") if isinstance(value.get("receipt"), dict) else value
            inclusion = value["inclusion"]
            receipt = cls(
                index=_whole(inclusion["index"]),
                header=canonical(value["header"]),
                decision=canonical(value["decision"]),
                salts={name: bytes.fromhex(salt) for name, salt in value["salts"].items()},
                tree_size=_whole(inclusion["tree_size"]),
                hashes=[b64decode(one, validate=True) for one in inclusion["hashes"]],
                checkpoint=str(value["checkpoint"]),
            )
        except (LedgerError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnusableInput(f"this is not a receipt: {error}") from None
        if value["receipt"] != RECEIPT:
            raise UnusableInput(f"receipt is {value['receipt']!r}, must be {RECEIPT}")
        return receipt

    def check(self, verifier: Verifier, *, event: bytes | None = None) -> Checkpoint:
        """Raise VerificationError unless the receipt holds; gives its checkpoint.

        `event` is the canonical event that was submitted: given, its commitment is checked too.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifier, verifier.name)
        header = Header.parse(self.header)
        if (header.index, checkpoint.size) != (self.index, self.tree_size):
            raise VerificationError(
                f"the receipt is for entry {self.index} in a tree of {self.tree_size}, its header for"
                f" entry {header.index}, its checkpoint for a tree of {checkpoint.size}"
            )
        check_inclusion(
            self.hashes,
            leaf_hash=leaf_hash(self.header),
            index=self.index,
            tree_size=checkpoint.size,
            root=checkpoint.root,
        )
        self._check_body("decision", self.decision, header.decision)
        if event is not None:
            self._check_body("event", event, header.event)
        return checkpoint

    def _check_body(self, name: str, body: bytes, committed: bytes) -> None:
        if commitment(self.salts.get(name, b""), body) != committed:
            raise VerificationError(f"the {name} is not the one that entry {self.index} commits to")


# Of the proofs of one batch, most hashes are the same.
@lru_cache(maxsize=4_096)
def _spelled(hash_: bytes) -> str:
    return f'"{b64encode(hash_).decode()}"'


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UnusableInput(f"{value!r} is not an index")
    return value
