"""What is answered once a batch stands: for each event a receipt, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg

from ledger import tiles
from ledger.committer import Standing
from ledger.errors import LedgerError, OutcomeUnknown, SigningFailed, VerificationError
from ledger.head import Head
from ledger.loading import StoredEntry, entries_at, load_tiles
from ledger.merkle import Growth
from ledger.note import Signer
from ledger.receipt import Receipt
from ledger.statements import NewEntry
from ledger.store import Writer


class Committed(NamedTuple):
    """An event stands in the log: as a new entry, or since an earlier request (`replayed`)."""

    receipt: Receipt
    outcome: str
    replayed: bool


Result = Committed | LedgerError
"""Of one event: Conflict, AppendFailed, or why what stands cannot be read. Others fail the whole batch."""


async def answers(standing: Standing, writer: Writer, signer: Signer) -> list[Result]:
    """One for each event. Raises SigningFailed."""
    placed, head, growth = standing
    # Sign after COMMIT: a signed head that the database then lost would be equivocation.
    try:
        checkpoint = head.checkpoint(signer)
    except Exception as error:
        raise SigningFailed("committed, but the checkpoint could not be signed; ask again") from error
    again = sorted({one for one in placed if isinstance(one, int)})
    replayed = await _replayed(writer, again, head, checkpoint) if again else {}
    results: list[Result] = []
    for one in placed:
        if isinstance(one, LedgerError):
            results.append(one)
        elif isinstance(one, NewEntry):
            assert growth is not None
            results.append(Committed(_receipt_of(one, growth, checkpoint), one.outcome, False))
        else:
            results.append(replayed[one])
    return results


def _receipt_of(new: NewEntry, growth: Growth, checkpoint: str) -> Receipt:
    entry = new.entry
    decision = entry.bodies["decision"]
    assert decision is not None
    return Receipt(
        index=entry.header.index,
        header=entry.raw,
        decision=decision.value,
        salts={name: body.salt for name, body in entry.bodies.items() if body is not None},
        tree_size=growth.size,
        hashes=growth.prove_inclusion(entry.header.index),
        checkpoint=checkpoint,
    )


async def _replayed(
    writer: Writer, indexes: Sequence[int], head: Head, checkpoint: str
) -> Mapping[int, Result]:
    """Of entries that stand already, all read at once: while the committer reads, it commits nothing.

    From where they are written, for a replica may not have them yet; and after the commit, which
    waited for the standbys and let the head go: what is read never changes.
    """
    try:
        with writer.bounded():
            return await _read_again(writer, indexes, head, checkpoint)
    except VerificationError as error:
        return dict.fromkeys(indexes, error)
    except psycopg.Error:
        await writer.close()
        return dict.fromkeys(indexes, OutcomeUnknown("it stands, and cannot be read now; ask again"))


async def _read_again(
    writer: Writer, indexes: Sequence[int], head: Head, checkpoint: str
) -> dict[int, Result]:
    entries = await entries_at(writer.connection, indexes)
    if len(entries) != len(indexes):
        raise VerificationError(f"{len(indexes) - len(entries)} entries whose ids are taken are not there")
    wanted = {at for index in indexes for at in tiles.tiles_for_inclusion(index, head.size)}
    found = await load_tiles(writer.connection, wanted)
    return {
        stored.index: Committed(
            _receipt_again(stored, head, found, checkpoint), stored.outcome, replayed=True
        )
        for stored in entries
    }


def _receipt_again(
    stored: StoredEntry, head: Head, found: Mapping[tiles.Coordinates, bytes], checkpoint: str
) -> Receipt:
    """The receipt of an entry that was read back, with a proof out of tiles."""
    proof = tiles.prove_inclusion(stored.index, head.size, lambda *at: found[tiles.Coordinates(*at)])
    return Receipt.of(stored.entry, tree_size=head.size, hashes=proof, checkpoint=checkpoint)
