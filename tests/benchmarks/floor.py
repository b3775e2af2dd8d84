"""The floor: what psycopg's binary COPY puts into one comparable table, with nothing around it."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg

from ledger.canonical import encode
from tests.benchmarks import attestations

RATE_MAX = 150_000
WARM_TRANSACTIONS = 20
TYPES = ["int8", "uuid", "uuid", "text", "text", "timestamptz", "bytea", "bytea"]
_Row = tuple[Any, ...]


def rows(seconds: float) -> list[_Row]:
    """Rows of the naive table for so long. The bodies repeat; the ids and indexes do not."""
    events = [attestations.attestation(number) for number in range(1_000)]
    bodies = [encode(event) for event in events]
    hash_ = bytes(range(32))
    made = []
    for index in range(int(RATE_MAX * seconds)):
        event = events[index % 1_000]
        made.append(
            (
                index, UUID(int=index * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128),
                UUID(event["contract"]), event["kind"], event["actor"]["party"],
                datetime.fromisoformat(event["occurred_at"]), hash_, bodies[index % 1_000],
            )
        )  # fmt: skip
    return made


def rows_per_s(url: str, prepared: list[_Row], *, transaction: int, seconds: float) -> float:
    """Rows made durable in a second, `transaction` of them in each."""
    source = iter(prepared)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE event")
        for _ in range(WARM_TRANSACTIONS):
            _copy(connection, list(islice(source, transaction)))
        began, written = time.perf_counter(), 0
        while time.perf_counter() - began < seconds and (some := list(islice(source, transaction))):
            _copy(connection, some)
            written += len(some)
        return written / (time.perf_counter() - began)


def _copy(connection: psycopg.Connection[Any], some: list[_Row]) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY event FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for row in some:
            copy.write_row(row)
