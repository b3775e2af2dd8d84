"""Takes each new head out of the database's reach: signs it, and keeps it elsewhere.

It follows the durable head, so a checkpoint that leaves here is never of what a crash may still undo.
Commits do not wait for it: it is late by an interval at most, and says by its metrics how late it is.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import LedgerError, NotFound, VerificationError
from ledger.head import Head
from ledger.note import Signer, Verifier
from ledger.reader import Reader
from ledger.tasks import Routine

INTERVAL_S = 1.0
log = structlog.get_logger(__name__)


async def head_to_sign(reader: Reader, signer: Signer, store: CheckpointStore) -> Head:
    """The durable head, if nobody was ever shown a longer one. Raises Unavailable, StoreFailed, NotFound."""
    kept = await asyncio.to_thread(store.latest, *await reader.keys_of(signer.verifier))
    head = await reader.head()
    store.refuse_behind(head.size, kept)
    return head


async def cosigned_head(reader: Reader, verifier: Verifier, *, least: int = 0) -> str | None:
    """The last checkpoint that enough witnesses have cosigned, of `least` entries or more.

    None where there is none, or none since the log took its present key: witnesses must be told that first,
    and whoever knows the log by it could not read the one before.
    """
    note = await reader.witnessed(verifier.name)
    try:
        if note is not None and open_checkpoint(note, verifier, verifier.name).size >= least:
            return note
    except VerificationError:
        return None
    return None


class Publisher:
    """`open`, then `close`, which publishes once more; or `publish` by hand."""

    def __init__(self, reader: Reader, signer: Signer, store: CheckpointStore) -> None:
        self._reader = reader
        self._signer = signer
        self.store = store
        self._routine = Routine("publisher", self._attempt, interval_s=INTERVAL_S)
        self._keys: list[Verifier] | None = None
        """Of the log: what is kept may have been signed before a rotation."""
        self.published: Checkpoint | None = None
        """The last head that is known to be kept, by this process or another."""
        self.published_at: datetime | None = None
        """When the head was last seen to be kept."""

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        if await self._routine.close():
            await self._attempt()

    async def publish(self) -> None:
        """Keep the durable head, if it has moved. Raises LedgerError."""
        try:
            head = await self._reader.head()
        except NotFound:
            return
        if self.published is None or self.published.size < head.size:
            note = head.checkpoint(self._signer)
            if self._keys is None:
                self._keys = await self._reader.keys_of(self._signer.verifier)
            self.published = await asyncio.to_thread(self.store.advance, note, *self._keys)
        self.published_at = datetime.now(UTC)

    async def _attempt(self) -> None:
        try:
            await self.publish()
        except LedgerError as error:
            log.critical("checkpoint_not_kept", error=type(error).__name__, detail=str(error))
        except Exception:
            log.exception("publisher_failed")
