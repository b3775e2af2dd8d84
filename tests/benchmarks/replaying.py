"""A log of attestations, judged and folded in memory: to replay without a service that has taken load."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ledger.values import format_timestamp
from tests.benchmarks import attestations
from tests.benchmarks.contenders import opening
from tests.benchmarks.load import BenchFailed
from tests.policies.told_log import BEGINS, ToldLog

BATCH = 100
"""Events recorded at one instant."""


def write(path: Path, entries: int) -> None:
    """An export of a contract and so many attestations. Raises BenchFailed unless all are accepted."""
    log, at = ToldLog(), BEGINS
    events = opening() + [attestations.attestation(number) for number in range(entries)]
    for number, event in enumerate(events):
        if number % BATCH == 0:
            at += timedelta(milliseconds=20)
        decision = log.submit(event, at=format_timestamp(at))
        if decision.outcome != "accepted":
            raise BenchFailed(f"{event['kind']} was not accepted: {decision.value()}")
    path.write_bytes(log.export())
