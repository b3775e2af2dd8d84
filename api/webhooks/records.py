"""The delivery record: who was told of an entry, when, after how many attempts, and what they answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from api.auth import Caller
from api.webhooks.endpoints import Connection, Endpoint, must_be_enabled, with_ids
from ledger.errors import NotFound, UnusableInput

DeliveryState = Literal["waiting", "delivered", "dead"]
_COLUMNS = (
    "d.id, d.endpoint, e.party, e.url, e.description, e.deleted_at, d.index, d.kind, d.state, d.attempts,"
    " d.due_at, d.created_at, d.settled_at, (SELECT min(a.at + a.latency_ms * interval '1 ms')"
    "  FROM webhook_attempts a WHERE a.delivery = d.id AND a.status BETWEEN 200 AND 299),"
    " d.escalated_from, e.role"
)
_FROM = "FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint"


@dataclass(frozen=True, slots=True)
class Record:
    id: str
    endpoint: str
    party: str | None
    url: str
    description: str
    deleted_at: datetime | None
    """Of the endpoint."""
    index: int | None
    kind: str
    state: DeliveryState
    attempts: int
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None
    arrived_at: datetime | None
    """First: out of the attempts, which nothing changes. A resend that fails is dead, and was told."""
    escalated_from: str | None
    role: str = field(repr=False)

    def is_of(self, caller: Caller) -> bool:
        """Whether its endpoint is its organisation's, or the caller an operator."""
        return caller.role == "operator" or (self.role, self.party) == (caller.role, caller.party)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    number: int
    at: datetime
    url: str
    timestamp: int
    signature: str
    latency_ms: int
    status: int | None
    error: str | None
    response: bytes | None


async def of_endpoint(
    connection: Connection, endpoint: Endpoint, *, after: int, limit: int, state: DeliveryState | None
) -> list[Record]:
    """The deliveries of entries after an index, ascending."""
    of_state = "" if state is None else " AND d.state = %s"
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE d.endpoint = %s AND d.index > %s{of_state}"
        " ORDER BY d.index LIMIT %s",
        [endpoint.id, after, *([] if state is None else [state]), limit],
    )
    return [Record(*row) for row in await cursor.fetchall()]


async def of_entry(
    connection: Connection, index: int, caller: Caller, *, after: str, limit: int
) -> list[Record]:
    """The deliveries of one entry, by id: all, or where the caller does not read everything its own."""
    mine = "" if caller.reads_everything else " AND e.role = %s AND e.party IS NOT DISTINCT FROM %s"
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE d.index = %s AND d.id > %s{mine} ORDER BY d.id LIMIT %s",
        [index, after, *([] if caller.reads_everything else [caller.role, caller.party]), limit],
    )
    return [Record(*row) for row in await cursor.fetchall()]


async def owned(connection: Connection, id_: str, caller: Caller) -> Record:
    """Raises NotFound, for one of somebody else in the same words as for none."""
    cursor = await connection.execute(f"SELECT {_COLUMNS} {_FROM} WHERE d.id = %s", [id_])
    row = await cursor.fetchone()
    found = None if row is None else Record(*row)
    if found is None or not (caller.reads_everything or found.is_of(caller)):
        raise NotFound(f"there is no delivery {id_}")
    return found


async def body_of(connection: Connection, id_: str) -> bytes:
    """The bytes that every attempt of a delivery sends; none, once they are erased."""
    cursor = await connection.execute("SELECT body FROM webhook_deliveries WHERE id = %s", [id_])
    row = await cursor.fetchone()
    assert row is not None
    return bytes(row[0])


async def attempts_of(connection: Connection, id_: str, *, limit: int = 1_000) -> list[AttemptRecord]:
    cursor = await connection.execute(
        "SELECT number, at, url, timestamp, signature, latency_ms, status, error, response"
        " FROM webhook_attempts WHERE delivery = %s ORDER BY number LIMIT %s",
        [id_, limit],
    )
    return [AttemptRecord(*row) for row in await cursor.fetchall()]


async def again(connection: Connection, one: Record) -> None:
    """Queue a delivery once more, with a schedule of its own; one that waits goes at once.

    Raises UnusableInput: it is of no entry, or erased, or its endpoint is not enabled.
    """
    [endpoint] = await with_ids(connection, [one.endpoint])
    must_be_enabled(endpoint)
    if one.index is None:
        raise UnusableInput(f"delivery {one.id} is of no entry: verify or test the endpoint again")
    if not await body_of(connection, one.id):
        raise UnusableInput(f"what delivery {one.id} told is erased: it cannot be told again")
    await connection.execute(
        "UPDATE webhook_deliveries SET state = 'waiting', tries = 0, due_at = now(), settled_at = NULL"
        " WHERE id = %s AND body <> ''",
        [one.id],
    )


async def enter(connection: Connection, values: Sequence[Any]) -> None:
    """A handshake or a test, which is of no entry: id, endpoint, kind, body, state."""
    await connection.execute(
        "INSERT INTO webhook_deliveries (id, endpoint, kind, body, state, lane, attempts, tries, due_at,"
        " created_at, settled_at) VALUES (%s, %s, %s, %s, %s, 'revocations', 1, 1, now(), now(), now())",
        values,
    )
