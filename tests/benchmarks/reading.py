"""What a longer log costs its readers: pages and custody chains at two lengths.

    python -m tests.benchmarks.reading [ENTRIES ENTRIES]

By default 1 and 5 million entries, which takes ten minutes and 10 GB. The rows are made by the database, with
headers that parse and bodies that say nothing: what is measured is how rows are found. A contract has one
entry in 200, a device 7 entries, at either length.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from api import database
from api.settings import Settings
from ledger.pages import Filter
from ledger.reader import Reader

LENGTHS = (1_000_000, 5_000_000)
STEP = 250_000
ROUNDS = 300
WARM = 20
CONTRACTS = 200
LINKS_PER_DEVICE = 7
INTERVAL = timedelta(milliseconds=40)
BEGAN = datetime(2027, 1, 1, tzinfo=UTC)
_CONTRACT = "'5a0f7c0e-9a1d-4f55-8f43-2b7f6a0c' || lpad((i %% 200)::text, 4, '0')"
_HASH = "repeat('ab', 32)"
_ENTRIES = f"""
INSERT INTO entries
    (index, contract, contract_index, recorded_at, kind, party, event_id, outcome, leaf, header)
SELECT i, {_CONTRACT}, i / 200, timestamptz '2027-01-01Z' + i * interval '40 ms',
    (ARRAY['usage.attested', 'order.placed', 'shipment.requested', 'delivery.received'])[1 + i %% 4],
    'party-' || i %% 37, gen_random_uuid(), CASE WHEN i %% 50 = 7 THEN 'denied' ELSE 'accepted' END,
    sha256(int8send(i)),
    convert_to('{{"bodies":{{"decision":"' || {_HASH} || '","event":"' || {_HASH} || '"}},"contract":"'
        || {_CONTRACT} || '","contract_index":' || i / 200 || ',"contract_previous":"' || {_HASH}
        || '","format":1,"index":' || i || ',"previous":"' || {_HASH}
        || '","recorded_at":"2027-01-01T00:00:00.000000Z"}}', 'utf8')
FROM generate_series(%s::int8, %s::int8 - 1) i
"""
_BODIES = """
INSERT INTO bodies (index, event_salt, event, decision_salt, decision)
SELECT i, sha256(int8send(i)),
    convert_to('{"occurred_at":"2027-01-01T00:00:00Z","pad":"' || repeat('x', 300) || '"}', 'utf8'),
    sha256(int8send(i)), '{}'
FROM generate_series(%s::int8, %s::int8 - 1) i
"""
_LINKS = """
INSERT INTO device_links (serial, index)
SELECT 'SN' || (i * 7919 + k * 104729) %% %s, i
FROM generate_series(%s::int8, %s::int8 - 1) i, generate_series(0, 2) k ON CONFLICT DO NOTHING
"""


def _devices(entries: int) -> int:
    return entries * 3 // LINKS_PER_DEVICE


def _fill(owner: str, entries: int) -> None:
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(0, entries, STEP):
            end = min(first + STEP, entries)
            connection.execute(_ENTRIES, [first, end])
            connection.execute(_BODIES, [first, end])
            connection.execute(_LINKS, [_devices(entries), first, end])
            print(f"{end:,} entries", file=sys.stderr, flush=True)
        connection.execute("VACUUM ANALYZE")


async def _measured(url: str, entries: int) -> dict[str, float]:
    """Milliseconds, the median of many look-ups in as many places."""
    reader = Reader(url)
    await reader.open()

    def anywhere(number: int) -> int:
        return number * 7_919_123 % entries

    def contract(number: int) -> str:
        return f"5a0f7c0e-9a1d-4f55-8f43-2b7f6a0c{number % CONTRACTS:04}"

    def page(**wanted: Callable[[int], Any]) -> Callable[[int], Awaitable[object]]:
        return lambda number: reader.entries(Filter(**{name: of(number) for name, of in wanted.items()}))

    looks: dict[str, Callable[[int], Awaitable[object]]] = {
        "an entry": lambda number: reader.entry(anywhere(number)),
        "a page of 100": page(after=anywhere),
        "... of a contract": page(contract=contract, after=anywhere),
        "... of a kind": page(kind=lambda _: "order.placed", after=anywhere),
        "... of a party": page(party=lambda number: f"party-{number % 37}", after=anywhere),
        "... of what was denied": page(outcome=lambda _: "denied", after=anywhere),
        "... since a time": page(since=lambda number: BEGAN + INTERVAL * anywhere(number)),
        "a custody chain": lambda number: reader.links(f"SN{anywhere(number) % _devices(entries)}"),
    }
    found = {}
    for name, look in looks.items():
        took = []
        for number in range(ROUNDS):
            began = time.perf_counter()
            await look(number)
            took.append(time.perf_counter() - began)
        found[name] = statistics.median(took[WARM:]) * 1e3
    await reader.close()
    return found


def main() -> None:
    lengths = [int(text) for text in sys.argv[1:]] or list(LENGTHS)
    found = []
    for entries in lengths:
        with tempfile.TemporaryDirectory(prefix="chipledger-bench-") as folder:
            settings = Settings(home=Path(folder), database_url=None)
            with database.owner_url(settings, begin=True) as owner:
                database.prepared(owner)
                _fill(owner, entries)
            with database.opened(settings) as logins:
                found.append(asyncio.run(_measured(logins.reader, entries)))
    print(f"{'ms, median':28}", *(f"{entries:>12,}" for entries in lengths), f"{'ratio':>8}")
    for name in found[0]:
        took = [one[name] for one in found]
        print(f"{name:28}", *(f"{ms:12.2f}" for ms in took), f"{took[-1] / took[0]:7.1f}×")


if __name__ == "__main__":
    main()
