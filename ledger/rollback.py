"""Before a log is written to: is it still the one whose checkpoint was kept outside the database?"""

from __future__ import annotations

import asyncio

import structlog

from ledger.checkpoint_store import CheckpointStore
from ledger.errors import RefusesToWrite
from ledger.note import Signer
from ledger.store import Writer

log = structlog.get_logger(__name__)


async def refuse_rollback(writer: Writer, store: CheckpointStore | None, signer: Signer) -> None:
    """Raise RefusesToWrite if the log is not a continuation of the checkpoint that was kept elsewhere."""
    if store is None:
        return
    # By whichever of its keys signed last. The store comes before the head: what it keeps was durable
    # before what is read then.
    keys = await writer.keys_of(signer.verifier)
    kept = await asyncio.to_thread(store.latest, *keys)
    head = await writer.head()
    size = 0 if head is None else head.size
    if kept is None:
        if size > 1:
            # The first time that a store is named, or one that is not mounted: nobody can tell.
            log.warning("checkpoint_store_empty", store=str(store), entries=size)
        return
    if size < kept.size:
        raise RefusesToWrite(
            f"the database holds {size} entries, and a checkpoint that is kept outside it was signed for"
            f" {kept.size}: the last {kept.size - size} are lost, by a restored backup, a failover, or by"
            " somebody's hand. Restore a newer state; or, if there is none, see `chipledger recover`"
        )
    root = await writer.root(kept.size)
    if root != kept.root:
        raise RefusesToWrite(
            f"the first {kept.size} entries of the database have root {root.hex()}, and a checkpoint that is"
            f" kept outside it was signed for {kept.root.hex()}: the log was rewritten. Export and verify"
            " it, keep the disk"
        )
