"""A log of which entries are said to be erased, and not erased yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from api import database
from api.erase import erasing_of
from ledger.eraser import erase_bodies
from ledger.facts import Erasure, erasure_key
from ledger.reader import Reader
from ledger.rebuild import refold
from tests.ledger.live_log import LiveLog, live, quiet, simulated
from tests.workbench import CONTRACT, NOON, policy


@dataclass(frozen=True)
class Said:
    """Entries `index` and `also` are said to be erased, by entries `by` and `also_by`; `other` is not."""

    owner: str = field(repr=False)
    eraser: str = field(repr=False)
    index: int
    by: int
    also: int
    also_by: int
    other: int
    request: int


async def said_and_undone(owner: str) -> Said:
    async with live(database.logins_of(owner), clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        first, second, other = [
            (await log.accepted("order.placed", order=f"PO-{n}", units=n)).receipt.index for n in (1, 2, 3)
        ]
        request = (await log.accepted("purge.requested", entries=[first, second])).receipt.index
        await say_erased(log, second, first, in_parts=first)
        by = await log.reader.erased()
    return Said(
        owner, database.let_eraser_in(owner), first, by[first][-1], second, by[second][-1], other, request
    )


async def say_erased(log: LiveLog, *indexes: int, in_parts: int | None = None) -> None:
    """Have the log say that these entries, for which requests stand, are erased.

    `in_parts`: one of them, of which each fact is said in an event of its own.
    """
    refolded = await refold(log.reader, quiet, wanted=indexes)
    for index in indexes:
        erasure = await log.reader.fact(Erasure, erasure_key(CONTRACT, index))
        assert erasure is not None
        erasing = erasing_of(erasure, await log.reader.entry(index), refolded.made[index])
        if index == in_parts:
            erasing.part_bytes = 1
        await log.sequencer.erase(erasing)


async def erase(said: Said) -> list[int]:
    """Erase what is still there; gives the entries."""
    reader = Reader(database.logins_of(said.owner).reader)
    await reader.open()
    try:
        undone = await reader.erasures_undone()
    finally:
        await reader.close()
    assert erase_bodies(said.eraser, undone) == len(undone)
    return [index for index, _ in undone]
