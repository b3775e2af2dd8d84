"""A log on a real database, written through a sequencer of the test's own.

Whoever writes leaves through `audit`: the export verifies, and the facts are what the log makes them.
"""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec

import psycopg

from api.database import Logins
from api.story import Step, Telling, story
from api.wiring import SimulatedClock
from ledger.answers import Committed, Result
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.clock import Clock
from ledger.decision import Judge
from ledger.event import LEDGER_PARTY, Submission, submission_of
from ledger.export import write
from ledger.loading import StoredEntry
from ledger.note import Signer
from ledger.pages import Filter
from ledger.reader import Reader
from ledger.rebuild import compare
from ledger.scheduler import Scheduler
from ledger.sequencer import Sequencer
from ledger.values import parse_timestamp
from ledger.verify import verify_export
from policies.engine import Engine
from tests.ledger.sample_log import SIGNER
from tests.workbench import BUYER, EXPORTER, LICENSE, PARTIES, activation, wire

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An asynchronous test, in an event loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@dataclass
class LiveLog:
    """One process that appends to a log, and reads it."""

    sequencer: Sequencer
    reader: Reader

    async def append(self, *values: dict[str, Any]) -> list[Result]:
        """Submit events as one request."""
        return await self.sequencer.append([submission_of(value) for value in values])

    async def commit(self, value: dict[str, Any]) -> Committed:
        """Submit an event that must be committed, whatever is decided."""
        [result] = await self.append(value)
        return committed(result)

    async def say(self, kind: str, **said: Any) -> Committed:
        return await self.commit(wire(kind, **said))

    async def accepted(self, kind: str, **said: Any) -> Committed:
        result = await self.say(kind, **said)
        assert result.outcome == "accepted", result.receipt.decision
        return result

    async def stands(self) -> list[StoredEntry]:
        """All entries of a small log."""
        return (await self.reader.entries(Filter(limit=10_000))).entries

    async def open_contract(self, text: str, **granted: Any) -> None:
        """A contract with this policy and an active license."""
        await self.accepted("contract.opened", parties=PARTIES, licenses=[LICENSE])
        await self.accepted("policy.activated", **activation(text))
        await self.accepted("license.granted", **granted)
        for party, role in ((EXPORTER, "exporter"), (BUYER, "consignee")):
            assert (await self.say("conditions.acknowledged", by=(party, role))).outcome != "denied"


@asynccontextmanager
async def live(
    logins: Logins,
    *,
    judge: Judge | None = None,
    signer: Signer = SIGNER,
    clock: Clock | None = None,
    reader_url: str | None = None,
    store: CheckpointStore | None = None,
) -> AsyncIterator[LiveLog]:
    """A sequencer that is open until the block ends, with a reader of its own."""
    reader = Reader(reader_url or logins.reader)
    await reader.open()
    sequencer = Sequencer(logins.writer, judge=judge or Engine(), signer=signer, clock=clock, store=store)
    try:
        await sequencer.open()
        try:
            yield LiveLog(sequencer, reader)
        finally:
            await sequencer.close()
    finally:
        await reader.close()


async def tell(log: LiveLog, clock: SimulatedClock, *, events_max: int = 1) -> None:
    """The year of the demo, and what falls due in it; steps of one instant share requests of `events_max`."""
    year, scheduler = Telling(), Scheduler(log.sequencer, log.reader, clock)
    pending: list[Step] = []

    async def send() -> None:
        results = await log.append(*map(year.event, pending))
        for step, result in zip(pending, results, strict=True):
            assert committed(result).outcome == step.expected, step
            year.enter(step, committed(result).receipt.index)
        pending.clear()

    for step in story():
        if pending and (len(pending) >= events_max or step.corrects or step.at != pending[0].at):
            await send()
        if not pending:
            await scheduler.advance(parse_timestamp(step.at), clock.set)
        if step.answers:
            for said in (await log.reader.entries(Filter(party=LEDGER_PARTY))).entries:
                year.hear(said.kind, said.index)
        pending.append(step)
    await send()


def simulated(now: str) -> SimulatedClock:
    return SimulatedClock(parse_timestamp(now))


def fixed(now: datetime) -> Clock:
    return lambda: now


def denied() -> dict[str, Any]:
    """An event of a contract that nobody opened: cheap to judge, and an entry all the same."""
    return wire("levy.settled", contract=str(uuid.uuid4()))


def submitted(count: int) -> list[Submission]:
    return [submission_of(denied()) for _ in range(count)]


def committed(result: object) -> Committed:
    assert isinstance(result, Committed), result
    return result


def alter(owner: str, statement: str, *parameters: Any) -> None:
    """Do what only a superuser can, behind the service's back."""
    with psycopg.connect(owner) as connection:
        connection.execute(statement, parameters)


async def audit(logins: Logins, *, signer: Signer = SIGNER) -> None:
    """Verify the whole log, and that its facts are what it makes them."""
    verify_export(await exported(logins, signer=signer), verifier=signer.verifier)
    assert await compare(logins.reader, quiet) == []


async def exported(logins: Logins, *, signer: Signer = SIGNER) -> io.BytesIO:
    """The whole log as a file."""
    reader, file = Reader(logins.reader), io.BytesIO()
    await reader.open()
    try:
        head = await reader.head()
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), signer)
        async with reader.stream(size=head.size) as entries:
            await write(entries, checkpoint=checkpoint, verifier=signer.verifier, to=file)
    finally:
        await reader.close()
    file.seek(0)
    return file


def quiet(done: int, total: int) -> None:
    return
