"""What the offline verifiers come to: a report of what holds, or where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.errors import VerificationError
from ledger.note import Verifier

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
