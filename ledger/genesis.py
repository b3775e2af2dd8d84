"""The first entry of a log: it says the log's name, its key and its clock."""

from __future__ import annotations

from ledger.batch import Batch
from ledger.clock import BEFORE_ALL, Clock, clock_name, recorded_at
from ledger.decision import Judge
from ledger.entry import FORMAT, ZERO_HASH
from ledger.event import LEDGER_CONTRACT
from ledger.facts import FOLD_VERSION, Chain, Contract, Facts
from ledger.fold import Entailed, own_submission
from ledger.head import Head
from ledger.kinds.ledger import LedgerOpened
from ledger.merkle import EMPTY_ROOT
from ledger.note import Signer
from ledger.store import Writer

SUMMARY_HOURS = 24
SUMMARY_HOURS_SIMULATED = 30 * 24
"""How often the ledger says how every chain ends. A simulation has years, and few entries in them."""


async def open_log(writer: Writer, *, judge: Judge, signer: Signer, clock: Clock | None) -> None:
    """Check the head; on an empty database, make it and write the first entry under its lock.

    Raises RefusesToWrite where the log is not written in this process's versions, name, key and clock.
    """
    versions = {"format": FORMAT, "fold": FOLD_VERSION, "engine": judge.engine}
    key, clock_is = str(signer.verifier), clock_name(clock)
    await writer.create_head(
        Head(
            epoch=1,
            size=0,
            root=EMPTY_ROOT,
            frontier=b"",
            last_leaf=ZERO_HASH,
            recorded_at=BEFORE_ALL,
            **versions,
            origin=signer.name,
            verifier_key=key,
            clock=clock_is,
        )
    )
    locked = await writer.begin([], [(Chain.name, LEDGER_CONTRACT), (Contract.name, LEDGER_CONTRACT)])
    assert locked is not None
    locked.head.check(engine=judge.engine, signer=signer, clock=clock_is)
    if locked.head.size:
        await writer.rollback()
        return
    hours = SUMMARY_HOURS if clock is None else SUMMARY_HOURS_SIMULATED
    data = {
        "versions": versions,
        "origin": signer.name,
        "key": key,
        "clock": clock_is,
        "summary_hours": hours,
    }
    facts, at = Facts(dict(locked.facts)), recorded_at(locked, clock)
    batch = Batch(locked.head, facts, judge, at=at)
    opened = Entailed(LEDGER_CONTRACT, LedgerOpened, data)
    batch.append(own_submission(opened, origin=signer.name, index=0, at=at))
    head, _ = batch.grow()
    await writer.write(batch.entries, list(facts.changed.values()), [], locked=locked.head, head=head)
    await writer.commit()
