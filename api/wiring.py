"""What one running service is made of, and where the routes find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from fastapi import Request

from api.auth import Caller, Keyring
from api.quotas import Quotas
from api.telemetry import Metrics
from api.watchman import Watchman
from api.webhooks.lanes import Webhooks
from ledger.note import Signer
from ledger.publisher import Publisher
from ledger.reader import Reader
from ledger.scheduler import Scheduler
from ledger.sequencer import Sequencer
from ledger.timestamping import Timestamping
from ledger.witnessing import Witnessing


class SimulatedClock:
    """Time as an operator sets it. It never runs backwards, and never by itself."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> datetime:
        self._now = max(self._now, now.astimezone(UTC))
        return self._now


def system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Service:
    reader: Reader
    sequencer: Sequencer
    scheduler: Scheduler
    publisher: Publisher
    witnessing: Witnessing | None
    timestamping: Timestamping | None
    webhooks: Webhooks
    keyring: Keyring
    quotas: Quotas
    signer: Signer
    metrics: Metrics
    clock: SimulatedClock | None
    watchman: Watchman

    @property
    def now(self) -> Callable[[], datetime]:
        return self.clock or system_clock

    async def caller(self, request: Request) -> Caller:
        caller = await self.keyring.caller(request.headers.get("authorization", ""))
        request.state.key_id = caller.key_id
        self.quotas.read(caller)
        return caller


def service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)
