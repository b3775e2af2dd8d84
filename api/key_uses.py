"""When keys were last used: told to the database by and by, and never by the request itself."""

from __future__ import annotations

import asyncio

import psycopg
import structlog
from psycopg import AsyncConnection

from api.auth import Keyring
from ledger.tasks import end

INTERVAL_S = 60.0
OPTIONS = "-c synchronous_commit=off -c lock_timeout=2000 -c statement_timeout=5000"
"""It is no part of the log: it waits for no disk and no standby, and keeps nobody waiting."""
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
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._run(), name="key uses")

    async def close(self) -> None:
        if self._task is not None:
            await end(self._task)
        await self.tell()

    async def tell(self) -> None:
        """Write down which keys were used since the last time. What cannot be written now is kept."""
        used, self._keyring.used = self._keyring.used, set()
        if not used:
            return
        try:
            connection = await AsyncConnection.connect(
                self._url,
                autocommit=True,
                options=OPTIONS,
                application_name="chipledger-keys",
                connect_timeout=5,
            )
            async with connection:
                await connection.execute(TOLD, [sorted(used)])
        except BaseException as error:
            self._keyring.used |= used
            if not isinstance(error, psycopg.Error):
                raise
            log.warning("key_uses_kept", error=type(error).__name__, sqlstate=error.sqlstate)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.tell()
