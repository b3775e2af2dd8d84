"""The keys of one log, one after another: whoever has one of them finds the others (decision 11).

`Succession` is for whoever reads a log from its start, and refuses what does not lead on. `Lineage` begins at
a key that is known, and follows what both keys of each handover have signed, in either direction: out of a
database that nobody needs to believe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ledger.checkpoint import RECOVERY, Checkpoint, open_recovery, open_rotation
from ledger.errors import VerificationError
from ledger.note import Verifier


class Handover(NamedTuple):
    """One key follows another with an entry; under the same name, or where the log was recovered."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    old: Verifier
    new: Verifier
    lost: Checkpoint | None
    """The last checkpoint of the old name, of more than `index` entries; None: a rotation."""


def open_handover(note: str, *, index: int) -> Handover:
    """What the note of entry `index` hands over. Raises VerificationError unless both keys signed it."""
    title, _, rest = note.partition("\n")
    if title == RECOVERY:
        return Handover(index, *open_recovery(note, size=index))
    return Handover(index, *open_rotation(note, origin=rest.partition("\n")[0], size=index), None)


class Lineage:
    """The keys that a known one leads to."""

    def __init__(self, known: Verifier, notes: Iterable[tuple[int, str]]) -> None:
        """`notes`: (index, note) of the handovers of a log, in order. One that does not lead on ends it."""
        runs: list[list[Handover]] = [[]]
        for index, note in notes:
            try:
                handover = open_handover(note, index=index)
            except VerificationError:
                runs.append([])
                continue
            if runs[-1] and runs[-1][-1].new != handover.old:
                runs.append([])
            runs[-1].append(handover)
        self.handovers = next((run for run in runs if any(known in (h.old, h.new) for h in run)), [])
        self.keys = [self.handovers[0].old, *(h.new for h in self.handovers)] if self.handovers else [known]
        """Oldest first."""

    @property
    def present(self) -> Verifier:
        return self.keys[-1]

    @property
    def origins(self) -> list[str]:
        """The names of the log, the present one first."""
        return list(dict.fromkeys(key.name for key in reversed(self.keys)))

    def keys_of(self, origin: str) -> list[Verifier]:
        """Those under one name, the newest first."""
        return [key for key in reversed(self.keys) if key.name == origin]

    def ended(self, origin: str) -> Handover | None:
        """The recovery with which the log took another name; None: it has this one, or never had it."""
        return next((h for h in self.handovers if h.lost is not None and h.old.name == origin), None)


class Succession:
    """The keys of one log, as its entries name them in order."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.lost: list[tuple[int, Checkpoint]] = []
        """What its predecessors had promised beyond the entry at which it was recovered."""
        self._since: list[tuple[int, Verifier]] = []
        """By the entry that brought the key in."""

    @property
    def last(self) -> tuple[int, Verifier] | None:
        """The present key, and the entry that brought it in; None: nothing is known."""
        return self._since[-1] if self._since else None

    def open(self, key: Verifier) -> None:
        """Entry 0 names the first key, and by it the log."""
        self._origin = key.name
        self._since.append((0, key))

    def rotate(self, note: str, *, index: int) -> None:
        """Entry `index` brings the next key in. Raises VerificationError."""
        old, new = open_rotation(note, origin=self._origin, size=index)
        if not self._since:
            self._since.append((0, old))  # the opening is withheld
        if old != self._since[-1][1]:
            raise VerificationError(f"the rotation is from key {old}, must be from {self._since[-1][1]}")
        self._since.append((index, new))

    def recover(self, note: str, *, index: int) -> None:
        """From entry `index` on the log has another name, and the key of that. Raises VerificationError."""
        old, new, lost = open_recovery(note, size=index)
        if not self._since:
            self._since.append((0, old))
        if old != self._since[-1][1]:
            raise VerificationError(f"the recovery is from key {old}, must be from {self._since[-1][1]}")
        self._origin = new.name
        self._since.append((index, new))
        self.lost.append((index, lost))

    def at(self, size: int) -> Verifier | None:
        """The key that signs checkpoints of this tree size."""
        return next((key for index, key in reversed(self._since) if index < max(size, 1)), None)

    def __contains__(self, key: Verifier) -> bool:
        return any(key == known for _, known in self._since)
