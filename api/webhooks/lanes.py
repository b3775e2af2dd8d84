"""The webhooks of one process: in each lane a follower and a sender, which share nothing with the other's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import structlog
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.webhooks import endpoints
from api.webhooks.endpoints import LEASE_S, Connection
from api.webhooks.handshake import Hand
from api.webhooks.network import Network, Resolve, system_resolve
from api.webhooks.outbox import LANES, Lane, Outbox
from api.webhooks.sending import Pool, Sender, connected
from api.webhooks.vault import Vault
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import Unavailable
from ledger.note import Signer
from ledger.reader import Reader
from ledger.session import session
from ledger.tasks import Routine

INTERVALS_S: dict[Lane, float] = {"revocations": 0.2, "everything": 1.0}
"""How often a lane looks whether the log has grown."""
POOL_SIZE_MAX = 4
POOL_WAIT_S = 5.0
MEASURED_S = 5.0
OPTIONS = "-c statement_timeout=15000 -c lock_timeout=5000 -c jit=off"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not delivered yet, in all processes."""

    waiting: int
    dead: int
    oldest_s: float
    """Age of the oldest that waits, or of the oldest entry that the lane's follower has not looked at."""
    behind: int
    """Entries that the lane's follower has not looked at."""


class Webhooks:
    """`open`, then `close`. `told` hears of each attempt: lane, how it went, seconds.

    `allowed_hosts`: for development, hosts that need neither https nor a public address.
    """

    def __init__(
        self,
        writer_url: str,
        reader: Reader,
        signer: Signer,
        store: CheckpointStore,
        vault: Vault,
        *,
        allowed_hosts: Collection[str] = (),
        resolve: Resolve = system_resolve,
        told: Callable[[Lane, str, float], None] = lambda lane, outcome, seconds: None,
        lease_s: float = LEASE_S,
    ) -> None:
        self.vault = vault
        self.outbox = Outbox(reader, signer, store)
        self.origin = signer.name
        self._writer_url = writer_url
        self.allowed_hosts = frozenset(allowed_hosts)
        self._resolve = resolve
        self._told = told
        self._lease_s = lease_s
        self._routines: list[Routine] = []
        self._pools: list[Pool] = []
        self._networks: list[Network] = []
        self._senders: list[Sender] = []
        self.backlog: dict[Lane, Backlog] = {}
        self._asked: Pool | None = None

    @property
    def hand(self) -> Hand:
        """For what a caller asks for, and waits for: handshakes and tests."""
        return Hand(self.connection, self._networks[-1], self.vault, self.origin)

    async def open(self) -> None:
        for lane in LANES:
            pool, network = await self._opened(), self._way_out()
            interval_s = INTERVALS_S[lane]
            sender = Sender(
                lane, pool, network, self.vault, told=self._told, interval_s=interval_s, lease_s=self._lease_s
            )
            sender.open()
            self._senders.append(sender)
            follow = partial(self._follow, lane, pool, sender)
            self._routines.append(Routine(f"webhooks_{lane}_follower", follow, interval_s=interval_s))
        self._asked = await self._opened()
        self._way_out()
        measure = partial(self._measure, self._asked)
        self._routines.append(Routine("webhooks_backlog", measure, interval_s=MEASURED_S))
        for routine in self._routines:
            routine.open()

    async def close(self) -> None:
        for routine in self._routines:
            await routine.close()
        for sender in self._senders:
            await sender.close()
        for network in self._networks:
            await network.close()
        for pool in self._pools:
            await pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """For what a caller asks. Raises Unavailable."""
        assert self._asked is not None
        try:
            async with self._asked.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation, PoolTimeout) as error:
            # A follower and a replay may make the same delivery at once: one of them is made anew.
            raise Unavailable("the database cannot be reached now") from error

    def wake(self) -> None:
        for sender in self._senders:
            sender.wake()

    def _way_out(self) -> Network:
        """One for each lane: what hangs in one, a name server too, holds up no other."""
        network = Network(allowed_hosts=self.allowed_hosts, resolve=self._resolve)
        self._networks.append(network)
        return network

    async def _opened(self) -> Pool:
        keywords: dict[str, Any] = {
            "application_name": "chipledger-webhooks",
            "autocommit": True,
            "row_factory": tuple_row,
            "target_session_attrs": "read-write",
        }
        pool: Pool = AsyncConnectionPool(
            session(self._writer_url, OPTIONS),
            min_size=0,
            max_size=POOL_SIZE_MAX,
            timeout=POOL_WAIT_S,
            reconnect_timeout=POOL_WAIT_S,
            open=False,
            check=AsyncConnectionPool.check_connection,
            kwargs=keywords,
        )
        await pool.open()
        self._pools.append(pool)
        return pool

    async def _follow(self, lane: Lane, pool: Pool, sender: Sender) -> bool:
        async with connected(pool) as connection:
            placed = await self.outbox.advance(connection, lane)
        if placed is None:
            return False
        if placed.deliveries:
            sender.wake()
        return placed.more

    async def _measure(self, pool: Pool) -> None:
        async with connected(pool) as connection:
            await endpoints.retire(connection)
            self.backlog = await backlog(connection)


async def backlog(connection: Connection) -> dict[Lane, Backlog]:
    """What waits and what died is in partial indexes; a handshake that failed is none of it.

    Nobody is behind where there is nobody to tell.
    """
    of_state = "FROM webhook_deliveries w WHERE w.lane = c.lane AND w.index IS NOT NULL AND w.state = "
    cursor = await connection.execute(
        f"SELECT c.lane, (SELECT count(*) {of_state} 'waiting'), (SELECT count(*) {of_state} 'dead'),"
        f" extract(epoch FROM now() - least(now(), (SELECT min(w.created_at) {of_state} 'waiting'),"
        "  (SELECT recorded_at FROM entries e WHERE e.index = greatest(c.index, told.since))))::float8,"
        " greatest(0, head.size - greatest(c.index, told.since))"
        " FROM webhook_cursors c LEFT JOIN head ON true,"
        "  (SELECT coalesce(min(since), (SELECT size FROM head)) AS since FROM webhook_endpoints"
        "   WHERE state = 'enabled') told"
    )
    return {lane: Backlog(*counted) for lane, *counted in await cursor.fetchall()}
