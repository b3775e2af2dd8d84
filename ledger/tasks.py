"""What runs in the background: again and again, and until it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from ledger.errors import LedgerError

AGAIN_S = 1.0
REPEATED_S = 60.0
"""How often a log is told what goes on failing alike."""

log = structlog.get_logger(__name__)


class Routine:
    """What a process does again and again, each time after the last has ended. `open`, then `close`.

    `step` gives True where there is more to do at once; `wake` has it taken before its time. What it raises
    ends nothing: it is logged, as `<name>_waits` for a LedgerError, and as `<name>_failed` for a bug of ours.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[object]], *, interval_s: float) -> None:
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._said: tuple[str, float] = "", 0.0

    def open(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        self._woken.set()

    async def close(self) -> bool:
        """Whether it was open."""
        if self._task is None:
            return False
        await end(self._task)
        return True

    async def _run(self) -> None:
        while True:
            more = False
            try:
                more = await self._step() is True
                self._said = "", 0.0
            except LedgerError as error:
                self._waits(error)
            except Exception:
                log.exception(f"{self._name}_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if more else self._interval_s):
                    await self._woken.wait()
            self._woken.clear()

    def _waits(self, error: LedgerError) -> None:
        words, since = self._said
        if str(error) != words or time.monotonic() - since >= REPEATED_S:
            log.warning(f"{self._name}_waits", error=type(error).__name__, detail=str(error)[:500])
            self._said = str(error), time.monotonic()


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until each has ended.

    Cancelled again until it has: before Python 3.12 `asyncio.wait_for`, by which psycopg's pools wait,
    swallows a cancellation that comes together with what it waits for, and the task would run for ever.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
