"""When keys were last used: told to the database by and by, and never by the request itself."""

from __future__ import annotations

import psycopg
import structlog

from api.auth import Keyring
from ledger.store import write_beside
from ledger.tasks import Routine

INTERVAL_S = 60.0
TOLD = (
    # In one order, whoever tells: two processes then never wait for each other.
    "INSERT INTO key_uses (key_id, used_at) SELECT id, clock_timestamp() FROM unnest(%s::text[]) AS id"
    " ORDER BY id ON CONFLICT (key_id) DO UPDATE SET used_at = excluded.used_at"
)
log = structlog.get_logger(__name__)


class KeyUses:
    """`open`, then `close`. By the writer's login: the reader's may be a replica's."""

    def __init__(self, writer_url: str, keyring: Keyring, *, interval_s: float = INTERVAL_S) -> None:
        self._url = writer_url
        self._keyring = keyring
        self._routine = Routine("key_uses", self.tell, interval_s=interval_s)

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        await self._routine.close()
        await self.tell()

    async def tell(self) -> None:
        """Write down which keys were used since the last time. What cannot be written now is kept."""
        used, self._keyring.used = self._keyring.used, set()
        if not used:
            return
        try:
            # It is no part of the log: it waits for no disk and no standby.
            await write_beside(self._url, TOLD, [sorted(used)], options="-c synchronous_commit=off")
        except BaseException as error:
            self._keyring.used |= used
            if not isinstance(error, psycopg.Error):
                raise
            log.warning("key_uses_kept", error=type(error).__name__, sqlstate=error.sqlstate)
