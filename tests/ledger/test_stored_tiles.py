"""Tiles as the sequencer stores them: any old proof can be made of them again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import psycopg

from api.database import Logins
from ledger import tiles
from ledger.entry import ZERO_HASH, Body, Entry, Header
from ledger.merkle import Frontier, Growth, check_consistency, check_inclusion
from ledger.reader import Reader
from ledger.statements import NewEntry
from ledger.store import Writer
from ledger.values import format_timestamp
from tests.ledger import rfc9162
from tests.ledger.live_log import in_loop, live, submitted
from tests.ledger.sample_log import salt_of
from tests.workbench import CONTRACT, EXPORTER


async def proof_of(
    reader: Reader, wanted: set[tiles.Coordinates], prove: Callable[[tiles.Read], list[bytes]]
) -> list[bytes]:
    found = await reader.hashes(wanted)
    return prove(lambda level, n, width: found[tiles.Coordinates(level, n, width)])


@in_loop
async def test_any_old_proof_can_be_read_back(ledger: Logins) -> None:
    """Out of tiles that batches of odd sizes completed; the oracle is the recursion of the RFC."""
    async with live(ledger) as log:
        for size in (1, 253, 1, 1, 1, 250, 5, 2, 260, 9):
            await log.sequencer.append(submitted(size))
        entries = await log.stands()
        leaves = tuple(entry.entry.leaf for entry in entries)
        assert len(leaves) == 784
        edges = {1, 2, 3, 254, 255, 256, 257, 258, 511, 512, 513, 767, 768, 769, 783, 784}
        dice = random.Random(5)
        sizes = sorted(edges | {dice.randrange(1, 785) for _ in range(20)})
        for size in sizes:
            head = rfc9162.mth(leaves[:size])
            for index in {0, size // 2, size - 1, dice.randrange(size)}:
                proof = await proof_of(
                    log.reader,
                    tiles.tiles_for_inclusion(index, size),
                    lambda read, i=index, s=size: tiles.prove_inclusion(i, s, read),  # type: ignore[misc]
                )
                assert proof == rfc9162.path(index, leaves[:size])
                check_inclusion(proof, leaf_hash=leaves[index], index=index, tree_size=size, root=head)
            old = dice.choice([s for s in sizes if s <= size])
            proof = await proof_of(
                log.reader,
                tiles.tiles_for_consistency(old, size),
                lambda read, o=old, s=size: tiles.prove_consistency(o, s, read),  # type: ignore[misc]
            )
            assert proof == ([] if old == size else rfc9162.proof(old, leaves[:size]))
            old_root = rfc9162.mth(leaves[:old])
            check_consistency(proof, old_size=old, old_root=old_root, new_size=size, new_root=head)
    with psycopg.connect(ledger.reader) as connection:
        found = connection.execute("SELECT level, n, hashes, root FROM tiles ORDER BY n").fetchall()
    assert found == [
        (0, n, b"".join(leaves[n * 256 : n * 256 + 256]), rfc9162.mth(leaves[n * 256 : n * 256 + 256]))
        for n in range(3)
    ]


@in_loop
async def test_a_tile_of_the_second_level_is_completed_too(logins: Logins) -> None:
    """65,536 entries, written as the sequencer writes them, without the cost of judging each."""
    async with live(logins):
        pass
    writer = await Writer.connect(logins.writer)
    size, written = 1, 65_536 + 300
    while size < written:
        locked = await writer.begin([], [])
        assert locked is not None
        until, at = min(size + 8_000, written), locked.head.recorded_at
        entries = [_plain(index, at) for index in range(size, until)]
        old = Frontier.from_bytes(size, locked.head.frontier)
        growth = Growth(old, [new.entry.leaf for new in entries])
        completed = [(level, n, growth.node(8 * (level + 1), n)) for level, n in tiles.filled(size, until)]
        frontier = growth.frontier().to_bytes()
        head = replace(locked.head, size=until, root=growth.root, frontier=frontier)
        await writer.write(entries, [], completed, locked=locked.head, head=head)
        await writer.commit()
        size = until
    assert completed[-1][:2] == (1, 0)
    await writer.close()
    reader = Reader(logins.reader)
    await reader.open()
    for index in (0, 255, 65_535, 65_536, growth.size - 1):
        proof = await proof_of(
            reader,
            tiles.tiles_for_inclusion(index, growth.size),
            lambda read, i=index: tiles.prove_inclusion(i, growth.size, read),  # type: ignore[misc]
        )
        leaf = (await reader.entry(index)).entry.leaf
        check_inclusion(proof, leaf_hash=leaf, index=index, tree_size=growth.size, root=growth.root)
    await reader.close()


def _plain(index: int, at: datetime) -> NewEntry:
    """An entry of a log that nobody will verify but for its leaves."""
    body = Body(salt_of(0, "event"), b"{}")
    header = Header(
        index=index,
        previous=ZERO_HASH,
        contract=CONTRACT,
        contract_index=index,
        contract_previous=ZERO_HASH,
        recorded_at=format_timestamp(at),
        decision=ZERO_HASH,
        event=ZERO_HASH,
    )
    return NewEntry(
        entry=Entry.build(header, {"event": body, "decision": body}),
        kind="levy.settled",
        party=EXPORTER,
        event_id=str(UUID(int=index)),
        outcome="denied",
        serials=(),
        at=at,
    )
