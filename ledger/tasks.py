"""How what runs in the background is ended."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 1.0


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
