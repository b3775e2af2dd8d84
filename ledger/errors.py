"""Everything that can go wrong, as one tree; `api/problems.py` maps each leaf to HTTP.

A refusal by policy is not here: it is a value (`ledger.decision.Decision`), committed like any other.
"""

from __future__ import annotations

from dataclasses import dataclass


class LedgerError(Exception):
    """Root of the tree. The text says "X is ..., must be ...", and may be shown to the caller."""


# --- bad input: nothing was written ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong at one place of the input."""

    pointer: str
    """RFC 6901 JSON pointer into the submitted document, `""` for the whole."""
    detail: str


class MalformedInput(LedgerError):
    """The input is not what it must be. `faults` names each place."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{f.pointer or '(document)'}: {f.detail}" for f in faults))


class NotJSON(MalformedInput):
    """The bytes are not the strict JSON of `ledger.canonical` (RFC 8259, I-JSON)."""


class MalformedEvent(MalformedInput):
    """Strict JSON, but not an event of a known kind."""


class BadSignature(MalformedInput):
    """A signature does not hold, or its key is not the speaker's to sign with."""


class TooLarge(LedgerError):
    """The input is larger than the limit it names."""


class Conflict(LedgerError):
    """The party has used this event id for other bytes."""

    def __init__(self, *, party: str, event_id: str, index: int) -> None:
        self.party, self.event_id, self.index = party, event_id, index
        super().__init__(
            f"id {event_id} is taken by entry {index} of {party} with other bytes; "
            "an id names one attempt, so a changed event needs a new id"
        )


class Erased(Conflict):
    """The party has used this event id, and what it said then was erased."""

    def __init__(self, *, party: str, event_id: str, index: int) -> None:
        super().__init__(party=party, event_id=event_id, index=index)
        self.args = (
            f"id {event_id} is taken by entry {index} of {party}, whose event was erased: whether it was"
            " this one can no longer be told; another event needs a new id",
        )


class NotFound(LedgerError):
    """There is no such entry, contract or device, or the caller may not see it."""


# --- the service cannot answer now ----------------------------------------------------------------


class QueueFull(LedgerError):
    """More is waiting to be committed than the queue may hold; nothing was taken."""


class Unavailable(LedgerError):
    """The database is away or busy; the event was not committed by this attempt."""


class OutcomeUnknown(LedgerError):
    """The commit was sent and its answer lost: ask again with the same id and bytes."""


class SigningFailed(LedgerError):
    """The entry is committed, but its checkpoint could not be signed: ask again."""


class AppendFailed(LedgerError):
    """One event broke an assumption of ours; it was not committed, its batch was."""


class RefusesToWrite(LedgerError):
    """The database belongs to another format, engine, origin or key than this process."""


class StoreFailed(LedgerError):
    """The checkpoint that is kept apart from the database cannot be read, written, or believed."""


# --- verification ---------------------------------------------------------------------------------


class VerificationError(LedgerError):
    """A proof, signature, chain or commitment does not hold."""


class UnusableInput(LedgerError):
    """What was given to verify is not an export, receipt or key at all."""
