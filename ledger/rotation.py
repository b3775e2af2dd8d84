"""One checkpoint key after another: an entry that both have signed, and a head that knows the new one.

Every process that holds the old key refuses to write and to sign from the commit on, for the head row pins
the key. The epoch moves, as on every change of what may write.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg

from ledger.batch import Batch
from ledger.checkpoint import sign_rotation
from ledger.checkpoint_store import CheckpointStore
from ledger.decision import Judge
from ledger.errors import Unavailable, UnusableInput
from ledger.event import LEDGER_CONTRACT
from ledger.facts import Chain, Contract, Facts
from ledger.fold import Entailed, own_submission
from ledger.kinds.ledger import CheckpointKeyRotated
from ledger.note import Signer
from ledger.sequencer import refuse_rollback
from ledger.store import Writer


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
    locked = await writer.begin([], [(Chain.name, LEDGER_CONTRACT), (Contract.name, LEDGER_CONTRACT)])
    if locked is None or not locked.head.size:
        raise UnusableInput("the log has no entry yet: its first names the key")
    head, facts = locked.head, Facts(dict(locked.facts))
    head.check(engine=judge.engine, signer=old, clock=head.clock)
    # A simulated log's time is where its last entry left it.
    at = max(locked.now, head.recorded_at) if head.clock == "system" else head.recorded_at
    data = {"key": str(new.verifier), "note": sign_rotation(head.size, old, new)}
    said = Entailed(LEDGER_CONTRACT, CheckpointKeyRotated, data)
    batch = Batch(head, facts, judge, at=at)
    batch.append(own_submission(said, origin=head.origin, index=head.size, at=at))
    moved, growth = batch.grow()
    moved = replace(moved, epoch=head.epoch + 1, verifier_key=str(new.verifier))
    completed = batch.completed(growth)
    await writer.write(batch.entries, list(facts.changed.values()), completed, locked=head, head=moved)
    await writer.commit()
    return head.size
