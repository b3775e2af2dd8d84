"""C2SP tlog-checkpoint: the signed tree head, a note of three lines.

    origin
    size, decimal
    base64(root hash)

No extension lines: no monitor could audit them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger import note as notes
from ledger.errors import VerificationError
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.note import Signer, Verifier

SIZE_MAX: Final = 2**63 - 1
"""What Go's readers take."""

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself at one size. Two that are inconsistent are a fork."""

    origin: str
    size: int
    root: bytes
    """32 bytes; of the empty tree SHA-256("")."""

    def __post_init__(self) -> None:
        if not self.origin or _NOT_IN_A_LINE.search(self.origin):
            raise VerificationError(f"origin is {self.origin[:80]!r}, must be one line of text")
        if not 0 <= self.size <= SIZE_MAX:
            raise VerificationError(f"size is {self.size}, must be within 0..2^63 - 1")
        if len(self.root) != HASH_BYTES:
            raise VerificationError(f"root is {len(self.root)} bytes, must be {HASH_BYTES}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise VerificationError(f"the root of the empty tree must be {EMPTY_ROOT.hex()}")

    def text(self) -> str:
        """The note's text, which is what is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint whose `text()` is exactly this, or VerificationError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise VerificationError(
                f"checkpoint is {text[:200]!r}, must be the lines origin, size (decimal, no "
                "leading zero) and root (base64 of 32 bytes), and no other"
            )
        origin, size, root = match.groups()
        try:
            return cls(origin, int(size), notes.decode_base64(root))
        except ValueError as error:
            raise VerificationError(f"the root of the checkpoint: {error}") from None


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The signed note of `checkpoint`.

    Only of what is durable: a signed head that the database then lost would be equivocation.
    """
    return notes.sign(checkpoint.text(), signer)


def open_checkpoint(note: str | bytes, verifiers: Verifier | Iterable[Verifier], origin: str) -> Checkpoint:
    """The checkpoint of log `origin` in a note that one of `verifiers`, keys of that log, signed.

    VerificationError if it is another log's, malformed, or not signed so.
    """
    known = (verifiers,) if isinstance(verifiers, Verifier) else verifiers
    text, _ = notes.open_note(note, known)
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin != origin:
        raise VerificationError(f"origin is {checkpoint.origin!r}, must be {origin!r}")
    return checkpoint
