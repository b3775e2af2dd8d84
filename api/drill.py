"""`chipledger drill tamper`: a copy of the log is damaged in every way we know, and each must be found.

The log itself is read once, and nothing of it is changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection, sql
from psycopg.rows import tuple_row

from api import database, tampering_beside
from api.examine.examiner import Examiner
from api.examine.look import Examined, Known
from api.tampering import MUTATIONS, Log, read, unlock
from ledger.beside import Vouchers
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import StoreFailed, UnusableInput
from ledger.note import Signer, Verifier
from ledger.rows import Rows

ENTRIES_MIN = 20
TABLES = (
    "entries", "bodies", "device_links", "facts", "tiles", "head", "witnessed", "timestamps", "api_keys",
)  # fmt: skip
ALL = {**MUTATIONS, **tampering_beside.MUTATIONS}
ONLY_ELSEWHERE = ("rewrite_everything", "cut_the_tail")
"""Consistent with themselves: tried without the kept checkpoint too, which must not find them."""

REJUDGED = (*ONLY_ELSEWHERE, "forge_a_decision", "put_another_log_in_its_place")
"""A log of which something is erased cannot be judged again by somebody who has only it."""

Advance = Callable[[int, int], object]


@dataclass(slots=True)
class Tally:
    """How often one kind of damage was done, found, and found at its place."""

    name: str
    tried: int = 0
    found: int = 0
    located: int = 0
    alone: int = 0
    """Found without the checkpoint and what else is kept outside the database."""
    missed: list[str] = field(default_factory=list)
    """Places of those that were not found, or elsewhere."""


class Copy(NamedTuple):
    """A log to be damaged."""

    connection: AsyncConnection[tuple[Any, ...]]
    log: Log
    verifier: Verifier
    vouchers: Vouchers
    known: Known
    """What a watch has kept of it outside the database."""

    @property
    def kept(self) -> Checkpoint:
        return self.known.kept[0]


@contextmanager
def scratch(owner_url: str) -> Iterator[str]:
    """URL of a database of its own on the same server, migrated and empty, and gone afterwards."""
    name = f"chipledger_drill_{token_hex(4)}"
    database.create_database(owner_url, name)
    url = urlunsplit(urlsplit(owner_url)._replace(path=f"/{name}"))
    try:
        database.upgrade(url)
        yield url
    finally:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def copy_log(from_url: str, to_url: str) -> None:
    """Copy every table of the log, as of one instant."""
    with psycopg.connect(from_url) as source, psycopg.connect(to_url) as target:
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in TABLES:
            columns = sql.SQL(", ").join(map(sql.Identifier, _columns(target, table)))
            name = sql.Identifier(table)
            with (
                source.cursor().copy(sql.SQL("COPY {} ({}) TO STDOUT").format(name, columns)) as out,
                target.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)) as into,
            ):
                for chunk in out:
                    into.write(chunk)


def _columns(connection: psycopg.Connection[Any], table: str) -> list[str]:
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
        " AND table_schema = 'public' AND is_generated = 'NEVER' ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in rows]


@asynccontextmanager
async def opened(url: str, seed: int, vouchers: Vouchers | None = None) -> AsyncIterator[Copy]:
    """The copy, with its triggers off. `url` is a superuser's, and of nothing that is dear to anybody.

    Raises UnusableInput where it is too short, or damaged before the drill.
    """
    connection = await AsyncConnection.connect(url, autocommit=True, row_factory=tuple_row)
    async with connection:
        await connection.execute("SET timezone = 'UTC'")
        head = await Rows(connection).head()
        if head is None or head.size < ENTRIES_MIN:
            raise UnusableInput(
                f"the log has {head.size if head else 0} entries, must have {ENTRIES_MIN} for a drill"
            )
        await unlock(connection)
        log = await read(connection, Random(seed))  # noqa: S311 - a drill is to be repeatable
        known = Known(kept=[Checkpoint(head.origin, head.size, head.root)])
        copy = Copy(connection, log, Verifier.parse(head.verifier_key), vouchers or Vouchers(), known)
        seen = await _look(copy, known)
        if seen.findings.count:
            raise UnusableInput(f"the log is damaged before the drill: {seen.findings.found[0]}")
        yield copy._replace(known=replace(known, beside=seen.beside))


class Drilled(NamedTuple):
    tallies: list[Tally]
    not_tried: list[str]
    """Kinds of damage that this log has nothing for."""


async def run(url: str, rounds: int, seed: int, advance: Advance, vouchers: Vouchers) -> Drilled:
    """The whole drill."""
    async with opened(url, seed, vouchers) as copy:
        tallies = [*await tamper(copy, rounds, advance=advance), *tamper_store(copy, rounds)]
        return Drilled(tallies, [name for name in ALL if not _possible(name, copy.log)])


async def tamper(
    copy: Copy, rounds: int, *, names: Sequence[str] = (), advance: Advance | None = None
) -> list[Tally]:
    """Do each kind of damage `rounds` times, look, and undo it."""
    names = names or [name for name in ALL if _possible(name, copy.log)]
    tallies = []
    for number, name in enumerate(names):
        tally = Tally(name)
        for done in range(rounds):
            await _try(copy, name, tally)
            if advance is not None:
                advance(number * rounds + done + 1, len(names) * rounds)
        tallies.append(tally)
    return tallies


def _possible(name: str, log: Log) -> bool:
    """There is a tile from 256 entries on, and not every log has a denial, a policy, or any of the rest."""
    if name in tampering_beside.MUTATIONS:
        return tampering_beside.possible(name, log)
    whole = len(log.whole) == log.size
    needs = {
        **dict.fromkeys(REJUDGED, whole),
        "edit_a_tile": log.size >= 256,
        "turn_a_denial": any(row.outcome == "denied" for row in log.rows),
        "delete_a_denial": any(row.outcome == "denied" for row in log.rows),
        "edit_a_policy": any(row.kind in ("policy.activated", "policy.proposed") for row in log.rows),
    }
    return needs.get(name, True)


async def _try(copy: Copy, name: str, tally: Tally) -> None:
    connection = copy.connection
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    try:
        place = await ALL[name](copy.log)
        seen = await _look(copy, copy.known)
        alone = None
        if name in ONLY_ELSEWHERE or name in tampering_beside.MUTATIONS:
            alone = await _look(copy, Known())
    finally:
        await connection.execute("ROLLBACK")
    tally.tried += 1
    tally.found += seen.findings.count > 0
    tally.alone += (alone or seen).findings.count > 0
    if place.holds(seen.findings.found):
        tally.located += 1
    else:
        told = "; ".join(map(str, seen.findings.found[:3])) or "nothing"
        tally.missed.append(f"{name}, {place.words}: found {told}")


async def _look(copy: Copy, known: Known) -> Examined:
    examiner = Examiner(copy.verifier, vouchers=copy.vouchers)
    return await examiner.look(Rows(copy.connection), "all", known)


# --- the store ------------------------------------------------------------------------------------


def tamper_store(copy: Copy, rounds: int) -> list[Tally]:
    """Damage the kept checkpoint: each byte of it is signed for, or is the signature."""
    signer = Signer(copy.verifier.name, Ed25519PrivateKey.generate())
    other = Signer(copy.verifier.name, Ed25519PrivateKey.generate())
    note, random = sign(copy.kept, signer).encode(), copy.log.random
    edited, resigned = Tally("edit_a_checkpoint"), Tally("sign_with_another_key")
    for _ in range(rounds):
        at = random.randrange(len(note))
        flipped = note[:at] + bytes([note[at] ^ (1 << random.randrange(8))]) + note[at + 1 :]
        _try_store(edited, flipped, signer.verifier, f"byte {at}")
        size = random.randrange(1, copy.kept.size + 1)
        forged = sign(Checkpoint(copy.kept.origin, size, random.randbytes(32)), other).encode()
        _try_store(resigned, forged, signer.verifier, f"size {size}")
    return [edited, resigned]


def _try_store(tally: Tally, note: bytes, verifier: Verifier, words: str) -> None:
    tally.tried += 1
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore.in_folder(Path(folder), verifier.name)
        Path(str(store)).write_bytes(note)
        try:
            store.latest(verifier)
        except StoreFailed:
            tally.found += 1
            tally.located += 1
            tally.alone += 1
        else:
            tally.missed.append(f"{tally.name}, {words}: believed")
