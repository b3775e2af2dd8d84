"""Attempts what is due: claims it for as long as an attempt may take, asks, and writes down what came.

A claim is a due time in the future, so that whatever a killed process had begun falls due again by itself.
The answer is written after it came: a receiver may be told twice, with one id, and is never not told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.webhooks import endpoints as stored_endpoints
from api.webhooks.endpoints import LEASE_S, Connection, Endpoint
from api.webhooks.message import MEDIA_TYPE
from api.webhooks.network import Answered, Network, Unreachable
from api.webhooks.outbox import Lane, delivery_id
from api.webhooks.schedule import TRIES_MAX, delay_s, retry_after_s
from api.webhooks.signature import sign
from api.webhooks.vault import Vault
from ledger.errors import LedgerError, Unavailable
from ledger.tasks import Routine, end

RUNNING_MAX = 256
"""Attempts of one lane at once."""
RUNNING_AT_ENDPOINT_MAX = 4
"""And at one endpoint; one, while it fails."""
GONE = 410
BEGUN_MAX = 2 * TRIES_MAX
"""Attempts that are begun, where none comes to be written down: what is cut off each time must end too."""
COALESCED_S = 0.01

log = structlog.get_logger(__name__)

CLAIM = (
    "WITH room AS ("
    " SELECT e.id, CASE WHEN e.failures > 0 THEN 1 ELSE %(at_endpoint)s END - coalesce(b.running, 0) AS free"
    " FROM webhook_endpoints e LEFT JOIN unnest(%(busy)s::text[], %(running)s::int[]) AS b (id, running)"
    " ON b.id = e.id WHERE e.state = 'enabled'"
    " OR (e.state = 'disabled' AND (%(lane)s = 'revocations' OR e.deleted_at IS NOT NULL))),"
    " due AS (SELECT d.id FROM room, LATERAL ("
    "  SELECT id, due_at FROM webhook_deliveries WHERE lane = %(lane)s AND endpoint = room.id"
    "  AND state = 'waiting' AND due_at <= now() ORDER BY due_at, index LIMIT greatest(room.free, 0)"
    "  FOR UPDATE SKIP LOCKED) d ORDER BY d.due_at LIMIT %(free)s)"
    " UPDATE webhook_deliveries w SET attempts = attempts + 1, tries = tries + 1,"
    " due_at = now() + make_interval(secs => %(lease_s)s) FROM due WHERE w.id = due.id"
    " RETURNING w.id, w.endpoint, w.index, w.kind, w.body, w.attempts, w.tries"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One that was claimed, to be attempted now."""

    id: str
    endpoint: str
    index: int | None
    kind: str
    body: bytes = field(repr=False)
    attempts: int
    """The number of this attempt."""
    tries: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was asked and what came back."""

    at: datetime
    url: str
    timestamp: int
    signature: str
    latency_ms: int
    answered: Answered | None
    error: str | None

    @property
    def arrived(self) -> bool:
        """2xx, and nothing else: where a receiver redirects to is not who was verified."""
        return self.answered is not None and 200 <= self.answered.status < 300


Told = Callable[[Lane, str, float], None]
"""Hears of each attempt: lane, how it went, and the seconds that it took."""
Pool = AsyncConnectionPool[Connection]


async def attempt(
    network: Network, vault: Vault, endpoint: Endpoint, *, message_id: str, body: bytes
) -> Attempt:
    """One request to an endpoint, whatever comes of it."""
    at = datetime.now(UTC)
    timestamp = int(at.timestamp())
    signature = ""
    answered: Answered | None = None
    error: str | None = None
    try:
        secrets = endpoint.secrets(vault, at)
        signature = sign(secrets, endpoint.signs, message_id=message_id, timestamp=timestamp, body=body)
        headers = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "user-agent": "chipledger",
            "accept-encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }
        answered = await network.post(endpoint.url, headers, body)
        if not 200 <= answered.status < 300:
            error = "a redirect is not followed" if 300 <= answered.status < 400 else "it refused"
    except (Unreachable, LedgerError) as failure:
        error = str(failure)
    except Exception:
        # It counts like any other: one that were not written down would be made again for ever.
        log.exception("webhook_failed", delivery=message_id)
        error = "the sender failed"
    latency_ms = int((datetime.now(UTC) - at).total_seconds() * 1_000)
    return Attempt(at, endpoint.url, timestamp, signature, latency_ms, answered, error)


@contextlib.asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for a step of what runs in the background. Raises Unavailable."""
    try:
        async with pool.connection() as connection:
            yield connection
    except (psycopg.Error, PoolTimeout) as error:
        raise Unavailable(f"the database is away: {type(error).__name__}") from error


async def record(connection: Connection, delivery: str, number: int, made: Attempt) -> None:
    answered = made.answered
    await connection.execute(
        "INSERT INTO webhook_attempts (delivery, number, at, url, timestamp, signature, latency_ms, status,"
        " error, response) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            delivery, number, made.at, made.url, made.timestamp, made.signature, made.latency_ms,
            None if answered is None else answered.status, made.error,
            None if answered is None else answered.body,
        ],
    )  # fmt: skip


class Sender:
    """Of one lane. `open`, then `close`; `wake` when there may be something due."""

    def __init__(
        self,
        lane: Lane,
        pool: Pool,
        network: Network,
        vault: Vault,
        *,
        told: Told,
        interval_s: float,
        lease_s: float = LEASE_S,
    ) -> None:
        self._lane = lane
        self._pool = pool
        self._network = network
        self._vault = vault
        self._told = told
        self._routine = Routine(f"webhooks_{lane}_sender", self._send, interval_s=interval_s)
        self._idle = False
        self._lease_s = lease_s
        self._running: Counter[str] = Counter()
        """Attempts by endpoint."""
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._routine.open()

    def wake(self) -> None:
        self._routine.wake()

    async def close(self) -> None:
        """What runs is cut off: it falls due again."""
        await self._routine.close()
        await end(*self._tasks)

    async def _send(self) -> bool:
        if self._idle:  # several answers that come together make room for one claim
            await asyncio.sleep(COALESCED_S)
        self._idle = await self._claim() == 0
        return not self._idle

    async def _claim(self) -> int:
        """Begin what is due and has room; how many."""
        free = RUNNING_MAX - self._running.total()
        if free <= 0:
            return 0
        async with connected(self._pool) as connection:
            cursor = await connection.execute(
                CLAIM,
                {
                    "lane": self._lane,
                    "busy": list(self._running.keys()),
                    "running": list(self._running.values()),
                    "at_endpoint": RUNNING_AT_ENDPOINT_MAX,
                    "free": free,
                    "lease_s": self._lease_s,
                },
            )
            claimed = [Delivery(*row) for row in await cursor.fetchall()]
            found = await stored_endpoints.with_ids(connection, {one.endpoint for one in claimed})
        endpoints = {one.id: one for one in found}
        for one in claimed:
            self._running[one.endpoint] += 1
            task = asyncio.create_task(self._deliver(one, endpoints[one.endpoint]), name=one.id)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claimed)

    async def _deliver(self, one: Delivery, endpoint: Endpoint) -> None:
        try:
            if endpoint.state == "enabled" and one.tries <= BEGUN_MAX:
                made = await attempt(self._network, self._vault, endpoint, message_id=one.id, body=one.body)
                async with self._pool.connection() as connection, connection.transaction():
                    await record(connection, one.id, one.attempts, made)
                    outcome = await self._settle(connection, one, endpoint, made)
                self._told(self._lane, outcome, made.latency_ms / 1_000)
            else:
                why = f"the endpoint is {'disabled' if endpoint.deleted_at is None else 'deleted'}"
                if endpoint.state == "enabled":
                    why = f"{BEGUN_MAX} attempts were cut off, or failed"
                async with self._pool.connection() as connection, connection.transaction():
                    await self._bury(connection, one, endpoint, why)
                self._told(self._lane, "dead", 0)
        except (psycopg.Error, PoolTimeout) as error:
            # It falls due again when the lease is over: the receiver is told twice, with one id.
            log.warning("webhook_not_recorded", delivery=one.id, error=type(error).__name__)
        except Exception:
            log.exception("webhook_failed", delivery=one.id)
        finally:
            self._running[one.endpoint] -= 1
            self._running += Counter()  # without those of none
            self.wake()

    async def _settle(self, connection: Connection, one: Delivery, endpoint: Endpoint, made: Attempt) -> str:
        """What becomes of it: delivered, waiting or dead."""
        if made.arrived:
            await connection.execute(
                "UPDATE webhook_deliveries SET state = 'delivered', settled_at = now() WHERE id = %s",
                [one.id],
            )
            await connection.execute(
                "UPDATE webhook_endpoints SET failures = 0 WHERE id = %s AND failures > 0", [endpoint.id]
            )
            return "delivered"
        answered = made.answered
        cursor = await connection.execute(
            "UPDATE webhook_endpoints SET failures = failures + 1 WHERE id = %s RETURNING state",
            [endpoint.id],
        )
        stands = await cursor.fetchone() == ("enabled",)
        if answered is not None and answered.status == GONE:
            await stored_endpoints.disable(connection, endpoint.id, "it answered 410 Gone")
            await self._bury(connection, one, endpoint, "the endpoint is gone")
            return "dead"
        asked = None if answered is None else retry_after_s(answered.retry_after, now=made.at)
        delay = delay_s(one.tries, retry_after_s=asked, random=random.random)
        if delay is None:
            await self._bury(connection, one, endpoint, f"{TRIES_MAX} attempts failed")
            return "dead"
        await connection.execute(
            "UPDATE webhook_deliveries SET due_at = now() + make_interval(secs => %s)"
            " WHERE id = %s AND state = 'waiting'",
            # Disabled meanwhile: what is to be buried is not to wait.
            [delay if stands else 0, one.id],
        )
        return "failed"

    async def _bury(self, connection: Connection, one: Delivery, endpoint: Endpoint, why: str) -> None:
        """A dead letter, an alarm, and of a revocation a delivery to the next contact."""
        cursor = await connection.execute(
            "UPDATE webhook_deliveries SET state = 'dead', settled_at = now()"
            " WHERE id = %s AND state = 'waiting' RETURNING id",
            [one.id],
        )
        if await cursor.fetchone() is None:
            return  # another process, which took it to be cut off, was faster
        next_ = None
        if self._lane == "revocations" and one.index is not None:
            next_ = await stored_endpoints.contact(connection, endpoint.escalates_to)
        if next_ is not None and one.index is not None:
            await _escalate(connection, one.id, one.index, next_)
        log.critical(
            "webhook_dead_letter", delivery=one.id, endpoint=endpoint.id, party=endpoint.party,
            index=one.index, kind=one.kind, reason=why, escalated_to=next_,
        )  # fmt: skip


async def _escalate(connection: Connection, delivery: str, index: int, to: str) -> None:
    # The same bytes: both contacts are of one owner. One that is told of the entry anyway is told once.
    await connection.execute(
        "INSERT INTO webhook_deliveries (id, endpoint, index, lane, kind, body, escalated_from, state,"
        " attempts, tries, due_at, created_at) SELECT %s, e.id, d.index, d.lane, d.kind, d.body, d.id,"
        " 'waiting', 0, 0, now(), now() FROM webhook_deliveries d, webhook_endpoints e"
        " WHERE d.id = %s AND e.id = %s ON CONFLICT (endpoint, index) DO NOTHING",
        [delivery_id(to, index), delivery, to],
    )
