"""The head row: how far the log is, and what it is written in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ledger.checkpoint import Checkpoint, sign
from ledger.entry import FORMAT
from ledger.errors import RefusesToWrite
from ledger.facts import FOLD_VERSION
from ledger.note import Signer


@dataclass(frozen=True, slots=True)
class Head:
    """The head row (decision 3)."""

    epoch: int
    size: int
    root: bytes
    frontier: bytes
    last_leaf: bytes
    recorded_at: datetime
    format: int
    fold: int
    engine: int
    origin: str
    verifier_key: str
    clock: str

    @property
    def state(self) -> tuple[int, int, bytes]:
        """What a later write compares with."""
        return self.epoch, self.size, self.root

    def check(self, *, engine: int, signer: Signer, clock: str) -> None:
        """Raise RefusesToWrite unless the log is written in our versions, name, key and clock."""
        for what, theirs, ours in (
            ("entry format", self.format, FORMAT),
            ("fold version", self.fold, FOLD_VERSION),
            ("engine version", self.engine, engine),
            ("origin", self.origin, signer.name),
            ("clock", self.clock, clock),
        ):
            if theirs != ours:
                raise RefusesToWrite(f"the {what} of the log is {theirs}, of this process {ours}")
        self.check_key(signer)

    def check_key(self, signer: Signer) -> None:
        """Raise RefusesToWrite unless it is this key that signs for the log now."""
        if self.verifier_key != str(signer.verifier):
            raise RefusesToWrite(
                f"the checkpoint key of the log is {self.verifier_key}, of this process {signer.verifier}"
            )

    def checkpoint(self, signer: Signer) -> str:
        """The signed checkpoint. A key that was rotated away signs nothing (RefusesToWrite)."""
        self.check_key(signer)
        return sign(Checkpoint(self.origin, self.size, self.root), signer)


HEAD_COLUMNS = ", ".join(Head.__dataclass_fields__)
