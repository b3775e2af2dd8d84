"""What runs in the background is ended, whatever it does with a cancellation."""

from __future__ import annotations

import asyncio

from ledger import tasks


async def deaf(times: int, heard: list[int]) -> None:
    """Goes on after so many cancellations, as `asyncio.wait_for` of Python 3.11 may make a task do."""
    while True:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            heard.append(1)
            if len(heard) > times:
                raise


def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    async def ended() -> tuple[list[int], list[bool]]:
        heard: list[int] = []
        running = [asyncio.create_task(deaf(2, heard)), asyncio.create_task(asyncio.sleep(3_600))]
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await tasks.end(*running)
        return heard, [one.cancelled() for one in running]

    heard, cancelled = asyncio.run(ended())
    assert len(heard) == 3
    assert cancelled == [True, True]


def test_no_task_and_one_that_has_ended_are_nothing_to_wait_for() -> None:
    async def ended() -> None:
        over = asyncio.create_task(asyncio.sleep(0))
        await over
        async with asyncio.timeout(60):
            await tasks.end()
            await tasks.end(over)

    asyncio.run(ended())
