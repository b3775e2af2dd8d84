"""The clock's own voice: what falls due is said, in any number of processes, each step once.

It looks for duties whose instant has come and hands their keys to the sequencer, which decides under
the lock. Nothing here is relied upon: conditions on requests compare ages themselves, so that a
scheduler that stands still delays reports and lets nothing through.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from ledger.reader import Reader
from ledger.sequencer import BATCH_EVENTS_MAX, Sequencer
from ledger.tasks import Routine
from ledger.values import format_timestamp, parse_timestamp

INTERVAL_S = 5.0
log = structlog.get_logger(__name__)


class Scheduler:
    """`open`, then `close`; or `fall_due` and `advance` by hand.

    `now`: a clock that may be wrong, for it only says which duties are worth asking about.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        reader: Reader,
        now: Callable[[], datetime],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._sequencer = sequencer
        self._reader = reader
        self._now = now
        self._routine = Routine("scheduler", self.fall_due, interval_s=interval_s)
        self.ran_at: datetime | None = None
        """When everything that was due had last been said."""

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        await self._routine.close()

    async def fall_due(self) -> None:
        """Say all that is due by now: after a long outage, step after step in the order of time."""
        now = self._now()
        asked: list[str] = []
        while (keys := await self._reader.duties_due(format_timestamp(now), BATCH_EVENTS_MAX)) != asked:
            # The same again: another process has them, a replica lags, or they cannot be judged.
            await self._sequencer.fall_due(keys)
            asked = keys
        if not keys:
            self.ran_at = now

    async def advance(self, to: datetime, set_clock: Callable[[datetime], datetime]) -> None:
        """Move a simulated clock from one due instant to the next, as if it had run all the while.

        But for what the ledger says of itself: that is said once, at the end, as after an outage.
        """
        while (due := await self._reader.next_due()) is not None and parse_timestamp(due) <= to:
            set_clock(parse_timestamp(due))
            await self.fall_due()
            if await self._reader.next_due() == due:
                break  # it cannot be judged: the log says why
        set_clock(to)
        await self.fall_due()
