"""C2SP tlog-checkpoint: the signed tree head, a note of three lines.

    origin
    size, decimal
    base64(root hash)

No extension lines: no monitor could audit them.

And what two keys sign where one follows the other, with an entry of the log (`ledger.succession`).
Checkpoints of trees that hold this entry are signed by the new key, and by no other.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger import note as notes
from ledger.errors import UnusableInput, VerificationError
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.note import Signer, Verifier

SIZE_MAX: Final = 2**63 - 1
"""What Go's readers take."""

ROTATION: Final = "chipledger checkpoint key rotation"
"""First line of what both keys sign: five lines, so that it is no checkpoint of any log."""

RECOVERY: Final = "chipledger log recovery"
"""First line of what both keys sign where a log goes on, under another name, without its lost end."""

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")
_ROTATION = re.compile(ROTATION + r"\n([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n([^\n]+)\n")
_RECOVERY = re.compile(
    RECOVERY + r"\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n"
)
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


# --- one key after another ------------------------------------------------------------------------


def sign_rotation(size: int, old: Signer, new: Signer) -> str:
    """The note by which `new` follows `old` with entry `size`, signed by both."""
    return notes.sign(_rotation_text(old.name, size, old.verifier, new.verifier), old, new)


def _rotation_text(origin: str, size: int, old: Verifier, new: Verifier) -> str:
    return f"{ROTATION}\n{origin}\n{size}\n{old}\n{new}\n"


def open_rotation(note: str, *, origin: str, size: int) -> tuple[Verifier, Verifier]:
    """The old key and the new of a note for entry `size` of log `origin`, which both of them signed.

    Raises VerificationError.
    """
    text, lines = notes.parse_note(note)
    match = _ROTATION.fullmatch(text)
    if match is None:
        raise VerificationError("the rotation is not the lines title, origin, size, old key, new key")
    try:
        old, new = Verifier.parse(match[3]), Verifier.parse(match[4])
        if text != _rotation_text(origin, size, old, new) or {old.name, new.name} != {origin}:
            raise VerificationError(
                f"the rotation is for entry {match[2]} of {match[1]}, must be for entry {size} of {origin}"
            )
        _, verified = notes.open_note(note, {old, new})
    except UnusableInput as error:
        raise VerificationError(f"the rotation: {error}") from None
    if old == new or len(verified) != 2 or len(lines) != 2:
        raise VerificationError("the rotation must be signed by the old key and the new, and by no other")
    return old, new


def sign_recovery(size: int, lost: Checkpoint, old: Signer, new: Signer) -> str:
    """The note by which `new`, of another origin, goes on at entry `size` where `old` had signed `lost`."""
    return notes.sign(_recovery_text(size, lost, old.verifier, new.verifier), old, new)


def _recovery_text(size: int, lost: Checkpoint, old: Verifier, new: Verifier) -> str:
    root = b64encode(lost.root).decode("ascii")
    return f"{RECOVERY}\n{size}\n{old}\n{new}\n{lost.size}\n{root}\n"


def open_recovery(note: str, *, size: int) -> tuple[Verifier, Verifier, Checkpoint]:
    """The old key, the new, and the last checkpoint of the predecessor, of a note for entry `size`.

    Raises VerificationError unless both keys have signed it, and nobody else.
    """
    text, lines = notes.parse_note(note)
    match = _RECOVERY.fullmatch(text)
    if match is None:
        raise VerificationError("the recovery is not the lines title, entry, old key, new key, size, root")
    try:
        old, new = Verifier.parse(match[2]), Verifier.parse(match[3])
        lost = Checkpoint(old.name, int(match[4]), notes.decode_base64(match[5]))
        _, verified = notes.open_note(note, {old, new})
    except (UnusableInput, ValueError) as error:
        raise VerificationError(f"the recovery: {error}") from None
    if text != _recovery_text(size, lost, old, new) or lost.size <= size or old.name == new.name:
        raise VerificationError(
            f"the recovery is for entry {match[1]} of {new.name} after {lost.size} entries of {old.name},"
            f" must be for entry {size}, after more of another name"
        )
    if len(verified) != 2 or len(lines) != 2:
        raise VerificationError("the recovery must be signed by the old key and the new, and by no other")
    return old, new, lost
