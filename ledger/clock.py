"""The time of a batch, and what the database's clock must keep to so that it may be recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ledger.errors import Unavailable
from ledger.store import Locked

CLOCK_STEP_BACK_MAX = timedelta(minutes=5)
CLOCK_SKEW_MAX = timedelta(minutes=5)
"""Between the database's clock and ours. An entry from the future stands for ever, makes duties late that
are not, and stops the log until that time has come."""
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""Time of the empty log: the first entry takes its time from the clock, under the lock."""

Clock = Callable[[], datetime]
"""Of a simulated ledger. Any other is recorded by the database's clock, and has none of its own: None."""


def clock_name(clock: Clock | None) -> str:
    """As the head row and the first entry name it."""
    return "system" if clock is None else "simulated"


def recorded_at(locked: Locked, clock: Clock | None) -> datetime:
    """Time of a batch: read under the lock, never earlier than the last entry's. Raises Unavailable."""
    last = locked.head.recorded_at
    if clock is not None:
        return max(clock(), last)
    now = locked.now
    if abs(skew := now - datetime.now(UTC)) > CLOCK_SKEW_MAX:
        raise Unavailable(
            f"the database's clock is {abs(skew)} {'behind' if skew < timedelta() else 'ahead of'} this"
            f" machine's, must not differ by more than {CLOCK_SKEW_MAX}; set right which of them is wrong"
        )
    if last - now > CLOCK_STEP_BACK_MAX:
        raise Unavailable(
            f"the database's clock is {last - now} behind the last entry, must not be more than"
            f" {CLOCK_STEP_BACK_MAX}; set the clock right"
        )
    return max(now, last)
