"""`chipledger erase`: what is to be erased, and the carrying out of it, in the one order that is safe.

First the log says so and keeps what the entry made of the facts, then the bodies go. A run that is cut
short anywhere is run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from api.database import Logins
from api.export import Advance, signer_of
from api.places import store_of
from api.settings import Settings
from ledger.clock import BEFORE_ALL
from ledger.decision import Decision
from ledger.eraser import erase_bodies
from ledger.erasure import Erasing
from ledger.facts import Erasure, Fact
from ledger.loading import StoredEntry
from ledger.reader import Reader
from ledger.rebuild import refold
from ledger.sequencer import Sequencer
from policies.engine import Engine
from policies.explain import explain


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is still to be done."""

    asked: list[Erasure]
    """Accepted requests, of which the log has not said yet that they are carried out."""
    undone: list[tuple[int, int]]
    """Entries of which it has, by the second of each pair, and whose bodies are still there."""

    def lines(self) -> list[str]:
        lines = [
            f"entry {one.index} of {one.contract}: to be erased, as entry {one.request} asks"
            for one in self.asked
        ]
        return lines + [
            f"entry {index}: its bodies are to go, as entry {by} says that they did"
            for index, by in self.undone
        ]


async def waiting(logins: Logins) -> Waiting:
    reader = Reader(logins.reader)
    await reader.open()
    try:
        return Waiting(await reader.erasures_asked(), await reader.erasures_undone())
    finally:
        await reader.close()


async def carry_out(settings: Settings, logins: Logins, eraser_url: str, advance: Advance) -> list[str]:
    """Erase all that is asked for and may be erased now; gives what was done, in lines.

    The whole log is folded, to learn what each entry made of the facts.
    """
    reader = Reader(logins.reader)
    await reader.open()
    try:
        asked = await reader.erasures_asked()
        lines = [line async for line in _said(settings, logins, reader, asked, advance)] if asked else []
        undone = await reader.erasures_undone()
    finally:
        await reader.close()
    erased = await asyncio.to_thread(erase_bodies, eraser_url, undone)
    return [*lines, f"the bodies of {erased} {'entry' if erased == 1 else 'entries'} erased"]


async def _said(
    settings: Settings, logins: Logins, reader: Reader, asked: list[Erasure], advance: Advance
) -> AsyncIterator[str]:
    """Have the log say what is erased; gives what it did not."""
    refolded = await refold(reader, advance, wanted={one.index for one in asked})
    signer = signer_of(settings)
    # A simulated clock is the service's alone: here it stands still, at the last entry.
    simulated = (await reader.head()).clock == "simulated"
    sequencer = Sequencer(
        logins.writer,
        judge=Engine(),
        signer=signer,
        clock=(lambda: BEFORE_ALL) if simulated else None,
        store=store_of(settings, signer),
    )
    await sequencer.open()
    try:
        # The last first: a correction goes before what it corrects, which without it could not be judged.
        for one in sorted(asked, key=lambda erasure: erasure.index, reverse=True):
            erasing = erasing_of(one, await reader.entry(one.index), refolded.made[one.index])
            await sequencer.erase(erasing)
            if erasing.refused is not None:
                yield _refusal(one.index, erasing.refused)
    finally:
        await sequencer.close()


def erasing_of(erasure: Erasure, stored: StoredEntry, facts: list[Fact]) -> Erasing:
    """The entry, as the sequencer is asked to say that it is erased."""
    header = stored.entry.header
    bodies = {"decision": header.decision, "event": header.event}
    if header.signatures is not None:
        bodies["signatures"] = header.signatures
    return Erasing(
        contract=erasure.contract,
        index=erasure.index,
        id=stored.event_id,
        request=erasure.request,
        kind=stored.kind,
        party=stored.party,
        outcome=stored.outcome,
        bodies={name: commitment.hex() for name, commitment in bodies.items()},
        facts=facts,
    )


def _refusal(index: int, decision: Decision) -> str:
    why = explain({"conditions": [finding.value() for finding in decision.failed]})
    return f"entry {index} stays, for the request would be refused now: {' '.join(why)}"
