"""Endpoints: who is told, of what, where, and with which secret it is signed."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from api.auth import Caller
from api.webhooks.network import TIMEOUT_S
from api.webhooks.signature import SECRET_BYTES, Scheme, shown
from api.webhooks.vault import Vault
from ledger.errors import NotFound, UnusableInput

ENDPOINTS_MAX = 50
"""Of one owner. One that is disabled counts: each revocation is a dead letter there."""
MADE_A_DAY_MAX = 500
"""By one owner: what is deleted leaves a row."""
ENDED_AT_ONCE = 10_000
"""Deliveries in one transaction."""
ENDING = timedelta(minutes=10)
"""How long something may still be queued for an endpoint after it was deleted, and more."""
ROTATION = timedelta(hours=24)
"""How long the secret before signs beside the new one."""
LEASE_S = TIMEOUT_S + 5
"""After this an attempt that nobody has written down is taken to have been cut off."""
READS_EVERYTHING = ("auditor", "regulator", "operator")
URGENT = ("license.", "revocation.")
"""What a kind begins with that goes first."""

State = Literal["unverified", "enabled", "disabled", "deleted"]
COLUMNS = (
    "id, role, party, withholds, url, description, kinds, contracts, outcomes, signs, secret, previous,"
    " previous_until, escalates_to, state, reason, since, failures, created_at, verified_at, deleted_at"
)


def is_urgent(kind: str) -> bool:
    return kind.startswith(URGENT)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of `webhook_endpoints`, its secrets still sealed."""

    id: str
    role: str
    party: str | None
    withholds: Sequence[str]
    url: str
    description: str
    kinds: Sequence[str]
    contracts: Sequence[str]
    outcomes: Sequence[str]
    signs: Scheme
    secret: bytes = field(repr=False)
    previous: bytes | None = field(repr=False)
    previous_until: datetime | None
    escalates_to: str | None
    state: State
    reason: str | None
    since: int | None
    failures: int
    created_at: datetime
    verified_at: datetime | None
    deleted_at: datetime | None = None
    """To its owner it is not there, and it has no secrets. Until nothing waits for it, it is disabled."""

    def is_of(self, caller: Caller) -> bool:
        """Whether it is its organisation's, or the caller an operator."""
        return caller.role == "operator" or (self.role, self.party) == (caller.role, caller.party)

    @property
    def reads_everything(self) -> bool:
        return self.role in READS_EVERYTHING

    def wants(self, *, index: int, kind: str, contract: str, outcome: str) -> bool:
        """Whether its filter lets an entry through. What it may see is another question."""
        if self.since is None or index < self.since:
            return False
        if self.kinds and not any(matches(one, kind) for one in self.kinds):
            return False
        if self.contracts and contract not in self.contracts:
            return False
        return not self.outcomes or outcome in self.outcomes

    def secrets(self, vault: Vault, now: datetime) -> list[bytes]:
        """What signs now: the secret and, for a while after a rotation, the one before.

        Raises UnusableInput.
        """
        sealed = [self.secret]
        if self.previous is not None and self.previous_until is not None and now < self.previous_until:
            sealed.append(self.previous)
        return [vault.open(one, self.id) for one in sealed]


def matches(pattern: str, kind: str) -> bool:
    """Whether a filter, a kind or such as `license.*`, lets a kind through."""
    return kind.startswith(pattern[:-1]) if pattern.endswith(".*") else kind == pattern


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller asks for in a new endpoint."""

    url: str
    description: str = ""
    kinds: Sequence[str] = ()
    contracts: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    signs: Scheme = "v1"
    escalates_to: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint and its secret, which is shown once."""

    endpoint: Endpoint
    secret: str = field(repr=False)


Connection = AsyncConnection[tuple[Any, ...]]


def must_be_verified(endpoint: Endpoint) -> None:
    if endpoint.verified_at is None:
        raise UnusableInput(f"endpoint {endpoint.id} is unverified, must be verified first")


def must_be_enabled(endpoint: Endpoint) -> None:
    state = endpoint.state if endpoint.deleted_at is None else "deleted"
    if state != "enabled":
        raise UnusableInput(f"endpoint {endpoint.id} is {state}, must be enabled")


async def create(connection: Connection, vault: Vault, wanted: Wanted, owner: Caller) -> Shown:
    """Raises UnusableInput: it has too many, or escalates to one that is not verified. Raises NotFound."""
    if wanted.escalates_to is not None:
        must_be_verified(await owned(connection, wanted.escalates_to, owner))
    await _room(connection, owner.role, owner.party)
    id_, secret = f"we_{secrets.token_hex(8)}", secrets.token_bytes(SECRET_BYTES)
    cursor = await connection.execute(
        "INSERT INTO webhook_endpoints (id, role, party, withholds, url, description, kinds, contracts,"
        " outcomes, signs, secret, escalates_to, state, failures, created_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'unverified', 0, now())"
        f" RETURNING {COLUMNS}",
        [
            id_, owner.role, owner.party, list(owner.withheld.asked), wanted.url, wanted.description,
            list(wanted.kinds), list(wanted.contracts), list(wanted.outcomes), wanted.signs,
            vault.seal(secret, id_), wanted.escalates_to,
        ],
    )  # fmt: skip
    row = await cursor.fetchone()
    assert row is not None
    return Shown(Endpoint(*row), shown(secret, wanted.signs))


async def listed(connection: Connection, owner: Caller, *, after: str, limit: int) -> list[Endpoint]:
    """Those of the owner's organisation, by id; an operator's are those of everybody."""
    mine = "" if owner.role == "operator" else " AND role = %s AND party IS NOT DISTINCT FROM %s"
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_endpoints WHERE deleted_at IS NULL AND id > %s{mine}"
        " ORDER BY id LIMIT %s",
        [after, *([] if owner.role == "operator" else [owner.role, owner.party]), limit],
    )
    return [Endpoint(*row) for row in await cursor.fetchall()]


async def owned(connection: Connection, id_: str, owner: Caller, *, deleted: bool = False) -> Endpoint:
    """Raises NotFound, for one of somebody else in the same words as for none.

    `deleted`: for the record alone, one that is deleted too.
    """
    found = next(iter(await with_ids(connection, [id_])), None)
    if found is None or not found.is_of(owner) or (found.deleted_at is not None and not deleted):
        raise _missing(id_)
    return found


def _missing(id_: str) -> NotFound:
    return NotFound(f"there is no endpoint {id_}")


async def with_ids(connection: Connection, ids: Collection[str]) -> list[Endpoint]:
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_endpoints WHERE id = ANY(%s)", [list(ids)]
    )
    return [Endpoint(*row) for row in await cursor.fetchall()]


async def told(connection: Connection, *, urgent: bool) -> list[Endpoint]:
    """Those that new entries are for. Of a revocation the disabled too, as whom it did not reach."""
    states = ["enabled", "disabled"] if urgent else ["enabled"]
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_endpoints WHERE state = ANY(%s) AND since IS NOT NULL"
        " AND deleted_at IS NULL",
        [states],
    )
    return [Endpoint(*row) for row in await cursor.fetchall()]


async def _room(connection: Connection, role: str, party: str | None) -> None:
    cursor = await connection.execute(
        "SELECT count(*) FILTER (WHERE deleted_at IS NULL),"
        " count(*) FILTER (WHERE created_at > now() - interval '1 day')"
        " FROM webhook_endpoints WHERE role = %s AND party IS NOT DISTINCT FROM %s",
        [role, party],
    )
    row = await cursor.fetchone()
    assert row is not None
    if row[0] >= ENDPOINTS_MAX:
        raise UnusableInput(f"the owner has {ENDPOINTS_MAX} endpoints, must have no more: delete one")
    if row[1] >= MADE_A_DAY_MAX:
        raise UnusableInput(f"the owner has made {MADE_A_DAY_MAX} endpoints in a day, must make no more now")


async def enable(connection: Connection, endpoint: Endpoint, *, verified: bool) -> None:
    """From now on it is told: the entries of the time before are replayed where they are asked for.

    Raises NotFound: it was deleted meanwhile.
    """
    async with connection.transaction():
        # A follower that has not seen it must not pass the entry that it is told of first.
        await connection.execute("SELECT 1 FROM webhook_cursors ORDER BY lane FOR UPDATE")
        # Nor stand where it stood when there was last anybody to tell. Revocations pass the disabled as well.
        await connection.execute(
            "UPDATE webhook_cursors SET index = greatest(index, size) FROM head WHERE lane = 'everything'"
            " AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE state = 'enabled')"
        )
        cursor = await connection.execute(
            "UPDATE webhook_endpoints SET state = 'enabled', reason = NULL, failures = 0,"
            " since = coalesce(since, (SELECT size FROM head WHERE id = 1), 0),"
            " verified_at = CASE WHEN %s THEN now() ELSE verified_at END"
            " WHERE id = %s AND deleted_at IS NULL",
            [verified, endpoint.id],
        )
        if not cursor.rowcount:
            raise _missing(endpoint.id)


# Whom a revocation escalates to must not wait for a retry that will not be. What may be under way is left to
# its sender: it is due within the lease.
_HURRIED = (
    "UPDATE webhook_deliveries SET due_at = now() WHERE endpoint = %s AND lane = 'revocations'"
    " AND state = 'waiting' AND due_at > now() + make_interval(secs => %s)"
)


_ENDED = (
    "UPDATE webhook_deliveries SET state = 'dead', settled_at = now() WHERE state = 'waiting' AND id IN ("
    " SELECT id FROM webhook_deliveries WHERE endpoint = %s AND lane = 'everything' AND state = 'waiting'"
    " LIMIT %s)"
)


async def disable(connection: Connection, id_: str, reason: str) -> None:
    """It is told nothing more. Of what waits a revocation becomes a dead letter now."""
    await connection.execute(
        "UPDATE webhook_endpoints SET state = 'disabled', reason = %s WHERE id = %s AND state <> 'disabled'",
        [reason, id_],
    )
    await connection.execute(_HURRIED, [id_, LEASE_S])


class Deleted(NamedTuple):
    ended: int
    """Deliveries that waited, but for revocations: a sender buries those, with alarm and escalation."""
    escalating: list[Endpoint]
    """Endpoints that escalate to it."""


async def delete(connection: Connection, id_: str, reason: str) -> Deleted:
    """Raises NotFound: it was deleted meanwhile. What was told of it stays on record."""
    cursor = await connection.execute(
        "UPDATE webhook_endpoints SET state = 'disabled', reason = %s, deleted_at = now(), secret = '',"
        " previous = NULL, previous_until = NULL WHERE id = %s AND deleted_at IS NULL",
        [reason, id_],
    )
    if not cursor.rowcount:
        raise _missing(id_)
    await connection.execute(_HURRIED, [id_, LEASE_S])
    # In transactions of their own: however long it takes, the secrets are gone. What is left, and what a
    # follower or a replay adds meanwhile, a sender buries.
    ended, more = 0, True
    while more:
        cursor = await connection.execute(_ENDED, [id_, ENDED_AT_ONCE])
        ended, more = ended + cursor.rowcount, cursor.rowcount == ENDED_AT_ONCE
    rows = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_endpoints WHERE escalates_to = %s AND deleted_at IS NULL ORDER BY id",
        [id_],
    )
    return Deleted(ended, [Endpoint(*row) for row in await rows.fetchall()])


async def retire(connection: Connection) -> None:
    """Of deleted endpoints those for which nothing waits, nor will: a sender need look at them no more."""
    await connection.execute(
        "UPDATE webhook_endpoints e SET state = 'deleted' WHERE state = 'disabled'"
        " AND deleted_at < now() - %s AND NOT EXISTS (SELECT 1 FROM webhook_deliveries"
        "  WHERE endpoint = e.id AND state = 'waiting' AND lane IN ('revocations', 'everything'))",
        [ENDING],
    )


async def contact(connection: Connection, id_: str | None) -> str | None:
    """Whom to escalate to: that endpoint, or where it is deleted the next."""
    while id_ is not None:
        [found] = await with_ids(connection, [id_])
        if found.deleted_at is None:
            return id_
        id_ = found.escalates_to
    return None


async def rotate(connection: Connection, vault: Vault, endpoint: Endpoint) -> str:
    """A new secret, which is shown once; the one before signs for ROTATION more.

    Unless it was sealed with a key that is lost: nobody can sign with it, and the new one must do alone.
    Raises NotFound: it was deleted meanwhile.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    cursor = await connection.execute(
        "UPDATE webhook_endpoints SET previous = CASE WHEN %s THEN secret END, previous_until = now() + %s,"
        " secret = %s WHERE id = %s AND deleted_at IS NULL",
        [
            vault.opens(endpoint.secret, endpoint.id), ROTATION, vault.seal(secret, endpoint.id),
            endpoint.id,
        ],
    )  # fmt: skip
    if not cursor.rowcount:
        raise _missing(endpoint.id)
    return shown(secret, endpoint.signs)
