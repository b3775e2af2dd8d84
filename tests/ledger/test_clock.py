"""The time of a batch, by a clock that is set back, steps, jumps, or differs from this machine's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import psycopg
import pytest

from api.database import Logins
from ledger.errors import Unavailable
from ledger.rotation import rotate
from ledger.values import parse_timestamp
from policies.engine import Engine
from tests.ledger.live_log import LiveLog, alter, denied, in_loop, live
from tests.ledger.sample_log import SIGNER, signer_of
from tests.workbench import NOON


async def times(log: LiveLog) -> list[datetime]:
    found = [entry.recorded_at for entry in await log.stands()]
    assert found == sorted(found), "recorded_at ran backwards"
    return found


@in_loop
async def test_a_simulated_clock_that_is_set_back_does_not_turn_back_the_log(ledger: Logins) -> None:
    now = [parse_timestamp(NOON)]
    async with live(ledger, clock=lambda: now[0]) as log:
        for hours in (0, 2, -24, 1, 3):
            now[0] = parse_timestamp(NOON) + timedelta(hours=hours)
            await log.commit(denied())
        found = await times(log)
    assert [(t - found[0]) // timedelta(hours=1) for t in found] == [0, 0, 2, 2, 2, 3]


@in_loop
async def test_a_database_clock_that_stepped_back_a_little_is_waited_out(ledger: Logins, owner: str) -> None:
    async with live(ledger) as log:
        alter(owner, "UPDATE head SET recorded_at = clock_timestamp() + interval '4 minutes'")
        head = await log.reader.head()
        await log.commit(denied())
        assert (await times(log))[-1] == head.recorded_at


@in_loop
async def test_a_database_clock_that_is_far_behind_stops_the_log(ledger: Logins, owner: str) -> None:
    async with live(ledger) as log:
        await log.commit(denied())
        alter(owner, "UPDATE head SET recorded_at = recorded_at + interval '1 day'")
        words = (
            r"the database's clock is 23:59:\S+ behind the last entry, must not be more than 0:05:00;"
            " set the clock right"
        )
        event = denied()
        for _ in range(2):
            with pytest.raises(Unavailable, match=words):
                await log.append(event)
        assert len(await log.stands()) == 2
        alter(owner, "UPDATE head SET recorded_at = recorded_at - interval '1 day'")
        assert not (await log.commit(event)).replayed


@contextmanager
def wrong_clock(owner: str, jump: str) -> Iterator[None]:
    """The clock of the database differs from this machine's, for whoever connects within the block."""
    base = psycopg.conninfo.conninfo_to_dict(owner)["dbname"]
    alter(owner, "CREATE SCHEMA wrong; GRANT USAGE ON SCHEMA wrong TO PUBLIC")
    alter(
        owner,
        "CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        f" AS $$ SELECT pg_catalog.clock_timestamp() + interval '{jump}' $$",
    )
    alter(owner, f"ALTER DATABASE {base} SET search_path = wrong, pg_catalog, public")
    yield
    alter(owner, f"ALTER DATABASE {base} RESET search_path")


@pytest.mark.parametrize("jump", ["1 hour", "-1 hour", "1 day", "-1 day"])
@in_loop
async def test_a_database_clock_that_jumps_stops_the_log_until_it_is_right(
    ledger: Logins, owner: str, jump: str
) -> None:
    """Ahead too: what is recorded tomorrow would stand for ever, and stop the log until tomorrow."""
    event = denied()
    async with live(ledger) as log:
        await log.commit(denied())
    direction = "behind" if jump.startswith("-") else "ahead of"
    with wrong_clock(owner, jump):
        async with live(ledger) as log:
            for _ in range(2):
                with pytest.raises(
                    Unavailable, match=rf"the database's clock is .* {direction} this machine's"
                ):
                    await log.append(event)
            assert len(await log.stands()) == 2
    async with live(ledger) as log:
        assert not (await log.commit(event)).replayed


@pytest.mark.parametrize("jump", ["1 hour", "-1 hour"])
@in_loop
async def test_no_key_is_rotated_by_a_clock_that_jumps(ledger: Logins, owner: str, jump: str) -> None:
    async with live(ledger) as log:
        before = await log.reader.head()
        with wrong_clock(owner, jump), pytest.raises(Unavailable, match="the database's clock is"):
            await rotate(ledger.writer, judge=Engine(), old=SIGNER, new=signer_of(2))
        assert await log.reader.head() == before
