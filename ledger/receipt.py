"""A receipt: what a submitter keeps, and can check without the service (`ledger/FORMAT.md`).

Two forms of one source. `Receipt` is ours, JSON, and shows the header, the decision and the salts: it
proves what was decided on which event. `TlogProof` is C2SP tlog-proof, text that others' tools read. It
shows no entry: it proves, to whoever has the header or its leaf hash, where that entry stands in which tree.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ledger.canonical import canonical, encode, parse
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import Entry, Header, commitment
from ledger.errors import LedgerError, UnusableInput, VerificationError
from ledger.merkle import check_inclusion, leaf_hash
from ledger.note import Verifier, decode_base64, parse_note

RECEIPT = 1
_BODIES: Final = ("event", "decision", "signatures")

_TLOG_PROOF = "c2sp.org/tlog-proof@v1\n"
_PROOF = re.compile(
    _TLOG_PROOF + r"(?:extra [A-Za-z0-9+/]*={0,2}\n)?"
    r"index (0|[1-9][0-9]{0,18})\n((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.+)",
    re.DOTALL,
)


class TlogProof(NamedTuple):
    """Entry `index` is in the tree of a signed checkpoint; which entry, only its leaf hash tells."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    tree_size: int
    hashes: Sequence[bytes]
    """The inclusion proof, from leaf to root."""
    checkpoint: str
    """A signed note (C2SP tlog-checkpoint)."""

    def encode(self) -> str:
        """C2SP tlog-proof, without the optional extra data."""
        hashes = "".join(f"{b64encode(one).decode()}\n" for one in self.hashes)
        return f"{_TLOG_PROOF}index {self.index}\n{hashes}\n{self.checkpoint}"

    @classmethod
    def parse(cls, raw: bytes) -> TlogProof:
        """Raises UnusableInput if this is no tlog-proof at all. Extra data is authenticated by nothing:
        it is left out."""
        try:
            match = _PROOF.fullmatch(raw.decode())
            if match is None:
                raise UnusableInput("it must be index, hashes, an empty line, a checkpoint")
            index, hashes, checkpoint = match.groups()
            return cls(
                index=int(index),
                tree_size=Checkpoint.parse(parse_note(checkpoint)[0]).size,
                hashes=[decode_base64(one) for one in hashes.split()],
                checkpoint=checkpoint,
            )
        except (LedgerError, ValueError) as error:
            raise UnusableInput(f"this is not a tlog-proof: {error}") from None

    def open(self, verifier: Verifier) -> Checkpoint:
        """The checkpoint, if the log signed it and it is of a tree that the proof can be for."""
        checkpoint = open_checkpoint(self.checkpoint, verifier, verifier.name)
        if checkpoint.size != self.tree_size:
            raise VerificationError(
                f"the proof is for a tree of {self.tree_size}, its checkpoint for a tree of {checkpoint.size}"
            )
        if self.index >= checkpoint.size:
            raise VerificationError(f"index is {self.index}, must be below tree size {checkpoint.size}")
        return checkpoint

    def check(self, verifier: Verifier, *, leaf: bytes) -> Checkpoint:
        """Raise VerificationError unless the entry of leaf hash `leaf` stands there; gives the checkpoint."""
        checkpoint = self.open(verifier)
        check_inclusion(
            self.hashes,
            leaf_hash=leaf,
            index=self.index,
            tree_size=checkpoint.size,
            root=checkpoint.root,
        )
        return checkpoint


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

    @classmethod
    def of(cls, entry: Entry, *, tree_size: int, hashes: Sequence[bytes], checkpoint: str) -> Receipt:
        """The receipt of an entry that was read back. A decision that is erased shows as null."""
        bodies = {name: body for name, body in entry.bodies.items() if body is not None}
        return cls(
            index=entry.header.index,
            header=entry.raw,
            decision=bodies["decision"].value if "decision" in bodies else b"null",
            salts={name: body.salt for name, body in bodies.items()},
            tree_size=tree_size,
            hashes=hashes,
            checkpoint=checkpoint,
        )

    @property
    def proof(self) -> TlogProof:
        """Of the same entry under the same checkpoint, without the entry."""
        return TlogProof(self.index, self.tree_size, self.hashes, self.checkpoint)

    def tlog_proof(self) -> str:
        """The receipt as C2SP tlog-proof."""
        return self.proof.encode()

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
            number, inclusion = value["receipt"], value["inclusion"]
            receipt = cls(
                index=_whole(inclusion["index"]),
                header=canonical(value["header"]),
                decision=canonical(value["decision"]),
                salts={name: _salt(name, salt) for name, salt in value["salts"].items()},
                tree_size=_whole(inclusion["tree_size"]),
                hashes=[decode_base64(one) for one in inclusion["hashes"]],
                checkpoint=str(value["checkpoint"]),
            )
        except (LedgerError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnusableInput(f"this is not a receipt: {error}") from None
        if number != RECEIPT:
            raise UnusableInput(f"receipt is {number!r}, must be {RECEIPT}")
        return receipt

    def check(self, verifier: Verifier, *, event: bytes | None = None) -> Checkpoint:
        """Raise VerificationError unless the receipt holds; gives its checkpoint.

        `event` is the canonical event that was submitted: given, its commitment is checked too.
        """
        header = Header.parse(self.header)
        if header.index != self.index:
            raise VerificationError(
                f"the receipt is for entry {self.index}, its header for entry {header.index}"
            )
        checkpoint = self.proof.check(verifier, leaf=leaf_hash(self.header))
        # Of an erased entry: that it stands in the log is all that can be shown.
        if self.decision != b"null" or "decision" in self.salts:
            self._check_body("decision", self.decision, header.decision)
        if event is not None:
            self._check_body("event", event, header.event)
        return checkpoint

    def _check_body(self, name: str, body: bytes, committed: bytes) -> None:
        if commitment(self.salts.get(name, b""), body) != committed:
            raise VerificationError(f"the {name} is not the one that entry {self.index} commits to")


def _salt(name: str, text: str) -> bytes:
    """Raises ValueError unless it is of a body, in the one spelling."""
    salt = bytes.fromhex(text)
    if name not in _BODIES or salt.hex() != text:
        raise ValueError(f"the salt of {name[:40]!r} is not one of {', '.join(_BODIES)} in lower-case hex")
    return salt


def parse_receipt(raw: bytes) -> Receipt | TlogProof:
    """A receipt in either form; UnusableInput if this is none."""
    return TlogProof.parse(raw) if raw.startswith(b"c2sp.org/tlog-proof@") else Receipt.parse(raw)


# Of the proofs of one batch, most hashes are the same.
@lru_cache(maxsize=4_096)
def _spelled(hash_: bytes) -> str:
    return f'"{b64encode(hash_).decode()}"'


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UnusableInput(f"{value!r} is not an index")
    return value
