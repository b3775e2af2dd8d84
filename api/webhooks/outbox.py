"""Committed entries become deliveries, in the transaction that moves the cursor past them.

Killed at any point, a follower has done both or neither. Any number may run: the cursor's row is one's at
a time, and who finds it taken does something else. An entry below the size of the head is committed, and
so is every one before it: nothing is missed, and nothing is told that was rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import orjson

from api.webhooks import endpoints as stored_endpoints
from api.webhooks import message
from api.webhooks.endpoints import URGENT, Connection, Endpoint, is_urgent
from api.webhooks.scope import Revocation, touched
from ledger import tiles
from ledger.checkpoint_store import CheckpointStore
from ledger.entry import Entry
from ledger.facts import Contract, Fact, Order, Shipment, Under
from ledger.head import HEAD_COLUMNS, Head
from ledger.kinds.ledger import RevocationScoped
from ledger.kinds.license import LicenseRevoked
from ledger.loading import StoredEntry, entries_at, load_facts, load_tiles
from ledger.note import Signer
from ledger.reader import Reader
from ledger.receipt import Receipt
from ledger.withheld import Withheld

Lane = Literal["revocations", "everything"]
LANES: tuple[Lane, ...] = ("revocations", "everything")
SCANNED_MAX = 20_000
"""Entries that one step looks at."""
ENTRIES_MAX = 200
DELIVERIES_MAX = 2_000
"""That one step makes, but for those of its first entry: a step is a transaction, and stays short."""
LOADED_MAX = 16
"""Entries whose bodies are in memory at once: an event may be 1 MiB."""
INSERTED_BYTES = 8 << 20
"""Of bodies that one statement inserts, and hardly more."""

_OF_LANE = {
    "revocations": " AND ({})".format(" OR ".join(f"kind LIKE '{start}%%'" for start in URGENT)),
    "everything": " AND NOT ({})".format(" OR ".join(f"kind LIKE '{start}%%'" for start in URGENT)),
}
_INSERT = (
    "INSERT INTO webhook_deliveries (id, endpoint, index, lane, kind, body, state, attempts, tries, due_at,"
    " created_at) SELECT u.*, 'waiting', 0, 0, now(), now() FROM unnest(%s::text[], %s::text[], %s::int8[],"
    " %s::text[], %s::text[], %s::bytea[]) AS u ON CONFLICT (endpoint, index) DO "
)
_AGAIN = "UPDATE SET state = 'waiting', tries = 0, due_at = now(), settled_at = NULL WHERE "
_THERE = "webhook_deliveries.body <> ''"
"""Not erased: what was told cannot be told again."""
ONCE = _INSERT + "NOTHING"
ANEW = {
    "failed": f"{_INSERT}{_AGAIN} webhook_deliveries.state = 'dead' AND {_THERE}",
    "all": f"{_INSERT}{_AGAIN} webhook_deliveries.state <> 'waiting' AND {_THERE}",
}


Row = tuple[str, str, int, str, str, bytes]
"""Delivery id, endpoint, index, lane, kind, body."""


class Candidate(NamedTuple):
    index: int  # type: ignore[assignment] # ours, not tuple.index
    kind: str
    contract: str
    outcome: str


class Placed(NamedTuple):
    next: int
    """The first index that was not looked at."""
    deliveries: int
    """That were queued, or queued again."""
    more: bool
    """There is more to look at already."""


def delivery_id(endpoint: str, index: int) -> str:
    """The `webhook-id` of an entry at an endpoint: the same whoever makes it, and however often."""
    return f"msg_{endpoint.removeprefix('we_')}_{index}"


class Outbox:
    def __init__(self, reader: Reader, signer: Signer, store: CheckpointStore) -> None:
        self._reader = reader
        self._signer = signer
        self._store = store

    async def advance(self, connection: Connection, lane: Lane) -> Placed | None:
        """One step of a lane's follower; None: another has the cursor, or there is nobody to tell."""
        urgent = lane == "revocations"
        # Most of the time there is nothing new, and then it takes one small question to know.
        if not await _is_behind(connection, lane) or not await stored_endpoints.told(
            connection, urgent=urgent
        ):
            return None
        speakers = await self._reader.live_readers()
        async with connection.transaction():
            row = await (
                await connection.execute(
                    "SELECT index FROM webhook_cursors WHERE lane = %s FOR UPDATE SKIP LOCKED", [lane]
                )
            ).fetchone()
            head = await _head(connection)
            # Under the lock, which `endpoints.enable` takes too: whoever is told from here on is among them.
            told = await stored_endpoints.told(connection, urgent=urgent)
            if row is None or head is None or not told:
                return None
            # Nobody is told of what was there before the first of them.
            first = max(row[0], min(one.since or 0 for one in told))
            if first >= head.size:
                return None
            told = [one for one in told if not one.reads_everything or (one.role, one.party) in speakers]
            placed = await self._place(connection, told, lane, first, head.size, head, ONCE)
            await connection.execute(
                "UPDATE webhook_cursors SET index = %s WHERE lane = %s", [placed.next, lane]
            )
        return placed

    async def replay(
        self,
        connection: Connection,
        endpoint: Endpoint,
        *,
        first: int,
        last: int | None = None,
        which: Literal["failed", "all"],
    ) -> Placed:
        """Queue the entries from `first` on again: those that failed or were never queued, or all.

        To `last`, which is one of them, or to the end of the log.
        """
        speakers = await self._reader.live_readers()
        async with connection.transaction():
            head = await _head(connection)
            if (
                head is None
                or first >= head.size
                or (endpoint.reads_everything and (endpoint.role, endpoint.party) not in speakers)
            ):
                return Placed(first, 0, more=False)
            stop = head.size if last is None else min(last + 1, head.size)
            told = replace(endpoint, since=first)  # what was there before it was made, too
            return await self._place(connection, [told], None, first, stop, head, ANEW[which])

    async def _place(
        self,
        connection: Connection,
        told: Sequence[Endpoint],
        lane: Lane | None,
        first: int,
        stop: int,
        head: Head,
        insert: str,
    ) -> Placed:
        end = min(first + SCANNED_MAX, stop)
        of_lane = "" if lane is None else _OF_LANE[lane]
        coarse, values = _coarse(told)
        cursor = await connection.execute(
            "SELECT index, kind, contract, outcome FROM entries"
            f" WHERE index >= %s AND index < %s{of_lane}{coarse} ORDER BY index LIMIT {ENTRIES_MAX}",
            [first, end, *values],
        )
        found = [Candidate(*row) for row in await cursor.fetchall()]
        if len(found) == ENTRIES_MAX:
            end = found[-1].index + 1
        contracts = await _contracts(connection, {one.contract for one in found})
        wanted: list[tuple[Candidate, list[Endpoint]]] = []
        count = 0
        for one in found:
            receivers = [
                endpoint
                for endpoint in told
                if endpoint.wants(**one._asdict()) and _sees(endpoint, contracts.get(one.contract))
            ]
            if count and count + len(receivers) > DELIVERIES_MAX:
                end = one.index
                break
            if receivers:
                wanted.append((one, receivers))
                count += len(receivers)
        queued = await self._insert(connection, wanted, contracts, head, insert) if wanted else 0
        return Placed(end, queued, more=end < stop)

    async def _insert(
        self,
        connection: Connection,
        wanted: Sequence[tuple[Candidate, Sequence[Endpoint]]],
        contracts: Mapping[str, Contract],
        head: Head,
        insert: str,
    ) -> int:
        receipt = await self._receipts(connection, [one.index for one, _ in wanted], head)
        queued, rows, size = 0, list[Row](), 0
        for start in range(0, len(wanted), LOADED_MAX):
            part = wanted[start : start + LOADED_MAX]
            entries = await entries_at(connection, [one.index for one, _ in part])
            for (one, receivers), stored in zip(part, entries, strict=True):
                revocation = await _revocation(connection, stored, head.size)
                bodies: dict[tuple[bytes, tuple[str, ...]], bytes] = {}
                for endpoint in receivers:
                    concerns = _concerns(endpoint, revocation, contracts.get(one.contract))
                    alike = concerns, tuple(endpoint.withholds)
                    if alike not in bodies:
                        shown = Withheld(endpoint.withholds).shown(stored.entry, stored.kind)
                        bodies[alike] = message.of_entry(
                            replace(stored, entry=shown), source=head.origin, receipt=receipt(shown),
                            revocation=concerns,
                        )  # fmt: skip
                    lane = "revocations" if is_urgent(one.kind) else "everything"
                    id_ = delivery_id(endpoint.id, one.index)
                    rows.append((id_, endpoint.id, one.index, lane, one.kind, bodies[alike]))
                    size += len(bodies[alike])
                    if size >= INSERTED_BYTES:
                        queued += await _inserted(connection, insert, rows)
                        rows, size = [], 0
        return queued + (await _inserted(connection, insert, rows) if rows else 0)

    async def _receipts(
        self, connection: Connection, indexes: Sequence[int], head: Head
    ) -> Callable[[Entry], Receipt]:
        """Makes the receipt of one of these entries under the head: of what is shown of it.

        Raises Unavailable or StoreFailed: the head is not to be signed.
        """
        wanted = {at for index in indexes for at in tiles.tiles_for_inclusion(index, head.size)}
        found = await load_tiles(connection, wanted)
        # A database that has lost its end must not have its head signed once more.
        kept = await asyncio.to_thread(self._store.latest, *await self._reader.keys_of(self._signer.verifier))
        now = await _head(connection)
        self._store.refuse_behind(0 if now is None else now.size, kept)
        checkpoint = head.checkpoint(self._signer)

        def receipt(entry: Entry) -> Receipt:
            hashes = tiles.prove_inclusion(
                entry.header.index, head.size, lambda *at: found[tiles.Coordinates(*at)]
            )
            return Receipt.of(entry, tree_size=head.size, hashes=hashes, checkpoint=checkpoint)

        return receipt


async def _inserted(connection: Connection, insert: str, rows: Sequence[Row]) -> int:
    return (await connection.execute(insert, [list(column) for column in zip(*rows, strict=True)])).rowcount


def _concerns(endpoint: Endpoint, revocation: Revocation | None, contract: Contract | None) -> bytes:
    """JSON of what a revocation touches of whom the endpoint tells; null of every other entry."""
    hidden = Withheld(endpoint.withholds).hides("event", RevocationScoped.kind_name)
    if revocation is None or contract is None or hidden:
        return b"null"
    party = None if endpoint.reads_everything else endpoint.party
    return orjson.dumps(touched(revocation, party=party, roles=contract.roles_of(party or "")))


def _coarse(told: Sequence[Endpoint]) -> tuple[str, list[list[str]]]:
    """What no endpoint asks for the database leaves out: of an import, as a rule, all of it.

    It may let through too much: an underscore in a kind is any character here.
    """
    clause, values = "", list[list[str]]()
    if all(one.kinds for one in told):
        clause += " AND kind LIKE ANY(%s)"
        values.append(sorted({kind.replace("*", "%") for one in told for kind in one.kinds}))
    if all(one.contracts for one in told):
        clause += " AND contract = ANY(%s)"
        values.append(sorted({contract for one in told for contract in one.contracts}))
    return clause, values


def _sees(endpoint: Endpoint, contract: Contract | None) -> bool:
    """As a key of its owner would (`api.audit.Sight`)."""
    if endpoint.reads_everything:
        return True
    return contract is not None and endpoint.party is not None and bool(contract.roles_of(endpoint.party))


async def _head(connection: Connection) -> Head | None:
    row = await (await connection.execute(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 1")).fetchone()
    return None if row is None else Head(*row)


async def _is_behind(connection: Connection, lane: Lane) -> bool:
    cursor = await connection.execute(
        "SELECT 1 FROM webhook_cursors, head WHERE lane = %s AND index < size", [lane]
    )
    return await cursor.fetchone() is not None


async def _contracts(connection: Connection, names: Iterable[str]) -> dict[str, Contract]:
    found = await load_facts(connection, [(Contract.name, name) for name in sorted(names)])
    return {key: fact for (_, key), fact in found if isinstance(fact, Contract)}


async def _revocation(connection: Connection, stored: StoredEntry, size: int) -> Revocation | None:
    """What a revocation touches, as the ledger said in the transaction that committed it."""
    if stored.kind != LicenseRevoked.kind_name or stored.outcome not in ("accepted", "flagged"):
        return None
    header = stored.entry.header
    cursor = await connection.execute(
        "SELECT index FROM entries WHERE contract = %s AND contract_index > %s AND kind = %s AND index < %s"
        " ORDER BY contract_index LIMIT 1",
        [header.contract, header.contract_index, RevocationScoped.kind_name, size],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    [said] = await entries_at(connection, [row[0]])
    event = said.entry.bodies["event"]
    if event is None:
        return None
    scope = RevocationScoped.model_validate(orjson.loads(event.value)["data"])
    if scope.cause != stored.index:
        return None
    under = await _loaded(connection, [(Under.name, scope.license)])
    keys = [one for one in under if isinstance(one, Under)]
    shipments = await _loaded(connection, [(Shipment.name, key) for one in keys for key in one.shipments])
    released = [one for one in shipments if isinstance(one, Shipment)]
    ordered = {f"{one.contract}/{one.order}" for one in released} | {k for one in keys for k in one.orders}
    orders = await _loaded(connection, [(Order.name, key) for key in sorted(ordered)])
    return Revocation(scope, said.index, [o for o in orders if isinstance(o, Order)], released)


async def _loaded(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[Fact]:
    return [fact for _, fact in await load_facts(connection, keys) if fact is not None]
