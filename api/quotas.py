"""How much a key may ask: events and reads by the minute, refusals by the hour.

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

EVENTS_WINDOW_S = READS_WINDOW_S = 60
DENIALS_WINDOW_S = 3_600


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
        self._events_per_minute = events_per_minute
        self._denials_per_hour = denials_per_hour
        self._reads_per_minute = reads_per_minute
        self._monotonic = monotonic
        self._reads: dict[str, _Bucket] = {}
        """By id of the key."""
        self._buckets: dict[str, tuple[_Bucket, _Bucket]] = {}
        """Events and denials, by id of the key: of keys that have shown their secret, and so few."""

    def begin(self, caller: Caller) -> None:
        """A request, which counts as one event. Raises QuotaExceeded, of events or of denials."""
        events, denials = self._of(caller)
        at = self._monotonic()
        denials.draw(0, at, least=1)
        events.draw(1, at, least=1)

    def more(self, caller: Caller, events: int) -> None:
        """The rest of a batch: it passes whole, and may overdraw what the next request has to wait for."""
        if events > 0:
            self._of(caller)[0].draw(events, self._monotonic(), least=0)

    def denied(self, caller: Caller, events: int) -> None:
        """Of what was sent, so much was refused and stands in the log."""
        if events > 0:
            self._of(caller)[1].left -= events

    def read(self, caller: Caller) -> None:
        """A request to any other route. Raises QuotaExceeded: a stolen key does not copy the log at once."""
        at = self._monotonic()
        reads = self._reads.get(caller.key_id)
        if reads is None:
            reads = _Bucket("reads", self._reads_per_minute, READS_WINDOW_S, at)
            self._reads[caller.key_id] = reads
        reads.draw(1, at, least=1)

    def _of(self, caller: Caller) -> tuple[_Bucket, _Bucket]:
        buckets = self._buckets.get(caller.key_id)
        if buckets is None:
            at = self._monotonic()
            buckets = self._buckets[caller.key_id] = (
                _Bucket("events", caller.events_per_minute or self._events_per_minute, EVENTS_WINDOW_S, at),
                _Bucket("denials", caller.denials_per_hour or self._denials_per_hour, DENIALS_WINDOW_S, at),
            )
        return buckets
