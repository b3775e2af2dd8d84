"""What runs in the background goes on whatever it meets, and ends when it must."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
import structlog

from ledger import tasks
from ledger.errors import Unavailable
from ledger.tasks import Routine

NEVER_S = 3_600.0


def taken(
    monkeypatch: pytest.MonkeyPatch, answers: list[object], *, woken: int = 0
) -> list[MutableMapping[str, Any]]:
    """What is logged while a routine takes a step for each answer, and raises those that are errors.

    It is woken in the last `woken` of them.
    """
    capture = structlog.testing.LogCapture()
    unfiltered = structlog.make_filtering_bound_logger(0)
    monkeypatch.setattr(tasks, "log", structlog.wrap_logger(None, [capture], unfiltered))
    asyncio.run(_all(list(answers), woken))
    return capture.entries


async def _all(left: list[object], woken: int) -> None:
    over = asyncio.Event()

    async def step() -> object:
        if not left:
            over.set()
            return None
        if len(left) <= woken:
            routine.wake()
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    routine = Routine("work", step, interval_s=NEVER_S)
    routine.open()
    async with asyncio.timeout(60):
        await over.wait()
    assert await routine.close()


def test_a_routine_goes_on_at_once_while_there_is_more_and_when_it_is_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert taken(monkeypatch, [True, True, "not more", None], woken=2) == []


def test_a_step_that_fails_is_logged_and_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = taken(monkeypatch, [Unavailable("away"), ValueError("a bug"), True], woken=3)
    assert [(one["event"], one["log_level"]) for one in logged] == [
        ("work_waits", "warning"), ("work_failed", "error"),
    ]  # fmt: skip
    assert (logged[0]["error"], logged[0]["detail"]) == ("Unavailable", "away")


def test_what_goes_on_failing_alike_is_said_once_and_again_after_it_was_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away, gone = Unavailable("away"), Unavailable("gone")
    logged = taken(monkeypatch, [away, away, gone, gone, True, gone], woken=6)
    assert [one["detail"] for one in logged] == ["away", "gone", "gone"]


def test_a_routine_that_was_not_opened_has_nothing_to_close() -> None:
    async def closed() -> bool:
        return await Routine("work", lambda: asyncio.sleep(0), interval_s=NEVER_S).close()

    assert not asyncio.run(closed())


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
