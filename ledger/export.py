"""The log as a file that `ledger.verify` checks without us (`ledger/FORMAT.md`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO, Final

from ledger.canonical import canonical
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import line_of
from ledger.errors import VerificationError
from ledger.export_file import EXPORT
from ledger.loading import StoredEntry
from ledger.note import Verifier, parse_note
from ledger.verified import Progress
from ledger.withheld import Withheld

CHUNK_BYTES = 256 << 10
NOTHING: Final = Withheld()


async def write(
    entries: AsyncIterator[StoredEntry],
    *,
    checkpoint: str,
    verifier: Verifier,
    to: BinaryIO,
    progress: Progress | None = None,
    withheld: Withheld = NOTHING,
) -> Checkpoint:
    """Write the log up to a signed checkpoint; `entries` are those of `Reader.stream`, from 0.

    Without the bodies that are `withheld` from whoever it is for.

    Read the head and sign it first: what is committed meanwhile is left out. Raises
    VerificationError if the log has fewer entries than the checkpoint, or a gap.
    """
    async for done, size, chunk in chunks(
        entries, checkpoint=checkpoint, verifier=verifier, withheld=withheld
    ):
        to.write(chunk)
        if progress is not None:
            progress(done, size)
    return open_checkpoint(checkpoint, verifier, verifier.name)


async def chunks(
    entries: AsyncIterator[StoredEntry],
    *,
    checkpoint: str,
    verifier: Verifier,
    withheld: Withheld = NOTHING,
) -> AsyncIterator[tuple[int, int, bytes]]:
    """The bytes of the export, some at a time, each with the entries done and all there are."""
    head = open_checkpoint(checkpoint, verifier, verifier.name)
    if len(parse_note(checkpoint)[1]) != 1:
        raise VerificationError("an export's checkpoint has one signature, that of the log")
    pending = [_title(head, checkpoint, verifier)]
    length = done = 0
    if head.size:
        async for stored in entries:
            if stored.index != done:
                raise VerificationError(f"entry {done} is missing, the next one is {stored.index}")
            pending.append(line_of(withheld.shown(stored.entry, stored.kind)))
            length += len(pending[-1])
            done += 1
            if length >= CHUNK_BYTES:
                yield done, head.size, b"".join(pending)
                pending, length = [], 0
            if done == head.size:
                break
    if done < head.size:
        raise VerificationError(f"the log ends after {done} entries, its head says {head.size}")
    if pending:
        yield done, head.size, b"".join(pending)


def _title(head: Checkpoint, checkpoint: str, verifier: Verifier) -> bytes:
    value = {
        "export": EXPORT,
        "origin": head.origin,
        "size": head.size,
        "key": str(verifier),
        "checkpoint": checkpoint,
    }
    return canonical(value) + b"\n"
