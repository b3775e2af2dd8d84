"""One checkpoint key after another: an entry that both have signed, and a head that knows the new one.

Under the same name by a rotation; under another by a recovery, where the end of the log is lost: its old
name must never sign a second history of sizes that it has signed before.

Every process that holds the old key refuses to write and to sign from the commit on, for the head row pins
the key. The epoch moves, as on every change of what may write.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg

from ledger.batch import Batch
from ledger.checkpoint import sign_recovery, sign_rotation
from ledger.checkpoint_store import CheckpointStore
from ledger.clock import recorded_at
from ledger.decision import Judge
from ledger.errors import Unavailable, UnusableInput
from ledger.event import LEDGER_CONTRACT
from ledger.facts import Chain, Contract, Facts
from ledger.fold import Entailed, own_submission
from ledger.kinds.ledger import CheckpointKeyRotated, LedgerRecovered
from ledger.note import Signer
from ledger.rollback import refuse_rollback
from ledger.store import Locked, Writer


async def rotate(
    writer_url: str, *, judge: Judge, old: Signer, new: Signer, store: CheckpointStore | None = None
) -> int:
    """Commit that `new` signs after `old`; gives the index of the entry that says so.

    Raises RefusesToWrite unless `old` is the log's key, and the log continues what `store` keeps;
    Unavailable; and OutcomeUnknown: look at the head.
    """
    writer = await Writer.connect(writer_url)
    try:
        await refuse_rollback(writer, store, old)
        return await _rotate(writer, judge, old, new)
    except psycopg.Error as error:
        raise Unavailable("the database is away or busy; the key was not rotated") from error
    finally:
        await writer.close()


async def _rotate(writer: Writer, judge: Judge, old: Signer, new: Signer) -> int:
    locked = await _lock(writer, judge, old)
    data = {"key": str(new.verifier), "note": sign_rotation(locked.head.size, old, new)}
    await _say(writer, judge, locked, Entailed(LEDGER_CONTRACT, CheckpointKeyRotated, data), new)
    return locked.head.size


async def recover(
    writer_url: str, *, judge: Judge, old: Signer, new: Signer, store: CheckpointStore, reason: str
) -> int:
    """Let a log that has lost its end go on under the name of `new`; gives the index of the entry on it.

    The first entry under the new name cites where the predecessor had ended, as far as `store` knows. Raises
    UnusableInput where nothing is lost, RefusesToWrite where what is left was rewritten; else as `rotate`.
    """
    writer = await Writer.connect(writer_url)
    try:
        keys = await writer.keys_of(old.verifier)
        kept, note = store.latest(*keys), store.note()
        locked = await _lock(writer, judge, old)
        size = locked.head.size
        if kept is None or note is None or kept.size <= size:
            known = "nothing" if kept is None else f"{kept.size} entries"
            raise UnusableInput(
                f"the log has {size} entries and {store} knows of {known}: there is nothing to recover from"
            )
        data = {
            "origin": new.name,
            "key": str(new.verifier),
            "note": sign_recovery(size, kept, old, new),
            "kept": note,
            "reason": reason,
        }
        await _say(writer, judge, locked, Entailed(LEDGER_CONTRACT, LedgerRecovered, data), new)
    except psycopg.Error as error:
        raise Unavailable("the database is away or busy; the log was not recovered") from error
    finally:
        await writer.close()
    return size


async def _lock(writer: Writer, judge: Judge, old: Signer) -> Locked:
    """The head, locked. Raises UnusableInput before genesis, and RefusesToWrite unless `old` is its key."""
    locked = await writer.begin([], [(Chain.name, LEDGER_CONTRACT), (Contract.name, LEDGER_CONTRACT)])
    if locked is None or not locked.head.size:
        raise UnusableInput("the log has no entry yet: its first names the key")
    locked.head.check(engine=judge.engine, signer=old, clock=locked.head.clock)
    return locked


async def _say(writer: Writer, judge: Judge, locked: Locked, said: Entailed, new: Signer) -> None:
    """Commit the entry that hands over to `new`, with the head that knows it."""
    head, facts = locked.head, Facts(dict(locked.facts))
    # A simulated log's time is where its last entry left it.
    at = recorded_at(locked, None if head.clock == "system" else lambda: head.recorded_at)
    batch = Batch(head, facts, judge, at=at)
    batch.append(own_submission(said, origin=new.name, index=head.size, at=at))
    moved, growth = batch.grow()
    moved = replace(moved, epoch=head.epoch + 1, origin=new.name, verifier_key=str(new.verifier))
    completed = batch.completed(growth)
    await writer.write(batch.entries, list(facts.changed.values()), completed, locked=head, head=moved)
    await writer.commit()
