"""How a log begins, on a real database: once, whoever opens it and whatever crashed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson

from api.database import Logins
from ledger.clock import BEFORE_ALL
from ledger.entry import ZERO_HASH
from ledger.head import Head
from ledger.merkle import EMPTY_ROOT
from ledger.pages import Filter
from ledger.reader import Reader
from ledger.sequencer import Sequencer
from ledger.store import Writer
from ledger.values import format_timestamp
from policies.engine import Engine
from tests.ledger.live_log import committed, denied, in_loop, live, simulated, submitted
from tests.ledger.sample_log import ORIGIN, SIGNER
from tests.workbench import NOON


@in_loop
async def test_the_first_entry_names_the_log_its_key_and_its_clock(ledger: Logins) -> None:
    async with live(ledger, clock=simulated(NOON)) as log:
        [genesis] = await log.stands()
    assert (genesis.index, genesis.kind, genesis.party) == (0, "ledger.opened", "_ledger")
    assert format_timestamp(genesis.recorded_at) == "2027-03-01T12:00:00.000000Z"
    body = genesis.entry.bodies["event"]
    assert body is not None
    assert orjson.loads(body.value)["data"] == {
        "versions": {"format": 1, "fold": 1, "engine": 1},
        "origin": ORIGIN,
        "key": str(SIGNER.verifier),
        "clock": "simulated",
        "summary_hours": 720,
    }


@in_loop
async def test_sequencers_that_open_at_once_write_one_genesis(ledger: Logins) -> None:
    reader = Reader(ledger.reader)
    await reader.open()
    rivals = [Sequencer(ledger.writer, judge=Engine(), signer=SIGNER) for _ in range(8)]
    await asyncio.gather(*(rival.open() for rival in rivals))
    assert [entry.kind for entry in (await reader.entries(Filter())).entries] == ["ledger.opened"]
    for rival in rivals:
        [result] = await rival.append(submitted(1))
        assert not committed(result).replayed
    assert (await reader.head()).size == 1 + len(rivals)
    await asyncio.gather(*(rival.close() for rival in rivals))
    await reader.close()


@in_loop
async def test_a_log_that_is_opened_again_goes_on(ledger: Logins) -> None:
    for size in (2, 3, 4):
        async with live(ledger) as log:
            receipt = (await log.commit(denied())).receipt
            assert receipt.tree_size == size


@in_loop
async def test_a_head_that_a_crash_left_empty_gets_its_genesis(ledger: Logins) -> None:
    """A crash between the row and the first entry: the next process to open writes the entry."""
    key = str(SIGNER.verifier)
    head = Head(1, 0, EMPTY_ROOT, b"", ZERO_HASH, BEFORE_ALL, 1, 1, 1, ORIGIN, key, "system")
    writer = await Writer.connect(ledger.writer)
    await writer.create_head(head)
    await writer.create_head(replace(head, size=7))  # whoever comes second changes nothing
    await writer.close()
    async with live(ledger) as log:
        assert [entry.kind for entry in await log.stands()] == ["ledger.opened"]
