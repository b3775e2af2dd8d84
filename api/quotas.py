"""How much a key may ask: events, reads and calls by the minute, refusals by the hour.

A refusal is an entry for ever, so a party could fill the log with them. Counted in this process, in
memory: `limits` asks before it counts, and what an event will be decided is known only afterwards; it
takes 2 µs a question, this takes a tenth of that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from api.auth import Caller
from ledger.errors import LedgerError

MINUTE_S = 60
HOUR_S = 3_600
CALLS_PER_MINUTE = 300
"""Handshakes, test events, resends and replays of webhooks, whose URL the caller names."""


class QuotaExceeded(LedgerError):
    """The key has asked as much as it may for now; nothing was taken."""

    def __init__(self, quota: str, limit: int, window_s: int, retry_after_s: int) -> None:
        self.quota, self.limit, self.window_s, self.retry_after_s = quota, limit, window_s, retry_after_s
        super().__init__(
            f"the key has used its {limit:,} {quota} in {window_s} s; ask again in {retry_after_s} s"
        )


class _Bucket:
    """Fills evenly, up to `limit` in `window_s`. What is drawn beyond that is paid off first."""

    __slots__ = ("at", "left", "limit", "quota", "window_s")

    def __init__(self, quota: str, limit: int, window_s: int, at: float) -> None:
        self.quota, self.limit, self.window_s, self.at = quota, limit, window_s, at
        self.left = float(limit)

    def draw(self, number: int, at: float, *, least: int) -> None:
        """Raises QuotaExceeded, and takes nothing, where less than `least` is left."""
        left = min(self.limit, self.left + (at - self.at) * self.limit / self.window_s)
        self.at, self.left = at, left
        if left < least:
            wait = math.ceil((least - left) * self.window_s / self.limit)
            raise QuotaExceeded(self.quota, self.limit, self.window_s, wait)
        self.left = left - number


class Quotas:
    """`monotonic` in seconds."""

    def __init__(
        self,
        *,
        events_per_minute: int,
        denials_per_hour: int,
        reads_per_minute: int = 1 << 53,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = {
            "events": (events_per_minute, MINUTE_S),
            "denials": (denials_per_hour, HOUR_S),
            "reads": (reads_per_minute, MINUTE_S),
            "calls": (CALLS_PER_MINUTE, MINUTE_S),
        }
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        """By key and quota: of keys that have shown their secret, and so few."""

    def begin(self, caller: Caller) -> None:
        """A request, which counts as one event. Raises QuotaExceeded, of events or of denials."""
        at = self._monotonic()
        self._of(caller, "denials").draw(0, at, least=1)
        self._of(caller, "events").draw(1, at, least=1)

    def more(self, caller: Caller, events: int) -> None:
        """The rest of a batch: it passes whole, and may overdraw what the next request has to wait for."""
        if events > 0:
            self._of(caller, "events").draw(events, self._monotonic(), least=0)

    def denied(self, caller: Caller, events: int) -> None:
        """Of what was sent, so much was refused and stands in the log."""
        if events > 0:
            self._of(caller, "denials").left -= events

    def read(self, caller: Caller) -> None:
        """A request to any other route. Raises QuotaExceeded: a stolen key does not copy the log at once."""
        self._of(caller, "reads").draw(1, self._monotonic(), least=1)

    def call(self, caller: Caller) -> None:
        """A request that we make to where the caller says, at once. Raises QuotaExceeded."""
        self._of(caller, "calls").draw(1, self._monotonic(), least=1)

    def _of(self, caller: Caller, quota: str) -> _Bucket:
        named = caller.key_id, quota
        if (bucket := self._buckets.get(named)) is None:
            limit, window_s = self._limits[quota]
            own = {"events": caller.events_per_minute, "denials": caller.denials_per_hour}.get(quota)
            bucket = self._buckets[named] = _Bucket(quota, own or limit, window_s, self._monotonic())
        return bucket
