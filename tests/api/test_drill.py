"""Damage of every kind we know, at many places, in a real database: each is found, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api import database, drill
from api.tampering import MUTATIONS
from tests.conftest import copied
from tests.ledger.live_log import denied, in_loop, live, simulated, tell

PLACES = 20


async def _tell(url: str) -> None:
    """The year of the demo, and a few refusals in contracts that nobody opened."""
    clock = simulated("2027-01-01T00:00:00Z")
    async with live(database.logins_of(url), clock=clock) as log:
        await tell(log, clock)
        await log.append(*(denied() for _ in range(5)))


@pytest.fixture(scope="module")
def told(server: str, template: str) -> Iterator[str]:
    """URL of the owner of a database that holds a year."""
    with copied(server, template) as url:
        asyncio.run(_tell(url))
        yield url


@pytest.fixture(scope="module")
def copy_url(told: str) -> Iterator[str]:
    with drill.scratch(told) as url:
        drill.copy_log(told, url)
        yield url


@in_loop
async def _looked(url: str, name: str) -> None:
    async with drill.opened(url, seed=11) as copy:
        [tally] = await drill.tamper(copy, PLACES, names=[name])
    assert tally.missed == []
    assert (tally.tried, tally.found, tally.located) == (PLACES, PLACES, PLACES)


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - {"edit_a_tile", *drill.ONLY_ELSEWHERE}))
def test_damage_is_found_and_located(copy_url: str, name: str) -> None:
    _looked(copy_url, name)
